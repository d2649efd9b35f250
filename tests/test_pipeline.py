"""The pipeline: the same result by call and by polling, complete state, no lost result, no endless wait."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from models import stages
from models.backends.base import Backend, Capabilities, Job, Running
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.backends.http import TimedOutError
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage
from models.output.structured import OutputOptions
from models.pipeline import HOLD, Asked, Call, Finished, Waiting
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages.audit import Receipt
from models.stages.carried import Carried, Following
from models.turns import Turn
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.stubs import StubBackend, StubJobs

LOST = ConnectionFailed("Asking failed", "connection lost", transient=True)
START = FakeClock().now()
BROKEN = ServerUnavailable("Generating failed", "out of memory")


def call(backend: Backend, **credentials: object) -> Call:
    return Call(backend, Settings(credentials, {}))


def asked(prompt: str = "a fox", json_schema: object = None, **parameters: object) -> Asked:
    return Asked(Conversation(prompt), parameters, json_schema)


class Noting(StubJobs):
    """Keeps the requests, and raises `error` for each."""

    error: ImageError | None = None

    def __init__(self, clock: FakeClock, *, takes: float, able: int = 0) -> None:
        super().__init__(clock, takes=takes)
        self.able = Capabilities(images=able)
        self.given: list[ImageRequest] = []

    @property
    def capabilities(self) -> Capabilities:
        return self.able

    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        self.given.append(request)
        if self.error:
            raise self.error
        return super()._submit(request, deadline)


@pytest.fixture(autouse=True)
def _no_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages have separate tests; here any image passes."""
    monkeypatch.setattr(stages, "after_service", lambda *_: [])
    monkeypatch.setattr(stages, "before_service", lambda *_: [])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Receipt]:
    """The events passed to the observers."""
    receipts: list[Receipt] = []
    monkeypatch.setattr(stages, "observers", lambda _: [receipts.append])
    return receipts


def polled(backend: StubJobs, timeout: float) -> tuple[Finished | ImageError, int, list[float]]:
    """The outcome of a polled job, the number of checks, and the seconds of each call."""
    calls: list[float] = []
    checks = 0
    try:
        began = backend.clock.now()
        outcome = call(backend).start(asked(timeout=timeout))
        while isinstance(outcome, Waiting):
            calls.append(backend.clock.now() - began)
            backend.clock.sleep(outcome.next_check)
            began, checks = backend.clock.now(), checks + 1
            outcome = call(backend).check(json.loads(json.dumps(outcome.state)))
    except ImageError as error:
        return error, checks, calls
    return outcome, checks, calls


def test_a_service_without_jobs_finishes_in_start_polling(clock: FakeClock) -> None:
    outcome = call(StubBackend(clock)).start(asked(details=True, output_format="webp"))
    assert isinstance(outcome, Finished)
    assert outcome.options == OutputOptions(details=True, output_format="webp")


def test_the_timeout_without_jobs_is_below_the_hosts_call_limit(clock: FakeClock) -> None:
    backend = StubBackend(clock)
    call(backend).start(asked(timeout=6900))
    call(backend).start(asked())
    assert [request.timeout for request in backend.asked] == [590, 590]
    assert [request.notices for request in backend.asked] == [
        ("`timeout` became 590 seconds: Dify waits no longer. Ask for less: fewer or smaller images.",),
        (),
    ]


def test_a_longer_timeout_without_polling_is_lowered_and_names_waiting(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=700)
    with pytest.raises(ConnectionFailed) as failure:
        call(backend).generate(asked(timeout=6900))
    assert len(backend.cancelled) == 1
    assert str(failure.value).endswith(
        "For jobs that take longer, set “Waiting” (waiting) in the provider's settings to polling."
    )
    assert "Raise `timeout`" not in str(failure.value)


