"""The owner's limits for input images, and their error messages."""

import pytest

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.limits import Limits
from models.settings import Settings
from models.stages.request_limits import RequestLimits
from tests.asking import carried
from tests.fakes import image_file

PHOTO = InputImage(image_file(kind="JPEG"), "image/jpeg", "photo.jpg")
FIELD = "“Limits” (limits) in the provider's settings"


def edit(prompt: str = "make the shirt blue", *images: InputImage, mask: InputImage | None = None) -> ImageRequest:
    return ImageRequest(model="m", prompt=prompt, images=images or (PHOTO,), mask=mask)


def check(request: ImageRequest, limits: str = "") -> None:
    """The request passes unchanged, or BadRequest is raised."""
    settings = Settings({"limits": limits}, {})
    assert RequestLimits(Limits.read(settings), settings.where("limits"))(request, carried()) is request


def refusal(request: ImageRequest, limits: str = "") -> str:
    with pytest.raises(BadRequest) as refused:
        check(request, limits)
    return str(refused.value)


@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/png", "image/webp"])
def test_the_default_allows_the_three_common_formats(mime_type: str) -> None:
    check(edit("turn it", InputImage(b"x", mime_type)))


def test_the_default_allows_a_phone_photo_of_twelve_megapixels() -> None:
    check(edit("turn it", InputImage(b"x" * 9_000_000, "image/jpeg")))


def test_the_rules_do_not_apply_to_txt2img() -> None:
    check(ImageRequest(model="m", prompt="a fox"), "instruction 1")


def test_another_format_is_refused_by_name_and_setting() -> None:
    gif = InputImage(b"GIF89a", "image/gif", "party.gif")
    assert refusal(edit("turn it", PHOTO, gif)) == (
        "The edit was refused: party.gif is a GIF file; only JPEG, PNG, WEBP may be edited here. "
        f"Send it in one of these formats, or let the owner write `formats jpeg png webp gif` into {FIELD}."
    )


def test_the_list_in_a_refusal_allows_the_file() -> None:
    photo = InputImage(b"x", "image/heic", "IMG_0001.HEIC")
    assert "`formats jpeg png webp heic`" in refusal(edit("turn it", photo))
    check(edit("turn it", PHOTO, photo), "formats jpeg png webp heic")


def test_the_owner_chooses_the_formats() -> None:
    check(edit("turn it", InputImage(b"GIF89a", "image/gif")), "formats GIF .jpg")
    png = InputImage(b"x", "image/png")
    assert "only GIF, JPEG may" in refusal(edit("turn it", png), "formats GIF .jpg")
    check(edit("turn it", InputImage(b"x", "image/x-anything")), "formats 0")


def test_a_file_above_the_limit_is_refused_with_both_sizes() -> None:
    large = InputImage(b"x" * 5_100_000, "image/png")
    said = refusal(edit("turn it", large), "input 5 MB")
    assert said.startswith("The edit was refused: The input image has 5.1 MB; at most 5 MB may be edited here.")
    assert said.endswith(f"let the owner change `input 5 MB` in {FIELD}.")
    check(edit("turn it", large), "input 0")


def test_the_rules_apply_to_a_mask() -> None:
    mask = InputImage(b"BM", "image/bmp", "mask.bmp")
    assert "mask.bmp is a BMP file" in refusal(edit(mask=mask))


def test_an_instruction_above_the_limit_is_refused_with_both_lengths() -> None:
    assert "has 201 characters; at most 200" in refusal(edit("x" * 201), "instruction 200")
    check(edit("x" * 200), "instruction 200")
    check(edit("x" * 5000), "instruction 0")


def test_a_file_may_have_exactly_the_limit() -> None:
    check(edit("turn it", InputImage(b"x" * 5_000_000, "image/png")), "input 5 MB")
    assert "has 5.0 MB; at most 5 MB" in refusal(
        edit("turn it", InputImage(b"x" * 5_000_001, "image/png")), "input 5 MB"
    )


def test_the_defaults_are_ten_megabytes_and_two_thousand_characters() -> None:
    check(edit("x" * 2000, InputImage(b"x" * 10_000_000, "image/png")))
    assert "at most 10 MB" in refusal(edit("turn it", InputImage(b"x" * 10_000_001, "image/png")))
    assert "has 2001 characters; at most 2000" in refusal(edit("x" * 2001))


def test_a_long_file_name_is_cut() -> None:
    gif = InputImage(b"GIF89a", "image/gif", "n" * 200)
    assert refusal(edit("turn it", gif)).startswith(f"The edit was refused: {'n' * 100} is a GIF file;")
