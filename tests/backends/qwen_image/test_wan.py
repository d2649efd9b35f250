"""Wan and Z-Image at Model Studio: bodies compared completely, prices, sizes, and the strict fake server."""

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from models.backends.errors import BadRequest, ImageError
from models.backends.qwen_image import QwenImage
from models.backends.qwen_image.models import model_for
from models.backends.qwen_image.wire import Plan, plan
from models.entities import ImageResult, InputImage, Price
from tests.asking import asked, bound
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.qwen_image import FakeModelStudio, model_studio

WIDE = InputImage(image_file(1600, 800, kind="JPEG"), "image/jpeg", "photo.jpg")
NEW_WAN = ("wan2.7-image", "wan2.7-image-pro", "wan2.6-t2i", "wan2.6-image")
OLD_WAN = ("wan2.5-t2i-preview", "wan2.5-i2i-preview")
EDITS = ("wan2.6-image", "wan2.5-i2i-preview")


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelStudio]:
    """The fake server as the host of Beijing, so that the region's prices apply."""
    from models.backends.qwen_image import account  # noqa: PLC0415 -- only its table is replaced

    with model_studio(key=MARKER_KEY) as server:
        regions = {name: replace(region, base_url=server.url) for name, region in account.REGIONS.items()}
        monkeypatch.setattr(account, "REGIONS", regions)
        yield server


def backend(model: str, clock: FakeClock | None = None, **fields: str) -> QwenImage:
    found = bound(model, {"dashscope_api_key": MARKER_KEY, **fields}, clock)
    assert isinstance(found, QwenImage)
    return found


def made(model: str, clock: FakeClock, **wishes: Any) -> ImageResult:
    found = backend(model, clock)
    return found.invoke(asked(found, "a paper-cut fox", **wishes))


def planned(model: str, *, asynchronous: bool = True, **wishes: Any) -> Plan:
    request = asked(backend(model), wishes.pop("prompt", "a paper-cut fox"), **{"seed": 42, **wishes})
    return plan(request, model_for(model), model, asynchronous=asynchronous)


def sent(model: str, **wishes: Any) -> dict[str, Any]:
    return planned(model, **wishes).calls[0].json_body()


def data_url(image: InputImage) -> str:
    return f"data:{image.mime_type};base64,{base64.b64encode(image.data).decode()}"


# ---- bodies


def test_wan_27_always_sends_its_number_because_the_service_makes_four() -> None:
    made = planned("wan2.7-image", width=1600, height=900)
    assert made.jobs == "image-generation"
    assert made.calls[0].json_body() == {
        "model": "wan2.7-image",
        "input": {"messages": [{"role": "user", "content": [{"text": "a paper-cut fox"}]}]},
        "parameters": {"size": "1600*896", "n": 1, "watermark": False, "seed": 42},
    }


def test_wan_27_thinks_without_images_only() -> None:
    assert sent("wan2.7-image", extra={"enable_thinking": False})["parameters"]["thinking_mode"] is False
    edit = planned("wan2.7-image", images=(WIDE,), extra={"enable_thinking": True})
    parameters = edit.calls[0].parameters
    assert (parameters.thinking_mode, parameters.enable_thinking) == (None, None)
    assert edit.notices == ("The model does not think about input images: `enable_thinking` was left out.",)
    assert planned("wan2.7-image", images=(WIDE,), extra={"enable_thinking": False}).notices == ()


def test_wan_26_takes_a_negative_prompt_and_an_extended_one() -> None:
    assert sent("wan2.6-t2i", negative_prompt="text", prompt_extend=False)["parameters"] == {
        "size": "1280*1280",
        "n": 1,
        "negative_prompt": "text",
        "prompt_extend": False,
        "watermark": False,
        "seed": 42,
    }


def test_wan_25_edits_by_a_list_of_images() -> None:
    made = planned("wan2.5-i2i-preview", images=(WIDE, WIDE), negative_prompt="text", n=2)
    assert made.jobs == "images2image"
    assert [call.json_body() for call in made.calls] == [
        {
            "model": "wan2.5-i2i-preview",
            "input": {"prompt": "a paper-cut fox", "negative_prompt": "text", "images": [data_url(WIDE)] * 2},
            "parameters": {"size": "1808*896", "n": 2, "prompt_extend": True, "watermark": False, "seed": 42},
        }
    ]


def test_wan_25_paints_by_a_prompt() -> None:
    assert sent("wan2.5-t2i-preview", negative_prompt="text") == {
        "model": "wan2.5-t2i-preview",
        "input": {"prompt": "a paper-cut fox", "negative_prompt": "text"},
        "parameters": {"size": "1280*1280", "n": 1, "prompt_extend": True, "watermark": False, "seed": 42},
    }


def test_z_image_gets_neither_a_number_nor_a_watermark_and_does_not_extend_the_prompt() -> None:
    made = planned("z-image-turbo", n=2)
    assert made.jobs is None
    bodies: list[dict[str, Any]] = [call.json_body() for call in made.calls]
    assert [body["parameters"].pop("seed") for body in bodies] == [42, 43]
    body = {
        "model": "z-image-turbo",
        "input": {"messages": [{"role": "user", "content": [{"text": "a paper-cut fox"}]}]},
        "parameters": {"size": "1024*1536", "prompt_extend": False},
    }
    assert bodies == [body, body]


@pytest.mark.parametrize(
    ("model", "most"),
    [("wan2.7-image", 5000), ("wan2.6-t2i", 2100), ("wan2.5-t2i-preview", 2000), ("z-image-turbo", 800)],
)
def test_a_prompt_is_cut_after_its_characters_on_every_endpoint(model: str, most: int) -> None:
    assert planned(model, prompt="x" * most).notices == ()
    longer = planned(model, prompt="x" * (most + 1))
    assert longer.notices == (f"The prompt has {most + 1} characters; the model reads the first {most}.",)
    assert longer.jobs == model_for(model).jobs


