"""The result for the host: unchanged images if they fit, and no line over the limit."""

import base64
import io
import json
import os
from collections.abc import Callable, Iterable
from decimal import Decimal
from unittest.mock import patch

import pytest
from dify_plugin.core.entities.message import SessionMessage
from dify_plugin.core.server.__base.writer_entities import Event, StreamOutputMessage
from dify_plugin.entities.model.llm import LLMResultWithStructuredOutput
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    TextPromptMessageContent,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import JsonValue, TypeAdapter

from models.backends.errors import ServerUnavailable
from models.entities import GeneratedImage, ImageRequest, ImageResult, Kept, Price
from models.images import codec
from models.output import delivery
from models.output.delivery import MAX_LINE, Delivered, deliver_each, deliver_whole, usage_of
from models.output.structured import PROPERTIES, OutputOptions, OutputSchema
from models.settings import Settings
from models.stages import after_service
from tests.asking import carried
from tests.fakes import image_file, noise

PLAIN = OutputOptions()
EVERYTHING = PROPERTIES
KEPT = Kept("p/a.png", "https://cdn.example/a.png", {"thumb": "https://cdn.example/t", "9x3": "https://cdn.example/9"})
WHERE = {
    "storage_key": "p/a.png",
    "thumbnail_url": "https://cdn.example/t",
    "variants": {"9x3": "https://cdn.example/9"},
}


def schema_of(names: Iterable[str]) -> OutputSchema:
    return OutputSchema({name: {} for name in names})


def asking(*names: str, details: bool = False) -> OutputOptions:
    """Options with a schema that names these properties without a type."""
    return OutputOptions(details=details, schema=schema_of(names))


def result_of(*images: GeneratedImage | bytes, **changes: object) -> ImageResult:
    made = tuple(GeneratedImage(image) if isinstance(image, bytes) else image for image in images)
    return ImageResult(images=made, **{"backend": "preview", "model": "preview", "prompt": "a cat", **changes})  # type: ignore[arg-type]


def behind_the_stages(result: ImageResult, options: OutputOptions) -> ImageResult:
    for stage in after_service(Settings({}, {})):
        result = stage(result, carried(options))
    return result


def line(delivered: Delivered) -> bytes:
    """The line as written by the SDK."""
    answer = LLMResultWithStructuredOutput(
        model="preview",
        message=AssistantPromptMessage(content=list(delivered.contents)),
        usage=usage_of(result_of(image_file()), 1.0),
        structured_output=delivered.structured_output,
    )
    message = SessionMessage(type=SessionMessage.Type.STREAM, data=answer.model_dump())
    whole = StreamOutputMessage(event=Event.SESSION, session_id="0" * 36, data=message.model_dump())
    return whole.model_dump_json().encode()


def image_contents(delivered: Delivered) -> list[ImagePromptMessageContent]:
    return [content for content in delivered.contents if isinstance(content, ImagePromptMessageContent)]


def files(delivered: Delivered) -> list[bytes]:
    return [base64.b64decode(content.base64_data, validate=True) for content in image_contents(delivered)]


def opened(delivered: Delivered) -> list[Image.Image]:
    images: list[Image.Image] = [Image.open(io.BytesIO(data)) for data in files(delivered)]
    for image in images:
        image.load()
    return images


def details(delivered: Delivered) -> dict[str, JsonValue]:
    first = delivered.contents[0]
    assert isinstance(first, TextPromptMessageContent)
    assert first.data.endswith("\n")
    assert first.data.count("\n") == 1
    read: dict[str, JsonValue] = json.loads(first.data)
    return read


@pytest.mark.parametrize(("kind", "name"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "gif")])
def test_an_image_that_fits_keeps_its_bytes(kind: str, name: str) -> None:
    data = image_file(kind=kind)
    delivered = deliver_whole(result_of(data), PLAIN, duration=1.0)
    (content,) = delivered.contents
    assert isinstance(content, ImagePromptMessageContent)
    assert (content.format, content.mime_type, content.url) == (name, f"image/{name}", "")
    assert files(delivered) == [data]
    assert delivered.structured_output is None


def test_images_that_fit_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "decode", lambda _: pytest.fail("it was decoded"))
    data = noise(300, 300)
    assert files(deliver_whole(result_of(data, data), PLAIN, duration=1)) == [data, data]