def test_a_single_call_waits_for_its_job_and_a_short_timeout_can_be_raised(clock: FakeClock) -> None:
    assert call(StubJobs(clock, takes=30)).generate(asked()).result.images
    backend = StubJobs(clock, takes=100)
    with pytest.raises(ConnectionFailed, match="Raise `timeout`, or request fewer or smaller images"):
        call(backend).generate(asked(timeout=10))
    assert len(backend.cancelled) == 1


def test_finished_images_of_a_job_are_kept_on_timeout(clock: FakeClock) -> None:
    part = ImageResult(images=(GeneratedImage(image_file()),), backend="stub", model="stub-model", prompt="a fox")
    outcome, _, _ = polled(StubJobs(clock, takes=100, part=part), 10)
    assert isinstance(outcome, Finished)
    assert outcome.result.images == part.images
    assert "the time limit of the job has passed" in outcome.result.notices[0]
    assert call(StubJobs(clock, takes=100, part=part)).generate(asked(timeout=10)).result.images == part.images


@pytest.mark.parametrize("state", [{"job": {}}, {"job": "x", "started": 1, "deadline": 2, "delivery": {}}])
def test_the_state_of_another_version_is_reported(clock: FakeClock, state: dict[str, JsonValue]) -> None:
    with pytest.raises(ServerUnavailable, match="was replaced by another version while it ran; run it again"):
        call(StubJobs(clock, takes=40)).check(state)


def test_a_model_without_jobs_refuses_the_state_of_a_job(clock: FakeClock) -> None:
    started = call(StubJobs(clock, takes=40)).start(asked())
    assert isinstance(started, Waiting)
    with pytest.raises(ServerUnavailable, match="settings changed while it ran"):
        call(StubBackend(clock)).check(started.state)


def test_a_long_job_continues_in_another_process(clock: FakeClock) -> None:
    started = call(StubJobs(clock, takes=40)).start(asked(details=True, output_format="webp"))
    assert isinstance(started, Waiting)
    clock.sleep(40)
    outcome = call(StubJobs(clock, takes=40)).check(json.loads(json.dumps(started.state)))
    assert isinstance(outcome, Finished)
    assert outcome.options == OutputOptions(details=True, output_format="webp")
    assert outcome.result.prompt == "a fox"
    assert 40 <= outcome.duration < 41


@settings(deadline=None)  # the speed of this machine is not what is tested
@given(timeout=st.integers(1, 6900), share=st.floats(0.01, 2))
def test_any_timeout_fits_the_hosts_checks_and_each_call_is_short(timeout: int, share: float) -> None:
    outcome, checks, calls = polled(StubJobs(FakeClock(), takes=timeout * share), timeout)
    assert checks <= 240
    assert max(calls, default=0) <= HOLD + 0.01
    if share < 1:
        assert isinstance(outcome, Finished)
        assert outcome.duration <= timeout + 31
    if share > 1:
        assert isinstance(outcome, Finished | ConnectionFailed)


@pytest.mark.parametrize(
    ("timeout", "pause"), [(1, 1), (220, 1), (221, 2), (590, 3), (1200, 6), (6600, 30), (6900, 30)]
)
def test_the_pauses_follow_the_timeout(clock: FakeClock, timeout: int, pause: int) -> None:
    started = call(StubJobs(clock, takes=9000)).start(asked(timeout=timeout))
    assert isinstance(started, Waiting)
    assert started.next_check == pause


def test_transient_errors_keep_the_job(clock: FakeClock) -> None:
    outcome, _, _ = polled(StubJobs(clock, takes=3, troubles=[LOST, LOST]), 600)
    assert isinstance(outcome, Finished)


def test_a_failed_job_ends_the_wait_immediately(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=100, troubles=[BROKEN])
    with pytest.raises(ServerUnavailable, match="out of memory"):
        call(backend).start(asked())
    assert backend.checks == 1


def test_a_job_is_cancelled_and_reported_on_timeout(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=100)
    outcome, _, _ = polled(backend, 10)
    assert len(backend.cancelled) == 1
    assert str(outcome) == (
        "Generating with Stub service failed: the time limit of the job has passed; last known state: step 12/30. "
        "Raise `timeout`, or request fewer or smaller images."
    )


