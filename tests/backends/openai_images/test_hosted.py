"""OpenAI and Azure OpenAI as they are billed and addressed, and gateways that hide images in chat completions."""

import json
from base64 import b64encode
from decimal import Decimal

import pytest
import responses

from models.backends.errors import BadRequest, ImageError
from models.backends.openai_images import OpenAIImages
from models.backends.openai_images.prices import price_of
from models.entities import ImageResult, InputImage, Price
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file

OPENAI = "https://api.openai.com/v1"
AZURE = "https://kettles.openai.azure.com"
DATED = f"{AZURE}/openai/deployments/painter"
VERSION = "api-version=2025-04-01-preview"
PNG = image_file(96, 64)
B64 = b64encode(PNG).decode()
USAGE = {
    "input_tokens": 1012,
    "input_tokens_details": {"text_tokens": 12, "image_tokens": 1000},
    "output_tokens": 1588,
    "output_tokens_details": {"text_tokens": 100, "image_tokens": 1488},
    "total_tokens": 2600,
}
IMAGE = {"created": 1, "data": [{"b64_json": B64}], "usage": USAGE}
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")


def bound(base_url: str, model: str, dialect: str = "auto") -> OpenAIImages:
    form = {"backend": "openai_images", "base_url": base_url, "api_key": MARKER_KEY, "dialect": dialect}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, OpenAIImages)
    return backend


def generate(backend: OpenAIImages, **parts: object) -> ImageResult:
    backend.require_access()
    backend.learn(backend.within(5.0))
    return backend.invoke(asking.asked(backend, "a copper kettle", **{"timeout": 60.0, **parts}))


def sent(place: int = -1) -> dict[str, object]:
    body = json.loads(responses.calls[place].request.body or b"")
    assert isinstance(body, dict)
    return body


# ---- prices


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("gpt-image-2", "0.0527"),  # (12 x 5 + 1000 x 8 + 1488 x 30) / 1 000 000
        ("gpt-image-2-2026-04-21", "0.0527"),
        ("gpt-image-2.5-flare", "0.0527"),
        ("gpt-image-2.5-sunburst-2026-09-08", "0.0527"),
        ("gpt-image-2.6-sunburst", "0.0527"),
        ("gpt-image-1.5", "0.056676"),  # ... + 1488 x 32 + 100 x 10
    ],
)
def test_a_price_is_counted_from_the_tokens_of_the_reply(model: str, cost: str) -> None:
    assert price_of(USAGE, model) == Price(Decimal(cost), "USD")


def test_without_details_all_tokens_out_are_of_images() -> None:
    usage = {"input_tokens": 10, "input_tokens_details": {"text_tokens": 10, "image_tokens": 0}, "output_tokens": 1000}
    assert price_of(usage, "gpt-image-2") == Price(Decimal("0.03005"), "USD")


@pytest.mark.parametrize("model", ["gpt-image-1-mini", "gpt-image-3", "my-gpt-image-2", "chatgpt-image-latest"])
def test_a_model_outside_the_table_has_no_price(model: str) -> None:
    assert price_of(USAGE, model) is None


@pytest.mark.parametrize("usage", [None, {}, [], {"input_tokens": 10, "output_tokens": 5}, {"total_tokens": "many"}])
def test_a_reply_without_its_tokens_has_no_price(usage: object) -> None:
    assert price_of(usage, "gpt-image-2") is None


@responses.activate
@pytest.mark.parametrize(
    ("base_url", "priced"), [(OPENAI, True), (f"{AZURE}/openai/v1", True), ("https://gate.test/v1", False)]
)
def test_a_gateway_has_a_price_of_its_own(base_url: str, *, priced: bool) -> None:
    responses.post(f"{base_url}/images/generations", json=IMAGE)
    result = generate(bound(base_url, "gpt-image-2", "azure" if "azure" in base_url else "openai"))
    assert result.price == (Price(Decimal("0.0527"), "USD") if priced else None)


# ---- a quality that is refused

