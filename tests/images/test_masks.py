"""Masks: read from files and from transparency, laid on an image, and told from photos."""

import io

import pytest
from PIL import Image

from models.entities import ImageRequest, InputImage
from models.images.inputs import (
    InputLimits,
    alpha_mask,
    as_alpha,
    fitted,
    hard_edged,
    laid_on,
    looks_like_mask,
    mask_of,
    read_input,
)
from tests.fakes import image_file


def opened(image: InputImage) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


def half_transparent() -> InputImage:
    source = Image.new("RGBA", (4, 2), (9, 9, 9, 255))
    source.paste((9, 9, 9, 0), (0, 0, 2, 2))
    out = io.BytesIO()
    source.save(out, "PNG")
    return read_input(out.getvalue(), "a.png")


def values(mask: InputImage) -> list[object]:
    image = opened(mask)
    return [image.getpixel((x, 0)) for x in range(image.width)]


def test_transparency_becomes_a_mask() -> None:
    mask = alpha_mask(half_transparent())
    assert mask is not None
    assert opened(mask).mode == "L"
    assert values(mask) == [255, 255, 0, 0]
    assert alpha_mask(read_input(image_file())) is None
    assert alpha_mask(read_input(image_file(mode="RGBA", colour=(1, 2, 3, 255)))) is None


def test_masks_are_converted_between_conventions() -> None:
    mask = mask_of(half_transparent())
    assert [value[3] for value in values(as_alpha(mask)) if isinstance(value, tuple)] == [0, 0, 255, 255]
    assert values(mask_of(as_alpha(mask))) == values(mask)
    assert mask.filename == "a.png"


def test_a_mask_is_scaled_to_its_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read_input(image_file(40, 30, kind="JPEG", exif=exif))
    assert opened(laid_on(mask_of(half_transparent()), photo)[0]).size == (30, 40)


@pytest.mark.parametrize(("grey", "hard"), [(127, 0), (128, 255), (0, 0), (255, 255)])
def test_a_hard_edge_is_at_middle_grey(grey: int, hard: int) -> None:
    mask = read_input(image_file(4, 2, mode="L", colour=grey))
    assert values(hard_edged(mask)) == [hard] * 4


@pytest.mark.parametrize(
    ("mask_size", "image_size", "told"),
    [
        ((100, 100), (50, 50), False),
        ((100, 100), (101, 100), False),
        ((100, 100), (51, 50), True),
        ((100, 100), (102, 100), True),
        ((100, 100), (100, 102), True),
        ((200, 100), (100, 100), True),
    ],
)
def test_a_mask_of_another_shape_is_stretched_and_told(
    mask_size: tuple[int, int], image_size: tuple[int, int], told: bool
) -> None:
    mask, image = read_input(image_file(*mask_size)), read_input(image_file(*image_size))
    laid, notices = laid_on(mask, image)
    assert opened(laid).size == image_size
    sizes = [f"{width}×{height}" for width, height in (mask_size, image_size)]
    assert notices == ((f"The mask of {sizes[0]} was stretched over the image of {sizes[1]}.",) if told else ())


@pytest.mark.parametrize(
    ("colour", "mode", "looks"),
    [
        ((100, 100, 100), "RGB", True),
        ((100, 103, 100), "RGB", True),
        ((100, 104, 104), "RGB", False),
        ((100, 100, 104), "RGB", False),
        (7, "L", True),
        ((200, 30, 30, 254), "RGBA", True),
        ((200, 30, 30, 255), "RGBA", False),
    ],
)
def test_grey_or_transparent_images_look_like_masks(colour: object, mode: str, looks: bool) -> None:
    assert looks_like_mask(read_input(image_file(mode=mode, colour=colour))) is looks


def test_the_mask_of_a_request_follows_its_first_image() -> None:
    image, mask = (
        read_input(image_file(400, 200), "a.png"),
        read_input(image_file(40, 40, mode="L", colour=255), "m.png"),
    )
    request = fitted(ImageRequest(model="m", prompt="", images=(image, image), mask=mask), InputLimits(max_side=100))
    assert [opened(one).size for one in (*request.images, *filter(None, [request.mask]))] == [(100, 50)] * 3
    assert len(request.notices) == 3
    assert fitted(ImageRequest(model="m", prompt="", mask=mask), InputLimits()).mask is mask
    assert fitted(ImageRequest(model="m", prompt="", images=(image,)), InputLimits()).mask is None