def test_an_outage_is_told_after_a_minute_and_no_longer_timeout_is_advised(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=5, troubles=[LOST] * 500)
    began = clock.now()
    with pytest.raises(ConnectionFailed, match=r"the state of the job could not be read \(connection lost\)") as told:
        call(backend).generate(asked(timeout=300))
    assert clock.now() - began == pytest.approx(60, abs=2)
    assert "IMAGE_GENERATION_STUB_BASE_URL" in str(told.value)
    assert "`timeout`" not in str(told.value)
    assert len(backend.cancelled) == 1


def test_polling_is_not_advised_for_a_server_that_does_not_reply(clock: FakeClock) -> None:
    silent = TimedOutError("Asking failed", "no reply", transient=True)
    with pytest.raises(ConnectionFailed, match="IMAGE_GENERATION_STUB_BASE_URL") as told:
        call(StubJobs(clock, takes=5, troubles=[silent] * 500)).generate(asked())
    assert "polling" not in str(told.value)


def test_a_server_that_returns_within_a_minute_costs_nothing(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=5, troubles=[LOST] * 40)
    assert call(backend).generate(asked(timeout=300)).result.images


def test_a_server_that_has_too_much_to_do_is_waited_for(clock: FakeClock) -> None:
    busy = RateLimited("Asking failed", "too many requests", transient=True)
    assert call(StubJobs(clock, takes=5, troubles=[busy] * 150)).generate(asked(timeout=300)).result.images


def test_a_polled_job_outlives_an_outage_of_its_server(clock: FakeClock) -> None:
    outcome, _, _ = polled(StubJobs(clock, takes=5, troubles=[LOST] * 150), 600)
    assert isinstance(outcome, Finished)


def test_a_polled_job_whose_server_never_returns_tells_the_trouble(clock: FakeClock) -> None:
    outcome, _, _ = polled(StubJobs(clock, takes=5, troubles=[LOST] * 5000), 300)
    assert isinstance(outcome, ConnectionFailed)
    assert "connection lost" in str(outcome)
    assert "`timeout`" not in str(outcome)


def test_the_state_survives_the_hosts_number_types(clock: FakeClock) -> None:
    started = call(StubJobs(clock, takes=40)).start(asked())
    assert isinstance(started, Waiting)
    clock.sleep(40)
    assert not isinstance(call(StubJobs(clock, takes=40)).check(whole_numbers(started.state)), Waiting)


def whole_numbers(value: Any) -> Any:
    """Numbers after the host's float64 conversion."""
    match value:
        case dict():
            return {name: whole_numbers(inner) for name, inner in value.items()}
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def test_the_state_holds_no_secret(clock: FakeClock) -> None:
    started = call(StubJobs(clock, takes=40), stub_api_key=MARKER_KEY).start(asked())
    assert isinstance(started, Waiting)
    assert MARKER_KEY not in json.dumps(started.state)


def test_each_progress_is_reported_once_and_the_result_returned(clock: FakeClock) -> None:
    *told, done = call(StubJobs(clock, takes=5)).narrated(asked())
    assert told == ["step 12/30"]
    assert isinstance(done, Finished)
    assert done.result.images[0].seed == 7


def test_a_failure_is_raised_unchanged(clock: FakeClock) -> None:
    with pytest.raises(ServerUnavailable, match="out of memory"):
        list(call(StubJobs(clock, takes=5, troubles=[BROKEN])).narrated(asked()))


def test_an_unsatisfiable_schema_is_refused_before_generation(clock: FakeClock) -> None:
    backend = StubBackend(clock)
    schema = {"properties": {"cost": {"type": "number"}}, "required": ["cost"]}
    for way in (call(backend).generate, call(backend).start):
        with pytest.raises(BadRequest, match="requires `cost`, which stub-model cannot tell"):
            way(asked(json_schema=schema))
    assert backend.asked == []