REFUSED = {"error": {"message": "Invalid value for this model.", "param": "quality", "code": "invalid_value"}}


@responses.activate
def test_a_refused_quality_is_lowered_step_by_step_with_a_notice() -> None:
    url = f"{OPENAI}/images/generations"
    for _ in range(2):
        responses.post(url, json=REFUSED, status=400)
    responses.post(url, json=IMAGE)
    result = generate(bound(OPENAI, "gpt-image-2.5-flare"), extra={"quality": "max"})
    assert [sent(place)["quality"] for place in range(3)] == ["max", "xhigh", "high"]
    assert "The service refused the quality `max`; `xhigh` was used." in result.notices
    assert "The service refused the quality `xhigh`; `high` was used." in result.notices


@responses.activate
@pytest.mark.parametrize("quality", ["high", "ultra"])
def test_no_other_quality_is_replaced(quality: str) -> None:
    responses.post(f"{OPENAI}/images/generations", json=REFUSED, status=400)
    with pytest.raises(BadRequest, match="Invalid value for this model"):
        generate(bound(OPENAI, "gpt-image-2.5-flare"), extra={"quality": quality})
    assert len(responses.calls) == 1


# ---- Azure


@responses.activate
@pytest.mark.parametrize(
    "base_url", [AZURE, f"{AZURE}/", f"{AZURE}/openai", f"{AZURE}/openai/v1/", f"{AZURE}/openai/v1/images/generations"]
)
def test_azures_v1_address_gets_the_deployment_as_the_model(base_url: str) -> None:
    responses.post(f"{AZURE}/openai/v1/images/generations", json=IMAGE)
    generate(bound(base_url, "painter"), width=1600, height=900, extra={"quality": "high"})
    assert sent() == {
        "model": "painter",
        "prompt": "a copper kettle",
        "n": 1,
        "size": "1536x1024",
        "quality": "high",
        "output_format": "png",
    }
    headers = responses.calls[-1].request.headers
    assert headers["api-key"] == MARKER_KEY
    assert "Authorization" not in headers


@responses.activate
@pytest.mark.parametrize("host", ["kettles.cognitiveservices.azure.com", "kettles.services.ai.azure.com"])
def test_azures_other_hosts_are_recognised_too(host: str) -> None:
    responses.post(f"https://{host}/openai/v1/images/generations", json=IMAGE)
    backend = bound(f"https://{host}", "gpt-image-2")
    assert generate(backend, width=1600, height=900).images
    assert sent()["size"] == "1600x896"


@responses.activate
def test_a_dated_deployment_keeps_its_query_and_gets_no_model() -> None:
    responses.post(f"{DATED}/images/generations?{VERSION}", json=IMAGE)
    responses.post(f"{DATED}/images/edits?{VERSION}", json=IMAGE)
    backend = bound(f"{DATED}/images/generations?{VERSION}", "gpt-image-2")
    assert generate(backend).images
    assert "model" not in sent()
    assert generate(backend, images=(PHOTO,)).images
    assert b'name="model"' not in (responses.calls[-1].request.body or b"")
    assert all(call.request.headers["api-key"] == MARKER_KEY for call in responses.calls)


def test_a_dated_deployment_without_its_version_is_refused() -> None:
    with pytest.raises(BadRequest, match="needs its API version") as caught:
        bound(DATED, "gpt-image-2").require_access()
    assert "(base_url)" in caught.value.next_step


@responses.activate
def test_a_chosen_azure_behind_another_host_gets_the_key_header() -> None:
    responses.post("https://apim.test/openai/v1/images/generations", json=IMAGE)
    generate(bound("https://apim.test/openai/v1", "painter", "azure"))
    assert responses.calls[-1].request.headers["api-key"] == MARKER_KEY
    assert "response_format" not in sent()


@responses.activate
def test_saving_an_azure_form_names_what_the_deployment_is_taken_for() -> None:
    responses.get(f"{AZURE}/openai/v1/models", json={"data": [{"id": "gpt-image-2"}]})
    recognised, treated = bound(AZURE, "painter").check_access()
    assert "(azure)" in recognised
    assert treated.startswith("The deployment painter is treated as gpt-image;")


