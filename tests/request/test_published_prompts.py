"""Published prompts of people and language models, read for their models."""

import pytest

from models.backends.base import Backend
from models.entities import ImageRequest
from models.request.build import build_request
from models.request.conversation import Conversation
from tests.asking import bound
from tests.fakes import MARKER_KEY


def read(model: str, prompt: str, **parameters: object) -> ImageRequest:
    backend: Backend = bound(model, {"stability_api_key": MARKER_KEY})
    return build_request(backend, Conversation(prompt), parameters, timeout=60)


def ratio(request: ImageRequest) -> float:
    assert request.size
    return request.size[0] / request.size[1]


@pytest.mark.parametrize("model", ["stable-image-core", "preview"])
def test_quoted_text_stays_in_the_prompt(model: str) -> None:
    prompt = 'A tote bag with the words "kettle list --format json"'
    request = read(model, prompt)
    assert (request.prompt, request.output_format) == (prompt, read(model, "a bag").output_format)


@pytest.mark.parametrize("behind", [".", ",", ";", "。", "`", "**", '"'])
def test_a_full_stop_may_follow_a_directive(behind: str) -> None:
    request = read("preview", f"A copper kettle on a stove --ar 16:9{behind}")
    assert request.prompt == "A copper kettle on a stove"
    assert ratio(request) == pytest.approx(16 / 9, rel=0.01)


def test_a_long_dash_starts_a_directive() -> None:
    assert ratio(read("preview", "A copper kettle on a stove —ar 16:9")) == pytest.approx(16 / 9, rel=0.01)


def test_a_style_of_another_tool_is_ignored_with_a_notice() -> None:
    request = read("stable-image-core", "A copper kettle --ar 16:9 --style raw --v 6")
    assert (request.prompt, request.style_preset) == ("A copper kettle --v 6", None)
    assert "`--style raw` was ignored: stable-image-core has no such style." in request.notices
    assert "`--v` stays in the prompt: there is no such directive." in request.notices
    assert ratio(request) == pytest.approx(16 / 9, rel=0.01)


@pytest.mark.parametrize(("asked", "nearest"), [("5:7", 2 / 3), ("1.91:1", 16 / 9)])
def test_an_unsupported_ratio_becomes_the_nearest_with_a_notice(asked: str, nearest: float) -> None:
    request = read("stable-image-core", f"A copper kettle --ar {asked}")
    assert ratio(request) == pytest.approx(nearest, rel=0.13)
    assert any(notice.startswith(f"The aspect ratio {asked} became") for notice in request.notices)


def test_the_size_auto_is_not_an_error() -> None:
    request = read("stable-image-core", "A copper kettle --size auto", directives="all")
    assert request.notices == ("`--size auto` was ignored: stable-image-core decides what is not set.",)


@pytest.mark.parametrize("written", ["16：9", "16/9", "16x9"])
def test_a_variable_may_contain_a_ratio_in_any_spelling(written: str) -> None:
    assert ratio(read("preview", "A copper kettle", aspect_ratio=written)) == pytest.approx(16 / 9, rel=0.01)


def test_an_end_user_cannot_raise_the_price() -> None:
    request = read("stable-diffusion-xl", "A copper kettle --n 10 --steps 50 --size 1536x640", n=1, steps=30)
    assert (request.n, request.steps) == (1, 30)
    assert [notice.split("` was ignored")[0] for notice in request.notices[:3]] == [
        "`--n 10",
        "`--steps 50",
        "`--size 1536x640",
    ]
