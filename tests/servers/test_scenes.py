"""The drawings of the demo's services: each task changes what it should, and a body of any service is read."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image, ImageChops

from tests.fakes import image_file
from tests.servers.scenes import Order, image_of, order_of, painted

BICYCLE = Order(service="Fake", model="painter-1", prompt="a red bicycle on grass", size=(320, 240), seed=5)
SCENE = image_of(BICYCLE)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def changed(one: bytes, other: bytes) -> tuple[int, int, int, int] | None:
    return ImageChops.difference(opened(one).convert("RGB"), opened(other).convert("RGB")).getbbox()


def mask(box: tuple[int, int, int, int]) -> bytes:
    image = Image.new("L", (320, 240))
    image.paste(255, box)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_the_same_order_gives_the_same_image_and_another_model_another_one() -> None:
    assert image_of(BICYCLE) == SCENE
    assert image_of(replace(BICYCLE, model="painter-2")) != SCENE
    assert image_of(replace(BICYCLE, prompt="a boat by night")) != SCENE
    assert opened(SCENE).size == (320, 240)


def test_a_mask_bounds_what_changes() -> None:
    box = (200, 40, 310, 150)
    edit = image_of(replace(BICYCLE, prompt="a cat", images=(SCENE,), mask=mask(box)))
    left, top, right, bottom = changed(SCENE, edit) or (0, 0, 0, 0)
    assert (left >= box[0], top >= box[1], right <= box[2], bottom <= box[3]) == (True, True, True, True)
    assert right > left


def test_upscaling_doubles_the_sides_or_takes_the_size_asked_for() -> None:
    upscale = replace(BICYCLE, images=(SCENE,), task="upscale", size=None)
    assert opened(image_of(upscale)).size == (640, 480)
    assert opened(image_of(replace(upscale, size=(400, 300)))).size == (400, 300)


def test_a_cut_out_is_transparent_around_its_subject() -> None:
    alpha = opened(image_of(replace(BICYCLE, images=(SCENE,), task="cut-out", size=None))).getchannel("A")
    assert alpha.size == (320, 240)
    assert alpha.getextrema() == (0, 255)
    assert alpha.getpixel((2, 2)) == 0


def test_outpainting_adds_its_margins_around_the_image() -> None:
    wider = opened(image_of(replace(BICYCLE, images=(SCENE,), task="outpaint", margins=(40, 20, 60, 0))))
    assert wider.size == (420, 260)
    kept = wider.convert("RGB").crop((60, 40, 340, 120))
    assert ImageChops.difference(kept, opened(SCENE).convert("RGB").crop((20, 20, 300, 100))).getbbox() is None


def test_erasing_changes_the_masked_part_alone() -> None:
    box = (60, 100, 260, 200)
    erased = image_of(replace(BICYCLE, prompt="the bicycle", images=(SCENE,), mask=mask(box), task="erase"))
    left, top, right, bottom = changed(SCENE, erased) or (0, 0, 0, 0)
    assert (left >= box[0], top >= box[1], right <= box[2], bottom <= box[3]) == (True, True, True, True)
    assert right > left


def test_outside_the_demo_the_small_image_is_made() -> None:
    assert painted(b"small", lambda: BICYCLE) == b"small"
    assert painted(lambda: b"made", lambda: BICYCLE) == b"made"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"prompt": "a fox", "width": 640, "height": 320, "seed": 4}, ("a fox", (640, 320), 4)),
        ({"input": {"prompt": "a fox", "size": "512*768"}, "parameters": {"seed": 9}}, ("a fox", (512, 768), 9)),
        ({"input": {"messages": [{"content": [{"text": "a"}, {"text": "fox"}]}]}}, ("a\nfox", None, None)),
        ({"inputs": "a fox", "parameters": {"aspect_ratio": "16:9"}}, ("a fox", (1368, 768), None)),
        ({"prompt": "a fox", "image_size": "portrait_4_3"}, ("a fox", (888, 1184), None)),
        ({}, ("", None, None)),
    ],
)
def test_an_order_is_read_from_the_body_of_any_service(
    body: dict[str, object], expected: tuple[str, tuple[int, int] | None, int | None]
) -> None:
    order = order_of("Fake", "m", body)
    assert (order.prompt, order.size, order.seed) == expected


def test_images_and_masks_are_found_as_data_urls_and_as_base64() -> None:
    photo, area = image_file(40, 30), image_file(40, 30, mode="L", colour=255)
    packed = base64.b64encode(photo).decode()
    body = {"image": f"data:image/png;base64,{packed}", "mask_image": base64.b64encode(area).decode(), "note": "x" * 80}
    order = order_of("Fake", "m", body)
    assert (order.images, order.mask) == ((photo,), area)
