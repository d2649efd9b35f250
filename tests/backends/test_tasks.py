"""Services whose images are tasks: states, partial results and cancelling, with simulated tasks."""

from typing import Any

import pytest

from models.backends.ark.seedance import SeedanceFacts, VideoTaskState
from models.backends.ark.seedance import body_of as video_body
from models.backends.base import Capabilities, Model, Running
from models.backends.black_forest_labs import FluxFacts, TaskState, _moderated
from models.backends.black_forest_labs import body_of as flux_body
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, ServerUnavailable
from models.backends.google import GeminiFacts, GeminiReply, _refusal
from models.backends.google import body_of as gemini_body
from models.backends.partial import Partial
from models.backends.reply import Reply
from models.backends.tasks import Task, TaskBackend, video_pause
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage
from models.settings import Access
from models.sizes import FreeSizes, NoSizes, RatioSizes
from tests.fakes import FakeClock, image_file

DONE = Reply(200, {}, b"{}")
PHOTO = InputImage(image_file(), "image/png")


class Tasks(TaskBackend):
    """`states` are what a look at the tasks shows, by their place; a failure may stand there or at the start."""

    name = title = prefix = "stub"

    def __init__(self, clock: FakeClock, *states: Running | Reply | ImageError) -> None:
        super().__init__(Model("m", "m", Access(prefix="stub", base_url="http://stub"), None), clock)
        self.states = list(states)
        self.failing: dict[int, ImageError] = {}
        self.broken: dict[int, ImageError] = {}
        self.stopped: list[str] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def check_access(self) -> Any:
        return ()

    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        if place in self.failing:
            raise self.failing[place]
        return Task(id=f"{place}", seed=place)

    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        state = self.states[int(task.id)]
        if isinstance(state, ImageError):
            raise state
        return state

    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        if int(task.id) in self.broken:
            return Partial(failures=(self.broken[int(task.id)],))
        return Partial((GeneratedImage(image_file(), seed=task.seed),))

    def _stop(self, task: Task, deadline: Deadline) -> None:
        self.stopped.append(task.id)
        if isinstance(self.states[int(task.id)], Reply):
            raise ServerUnavailable("Cancelling failed", f"{task.id} has ended")


def job(backend: Tasks, n: int | None = None) -> Any:
    started = backend.submit(
        ImageRequest(model="m", prompt="a fox", n=n or len(backend.states), timeout=60.0, notices=("told",))
    )
    assert isinstance(started, dict)
    return started


@pytest.mark.parametrize(
    ("states", "progress"),
    [
        ([Running("queued")], "queued"),
        ([Running()], "running"),
        ([DONE, Running(), Running("step 3")], "step 3, 1 of 3 finished"),
        ([Running("a"), Running("b")], "a, 0 of 2 finished"),
        ([DONE, Running()], "running, 1 of 2 finished"),
    ],
)
def test_a_job_runs_while_one_of_its_tasks_does(clock: FakeClock, states: Any, progress: str) -> None:
    backend = Tasks(clock, *states)
    assert backend.check(job(backend)) == Running(progress)


def test_images_are_fetched_when_all_tasks_have_ended(clock: FakeClock) -> None:
    failure = BadRequest("It failed", "no")
    backend = Tasks(clock, DONE, failure, DONE)
    result = backend.check(job(backend))
    assert isinstance(result, ImageResult)
    assert [image.seed for image in result.images] == [0, 2]
    assert result.notices == ("told", "2 of 3 images came back.", "It failed: no.")
    assert not failure.undone, "the task exists"


@pytest.mark.parametrize("where", ["look", "image"])
def test_a_failure_that_may_pass_leaves_the_job_alive(clock: FakeClock, where: str) -> None:
    passing = ConnectionFailed("It failed", "no", transient=True)
    backend = Tasks(clock, DONE, passing if where == "look" else DONE)
    backend.broken = {1: passing} if where == "image" else {}
    with pytest.raises(ConnectionFailed):
        backend.check(job(backend))


def test_tasks_that_could_not_be_started_are_told(clock: FakeClock) -> None:
    backend = Tasks(clock, DONE, DONE)
    backend.failing = {1: BadRequest("It failed", "no")}
    state = job(backend)
    assert [task["id"] for task in state["tasks"]] == ["0"]
    assert (state["n"], state["notices"], state["input_images"]) == (2, ["told", "It failed: no."], 0)
    backend.failing[0] = ServerUnavailable("First", "no")
    with pytest.raises(ServerUnavailable, match="First"):
        job(backend)


def test_of_an_abandoned_job_what_is_finished_is_fetched(clock: FakeClock) -> None:
    backend = Tasks(clock, DONE, Running())
    part = backend.finished_part(job(backend))
    assert part is not None
    assert [image.seed for image in part.images] == [0]
    assert Tasks(clock, Running()).finished_part(job(Tasks(clock, Running()))) is None


