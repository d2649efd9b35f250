"""The shapes of the preview's scenes and edits, before they become pixels: a checksum of each, in
`tests/fixtures/drawings/compositions.json`.

`uv run python -m tests.drawings` writes the file anew, with the drawings that show what has changed.
"""

import hashlib
import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from models.backends.preview.scenes.canvas import Item, Shape
from models.backends.preview.scenes.composing import composed
from models.backends.preview.scenes.reading import read, subjects, table

_FILE = Path(__file__).parent / "fixtures" / "drawings" / "compositions.json"
_SIZES = ((72, 54), (200, 60), (60, 150))


def words(name: str) -> list[str]:
    """The first word of every entry of a list."""
    listed = subjects() if name == "subjects" else table(name)
    return [str(entry["words"][0]) for entry in listed.values() if entry.get("words")]


def checksum(items: Iterable[Item]) -> str:
    """Of positions to a thousandth of a pixel, so that it is the same on every machine, and of paints."""
    whole = hashlib.sha256()
    for item in items:
        polygons = item.polygons if isinstance(item, Shape) else [[item.box[:2], item.box[2:]]]
        for polygon in polygons:
            whole.update(",".join(f"{x:.3f} {y:.3f}" for x, y in polygon).encode())
        rest = (item.paint, item.edge, item.outline) if isinstance(item, Shape) else (item.colour, item.alpha)
        whole.update(repr(rest).encode())
    return whole.hexdigest()[:12]


def composition(prompt: str, size: tuple[int, int]) -> str:
    dice = random.Random(f"{prompt} {size}")  # noqa: S311 -- a composition
    stage = composed(read(prompt), *size, dice)
    numbers = (stage.horizon, stage.floor, stage.ground, stage.main, stage.backdrop)
    return f"{checksum(stage.items)} {' '.join(map(str, numbers))}"


def _sized(prompts: Iterable[str]) -> list[tuple[str, tuple[int, int]]]:
    """Each prompt in a size of its own, which does not change with the prompts beside it."""
    return [(prompt, _SIZES[len(prompt) % len(_SIZES)]) for prompt in prompts]


def _everywhere(change: str) -> list[tuple[str, tuple[int, int]]]:
    return _sized(change.format(word) for word in words("places"))


_ORDERS = (
    *((word, size) for word in words("places") for size in _SIZES),
    *_everywhere("{} again"),
    *_everywhere("{} once more, at night"),
    *_everywhere("{} at night with two cats and a cup"),
    *_everywhere("a red bird and boats, {}, snow"),
    *_everywhere("a blue {} with tulips and a robot at dawn"),
    *_everywhere("{}, autumn, sunset, portrait of a man, bottles"),
    *_sized(f"{place} {word}" for place in ("lake", "city", "nothing") for word in words("times")),
    *_sized(f"{place}, {word}" for place in ("a house in a village", "") for word in words("weather")),
    *_sized(words("subjects")),
    *_sized(f"five {word}s on a table" for word in words("subjects")),
    *_sized(f"{word}, nothing else" for word in words("colours")),
)
COMPOSITIONS = {f"{prompt} {width}x{height}": (prompt, (width, height)) for prompt, (width, height) in _ORDERS}


@cache
def composed_before() -> dict[str, str]:
    known: dict[str, str] = json.loads(_FILE.read_text("utf-8"))
    return known


def keep_compositions() -> None:
    """Write the file anew."""
    found = {name: composition(*order) for name, order in COMPOSITIONS.items()}
    _FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
