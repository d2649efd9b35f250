"""Faults with the fake server over HTTP: nothing hangs, no job runs twice without a notice, no finished image is lost."""

import threading

import gevent
import pytest

from models.backends.base import Job, Running
from models.backends.comfyui import ComfyUI
from models.backends.comfyui.state import JobState
from models.backends.errors import ConnectionFailed, ImageError, ServerUnavailable
from models.clock import Deadline
from models.entities import ImageResult, InputImage
from tests.backends.comfyui.jobs import Graph, HurriedClock, backend_for, hurried, invoked, sampled, slow, submitted
from tests.fakes import image_file
from tests.servers.comfyui import ComfyUIServer, Fault, SocketMode, wait_until
from tests.servers.faulty import FaultyProxy, running, silent
from tests.servers.scripted import say

AGAIN = "was submitted again"


def prompt_id(job: Job) -> str:
    return JobState.load(job).ids[0]


def watched(backend: ComfyUI, job: Job, seconds: float = 60.0) -> Running | ImageResult:
    clock = backend.clock
    return backend.watch(job, Deadline.after(clock, seconds), started=clock.now())


def finished(backend: ComfyUI, job: Job, seconds: float = 60.0) -> ImageResult:
    seen = watched(backend, job, seconds)
    assert isinstance(seen, ImageResult)
    return seen