def test_an_image_that_cannot_be_compressed_does_not_affect_the_others() -> None:
    """The container is intact, but no decoder can read its content."""
    broken = noise(1400, 1400, kind="JPEG", quality=100).replace(b"\xff\xc4\x00", b"\xff\xc4\x00\x13\xff\xff\xff", 1)
    options = OutputOptions(details=True)
    with patch.object(delivery, "MAX_LINE", 400_000):
        delivered = deliver_whole(result_of(broken, image_file()), options, duration=1)
        with pytest.raises(ServerUnavailable, match="The image of preview cannot be used: the file is damaged"):
            deliver_each(result_of(broken), options, duration=1)
    assert files(delivered) == [image_file()]
    assert "Image 1 was left out: the file is damaged" in str(details(delivered)["notices"])


def test_details_are_one_line_before_the_images() -> None:
    image = GeneratedImage(image_file(), url="https://service.example/1.png", seed=7)
    delivered = deliver_whole(result_of(image, notices=("Size changed",)), OutputOptions(details=True), duration=1.234)
    assert [content.type.value for content in delivered.contents] == ["text", "image"]
    assert details(delivered) == {
        "model": "preview",
        "backend": "preview",
        "seed": 7,
        "width": 64,
        "height": 48,
        "duration_seconds": 1.23,
        "cached": False,
        "answered_by": "preview",
        "notices": ["Size changed"],
        "image_url": "https://service.example/1.png",
    }


def test_details_of_several_images_list_each() -> None:
    images = (GeneratedImage(image_file(), seed=7), GeneratedImage(image_file(8, 8), seed=2**60))
    listed = details(deliver_whole(result_of(*images), OutputOptions(details=True), duration=1))["images"]
    assert listed == [
        {"seed": 7, "width": 64, "height": 48},
        {"seed": "1152921504606846976", "width": 8, "height": 8},
    ]


def test_each_image_gets_its_own_chunk_and_the_first_the_details() -> None:
    result = result_of(image_file(), image_file(8, 8), image_file(9, 9))
    chunks = deliver_each(result, OutputOptions(details=True), duration=1)
    assert [[content.type.value for content in chunk.contents] for chunk in chunks] == [
        ["text", "image"],
        ["image"],
        ["image"],
    ]
    assert [image.size for chunk in chunks for image in opened(chunk)] == [(64, 48), (8, 8), (9, 9)]


def test_structured_output_holds_the_requested_properties() -> None:
    image = GeneratedImage(image_file(), seed=7)
    options = asking("seed", "prompt", "revised_prompt", "colour", "cost", "currency")
    delivered = deliver_whole(result_of(image, price=Price(Decimal("0.03"), "USD")), options, duration=1)
    assert delivered.structured_output == {"seed": 7, "prompt": "a cat", "cost": 0.03, "currency": "USD"}


def test_structured_output_in_a_stream_is_its_first_chunk_and_all_its_text() -> None:
    result = result_of(image_file(), image_file(8, 8))
    first, *others = deliver_each(result, asking("image_url", "seed", "images", details=True), duration=1)
    (text,) = first.contents
    assert isinstance(text, TextPromptMessageContent)
    assert text.data.endswith("}\n\n")
    assert [address["image_url"] for address in json.loads(text.data)["images"]] == [
        image.data for chunk in others for image in image_contents(chunk)
    ]
    assert [[content.type.value for content in chunk.contents] for chunk in others] == [["image"], ["image"]]


def test_structured_output_supports_every_property() -> None:
    image = GeneratedImage(image_file(), seed=7, revised_prompt="a grey cat", kept=KEPT)
    price = Price(Decimal("0.03"), "USD")
    options = asking(*EVERYTHING)
    delivered = deliver_whole(result_of(image).priced(price), options, duration=1)
    assert delivered.structured_output is not None
    assert tuple(delivered.structured_output) == EVERYTHING
    assert delivered.structured_output["cached"] is False
    assert delivered.structured_output["images"] == [
        {
            "image_url": "https://cdn.example/a.png",
            "mime_type": "image/png",
            "seed": 7,
            "width": 64,
            "height": 48,
            **WHERE,
        }
    ]


def test_a_kept_image_is_named_by_its_lasting_address() -> None:
    image = GeneratedImage(image_file(), url="https://service.example/1.png", kept=KEPT)
    delivered = deliver_whole(result_of(image), OutputOptions(details=True), duration=1)
    assert details(delivered).items() >= {"image_url": "https://cdn.example/a.png", **WHERE}.items()
    assert [content.base64_data for content in image_contents(delivered)] == [base64.b64encode(image_file()).decode()]


