"""The entry class inside this process: the host's types for results, progress, jobs, errors and forms."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import gevent
import pytest
from dify_plugin.entities.model import AIModelEntity, ModelFeature, ModelPropertyKey
from dify_plugin.entities.model.llm import (
    LLMPollingResult,
    LLMPollingStatus,
    LLMResult,
    LLMResultChunk,
    LLMResultWithStructuredOutput,
)
from dify_plugin.entities.model.message import UserPromptMessage
from dify_plugin.errors.model import (
    CredentialsValidateFailedError,
    InvokeBadRequestError,
    InvokeError,
    InvokeServerUnavailableError,
)

from models import stages
from models.backends import registry
from models.backends.base import Backend, Capabilities, Job, Running
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, ServerUnavailable, logger
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.llm import llm
from models.parameters import EVERY_MODEL, Rule
from tests.fakes import FakeClock, image_file
from tests.stubs import STUB_RULES, StubBackend, StubJobs

BROKEN = ServerUnavailable("Generating failed", "out of memory")
SCHEMA = {"type": "object", "properties": {"seed": {"type": "integer"}}}
OWN_FORM = {"backend": "stub"}
FORM_NAMES = [rule.name for rule in (*STUB_RULES, *EVERY_MODEL)]


class Pair(StubBackend):
    """Makes two images."""

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        self.asked.append(request)
        self.clock.sleep(3)
        return self.result(request, [GeneratedImage(image_file(), seed=seed) for seed in (4, 5)])


class Stepwise(StubJobs):
    """A job whose state is another one at each look."""

    def check(self, job: Job) -> Running | ImageResult:
        seen = super().check(job)
        return Running(f"step {self.checks}/2") if isinstance(seen, Running) else seen


class Breaking(StubJobs):
    """A job that fails after its first state was told."""

    def check(self, job: Job) -> Running | ImageResult:
        if self.checks:
            raise BROKEN
        return super().check(job)


class Formed(StubBackend):
    """Has findings and notices when its form is saved, and choices of its server, which `trouble` keeps away."""

    trouble: ImageError | None = None
    left: float = 0.0

    def findings(self) -> Sequence[str]:
        return ("two nodes were read",)

    def check_access(self) -> Sequence[str]:
        if self.trouble:
            raise self.trouble
        return ("the balance is low",)

    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        self.left = deadline.remaining
        if self.trouble:
            raise self.trouble
        return (STUB_RULES[0],)


class Sleepy(StubBackend):
    """Its server does not reply to the question for its choices."""

    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        gevent.get_hub().join()  # until the time limit of the form
        return ()


@pytest.fixture
def bind(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a backend the one of every model and form."""

    def to[B: Backend](backend: B) -> B:
        monkeypatch.setattr(registry, "bind", lambda *_: backend)
        return backend

    return to


def entry(*cards: AIModelEntity) -> llm.ImageGenerationModel:
    return llm.ImageGenerationModel(list(cards))


def streamed(stream: bool = True, user: str | None = None, **parameters: object) -> Iterator[LLMResultChunk]:
    messages = [UserPromptMessage(content="a fox")]
    yield from entry().invoke("stub-model", {}, list(messages), parameters, stream=stream, user=user)


def started(credentials: dict[str, Any] | None = None, **options: Any) -> LLMPollingResult:
    messages = [UserPromptMessage(content="a fox")]
    return entry().start_polling("stub-model", credentials or {}, list(messages), **options)


def checked(state: Any, credentials: dict[str, Any] | None = None) -> LLMPollingResult:
    return entry().check_polling("stub-model", credentials or {}, state)


def kinds(message: Any) -> list[str]:
    return [part.type.value for part in message.content]


def test_a_stream_has_one_chunk_per_image_and_ends_with_the_usage(clock: FakeClock, bind: Any) -> None:
    backend = bind(Pair(clock))
    chunks = list(streamed(user="user-1"))
    assert [chunk.delta.index for chunk in chunks] == [0, 1]
    assert [chunk.model for chunk in chunks] == ["stub-model", "stub-model"]
    assert [kinds(chunk.delta.message) for chunk in chunks] == [["image"], ["image"]]
    assert [chunk.delta.finish_reason for chunk in chunks] == [None, "stop"]
    assert chunks[0].delta.usage is None
    assert chunks[1].delta.usage is not None
    assert (chunks[1].delta.usage.completion_tokens, chunks[1].delta.usage.latency) == (2, 3.0)
    assert [(request.prompt, request.user) for request in backend.asked] == [("a fox", "user-1")]


