"""The class that the host knows, without the host's process: `tests/plugin` asks it over stdio."""

import json
import logging
from collections.abc import Iterable, Sequence

import gevent
import pytest
from dify_plugin.entities import I18nObject
from dify_plugin.entities.model import (
    AIModelEntity,
    FetchFrom,
    ModelFeature,
    ModelPropertyKey,
    ModelType,
    ParameterRule,
)
from dify_plugin.entities.model.llm import LLMPollingStatus, LLMResultChunk, LLMResultWithStructuredOutput
from dify_plugin.entities.model.message import (
    ImagePromptMessageContent,
    PromptMessage,
    UserPromptMessage,
)
from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeBadRequestError, InvokeServerUnavailableError
from pydantic import JsonValue

from models import stages
from models.backends import registry
from models.backends.base import Backend, Capabilities, Job, Running
from models.backends.errors import BadRequest, ServerUnavailable
from models.clock import Deadline
from models.entities import ImageResult
from models.llm.llm import CONTEXT_SIZE, FORM_SECONDS, ImageGenerationModel
from models.parameters import EVERY_MODEL, RULES, Rule
from tests.fakes import FakeClock
from tests.stubs import STUB_RULES, StubBackend, StubJobs

FOX: list[PromptMessage] = [UserPromptMessage(content="a fox")]
SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"seed": {"type": "integer"}, "model": {"type": "string"}},
}
OWN = {"backend": "openai_images", "base_url": "http://127.0.0.1:9"}
BROKEN = ServerUnavailable("Generating failed", "out of memory")


def using(monkeypatch: pytest.MonkeyPatch, backend: Backend, *cards: AIModelEntity) -> ImageGenerationModel:
    """The class, with this backend behind every model."""
    monkeypatch.setattr(registry, "bind", lambda *_: backend)
    return ImageGenerationModel(list(cards))


def streamed(model: ImageGenerationModel, **parameters: object) -> list[LLMResultChunk]:
    return list(model.invoke("stub-model", {}, FOX, parameters))


def whole(model: ImageGenerationModel, **parameters: object) -> LLMResultChunk:
    """The answer without a stream, which the SDK hands over as one chunk."""
    (answer,) = model.invoke("stub-model", {}, FOX, parameters, stream=False)
    return answer


def text_of(chunks: Iterable[LLMResultChunk]) -> str:
    return "".join(chunk.delta.message.get_text_content() for chunk in chunks)


def images_in(content: object) -> int:
    return sum(isinstance(part, ImagePromptMessageContent) for part in content) if isinstance(content, list) else 0


