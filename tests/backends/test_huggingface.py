"""Hugging Face with a fake router and Hub over HTTP: routing, bodies of the providers, refusals."""

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from models.backends.base import Backend, Capabilities
from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.backends.huggingface import HuggingFace, Provider, body_of
from models.entities import ImageRequest, ImageResult, InputImage
from models.sizes import FreeSizes, SeedRule
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


def test_the_model_is_asked_for_once_and_one_that_is_gone_is_kept_too(server: FakeHub) -> None:
    clock = FakeClock()
    form = {"backend": "huggingface", "base_url": server.url, "api_key": MARKER_KEY, "remote_model": "acme/unknown"}
    with responses.RequestsMock() as mock:
        mock.get(f"{server.url}/api/models/acme/unknown", status=404, json={})
        for _ in range(2):
            with pytest.raises(BadRequest, match="no provider serves it"):
                generate_with(asking.bound("mine", form, clock))
        assert len(mock.calls) == 1


def generate_with(backend: Backend) -> ImageResult:
    return backend.invoke(asking.asked(backend, timeout=60.0))


@pytest.mark.parametrize(
    ("remote", "images", "said", "step"),
    [
        (
            "acme/nobody",
            (),
            "acme/nobody cannot be asked at any provider that is supported here; it is served by acme",
            "Choose another model, or write one of fal-ai, together, nscale, replicate behind it, as in acme/nobody:fal-ai",
        ),
        (
            f"{SCHNELL}:together",
            (PHOTO,),
            f"{SCHNELL} cannot be asked with input images at together; it is served by nscale, fal-ai, replicate",
            f"Choose another model, or write one of fal-ai, together behind it, as in {SCHNELL}:fal-ai",
        ),
    ],
)
def test_a_route_that_does_not_exist_names_the_others(
    server: FakeHub, remote: str, images: tuple[InputImage, ...], said: str, step: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        generate(bound(server, remote), images=images)
    assert (caught.value.attempted, caught.value.next_step) == (said, step)


WORDS = {"steps": "s", "cfg_scale": "c", "negative_prompt": "n", "seed": "r"}


@pytest.mark.parametrize(
    ("provider", "parts", "body"),
    [
        ({}, {}, {"prompt": "p"}),
        ({"prompt": "text", "names": WORDS}, {}, {"text": "p", "r": 0}),
        (
            {"names": WORDS},
            {"steps": 4, "cfg_scale": 0.0, "negative_prompt": "x"},
            {"prompt": "p", "s": 4, "c": 0.0, "n": "x", "r": 0},
        ),
        ({"names_model": True, "fixed": {"a": 1}}, {}, {"model": "o/m:1", "a": 1, "prompt": "p"}),
        ({"inside": "input"}, {}, {"version": "o/m:1", "input": {"prompt": "p"}}),
        ({"image": "img"}, {"images": (PHOTO, PHOTO)}, {"prompt": "p", "img": PHOTO.data_url}),
        ({"size": "sides"}, {}, {"prompt": "p"}),
        ({"size": "sides"}, {"width": 64, "height": 32}, {"prompt": "p", "width": 64, "height": 32}),
        ({"size": "object"}, {"width": 64, "height": 32}, {"prompt": "p", "image_size": {"width": 64, "height": 32}}),
        ({"size": "text"}, {"width": 64, "height": 32}, {"prompt": "p", "size": "64x32"}),
        ({}, {"width": 64, "height": 32}, {"prompt": "p"}),
    ],
)
def test_a_body_has_the_providers_names(provider: dict[str, Any], parts: dict[str, Any], body: object) -> None:
    request = ImageRequest(**{"model": "m", "prompt": "p", **parts})
    assert body_of(Provider(path="x", **provider), "o/m:1", request, 0) == body


def test_a_version_is_sent_only_where_the_name_has_one() -> None:
    assert body_of(Provider(path="x", inside="input"), "o/m", ImageRequest(model="m", prompt="p"), 0) == {
        "input": {"prompt": "p"}
    }


@responses.activate
def test_the_service_has_its_list_of_models_at_the_hub() -> None:
    who = "https://huggingface.co/api/whoami-v2"
    model = "https://huggingface.co/api/models/o/m?expand%5B%5D=inferenceProviderMapping"
    responses.get(who, json={})
    one = {"provider": "fal-ai", "providerId": "o/m"}
    responses.get(model, json={"inferenceProviderMapping": [one]})
    form = {"backend": "huggingface", "api_key": MARKER_KEY, "remote_model": "o/m"}
    backend = asking.bound("mine", form, FakeClock())
    assert list(backend.check_access()) == ["o/m is served by fal-ai."]
    assert [call.request.url for call in responses.calls] == [who, model]
    responses.post("https://router.huggingface.co/fal-ai/o/m", body=PHOTO.data)
    result = backend.invoke(asking.asked(backend, n=2, seed=5, timeout=600.0))
    assert [image.seed for image in result.images] == [5, 6]
    sent = responses.calls[-1]
    assert sent.request.headers["Prefer"] == "wait"
    assert asking.sent_with(sent, "timeout") == (10.0, 300.0)


def test_a_seed_and_a_size_have_their_limits(server: FakeHub) -> None:
    backend, request = bound(server), ImageRequest(model="m", prompt="p")
    assert backend.seeds(request) == SeedRule(highest=2_147_483_647)
    assert backend.sizes(request) == FreeSizes(multiple=16, min_side=256, max_side=2048)
    assert backend.capabilities == Capabilities(images=1)


@responses.activate
def test_a_version_of_a_model_is_asked_without_its_name_in_the_path() -> None:
    mapping = {"replicate": {"providerId": "o/m:1"}}
    responses.get("https://huggingface.co/api/models/o/m", json={"inferenceProviderMapping": mapping})
    responses.post("https://router.huggingface.co/replicate/v1/predictions", body=PHOTO.data)
    form = {"backend": "huggingface", "api_key": MARKER_KEY, "remote_model": "o/m"}
    assert generate_with(asking.bound("mine", form, FakeClock())).images
