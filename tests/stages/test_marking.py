"""Stamps, labels, variants and thumbnails of a result: what is made, what is refused before, what is told after."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses
import zxingcpp
from dify_plugin.entities.model.message import ImagePromptMessageContent
from PIL import Image

from models.backends.errors import BadRequest
from models.entities import GeneratedImage, ImageRequest, ImageResult, Kept, SideFile
from models.images.ai_label import EDITED, GENERATED, label_of
from models.images.integrity import check_whole
from models.images.sniff import sniff
from models.output.delivery import deliver_each, deliver_whole, usage_of
from models.output.structured import OutputOptions
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages import after_service, before_service, check
from models.stages.marking import Marking, MarkRules
from models.stages.stamp import _logo
from models.stages.variants import named_sizes, read_variants
from tests.asking import carried
from tests.fakes import image_file, noise

LOGO = f"data:image/png;base64,{base64.b64encode(image_file(colour=(0, 200, 0))).decode()}"
PAPER = image_file(640, 480, colour="white")


@pytest.fixture(autouse=True)
def _forget_logos() -> Iterator[None]:
    assert _logo.cache is not None
    _logo.cache.clear()
    yield
    assert _logo.cache is not None
    _logo.cache.clear()


def done(
    data: bytes | tuple[bytes, ...] = PAPER,
    form: dict[str, str] | None = None,
    prompt: str = "a fox",
    **options: object,
) -> ImageResult:
    files = data if isinstance(data, tuple) else (data,)
    images = tuple(GeneratedImage(file, url="https://service.example/1.png", seed=7) for file in files)
    result = ImageResult(images=images, backend="stub", model="stub-model", prompt=prompt)
    stage = Marking.read(Settings(form or {}, {}))
    return stage(result, carried(OutputOptions(**options), id="id-1"))  # type: ignore[arg-type]


def refusal(form: dict[str, str] | None = None, **parameters: object) -> str:
    request = ImageRequest(model="stub-model", prompt="a fox", **parameters)  # type: ignore[arg-type]
    with pytest.raises(BadRequest) as refused:
        MarkRules.read(Settings(form or {}, {}))(request, carried())
    return str(refused.value)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def codes(data: bytes) -> list[str]:
    return [code.text for code in zxingcpp.read_barcodes(opened(data).convert("RGB"))]


def aigc(data: bytes) -> dict[str, str]:
    label = label_of(data)
    assert label is not None
    return label.values


# --- the list of stages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [{"stamp": "a"}, {"ai_label": "metadata"}, {"ai_label": "visible"}, {"variants": "900x383"}, {"thumbnail": 64}],
)
def test_the_stage_is_listed_only_for_a_request_that_asks_for_it(asked: dict[str, object]) -> None:
    options = OutputOptions(**asked)  # type: ignore[arg-type]
    assert isinstance(before_service(Settings({}, {}), options)[-1], MarkRules)
    assert isinstance(after_service(Settings({}, {}), options)[-1], Marking)
    assert len(after_service(Settings({}, {}), OutputOptions())) == 2


# --- stamps ------------------------------------------------------------------------------------------------------------


def test_text_qr_code_and_logo_are_drawn_in_their_order() -> None:
    result = done(stamp="qr:https://a.example ; logo; 新品上市", form={"marks": f"logo {LOGO}, opacity 1"})
    (image,) = result.images
    assert result.notices == ()
    assert codes(image.data) == ["https://a.example"]
    greens = opened(image.data).convert("RGB").getcolors(2**20) or []
    assert (0, 200, 0) in {colour for _, colour in greens}
    assert (check_whole(image.data).mime_type, image.size, image.seed) == ("image/png", (640, 480), 7)


def test_the_services_address_is_dropped_because_it_shows_no_stamp() -> None:
    assert done(stamp="Sale").images[0].url is None
    assert done(variants="64x64").images[0].url == "https://service.example/1.png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_format_stays(kind: str) -> None:
    data = noise(320, 320, kind=kind)
    assert sniff(done(data, stamp="Sale").images[0].data).mime_type == f"image/{kind.lower()}"


def animation(kind: str, count: int = 3) -> bytes:
    frames = [Image.new("RGB", (160, 120), (80 * number, 20, 40)) for number in range(count)]
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=[100, 200, 300][:count], loop=0)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "made"), [("GIF", "WEBP"), ("PNG", "PNG"), ("WEBP", "WEBP")])
def test_every_frame_of_an_animation_is_stamped(kind: str, made: str) -> None:
    stamped = opened(done(animation(kind), stamp="A", form={"marks": "position center"}).images[0].data)
    assert (stamped.format, getattr(stamped, "n_frames", 1)) == (made, 3)
    durations = []
    for number in range(3):
        stamped.seek(number)
        stamped.load()
        durations.append(stamped.info["duration"])
        brightest = stamped.convert("L").getextrema()[1]
        assert isinstance(brightest, int)
        assert brightest > 150
    assert durations == [100, 200, 300]


def test_the_logo_is_fetched_once_and_may_be_at_a_private_address() -> None:
    form = {"marks": "logo http://10.0.0.7/logo.png"}
    with responses.RequestsMock() as server:
        server.get("http://10.0.0.7/logo.png", body=image_file(colour=(0, 200, 0)))
        assert [done(stamp="logo", form=form).notices for _ in range(3)] == [(), (), ()]
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"gone", 404, "The logo was left out: the address replied with HTTP 404."),
        (b"<html>", 200, "The logo was left out: the file is an HTML page, not an image."),
    ],
)
def test_an_image_is_not_lost_to_a_missing_logo(body: bytes, status: int, said: str) -> None:
    with responses.RequestsMock() as server:
        server.get("https://cdn.example/logo.png", body=body, status=status)
        result = done(stamp="logo; qr:x", form={"marks": "logo https://cdn.example/logo.png"})
    assert result.notices == (said,)
    assert codes(result.images[0].data) == ["x"]


@pytest.mark.parametrize("form", [{}, {"backend": "comfyui"}])
def test_saving_tries_the_logo(form: dict[str, str]) -> None:
    assert list(check(Settings({**form, "marks": f"logo {LOGO}"}, {}))) == []
    with responses.RequestsMock() as server:
        server.get("https://cdn.example/logo.png", status=404)
        (said,) = check(Settings({**form, "marks": "logo https://cdn.example/logo.png"}, {}))
    assert "The logo in “Marks” (marks) in the " in said
    assert "the address replied with HTTP 404. Correct its address." in said


def test_characters_without_a_glyph_are_left_out_and_told() -> None:
    assert done(stamp="Sale \ue123").notices == ("The stamp was written without \ue123: no font here has them.",)


def test_what_has_no_room_is_told_by_the_images_name() -> None:
    result = done((PAPER, image_file(64, 64)), stamp="qr:https://a.example")
    assert result.notices == ("Image 2 has no room for a QR code of 66 pixels; the stamp was left out.",)


@pytest.mark.parametrize(
    ("stamp", "said"),
    [
        ("logo", "`stamp` names the logo, and there is none. Write `logo` into “Marks” (marks)"),
        ("qr:", "`qr:` in `stamp` has no content"),
        (f"qr:{'x' * 2400}", "A QR code in `stamp` cannot hold 2400 characters"),
        ("x" * 301, "A text in `stamp` has 301 characters. Give at most 300."),
        (";".join("abcdefg"), "`stamp` names 7 stamps. Name at most 6."),
    ],
)
def test_a_bad_stamp_is_refused_before_the_service_is_asked(stamp: str, said: str) -> None:
    assert said in refusal(stamp=stamp)


def test_bad_marks_are_refused_before_the_service_is_asked() -> None:
    with pytest.raises(BadRequest, match="“opacity 7”"):
        before_service(Settings({"marks": "opacity 7"}, {}), OutputOptions(stamp="a"))


# --- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
def test_a_metadata_label_is_in_every_file_once(kind: str) -> None:
    data = noise(96, 64, kind=kind)
    result = done(
        (data, data),
        {"marks": 'producer "公司"', "storage_url": "file:///x"},
        ai_label="metadata",
        variants="64x64",
        thumbnail=32,
    )
    for number, image in enumerate(result.images):
        files = [image.data, *(side.data for side in image.side_files)]
        assert len(files) == 3
        for file in files:
            values = aigc(file)
            assert (values["ContentProducer"], values["ProduceID"]) == ("公司", ("id-1", "id-1-2")[number])


def test_a_label_that_needs_another_format_is_told() -> None:
    result = done(animation("GIF"), ai_label="metadata")
    assert sniff(result.images[0].data).mime_type == "image/webp"
    assert result.notices == ("The image was saved in another format, as its own takes no AI label.",)


def test_marks_that_were_broken_while_a_job_ran_cost_no_image() -> None:
    result = done(form={"marks": "opacity 7"}, stamp="qr:x; logo")
    assert codes(result.images[0].data) == ["x"]
    assert result.notices[0].startswith("“opacity 7” in “Marks” (marks)")


def test_a_metadata_label_changes_no_pixel() -> None:
    data = noise(96, 64, kind="JPEG")
    assert opened(done(data, ai_label="metadata").images[0].data).tobytes() == opened(data).tobytes()


def test_the_producer_is_the_model_where_the_owner_names_none() -> None:
    assert aigc(done(ai_label="metadata").images[0].data)["ContentProducer"] == "stub-model"


@pytest.mark.parametrize(("edited", "kind"), [(False, GENERATED), (True, EDITED)])
def test_edits_are_told_from_generations(edited: bool, kind: str) -> None:
    label = label_of(done(ai_label="metadata", edited=edited).images[0].data)
    assert label is not None
    assert label.source_type == kind


def test_a_visible_label_is_drawn_and_written_into_the_metadata() -> None:
    (image,) = done(ai_label="visible").images
    assert opened(image.data).convert("RGB").getpixel((40, 455)) != (255, 255, 255)
    assert aigc(image.data)["Label"] == "1"


@pytest.mark.parametrize(
    ("prompt", "marks", "chinese"),
    [
        ("a fox", "", False),
        ("一只狐狸", "", True),
        ("a fox", "language zh", True),
        ("一只狐狸", "language en", False),
        ("a fox", 'producer "示例公司"', True),
    ],
)
def test_the_label_speaks_the_owners_language_else_the_prompts(prompt: str, marks: str, chinese: bool) -> None:
    made = done(form={"marks": marks}, prompt=prompt, ai_label="visible").images[0].data
    labelled = {
        words: done(form={"marks": f"language {words}"}, ai_label="visible").images[0].data for words in ("zh", "en")
    }
    assert opened(made).tobytes() == opened(labelled["zh" if chinese else "en"]).tobytes()


def test_variants_have_the_visible_label_too() -> None:
    (image,) = done(image_file(800, 800, colour="white"), ai_label="visible", variants="800x200").images
    (variant,) = image.side_files
    assert sum(opened(variant.data).convert("L").histogram()[:150]) > 100  # pixels


def test_the_label_reaches_the_host_whatever_the_size_of_the_image() -> None:
    """Delivery makes a file of 12 MB fit into the host's line of 5 MB."""
    result = done(noise(2000, 2000), ai_label="metadata")
    (content,) = deliver_whole(result, OutputOptions(), duration=1).contents
    assert isinstance(content, ImagePromptMessageContent)
    delivered = base64.b64decode(content.base64_data)
    assert len(delivered) < 4_000_000 < len(result.images[0].data)
    assert aigc(delivered) == aigc(result.images[0].data)


