"""The archive and the page beside a contact sheet."""

import base64
import io
import zipfile

import pytest
from PIL import Image

from models.backends.contact_sheet.gallery import Original, file_name, page, zipped
from models.images.codec import encode
from tests.fakes import image_file, noise

SHOWN = Image.open(io.BytesIO(noise(32, 24)))


def original(caption: str, address: str = "", kind: str = "PNG") -> Original:
    return Original(caption, image_file(kind=kind), SHOWN, address)


@pytest.mark.parametrize(
    ("number", "caption", "kind", "name"),
    [
        (1, "Tea pot", "PNG", "001-Tea-pot.png"),
        (12, "茶 & co.", "JPEG", "012-茶-co.jpg"),
        (123, "../..", "WEBP", "123.webp"),
        (1000, "", "PNG", "1000.png"),
        (1, "x" * 61, "PNG", f"001-{'x' * 60}.png"),
    ],
)
def test_a_file_is_named_by_its_number_and_its_caption(number: int, caption: str, kind: str, name: str) -> None:
    assert file_name(number, original(caption, kind=kind)) == name


def test_the_archive_holds_the_files_as_they_are_and_is_the_same_every_time() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped([original("a"), original("b", kind="JPEG")]))) as archive:
        known = [(entry.filename, entry.date_time, entry.compress_type) for entry in archive.infolist()]
        assert archive.read("002-b.jpg") == image_file(kind="JPEG")
    assert known == [(name, (2026, 1, 1, 0, 0, 0), zipfile.ZIP_STORED) for name in ("001-a.png", "002-b.jpg")]


def test_the_page_shows_each_image_and_links_a_lasting_address() -> None:
    html = page([original("a < b", "https://a.example/?x=1&y=2"), original("c")], "").decode()
    source = base64.b64encode(encode(SHOWN, "webp", 80)).decode()
    assert html.count(f'src="data:image/webp;base64,{source}"') == 2
    assert html.count('<a href="https://a.example/?x=1&amp;y=2" rel="noreferrer"><img') == html.count("<a ") == 1
    assert [html.count(f"<figcaption>{caption}</figcaption>") for caption in ("a &lt; b", "c")] == [1, 1]


def test_a_page_without_a_title_has_no_heading() -> None:
    titled, untitled = page([original("a")], "Tea & co").decode(), page([original("a")], "").decode()
    assert "<title>Tea &amp; co</title>" in titled
    assert "<h1>Tea &amp; co</h1>" in titled
    assert "<title>Images</title>" in untitled
    assert "<h1>" not in untitled