@pytest.mark.parametrize("sockets", ["forbidden", "stuck", "redirected", "silent", "mute", "dropping"])
def test_no_websocket_failure_loses_a_job(
    server: ComfyUIServer, sockets: SocketMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.backends.comfyui.events.OPEN_TIMEOUT", 0.3)
    server.sockets = sockets
    result = invoked(hurried(server, slow(0.1)), timeout=200)
    assert len(result.images) == 1
    assert server.count("POST /prompt") == 1


@pytest.mark.parametrize("sockets", ["forbidden", "redirected"])
def test_a_refused_websocket_is_not_retried_for_every_image(server: ComfyUIServer, sockets: SocketMode) -> None:
    server.sockets = sockets
    clock = HurriedClock()
    for seed in range(3):
        invoked(backend_for(server, slow(), clock), seed=seed)
    assert server.count("GET /ws") == 1


def test_a_dropped_websocket_is_reconnected(server: ComfyUIServer) -> None:
    server.sockets = "dropping"
    server.engine.gate.clear()
    backend = hurried(server, slow(0.6, steps=2))
    words: list[str] = []
    backend.on_progress = lambda running: words.append(running.progress)
    job = submitted(backend)
    wait_until(lambda: server.engine.running)
    seen = watched(backend, job, seconds=5.0)
    assert isinstance(seen, Running)
    server.sockets = "open"
    wait_until(lambda: server.listeners == 0)

    def go_on_when_heard() -> None:
        wait_until(lambda: server.listeners)
        server.engine.gate.set()

    gevent.spawn(go_on_when_heard)
    finished(backend, job)
    assert "step 2/2" in words


@pytest.mark.parametrize("fault", ["lost_answer", "lost_request", "bad_gateway"])
def test_a_submission_with_a_lost_reply_runs_exactly_once(server: ComfyUIServer, fault: Fault) -> None:
    server.faults["POST /prompt"] = [fault]
    result = invoked(hurried(server, slow()))
    assert len(result.images) == 1
    assert len(server.engine.executed) == 1


@pytest.mark.parametrize(("late", "found"), [(0.3, True), (2.0, False)])
def test_a_submission_without_a_reply_is_never_sent_twice(
    server: ComfyUIServer, monkeypatch: pytest.MonkeyPatch, late: float, found: bool
) -> None:
    """A proxy may hold the request back and pass it on when the client has long gone."""
    monkeypatch.setattr("models.backends.comfyui.client._SUBMIT_SECONDS", 0.5)
    stages = {"submit": "POST /prompt"}
    held = FaultyProxy(upstream=server.url, stages=stages, stage="submit", act=silent, late=late)
    with running(held) as proxy:
        if found:
            assert invoked(hurried(proxy.url, slow())).images
        else:
            with pytest.raises(ConnectionFailed, match="may still have been processed"):
                invoked(hurried(proxy.url, slow()))
        wait_until(lambda: server.engine.executed)
    assert (proxy.count("submit"), server.count("POST /prompt"), len(server.engine.executed)) == (1, 1, 1)


def test_a_submission_that_a_proxy_postpones_waits_as_long_as_it_says(server: ComfyUIServer) -> None:
    stages = {"submit": "POST /prompt"}
    act = say(503, Retry_After="2")
    with running(FaultyProxy(upstream=server.url, stages=stages, stage="submit", act=act, times=4)) as proxy:
        assert invoked(hurried(proxy.url, slow())).images
    assert (proxy.count("submit"), server.count("POST /prompt")) == (5, 1)


@pytest.mark.parametrize("fault", ["lost_answer", "lost_request", "bad_gateway"])
def test_an_upload_with_a_lost_reply_is_retried_as_the_same_file(server: ComfyUIServer, fault: Fault) -> None:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    server.faults["POST /upload/image"] = [fault]
    invoked(hurried(server, graph), images=(InputImage(image_file(), "image/png"),))
    assert len([key for key in server.engine.files if key[0] == "input"]) == 1


def test_a_submission_fails_if_the_server_stays_offline(server: ComfyUIServer) -> None:
    server.stop()
    with pytest.raises(ConnectionFailed, match=r"\(base_url\) in the model's settings"):
        invoked(hurried(server, slow()))


def test_a_queued_job_is_resubmitted_after_a_restart_with_a_notice(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    other = submitted(hurried(server, slow(prefix="other")))
    backend = hurried(server, slow())
    job = submitted(backend)
    assert watched(backend, job, seconds=3.0) == Running("queued 1st")
    server.restart()
    server.engine.gate.set()
    result = finished(backend, job)
    assert any(AGAIN in notice for notice in result.notices)
    assert prompt_id(other) not in server.engine.executed
    assert server.count("POST /prompt") == 3


def test_a_running_job_is_resubmitted_after_a_restart_by_another_process(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    job = submitted(hurried(server, slow()))
    wait_until(lambda: server.engine.running)
    server.stop()
    away = watched(hurried(server, slow()), job, seconds=5.0)
    assert isinstance(away, Running)
    server.engine.gate.set()
    server.start()
    result = finished(hurried(server, slow()), job)
    assert sum(AGAIN in notice for notice in result.notices) == 1


def test_a_job_that_is_lost_twice_fails(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    backend = hurried(server, slow())
    job = submitted(backend)
    server.restart()
    assert [backend.check(job) for _ in range(2)] == [Running("running")] * 2, (
        "lost only when the second look misses it"
    )
    assert server.count("POST /prompt") == 2
    server.restart()
    assert isinstance(backend.check(job), Running)
    with pytest.raises(ServerUnavailable, match="disappeared from the server's queue twice"):
        backend.check(job)


def test_a_check_in_another_process_finds_the_finished_job(server: ComfyUIServer) -> None:
    job = submitted(hurried(server, slow()), seed=3)
    wait_until(lambda: server.engine.history)
    result = finished(hurried(server, slow()), job)
    assert result.images[0].seed == 3
    assert server.count("POST /prompt") == 1


def test_a_check_with_the_server_offline_is_a_transient_error(server: ComfyUIServer) -> None:
    backend = hurried(server, slow())
    job = submitted(backend)
    server.stop()
    with pytest.raises(ImageError) as caught:
        backend.check(job)
    assert caught.value.transient


def test_a_deleted_cached_image_is_saved_again_under_another_name(server: ComfyUIServer) -> None:
    invoked(hurried(server, sampled()), seed=5)
    server.engine.files.clear()
    result = invoked(hurried(server, sampled()), seed=5)
    assert len(result.images) == 1
    assert any("deleted on the server, so it was saved again" in notice for notice in result.notices)
    graphs = [entry["prompt"][2] for entry in server.engine.history.values()]
    assert graphs[-1]["9"]["inputs"]["filename_prefix"].startswith("fox-")
    assert graphs[-1]["3"] == graphs[0]["3"]


def test_an_existing_cached_image_is_downloaded(server: ComfyUIServer) -> None:
    first = invoked(hurried(server, sampled()), seed=5)
    second = invoked(hurried(server, sampled()), seed=5)
    assert [image.data for image in first.images] == [image.data for image in second.images]
    assert len([key for key in server.engine.files if key[0] == "output"]) == 1


def test_an_interrupted_job_is_reported(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    backend = hurried(server, slow())
    job = submitted(backend)
    wait_until(lambda: server.engine.running)
    server.engine.interrupt(None)
    with pytest.raises(ServerUnavailable, match='interrupted on the server at node 2 \\(DevSleep "Slow"\\)'):
        watched(backend, job)


def test_progress_is_reported_as_text(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    submitted(hurried(server, slow(prefix="first")))
    submitted(hurried(server, slow(prefix="second")))
    backend = hurried(server, slow(0.25, steps=3))
    words: list[str] = []
    backend.on_progress = lambda running: words.append(running.progress)
    watching = gevent.spawn(finished, backend, submitted(backend))
    wait_until(lambda: "queued 2nd" in words and server.listeners)
    server.engine.gate.set()
    assert watching.get().images
    assert words[0] == "queued 2nd"
    assert [word for word in words if word.startswith("step")] == ["step 1/3", "step 2/3", "step 3/3"]


def test_a_failed_image_cancels_the_remaining_ones(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    graph = slow(prefix="one-of-three")
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "own.png"}, "_meta": {"title": "fixed: own"}}
    server.engine.files["input", "", "own.png"] = b"x"
    backend = hurried(server, graph)
    job = submitted(backend, n=3)
    wait_until(lambda: server.engine.running)
    server.engine.interrupt(None)
    with pytest.raises(ServerUnavailable):
        watched(backend, job)
    assert not server.engine.pending


def three_images(server: ComfyUIServer) -> Graph:
    """A workflow without a batch size: three images are three submissions."""
    server.engine.files["input", "", "own.png"] = b"x"
    graph = slow(prefix="one-of-three")
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "own.png"}, "_meta": {"title": "fixed: own"}}
    return graph


class HeldAfter(threading.Event):
    """A gate that closes after a number of jobs."""

    def __init__(self, server: ComfyUIServer, jobs: int) -> None:
        super().__init__()
        self.server, self.jobs = server, jobs

    def is_set(self) -> bool:
        return super().is_set() or len(self.server.engine.history) < self.jobs


def test_finished_images_are_returned_when_one_fails(server: ComfyUIServer) -> None:
    server.engine.gate = HeldAfter(server, 1)
    graph = three_images(server)
    job = submitted(hurried(server, graph), n=3, seed=5)
    wait_until(lambda: len(server.engine.history) == 1 and server.engine.running)
    server.engine.interrupt(None)
    result = finished(hurried(server, graph), job)
    assert [image.seed for image in result.images] == [5]
    assert "1 of 3 images came back." in result.notices
    assert any("interrupted on the server" in notice for notice in result.notices)
    assert not server.engine.pending


def test_finished_images_are_returned_on_timeout(server: ComfyUIServer) -> None:
    server.engine.gate = HeldAfter(server, 2)
    result = invoked(hurried(server, three_images(server)), n=3, seed=5, timeout=12)
    assert [image.seed for image in result.images] == [5, 6]
    assert "2 of 3 images came back." in result.notices
    assert any("the time limit of the job has passed" in notice for notice in result.notices)
    wait_until(lambda: server.engine.running is None)
    assert not server.engine.pending


def test_downloadable_images_are_returned_when_one_download_fails(server: ComfyUIServer) -> None:
    graph = three_images(server)
    backend = hurried(server, graph)
    job = submitted(backend, n=3, seed=5)
    wait_until(lambda: len(server.engine.history) == 3)
    first = next(iter(server.engine.history.values()))
    first["outputs"] = {}
    result = finished(backend, job)
    assert [image.seed for image in result.images] == [6, 7]
    assert any("ended without an image" in notice for notice in result.notices)


def test_finished_images_are_returned_when_another_job_is_lost(server: ComfyUIServer) -> None:
    server.engine.gate = HeldAfter(server, 1)
    backend = hurried(server, three_images(server))
    job = submitted(backend, n=3, seed=5)
    for _ in range(2):
        wait_until(lambda: len(server.engine.history) == 1 and server.engine.running)
        with server.engine.lock:  # somebody clears the queue, and the running job is lost with it
            server.engine.pending.clear()
        backend.check(job)
        result = backend.check(job)
    assert isinstance(result, ImageResult)
    assert [image.seed for image in result.images] == [5]
    assert any("disappeared from the server's queue twice" in notice for notice in result.notices)


@pytest.mark.parametrize("version", ["0.3.64", "0.10.0", "0.38.1"])
def test_cancelling_stops_our_own_job_only(version: str) -> None:
    with ComfyUIServer(version=version) as server:
        server.engine.gate.clear()
        backend = hurried(server, slow())
        running = submitted(backend)
        wait_until(lambda: server.engine.running)
        others = submitted(hurried(server, slow(prefix="others")))
        waiting = submitted(backend)
        backend.cancel(waiting)
        assert [task.prompt_id for task in server.engine.pending] == [prompt_id(others)]
        backend.cancel(running)
        wait_until(lambda: prompt_id(running) in server.engine.history)
        backend.cancel(running)
        server.engine.gate.set()
        assert finished(hurried(server, slow()), others)


@pytest.mark.parametrize(("cancelled", "removed"), [(True, 0), (False, 1)])
def test_a_job_that_the_server_did_not_cancel_is_taken_out_of_the_queue(cancelled: bool, removed: int) -> None:
    """Servers from 0.38 on say whether they knew the job."""
    with ComfyUIServer(version="0.38.1") as server:
        server.engine.gate.clear()
        backend = hurried(server, slow())
        submitted(backend)
        wait_until(lambda: server.engine.running)
        waiting = submitted(backend)
        server.engine.cancel = lambda _: cancelled  # type: ignore[method-assign, assignment]
        backend.cancel(waiting)
        assert server.count("POST /queue") == removed
        server.engine.gate.set()


def test_the_last_known_state_is_reported_on_timeout(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    with pytest.raises(ConnectionFailed, match="last known state: running Slow"):
        invoked(hurried(server, slow()), timeout=8)
    wait_until(lambda: server.engine.running is None)
    assert not server.engine.pending


def test_a_transient_download_error_does_not_lose_the_image(server: ComfyUIServer) -> None:
    server.faults["GET /view"] = ["bad_gateway", "lost_request"]
    server.faults["GET /history/"] = ["bad_gateway"]
    assert len(invoked(hurried(server, slow())).images) == 1


def test_thirty_jobs_run_concurrently(server: ComfyUIServer) -> None:
    """Each job waits in its own greenlet: receiving must never block the process."""
    jobs = [gevent.spawn(invoked, hurried(server, slow()), seed=number, timeout=600) for number in range(30)]
    gevent.joinall(jobs, timeout=30)
    assert {result.images[0].seed for job in jobs if (result := job.value)} == set(range(30))
