"""The archive and the page beside a contact sheet, as the host gets them."""

import base64
import json
from dataclasses import replace

import pytest
from dify_plugin.entities.model.message import DocumentPromptMessageContent

from models.entities import GeneratedImage, ImageResult, Kept, SideFile
from models.output.delivery import MAX_LINE, deliver_each, deliver_whole
from models.output.documents import documents_of
from models.output.structured import OutputOptions, OutputSchema
from tests.fakes import image_file, noise

SHEET = image_file()
KEPT = Kept(
    "key", "https://cdn.example/1.png", {"zip": "https://cdn.example/1.zip", "html": "https://cdn.example/1.html"}
)
LINKS = "\n[originals.zip](https://cdn.example/1.zip) · [gallery.html](https://cdn.example/1.html)\n"
SCHEMA = OutputSchema.read({"type": "object", "properties": {"width": {"type": "integer"}}})


def sheet(archive: bytes, kept: Kept | None = KEPT, image: bytes = SHEET) -> ImageResult:
    sides = (SideFile("zip", archive), SideFile("html", b"<html>"))
    made = GeneratedImage(image, side_files=sides, kept=kept)
    return ImageResult(images=(made,), backend="contact_sheet", model="contact-sheet", prompt="")


def whole(result: ImageResult, **options: object) -> tuple[list[object], int]:
    """The contents behind the image, and the bytes of the line."""
    delivered = deliver_whole(result, OutputOptions(**options), duration=1)  # type: ignore[arg-type]
    length = sum(len(content.model_dump_json()) for content in delivered.contents)
    return [content for content in delivered.contents if content.type.value != "image"], length


def test_a_small_archive_is_a_document_and_both_addresses_are_told() -> None:
    (_, document, links), _ = whole(sheet(b"PK archive"))
    assert isinstance(document, DocumentPromptMessageContent)
    assert (document.mime_type, document.format, document.filename) == ("application/zip", "zip", "originals.zip")
    assert base64.b64decode(document.base64_data) == b"PK archive"
    assert links.data == LINKS  # type: ignore[attr-defined]


def test_a_stream_has_them_behind_the_image() -> None:
    delivered = deliver_each(sheet(b"PK archive"), OutputOptions(), duration=1)
    kinds = [content.type.value for one in delivered for content in one.contents]
    assert kinds == ["image", "text", "document", "text"]


@pytest.mark.parametrize("size", [2_000_000, 3_000_000, 3_700_000, 3_770_000, 20_000_000])
def test_a_line_is_never_too_long(size: int) -> None:
    result = sheet(bytes(size), image=noise(900, 900))
    _, length = whole(result)
    assert length < MAX_LINE
    for one in deliver_each(result, OutputOptions(), duration=1):
        assert sum(len(content.model_dump_json()) for content in one.contents) < MAX_LINE


def test_a_large_archive_is_told_by_its_address() -> None:
    (links,), _ = whole(sheet(bytes(20_000_000)))
    assert links.data == LINKS  # type: ignore[attr-defined]


def test_with_deliver_url_the_host_gets_the_archives_address() -> None:
    (_, document, _), _ = whole(sheet(bytes(20_000_000), replace(KEPT, by_url=True)))
    assert isinstance(document, DocumentPromptMessageContent)
    assert (document.url, document.base64_data) == ("https://cdn.example/1.zip", "")


def test_details_name_the_addresses() -> None:
    delivered = deliver_whole(sheet(b"PK archive"), OutputOptions(details=True), duration=1)
    details = json.loads(str(delivered.contents[0].data))
    assert (details["archive_url"], details["gallery_url"]) == (KEPT.side_urls["zip"], KEPT.side_urls["html"])
    assert "variants" not in details


def test_with_structured_output_no_text_stands_beside_the_json() -> None:
    contents, _ = whole(sheet(b"PK archive"), schema=SCHEMA)
    assert [type(content) for content in contents] == [DocumentPromptMessageContent]
    first, *others = deliver_each(sheet(b"PK archive"), OutputOptions(schema=SCHEMA), duration=1)
    assert first.contents[0].data == '{"width": 64}\n\n'
    assert [content.type.value for one in others for content in one.contents] == ["image", "document"]


def test_without_a_store_the_archive_is_still_delivered() -> None:
    (_, document), _ = whole(sheet(b"PK archive", kept=None))
    assert isinstance(document, DocumentPromptMessageContent)


def test_an_archive_goes_out_as_bytes_where_it_has_room() -> None:
    """Base64 makes four bytes of three, and 500 bytes of JSON stand around it."""
    image = GeneratedImage(image_file(), side_files=(SideFile("zip", bytes(3000)),))
    (content,) = documents_of(image, 4500, told=False)
    assert isinstance(content, DocumentPromptMessageContent)
    assert (content.base64_data, content.filename) == ("A" * 4000, "originals.zip")
    assert list(documents_of(image, 4499, told=True)) == []


@pytest.mark.parametrize(("further", "documents"), [(0, 1), (40_000, 0)])
def test_an_archive_has_the_room_that_the_image_and_its_data_uri_leave(further: int, documents: int) -> None:
    image = noise(500, 500)
    room = MAX_LINE - 2 * len(base64.b64encode(image)) - 45_000
    schema = OutputSchema({"image_url": {}})
    contents, _ = whole(sheet(bytes(room * 3 // 4 - 1000 + further), None, image), schema=schema)
    assert len(contents) == documents