def test_an_unavailable_optional_property_gives_a_notice(clock: FakeClock) -> None:
    schema = {"schema": {"properties": {"seed": {"type": "integer"}, "mood": {"type": "string"}}}, "name": "x"}
    done = call(StubBackend(clock)).generate(asked(json_schema=json.dumps(schema)))
    assert any("`mood`, which no image has" in notice for notice in done.result.notices)


def test_every_outcome_is_observed_once_also_across_processes(clock: FakeClock, told: list[Receipt]) -> None:
    polled(StubJobs(clock, takes=40), 100)
    call(StubBackend(clock)).generate(asked())
    with pytest.raises(BadRequest):
        call(StubBackend(clock)).generate(asked(prompt=""))
    with pytest.raises(ServerUnavailable):
        call(StubJobs(clock, takes=5, troubles=[BROKEN])).start(asked())
    assert [receipt.outcome for receipt in told] == ["succeeded", "succeeded", "refused", "failed"]
    assert [receipt.error_class for receipt in told[2:]] == ["InvokeBadRequestError", "InvokeServerUnavailableError"]
    assert (told[0].model, told[0].n) == ("stub-model", 1)
    assert told[0].seconds == pytest.approx(40, abs=2)


def test_a_stage_can_change_refuse_or_answer_a_request(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ImageResult(images=(GeneratedImage(image_file()),), backend="kept", model="stub-model", prompt="kept")

    def answering(request: ImageRequest, _: Carried) -> ImageRequest | ImageResult:
        return kept if request.prompt == "kept" else request.with_notices("seen")

    monkeypatch.setattr(stages, "before_service", lambda *_: [answering])
    backend = StubBackend(clock)
    assert call(backend).generate(asked(prompt="kept")).result == kept.answered("stub-model")
    assert call(backend).start(asked(prompt="kept")) == call(backend).generate(asked(prompt="kept"))
    call(backend).generate(asked())
    assert [request.notices for request in backend.asked] == [("seen",)]


@pytest.mark.parametrize(
    ("jobs", "started", "is_polled"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_the_stages_know_whether_a_request_is_polled(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, jobs: bool, started: bool, is_polled: bool
) -> None:
    seen: list[bool] = []

    def noting(request: ImageRequest, carried: Carried) -> ImageRequest:
        seen.append(carried.polled)
        return request

    monkeypatch.setattr(stages, "before_service", lambda *_: [noting])
    one = call(StubJobs(clock, takes=1) if jobs else StubBackend(clock))
    _ = one.start(asked()) if started else one.generate(asked())
    assert seen == [is_polled]


def test_a_request_without_a_user_is_known_by_its_receipt(clock: FakeClock, told: list[Receipt]) -> None:
    backend = StubBackend(clock)
    call(backend).generate(asked())
    replace(call(backend), user="u-1").generate(asked())
    assert [request.user for request in backend.asked] == [told[0].id, "u-1"]


def test_a_polled_timeout_is_below_two_hours(clock: FakeClock) -> None:
    started = call(StubJobs(clock, takes=9000)).start(asked(timeout=9000))
    assert isinstance(started, Waiting)
    assert (started.state["until"], started.state["ends"]) == (clock.now() - HOLD + 6900, clock.now() - HOLD + 6900)
    request = Noting(clock, takes=0)
    call(request).start(asked(timeout=9000))
    assert request.given[0].notices == ("`timeout` became 6900 seconds: Dify waits no longer.",)


@pytest.mark.parametrize(("way", "ends"), [("start", 30), ("generate", 50)])
def test_a_request_that_is_not_polled_has_its_time_after_the_stages(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, way: str, ends: float
) -> None:
    """Stages may wait for a server of the owner; a polled request counts from its start."""
    limits: list[float] = []

    def slow(request: ImageRequest, _: Carried) -> ImageRequest:
        clock.sleep(20)
        return request

    def first(route: object, backend: Backend, began: float, request: ImageRequest) -> object:
        limits.append(began + request.timeout - START)
        return made(route, backend, began, request)  # type: ignore[arg-type]

    made = Turn.first
    monkeypatch.setattr(Turn, "first", first)
    monkeypatch.setattr(stages, "before_service", lambda *_: [slow])
    getattr(call(StubJobs(clock, takes=5)), way)(asked(timeout=30))
    assert limits == [ends]


def test_stages_are_told_that_a_request_goes_on_and_that_it_ended(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(stages, "renew", lambda *_: seen.append("renewed"))
    monkeypatch.setattr(stages, "release", lambda *_: seen.append("released"))
    monkeypatch.setattr(stages, "tell_waiting", lambda *_: seen.append("told"))
    started = call(StubJobs(clock, takes=40)).start(asked())
    assert isinstance(started, Waiting)
    assert seen == ["renewed", "told"]
    clock.sleep(40)
    call(StubJobs(clock, takes=40)).check(started.state)
    assert seen == ["renewed", "told", "released"]
    with pytest.raises(ServerUnavailable):
        call(StubJobs(clock, takes=5, troubles=[BROKEN])).generate(asked())
    assert seen == ["renewed", "told", "released", "released"]


def test_only_words_that_change_are_told(clock: FakeClock) -> None:
    class Saying(StubJobs):
        def check(self, job: Job) -> Running | ImageResult:
            seen = super().check(job)
            words = ["", "queued", "queued", "", "step 1", "queued"]
            return Running(words[self.checks - 1]) if isinstance(seen, Running) else seen

    *told, done = call(Saying(clock, takes=2.3)).narrated(asked())
    assert told == ["queued", "step 1", "queued"]
    assert isinstance(done, Finished)


@pytest.mark.parametrize("transient", [True, False])
def test_less_is_advised_where_a_service_without_jobs_needs_all_the_time(clock: FakeClock, *, transient: bool) -> None:
    class Late(StubBackend):
        def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
            raise TimedOutError("Generating failed", "no reply", "Raise it", transient=transient)

    for way in ("start", "generate"):
        with pytest.raises(ConnectionFailed) as late:
            getattr(call(Late(clock)), way)(asked())
        assert late.value.next_step == ("Raise it" if transient else "Ask for less: fewer or smaller images")
        with pytest.raises(ConnectionFailed) as early:
            getattr(call(Late(clock)), way)(asked(timeout=589))
        assert early.value.next_step == "Raise it"


def test_a_field_that_was_emptied_while_the_job_ran_is_named(clock: FakeClock) -> None:
    class Keyed(StubJobs):
        required = ("api_key",)

    started = call(StubJobs(clock, takes=40)).start(asked())
    assert isinstance(started, Waiting)
    with pytest.raises(BadRequest, match="stub-model needs Stub service"):
        call(Keyed(clock, takes=40)).check(started.state)


def test_a_failed_stage_is_a_refusal_and_the_service_was_not_asked(
    clock: FakeClock, told: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> ImageRequest:
        clock.sleep(2)
        raise BadRequest("The prompt is not allowed")

    backend = Noting(clock, takes=0)
    monkeypatch.setattr(stages, "before_service", lambda *_: [refusing])
    for way in ("start", "generate"):
        with pytest.raises(BadRequest):
            getattr(replace(call(backend), user="ann"), way)(asked())
    facts = [(one.outcome, one.user, one.model, one.backend, one.seconds) for one in told]
    assert facts == [("refused", "ann", "stub-model", "stub_jobs", 2)] * 2
    assert backend.given == []


def test_a_model_that_does_not_exist_is_a_refusal_of_the_call(clock: FakeClock, told: list[Receipt]) -> None:
    with pytest.raises(BadRequest):
        Call.of("mine", {"backend": "nothing"}, None, clock)
    with pytest.raises(BadRequest):
        Call.of("mine", {"backend": "nothing"}, None)
    assert [(one.user, one.model, one.backend, one.outcome) for one in told] == [("", "mine", "nothing", "refused")] * 2
    assert (told[0].time, told[0].seconds) == (clock.now(), 0)


def test_the_user_of_a_call_may_be_unknown(clock: FakeClock) -> None:
    assert [Call.of("preview", {}, user, clock).user for user in (None, "", "ann")] == ["", "", "ann"]


def test_what_a_service_refuses_has_failed(clock: FakeClock, told: list[Receipt]) -> None:
    backend = Noting(clock, takes=0)
    backend.error = BadRequest("The content filter refused the prompt")
    for way in ("start", "generate"):
        with pytest.raises(BadRequest):
            getattr(call(backend), way)(asked())
    assert [one.outcome for one in told] == ["failed", "failed"]


# --- a request that waits for an equal one -----------------------------------------------------------------------------


def following(backend: Backend, monkeypatch: pytest.MonkeyPatch, **node: object) -> Waiting:
    """A request whose image another one makes."""
    monkeypatch.setattr(stages, "before_service", lambda *_: [lambda *_: Following(50)])
    outcome = call(backend).start(Asked(Conversation("a fox"), node))
    assert isinstance(outcome, Waiting)
    monkeypatch.setattr(stages, "before_service", lambda *_: [])
    return outcome


def test_a_request_waits_for_an_equal_one_without_a_job(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Noting(clock, takes=5)
    waiting = following(backend, monkeypatch)
    assert (waiting.state["job"], waiting.state["until"], waiting.state["ends"]) == (None, START + 50, START + 50)
    assert waiting.next_check == 1
    clock.sleep(10)
    monkeypatch.setattr(stages, "followed", lambda *_: Following(30))
    again = call(backend).check(waiting.state)
    assert isinstance(again, Waiting)
    assert (again.state["job"], again.state["ends"]) == (None, START + 30), "counted from the start of the request"
    kept = ImageResult(images=(GeneratedImage(image_file()),), backend="kept", model="stub-model", prompt="a fox")
    monkeypatch.setattr(stages, "followed", lambda *_: kept)
    done = call(backend).check(again.state)
    assert isinstance(done, Finished)
    assert (done.result, done.duration, backend.given) == (kept.answered("stub-model"), 10, [])


def test_a_request_is_handed_in_where_the_equal_one_failed(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Noting(clock, takes=5)
    waiting = following(backend, monkeypatch)
    request = ImageRequest(model="stub-model", prompt="a fox", timeout=40)
    monkeypatch.setattr(stages, "followed", lambda *_: request)
    outcome = call(backend).check(waiting.state)
    assert isinstance(outcome, Waiting)
    assert (backend.given, outcome.state["ends"]) == ([request], START + 40)
    assert outcome.state["job"]


@pytest.mark.parametrize("with_images", [True, False])
def test_no_further_model_gets_the_images_that_a_state_does_not_hold(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, with_images: bool
) -> None:
    backend = Noting(clock, takes=5, able=1)
    waiting = following(backend, monkeypatch, fallback="preview")
    images = (InputImage(image_file(), "image/png"),) if with_images else ()
    monkeypatch.setattr(
        stages, "followed", lambda *_: ImageRequest(model="stub-model", prompt="a fox", images=images, timeout=40)
    )
    backend.error = RateLimited("Generating failed", "no credit")
    if with_images:
        with pytest.raises(RateLimited):
            call(backend).check(waiting.state)
    else:
        done = call(backend).check(waiting.state)
        assert isinstance(done, Finished)
        assert done.result.answered_by == "preview"


def test_a_refusal_after_the_wait_is_no_failure_of_the_service(
    clock: FakeClock, told: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> ImageRequest:
        raise BadRequest("The prompt is not allowed")

    backend = Noting(clock, takes=5)
    waiting = following(backend, monkeypatch)
    monkeypatch.setattr(stages, "followed", refusing)
    with pytest.raises(BadRequest):
        call(backend).check(waiting.state)
    assert [one.outcome for one in told] == ["refused"]