@responses.activate
@pytest.mark.parametrize(("status", "known"), [(404, False), (400, True)])
def test_saving_a_dated_deployment_finds_out_whether_it_exists(status: int, *, known: bool) -> None:
    responses.get(f"{DATED}/models?{VERSION}", status=404, json={})
    error = {"message": "The API deployment for this resource does not exist.", "code": "DeploymentNotFound"}
    responses.post(f"{DATED}/images/generations?{VERSION}", status=status, json={"error": error if not known else {}})
    backend = bound(f"{DATED}?{VERSION}", "gpt-image-2")
    if known:
        assert "treated as gpt-image-2" in backend.check_access()[1]
    else:
        with pytest.raises(BadRequest):
            backend.check_access()


FILTERED = {
    "error": {
        "code": "content_policy_violation",
        "message": "Your request was rejected as a result of our safety system.",
        "type": "invalid_request_error",
        "param": None,
        "inner_error": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_results": {
                "violence": {"filtered": True, "severity": "low"},
                "jailbreak": {"filtered": True, "detected": True},
                "sexual": {"filtered": False, "severity": "safe"},
            },
        },
    }
}


@responses.activate
@pytest.mark.parametrize("code", ["content_policy_violation", "content_filter", "contentFilter", "moderation_blocked"])
def test_azures_filter_is_a_refusal_that_names_the_categories(code: str) -> None:
    body = {"error": {**FILTERED["error"], "code": code}}
    responses.post(f"{AZURE}/openai/v1/images/generations", json=body, status=400)
    with pytest.raises(ImageError) as caught:
        generate(bound(AZURE, "painter"))
    assert isinstance(caught.value, BadRequest)
    assert "content filter" in caught.value.next_step
    assert "(filtered: violence low, jailbreak)" in caught.value.said
    assert len(responses.calls) == 1


# ---- images inside chat completions

GATE = "https://gate.test/v1"


def chat(message: dict[str, object]) -> dict[str, object]:
    return {"id": "c", "choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


@responses.activate
@pytest.mark.parametrize(
    "message",
    [
        {"content": "", "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}}]},
        {"content": f"Here it is:\n\n![kettle](data:image/png;base64,{B64})\n\nEnjoy."},
        {"content": f"![image]({GATE}/files/o.png)"},
        {
            "content": [
                {"type": "text", "text": "done"},
                {"type": "image_url", "image_url": {"url": f"{GATE}/files/o.png"}},
            ]
        },
    ],
)
def test_an_image_in_a_chat_message_is_delivered(message: dict[str, object]) -> None:
    responses.post(f"{GATE}/chat/completions", json=chat(message))
    responses.get(f"{GATE}/files/o.png", body=PNG)
    result = generate(bound(GATE, "gemini-3.1-flash-image", "chat"))
    assert [image.data for image in result.images] == [PNG]


@responses.activate
def test_a_chat_without_an_image_quotes_what_the_model_wrote() -> None:
    responses.post(
        f"{GATE}/chat/completions", json=chat({"content": "I would rather not, see [terms](https://x.test)."})
    )
    with pytest.raises(ImageError, match="I would rather not"):
        generate(bound(GATE, "gemini-3.1-flash-image", "chat"))


@responses.activate
def test_a_gateway_that_refuses_modalities_is_asked_without_them() -> None:
    error = {"message": "Unknown parameter: 'modalities'.", "param": "modalities", "code": "unknown_parameter"}
    responses.post(f"{GATE}/chat/completions", json={"error": error}, status=400)
    responses.post(f"{GATE}/chat/completions", json=chat({"content": f"![image](data:image/png;base64,{B64})"}))
    assert generate(bound(GATE, "painter", "chat")).images
    assert [("modalities" in sent(place)) for place in (0, 1)] == [True, False]
