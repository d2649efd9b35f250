"""The contact sheet as a model: what is drawn, told, kept beside it and refused."""

import base64
import io
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import gevent
import pytest
import responses
from dify_plugin.entities.model.message import ImagePromptMessageContent, UserPromptMessage
from PIL import Image

from models.backends.contact_sheet import sheet
from models.backends.contact_sheet.links import LinkFetcher
from models.backends.contact_sheet.sheet import SheetCell, drawn_sheet
from models.backends.errors import BadRequest
from models.entities import ImageResult, InputImage
from models.pipeline import Asked, Call
from models.request.conversation import Conversation, read_conversation
from tests.asking import asked, bound
from tests.drawings import drawings_of, looks_as_before
from tests.fakes import image_file

HOSTS = {"limits": "hosts files.internal"}
BASE = "http://files.internal"
ID = "3f2a9c51-d2e8-4b06-9c51-3f2a9c51d2e8"
COLOURS = [(255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 160, 0), (160, 0, 160)]


def photo(number: int, size: tuple[int, int] = (120, 180)) -> bytes:
    return image_file(*size, colour=COLOURS[number % len(COLOURS)])


def packed(
    text: str, files: Mapping[str, bytes | int], form: Mapping[str, str] = HOSTS, **parameters: object
) -> ImageResult:
    """The sheet of a prompt; `files` are bodies or statuses by their paths."""
    with responses.RequestsMock() as server:
        for path, body in files.items():
            server.get(f"{BASE}{path}", **({"status": body} if isinstance(body, int) else {"body": body}))
        conversation = read_conversation([UserPromptMessage(content=text)])
        return Call.of("contact-sheet", form, "user-1").generate(Asked(conversation, parameters)).result


def links(count: int) -> str:
    return "\n\n".join(f"![Product {number}]({BASE}/{number}.png)\nProduct {number}" for number in range(count))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def colours_in(sheet: Image.Image) -> set[int]:
    """The numbers of COLOURS that fill at least a hundred pixels, nearly."""
    seen = [(count, colour) for count, colour in sheet.getcolors(2**24) or [] if isinstance(colour, tuple)]
    return {
        number
        for number, wanted in enumerate(COLOURS)
        if sum(count for count, colour in seen if math.dist(colour, wanted) < 20) > 100
    }


def test_the_images_of_a_prompt_are_on_one_sheet() -> None:
    result = packed(f"Autumn\n{links(5)}", {f"/{number}.png": photo(number) for number in range(5)}, cell_size=160)
    (image,) = result.images
    assert (image.mime_type, result.prompt, result.notices) == ("image/jpeg", "Autumn", ())
    assert colours_in(opened(image.data)) == {0, 1, 2, 3, 4}
    assert result.price is not None
    assert result.price.amount == 0
    assert image.side_files == ()


def test_the_format_and_the_columns_are_as_asked() -> None:
    files = {f"/{number}.png": photo(number, (100, 100)) for number in range(4)}
    tall = packed(links(4), files, columns=1, cell_size=96, output_format="png").images[0]
    wide = packed(links(4), files, columns=4, cell_size=96, output_format="webp").images[0]
    assert (tall.mime_type, wide.mime_type) == ("image/png", "image/webp")
    assert tall.size[0] < 120
    assert tall.size[1] > 400
    assert wide.size[1] < 150
    assert wide.size[0] > 400


def test_a_dead_link_and_a_broken_file_cost_only_themselves() -> None:
    dead = f"/files/tools/{ID}.png"
    text = f"{links(2)}\n![Lost]({BASE}{dead}?timestamp=1&nonce=2&sign=3)\n![Page]({BASE}/page)"
    result = packed(text, {"/0.png": photo(0), "/1.png": photo(1), dead: 403, "/page": b"<html>"})
    assert colours_in(opened(result.images[0].data)) == {0, 1}
    assert result.notices == (
        "Image 3 (Lost) is missing: the address replied with HTTP 403.",
        "Image 4 (Page) is missing: the file is an HTML page, not an image.",
        "Dify's own links work for 300 seconds: make the sheet sooner, raise FILES_ACCESS_TIMEOUT, or use storage.",
        "Send a PNG, JPEG or WebP file.",
    )