def test_a_folder_without_an_address_leaves_the_services_own() -> None:
    image = GeneratedImage(image_file(), url="https://service.example/1.png", kept=Kept("2026/a.png", ""))
    told = details(deliver_whole(result_of(image), OutputOptions(details=True), duration=1))
    assert (told["storage_key"], told["image_url"]) == ("2026/a.png", "https://service.example/1.png")


@pytest.mark.parametrize("deliver", [deliver_whole, lambda *args, **more: deliver_each(*args, **more)[0]])
def test_delivery_by_address_sends_no_bytes_and_changes_nothing(deliver: Callable[..., Delivered]) -> None:
    big = image_file() + bytes(6_000_000)
    kept = Kept("a.png", "https://cdn.example/a.png", by_url=True)
    delivered = deliver(result_of(GeneratedImage(big, kept=kept)), OutputOptions(details=True), duration=1)
    (image,) = image_contents(delivered)
    assert (image.url, image.base64_data, image.mime_type) == ("https://cdn.example/a.png", "", "image/png")
    assert details(delivered).items() >= {"width": 64, "height": 48, "notices": []}.items()
    assert len(json.dumps([content.model_dump(mode="json") for content in delivered.contents])) < 2000


def test_without_an_address_the_bytes_travel_in_the_line() -> None:
    image = GeneratedImage(image_file(), kept=Kept("a.png", "", by_url=True))
    (content,) = image_contents(deliver_whole(result_of(image), OutputOptions(), duration=1))
    assert (content.url, base64.b64decode(content.base64_data)) == ("", image_file())


def test_without_a_public_url_the_image_itself_is_the_url() -> None:
    delivered = deliver_whole(result_of(image_file()), asking("image_url"), duration=1)
    assert delivered.structured_output == {
        "image_url": f"data:image/png;base64,{base64.b64encode(image_file()).decode()}",
    }


def test_options_come_from_the_request_and_the_schema() -> None:
    request = ImageRequest(model="preview", prompt="a", output_format="webp", output_quality=70, details=True)
    schema = schema_of(["seed"])
    assert OutputOptions.of(request, schema) == OutputOptions(
        output_format="webp", output_quality=70, details=True, schema=schema
    )
    assert OutputOptions.of(request).schema is None


@given(
    st.builds(
        OutputOptions,
        output_format=st.sampled_from(["png", "jpeg", "webp", None]),
        output_quality=st.none() | st.integers(1, 100),
        details=st.booleans(),
        schema=st.none()
        | st.builds(
            lambda rules, required: OutputSchema.read({"properties": rules, "required": required}),
            st.dictionaries(st.text(), st.sampled_from([{}, True, {"type": "string", "minLength": 2}])),
            st.lists(st.text()),
        ),
    )
)
def test_options_survive_the_state_and_its_floats(options: OutputOptions) -> None:
    adapter = TypeAdapter(OutputOptions)
    state = json.loads(json.dumps(adapter.dump_python(options, mode="json")), parse_int=float)
    assert adapter.validate_python(state) == options


