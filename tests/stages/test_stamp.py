"""The parameter `stamp`, and the owner's logo."""

import base64
from collections.abc import Iterator

import pytest
import responses
from cachetools import TTLCache

from models.backends.errors import BadRequest
from models.images.stamps import LogoStamp, QRStamp, TextStamp
from models.settings import Settings
from models.stages import stamp
from models.stages.stamp import check_marks, read_stamps, with_logo
from tests.fakes import image_file

LOGO = image_file(8, 8)
DATA_URI = f"data:image/png;base64,{base64.b64encode(LOGO).decode()}"

LOGOS: TTLCache[object, bytes] = stamp._logo.cache  # type: ignore[assignment]  # the stubs know any mapping


@pytest.fixture(autouse=True)
def _forget_logos() -> Iterator[None]:
    LOGOS.clear()
    yield
    LOGOS.clear()


@pytest.mark.parametrize(
    ("text", "stamps"),
    [
        ("", ()),
        (" ; ", ()),
        ("Sale; LOGO ;qr: https://a.example", (TextStamp("Sale"), LogoStamp(b""), QRStamp("https://a.example"))),
        ("QR：abc", (QRStamp("abc"),)),
        ("the logo", (TextStamp("the logo"),)),
        ("a;b;c;d;e;f", tuple(map(TextStamp, "abcdef"))),
        ("x" * 300, (TextStamp("x" * 300),)),
        ("qr:" + "x" * 301, (QRStamp("x" * 301),)),
    ],
)
def test_stamps_are_read_in_their_order(text: str, stamps: tuple[object, ...]) -> None:
    assert read_stamps(text) == stamps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b;c;d;e;f;g", "`stamp` names 7 stamps. Name at most 6."),
        ("x" * 301, "A text in `stamp` has 301 characters. Give at most 300."),
        ("qr:", "`qr:` in `stamp` has no content. Write the text or address behind it."),
        ("qr:" + "x" * 3000, "A QR code in `stamp` cannot hold 3000 characters. Give a shorter text or address."),
    ],
)
def test_stamps_beyond_a_bound_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_stamps(text)
    assert str(refused.value) == said


def test_the_logo_gets_its_file_in_its_place() -> None:
    stamps = (TextStamp("a"), LogoStamp(b""), TextStamp("b"))
    assert with_logo(stamps, DATA_URI) == ((TextStamp("a"), LogoStamp(LOGO), TextStamp("b")), ())
    assert with_logo([TextStamp("a")], "") == ((TextStamp("a"),), ())


def test_an_image_is_not_lost_to_a_logo_that_is_none() -> None:
    text = base64.b64encode(b"no image").decode()
    stamps, told = with_logo((TextStamp("a"), LogoStamp(b"")), f"data:image/png;base64,{text}")
    assert stamps == (TextStamp("a"),)
    assert told == (
        "The logo was left out: the file is not an image in a known format (PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, AVIF).",
    )


@responses.activate
def test_a_logo_is_fetched_once_also_from_a_private_address() -> None:
    responses.get("http://10.0.0.7/logo.png", body=LOGO)
    for _ in range(2):
        assert with_logo((LogoStamp(b""),), "http://10.0.0.7/logo.png") == ((LogoStamp(LOGO),), ())
    assert len(responses.calls) == 1


@responses.activate
def test_a_logo_that_cannot_be_fetched_is_told() -> None:
    responses.get("http://10.0.0.7/logo.png", status=404)
    stamps, (told,) = with_logo((LogoStamp(b""),), "http://10.0.0.7/logo.png")
    assert stamps == ()
    assert told.startswith("The logo was left out: ")
    assert told.endswith(".")


def test_marks_are_tried_when_a_form_is_saved() -> None:
    check_marks(Settings({}, {}))
    check_marks(Settings({"marks": f"logo {DATA_URI}"}, {}))
    with pytest.raises(BadRequest) as refused:
        check_marks(Settings({"marks": "logo data:image/png;base64,AAAA"}, {}))
    assert str(refused.value) == (
        "The logo in “Marks” (marks) in the provider's settings cannot be used: the file is not an image in a known format "
        "(PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, AVIF). Correct its address."
    )


def test_how_long_a_logo_is_waited_for_and_kept() -> None:
    assert (stamp._LOGO_SECONDS, stamp._LARGEST_LOGO) == (10, 4 * 1024 * 1024)
    assert (LOGOS.ttl, LOGOS.maxsize) == (3600, 64)
