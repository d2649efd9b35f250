"""Several ComfyUI servers behind one form: each request of a job goes where the job is."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from models.backends.base import Job
from models.backends.comfyui.state import JobState
from models.backends.errors import BadRequest, ConnectionFailed, ServerUnavailable
from models.backends.server_pool import JobServerPool
from models.clock import Deadline
from models.entities import ImageResult, InputImage
from tests.asking import asked, bound
from tests.backends.comfyui.jobs import TXT2IMG, Graph, HurriedClock, sampled, slow
from tests.fakes import MARKER_KEY, image_file
from tests.servers.comfyui import ComfyUIServer, basic, wait_until

CHECKPOINT = "tiny-random-sd15.safetensors"
CLOCK = HurriedClock(1)  # one for all requests, as in the process


@pytest.fixture
def two() -> Iterator[tuple[ComfyUIServer, ComfyUIServer]]:
    with ExitStack() as stack:
        yield stack.enter_context(ComfyUIServer()), stack.enter_context(ComfyUIServer())


def pool(servers: tuple[ComfyUIServer, ...], graph: Graph, **form: str) -> JobServerPool:
    addresses = ", ".join(server.url for server in servers)
    credentials = {"backend": "comfyui", "base_url": addresses, "workflow": json.dumps(graph), **form}
    backend = bound("my-workflow", credentials, CLOCK)
    assert isinstance(backend, JobServerPool)
    return backend


def submitted(backend: JobServerPool, **parts: object) -> Job:
    job = backend.submit(asked(backend, "a fox", **{"timeout": 60.0, **parts}))
    assert isinstance(job, dict)
    again: Job = json.loads(json.dumps(job))
    return again


def finished(backend: JobServerPool, job: Job) -> ImageResult:
    seen = backend.watch(job, Deadline.after(backend.clock, 60), started=backend.clock.now())
    assert isinstance(seen, ImageResult)
    return seen


def jobs_of(*servers: ComfyUIServer) -> list[int]:
    return [server.count("POST /prompt") for server in servers]


def with_input() -> Graph:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    return graph


def test_a_job_goes_to_the_shorter_queue(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    busy, idle = two
    busy.engine.gate.clear()
    for seed in range(2):
        busy.engine.submit(
            {"prompt": {**slow(), "2": {"class_type": "DevSleep", "inputs": {**slow()["2"]["inputs"], "seed": seed}}}}
        )
    pool(two, slow()).invoke(asked(pool(two, slow()), timeout=60.0))
    assert jobs_of(*two) == [0, 1]
    assert idle.engine.executed


def test_a_server_without_the_node_class_or_the_file_is_passed_over(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    first, _ = two
    first.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["other.ckpt"], {}]
    backend = pool(two, sampled())
    backend.invoke(asked(backend, timeout=60.0))
    del first.engine.object_info["DevSleep"]
    other = pool(two, slow())
    other.invoke(asked(other, timeout=60.0))
    assert jobs_of(*two) == [0, 2]


def test_when_no_server_has_the_file_each_is_named(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    backend = pool(two, sampled(ckpt_name="gone.safetensors"))
    with pytest.raises(BadRequest, match="None of the 2 servers") as failure:
        backend.invoke(asked(backend, timeout=60.0))
    assert all(f"127.0.0.1:{server.port}: " in str(failure.value) for server in two)
    assert jobs_of(*two) == [0, 0]


def test_the_checkpoint_that_a_server_ran_last_counts_as_loaded(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    files = [CHECKPOINT, "second.safetensors"]
    for server in two:
        server.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [files, {}]
    for seed, name in enumerate([*files, *files, files[1], files[1]]):
        backend = pool(two, sampled(ckpt_name=name))
        backend.invoke(asked(backend, timeout=60.0, seed=seed))
    assert [
        sum(CHECKPOINT in json.dumps(entry["prompt"]) for entry in server.engine.history.values()) for server in two
    ] == [2, 0]
    assert jobs_of(*two) == [2, 4]


def test_uploads_checks_images_and_the_socket_go_to_the_server_of_the_job(
    two: tuple[ComfyUIServer, ComfyUIServer],
) -> None:
    first, second = two
    del first.engine.object_info["DevSleep"]
    job = submitted(pool(two, with_input()), images=(InputImage(image_file(), "image/png"),))
    assert job["server"] == 1
    assert finished(pool(two, with_input()), job).images, "another process knows only the state"
    for route in ("POST /upload/image", "POST /prompt", "GET /history", "GET /view", "GET /ws"):
        assert (first.count(route), bool(second.count(route))) == (0, True), route


def test_cancelling_reaches_the_server_of_the_job(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    first, second = two
    del first.engine.object_info["DevSleep"]
    second.engine.gate.clear()
    job = submitted(pool(two, slow()))
    wait_until(lambda: second.engine.running)
    pool(two, slow()).cancel(job)
    wait_until(lambda: not second.engine.running)


def test_a_dead_server_costs_no_job_and_no_second_one(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    first, second = two
    first.stop()
    for seed in range(3):
        backend = pool(two, slow())
        backend.invoke(asked(backend, timeout=60.0, seed=seed))
    assert jobs_of(second) == [3]
    first.start()


def test_a_submission_whose_reply_is_lost_for_good_is_sent_to_no_other_server(
    two: tuple[ComfyUIServer, ComfyUIServer],
) -> None:
    first, second = two
    first.faults["POST /prompt"] = ["lost_answer"]
    first.faults["GET /queue"] = first.faults["GET /history"] = ["lost_request"] * 9
    backend = pool(two, slow())
    with pytest.raises(ConnectionFailed, match="lost"):
        backend.invoke(asked(backend, timeout=60.0))
    assert jobs_of(first, second) == [1, 0]


def test_a_file_that_was_removed_a_moment_ago_is_refused_there_and_found_elsewhere(
    two: tuple[ComfyUIServer, ComfyUIServer],
) -> None:
    first, second = two
    backend = pool(two, sampled())
    backend.invoke(asked(backend, timeout=60.0, seed=1))  # its definitions are cached now
    assert jobs_of(first, second) == [1, 0]
    first.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["other.ckpt"], {}]
    backend.invoke(asked(backend, timeout=60.0, seed=2))
    assert jobs_of(first, second) == [2, 1]


def test_a_job_is_not_looked_for_elsewhere_when_the_list_became_one(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    first, _ = two
    del first.engine.object_info["DevSleep"]
    job = submitted(pool(two, slow()))
    alone = bound("my-workflow", {"backend": "comfyui", "base_url": first.url, "workflow": json.dumps(slow())})
    with pytest.raises(ServerUnavailable, match="no longer in the list"):
        alone.check(job)  # type: ignore[attr-defined]
    assert jobs_of(*two) == [0, 1]


def test_the_state_holds_the_place_and_no_address_and_no_login(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    for server in two:
        server.login = basic("dify", MARKER_KEY)
    backend = pool(two, slow(), username="dify", password=MARKER_KEY)
    text = json.dumps(submitted(backend))
    assert '"server": 0' in text
    assert "127.0.0.1" not in text
    assert MARKER_KEY not in text


def test_one_address_asks_for_nothing_more(server: ComfyUIServer) -> None:
    form = {"backend": "comfyui", "base_url": server.url, "workflow": json.dumps(slow())}
    for seed in range(2):
        server.requests.clear()
        backend = bound("my-workflow", form)
        backend.invoke(asked(backend, timeout=60.0, seed=seed))
    assert sorted(line.partition(" ")[2].split("/")[1] for line in server.requests) == [
        "history",
        "prompt",
        "view",
        "ws",
    ]


def test_saving_the_form_names_the_address_that_fails(two: tuple[ComfyUIServer, ComfyUIServer]) -> None:
    first, second = two
    second.stop()
    with pytest.raises(ConnectionFailed, match="1 of the 2 addresses") as failure:
        list(pool(two, TXT2IMG).probe())
    assert f"127.0.0.1:{second.port}: Checking ComfyUI failed" in str(failure.value)
    assert f"127.0.0.1:{first.port}" not in str(failure.value)
    second.start()


def test_a_lost_job_whose_input_image_went_with_the_server_is_told(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    form = {"backend": "comfyui", "base_url": server.url, "workflow": json.dumps(with_input())}
    backend = bound("my-workflow", form, HurriedClock(5))
    job = backend.submit(asked(backend, timeout=60.0, images=(InputImage(image_file(), "image/png"),)))  # type: ignore[attr-defined]
    server.restart()
    server.engine.files.clear()
    with pytest.raises(ServerUnavailable, match="lost the job and refused to take it again") as failure:
        backend.watch(job, Deadline.after(backend.clock, 60), started=backend.clock.now())  # type: ignore[attr-defined]
    assert str(failure.value).endswith("Run it again.")
    assert JobState.load(job).submissions[0].tries == 2
    server.engine.gate.set()
