"""A job's submissions: queued, looked for, lost, repeated, fetched and cancelled, with a simulated server and clock."""

from typing import Any

import pytest
from PIL.PngImagePlugin import PngInfo

from models.backends.base import Running
from models.backends.comfyui import jobs
from models.backends.comfyui.client import HistoryEntry, Refused
from models.backends.comfyui.jobs import JobTracker, queued
from models.backends.comfyui.state import JobState
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.backends.http import Service
from models.backends.partial import Partial
from models.clock import Deadline
from tests.backends.comfyui.simulated import FAILED, PNG, SimulatedServer, saved
from tests.fakes import FakeClock, image_file

GRAPH: Any = {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "out", "api_key": "secret-key"}}}


@pytest.fixture
def server(clock: FakeClock) -> SimulatedServer:
    return SimulatedServer(Service(name="ComfyUI", base_url="http://comfy.test", clock=clock))


def tracked(server: SimulatedServer, clock: FakeClock, count: int = 1, **changes: Any) -> JobTracker:
    state = JobState.of([(GRAPH, number) for number in range(1, count + 1)], prompt="x", keep_workflow=True)
    given: dict[str, Any] = {
        "state": state,
        "client": server,
        "clock": clock,
        "within": lambda seconds: Deadline.after(clock, seconds),
        "look": lambda: Deadline.after(clock, 10),
        "choices": lambda *_: (),
        "parameters": {},
        "secrets": lambda: [("9", "api_key", "secret-key")],
        "account_key": "",
        "workflow": None,
    }
    return JobTracker(**{**given, **changes})


def submit(job: JobTracker, clock: FakeClock) -> None:
    job.submit(Deadline.after(clock, 60))


def lost(*, in_flight: bool = False) -> ConnectionFailed:
    return ConnectionFailed("Submitting failed", "lost", transient=True, in_flight=in_flight)


# --- submitting ---


@pytest.mark.parametrize(
    ("workflow", "account_key", "front", "extra", "first"),
    [
        (None, "", False, {}, None),
        ({"nodes": []}, "", True, {"extra_pnginfo": {"workflow": {"nodes": []}}}, True),
        (None, "comfy-key", False, {"api_key_comfy_org": "comfy-key"}, None),
    ],
)
def test_a_submission_has_its_keys_and_its_place(
    server: SimulatedServer, clock: FakeClock, workflow: Any, account_key: str, front: bool, extra: Any, first: Any
) -> None:
    job = tracked(server, clock, workflow=workflow, account_key=account_key)
    job.state.front = front
    submit(job, clock)
    (sent,) = server.submitted
    assert (sent.prompt_id, sent.client_id) == (job.state.ids[0], job.state.client_id)
    assert (sent.extra_data, sent.front) == ({**extra, "preview_method": "none"}, first)
    assert sent.prompt["9"]["inputs"]["api_key"] == "secret-key"  # type: ignore[index, call-overload]
    assert "secret-key" not in str(job.state.dump())


@pytest.mark.parametrize(
    ("error", "again", "looks", "pauses"),
    [
        (lost(), True, 2, [0.0, 0.5]),
        (lost(in_flight=True), False, 5, [0.0, 0.5, 1.0, 2.0, 4.0]),
        (ConnectionFailed("x", "no"), False, 0, []),
        (RateLimited("x", "busy", transient=True), False, 0, []),
        (BadRequest("x", "no"), False, 0, []),
    ],
)
def test_a_lost_reply_is_looked_for_before_anything_is_sent_again(
    server: SimulatedServer, clock: FakeClock, error: ImageError, again: bool, looks: int, pauses: list[float]
) -> None:
    server.fails = [error]
    job = tracked(server, clock)
    if again:
        submit(job, clock)
    else:
        with pytest.raises(type(error)):
            submit(job, clock)
    assert (len(server.submitted), server.looks, clock.pauses) == (1 + again, looks, pauses)


@pytest.mark.parametrize("where", ["running", "pending", "history"])
def test_a_job_that_arrived_is_not_sent_again(server: SimulatedServer, clock: FakeClock, where: str) -> None:
    job = tracked(server, clock)
    (name,) = job.state.ids
    server.fails = [lost()]
    setattr(server, where, {name: saved("a.png")} if where == "history" else [name])
    submit(job, clock)
    assert (len(server.submitted), server.looks) == (1, 1)


def test_a_server_that_cannot_say_whether_it_arrived_leaves_the_doubt(
    server: SimulatedServer, clock: FakeClock
) -> None:
    server.fails, server.silent = [lost()], ConnectionFailed("x", "off")
    with pytest.raises(ConnectionFailed, match="lost"):
        submit(tracked(server, clock), clock)
    assert len(server.submitted) == 1


