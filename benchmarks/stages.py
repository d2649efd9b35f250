"""Milliseconds of each stage after the service for one image of 1 MB, alone and together.

`uv run python -m benchmarks.stages [--runs 20]`

A row is a set of options; a new stage adds its rows to ROWS. The time is that of all stages that the options list, so
that a row's own cost is its difference from the row `none`.
"""

import dify_plugin  # noqa: F401 -- it patches the sockets before anything else imports them

# isort: split

import argparse
import io
import time
from collections.abc import Mapping
from statistics import median

from PIL import Image

from models.entities import GeneratedImage, ImageResult
from models.output.structured import OutputOptions
from models.settings import Settings
from models.stages import after_service
from tests.asking import carried

FORM = {"marks": 'producer "Example", opacity 0.8', "storage_url": ""}
ROWS: Mapping[str, tuple[Mapping[str, object], Mapping[str, str]]] = {
    "none": ({}, {}),
    "format jpeg": ({"output_format": "jpeg"}, {}),
    "stamp text": ({"stamp": "新品上市 Sale"}, {}),
    "stamp QR code": ({"stamp": "qr:https://shop.example/item/12345"}, {}),
    "ai_label metadata": ({"ai_label": "metadata"}, {}),
    "ai_label visible": ({"ai_label": "visible"}, {}),
    "one variant of 900x383": ({"variants": "900x383"}, {}),
    "stamp, label, two variants": (
        {"stamp": "Sale; qr:https://shop.example", "ai_label": "visible", "variants": "wechat-cover, xiaohongshu"},
        {},
    ),
}
"""For each row the options of the node and the fields of the form."""


def photo(kind: str) -> bytes:
    """A smooth image with some noise, of about a million bytes as PNG and a million pixels as JPEG."""
    noise = Image.effect_noise((1024, 1024), 6)
    ramp = Image.linear_gradient("L").resize((1024, 1024))
    out = io.BytesIO()
    Image.merge("RGB", (noise, ramp, Image.blend(noise, ramp, 0.8))).save(out, kind, quality=95)
    return out.getvalue()


def milliseconds(data: bytes, options: Mapping[str, object], form: Mapping[str, str]) -> float:
    result = ImageResult(images=(GeneratedImage(data),), backend="stub", model="stub-model", prompt="a fox")
    beside = carried(OutputOptions(**options))  # type: ignore[arg-type]
    stages = after_service(Settings({**FORM, **form}, {}), beside.options)
    before = time.perf_counter()
    for stage in stages:
        result = stage(result, beside)
    return (time.perf_counter() - before) * 1000


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=int, default=20)
    runs = options.parse_args().runs
    files = {kind: photo(kind) for kind in ("PNG", "JPEG", "WEBP")}
    print("| options | " + " | ".join(f"{kind}, {len(data) / 1e6:.1f} MB" for kind, data in files.items()) + " |")
    print("|---|" + "---|" * len(files))
    for name, (asked, form) in ROWS.items():
        times = [median(milliseconds(data, asked, form) for _ in range(runs + 1)) for data in files.values()]
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in times) + " |")


if __name__ == "__main__":
    main()