# ---- sizes


@pytest.mark.parametrize(
    ("model", "given", "size"),
    [
        ("wan2.7-image", (4096, 4096), "2048*2048"),
        ("wan2.7-image-pro", (4096, 4096), "4096*4096"),
        ("wan2.7-image", (512, 512), "768*768"),
        ("wan2.6-t2i", (1024, 1024), "1280*1280"),
        ("wan2.6-t2i", (2048, 2048), "1440*1440"),
        ("z-image-turbo", (512, 512), "512*512"),
    ],
)
def test_a_size_comes_within_the_models_area(model: str, given: tuple[int, int], size: str) -> None:
    assert sent(model, width=given[0], height=given[1])["parameters"]["size"] == size


def test_wan_27_pro_edits_at_up_to_two_thousand_pixels_a_side() -> None:
    assert sent("wan2.7-image-pro", images=(WIDE,), width=4096, height=4096)["parameters"]["size"] == "2048*2048"


@pytest.mark.parametrize(("ratio", "size"), [("3:4", "1104*1472"), ("16:9", "1696*960"), ("1:1", "1280*1280")])
def test_wan_paints_the_recommended_sizes(ratio: str, size: str) -> None:
    assert sent("wan2.6-t2i", aspect_ratio=ratio)["parameters"]["size"] == size


# ---- the service


@pytest.mark.parametrize("model", [*NEW_WAN, *OLD_WAN])
def test_four_images_are_one_job_and_all_choices_are_collected(
    model: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    images = (WIDE,) if model in EDITS else ()
    result = made(model, clock, n=4, seed=7, images=images)
    assert len(result.images) == 4
    assert len({image.data for image in result.images}) == 4
    assert len(studio.of_kind("submit")) == 1
    each = Decimal("0.50") if model == "wan2.7-image-pro" else Decimal("0.20")
    assert result.price == Price(4 * each, "CNY")


@pytest.mark.parametrize("model", NEW_WAN)
def test_a_token_plan_uses_the_synchronous_endpoint(model: str, studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.key = "sk-sp-marker"
    found = bound(model, {"dashscope_api_key": studio.key, "dashscope_base_url": studio.url}, clock)
    images = (WIDE,) if model in EDITS else ()
    assert found.invoke(asked(found, "a fox", images=images)).images
    assert studio.of_kind("submit") == []


@pytest.mark.parametrize(("extend", "price"), [(None, "0.10"), (False, "0.10"), (True, "0.20")])
def test_an_extended_prompt_of_z_image_costs_twice_as_much(
    *, extend: bool | None, price: str, studio: FakeModelStudio, clock: FakeClock
) -> None:
    wishes = {} if extend is None else {"prompt_extend": extend}
    result = made("z-image-turbo", clock, **wishes)
    assert [image.size for image in result.images] == [(1024, 1536)]
    assert result.price == Price(Decimal(price), "CNY")
    assert studio.of_kind("generate")[0].body["parameters"]["prompt_extend"] is bool(extend)


def test_a_transparent_image_becomes_white_for_wan(studio: FakeModelStudio, clock: FakeClock) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (600, 400), (200, 0, 0, 120)).save(out, "PNG")
    assert made("wan2.7-image", clock, images=(InputImage(out.getvalue(), "image/png", "logo.png"),)).images


@pytest.mark.parametrize("model", ["wan2.7-image", *EDITS])
def test_a_small_image_is_scaled_to_what_wan_takes(model: str, studio: FakeModelStudio, clock: FakeClock) -> None:
    result = made(model, clock, images=(InputImage(image_file(200, 150), "image/png", "thumb.png"),))
    assert any("was scaled from 200×150" in notice for notice in result.notices)


@pytest.mark.parametrize("model", [*NEW_WAN, *OLD_WAN])
def test_a_filtered_job_is_a_refusal(model: str, studio: FakeModelStudio, clock: FakeClock) -> None:
    studio.statuses = ["RUNNING", "FAILED"]
    studio.final = {"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."}
    with pytest.raises(ImageError) as caught:
        made(model, clock, images=(WIDE,) if model in EDITS else ())
    assert isinstance(caught.value, BadRequest)
    assert "content filter" in caught.value.next_step


def test_one_filtered_image_of_an_old_job_is_a_notice(studio: FakeModelStudio, clock: FakeClock) -> None:
    found = backend("wan2.5-t2i-preview", clock)
    job = found.submit(asked(found, "a fox", n=2))
    (task,) = studio._tasks.values()
    results = task.output["results"]
    assert isinstance(results, list)
    results[1] = {"code": "DataInspectionFailed", "message": "blocked"}
    assert isinstance(job, dict)
    result = found.check(job)
    assert isinstance(result, ImageResult)
    assert len(result.images) == 1
    assert result.price == Price(Decimal("0.20"), "CNY")
    assert any("blocked" in notice for notice in result.notices)


@pytest.mark.parametrize("model", ["wan2.7-image", "z-image-turbo", "wan2.5-t2i-preview"])
def test_a_model_is_refused_outside_its_regions(model: str, clock: FakeClock) -> None:
    found = backend(model, clock, dashscope_region="us")
    with pytest.raises(BadRequest, match="is offered in Beijing and Singapore, not in US"):
        found.invoke(asked(found, "a fox"))


def test_too_many_images_are_refused_before_anything_is_sent(studio: FakeModelStudio, clock: FakeClock) -> None:
    with pytest.raises(BadRequest):
        made("wan2.7-image", clock, images=(WIDE,) * 10)
    assert studio.requests == []
