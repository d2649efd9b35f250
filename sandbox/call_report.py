"""The report of one call, as text and as JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from sandbox.host import CallStatistics
from sandbox.protocol import JsonObject, Usage

_LONGEST_TEXT = 500
_KIB = 1024


def call_lines(text: str, files: list[Path], usage: Usage | None, calls: list[CallStatistics]) -> Iterator[str]:
    """The report of one direct call."""
    if text.strip():
        yield f"text: {short(text.strip())}"
    yield from (f"file: {describe(path)}" for path in files)
    yield from (f"seed: {seed}" for seed in seeds_in(text))
    if usage is not None and usage.total_price:
        yield f"price: {usage.total_price.normalize():f} {usage.currency}"
    largest = max(call.largest_line for call in calls)
    yield f"time: {sum(call.seconds for call in calls):.2f} s in {len(calls)} call(s), largest line {size(largest)}"


def call_document(text: str, files: Sequence[Path], usage: Usage | None, calls: Sequence[CallStatistics]) -> JsonObject:
    """The facts of `call_lines` for a script."""
    return {
        "text": text.strip(),
        "files": [str(path) for path in files],
        "seeds": [*seeds_in(text)],
        "price": f"{usage.total_price.normalize():f}" if usage else None,
        "currency": usage.currency if usage else None,
        "seconds": round(sum(call.seconds for call in calls), 3),
        "calls": len(calls),
        "largest_line": max(call.largest_line for call in calls),
    }


def describe(path: Path) -> str:
    """An image's path with its size in pixels and bytes."""
    try:
        with Pillow.open(path) as image:
            shape = f"{image.width}x{image.height} {image.format}"
    except (UnidentifiedImageError, Pillow.DecompressionBombError):
        shape = "not a readable image"
    return f"{path} ({shape}, {size(path.stat().st_size)})"


def seeds_in(text: str) -> list[str]:
    """The seeds in the JSON lines of `details`, one per image."""
    images = (
        image
        for details in map(json_object, text.splitlines())
        for image in details.get("images", [details])
        if isinstance(image, dict)
    )
    return [str(image["seed"]) for image in images if "seed" in image]


def json_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}... ({len(text)} characters)"


def size(count: int) -> str:
    return f"{count / _KIB / _KIB:.1f} MiB" if count >= _KIB * _KIB else f"{count / _KIB:.1f} KiB"
