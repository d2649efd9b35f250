"""The shared types: requests, images, results, and images inside JSON."""

import base64
from collections.abc import Callable
from dataclasses import asdict, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import entities
from models.entities import GeneratedImage, ImageRequest, ImageResult, Kept, Price, SideFile, from_base64
from tests.fakes import image_file
from tests.video_files import mp4

TEXTS = st.text(alphabet="AQgw+/-_= \n%é", max_size=12)


@given(st.binary(max_size=100))
def test_encoded_bytes_are_decoded(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert from_base64(text) == from_base64(f"data:image/png;base64,{text}") == data


def test_line_breaks_and_url_safe_base64_are_read() -> None:
    assert from_base64("AQID\r\nBAUG \n") == b"\1\2\3\4\5\6"
    assert from_base64("-_8=") == b"\xfb\xff"


@given(TEXTS)
def test_everything_else_is_refused(text: str) -> None:
    try:
        from_base64(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 -- whichever
            base64.b64decode(text, validate=True)


@pytest.mark.parametrize("text", ["%%%%", "AQI=AQI=", "é", "A"])
def test_text_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- whichever
        from_base64(text)


def test_the_defaults_of_a_request() -> None:
    """What a caller does not name, no service gets: only the number of images, the time limit and switches that are off."""
    said = {name: value for name, value in asdict(ImageRequest(model="m", prompt="a fox")).items() if value is not None}
    assert {name: value for name, value in said.items() if value or isinstance(value, bool)} == {
        "model": "m",
        "prompt": "a fox",
        "n": 1,
        "details": False,
        "timeout": 590.0,
        "cache": "off",
        "ai_label": "off",
    }


@pytest.mark.parametrize(
    ("width", "height", "size"), [(64, 48, (64, 48)), (64, None, None), (None, 48, None), (None, None, None)]
)
def test_a_size_has_two_sides(width: int | None, height: int | None, size: tuple[int, int] | None) -> None:
    assert ImageRequest(model="m", prompt="", width=width, height=height).size == size


def test_the_seed_is_that_of_the_first_image() -> None:
    assert ImageRequest(model="m", prompt="", seeds=(0, 1)).seed == 0
    assert ImageRequest(model="m", prompt="").seed is None


def test_every_text_that_may_show_counts() -> None:
    request = ImageRequest(model="m", prompt="a fox", stamp="Sale", extra={"title": "New", "scale": 2, "empty": ""})
    assert request.texts == ("a fox", "Sale", "New")


@pytest.mark.parametrize(("asked", "used"), [(59.0, 59.0), (60.0, 60.0), (60.5, 60.0)])
def test_only_a_longer_timeout_is_lowered(asked: float, used: float) -> None:
    request = ImageRequest(model="m", prompt="", timeout=asked, notices=("first",))
    lowered = request.lowered(60.0, "Dify waits no longer")
    assert lowered.timeout == used
    told = () if asked == used else ("`timeout` became 60 seconds: Dify waits no longer.",)
    assert lowered.notices == ("first", *told)


def test_no_notices_change_nothing() -> None:
    request = ImageRequest(model="m", prompt="")
    assert request.with_notices() is request
    assert request.with_notices("a", "b").notices == ("a", "b")


@pytest.mark.parametrize(
    ("suffix", "is_variant", "is_document", "mime_type"),
    [
        ("900x383", True, False, "image/png"),
        ("thumb", False, False, "image/png"),
        ("zip", False, True, "application/zip"),
        ("html", False, True, "text/html; charset=utf-8"),
    ],
)
def test_kinds_of_side_files(suffix: str, is_variant: bool, is_document: bool, mime_type: str) -> None:
    side = SideFile(suffix, image_file())
    assert (side.is_variant, side.is_document, side.mime_type) == (is_variant, is_document, mime_type)


def test_a_generated_image_tells_its_type_and_size_from_its_bytes() -> None:
    image = GeneratedImage(image_file(64, 48, kind="JPEG"))
    assert (image.is_video, image.mime_type, image.size, image.poster) == (False, "image/jpeg", (64, 48), None)
    assert image.image_url == f"data:image/jpeg;base64,{base64.b64encode(image.data).decode()}"
    assert GeneratedImage(b"", url="https://cdn.example/1.png").image_url == "https://cdn.example/1.png"


def test_a_video_tells_its_frame() -> None:
    sides = (SideFile("thumb", b"t"), SideFile("poster", b"p"))
    video = GeneratedImage(mp4(), side_files=sides)
    assert (video.is_video, video.mime_type, video.poster) == (True, "video/mp4", b"p")


def test_variants_that_no_store_keeps_are_shown_as_images() -> None:
    sides = (SideFile("900x383", b"a"), SideFile("thumb", b"b"), SideFile("1x1", b"c"))
    image = GeneratedImage(image_file(), seed=7, side_files=sides)
    kept = replace(image, kept=Kept("k", "", {"900x383": ""}))
    assert image.loose_variants == (GeneratedImage(b"a", seed=7), GeneratedImage(b"c", seed=7))
    assert kept.loose_variants == (GeneratedImage(b"c", seed=7),)
    result = ImageResult(images=(image, kept), backend="b", model="m", prompt="")
    assert [shown.data for shown in result.shown.images] == [image.data, b"a", b"c", image.data, b"c"]


def test_the_price_of_a_result_is_its_own_else_the_cards_for_each_image() -> None:
    one = Price(Decimal("0.04"), "USD")
    result = ImageResult(images=(GeneratedImage(b""),) * 3, backend="b", model="m", prompt="")
    assert result.priced(one).price == Price(Decimal("0.12"), "USD")
    assert result.priced(None).price is None
    own = replace(result, price=Price(Decimal(1), "CNY"))
    assert own.priced(one) is own


def test_a_kept_image_is_sent_as_bytes_unless_the_owner_says_otherwise() -> None:
    assert Kept("p/a.png", "https://cdn.example/a.png").by_url is False


def test_a_result_is_the_answer_of_the_asked_model() -> None:
    answered = ImageResult(images=(), backend="b", model="made-it", prompt="").answered("asked")
    assert (answered.model, answered.answered_by, answered.cached) == ("asked", "made-it", False)


def test_a_notice_names_an_image_by_its_number_where_there_are_several() -> None:
    image, video = GeneratedImage(image_file()), GeneratedImage(mp4())
    one, two = (ImageResult(images=images, backend="b", model="m", prompt="") for images in ((image,), (image, video)))
    assert (one.name_of(0), two.name_of(0), two.name_of(1)) == ("The image", "Image 1", "Video 2")
    assert replace(one, images=(video,)).name_of(0) == "The video"


@pytest.mark.parametrize(("characters", "threads"), [(999_996, 0), (1_000_000, 1)])
def test_long_texts_are_decoded_in_a_thread(characters: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def in_thread(work: Callable[[str], bytes], text: str) -> bytes:
        calls.append(text)
        return work(text)

    monkeypatch.setattr(entities, "in_thread", in_thread)
    data = bytes(characters * 3 // 4)
    assert from_base64(base64.b64encode(data).decode()) == data
    assert len(calls) == threads