def test_a_refusal_hides_the_keys_and_left_nothing_behind(server: SimulatedServer, clock: FakeClock) -> None:
    server.fails = [Refused.model_validate({"error": {"type": "x", "message": "bad secret-key"}})]
    with pytest.raises(BadRequest) as refusal:
        submit(tracked(server, clock), clock)
    assert (refusal.value.said, refusal.value.undone) == ("bad [hidden]", True)
    assert server.removed == []


@pytest.mark.parametrize(("failing", "undone"), [(0, True), (1, False)])
def test_where_one_of_several_fails_the_others_are_cancelled(
    server: SimulatedServer, clock: FakeClock, failing: int, undone: bool
) -> None:
    refused = BadRequest("x", "no")
    refused.undone = True
    server.fails = [*[None] * failing, refused]
    job = tracked(server, clock, 2)
    with pytest.raises(BadRequest):
        submit(job, clock)
    assert refused.undone is undone
    assert server.removed == job.state.ids


# --- looking ---


def test_the_queue_is_read_every_five_seconds(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    server.pending = ["other", job.state.ids[0]]
    assert job.poll() == Running("queued 2nd")
    server.pending = [job.state.ids[0]]
    clock.time += 4.9
    assert (job.poll(), server.looks, job.place) == (Running("queued 2nd"), 1, 2)
    clock.time += 0.1
    assert (job.poll(), server.looks, job.place) == (Running("queued 1st"), 2, 1)
    server.pending, server.running = [], [job.state.ids[0]]
    clock.time += 5
    assert (job.poll(), job.place) == (Running("running"), 0)


def test_a_finished_job_is_fetched_with_its_seed(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    server.history[job.state.ids[0]] = saved("a.png", "b.png")
    made = job.poll()
    assert isinstance(made, Partial)
    assert [(image.data, image.seed) for image in made.images] == [(PNG, 1), (PNG, 1)]
    assert job.state.notices == ["The 2 images come from one batch with the seed 1"]
    assert server.looks == 0


def test_a_lost_job_is_sent_again_when_the_second_look_misses_it_too(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    assert job.poll() == Running("running")
    assert (job.state.submissions[0].missing, len(server.submitted)) == (True, 0)
    job.poll()
    assert server.looks == 2, "at once, not after five seconds"
    assert (job.state.submissions[0].missing, job.state.submissions[0].tries) == (False, 2)
    assert [one.prompt_id for one in server.submitted] == job.state.ids
    assert "was submitted again" in job.state.notices[0]
    clock.time += 5
    job.poll()
    ended = job.poll()
    assert isinstance(ended, Partial)
    assert [failure.said for failure in ended.failures] == ["the job disappeared from the server's queue twice"]
    assert len(server.submitted) == 1


def test_a_job_that_shows_up_again_is_not_sent_again(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    job.poll()
    server.running = [job.state.ids[0]]
    job.poll()
    assert (job.state.submissions[0].missing, server.submitted) == (False, [])


def test_a_lost_job_that_is_refused_now_is_told(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    server.fails = [Refused.model_validate({"error": {"type": "x", "message": "no image"}})]
    job.poll()
    ended = job.poll()
    assert isinstance(ended, Partial)
    (failure,) = ended.failures
    assert failure.said == "the server lost the job and refused to take it again (no image)"
    assert failure.next_step == "Run it again"


@pytest.mark.parametrize("transient", [True, False])
def test_a_failed_look_ends_the_job_unless_it_may_pass(
    server: SimulatedServer, clock: FakeClock, transient: bool
) -> None:
    job = tracked(server, clock)
    server.silent = ServerUnavailable("x", "no", transient=transient)
    if transient:
        with pytest.raises(ServerUnavailable):
            job.poll()
    else:
        ended = job.poll()
        assert isinstance(ended, Partial)
        assert ended.failures == (server.silent,)


def test_the_first_failure_ends_the_job_and_stops_the_rest(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock, 3)
    done, failed, waiting = job.state.ids
    server.history, server.pending = {done: saved("a.png"), failed: FAILED}, [waiting]
    ended = job.poll()
    assert isinstance(ended, Partial)
    assert (len(ended.images), [one.said for one in ended.failures]) == (1, ["the job: bad [hidden]"])
    assert server.removed == [waiting]
    assert server.looks == 1, "for the cancelling: a job that failed is not looked for in the queue"


def test_a_single_job_that_failed_has_no_rest(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    server.history = {job.state.ids[0]: FAILED}
    assert isinstance(job.poll(), Partial)
    assert server.removed == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (HistoryEntry(), "the workflow ended without an image or a video"),
        (saved("a.flac"), "The workflow also made sound files, which are not delivered: a.flac"),
    ],
)
def test_a_job_without_an_image_is_a_failure(
    server: SimulatedServer, clock: FakeClock, entry: HistoryEntry, said: str
) -> None:
    job = tracked(server, clock)
    server.history = {job.state.ids[0]: entry}
    ended = job.poll()
    assert isinstance(ended, Partial)
    assert [failure.said for failure in ended.failures] == [said]


def test_a_deleted_image_is_saved_again_under_another_name(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    first = job.state.ids[0]
    server.history, server.files = {first: saved("gone.png")}, {"gone.png": None}
    assert job.poll() == Running("saving again")
    (sent,) = server.submitted
    assert sent.prompt_id == job.state.ids[0] != first
    assert sent.prompt["9"]["inputs"]["filename_prefix"] == f"out-{sent.prompt_id[:8]}"  # type: ignore[index, call-overload]
    assert job.state.notices == ["The cached image gone.png was deleted on the server, so it was saved again"]
    server.history[sent.prompt_id] = saved("gone.png")
    ended = job.poll()
    assert isinstance(ended, Partial)
    assert [failure.said for failure in ended.failures] == ["gone.png was made and then deleted on the server"]


def test_what_is_finished_of_an_abandoned_job_is_fetched(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock, 3)
    done, empty, _ = job.state.ids
    server.history = {done: saved("a.png"), empty: HistoryEntry()}
    part = job.finished()
    assert (len(part.images), len(part.failures)) == (1, 1)


def test_a_deleted_image_without_a_name_to_change_is_a_failure(server: SimulatedServer, clock: FakeClock) -> None:
    graph: Any = {"9": {"class_type": "SaveImage", "inputs": {}}}
    state = JobState.of([(graph, 1)], prompt="x", keep_workflow=True)
    job = tracked(server, clock, state=state)
    server.history, server.files = {state.ids[0]: saved("gone.png")}, {"gone.png": None}
    ended = job.poll()
    assert isinstance(ended, Partial)
    assert [failure.said for failure in ended.failures] == ["gone.png was made and then deleted on the server"]
    assert server.submitted == []


def test_a_deleted_image_is_saved_again_although_the_queue_cannot_be_read(
    server: SimulatedServer, clock: FakeClock
) -> None:
    job = tracked(server, clock, 2)
    server.history, server.files = {job.state.ids[0]: saved("gone.png")}, {"gone.png": None}
    server.silent = ServerUnavailable("x", "no")
    assert job.poll() == Running("saving again")
    assert (job.seen, job.state.submissions[0].tries) == (Running("saving again"), 2)


@pytest.mark.parametrize("transient", [True, False])
def test_an_image_that_cannot_be_fetched_is_tried_again_where_that_helps(
    server: SimulatedServer, clock: FakeClock, transient: bool
) -> None:
    job = tracked(server, clock)
    trouble = ServerUnavailable("x", "no", transient=transient)
    server.history, server.files = {job.state.ids[0]: saved("a.png")}, {"a.png": trouble}
    if transient:
        with pytest.raises(ServerUnavailable):
            job.poll()
    else:
        ended = job.poll()
        assert isinstance(ended, Partial)
        assert (ended.images, ended.failures) == ((), (trouble,))


@pytest.mark.parametrize(
    ("seed", "entry", "notices"),
    [
        (5, saved("a.png"), []),
        (5, saved("a.png", "b.png"), ["The 2 images come from one batch with the seed 5"]),
        (None, saved("a.png", "b.png"), []),
        (
            5,
            HistoryEntry(outputs={**saved("a.png").outputs, **saved("b.png", node="10").outputs}),
            [],
        ),
        (
            5,
            saved("a.png", "b.flac"),
            ["The workflow also made sound files, which are not delivered: b.flac"],
        ),
    ],
)
def test_a_batch_is_told_with_its_seed(
    server: SimulatedServer, clock: FakeClock, seed: int | None, entry: HistoryEntry, notices: list[str]
) -> None:
    state = JobState.of([(GRAPH, seed)], prompt="x", keep_workflow=True)
    job = tracked(server, clock, state=state)
    server.history = {state.ids[0]: entry}
    ended = job.poll()
    assert isinstance(ended, Partial)
    assert {image.seed for image in ended.images} == {seed}
    assert state.notices == notices


def test_a_black_image_is_told(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock)
    server.history = {job.state.ids[0]: saved("a.png")}
    server.files = {"a.png": image_file(colour=(0, 0, 0))}
    job.poll()
    assert [notice[:31] for notice in job.state.notices] == ["The image is completely black: "]


@pytest.mark.parametrize("kept", [True, False])
def test_the_workflow_leaves_the_image_unless_it_is_wanted(
    server: SimulatedServer, clock: FakeClock, kept: bool
) -> None:
    texts = PngInfo()
    texts.add_text("prompt", "KSampler")
    state = JobState.of([(GRAPH, 1)], prompt="x", keep_workflow=kept)
    job = tracked(server, clock, state=state)
    server.history, server.files = {state.ids[0]: saved("a.png")}, {"a.png": image_file(pnginfo=texts)}
    ended = job.poll()
    assert isinstance(ended, Partial)
    assert (b"KSampler" in ended.images[0].data) is kept


def test_a_job_that_waits_in_the_queue_is_noted_until_it_runs(
    server: SimulatedServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[FakeClock] = []
    monkeypatch.setattr(jobs, "note_queued", noted.append)
    job = tracked(server, clock)
    server.running = job.state.ids
    job.poll()
    assert noted == []
    clock.time += 5
    server.running, server.pending = [], job.state.ids
    job.poll()
    assert noted == [clock]


def test_the_place_is_that_of_the_first_submission_that_is_found(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock, 3)
    server.pending = ["other", job.state.ids[2], job.state.ids[1]]
    assert job.poll() == Running("queued 3rd")
    assert job.place == 3
    assert [one.missing for one in job.state.submissions] == [True, False, False]
    assert job.queue_polled is None, "the one that is missing is looked for at once"


def test_parts_that_the_server_left_out_are_told_without_keys(server: SimulatedServer, clock: FakeClock) -> None:
    server.dropped = {"9": {"class_type": "SaveImage", "errors": [{"message": "bad secret-key"}]}}
    job = tracked(server, clock)
    submit(job, clock)
    assert job.state.notices == ["The server left out a part of the workflow: node 9 (SaveImage): bad [hidden]"]


def test_the_rest_of_a_job_that_ended_is_not_cancelled(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock, 2)
    done, failed = job.state.ids
    server.history = {done: saved("a.png"), failed: FAILED}
    assert isinstance(job.poll(), Partial)
    assert (server.removed, server.looks) == ([], 0)


def test_time_is_bounded_for_each_step(server: SimulatedServer, clock: FakeClock) -> None:
    given: list[float] = []

    def within(seconds: float) -> Deadline:
        given.append(seconds)
        return Deadline.after(clock, seconds)

    job = tracked(server, clock, within=within)
    job.cancel()
    job.finished()
    server.history = {job.state.ids[0]: saved("a.png")}
    job.poll()
    assert given == [jobs.CANCEL_SECONDS, jobs.LAST_FETCH_SECONDS, jobs.FETCH_SECONDS]


# --- cancelling ---


def test_waiting_jobs_are_removed_and_the_own_running_one_is_stopped(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock, 3)
    running, waiting, done = job.state.ids
    server.running, server.pending, server.history = [running], [waiting], {done: saved("a.png")}
    job._entry(done, Deadline.after(clock, 10))
    job.cancel()
    assert (server.removed, server.stopped) == ([running, waiting], [running])


def test_a_newer_server_cancels_in_one_step(server: SimulatedServer, clock: FakeClock) -> None:
    server.cancels = True
    tracked(server, clock).cancel()
    assert (server.removed, server.stopped, server.looks) == ([], [], 0)


def test_another_users_job_is_never_stopped(server: SimulatedServer, clock: FakeClock) -> None:
    server.running = ["other"]
    job = tracked(server, clock)
    job.cancel()
    assert (server.removed, server.stopped) == (job.state.ids, [])


def test_a_rest_that_cannot_be_cancelled_is_told(server: SimulatedServer, clock: FakeClock) -> None:
    job = tracked(server, clock, 2)
    server.history = {job.state.ids[0]: FAILED}
    server.silent = ServerUnavailable("Asking", "off")
    job.poll()
    assert job.state.notices == ["The other images of the request could not be cancelled: Asking: off."]


@pytest.mark.parametrize(
    ("place", "words"), [(1, "1st"), (10, "10th"), (22, "22nd"), (23, "23rd"), (101, "101st"), (111, "111th")]
)
def test_a_place_is_an_ordinal(place: int, words: str) -> None:
    assert queued(place) == f"queued {words}"
