"""Zhipu with a fake server over HTTP: bodies, sizes, refusals."""

from collections.abc import Iterator

import pytest

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.backends.zhipu import Zhipu
from models.catalog import cards
from models.entities import ImageResult
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock
from tests.servers.zhipu import FakeZhipu, zhipu

PREDEFINED = sorted(card.model for card in cards().values() if card.backend == "zhipu")


@pytest.fixture
def server() -> Iterator[FakeZhipu]:
    with zhipu(key=MARKER_KEY) as fake:
        yield fake


def bound(fake: FakeZhipu, model: str = "glm-image", *, key: str = MARKER_KEY) -> Zhipu:
    backend = asking.bound(model, {"zhipu_api_key": key, "zhipu_base_url": fake.url}, FakeClock())
    assert isinstance(backend, Zhipu)
    return backend


def generate(backend: Zhipu, **parts: object) -> ImageResult:
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def test_an_image_is_one_call_that_answers_with_an_address(server: FakeZhipu) -> None:
    result = generate(bound(server), width=1300, height=1300, watermark=False)
    body = {"model": "glm-image", "prompt": "a red bicycle", "size": "1312x1312", "watermark_enabled": False}
    assert server.asked == [body]
    assert result.images[0].size == (64, 48)
    assert any("1312×1312" in notice for notice in result.notices)


def test_a_ratio_is_one_of_the_sizes_that_the_service_advises(server: FakeZhipu) -> None:
    generate(bound(server), aspect_ratio="16:9")
    assert server.asked[0]["size"] == "1728x960"


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_takes_its_default_and_a_ratio(server: FakeZhipu, model: str) -> None:
    assert generate(bound(server, model)).images
    assert generate(bound(server, model), aspect_ratio="3:2").images
    assert {body["model"] for body in server.asked} == {model}


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        (400, "1301", BadRequest, "Change the prompt"),
        (400, "1210", BadRequest, ""),
        (400, "1211", BadRequest, "remote_model"),
        (401, "1002", AuthorizationFailed, "api_key"),
        (429, "1113", RateLimited, "no credit"),
        (429, "1304", RateLimited, "daily"),
        (500, "500", ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_next_step(
    server: FakeZhipu, status: int, code: str, kind: type[ImageError], advice: str
) -> None:
    server.replies.append((status, {"error": {"code": code, "message": f"refused for {MARKER_KEY}"}}))
    with pytest.raises(kind) as caught:
        generate(bound(server))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_a_rate_limit_is_waited_for(server: FakeZhipu) -> None:
    server.replies.append((429, {"error": {"code": "1302", "message": "并发数过高"}}))
    assert generate(bound(server)).images


def test_the_form_is_checked_by_the_list_of_models(server: FakeZhipu) -> None:
    assert bound(server).check_access() == ()
    with pytest.raises(AuthorizationFailed):
        bound(server, key="wrong").check_access()
    assert server.asked == []