@pytest.fixture(scope="module")
def big() -> bytes:
    """4096×4096 of noise: 48 MB of PNG."""
    out = io.BytesIO()
    Image.frombytes("RGB", (4096, 4096), os.urandom(4096 * 4096 * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def test_a_hundred_megabytes_fit_into_one_line(big: bytes) -> None:
    small = noise(200, 200)
    options = asking("notices", details=True)
    delivered = deliver_whole(result_of(big, small, big), options, duration=1)
    assert MAX_LINE // 3 < len(line(delivered)) < MAX_LINE
    assert files(delivered)[1] == small
    sizes = [image.size for image in opened(delivered)]
    assert sizes[1] == (200, 200)
    assert all(200 < side < 4096 for side in sizes[0] + sizes[2])
    notices = details(delivered)["notices"]
    assert isinstance(notices, list)
    assert [str(notice)[:44] for notice in notices] == [
        "Image 1 was made smaller, 4096×4096 to " + str(notices[0])[39:44],
        "Image 3 was made smaller, 4096×4096 to " + str(notices[1])[39:44],
    ]


def test_each_chunk_is_a_line_of_its_own(big: bytes) -> None:
    options = OutputOptions(output_format="jpeg")
    result = behind_the_stages(result_of(big, noise(1100, 1100)), options)
    first, second = deliver_each(result, options, duration=1)
    assert [image.format for image in opened(first) + opened(second)] == ["JPEG", "JPEG"]
    assert MAX_LINE // 3 < len(line(first)) < MAX_LINE


def test_data_uris_in_the_structured_output_count_towards_the_limit() -> None:
    data = noise(1250, 1250)  # fits once and not three times
    options = asking("image_url", "images", "mime_type")
    delivered = deliver_whole(result_of(data), options, duration=1)
    assert files(deliver_whole(result_of(data), PLAIN, duration=1)) == [data]
    assert len(line(delivered)) < MAX_LINE
    assert delivered.structured_output is not None
    assert delivered.structured_output["mime_type"] == "image/webp"
    (content,) = image_contents(delivered)
    assert delivered.structured_output["image_url"] == content.data


def test_with_a_public_url_the_image_is_sent_once() -> None:
    data = noise(1250, 1250)
    image = GeneratedImage(data, url="https://service.example/1.png")
    options = asking("image_url", "images")
    assert files(deliver_whole(result_of(image), options, duration=1)) == [data]


def test_lossless_comes_before_lossy() -> None:
    loose = io.BytesIO()
    smooth = Image.merge("RGB", [Image.linear_gradient("L").resize((1300, 1300))] * 3)
    smooth.save(loose, "PNG", compress_level=0)
    delivered = deliver_whole(result_of(loose.getvalue()), OutputOptions(details=True), duration=1)
    (image,) = opened(delivered)
    assert image.convert("RGB").tobytes() == smooth.tobytes()
    assert "saved as WebP without loss" in str(details(delivered)["notices"])


def test_png_stays_png_while_that_is_enough() -> None:
    loose = io.BytesIO()
    Image.merge("RGB", [Image.linear_gradient("L").resize((1300, 1300))] * 3).save(loose, "PNG", compress_level=0)
    delivered = deliver_whole(result_of(loose.getvalue()), OutputOptions(output_format="png"), duration=1)
    assert [image.format for image in opened(delivered)] == ["PNG"]


def test_transparency_survives_compression() -> None:
    image = Image.open(io.BytesIO(noise(1500, 1500))).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((1500, 1500)))
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    (smaller,) = opened(deliver_whole(result_of(out.getvalue()), PLAIN, duration=1))
    assert (smaller.format, smaller.mode) == ("WEBP", "RGBA")


def test_long_text_does_not_exceed_the_line() -> None:
    words = "永" * 3_000_000
    result = result_of(
        GeneratedImage(noise(1200, 1200), url="https://service.example/" + "x" * 4_000_000, revised_prompt=words),
        prompt=words,
        notices=tuple(f"{number} {words}" for number in range(100)),
    )
    options = asking(*EVERYTHING, details=True)
    assert len(line(deliver_whole(result, options, duration=1))) < MAX_LINE


def test_more_images_than_a_line_can_hold_are_refused() -> None:
    with pytest.raises(ServerUnavailable, match="Ask for fewer images"):
        deliver_whole(result_of(*[image_file()] * 2000), PLAIN, duration=1)


SHAPES = [(16, 16), (64, 64), (300, 200), (400, 20), (9, 900)]
POOL = {(size, kind): noise(*size, kind=kind) for size in SHAPES for kind in ("PNG", "BMP", "JPEG", "WEBP")}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    images=st.lists(
        st.builds(
            lambda name, **words: GeneratedImage(POOL[name], **words),
            st.sampled_from(sorted(POOL)),
            url=st.none() | st.just("https://service.example/" + "y" * 7000),
            seed=st.none() | st.integers(0, 2**64),
            revised_prompt=st.none() | st.text(max_size=50),
        ),
        min_size=1,
        max_size=12,
    ),
    notices=st.lists(st.text(), max_size=30).map(tuple),
    options=st.builds(
        OutputOptions,
        output_format=st.sampled_from([None, "png", "jpeg", "webp"]),
        output_quality=st.none() | st.integers(1, 100),
        details=st.booleans(),
        schema=st.none() | st.lists(st.sampled_from(EVERYTHING), unique=True).map(schema_of),
    ),
)
def test_no_line_is_ever_too_long_and_every_image_decodes(
    images: list[GeneratedImage], notices: tuple[str, ...], options: OutputOptions
) -> None:
    """A lower limit gives the same calculation with small images in less time."""
    result = behind_the_stages(result_of(*images, notices=notices), options)
    with patch.object(delivery, "MAX_LINE", 400_000):
        whole = deliver_whole(result, options, duration=1)
        each = deliver_each(result, options, duration=1)
    assert max(len(line(message)) for message in (whole, *each)) < 400_000
    assert len(opened(whole)) == len(images)
    json_first = [0] if options.schema else []
    assert [len(opened(message)) for message in each] == json_first + [1] * len(images)


