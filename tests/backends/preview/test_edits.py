"""Edits of the preview: only what is asked for changes."""

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageStat

from models.backends.preview.scenes import SceneOrder, scene
from models.backends.preview.scenes.editing import edited, inpainted
from models.backends.preview.scenes.photo import extended, filled, foreground, recoloured

SIZE = (160, 120)
CAR = scene(SceneOrder(prompt="a red car in the city", width=160, height=120, seed=1))


def product() -> Image.Image:
    """A red disc on a plain background."""
    image = Image.new("RGB", SIZE, (230, 228, 224))
    ImageDraw.Draw(image).ellipse((50, 30, 110, 90), fill=(200, 40, 40))
    return image


def share_of(image: Image.Image, other: Image.Image) -> float:
    """The share of pixels that differ visibly."""
    grey = ImageChops.difference(image, other).convert("L").point(lambda value: 255 if value > 8 else 0)
    return ImageStat.Stat(grey).mean[0] / 255


@pytest.mark.parametrize(
    "prompt",
    [
        *(
            "make the car blue",
            "turn it into night",
            "at sunset",
            "add a cat",
            "with snow",
            "as a watercolor",
            "line art",
        ),
        *("neon punk", "anime", "pixel art", 'write "SALE" on it', "improve it", "", "把汽车改成黄色", "加一只狗"),
    ],
)
def test_every_edit_is_visible(prompt: str) -> None:
    changed = edited(CAR, SIZE, prompt, 1)
    assert changed.size == SIZE
    assert share_of(changed, CAR) > 0.002


def test_the_input_image_itself_is_not_changed() -> None:
    before = CAR.tobytes()
    edited(CAR, SIZE, "add a cat at night", 1)
    inpainted(CAR, Image.new("L", SIZE, 255), "a cat", 1)
    assert CAR.tobytes() == before


def test_a_new_colour_changes_the_thing_alone() -> None:
    changed = edited(CAR, SIZE, "change the red car to blue", 1)
    assert 0.01 < share_of(changed, CAR) < 0.3


def test_an_addition_leaves_the_rest() -> None:
    assert 0.01 < share_of(edited(CAR, SIZE, "add a small cat", 1), CAR) < 0.4


def test_a_new_background_keeps_what_stands_before_a_plain_one() -> None:
    changed = edited(product(), SIZE, "put it on a beach", 1)
    assert (200, 40, 40) in {colour for _, colour in changed.getcolors(160 * 120) or []}
    assert share_of(changed, product()) > 0.5


@pytest.mark.parametrize(
    "prompt", ["a cat", "a forest with a fox", "blue", "remove it", "", "nothing known", "line art of a dog"]
)
def test_a_mask_keeps_every_pixel_outside(prompt: str) -> None:
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).ellipse((40, 40, 120, 110), fill=255)
    changed = inpainted(CAR, mask, prompt, 1)
    outside = ImageChops.invert(mask)
    difference = ImageChops.difference(changed, CAR)
    assert Image.composite(difference, Image.new("RGB", SIZE), outside).getbbox() is None
    assert difference.getbbox() is not None


def test_an_empty_mask_changes_nothing() -> None:
    assert inpainted(CAR, Image.new("L", SIZE), "a cat", 1).tobytes() == CAR.tobytes()


@pytest.mark.parametrize("at", [None, (0, 0), (30, 200), (200, 10)])
def test_an_extension_keeps_the_image(at: tuple[int, int] | None) -> None:
    canvas, bounds = extended(CAR, (400, 360), at)
    inside = CAR if at else CAR.resize((bounds[2] - bounds[0], bounds[3] - bounds[1]), Image.Resampling.LANCZOS)
    assert canvas.size == (400, 360)
    assert share_of(canvas.crop(bounds), inside) == 0
    assert canvas.getpixel((399, 359)) != (0, 0, 0)


def test_outpainting_keeps_all_of_the_image() -> None:
    wide = edited(CAR, (320, 120), "outpaint", 1)
    assert share_of(wide.crop((80, 0, 240, 120)), CAR) == 0


def test_a_filled_hole_looks_like_its_surroundings() -> None:
    hole = Image.new("L", SIZE)
    hole.paste(255, (45, 25, 115, 95))
    smooth = filled(product(), hole)
    assert ImageStat.Stat(smooth.crop((60, 40, 100, 80))).mean[0] == pytest.approx(230, abs=4)


def test_only_a_plain_background_is_cut_away() -> None:
    mask = foreground(product())
    assert mask is not None
    assert (mask.getpixel((80, 60)), mask.getpixel((5, 5))) == (255, 0)
    assert foreground(Image.new("RGB", SIZE, "white")) is None


@pytest.mark.parametrize("target", [(60, 110, 200), (250, 250, 250), (40, 40, 40)])
def test_colours_and_greys_replace_a_colour(target: tuple[int, int, int]) -> None:
    changed = recoloured(product(), target)
    assert changed.getpixel((80, 60)) != (200, 40, 40)
    assert changed.getpixel((5, 5)) == (230, 228, 224)
