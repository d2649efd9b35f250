"""The backend between a request and its client: what a server is asked for, what a job's state holds, what is told."""

import json
from dataclasses import replace
from typing import Any

import pytest

from models.backends.base import Job, Running
from models.backends.comfyui import ComfyUI
from models.backends.comfyui.events import Event, EventSocket
from models.backends.comfyui.state import JobState
from models.backends.errors import BadRequest, ConnectionFailed, ServerUnavailable
from models.backends.http import Service
from models.backends.servers import Standing
from models.clock import Deadline
from models.entities import ImageResult, InputImage
from tests.asking import asked
from tests.backends.comfyui.graphs import FIXTURES
from tests.backends.comfyui.jobs import Graph, edited, sampled, without_socket
from tests.backends.comfyui.simulated import FAILED, PNG, SimulatedServer, saved
from tests.fakes import FakeClock

PHOTO = InputImage(PNG, "image/png")


def submitted(backend: ComfyUI, **parts: Any) -> Job:
    job = backend.submit(asked(backend, "a fox", **parts))
    assert isinstance(job, dict)
    return job


def soon(clock: FakeClock, seconds: float = 60.0) -> Deadline:
    return Deadline.after(clock, seconds)


# --- one of several servers ---


def test_a_standing_tells_the_queue_and_what_is_lacking(simulated: SimulatedServer, clock: FakeClock) -> None:
    simulated.running, simulated.pending = ["a"], ["b", "c"]
    backend = without_socket(clock, sampled())
    assert backend.standing(asked(backend), soon(clock), fresh=False) == Standing("", False, 3)
    other = without_socket(clock, sampled(ckpt_name="other.safetensors"))
    standing = other.standing(asked(other), soon(clock), fresh=False)
    assert "other.safetensors" in standing.lacks
    assert standing.waiting == 3


def test_a_server_that_does_not_tell_its_nodes_lacks_nothing(simulated: SimulatedServer, clock: FakeClock) -> None:
    simulated.dumb = ConnectionFailed("x", "off")
    backend = without_socket(clock, sampled(ckpt_name="other.safetensors"))
    assert backend.standing(asked(backend), soon(clock), fresh=True) == Standing("", False, 0)