def test_an_answer_that_does_not_stream_is_one_message(clock: FakeClock, bind: Any) -> None:
    bind(Pair(clock))
    (chunk,) = streamed(stream=False)
    assert (chunk.model, kinds(chunk.delta.message)) == ("stub-model", ["image", "image"])
    assert chunk.delta.usage is not None
    assert (chunk.delta.usage.completion_tokens, chunk.delta.usage.latency) == (2, 3.0)


def test_structured_output_that_does_not_stream_is_text_and_nothing_else(clock: FakeClock, bind: Any) -> None:
    backend = bind(Pair(clock))
    (chunk,) = streamed(stream=False, json_schema=json.dumps(SCHEMA))
    assert json.loads(str(chunk.delta.message.content)) == {"seed": 4}
    assert chunk.model == "stub-model"
    assert chunk.delta.usage is not None
    assert chunk.delta.usage.completion_tokens == 2
    assert backend.asked[0].notices == ()


def test_the_first_chunk_of_structured_output_is_its_json(clock: FakeClock, bind: Any) -> None:
    bind(Pair(clock))
    chunks = list(streamed(json_schema=json.dumps(SCHEMA)))
    assert [kinds(chunk.delta.message) for chunk in chunks] == [["text"], ["image"], ["image"]]
    assert json.loads(chunks[0].delta.message.content[0].data) == {"seed": 4}  # type: ignore[index, union-attr]


@pytest.mark.parametrize("details", [True, "true", "1", "Yes", "on"])
def test_progress_is_told_as_reasoning_before_the_answer(clock: FakeClock, bind: Any, details: object) -> None:
    bind(Stepwise(clock, takes=0.8))
    *told, answer = streamed(details=details)
    assert [chunk.delta.message.content for chunk in told] == [
        "<think>\nstep 1/2\n",
        "step 2/2\n",
        "</think>\n\n",
    ]
    assert {chunk.delta.index for chunk in told} == {0}
    assert {chunk.model for chunk in told} == {"stub-model"}
    assert kinds(answer.delta.message) == ["text", "image"]
    assert answer.delta.finish_reason == "stop"


@pytest.mark.parametrize("details", [False, "no", None, "0"])
def test_no_progress_is_told_where_no_details_are_asked_for(clock: FakeClock, bind: Any, details: object) -> None:
    bind(Stepwise(clock, takes=0.8))
    assert [kinds(chunk.delta.message) for chunk in streamed(details=details)] == [["image"]]


def test_no_progress_is_told_where_the_stream_is_structured_or_whole(clock: FakeClock, bind: Any) -> None:
    bind(Stepwise(clock, takes=0.8))
    chunks = list(streamed(details=True, json_schema={"properties": {"mime_type": {"type": "string"}}}))
    assert [kinds(chunk.delta.message) for chunk in chunks] == [["text"], ["image"]]
    (whole,) = streamed(stream=False, details=True)
    assert kinds(whole.delta.message) == ["text", "image"]