def test_an_error_without_details_is_told_by_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fetcher: LinkFetcher, address: str) -> bytes:
        raise BadRequest("The link is not allowed")

    monkeypatch.setattr(LinkFetcher, "fetch", refuse)
    with pytest.raises(BadRequest) as caught:
        packed(links(1), {})
    assert caught.value.said == "The link is not allowed"


def test_without_any_image_the_first_reason_is_told() -> None:
    with pytest.raises(BadRequest, match="None of the 2 images can be shown: the address replied with HTTP 404"):
        packed(links(2), {"/0.png": 404, "/1.png": 404})


def test_input_images_are_shown_whatever_their_names() -> None:
    backend = bound("contact-sheet", {})
    images = tuple(InputImage(photo(number), "image/png", f"mask {number}.png") for number in range(3))
    (image,) = backend.invoke(asked(backend, "Samples", images=images)).images
    assert colours_in(opened(image.data)) == {0, 1, 2}


def test_the_conversations_images_are_not_split_into_image_and_mask() -> None:
    conversation = Conversation("Samples", images=(part("mask.png"), part("photo.png")))
    result = Call.of("contact-sheet", {}, "user-1").generate(Asked(conversation, {})).result
    assert result.notices == ()


def part(name: str) -> ImagePromptMessageContent:
    data = base64.b64encode(image_file(mode="L", colour=128)).decode()
    return ImagePromptMessageContent(format="png", mime_type="image/png", base64_data=data, filename=name)


@pytest.mark.parametrize("prompt", ["", "no images here", "[a link](https://a.example/1.png)"])
def test_without_images_the_request_is_refused(prompt: str) -> None:
    with pytest.raises(BadRequest, match=r"contact-sheet was given no images\. Write Markdown image links"):
        packed(prompt, {})


def test_too_many_images_are_refused() -> None:
    with pytest.raises(BadRequest, match="61 images were given; a sheet holds 60"):
        packed(links(61), {})


def test_sixty_images_are_one_sheet() -> None:
    backend = bound("contact-sheet", {})
    images = tuple(InputImage(image_file(8, 8), "image/png", "a.png") for _ in range(60))
    assert len(backend.invoke(asked(backend, "", images=images, extra={"cell_size": 96})).images) == 1


def test_six_links_are_fetched_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0

    def fetch(fetcher: LinkFetcher, address: str) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        gevent.sleep(0)
        running -= 1
        return photo(1)

    monkeypatch.setattr(LinkFetcher, "fetch", fetch)
    packed(links(8), {})
    assert most == 6


def test_a_sheet_has_cells_of_384_pixels_and_quality_88() -> None:
    usual = packed(links(1), {"/0.png": photo(0)}).images[0]
    chosen = packed(links(1), {"/0.png": photo(0)}, cell_size=384).images[0]
    assert usual.data == chosen.data
    alike = image_file(kind="JPEG", quality=88)
    tables = [Image.open(io.BytesIO(data)).quantization for data in (usual.data, alike)]  # type: ignore[attr-defined]
    assert tables[0] == tables[1]


def test_smaller_cells_than_asked_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "_LARGEST_SHEET", 40_000)
    result = packed(links(1), {"/0.png": photo(0)}, cell_size=400)
    assert len(result.notices) == 1
    assert re.fullmatch(r"`cell_size` became \d+: a sheet has at most 16 megapixels\.", result.notices[0])


def test_nothing_has_to_be_checked_and_no_text_is_needed() -> None:
    backend = bound("contact-sheet", {})
    assert backend.check_access() == ()
    assert backend.needs_prompt({}) is False
    assert backend.capabilities.images == 60
    assert backend.capabilities.links


