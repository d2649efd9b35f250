"""Ark (Seedream) with a fake server over HTTP: sizes, fields of the models, partial failures, refusals."""

import base64
import io
from collections.abc import Iterator

import pytest
import responses
from PIL import Image

from models.backends.ark import Ark, SeedreamFacts, body_of
from models.backends.ark.account import ArkFault
from models.backends.ark.seedance import Seedance
from models.backends.base import Backend
from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.catalog import cards
from models.entities import ImageRequest, ImageResult, InputImage
from models.settings import Settings
from models.sizes import FreeSizes
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.ark import FakeArk, ark, error

PREDEFINED = sorted(card.model for card in cards().values() if card.model.startswith("seedream"))
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")


@pytest.fixture
def server() -> Iterator[FakeArk]:
    with ark(key=MARKER_KEY) as fake:
        yield fake


def bound(fake: FakeArk, model: str = "seedream-4.5", *, key: str = MARKER_KEY, remote: str = "") -> Ark:
    form = {"ark_api_key": key, "ark_base_url": fake.url}
    if remote:
        form = {"backend": "ark", "base_url": fake.url, "api_key": key, "remote_model": remote}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, Ark)
    return backend


def generate(backend: Ark, **parts: object) -> ImageResult:
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def test_a_size_below_the_models_area_is_enlarged_and_told(server: FakeArk) -> None:
    result = generate(bound(server), width=1024, height=1024)
    assert server.asked == [
        {
            "model": "doubao-seedream-4-5-251128",
            "prompt": "a red bicycle",
            "size": "1920x1920",
            "response_format": "b64_json",
            "watermark": False,
        }
    ]
    assert any("1024×1024" in notice and "1920×1920" in notice for notice in result.notices)


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_takes_its_default_and_a_ratio(server: FakeArk, model: str) -> None:
    assert generate(bound(server, model)).images
    assert generate(bound(server, model), aspect_ratio="16:9", output_format="png").images


def test_only_the_fifth_generation_takes_a_format(server: FakeArk) -> None:
    generate(bound(server, "seedream-5.0-lite"), output_format="png")
    generate(bound(server, "seedream-4.0"), output_format="png")
    assert [body.get("output_format") for body in server.asked] == ["png", None]


def test_input_images_are_data_urls(server: FakeArk) -> None:
    generate(bound(server), images=(PHOTO,))
    generate(bound(server), images=(PHOTO, PHOTO))
    assert [body["image"] for body in server.asked] == [PHOTO.data_url, [PHOTO.data_url, PHOTO.data_url]]


def test_the_international_service_names_its_models_without_a_prefix() -> None:
    backend = asking.bound(
        "m",
        {
            "backend": "ark",
            "base_url": "https://ark.ap-southeast.bytepluses.com/api/v3",
            "api_key": "k",
            "remote_model": "doubao-seedream-4-5-251128",
        },
    )
    assert isinstance(backend, Ark)
    assert backend._remote == "seedream-4-5-251128"


def test_an_endpoint_id_is_used_as_it_is(server: FakeArk) -> None:
    generate(bound(server, "mine", remote="ep-2026-abc"))
    assert server.asked[0]["model"] == "ep-2026-abc"


def test_an_image_that_failed_inside_a_success_is_told(server: FakeArk) -> None:
    good = {"b64_json": base64.b64encode(image_file(8, 8)).decode()}
    bad = {"error": {"code": "OutputImageSensitiveContentDetected", "message": "sensitive"}}
    server.replies.append((200, {"data": [good, bad]}))
    result = generate(bound(server))
    assert len(result.images) == 1
    assert any("sensitive" in notice for notice in result.notices)
    server.replies.append((200, {"data": [bad]}))
    with pytest.raises(BadRequest, match="sensitive"):
        generate(bound(server))


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        (400, "InputTextSensitiveContentDetected", BadRequest, "Change the prompt"),
        (400, "InputImageSensitiveContentDetected.PrivacyInformation", BadRequest, "real people"),
        (400, "ContentSecurityDetectionError", ServerUnavailable, "Try again"),
        (401, "AuthenticationError", AuthorizationFailed, "api_key"),
        (403, "AccountOverdueError", RateLimited, "no credit"),
        (404, "ModelNotOpen", BadRequest, "Activate"),
        (404, "InvalidEndpointOrModel.NotFound", BadRequest, "ep-"),
        (429, "QuotaExceeded", RateLimited, "no credit"),
        (500, "InternalServiceError", ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_next_step(
    server: FakeArk, status: int, code: str, kind: type[ImageError], advice: str
) -> None:
    server.replies.append(error(status, code, f"refused for {MARKER_KEY}"))
    with pytest.raises(kind) as caught:
        generate(bound(server))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_a_rate_limit_is_waited_for(server: FakeArk) -> None:
    server.replies.append(error(429, "RateLimitExceeded.EndpointRPMExceeded"))
    assert generate(bound(server)).images


def test_the_form_is_checked_without_generating(server: FakeArk) -> None:
    assert bound(server).check_access() == ()
    with pytest.raises(AuthorizationFailed):
        bound(server, key="wrong").check_access()
    assert server.asked == []


@pytest.mark.parametrize(
    ("model", "kind"),
    [("seedance-2.0", Seedance), ("mine", Seedance), ("Doubao-SEEDANCE-9", Seedance), ("seedream-4.5", Ark)],
)
def test_a_model_that_makes_videos_has_a_class_of_its_own(model: str, kind: type[Backend]) -> None:
    form = {"backend": "ark", "api_key": "k", "remote_model": "doubao-Seedance-2" if model == "mine" else ""}
    assert type(Ark.bind(model, Settings(form, {}))) is kind


def test_images_outside_of_the_limits_are_scaled(server: FakeArk) -> None:
    large, small = (InputImage(image_file(*size), "image/png") for size in ((2060, 100), (14, 28)))
    generate(bound(server), images=(large,))
    generate(bound(server), images=(small,))
    sent = [Image.open(io.BytesIO(base64.b64decode(body["image"].partition(",")[2]))).size for body in server.asked]
    assert sent == [(2048, 99), (15, 30)]


@pytest.mark.parametrize(("asked", "sent"), [("png", "png"), ("jpeg", "jpeg"), ("webp", "jpeg"), (None, "jpeg")])
def test_a_format_that_the_service_does_not_make_is_made_from_jpeg(asked: str | None, sent: str) -> None:
    facts = SeedreamFacts(model="m", sizes=FreeSizes(), formats=True)
    body = body_of(facts, "m", ImageRequest(model="m", prompt="p", output_format=asked, watermark=True))
    assert (body["output_format"], body["watermark"]) == (sent, True)
    assert "image" not in body
    assert "size" not in body


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"code": "ContentSecurityDetectionError", "message": "why"}, "why"),
        ({"code": "ContentSecurityDetectionError", "message": None}, "ContentSecurityDetectionError"),
        ({"code": None, "message": "why"}, "why"),
    ],
)
def test_a_fault_is_told_by_its_words_else_by_its_code(server: FakeArk, fault: object, said: str) -> None:
    error = bound(server).fault("It", ArkFault.of(fault))
    assert (error.attempted, error.said) == ("It failed", said)
    assert ArkFault.of("no object") == ArkFault()


@pytest.mark.parametrize("status", [400, 404, 405])
def test_a_good_key_is_known_by_a_refusal_of_the_method(server: FakeArk, status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{server.url}/images/generations", status=status, json={})
        assert bound(server).check_access() == ()