def test_every_task_is_cancelled_and_the_first_failure_raised(clock: FakeClock) -> None:
    backend = Tasks(clock, DONE, Running(), DONE)
    with pytest.raises(ServerUnavailable, match="0 has ended"):
        backend.cancel(job(backend))
    assert backend.stopped == ["0", "1", "2"]
    calm = Tasks(clock, Running())
    calm.cancel(job(calm))


# --- bodies ---


def request(**parts: Any) -> ImageRequest:
    return ImageRequest(**{"model": "m", "prompt": "a fox", **parts})


@pytest.mark.parametrize(
    ("facts", "parts", "more"),
    [
        ({}, {}, {}),
        ({}, {"output_format": "jpeg"}, {"output_format": "jpeg"}),
        ({}, {"output_format": "webp", "steps": 9}, {"steps": 9}),
        ({}, {"width": 640, "height": 480}, {"width": 640, "height": 480}),
        ({"sizes": NoSizes(reason="x")}, {"width": 640, "height": 480}, {}),
        ({"sizes": RatioSizes(ratios=("1:1", "16:9"))}, {"width": 640, "height": 360}, {"aspect_ratio": "16:9"}),
        ({}, {"images": (PHOTO, PHOTO)}, {"input_image": PHOTO.base64, "input_image_2": PHOTO.base64}),
        ({"image_field": "image"}, {"images": (PHOTO,), "mask": PHOTO}, {"image": PHOTO.base64, "mask": PHOTO.base64}),
        ({}, {"extra": {"outpaint_left": 5, "outpaint_down": 6, "safety": 2}}, {"left": 5, "bottom": 6, "safety": 2}),
        ({}, {"prompt_extend": False}, {"prompt_upsampling": False}),
    ],
)
def test_a_flux_task_has_its_body(facts: dict[str, Any], parts: dict[str, Any], more: dict[str, Any]) -> None:
    known = FluxFacts.model_validate({"path": "x", "sizes": FreeSizes(multiple=16), **facts})
    assert flux_body(known, request(**parts), 7) == {"prompt": "a fox", "seed": 7, "output_format": "png", **more}


@pytest.mark.parametrize(
    ("status", "details", "said"),
    [
        ("Request Moderated", None, "the prompt or an input image was refused by the service's filter"),
        ("Content Moderated", {"a": "b"}, "the generated image was refused by the service's filter (a: b)"),
    ],
)
def test_a_moderated_task_says_what_was_refused(status: str, details: Any, said: str) -> None:
    assert _moderated(TaskState(status=status, details=details)) == (said, "Change the prompt")


SEEDANCE = SeedanceFacts(model="a", international="b", sizes=RatioSizes(ratios=("1:1", "16:9")), images=2)
VIDEO = {"model": "m", "watermark": False, "return_last_frame": True}


@pytest.mark.parametrize(
    ("facts", "parts", "more"),
    [
        ({}, {}, {}),
        ({}, {"width": 640, "height": 360, "watermark": True}, {"ratio": "16:9", "watermark": True}),
        ({"sound": True}, {}, {"generate_audio": False}),
        ({"sound": True}, {"extra": {"generate_audio": True}}, {"generate_audio": True}),
        (
            {},
            {"extra": {"generate_audio": True, "duration": 5, "resolution": "720p"}},
            {"duration": 5, "resolution": "720p"},
        ),
    ],
)
def test_a_video_task_has_its_body(facts: dict[str, Any], parts: dict[str, Any], more: dict[str, Any]) -> None:
    body = video_body(SEEDANCE.model_copy(update=facts), "m", request(**parts), None)
    assert body == {**VIDEO, "content": [{"type": "text", "text": "a fox"}], **more}
    assert video_body(SEEDANCE, "m", request(), 0)["seed"] == 0


@pytest.mark.parametrize(
    ("mode", "roles"),
    [(None, ["first_frame", "last_frame"]), ("frames", ["first_frame", "last_frame"]), ("references", ["reference_image"] * 3)],
)  # fmt: skip
def test_images_of_a_video_have_their_roles(mode: str | None, roles: list[str]) -> None:
    asked = request(images=(PHOTO,) * 3, extra={"input_mode": mode} if mode else {})
    content: Any = video_body(SEEDANCE, "m", asked, None)["content"]
    assert [part["role"] for part in content[1:]] == roles


@pytest.mark.parametrize(
    ("extra", "rate"),
    [({}, "1"), ({"resolution": "1080p"}, "2"), ({"resolution": "480p"}, "1"), ({"generate_audio": True}, "3"), ({"generate_audio": False}, "1")],
)  # fmt: skip
def test_a_video_has_the_rate_of_its_resolution(extra: dict[str, Any], rate: str) -> None:
    priced = SeedanceFacts.model_validate(
        {**SEEDANCE.model_dump(), "rates": {"": "1", "1080p": "2"}, "sound_rate": "3"}
    )
    assert str(priced.rate(request(extra=extra))) == rate
    assert SEEDANCE.rate(request(extra=extra)) is None
    assert VideoTaskState(status="x").content is None


