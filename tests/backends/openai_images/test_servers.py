"""Several replicas of an images server behind one form."""

from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest

from models.backends.base import Backend
from models.backends.errors import ConnectionFailed
from models.backends.server_pool import CallServerPool
from models.entities import ImageResult
from tests.asking import asked, bound
from tests.fakes import MARKER_KEY
from tests.servers.openai_images import FakeOpenAIImages, Fault

MODEL = "Qwen/Qwen-Image"


@pytest.fixture
def two() -> Iterator[tuple[FakeOpenAIImages, FakeOpenAIImages]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeOpenAIImages("vllm_omni", key=MARKER_KEY)) for _ in range(2)]
        yield servers[0], servers[1]


def pool(*servers: FakeOpenAIImages, model: str = MODEL) -> Backend:
    addresses = ",".join(f"{server.url}/v1" for server in servers)
    backend = bound(model, {"backend": "openai_images", "base_url": addresses, "api_key": MARKER_KEY})
    assert isinstance(backend, CallServerPool)
    return backend


def generated(*servers: FakeOpenAIImages, model: str = MODEL) -> ImageResult:
    backend = pool(*servers, model=model)
    backend.learn(backend.within(5.0))
    return backend.invoke(asked(backend, timeout=30.0))


def jobs_of(*servers: FakeOpenAIImages) -> list[int]:
    return [len(server.posts) for server in servers]


def test_requests_that_come_at_once_are_shared(two: tuple[FakeOpenAIImages, FakeOpenAIImages]) -> None:
    for server in two:
        server.faults.extend([Fault(delay=0.1)] * 4)
    gevent.joinall([gevent.spawn(generated, *two) for _ in range(8)], raise_error=True)
    assert sum(jobs_of(*two)) == 8
    assert min(jobs_of(*two)) >= 2  # evenness to the job is counted in tests/backends/test_servers.py


def test_a_replica_that_serves_another_model_is_passed_over() -> None:
    with ExitStack() as stack:
        other = stack.enter_context(FakeOpenAIImages("vllm_omni", key=MARKER_KEY, models=("Tongyi-MAI/Z-Image",)))
        right = stack.enter_context(FakeOpenAIImages("vllm_omni", key=MARKER_KEY))
        generated(other, right)
        generated(other, right)
        assert jobs_of(other, right) == [0, 2]


def test_a_dead_replica_is_passed_over(two: tuple[FakeOpenAIImages, FakeOpenAIImages]) -> None:
    with FakeOpenAIImages("vllm_omni", key=MARKER_KEY) as gone:
        pass
    generated(gone, two[0])
    assert jobs_of(two[0]) == [1]


def test_a_request_that_may_have_arrived_is_not_sent_again(two: tuple[FakeOpenAIImages, FakeOpenAIImages]) -> None:
    two[0].faults.append(Fault(drop=True))
    with pytest.raises(ConnectionFailed, match="may still have been processed"):
        generated(*two)
    assert jobs_of(*two) == [1, 0]


def test_saving_the_form_probes_every_replica(two: tuple[FakeOpenAIImages, FakeOpenAIImages]) -> None:
    told = list(pool(*two).probe())
    for server in two:
        assert any(sentence.startswith(server.url.removeprefix("http://")) for sentence in told)
