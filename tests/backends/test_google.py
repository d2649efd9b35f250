"""Google's image models with a fake server over HTTP: bodies, drafts, refusals, prices."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
import responses

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.backends.google import Google
from models.catalog import cards
from models.entities import ImageResult, InputImage, Price
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.google import FakeGemini, error, google

PREDEFINED = sorted(card.model for card in cards().values() if card.backend == "google")
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")


@pytest.fixture
def server() -> Iterator[FakeGemini]:
    with google(key=MARKER_KEY) as fake:
        yield fake


def bound(
    fake: FakeGemini, model: str = "gemini-3.1-flash-image", *, key: str = MARKER_KEY, remote: str = ""
) -> Google:
    form = {"google_api_key": key, "google_base_url": fake.url}
    if remote:
        form = {"backend": "google", "base_url": fake.url, "api_key": key, "remote_model": remote}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, Google)
    return backend


def generate(backend: Google, **parts: object) -> ImageResult:
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def test_an_image_is_one_call_and_drafts_are_left_out(server: FakeGemini) -> None:
    result = generate(bound(server), width=1600, height=900, images=(PHOTO,), extra={"resolution": "2K"})
    image = {"inlineData": {"mimeType": "image/png", "data": PHOTO.base64}}
    assert server.asked == [
        (
            "/v1beta/models/gemini-3.1-flash-image:generateContent",
            {
                "contents": [{"role": "user", "parts": [image, {"text": "a red bicycle"}]}],
                "generationConfig": {
                    "responseModalities": ["TEXT", "IMAGE"],
                    "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
                },
            },
        )
    ]
    assert [image.size for image in result.images] == [(96, 54)]
    assert result.price == Price(Decimal("0.101"), "USD")


def test_several_images_are_several_calls(server: FakeGemini) -> None:
    result = generate(bound(server), n=3)
    assert len(result.images) == len(server.asked) == 3
    assert result.price == Price(Decimal("0.201"), "USD")


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_names_its_model(server: FakeGemini, model: str) -> None:
    assert generate(bound(server, model)).images
    assert server.asked[0][0] == f"/v1beta/models/{model}:generateContent"


def test_a_model_without_a_card_is_asked_by_its_name(server: FakeGemini) -> None:
    assert generate(bound(server, "mine", remote="gemini-4-image")).images
    assert server.asked[0][0] == "/v1beta/models/gemini-4-image:generateContent"


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, BadRequest, "PROHIBITED_CONTENT"),
        ({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, BadRequest, "IMAGE_SAFETY"),
        (
            {"candidates": [{"content": {"parts": [{"text": "I cannot draw that."}]}, "finishReason": "STOP"}]},
            BadRequest,
            r"I cannot draw that\.",
        ),
        ({"candidates": [{"finishReason": "NO_IMAGE"}]}, ServerUnavailable, "NO_IMAGE"),
        ({"candidates": [{"finishReason": "A_NEW_REASON"}]}, BadRequest, "A_NEW_REASON"),
        ({}, ServerUnavailable, "made no image"),
    ],
)
def test_an_answer_without_an_image_is_an_error(
    server: FakeGemini, reply: object, kind: type[ImageError], said: str
) -> None:
    server.replies.append((200, reply))
    with pytest.raises(kind, match=said):
        generate(bound(server))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "advice"),
    [
        (error(400, "INVALID_ARGUMENT", f"API key not valid: {MARKER_KEY}"), AuthorizationFailed, "api_key"),
        (error(400, "FAILED_PRECONDITION", "billing"), AuthorizationFailed, "billing"),
        (error(400, "INVALID_ARGUMENT", "bad ratio"), BadRequest, ""),
        (error(403, "PERMISSION_DENIED", "blocked"), AuthorizationFailed, "api_key"),
        (error(404, "NOT_FOUND", "gone"), BadRequest, "shut down"),
        (error(429, "RESOURCE_EXHAUSTED", "limit: 0, model: x"), RateLimited, "billing"),
        (error(500, "INTERNAL", "boom"), ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_next_step(
    server: FakeGemini, reply: tuple[int, object], kind: type[ImageError], advice: str
) -> None:
    server.replies.append(reply)
    with pytest.raises(kind) as caught:
        generate(bound(server))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "name"), [(429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")])
def test_an_overloaded_service_is_asked_again(server: FakeGemini, status: int, name: str) -> None:
    server.replies.append(error(status, name, "The model is overloaded."))
    assert generate(bound(server)).images


def test_the_form_is_checked_by_the_list_of_models(server: FakeGemini) -> None:
    assert bound(server).check_access() == ()
    with pytest.raises(AuthorizationFailed):
        bound(server, key="wrong").check_access()
    assert server.asked == []


GEMINI = "https://generativelanguage.googleapis.com/v1beta/models"
DRAWN = {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PHOTO.base64}}]}}]}


def hosted() -> Google:
    backend = asking.bound("gemini-3.1-flash-image", {"google_api_key": MARKER_KEY}, FakeClock())
    assert isinstance(backend, Google)
    return backend


@responses.activate
@pytest.mark.parametrize(
    ("extra", "price"),
    [({}, "0.067"), ({"resolution": "1K"}, "0.067"), ({"resolution": "2K"}, "0.101"), ({"resolution": "9K"}, None)],
)
def test_an_image_has_the_price_of_its_resolution(extra: dict[str, str], price: str | None) -> None:
    responses.post(f"{GEMINI}/gemini-3.1-flash-image:generateContent", json=DRAWN)
    request = replace(asking.asked(hosted(), timeout=60.0), extra=extra)
    assert hosted().invoke(request).price == (Price(Decimal(price), "USD") if price else None)


@responses.activate
def test_the_list_for_the_check_is_short_and_the_key_is_in_its_header() -> None:
    responses.get(f"{GEMINI}?pageSize=1", json={})
    assert hosted().check_access() == ()
    request = responses.calls[0].request
    assert (request.url, request.headers["x-goog-api-key"]) == (f"{GEMINI}?pageSize=1", MARKER_KEY)
    assert "Authorization" not in request.headers


@responses.activate
def test_an_overloaded_service_is_asked_three_times_in_all() -> None:
    responses.post(
        f"{GEMINI}/gemini-3.1-flash-image:generateContent",
        status=503,
        json={"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}},
    )
    backend, clock = hosted(), FakeClock()
    backend.clock = clock
    with pytest.raises(ServerUnavailable, match="overloaded"):
        generate(backend)
    assert (len(responses.calls), clock.pauses) == (3, [2.0, 8.0])
