"""Sizes beside input images, and the borders of outpainting."""

import io
from typing import Any

import pytest
from PIL import Image

from models.backends.automatic1111.build import Options
from models.backends.automatic1111.images import _outpainted, assign_roles, size_rule
from models.entities import ImageRequest, InputImage
from models.images.inputs import size_of
from models.sizes import Wish, settle_size
from tests.fakes import image_file


def photo(width: int, height: int, name: str = "a.png", **make: Any) -> InputImage:
    return InputImage(image_file(width, height, **make), "image/png", name)


def opened(image: InputImage) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


@pytest.mark.parametrize(
    ("size", "extra", "made"),
    [
        ((640, 480), {}, (640, 480)),
        ((643, 485), {}, (640, 488)),
        ((2048, 2048), {}, (1024, 1024)),
        ((643, 485), {"upscale_by": 1.5}, (964, 728)),
        ((643, 485), {"upscaler": "ESRGAN"}, (1286, 970)),
        ((643, 485), {"upscaler": "ESRGAN", "upscale_by": 3.0}, (1929, 1455)),
        ((640, 480), {"outpaint_left": 64}, (704, 480)),
        ((640, 480), {"outpaint_right": 60}, (704, 480)),
        ((640, 480), {"outpaint_up": 64, "outpaint_down": 1}, (640, 552)),
        ((16, 16), {"outpaint_up": 8}, (64, 64)),
        ((1024, 1024), {"outpaint_left": 64}, (1088, 1024)),
        ((1025, 1024), {"outpaint_left": 64}, (1088, 1024)),
        ((2048, 1024), {"outpaint_up": 64}, (1448, 792)),
    ],
)
def test_an_image_gives_the_size(size: tuple[int, int], extra: dict[str, Any], made: tuple[int, int]) -> None:
    rule = size_rule(photo(*size), Options(**extra))
    assert settle_size(Wish(), rule, "m")[0] == made


@pytest.mark.parametrize(
    ("extra", "reason"),
    [({"upscale_by": 2.0}, "`upscale_by` sets the size"), ({"outpaint_up": 8}, "outpainting adds its borders to the image's own size")],
)  # fmt: skip
def test_a_size_that_is_fixed_is_not_asked_for(extra: dict[str, Any], reason: str) -> None:
    rule = size_rule(photo(640, 480), Options(**extra))
    assert settle_size(Wish(width=512, height=512), rule, "m")[1] == (f"The size 512×512 was not used: {reason}.",)


def box(mask: Image.Image) -> tuple[int, int, int, int] | None:
    """What of the image is kept: the black part of the mask."""
    return mask.point(lambda value: 255 - value).getbbox()


@pytest.mark.parametrize(
    ("extra", "canvas", "kept"),
    [
        ({"outpaint_left": 64}, (192, 96), (72, 0, 192, 96)),
        ({"outpaint_right": 64}, (192, 96), (0, 0, 120, 96)),
        ({"outpaint_up": 64}, (128, 160), (0, 72, 128, 160)),
        ({"outpaint_down": 64}, (128, 160), (0, 0, 128, 88)),
        ({"outpaint_left": 8, "outpaint_down": 3}, (136, 104), (16, 0, 136, 88)),
    ],
)
def test_the_new_border_overlaps_the_image(
    extra: dict[str, int], canvas: tuple[int, int], kept: tuple[int, int, int, int]
) -> None:
    made, mask, _ = _outpainted(photo(128, 96, colour=(200, 30, 30)), Options(**extra))
    assert (size_of(made), size_of(mask), box(opened(mask))) == (canvas, canvas, kept)
    assert (made.filename, mask.filename) == ("canvas.png", "mask.png")
    assert opened(mask).getextrema() == (0, 255)
    assert opened(made).getpixel((kept[0], kept[1])) == (200, 30, 30)


@pytest.mark.parametrize(
    ("sizes", "used", "told"),
    [
        ([(64, 64)], (64, 64), ()),
        ([(64, 64)], (128, 128), ()),
        ([(67, 64)], (64, 64), ("The image of 67×64 became 64×64; set width and height for another size.",)),
        ([(64, 64), (64, 64)], (64, 64), ()),
        ([(64, 64), (128, 64)], (64, 64), ("All images became 64×64, as `resize_mode` says; send them one at a time to keep their shapes.",)),
        ([(64, 64), (128, 64)], None, ()),
    ],
)  # fmt: skip
def test_a_size_that_nobody_asked_for_is_told(
    sizes: list[tuple[int, int]], used: tuple[int, int] | None, told: tuple[str, ...]
) -> None:
    width, height = used or (None, None)
    request = ImageRequest(
        model="m", prompt="x", images=tuple(photo(*size) for size in sizes), width=width, height=height
    )
    assert assign_roles(request, Options()).notices == told