def test_other_models_never_see_the_links() -> None:
    conversation = read_conversation([UserPromptMessage(content=f"a fox {links(1)}")])
    assert conversation.prompt == "a fox \nProduct 0"
    result = Call.of("preview", {}, "user-1").generate(Asked(conversation, {"width": 64, "height": 64})).result
    assert result.prompt == "a fox \nProduct 0"


def test_directives_stand_behind_the_links() -> None:
    text = f"{links(2)}\n--columns 1 --cell_size 96"
    result = packed(text, {"/0.png": photo(0), "/1.png": photo(1)}, directives="all")
    assert result.images[0].size[0] < 120


# --- beside the sheet ----------------------------------------------------------------------------------------------------


def test_with_storage_an_archive_and_a_page_lie_beside_the_sheet(tmp_path: Path) -> None:
    dify = f"/files/tools/{ID}.png"
    text = f"Tea <b>\n![Tea & <script>]({BASE}/1.png)\n![../etc/passwd]({BASE}{dify}?timestamp=1&nonce=2&sign=3)"
    form = {**HOSTS, "storage_url": f"file://{tmp_path}", "storage_public_url": "https://cdn.example/sheets"}
    result = packed(text, {"/1.png": photo(1), dify: photo(2)}, form, cell_size=96)
    archive, page = result.images[0].side_files
    assert (archive.suffix, archive.mime_type, archive.is_document) == ("zip", "application/zip", True)
    with zipfile.ZipFile(io.BytesIO(archive.data)) as opened_zip:
        assert opened_zip.namelist() == ["001-Tea-script.png", "002-etc-passwd.png"]
        assert [opened_zip.read(name) for name in opened_zip.namelist()] == [photo(1), photo(2)]
    html = page.data.decode()
    assert (page.suffix, page.mime_type, page.is_document) == ("html", "text/html; charset=utf-8", True)
    assert "Tea &amp; &lt;script&gt;" in html
    assert "<script" not in html
    assert f'href="{BASE}/1.png"' in html
    assert dify not in html  # it is dead after minutes
    assert html.count("data:image/webp;base64,") == 2
    kept = result.images[0].kept
    assert kept is not None
    stem = kept.url.removesuffix(".jpg")
    assert stem.startswith("https://cdn.example/sheets/")
    assert kept.side_urls == {"zip": f"{stem}.zip", "html": f"{stem}.html"}
    stored = {path.suffix: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert stored == {".jpg": result.images[0].data, ".zip": archive.data, ".html": page.data}


# --- the grid ------------------------------------------------------------------------------------------------------------


def cells(count: int, size: tuple[int, int]) -> list[SheetCell]:
    return [SheetCell(f"{number}", Image.new("RGB", size)) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 12, 30, 60])
@pytest.mark.parametrize("size", [(128, 128), (256, 144), (144, 256), (256, 40)])
def test_the_grid_is_neither_a_strip_nor_mostly_empty(count: int, size: tuple[int, int]) -> None:
    sheet, _ = drawn_sheet(cells(count, size), "", 0, 128)
    assert 0.25 < sheet.width / sheet.height < 5.5
    width, height = (side * 128 / max(size) for side in size)
    assert sheet.width * sheet.height < 4.5 * count * max(width, 50) * max(height, 50) + 30_000


def test_a_sheet_has_at_most_16_megapixels_and_that_is_told() -> None:
    sheet, used = drawn_sheet(cells(60, (1024, 1024)), "Many", 0, 1024)
    assert sheet.width * sheet.height <= 16_000_000
    assert 400 < used < 1024


def test_a_long_title_and_a_long_caption_are_cut() -> None:
    cell = SheetCell("很长的说明文字 " * 40, Image.new("RGB", (200, 200)))
    sheet, _ = drawn_sheet([cell], "Title " * 100, 0, 200)
    assert sheet.width < 230
    assert sheet.height < 330


@pytest.mark.parametrize("name", drawings_of("sheet"))
def test_a_sheet_looks_as_before(name: str) -> None:
    assert looks_as_before(name)