def test_progress_is_asked_for_only_of_a_service_that_tells_it(
    clock: FakeClock, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind(Stepwise(clock, takes=0.8))
    monkeypatch.setattr(StubJobs, "tells_progress", False)
    assert [kinds(chunk.delta.message) for chunk in streamed(details=True)] == [["text", "image"]]


def test_progress_is_told_in_the_language_of_the_user(clock: FakeClock, bind: Any) -> None:
    bind(StubJobs(clock, takes=0.5))
    messages = [UserPromptMessage(content="a fox")]
    form = {"limits": "language: zh"}
    first, *_ = entry().invoke("stub-model", form, list(messages), {"details": True})
    assert first.delta.message.content != "<think>\nstep 12/30\n"
    assert "12/30" in str(first.delta.message.content)


def test_the_reasoning_is_closed_before_an_error(clock: FakeClock, bind: Any) -> None:
    bind(Breaking(clock, takes=9))
    told: list[object] = []
    with pytest.raises(InvokeServerUnavailableError, match="out of memory"):
        told.extend(chunk.delta.message.content for chunk in streamed(details=True))
    assert told == ["<think>\nstep 12/30\n", "</think>\n\n"]


def test_no_reasoning_is_opened_for_an_error_at_once_or_a_result_at_once(clock: FakeClock, bind: Any) -> None:
    bind(StubJobs(clock, takes=9, troubles=[BROKEN]))
    with pytest.raises(InvokeServerUnavailableError, match="out of memory"):
        next(streamed(details=True))
    bind(StubJobs(clock, takes=0))
    assert [kinds(chunk.delta.message) for chunk in streamed(details=True)] == [["text", "image"]]


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_of_a_request_is_the_hosts_with_the_text_unchanged(
    clock: FakeClock, bind: Any, *, stream: bool
) -> None:
    bind(StubBackend(clock))
    with pytest.raises(InvokeBadRequestError) as failure:
        next(streamed(stream=stream, seed="much"))
    assert str(failure.value) == "The parameter `seed` cannot be 'much'. Give a whole number."


def test_an_error_beside_the_hosts_own_classes_keeps_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(llm, "host_errors", failing)
    with pytest.raises(InvokeError) as failure:
        next(streamed())
    assert (type(failure.value), str(failure.value)) == (InvokeError, "no memory")


def test_a_polled_job_brings_its_state_back_until_its_result(clock: FakeClock, bind: Any) -> None:
    bind(StubJobs(clock, takes=9))
    first = started(user="user-1")
    assert (first.status, first.next_check_after_seconds) == (LLMPollingStatus.RUNNING, 3)
    assert first.plugin_state
    again = checked(first.plugin_state)
    assert (again.status, again.next_check_after_seconds) == (LLMPollingStatus.RUNNING, 3)
    clock.sleep(9)
    last = checked(again.plugin_state)
    assert (last.status, type(last.result)) == (LLMPollingStatus.SUCCEEDED, LLMResult)
    assert last.result is not None
    assert (last.result.model, kinds(last.result.message)) == ("stub-model", ["image"])
    assert last.result.usage.completion_tokens == 1
    assert last.result.usage.latency == clock.now() - FakeClock().now()


def test_polling_hands_over_the_parameters_the_user_and_the_schema(clock: FakeClock, bind: Any) -> None:
    backend = bind(Pair(clock))
    done = started(model_parameters={"n": 2}, json_schema=SCHEMA, user="user-1")
    assert done.status == LLMPollingStatus.SUCCEEDED
    assert isinstance(done.result, LLMResultWithStructuredOutput)
    assert done.result.structured_output == {"seed": 4}
    assert (done.result.model, done.result.usage.completion_tokens) == ("stub-model", 2)
    assert kinds(done.result.message) == ["image", "image"]
    assert [(request.n, request.user) for request in backend.asked] == [(2, "user-1")]


def test_a_failure_is_the_outcome_of_polling(clock: FakeClock, bind: Any) -> None:
    bind(StubJobs(clock, takes=9, troubles=[BROKEN]))
    failed = started()
    assert (failed.status, failed.error) == (LLMPollingStatus.FAILED, str(BROKEN))
    unread = checked({"job": {}})
    assert unread.status == LLMPollingStatus.FAILED
    assert "cannot be read" in str(unread.error)


def test_a_saved_form_is_checked_without_generating(
    clock: FakeClock, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = bind(Formed(clock))
    lines: list[str] = []
    monkeypatch.setattr(logger, "info", lambda text, *values: lines.append(text % values))
    entry().validate_credentials("stub-model", OWN_FORM)
    assert lines == ["stub-model: two nodes were read", "stub-model: the balance is low"]
    assert backend.asked == []


def test_a_form_is_refused_for_its_server_its_limits_and_its_stages(
    clock: FakeClock, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = bind(Formed(clock))
    with pytest.raises(CredentialsValidateFailedError, match="limits"):
        entry().validate_credentials("stub-model", {**OWN_FORM, "limits": "nonsense: 3"})
    monkeypatch.setattr(stages, "check", lambda _: iter(["The storage is full.", "The webhook is gone."]))
    with pytest.raises(CredentialsValidateFailedError) as refused:
        entry().validate_credentials("stub-model", OWN_FORM)
    assert str(refused.value) == "The storage is full.\nThe webhook is gone."
    backend.trouble = BROKEN
    with pytest.raises(CredentialsValidateFailedError) as refused:
        entry().validate_credentials("stub-model", OWN_FORM)
    assert str(refused.value) == str(BROKEN)


def test_images_cost_no_tokens_and_every_model_can_be_polled() -> None:
    assert entry().get_num_tokens("stub-model", {}, []) == 0
    assert entry().supports_polling("stub-model")


@pytest.fixture
def card() -> AIModelEntity:
    """The card of a predefined model, with a parameter that its server does not know."""
    made = entry().get_customizable_model_schema("stub-model", OWN_FORM)
    assert made is not None
    rules = [rule for rule in made.parameter_rules if rule.name == "seed"]
    return made.model_copy(update={"parameter_rules": rules, "features": [ModelFeature.VISION]})


def names(schema: AIModelEntity | None) -> list[str]:
    assert schema is not None
    return [rule.name for rule in schema.parameter_rules]


@pytest.mark.parametrize(
    ("form", "images", "features"),
    [
        ({}, 0, [ModelFeature.STRUCTURED_OUTPUT]),
        ({}, 1, [ModelFeature.STRUCTURED_OUTPUT, ModelFeature.VISION]),
        ({"waiting": "polling"}, 0, [ModelFeature.POLLING, ModelFeature.STRUCTURED_OUTPUT]),
        ({"waiting": "one call"}, 0, [ModelFeature.STRUCTURED_OUTPUT]),
    ],
)
def test_the_features_of_a_form_follow_its_model_and_the_way_of_waiting(
    clock: FakeClock, bind: Any, form: dict[str, str], images: int, features: list[ModelFeature]
) -> None:
    bind(StubBackend(clock, able=Capabilities(images=images)))
    schema = entry().get_model_schema("stub-model", {**OWN_FORM, **form})
    assert schema is not None
    assert schema.features == features


def test_the_form_of_a_models_own_form_has_a_name_and_the_parameters_of_its_server(clock: FakeClock, bind: Any) -> None:
    backend = bind(Formed(clock))
    schema = entry().get_customizable_model_schema("stub-model", OWN_FORM)
    assert names(schema) == ["width", *(rule.name for rule in EVERY_MODEL)]
    assert schema is not None
    assert (schema.model, schema.label.en_us) == ("stub-model", "stub-model")
    assert schema.model_properties == {ModelPropertyKey.MODE: "chat", ModelPropertyKey.CONTEXT_SIZE: 10_000}
    assert backend.left == 3.0
    backend.trouble = ConnectionFailed("Asking failed")
    assert names(entry().get_customizable_model_schema("stub-model", OWN_FORM)) == FORM_NAMES


def test_a_server_that_does_not_reply_leaves_the_known_parameters(
    clock: FakeClock, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    class ShortTimeout(gevent.Timeout):
        def __init__(self, seconds: float) -> None:
            limits.append(seconds)
            super().__init__(0.001)

    bind(Sleepy(clock))
    monkeypatch.setattr(gevent, "Timeout", ShortTimeout)
    assert names(entry().get_customizable_model_schema("stub-model", OWN_FORM)) == FORM_NAMES
    assert limits == [4.0]


def test_a_model_without_a_filled_form_shows_the_known_parameters(
    clock: FakeClock, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = bind(Formed(clock))
    monkeypatch.setattr(Formed, "required", ("api_key",))
    assert names(entry().get_customizable_model_schema("stub-model", OWN_FORM)) == FORM_NAMES
    assert backend.left == 0.0


def test_a_predefined_model_keeps_its_card_and_gets_the_parameters_of_its_server(
    clock: FakeClock, bind: Any, card: AIModelEntity
) -> None:
    bind(StubBackend(clock))
    known = card.model_copy(update={"deprecated": True})
    schema = entry(known).get_model_schema("stub-model")
    assert names(schema) == FORM_NAMES
    assert schema is not None
    assert schema.deprecated is True
    assert schema.features == [ModelFeature.STRUCTURED_OUTPUT]
    own = entry(known).get_model_schema("stub-model", OWN_FORM)
    assert own is not None
    assert own.deprecated is False


def test_an_unknown_model_without_a_form_has_no_schema() -> None:
    assert entry().get_model_schema("stub-model") is None
    assert entry().get_model_schema("stub-model", {}) is None


@pytest.mark.parametrize(
    ("features", "shown"),
    [
        ([ModelFeature.VISION], [ModelFeature.STRUCTURED_OUTPUT, ModelFeature.VISION]),
        ([], [ModelFeature.STRUCTURED_OUTPUT]),
        (None, [ModelFeature.STRUCTURED_OUTPUT]),
    ],
)
def test_a_form_that_cannot_be_made_keeps_the_parameters_of_the_card(
    card: AIModelEntity, monkeypatch: pytest.MonkeyPatch, features: object, shown: list[ModelFeature]
) -> None:
    def failing(*_: object) -> Backend:
        raise BadRequest("There is no model 'stub-model'")

    lines: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda text, *values: lines.append(text % values))
    monkeypatch.setattr(registry, "bind", failing)
    known = card.model_copy(update={"features": features})
    schema = entry(known).get_model_schema("stub-model", {})
    assert names(schema) == ["seed", *(rule.name for rule in EVERY_MODEL)]
    assert lines == ["the form of stub-model could not be made; only the known parameters are shown"]
    assert schema is not None
    assert schema.features == shown


def test_a_seed_has_no_upper_bound_in_the_form_so_that_no_slider_is_drawn(clock: FakeClock, bind: Any) -> None:
    bind(StubBackend(clock))
    schema = entry().get_customizable_model_schema("stub-model", OWN_FORM)
    assert schema is not None
    bounds = {rule.name: (rule.min is None, rule.max is None) for rule in schema.parameter_rules}
    assert bounds["seed"] == (False, True)
    assert (bounds["width"], bounds["n"]) == ((False, False), (False, False))
