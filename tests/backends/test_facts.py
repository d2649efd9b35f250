"""What is declared of each service, and how long its calls and checks wait."""

import re
from typing import Any

import pytest
import responses
from requests import ConnectTimeout

from models.backends.base import JobBackend
from models.backends.errors import ImageError
from models.backends.registry import BACKENDS
from tests.asking import asked, bound, sent_with
from tests.fakes import FakeClock

FACTS = {
    # whether a model of one's own may name it, it charges, it tells its progress, a cancelled job is free (None: no jobs)
    "auto": (False, False, True, False),
    "automatic1111": (True, False, True, None),
    "openai_images": (True, True, False, None),
    "contact_sheet": (False, True, False, None),
    "preview": (False, False, True, False),
    "stability": (True, True, False, None),
    "qwen_image": (True, True, True, True),
    "comfyui": (True, False, True, False),
    "openrouter": (True, True, False, None),
    "huggingface": (True, True, False, None),
    "google": (True, True, False, None),
    "ark": (True, True, False, None),
    "zhipu": (True, True, False, None),
    "replicate": (True, True, True, False),
    "fal": (True, True, True, False),
    "black_forest_labs": (True, True, True, False),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_a_service_declares_its_facts(name: str) -> None:
    kind = BACKENDS[name]
    free = kind.free_to_cancel if issubclass(kind, JobBackend) else None
    assert (kind.customizable, kind.charges, kind.tells_progress, free) == FACTS[name]
    assert kind.name == name


URL = "https://gateway.example"
CALLS = {
    # the model, the seconds for which its call is waited for, and how often it is sent where the answer is a 500
    "ark": ("seedream-4.5", 300.0, 1),
    "google": ("gemini-3.1-flash-image", 300.0, 1),
    "zhipu": ("glm-image", 180.0, 1),
    "stability": ("stable-image-core", 120.0, 3),
    "replicate": ("replicate-flux-schnell", 120.0, 1),
    "fal": ("fal-flux-dev", 120.0, 1),
    "black_forest_labs": ("flux-2-pro", 120.0, 1),
}


def service(name: str, clock: FakeClock) -> Any:
    prefix = BACKENDS[name].prefix
    return bound(CALLS[name][0], {f"{prefix}_api_key": "a-key-of-twenty-letters", f"{prefix}_base_url": URL}, clock)


@responses.activate
@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_waited_for_and_sent_again_only_where_a_failure_is_free(name: str, clock: FakeClock) -> None:
    responses.post(re.compile(".*"), status=500)
    backend = service(name, clock)
    with pytest.raises(ImageError):
        backend.invoke(asked(backend, timeout=580.0))
    posts = [call for call in responses.calls if call.request.method == "POST"]
    _, seconds, times = CALLS[name]
    assert [sent_with(post, "timeout") for post in posts] == [(10.0, seconds)] * times


@responses.activate
@pytest.mark.parametrize("name", CALLS)
def test_a_check_of_the_key_is_short_and_generates_nothing(name: str, clock: FakeClock) -> None:
    responses.get(re.compile(".*"), status=401)
    with pytest.raises(ImageError):
        service(name, clock).check_access()
    (asked_once,) = responses.calls
    assert asked_once.request.method == "GET"
    assert sent_with(asked_once, "timeout") == pytest.approx((8.1, 10.0))
    assert (asked_once.request.url or "").startswith(f"{URL}/")


RETRIED = {
    "google": [2.0, 8.0],
    "stability": [2.0, 8.0],
    "replicate": [7.0, 10.0],
    "ark": [1.0, 4.0],
    "zhipu": [1.0, 4.0],
}


@responses.activate
@pytest.mark.parametrize("name", RETRIED)
def test_an_unreachable_service_is_tried_three_times(name: str, clock: FakeClock) -> None:
    responses.post(re.compile(".*"), body=ConnectTimeout())
    backend = service(name, clock)
    with pytest.raises(ImageError):
        backend.invoke(asked(backend, timeout=580.0))
    assert clock.pauses == RETRIED[name]