def test_a_whole_request_is_marked_and_its_variants_cost_nothing() -> None:
    call = Call.of("preview", {"marks": "position center"}, "user-1")
    parameters = {"width": 256, "height": 256, "ai_label": "metadata", "variants": "64x64", "stamp": "qr:x", "n": 2}
    finished = call.generate(Asked(Conversation("a fox"), parameters))
    assert [codes(image.data) for image in finished.result.images] == [["x"], ["x"]]
    delivered = deliver_each(finished.result, finished.options, duration=1)
    assert len(delivered) == 4
    assert usage_of(finished.result, 1).completion_tokens == 2


def test_a_directive_sets_a_stamp_but_no_label() -> None:
    call = Call.of("preview", {}, "user-1")
    parameters = {"width": 256, "height": 256, "directives": "all"}
    prompt = "a fox --stamp qr:x --variants 64x64 --ai_label metadata"
    result = call.generate(Asked(Conversation(prompt), parameters)).result
    assert codes(result.images[0].data) == ["x"]
    assert label_of(result.images[0].data) is None
    assert "`--ai_label metadata` was ignored: only the node sets it." in result.notices


# --- variants and thumbnails -------------------------------------------------------------------------------------------


def test_a_variant_is_cut_around_the_middle_and_scaled() -> None:
    wide = Image.new("RGB", (900, 300), "red")
    wide.paste("blue", (300, 0, 600, 300))
    out = io.BytesIO()
    wide.save(out, "PNG")
    (image,) = done(out.getvalue(), variants="100x100").images
    assert image.data == out.getvalue()
    assert [side.suffix for side in image.side_files] == ["100x100"]
    middle = opened(image.side_files[0].data).convert("RGB").crop((10, 0, 90, 100))
    assert middle.getcolors() == [(8000, (0, 0, 255))]


