"""The owner's limits for one request."""

import pytest

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.limits import Limits
from models.settings import Settings
from models.stages.request_limits import RequestLimits, largest
from tests.asking import carried
from tests.fakes import image_file


def passed(limits: str, **parts: object) -> ImageRequest:
    settings = Settings({"limits": limits}, {})
    request = ImageRequest(model="m", prompt="a fox", **parts)  # type: ignore[arg-type]
    return RequestLimits(Limits.read(settings), settings.where("limits"))(request, carried())


def test_more_images_than_allowed_are_refused_with_both_numbers_and_the_field() -> None:
    assert passed("images 4", n=4).n == 4
    with pytest.raises(BadRequest) as refused:
        passed("images 4", n=5)
    assert str(refused.value) == (
        "5 images were asked for; the owner allows at most 4 in one request. Set `n` to at most 4, or let the owner "
        "change “Limits” (limits) in the provider's settings."
    )


def test_more_pixels_than_allowed_are_refused_with_both_sizes() -> None:
    with pytest.raises(BadRequest) as refused:
        passed("megapixels 4", width=4096, height=4096)
    said = str(refused.value)
    assert said.startswith("An image of 16 megapixels (4096×4096) was asked for; the owner allows at most 4 megapixels")
    assert "“Limits” (limits)" in said


@pytest.mark.parametrize(
    ("megapixels", "width", "height"), [("1", 1024, 1024), ("4", 2048, 2048), ("0.25", 512, 512), ("1", None, None)]
)
def test_a_megapixel_is_1024_by_1024_pixels(megapixels: str, width: int | None, height: int | None) -> None:
    assert passed(f"megapixels {megapixels}", width=width, height=height)


@pytest.mark.parametrize("parameter", ["hires_scale", "upscale_by", "upscale_factor"])
def test_upscaling_counts_towards_the_limit(parameter: str) -> None:
    with pytest.raises(BadRequest, match="4 megapixels"):
        passed("megapixels 2", width=1024, height=1024, extra={parameter: 2})
    photo = InputImage(image_file(1024, 1024), "image/png")
    with pytest.raises(BadRequest, match="16 megapixels"):
        passed("megapixels 2", images=(photo,), extra={parameter: 4.0})


def test_a_longer_timeout_is_lowered_with_a_notice() -> None:
    request = passed("timeout 300", timeout=900.0)
    assert request.timeout == 300
    assert request.notices == ("`timeout` became 300 seconds: the owner allows no more.",)
    assert passed("timeout 300", timeout=200.0).notices == ()


@pytest.mark.parametrize(
    ("parts", "largest_size"),
    [
        ({"width": 100, "height": 50}, (100, 50)),
        ({"width": 100, "height": 50, "extra": {"upscale_by": 1.5}}, (150, 75)),
        ({"width": 100, "height": 50, "extra": {"upscale_by": 0.5}}, (100, 50)),
        ({"width": 100, "height": 50, "extra": {"upscale_by": 2, "hires_scale": 3}}, (300, 150)),
        ({"width": 100, "height": 50, "extra": {"upscale_by": "2"}}, (100, 50)),
        ({}, None),
        ({"extra": {"upscale_by": 2}}, None),
        ({"images": (InputImage(image_file(10, 20), "image/png"),)}, None),
        ({"images": (InputImage(image_file(10, 20), "image/png"),), "extra": {"upscale_by": 1}}, None),
        ({"images": (InputImage(image_file(10, 20), "image/png"),), "extra": {"upscale_by": 2}}, (20, 40)),
    ],
)
def test_the_largest_image_that_is_asked_for(parts: dict[str, object], largest_size: tuple[int, int] | None) -> None:
    assert largest(ImageRequest(model="m", prompt="", **parts)) == largest_size  # type: ignore[arg-type]


def test_one_pixel_over_the_limit_is_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        passed("megapixels 1.5", width=1024, height=1537)
    assert str(refused.value) == (
        "An image of 1.5 megapixels (1024×1537) was asked for; the owner allows at most 1.5 megapixels. Ask for a smaller "
        "image, or let the owner change “Limits” (limits) in the provider's settings."
    )
    assert passed("megapixels 1.5", width=1024, height=1536)