def test_a_stream_ends_with_the_usage(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    chunks = streamed(using(monkeypatch, StubBackend(clock)))
    assert {chunk.model for chunk in chunks} == {"stub-model"}
    assert [chunk.delta.index for chunk in chunks] == list(range(len(chunks)))
    assert sum(images_in(chunk.delta.message.content) for chunk in chunks) == 1
    assert [chunk.delta.finish_reason for chunk in chunks] == [*[None] * (len(chunks) - 1), "stop"]
    assert chunks[-1].delta.usage is not None


def test_an_answer_without_a_stream_is_one_message(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    answer = whole(using(monkeypatch, StubBackend(clock)), details=True)
    assert answer.model == "stub-model"
    assert images_in(answer.delta.message.content) == 1
    assert json.loads(answer.delta.message.get_text_content().splitlines()[0])["model"] == "stub-model"
    assert answer.delta.usage is not None


@pytest.mark.parametrize("details", [True, "true", "1", "Yes", "on"])
def test_progress_is_told_as_reasoning_where_details_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, details: object
) -> None:
    chunks = streamed(using(monkeypatch, StubJobs(clock, takes=5)), details=details)
    assert text_of(chunks).startswith('<think>\nstep 12/30\n</think>\n\n{"model": "stub-model"')
    assert [chunk.delta.index for chunk in chunks[:3]] == [0, 0, 0]
    assert {chunk.model for chunk in chunks} == {"stub-model"}
    assert chunks[-1].delta.finish_reason == "stop"


def test_each_change_of_the_progress_is_a_line_of_the_reasoning(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    backend = StubJobs(clock, takes=5)
    check, steps = backend.check, iter(["queued", "queued", "step 1/2"])

    def stepping(_: Job) -> Running | ImageResult:
        step = next(steps, None)
        return Running(step) if step else check({"ends": 0, "prompt": ""})

    monkeypatch.setattr(backend, "check", stepping)
    assert text_of(streamed(using(monkeypatch, backend), details=True)).startswith(
        "<think>\nqueued\nstep 1/2\n</think>\n\n"
    )


@pytest.mark.parametrize("details", [False, "no", "", None])
def test_nothing_is_told_where_nobody_asked_for_details(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, details: object
) -> None:
    assert "think" not in text_of(streamed(using(monkeypatch, StubJobs(clock, takes=5)), details=details))


def test_a_result_at_once_has_no_reasoning(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """Neither of a service without jobs, nor of a job that has ended at the first look."""
    for backend in (StubBackend(clock), StubJobs(clock, takes=0)):
        assert text_of(streamed(using(monkeypatch, backend), details=True)).startswith('{"model": "stub-model"')


@pytest.mark.parametrize(("steps", "told"), [([Running("queued")], "<think>\nqueued\n</think>\n\n"), ([], "")])
def test_opened_reasoning_is_closed_before_an_error(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, steps: list[Running], told: str
) -> None:
    backend, chunks = StubJobs(clock, takes=5), list[LLMResultChunk]()

    def failing(_: Job) -> Running:
        if steps:
            return steps.pop(0)
        raise BROKEN

    monkeypatch.setattr(backend, "check", failing)
    answer = using(monkeypatch, backend).invoke("stub-model", {}, FOX, {"details": True})
    with pytest.raises(InvokeServerUnavailableError, match="out of memory"):
        chunks.extend(answer)
    assert text_of(chunks) == told


def test_structured_output_is_the_text_of_an_answer_and_images_follow_in_a_stream(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    parameters = {"details": True, "json_schema": json.dumps(SCHEMA), "seed": 7}
    answer = whole(using(monkeypatch, StubBackend(clock)), **parameters)
    assert json.loads(str(answer.delta.message.content)) == {"seed": 7, "model": "stub-model"}
    assert answer.delta.usage is not None
    chunks = streamed(using(monkeypatch, StubJobs(clock, takes=5)), **parameters)
    assert json.loads(text_of(chunks)) == {"seed": 7, "model": "stub-model"}
    assert sum(images_in(chunk.delta.message.content) for chunk in chunks) == 1


def test_errors_are_the_hosts_with_our_sentence(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    model = using(monkeypatch, StubBackend(clock))
    for stream in (True, False):
        with pytest.raises(InvokeBadRequestError, match="The parameter `seed` cannot be 'x'") as refusal:
            list(model.invoke("stub-model", {}, FOX, {"seed": "x"}, stream=stream))
        assert type(refusal.value) is InvokeBadRequestError


def test_a_job_is_handed_in_and_looked_at_until_it_ends(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    model = using(monkeypatch, StubJobs(clock, takes=5))
    begun = model.start_polling("stub-model", {}, FOX, {"details": True})
    assert (begun.status, begun.result, begun.error) == (LLMPollingStatus.RUNNING, None, None)
    assert begun.plugin_state is not None
    assert begun.next_check_after_seconds == 3
    clock.sleep(5)
    ended = model.check_polling("stub-model", {}, begun.plugin_state)
    assert ended.status == LLMPollingStatus.SUCCEEDED
    assert ended.result is not None
    assert ended.result.model == "stub-model"
    assert images_in(ended.result.message.content) == 1
    assert ended.result.usage.latency == pytest.approx(5.8, abs=0.2)
    assert type(ended.result) is not LLMResultWithStructuredOutput


def test_a_polled_job_fills_the_structured_output(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    model = using(monkeypatch, StubJobs(clock, takes=0))
    ended = model.start_polling("stub-model", {}, FOX, {}, json_schema=SCHEMA)
    assert isinstance(ended.result, LLMResultWithStructuredOutput)
    assert ended.result.structured_output == {"seed": 7, "model": "stub-model"}
    assert images_in(ended.result.message.content) == 1
    assert ended.result.model == "stub-model"


def test_a_polled_failure_is_a_sentence(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    refused = using(monkeypatch, StubJobs(clock, takes=0)).start_polling("stub-model", {}, FOX, {"seed": "x"})
    assert refused.status == LLMPollingStatus.FAILED
    assert (refused.error or "").startswith("The parameter `seed` cannot be 'x'.")
    assert (refused.result, refused.plugin_state) == (None, None)


@pytest.mark.parametrize("stored", [True, False])
def test_saving_a_form_probes_the_server_then_the_stages(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, caplog: pytest.LogCaptureFixture, *, stored: bool
) -> None:
    backend = StubBackend(clock)
    monkeypatch.setattr(backend, "probe", lambda: ["The server has 2 models."])
    monkeypatch.setattr(stages, "check", lambda _: [] if stored else ["No store.", "No Redis."])
    model = using(monkeypatch, backend)
    with caplog.at_level(logging.INFO):
        if stored:
            model.validate_credentials("stub-model", {})
        else:
            with pytest.raises(CredentialsValidateFailedError, match=r"^No store\.\nNo Redis\.$"):
                model.validate_credentials("stub-model", {})
    assert "stub-model: The server has 2 models." in caplog.text


@pytest.mark.parametrize("form", [{}, {"limits": "input lots"}])
def test_a_form_that_fails_is_refused_with_the_sentence(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, form: dict[str, str]
) -> None:
    backend = StubBackend(clock)
    if not form:
        monkeypatch.setattr(backend, "probe", lambda: (_ for _ in ()).throw(BadRequest("No such model")))
    sentence = "cannot be read" if form else "No such model"
    with pytest.raises(CredentialsValidateFailedError, match=sentence):
        using(monkeypatch, backend).validate_credentials("stub-model", form)


def test_tokens_are_not_counted_and_every_model_can_be_polled() -> None:
    assert ImageGenerationModel([]).get_num_tokens("any", {}, FOX) == 0
    assert ImageGenerationModel([]).supports_polling("any")


def card(features: Sequence[ModelFeature] = ()) -> AIModelEntity:
    """A predefined model with one parameter of its own."""
    return AIModelEntity(
        model="stub-model",
        label=I18nObject(en_us="The stub"),
        model_type=ModelType.LLM,
        features=list(features),
        parameter_rules=[ParameterRule.model_validate(RULES["steps"].model_dump(mode="json", exclude_none=True))],
        fetch_from=FetchFrom.PREDEFINED_MODEL,
        model_properties={ModelPropertyKey.CONTEXT_SIZE: 5},
    )


def names_in(schema: AIModelEntity | None) -> list[str]:
    assert schema is not None
    return [rule.name for rule in schema.parameter_rules]


def names(rules: Iterable[Rule]) -> list[str]:
    return list(dict.fromkeys(rule.name for rule in rules))


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("waiting", ["", "polling"])
def test_a_predefined_model_keeps_its_card_but_for_features_and_parameters(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, waiting: str, images: int
) -> None:
    model = using(monkeypatch, StubBackend(clock, able=Capabilities(images=images)), card())
    schema = model.get_model_schema("stub-model", {"waiting": waiting})
    assert schema is not None
    assert schema.features == [
        *([ModelFeature.POLLING] if waiting else []),
        ModelFeature.STRUCTURED_OUTPUT,
        *([ModelFeature.VISION] if images else []),
    ]
    assert names_in(schema) == names((*STUB_RULES, *EVERY_MODEL))
    assert (schema.label.en_us, schema.model_properties) == ("The stub", {ModelPropertyKey.CONTEXT_SIZE: 5})


@pytest.mark.parametrize("features", [[], [ModelFeature.VISION]])
def test_a_form_that_cannot_be_made_falls_back_to_the_card(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, features: list[ModelFeature]
) -> None:
    def refuse(*_: object) -> Backend:
        raise RuntimeError("of any kind")

    monkeypatch.setattr(registry, "bind", refuse)
    schema = ImageGenerationModel([card(features)]).get_model_schema("stub-model")
    assert names_in(schema) == ["steps", *names(EVERY_MODEL)]
    assert schema is not None
    assert schema.features == [ModelFeature.STRUCTURED_OUTPUT, *features]
    assert "the form of stub-model could not be made" in caplog.text


def test_a_model_without_card_has_a_schema_only_with_a_form(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    model = using(monkeypatch, StubBackend(clock, able=Capabilities(images=1)), card())
    assert model.get_model_schema("other") is None
    for name in ("other", "stub-model"):  # a model of the user's own hides a predefined one of the same name
        schema = model.get_customizable_model_schema(name, OWN)
        assert schema is not None
        assert (schema.model, schema.label.en_us) == (name, name)
        assert (schema.fetch_from, schema.model_type) == (FetchFrom.CUSTOMIZABLE_MODEL, ModelType.LLM)
        assert schema.model_properties == {ModelPropertyKey.MODE: "chat", ModelPropertyKey.CONTEXT_SIZE: CONTEXT_SIZE}
        assert names_in(schema) == names((*STUB_RULES, *EVERY_MODEL))
    assert CONTEXT_SIZE == 10_000


def test_a_model_without_card_whose_form_cannot_be_made_has_the_common_parameters(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    backend = StubBackend(clock)
    monkeypatch.setattr(StubBackend, "capabilities", None)
    schema = using(monkeypatch, backend).get_customizable_model_schema("mine", OWN)
    assert names_in(schema) == names((*registry.COMMON_RULES, *EVERY_MODEL))
    assert schema is not None
    assert ModelFeature.VISION in (schema.features or [])


def test_a_seed_has_no_upper_bound_in_the_form_and_other_numbers_have(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    schema = using(monkeypatch, StubBackend(clock)).get_customizable_model_schema("mine", OWN)
    assert schema is not None
    tops = {rule.name: rule.max for rule in schema.parameter_rules}
    assert tops["seed"] is None
    assert tops["n"] == RULES["n"].max


def test_a_server_gives_its_choices_for_the_form_in_a_short_time(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    backend, given = StubBackend(clock), list[float]()

    def live(deadline: Deadline) -> tuple[Rule, ...]:
        given.append(deadline.remaining)
        return (RULES["steps"],)

    monkeypatch.setattr(backend, "live_form", live)
    schema = using(monkeypatch, backend).get_customizable_model_schema("mine", OWN)
    assert names_in(schema) == ["steps", *names(EVERY_MODEL)]
    assert given == [FORM_SECONDS]


@pytest.mark.parametrize("fault", [BROKEN, gevent.Timeout(1)])
def test_a_server_that_does_not_answer_leaves_the_known_parameters(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, fault: BaseException
) -> None:
    backend = StubBackend(clock)

    def late(_: Deadline) -> tuple[Rule, ...]:
        raise fault

    monkeypatch.setattr(backend, "live_form", late)
    schema = using(monkeypatch, backend).get_customizable_model_schema("mine", OWN)
    assert names_in(schema) == names((*STUB_RULES, *EVERY_MODEL))


def test_a_server_is_not_asked_where_its_form_lacks_what_is_required(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    backend = StubBackend(clock)
    monkeypatch.setattr(backend, "require_access", lambda: (_ for _ in ()).throw(BROKEN))
    monkeypatch.setattr(backend, "live_form", lambda _: (RULES["steps"],))
    schema = using(monkeypatch, backend).get_customizable_model_schema("mine", OWN)
    assert names_in(schema) == names((*STUB_RULES, *EVERY_MODEL))