def test_only_a_fresh_standing_asks_for_the_nodes_again(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    for fresh, times in ((False, 1), (False, 1), (True, 2)):
        backend.standing(asked(backend), soon(clock), fresh=fresh)
        assert simulated.asked.count("KSampler") == times


@pytest.mark.parametrize(
    ("graph", "parts"),
    [
        (edited(), {"images": (PHOTO,)}),
        (edited(masked=True), {"images": (PHOTO,), "mask": PHOTO}),
    ],
)
def test_a_standing_needs_no_upload(
    simulated: SimulatedServer, clock: FakeClock, graph: Graph, parts: dict[str, Any]
) -> None:
    backend = without_socket(clock, graph)
    request = asked(backend, **parts)
    assert backend.standing(request, soon(clock), fresh=False) == Standing("", False, 0)
    assert simulated.uploaded == []


def test_a_node_that_a_mask_adds_is_known_too(simulated: SimulatedServer, clock: FakeClock) -> None:
    """The mask of the workflow is the input image's own; one that was sent is loaded by a node of its own."""
    graph = edited(masked=True)
    graph["12"]["inputs"]["mask"] = ["10", 1]
    del graph["13"]
    backend = without_socket(clock, graph)
    request = asked(backend, images=(PHOTO,), mask=PHOTO)
    assert backend.standing(request, soon(clock), fresh=False).lacks == ""
    assert simulated.asked.count("LoadImageMask") == 1


def test_the_files_of_the_last_job_count_as_loaded(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend, other = without_socket(clock, sampled()), without_socket(clock, sampled(ckpt_name="other.safetensors"))
    submitted(backend)
    assert backend.standing(asked(backend), soon(clock), fresh=False).loaded
    assert not other.standing(asked(other), soon(clock), fresh=False).loaded


def test_a_job_that_was_not_taken_loads_nothing(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    simulated.fails = [BadRequest("x", "no")]
    with pytest.raises(BadRequest):
        submitted(backend)
    assert backend.handed_over
    assert not backend.standing(asked(backend), soon(clock), fresh=False).loaded


def test_a_request_that_cannot_be_filled_is_not_handed_over(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, edited())
    request = replace(asked(without_socket(clock, sampled())), model=backend.model.name)
    with pytest.raises(BadRequest):
        backend.submit(request)
    assert (backend.handed_over, simulated.submitted) == (False, [])


# --- the job ---


@pytest.mark.parametrize(
    ("extra", "kept", "front"),
    [
        ({}, False, False),
        ({"embed_workflow": True, "priority": "high"}, True, True),
        ({"embed_workflow": False, "priority": "normal"}, False, False),
    ],
)
def test_a_state_holds_what_the_request_asked_for(
    simulated: SimulatedServer, clock: FakeClock, extra: dict[str, Any], kept: bool, front: bool
) -> None:
    backend = without_socket(clock, sampled())
    state = JobState.load(submitted(backend, extra=extra, notices=("one", "one")))
    assert (state.prompt, state.keep_workflow, state.front, state.version, state.server) == (
        "a fox", kept, front, "main", 0,
    )  # fmt: skip
    assert state.notices == ["one"]
    (sent,) = simulated.submitted
    assert sent.prompt["6"]["inputs"]["text"] == "a fox"  # type: ignore[index, call-overload]
    assert sent.front is (True if front else None)


def test_cookies_of_a_balancer_go_with_the_job(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    backend.cookies["worker"] = "2"
    job = submitted(backend)
    assert job["cookies"] == {"worker": "2"}
    other = without_socket(clock, sampled())
    simulated.running = JobState.load(job).ids
    other.check(job)
    assert other.service.cookies == {"worker": "2"}
    other.cookies["session"] = "new"
    other.check(job)
    assert job["cookies"] == {"worker": "2", "session": "new"}


def test_a_job_of_another_place_in_the_list_is_gone(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    job = {**submitted(backend), "server": 1}
    with pytest.raises(ServerUnavailable, match="no longer in the list"):
        backend.check(job)


def test_a_job_is_running_until_the_history_has_it(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    job = submitted(backend, seed=7, n=2, notices=("one",))
    (name,) = JobState.load(job).ids
    simulated.pending = ["other", name]
    assert backend.check(job) == Running("queued 2nd")
    simulated.history[name] = saved("a.png", "b.png")
    result = backend.check(job)
    assert isinstance(result, ImageResult)
    assert [(image.data, image.seed) for image in result.images] == [(PNG, 7), (PNG, 7)]
    assert result.notices == ("one", "The 2 images come from one batch with the seed 7")


@pytest.mark.parametrize(("entries", "images"), [([saved("a.png"), None], 1), ([None, None], 0), ([FAILED, None], 0)])
def test_a_part_of_a_job_has_an_image_or_is_none(
    simulated: SimulatedServer, clock: FakeClock, entries: list[Any], images: int
) -> None:
    backend = without_socket(clock, edited())
    job = submitted(backend, images=(PHOTO,), n=2)
    names = JobState.load(job).ids
    assert len(names) == 2
    simulated.history = {name: entry for name, entry in zip(names, entries, strict=True) if entry}
    part = backend.finished_part(job)
    assert (len(part.images) if part else 0) == images
    assert (part is None) is (images == 0)


def test_a_job_is_cancelled_by_its_ids(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    job = submitted(backend)
    backend.cancel(job)
    assert simulated.removed == JobState.load(job).ids


def test_input_images_are_uploaded_in_order_and_the_mask_last(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, edited(masked=True))
    backend.submit(asked(backend, images=(PHOTO,), mask=PHOTO))
    assert len(simulated.uploaded) == 2
    assert simulated.uploaded[0] == PHOTO
    assert '"dify/1.png"' in json.dumps(simulated.submitted[0].prompt)
    assert '"dify/2.png"' in json.dumps(simulated.submitted[0].prompt)


# --- keys, the editor's graph and the second workflow ---


def keyed(key: str) -> Graph:
    graph = sampled()
    graph["3"]["inputs"]["api_key"] = key
    return graph


@pytest.mark.parametrize("percent", ["0", "100"])
def test_keys_come_from_the_workflow_that_the_job_runs(
    simulated: SimulatedServer, clock: FakeClock, percent: str
) -> None:
    second = {"canary_workflow": json.dumps(keyed("of-the-second")), "canary_percent": percent}
    backend = without_socket(clock, keyed("of-the-first"), **second)
    job = submitted(backend)
    used = "of-the-second" if percent == "100" else "of-the-first"
    assert simulated.submitted[0].prompt["3"]["inputs"]["api_key"] == used  # type: ignore[index, call-overload]
    assert used not in json.dumps(job)
    assert job["version"] == ("canary" if percent == "100" else "main")


def test_a_job_whose_second_workflow_was_taken_out_goes_on(simulated: SimulatedServer, clock: FakeClock) -> None:
    second = {"canary_workflow": json.dumps(keyed("of-the-second")), "canary_percent": "100"}
    job = submitted(without_socket(clock, keyed("of-the-first"), **second))
    alone = without_socket(clock, keyed("of-the-first"))
    simulated.history[JobState.load(job).ids[0]] = saved("a.png")
    assert isinstance(alone.check(job), ImageResult)


@pytest.mark.parametrize("kept", [True, False])
def test_the_editors_graph_is_embedded_only_on_request(
    simulated: SimulatedServer, clock: FakeClock, kept: bool
) -> None:
    editor = json.loads((FIXTURES / "workflows" / "ui" / "node_titles.ui.json").read_text("utf-8"))
    backend = without_socket(clock, editor)
    submitted(backend, extra={"embed_workflow": kept})
    extra = simulated.submitted[0].extra_data
    assert ("extra_pnginfo" in extra) is kept
    if kept:
        assert extra["extra_pnginfo"] == {"workflow": editor}


def test_the_account_key_goes_with_a_pasted_workflow(simulated: SimulatedServer, clock: FakeClock) -> None:
    submitted(without_socket(clock, sampled(), comfy_account_api_key="account-key"))
    assert simulated.submitted[0].extra_data["api_key_comfy_org"] == "account-key"


# --- the socket ---


class Told(EventSocket):
    """A socket that tells a status, then what a test gives it, then nothing."""

    def __init__(self, clock: FakeClock, *events: Event) -> None:
        self.clock, self.events, self.closed = clock, [Event(type="status"), *events], 0

    def next(self, seconds: float) -> Event | None:
        if self.events:
            return self.events.pop(0)
        self.clock.time += seconds
        return None

    def close(self) -> None:
        self.closed += 1


def with_socket(backend: ComfyUI, socket: EventSocket) -> list[str]:
    """The client ids for which the socket was opened."""
    opened: list[str] = []

    def opener(_: Service, client_id: str) -> EventSocket:
        opened.append(client_id)
        return socket

    backend.open_socket = opener
    return opened


def test_a_job_that_is_polled_opens_no_socket_when_it_is_submitted(
    simulated: SimulatedServer, clock: FakeClock
) -> None:
    backend, socket = without_socket(clock, sampled()), Told(clock)
    opened = with_socket(backend, socket)
    submitted(backend)
    assert opened == []


def test_a_job_in_one_call_has_its_socket_before_it_is_submitted(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend, socket = without_socket(clock, sampled()), Told(clock)
    opened = with_socket(backend, socket)
    simulated.fails = [BadRequest("x", "no")]
    with pytest.raises(BadRequest):
        backend.invoke(asked(backend))
    assert opened == [simulated.submitted[0].client_id]
    assert socket.closed == 1, "the next socket needs the id"


def test_a_job_without_a_socket_is_polled_at_the_pace_of_its_age(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    job = submitted(backend)
    simulated.running = JobState.load(job).ids
    backend.watch(job, soon(clock, 1.5), started=clock.now() - 3)
    assert clock.pauses[0] == pytest.approx(backend.interval(3))
    assert backend.interval(3) < 1.5, "else the end of the watch would decide"


def test_progress_names_nodes_by_their_titles_else_by_their_class(simulated: SimulatedServer, clock: FakeClock) -> None:
    job, backend = submitted(without_socket(clock, sampled())), without_socket(clock, sampled())
    (name,) = JobState.load(job).ids
    simulated.running = [name]
    told: list[str] = []
    backend.on_progress = lambda running: told.append(running.progress)
    socket = Told(clock, *(Event(type="executing", prompt_id=name, node=node) for node in ("6", "5", "99")))
    with_socket(backend, socket)
    assert backend.watch(job, soon(clock, 10), started=clock.now()) == Running("running 99")
    assert list(dict.fromkeys(told)) == ["running", "running Positive", "running EmptyLatentImage", "running 99"]
    assert socket.closed == 1