def test_a_variant_that_is_larger_is_told() -> None:
    assert done(variants="64x64, 900x383").notices == (
        "The image is smaller than its variant 900×383, which was scaled up.",
    )


def test_without_storage_a_thumbnail_is_told_and_variants_are_further_images() -> None:
    result = done((PAPER, PAPER), variants="64x32", thumbnail=48)
    assert result.notices == ("No thumbnail was made: it needs storage, which the owner has not set up.",)
    assert len(result.images) == 2
    assert [image.size for image in result.shown.images] == [(640, 480), (64, 32), (640, 480), (64, 32)]
    assert [image.seed for image in result.shown.images] == [7, 7, 7, 7]


def test_what_a_store_keeps_is_no_further_image() -> None:
    sides = (SideFile("64x32", PAPER), SideFile("32x32", PAPER), SideFile("thumb", PAPER))
    kept = Kept("key", "https://cdn.example/1.png", {"64x32": "https://cdn.example/1.64x32.png", "thumb": "https://x"})
    image = GeneratedImage(PAPER, side_files=sides, kept=kept)
    result = ImageResult(images=(image,), backend="stub", model="stub-model", prompt="")
    assert len(result.shown.images) == 2  # the upload of the second variant failed


def test_with_storage_a_thumbnail_is_a_small_webp() -> None:
    result = done(form={"storage_url": "file:///x"}, thumbnail=48, stamp="Sale")
    (thumb,) = result.images[0].side_files
    assert (thumb.suffix, sniff(thumb.data).mime_type, opened(thumb.data).size) == ("thumb", "image/webp", (48, 36))
    assert result.notices == ()