@pytest.mark.parametrize(
    ("own", "card", "total", "unit"),
    [
        (None, Price(Decimal("0.04"), "CNY"), ("0.08", "CNY"), "0.04"),
        (Price(Decimal("0.1"), "USD"), Price(Decimal("0.04"), "CNY"), ("0.1", "USD"), "0.05"),
        (None, None, ("0", "USD"), "0"),
    ],
)
def test_usage_counts_images_and_money(
    own: Price | None, card: Price | None, total: tuple[str, str], unit: str
) -> None:
    usage = usage_of(result_of(image_file(), image_file(), price=own).priced(card), 2.5)
    assert (usage.completion_tokens, usage.total_tokens, usage.prompt_tokens) == (2, 2, 0)
    assert (usage.total_price, usage.currency) == (Decimal(total[0]), total[1])
    assert usage.completion_unit_price == Decimal(unit)
    assert usage.latency == 2.5


@pytest.mark.parametrize(
    ("seed", "shown"), [(2**53, 2**53), (2**53 + 1, str(2**53 + 1)), (-(2**53), -(2**53)), (0, 0), (None, None)]
)
def test_a_seed_that_a_json_number_cannot_hold_is_text(seed: int | None, shown: JsonValue) -> None:
    delivered = deliver_whole(result_of(GeneratedImage(image_file(), seed=seed)), asking("seed"), duration=1)
    assert (delivered.structured_output or {}).get("seed") == shown


@pytest.mark.parametrize(
    ("count", "shown", "more"), [(20, 20, None), (21, 20, "… and 1 more notices"), (25, 20, "… and 5 more notices")]
)
def test_only_so_many_notices_are_told(count: int, shown: int, more: str | None) -> None:
    result = result_of(image_file(), notices=tuple(f"Notice {number}." for number in range(count)) * 2)
    told = details(deliver_whole(result, OutputOptions(details=True), duration=1))["notices"]
    assert told == [f"Notice {number}." for number in range(shown)] + ([more] if more else [])


@pytest.mark.parametrize(("length", "cut"), [(20_000, False), (20_001, True)])
def test_long_prompts_are_cut_in_the_answer(length: int, cut: bool) -> None:
    image = GeneratedImage(image_file(), revised_prompt="r" * length)
    output = deliver_whole(result_of(image, prompt="p" * length), asking("prompt", "revised_prompt"), duration=1)
    assert output.structured_output == {
        "prompt": "p" * 20_000 + ("…" if cut else ""),
        "revised_prompt": "r" * 20_000 + ("…" if cut else ""),
    }


@pytest.mark.parametrize(
    ("names", "url", "copies"),
    [
        ((), None, [0, 0]),
        (("image_url",), None, [1, 0]),
        (("images",), None, [1, 1]),
        (("image_url", "images"), None, [2, 1]),
        (("image_url", "images"), "https://a.example/1.png", [0, 0]),
        (("width",), None, [0, 0]),
    ],
)
def test_how_often_the_structured_output_holds_an_image(
    names: tuple[str, ...], url: str | None, copies: list[int]
) -> None:
    image = GeneratedImage(image_file(), url=url)
    options = asking(*names) if names else PLAIN
    report = delivery.Report(result_of(image, image), options, 1.0)
    assert [report.copies(number) for number in (0, 1)] == copies


@pytest.mark.parametrize(
    ("images", "price", "expected"),
    [
        (2, Price(Decimal("0.07"), "CNY"), ("0.035", "0.07", "CNY", 2)),
        (1, None, ("0", "0", "USD", 1)),
        (0, Price(Decimal("0.07"), "USD"), ("0", "0.07", "USD", 0)),
    ],
)
def test_the_unit_price_is_that_of_one_image(
    images: int, price: Price | None, expected: tuple[str, str, str, int]
) -> None:
    usage = usage_of(result_of(*[image_file()] * images, price=price), 1.5)
    unit, total, currency, count = expected
    assert (usage.completion_unit_price, usage.total_price, usage.completion_price) == (
        *map(Decimal, (unit, total, total)),
    )
    assert (usage.currency, usage.completion_tokens, usage.total_tokens, usage.latency) == (currency, count, count, 1.5)
    assert (usage.prompt_tokens, usage.prompt_price, usage.completion_price_unit) == (0, Decimal(0), Decimal(1))


def test_durations_are_told_in_hundredths_of_a_second() -> None:
    output = deliver_whole(
        result_of(image_file()), asking("duration_seconds", "cached", "answered_by"), duration=1.23456
    )
    assert output.structured_output == {"duration_seconds": 1.23, "cached": False, "answered_by": "preview"}
