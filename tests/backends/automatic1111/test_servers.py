"""Several WebUIs behind one form."""

from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest

from models.backends.base import Backend
from models.backends.errors import BadRequest, ConnectionFailed
from models.backends.server_pool import CallServerPool
from models.entities import ImageResult
from tests.asking import asked, bound
from tests.servers.automatic1111 import FakeWebUI, Kind

PATH = "/sdapi/v1/txt2img"


@pytest.fixture
def two() -> Iterator[tuple[FakeWebUI, FakeWebUI]]:
    with ExitStack() as stack:
        yield stack.enter_context(FakeWebUI().run()), stack.enter_context(FakeWebUI().run())


def pool(*servers: FakeWebUI) -> Backend:
    backend = bound("automatic1111", {"automatic1111_base_url": ", ".join(server.url for server in servers)})
    assert isinstance(backend, CallServerPool)
    return backend


def generated(*servers: FakeWebUI, **parts: object) -> ImageResult:
    backend = pool(*servers)
    return backend.invoke(asked(backend, "a fox", **{"width": 64, "height": 64, "steps": 2, "timeout": 30.0, **parts}))


def jobs_of(*servers: FakeWebUI) -> list[int]:
    return [len(server.bodies(PATH)) for server in servers]


def test_the_server_that_has_the_checkpoint_loaded_goes_first(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    two[1].options["sd_model_checkpoint"] = "beta.safetensors"
    generated(*two, checkpoint="beta")
    assert jobs_of(*two) == [0, 1]


def test_a_server_without_the_checkpoint_is_passed_over(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    two[0].checkpoints = ("alpha",)
    generated(*two, checkpoint="beta")
    generated(*two, checkpoint="beta")
    assert jobs_of(*two) == [0, 2]


def test_a_lora_that_only_one_server_has_is_found_there(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    two[0].loras = ()
    backend = pool(*two)
    backend.invoke(asked(backend, "a fox <lora:paper-cut:1>", steps=2, timeout=30.0))
    assert jobs_of(*two) == [0, 1]


def test_a_checkpoint_that_no_server_has_is_told_for_each(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    with pytest.raises(BadRequest, match="None of the 2 servers") as failure:
        generated(*two, checkpoint="gamma")
    assert str(failure.value).count("There is no checkpoint 'gamma' on the server") == 2
    assert jobs_of(*two) == [0, 0]


@pytest.mark.parametrize("kind", ["a1111", "sdnext"])
def test_jobs_that_come_at_once_are_shared(kind: Kind) -> None:
    with (
        FakeWebUI(kind=kind, step_seconds=0.02).run() as first,
        FakeWebUI(kind=kind, step_seconds=0.02).run() as second,
    ):
        gevent.joinall([gevent.spawn(generated, first, second, seed=seed) for seed in range(8)], raise_error=True)
        assert sum(jobs_of(first, second)) == 8
        assert min(jobs_of(first, second)) >= 2  # evenness to the job is counted in tests/backends/test_servers.py


def test_the_job_of_another_program_counts(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    two[0]._begin("task(somebody)")
    two[0]._pending.append("task(next)")
    generated(*two)
    generated(*two)
    assert jobs_of(*two) == [0, 2]


def test_requests_that_failed_before_they_began_do_not_count(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    two[0]._pending.extend(["task(leaked)"] * 5)
    generated(*two)
    assert jobs_of(*two) == [1, 0]


def test_a_dead_server_is_passed_over(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    with FakeWebUI().run() as gone:
        pass
    generated(gone, two[0])
    assert jobs_of(two[0]) == [1]


def test_a_job_that_dies_with_its_server_goes_nowhere_else(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    two[0].drops_next = True
    with pytest.raises(ConnectionFailed, match="may still have been processed"):
        generated(*two)
    assert jobs_of(*two) == [1, 0]


def test_one_address_asks_for_nothing_more() -> None:
    with FakeWebUI().run() as alone:
        backend = bound("automatic1111", {"automatic1111_base_url": alone.url})
        backend.invoke(asked(backend, "a fox", steps=2, timeout=30.0))
        assert [path for _, path, _ in alone.requests if "options" in path or "pending" in path] == []


def test_saving_the_form_names_the_address_that_fails(two: tuple[FakeWebUI, FakeWebUI]) -> None:
    two[1].api = False
    with pytest.raises(BadRequest, match="1 of the 2 addresses in “AUTOMATIC1111 WebUI base URL”") as failure:
        list(pool(*two).probe())
    assert f"{two[1].url.removeprefix('http://')}: The WebUI runs without its API" in str(failure.value)
