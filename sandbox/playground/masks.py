"""From a drawing to an image and its mask."""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageChops

from sandbox.playground.jobs import InputImage


def drawn(editor: Mapping[str, Any] | None) -> list[InputImage]:
    """
    The image of the editor and, if something is painted, its mask: white where it is painted, of the image's size.

    Args:
        editor: `background` and `layers` as RGBA images, as the page's editor gives them.

    """
    background = (editor or {}).get("background")
    if background is None:
        return []
    mask = Image.new("L", background.size)
    for layer in (editor or {}).get("layers") or ():
        alpha = layer.convert("RGBA").getchannel("A").point(lambda value: 255 if value else 0)
        mask = ImageChops.lighter(mask, alpha.resize(background.size, Image.Resampling.NEAREST))
    image = InputImage("image.png", _png(background.convert("RGB")))
    return [image, InputImage("mask.png", _png(mask))] if mask.getbbox() else [image]


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