@pytest.mark.parametrize(
    ("parts", "config"),
    [
        ({}, None),
        ({"width": 640, "height": 360}, {"aspectRatio": "16:9"}),
        ({"extra": {"resolution": "2K"}}, {"imageSize": "2K"}),
        ({"width": 64, "height": 64, "extra": {"resolution": "2K"}}, {"aspectRatio": "1:1", "imageSize": "2K"}),
    ],
)
def test_a_gemini_call_has_its_body(parts: dict[str, Any], config: Any) -> None:
    facts = GeminiFacts(model="m", sizes=RatioSizes(ratios=("1:1", "16:9")), images=3)
    body: Any = gemini_body(facts, request(images=(PHOTO,), **parts))
    assert body["generationConfig"].get("imageConfig") == config
    shown, text = body["contents"][0]["parts"]
    assert shown == {"inlineData": {"mimeType": "image/png", "data": PHOTO.base64}}
    assert (text, body["contents"][0]["role"]) == ({"text": "a fox"}, "user")


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, BadRequest, "the prompt was blocked (SAFETY)"),
        ({}, ServerUnavailable, "the model made no image (no reason given)"),
        ({"candidates": [{"finishReason": "NO_IMAGE"}]}, ServerUnavailable, "the model made no image (NO_IMAGE)"),
        ({"candidates": [{"finishReason": "OTHER", "finishMessage": "why"}]}, ServerUnavailable, "why"),
        ({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "a"}, {"text": "b", "thought": True}]}}]}, BadRequest, "the model replied with text: a"),
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, BadRequest, "the model replied with text: "),
        ({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, BadRequest, "the image was refused (IMAGE_SAFETY)"),
        ({"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "why"}]}, BadRequest, "the image was refused (IMAGE_SAFETY: why)"),
    ],
)  # fmt: skip
def test_an_answer_without_an_image_says_why(reply: Any, kind: type[ImageError], said: str) -> None:
    error = _refusal(GeminiReply.model_validate(reply))
    assert (type(error), error.said) == (kind, said.strip())


# --- the state of a job ---


def test_a_job_whose_tasks_are_all_queued_is_noted_as_queued(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[object] = []
    monkeypatch.setattr("models.backends.tasks.note_queued", noted.append)
    for states, progress in (
        ((Running("queued"), Running("queued, 2 before it")), "queued, 0 of 2 finished"),
        ((Running("queued"), Running("step 1")), "step 1, 0 of 2 finished"),
        ((Running("queued"), DONE), "queued, 1 of 2 finished"),
    ):
        backend = Tasks(clock, *states)
        assert backend.check(job(backend)) == Running(progress)
    assert noted == [clock, clock]


def test_a_part_holds_what_failed_as_well(clock: FakeClock) -> None:
    backend = Tasks(clock, DONE, BadRequest("It failed", "no"), Running())
    part = backend.finished_part(job(backend))
    assert part is not None
    assert part.notices == ("told", "1 of 3 images came back.", "It failed: no.")
    assert Tasks(clock, BadRequest("It failed", "no")).finished_part(job(Tasks(clock, Running()))) is None


def test_the_same_failure_of_several_tasks_is_told_once(clock: FakeClock) -> None:
    backend = Tasks(clock, DONE, DONE, DONE)
    backend.tasks_at_once = 1  # type: ignore[misc]
    backend.failing = {1: BadRequest("It failed", "no"), 2: BadRequest("It failed", "no")}
    assert job(backend)["notices"] == ["told", "It failed: no."]


def test_a_task_goes_on_unless_it_has_ended(clock: FakeClock) -> None:
    for state, goes_on in ((Running(), True), (DONE, False), (BadRequest("It failed", "no"), False)):
        assert Tasks(clock, state)._goes_on(Task(id="0"), Deadline(clock, clock.now() + 5)) is goes_on
    passing = Tasks(clock, ConnectionFailed("It failed", "no", transient=True))
    with pytest.raises(ConnectionFailed):
        passing._goes_on(Task(id="0"), Deadline(clock, clock.now() + 5))


@pytest.mark.parametrize(("elapsed", "pause"), [(0.0, 2.0), (20.0, 2.0), (30.0, 3.0), (100.0, 10.0), (900.0, 10.0)])
def test_a_video_is_looked_at_after_a_tenth_of_its_time(elapsed: float, pause: float) -> None:
    assert video_pause(elapsed) == pause


def test_steps_with_tasks_have_their_time(clock: FakeClock) -> None:
    """A look, and two minutes to fetch the images; four seconds for each step with a job that is given up."""
    left: list[float] = []

    class Timed(Tasks):
        def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
            left.append(deadline.remaining)
            return super()._images(task, reply, deadline)

        def _stop(self, task: Task, deadline: Deadline) -> None:
            left.append(deadline.remaining)

    backend = Timed(clock, DONE)
    started = job(backend)
    backend.check(started)
    backend.finished_part(started)
    backend.cancel(started)
    assert left == [120.0, 4.0, 4.0]
    assert TaskBackend.tasks_at_once == 4
