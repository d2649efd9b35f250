"""OpenRouter with a fake server over HTTP: both APIs, both forms, costs and refusals."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
import responses

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.backends.openrouter import ModelFacts, OpenRouter, body_of
from models.catalog import cards
from models.entities import ImageRequest, ImageResult, InputImage, Price
from models.settings import Settings
from models.sizes import SeedRule
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.openrouter import BASE, FakeOpenRouter, openrouter

PREDEFINED = sorted(card.model for card in cards().values() if card.backend == "openrouter")
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")


@pytest.fixture
def server() -> Iterator[FakeOpenRouter]:
    with openrouter(key=MARKER_KEY) as fake:
        yield fake


def predefined(fake: FakeOpenRouter, model: str, clock: FakeClock | None = None) -> OpenRouter:
    form = {"openrouter_api_key": MARKER_KEY, "openrouter_base_url": fake.url + BASE}
    return _checked(asking.bound(model, form, clock))


def custom(fake: FakeOpenRouter, model: str, *, key: str = MARKER_KEY, clock: FakeClock | None = None) -> OpenRouter:
    form = {"backend": "openrouter", "base_url": fake.url + BASE, "api_key": key, "remote_model": model}
    return _checked(asking.bound("my-model", form, clock))


def _checked(backend: object) -> OpenRouter:
    assert isinstance(backend, OpenRouter)
    return backend


def generate(backend: OpenRouter, **parts: object) -> ImageResult:
    backend.require_access()
    backend.learn(backend.within(5.0))
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 30.0, **parts}))


# ---- what is sent


def test_the_images_api_gets_the_ratio_and_the_models_own_parameters() -> None:
    request = ImageRequest(
        model="m", prompt="a fox", width=1344, height=768, images=(PHOTO,), extra={"quality": "high"}
    )
    assert body_of(ModelFacts(model="openai/gpt-image-2"), request, 7) == {
        "model": "openai/gpt-image-2",
        "prompt": "a fox",
        "aspect_ratio": "16:9",
        "quality": "high",
        "seed": 7,
        "input_references": [{"type": "image_url", "image_url": {"url": PHOTO.data_url}}],
    }


def test_chat_completions_get_the_images_as_parts_of_the_message() -> None:
    facts = ModelFacts(model="google/gemini-3.1-flash-image", api="chat/completions")
    request = ImageRequest(model="m", prompt="a fox", images=(PHOTO,), extra={"resolution": "2K"})
    parts = [{"type": "text", "text": "a fox"}, {"type": "image_url", "image_url": {"url": PHOTO.data_url}}]
    assert body_of(facts, request, None) == {
        "model": "google/gemini-3.1-flash-image",
        "messages": [{"role": "user", "content": parts}],
        "modalities": ["image", "text"],
        "image_config": {"image_size": "2K"},
    }
    assert "image_config" not in body_of(facts, ImageRequest(model="m", prompt="a fox"), None)


# ---- generating


@pytest.mark.parametrize("model", PREDEFINED)
def test_a_predefined_model_takes_a_single_request(server: FakeOpenRouter, model: str) -> None:
    backend = predefined(server, model)
    server.faults.append((500, {"error": {"code": 500, "message": "stop here"}}))
    with pytest.raises(ServerUnavailable, match="stop here"):
        generate(backend)
    path, body = server.asked[0]
    assert path == f"{BASE}/{cards()[model].facts['api']}"
    assert body["model"] == cards()[model].facts["model"]
    assert server.reads == []


@pytest.mark.parametrize("model", ["openrouter-gemini-3.1-flash-image", "openrouter-gpt-image-2"])
def test_both_apis_generate_the_requested_shape(server: FakeOpenRouter, model: str) -> None:
    result = generate(predefined(server, model), aspect_ratio="16:9")
    assert [image.size for image in result.images] == [(1344, 768)]
    assert result.price == Price(Decimal("0.06"), "USD")
    assert result.notices == ()


def test_several_images_are_several_calls_with_summed_cost(server: FakeOpenRouter) -> None:
    result = generate(predefined(server, "openrouter-seedream-4.5"), n=3)
    assert len(result.images) == len(server.asked) == 3
    assert result.price == Price(Decimal("0.18"), "USD")


def test_paid_images_are_kept_when_another_call_fails(server: FakeOpenRouter) -> None:
    good = server.post(f"{BASE}/images", {"model": "bytedance-seed/seedream-4.5", "prompt": "x"})
    server.faults.extend([good, (502, {"error": {"code": 502, "message": "Provider returned error"}}), good, good])
    result = generate(predefined(server, "openrouter-seedream-4.5"), n=4)
    assert "Provider returned error" in " ".join(result.notices)
    assert f"{len(result.images)} of 4 images came back." in result.notices
    assert result.price
    assert result.price.amount == Decimal("0.06") * len(result.images)


def test_without_a_reported_cost_the_price_of_the_card_is_used(server: FakeOpenRouter) -> None:
    server.cost = None
    backend = predefined(server, "openrouter-gemini-3-pro-image")
    assert generate(backend).price is None
    assert backend.price_per_image == Price(Decimal("0.134"), "USD")


def test_an_unsupported_ratio_becomes_the_nearest_with_a_notice(server: FakeOpenRouter) -> None:
    result = generate(predefined(server, "openrouter-gpt-image-2"), width=1000, height=420)
    assert server.asked[0][1]["aspect_ratio"] == "21:9"
    assert any("21:9" in notice for notice in result.notices)


# ---- models of one's own


def test_a_customizable_model_has_the_parameters_of_its_record(server: FakeOpenRouter) -> None:
    backend = custom(server, "krea/krea-1")
    rules = {rule.name: rule for rule in backend.live_form(backend.within(3.0))}
    assert rules["resolution"].options == ("1K", "2K")
    assert "seed" in rules
    assert "quality" not in rules
    assert backend.capabilities.images == 0
    result = generate(backend, seed=5, extra={"resolution": "2K"})
    assert result.images[0].seed == 5
    assert server.asked[0][1] == {
        "model": "krea/krea-1",
        "prompt": "a red bicycle",
        "resolution": "2K",
        "seed": 5,
    }
    with pytest.raises(BadRequest, match="input images"):
        generate(backend, images=(PHOTO,))


def test_a_model_outside_the_images_api_uses_chat_completions(server: FakeOpenRouter) -> None:
    assert generate(custom(server, "acme/painter"), images=(PHOTO,)).images
    assert server.asked[0][0] == f"{BASE}/chat/completions"


def test_the_name_of_a_known_model_needs_no_record(server: FakeOpenRouter) -> None:
    backend = custom(server, "openai/gpt-image-2")
    assert "quality" in [rule.name for rule in backend.rules()]
    assert generate(backend).images
    assert server.reads == []


def test_the_model_list_is_requested_once(server: FakeOpenRouter, clock: FakeClock) -> None:
    for _ in range(2):
        generate(custom(server, "krea/krea-1", clock=clock))
    assert server.reads == [f"{BASE}/images/models"]


# ---- the form


def test_the_form_is_checked_by_the_key_endpoint(server: FakeOpenRouter) -> None:
    assert predefined(server, "openrouter-gpt-image-2").check_access() == ["7.5 USD of the key's limit are left."]
    assert server.asked == []
    with pytest.raises(AuthorizationFailed, match=r"Check .*api_key"):
        custom(server, "krea/krea-1", key="wrong").check_access()


def test_an_empty_form_names_the_field_to_fill() -> None:
    backend = asking.bound("openrouter-gpt-image-2", {})
    with pytest.raises(BadRequest, match=r"Fill “OpenRouter API key” \(openrouter_api_key\)"):
        backend.require_access()
    assert OpenRouter.bind("x", Settings({"openrouter_api_key": "k"}, {})).address == "https://openrouter.ai/api/v1"


# ---- refusals

MODERATED = {"reasons": ["sexual"], "provider_name": "Black Forest Labs", "raw": '{"status": "Request Moderated"}'}
REFUSALS: list[tuple[int, int, str, object, type[ImageError], str, str]] = [
    (401, 401, "No auth credentials found", None, AuthorizationFailed, "No auth", "Check "),
    (402, 402, "Insufficient credits", None, RateLimited, "Insufficient", "no credit left"),
    (403, 403, "Input was flagged", MODERATED, BadRequest, "Request Moderated", "Change the prompt"),
    (404, 404, "No endpoints found matching your data policy", None, BadRequest, "data policy", "data policy"),
    (413, 413, "References too large", None, BadRequest, "too large", ""),
    (502, 502, "Provider returned error", {"raw": "boom"}, ServerUnavailable, "boom", ""),
    (200, 402, "Insufficient credits", None, RateLimited, "HTTP 200", "no credit left"),
    (200, 502, "Provider returned error", {"raw": "boom"}, ServerUnavailable, "boom", ""),
]


@pytest.mark.parametrize(("status", "code", "message", "metadata", "error", "said", "advice"), REFUSALS)
def test_a_refusal_has_its_class_message_and_next_step(
    server: FakeOpenRouter,
    clock: FakeClock,
    status: int,
    code: int,
    message: str,
    metadata: object,
    error: type[ImageError],
    said: str,
    advice: str,
) -> None:
    fault = {"code": code, "message": message, **({"metadata": metadata} if metadata else {})}
    server.faults.append((status, {"error": fault}))
    with pytest.raises(error) as caught:
        generate(predefined(server, "openrouter-gpt-image-2", clock))
    assert said in caught.value.said
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_without_an_available_provider_is_retried(
    server: FakeOpenRouter, clock: FakeClock, status: int
) -> None:
    server.faults.append((status, {"error": {"code": status, "message": "busy"}}))
    assert generate(predefined(server, "openrouter-gpt-image-2", clock)).images
    assert clock.pauses == [1.0]


def test_a_text_reply_is_quoted(server: FakeOpenRouter) -> None:
    server.words = "I cannot draw that person."
    with pytest.raises(BadRequest, match="I cannot draw that person"):
        generate(predefined(server, "openrouter-gemini-3.1-flash-image"))


def test_a_success_without_an_image_is_an_error_without_a_retry(server: FakeOpenRouter) -> None:
    server.faults.append((200, {"created": 1, "data": []}))
    with pytest.raises(ServerUnavailable, match="has no image") as caught:
        generate(predefined(server, "openrouter-gpt-image-2"))
    assert "Try again" not in str(caught.value)


# ---- one reply

IMAGES = "https://openrouter.ai/api/v1/images"
DATA = [{"b64_json": PHOTO.base64}]


def hosted() -> OpenRouter:
    return _checked(asking.bound("openrouter-seedream-4.5", {"openrouter_api_key": MARKER_KEY}, FakeClock()))


@responses.activate
@pytest.mark.parametrize(
    ("usage", "price"),
    [
        ({"cost": 0.06}, Price(Decimal("0.12"), "USD")),
        ({"cost": 1}, Price(Decimal(2), "USD")),
        ({"cost": 0}, Price(Decimal(0), "USD")),
        ({"cost": "0.06"}, None),
        ({}, None),
    ],
)
def test_the_costs_of_all_calls_are_the_price(usage: object, price: Price | None) -> None:
    responses.post(IMAGES, json={"data": DATA, "usage": usage})
    assert generate(hosted(), n=2).price == price


@responses.activate
@pytest.mark.parametrize(
    ("body", "error", "said", "step"),
    [
        (
            {"choices": [{"message": {"content": "No."}}, {}]},
            BadRequest,
            "the model replied with text: No.",
            "Change the prompt or the input images",
        ),
        (
            {"choices": [{"message": {"content": ""}}]},
            ServerUnavailable,
            "the reply has no image",
            "Check OpenRouter's activity page before sending it again",
        ),
        (
            {"error": None, "data": []},
            ServerUnavailable,
            "the reply has no image",
            "Check OpenRouter's activity page before sending it again",
        ),
    ],
)
def test_a_reply_without_an_image_says_what_it_holds(
    body: object, error: type[ImageError], said: str, step: str
) -> None:
    responses.post(IMAGES, json=body)
    with pytest.raises(error) as caught:
        generate(hosted())
    assert (caught.value.said, caught.value.next_step) == (said, step)


@responses.activate
@pytest.mark.parametrize(
    ("left", "said"),
    [(None, []), (0, ["0 USD of the key's limit are left."]), (7.5, ["7.5 USD of the key's limit are left."])],
)
def test_the_rest_of_a_limited_key_is_told(left: float | None, said: list[str]) -> None:
    responses.get("https://openrouter.ai/api/v1/key", json={"data": {"limit_remaining": left}})
    assert hosted().check_access() == said


@responses.activate
def test_a_model_of_ones_own_has_the_parameters_in_order() -> None:
    record = {"id": "a/b", "supported_parameters": {"seed": {}, "input_references": {}}}
    responses.get(f"{IMAGES}/models", json={"data": [{"id": "a/c"}, record]})
    form = {"backend": "openrouter", "api_key": MARKER_KEY, "remote_model": "a/b"}
    backend = _checked(asking.bound("mine", form, FakeClock()))
    common = ["aspect_ratio", "width", "height", "n", "output_format", "output_quality", "details", "timeout"]
    assert [rule.name for rule in backend.rules()] == common
    assert backend.seeds(asking.asked(backend)) is None
    names = [rule.name for rule in backend.live_form(backend.within(3.0))]
    assert names == [*common[:4], "seed", *common[4:]]
    assert backend.capabilities.images == 8
    assert backend.seeds(asking.asked(backend)) == SeedRule(highest=2_147_483_647)
    responses.post(IMAGES, json={"data": DATA})
    assert [image.seed for image in generate(backend, n=2, seed=5).images] == [5, 6]
