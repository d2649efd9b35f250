"""Hugging Face with a fake router and Hub over HTTP: routing, bodies of the providers, refusals."""

from collections.abc import Iterator

import pytest

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.backends.huggingface import HuggingFace
from models.entities import ImageResult, InputImage
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.huggingface import SCHNELL, FakeHub, huggingface

PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")


@pytest.fixture
def server() -> Iterator[FakeHub]:
    with huggingface(key=MARKER_KEY) as fake:
        yield fake


def bound(fake: FakeHub, model: str = SCHNELL, *, key: str = MARKER_KEY) -> HuggingFace:
    form = {"backend": "huggingface", "base_url": fake.url, "api_key": key, "remote_model": model}
    backend = asking.bound("mine", form, FakeClock())
    assert isinstance(backend, HuggingFace)
    return backend


def generate(backend: HuggingFace, **parts: object) -> ImageResult:
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def test_the_preferred_provider_that_is_live_is_asked_and_named(server: FakeHub) -> None:
    result = generate(bound(server), width=1024, height=768, steps=4, seed=7)
    size = {"width": 1024, "height": 768}
    body = {"prompt": "a red bicycle", "image_size": size, "num_inference_steps": 4, "seed": 7}
    assert server.asked == [("/fal-ai/fal-ai/flux/schnell", body)]
    assert result.images[0].size == (64, 48)
    assert result.notices == (f"{SCHNELL} was served by fal-ai.",)


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        (
            f"{SCHNELL}:nscale",
            "/nscale/v1/images/generations",
            {"model": SCHNELL, "prompt": "a red bicycle", "response_format": "b64_json", "size": "512x512"},
        ),
        (
            "acme/listed",
            "/together/v1/images/generations",
            {
                "model": "acme/listed-1",
                "prompt": "a red bicycle",
                "response_format": "base64",
                "width": 512,
                "height": 512,
                "seed": 7,
            },
        ),
        (
            f"{SCHNELL}:replicate",
            "/replicate/v1/models/bfl/flux-schnell/predictions",
            {"input": {"prompt": "a red bicycle", "seed": 7}},
        ),
        ("acme/ill", "/nscale/v1/images/generations", None),
    ],
)
def test_each_provider_is_asked_in_its_own_words(
    server: FakeHub, model: str, path: str, body: dict[str, object] | None
) -> None:
    assert generate(bound(server, model), width=512, height=512, seed=7).images
    assert server.asked[0][0] == path
    assert body is None or server.asked[0][1] == body


def test_an_input_image_goes_to_a_provider_that_takes_one(server: FakeHub) -> None:
    generate(bound(server), images=(PHOTO,))
    assert server.asked[0][1]["image_url"] == PHOTO.data_url
    with pytest.raises(BadRequest, match="with input images at nscale"):
        generate(bound(server, f"{SCHNELL}:nscale"), images=(PHOTO,))


def test_a_model_that_nobody_here_serves_names_who_does(server: FakeHub) -> None:
    with pytest.raises(BadRequest, match="it is served by acme"):
        generate(bound(server, "acme/nobody"))
    with pytest.raises(BadRequest, match="no provider serves it"):
        generate(bound(server, "acme/unknown"))
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (401, AuthorizationFailed, "api_key"),
        (402, RateLimited, "no credit"),
        (403, AuthorizationFailed, "Inference Providers"),
        (410, BadRequest, "another"),
        (500, ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_next_step(
    server: FakeHub, status: int, kind: type[ImageError], advice: str
) -> None:
    server.replies.append((status, {"error": f"refused for {MARKER_KEY}"}))
    with pytest.raises(kind) as caught:
        generate(bound(server))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_an_error_inside_a_success_is_no_image(server: FakeHub) -> None:
    server.replies.append((200, {"error": "The model is loading"}))
    with pytest.raises(ServerUnavailable):
        generate(bound(server))


def test_the_form_is_checked_without_generating(server: FakeHub) -> None:
    assert bound(server).check_access() == [f"{SCHNELL} is served by fal-ai."]
    with pytest.raises(AuthorizationFailed):
        bound(server, key="wrong").check_access()
    assert server.asked == []