def test_variants_and_thumbnail_are_kept_beside_the_image(tmp_path: Path) -> None:
    form = {"storage_url": f"file://{tmp_path}", "storage_public_url": "https://cdn.example"}
    parameters = {
        "width": 256,
        "height": 256,
        "variants": "64x32, wechat-square",
        "thumbnail": 48,
        "ai_label": "metadata",
    }
    finished = Call.of("preview", form, "user-1").generate(Asked(Conversation("a fox"), parameters))
    (image,) = finished.result.images
    assert image.kept is not None
    stem = image.kept.url.removesuffix(".png")
    endings = {"64x32": ".64x32.png", "500x500": ".500x500.png", "thumb": ".thumb.webp"}
    assert image.kept.side_urls == {suffix: f"{stem}{ending}" for suffix, ending in endings.items()}
    for path in tmp_path.rglob("*.*"):
        assert aigc(path.read_bytes())["ProduceID"] in path.name
    assert len(finished.result.shown.images) == 1


def test_every_name_of_the_table_is_a_size_with_a_source() -> None:
    assert read_variants("900 × 383, WeChat_Cover，taobao-main\n100X200") == ((900, 383), (800, 800), (100, 200))
    assert {"wechat-cover", "douyin-cover", "taobao-main", "xiaohongshu", "amazon-main", "instagram"} <= set(
        named_sizes()
    )
    for name, size in named_sizes().items():
        assert read_variants(name) == ((size.width, size.height),)
        assert size.source


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        (
            "wechat-covr",
            "“wechat-covr” in `variants` is neither a size nor a known name. Write a size like 900x383, or one of wechat-cover",
        ),
        ("900", "“900” in `variants` is neither a size nor a known name"),
        ("8x8", "“8x8” in `variants` is too small or too large. Give sides between 16 and 4096 pixels."),
        ("5000x100", "is too small or too large"),
        (", ".join(f"{side}x64" for side in range(64, 77)), "`variants` names 13 sizes. Name at most 12."),
    ],
)
def test_a_bad_variant_is_refused_before_the_service_is_asked(variants: str, said: str) -> None:
    assert said in refusal(variants=variants)


def test_a_variant_obeys_the_owners_limit_of_pixels() -> None:
    said = refusal({"limits": "megapixels 1"}, variants="2000x2000")
    assert said == "The variant 2000×2000 is larger than the 1 megapixels that the owner allows. Ask for a smaller one."


def test_a_file_that_cannot_be_decoded_is_delivered_with_a_notice() -> None:
    data = image_file(kind="JPEG")[:-40]
    result = done(data, stamp="Sale")
    assert result.images[0].data == data
    assert "was left without stamps, label, variants and thumbnail" in result.notices[0]
