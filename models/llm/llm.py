"""The one class that the host knows: host types in, host types out. It translates and dispatches, nothing else.

The host executes this module outside `sys.modules`: nothing imports it, and nothing here keeps state. Of all
`AIModel` subclasses in its namespace the last one wins, so the base class is imported with its module.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import gevent
from dify_plugin.entities import I18nObject
from dify_plugin.entities.model import (
    AIModelEntity,
    FetchFrom,
    ModelFeature,
    ModelPropertyKey,
    ModelType,
    ParameterRule,
)
from dify_plugin.entities.model.llm import (
    LLMMode,
    LLMPollingResult,
    LLMPollingStatus,
    LLMResult,
    LLMResultChunk,
    LLMResultChunkDelta,
    LLMResultWithStructuredOutput,
)
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    PromptMessage,
    PromptMessageContentUnionTypes,
    PromptMessageTool,
)
from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeError
from dify_plugin.interfaces.model import large_language_model as host
from pydantic import JsonValue

from models import stages
from models.backends import registry
from models.backends.base import Backend
from models.backends.errors import ImageError, host_errors, logger
from models.limits import Limits
from models.messages import say
from models.output.delivery import deliver_each, deliver_whole, json_text, usage_of
from models.parameters import EVERY_MODEL, Rule
from models.pipeline import Asked, Call, Finished, Waiting
from models.request.conversation import read_conversation
from models.room import room_for_call
from models.settings import Settings

CONTEXT_SIZE = 10_000
_THOUGHT = "</think>\n\n"
"""Ends the reasoning text. Markdown directly behind the tag would be shown raw."""
FORM_SECONDS = 3.0
"""How long a form waits for a server: the host asks often and shows nothing meanwhile."""


class ImageGenerationModel(host.LargeLanguageModel):
    """Every image model, predefined or added by the user."""

    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any],
        tools: list[PromptMessageTool] | None = None,
        stop: list[str] | None = None,
        stream: bool = True,
        user: str | None = None,
    ) -> LLMResult | Generator[LLMResultChunk, None, None]:
        del tools, stop
        with host_errors(credentials), room_for_call(credentials):
            call = Call.of(model, credentials, user)
            # Without polling the host hands the structured output's schema over as one more parameter.
            others = {name: value for name, value in model_parameters.items() if name != "json_schema"}
            asked = Asked(read_conversation(prompt_messages), others, model_parameters.get("json_schema"))
            if stream and _wants_progress(call, asked):
                return _narrated(call, asked, credentials)
            done = call.generate(asked)
            return (chunk for chunk in _chunks(call, done)) if stream else _answer(call, done)

    def _start_polling(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any],
        tools: list[PromptMessageTool] | None = None,
        stop: list[str] | None = None,
        stream: Literal[False] = False,
        user: str | None = None,
        *,
        json_schema: dict[str, JsonValue] | None = None,
    ) -> LLMPollingResult:
        del tools, stop, stream

        def start(call: Call) -> Waiting | Finished:
            return call.start(Asked(read_conversation(prompt_messages), model_parameters, json_schema))

        return _polled(model, credentials, user, start)

    def _check_polling(
        self, model: str, credentials: dict[str, Any], plugin_state: dict[str, JsonValue], user: str | None = None
    ) -> LLMPollingResult:
        return _polled(model, credentials, user, lambda call: call.check(plugin_state))

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        """Probe a customizable model's server without generating. Raises CredentialsValidateFailedError."""
        try:
            with host_errors(credentials):
                settings = Settings(credentials)
                backend = registry.bind(model, settings)
                Limits.read(settings)
                for sentence in backend.probe():
                    logger.info("%s: %s", model, sentence)
                faults = list(stages.check(settings))
        except InvokeError as error:
            raise CredentialsValidateFailedError(str(error)) from None
        if faults:
            raise CredentialsValidateFailedError("\n".join(faults))

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        """Images are not priced by tokens."""
        del model, credentials, prompt_messages, tools
        return 0

    def get_model_schema(self, model: str, credentials: Mapping[str, Any] | None = None) -> AIModelEntity | None:
        """The host asks with the credentials for predefined models too; without them the environment alone counts."""
        return self.get_customizable_model_schema(model, credentials or {})

    def get_customizable_model_schema(self, model: str, credentials: Mapping[str, Any]) -> AIModelEntity | None:
        """The form of a model as its owner's server makes it; a predefined one keeps the rest of its card.

        The host asks often: it never raises and never waits long.
        """
        settings = Settings(credentials)
        card = None if settings.is_custom else super().get_model_schema(model, None)
        if card is None and not credentials:
            return None
        known = card or _bare_schema(model)
        form = _form(model, settings)
        rules, images = form or (_with_every(known.parameter_rules), ModelFeature.VISION in (known.features or []))
        features = [
            *([ModelFeature.POLLING] if settings.text("waiting") == "polling" else []),
            ModelFeature.STRUCTURED_OUTPUT,
            *([ModelFeature.VISION] if images else []),
        ]
        return known.model_copy(update={"features": features, "parameter_rules": rules})

    def supports_polling(self, model: str, credentials: Mapping[str, Any] | None = None) -> bool:
        """Every model can be polled. Whether one is, the schema says; a job goes on when its owner changes that."""
        del model, credentials
        return True

    def _validate_and_filter_model_parameters(
        self, model: str, model_parameters: dict[str, Any], credentials: dict[str, Any]
    ) -> dict[str, Any]:
        # The SDK's own check runs outside the error mapping and ends as a bare ValueError, also for the text "42"
        # of a workflow variable. The intake reads the same values by the same rules and answers in sentences.
        del model, credentials
        return model_parameters

    @property
    def _invoke_error_mapping(self) -> dict[type[InvokeError], list[type[Exception]]]:
        return {}

    def _transform_invoke_error(self, error: Exception) -> InvokeError:
        # `host_errors` has spoken already; the SDK's wording would drop the text of authorization errors.
        return type(error)(str(error)) if isinstance(error, InvokeError) else InvokeError(str(error))


def _wants_progress(call: Call, asked: Asked) -> bool:
    """Where structured output is asked for, the stream's only text is its JSON."""
    details = str(asked.parameters.get("details")).lower() in {"true", "1", "yes", "on"}
    return details and call.backend.tells_progress and not asked.json_schema


def _narrated(call: Call, asked: Asked, credentials: Mapping[str, Any]) -> Generator[LLMResultChunk, None, None]:
    """Progress as reasoning text while the job runs, then the answer. The reasoning is closed before an error too."""
    opened, answer = False, list[LLMResultChunk]()
    with host_errors(credentials), room_for_call(credentials):
        try:
            for step in call.narrated(asked):
                if isinstance(step, Finished):
                    answer = _chunks(call, step)
                else:
                    words = say(step, call.settings)
                    yield _chunk(call.model, f"{words}\n" if opened else f"<think>\n{words}\n")
                    opened = True
        except Exception:
            if opened:
                yield _chunk(call.model, _THOUGHT)
            raise
        if opened:
            yield _chunk(call.model, _THOUGHT)
        yield from answer


def _polled(
    model: str, credentials: Mapping[str, Any], user: str | None, ask: Callable[[Call], Waiting | Finished]
) -> LLMPollingResult:
    try:
        with host_errors(credentials), room_for_call(credentials):
            call = Call.of(model, credentials, user)
            outcome = ask(call)
            if isinstance(outcome, Finished):
                return LLMPollingResult(status=LLMPollingStatus.SUCCEEDED, result=_llm_result(call, outcome))
    except InvokeError as error:
        return LLMPollingResult(status=LLMPollingStatus.FAILED, error=str(error))
    return LLMPollingResult(
        status=LLMPollingStatus.RUNNING, plugin_state=outcome.state, next_check_after_seconds=outcome.next_check
    )


def _llm_result(call: Call, done: Finished) -> LLMResult:
    told = partial(say, settings=call.settings)
    delivered = deliver_whole(done.result, done.options, duration=done.duration, say=told)
    usage = usage_of(done.result, done.duration)
    message = AssistantPromptMessage(content=list(delivered.contents))
    if delivered.structured_output is None:
        return LLMResult(model=call.model, message=message, usage=usage)
    return LLMResultWithStructuredOutput(
        model=call.model, message=message, usage=usage, structured_output=delivered.structured_output
    )


def _answer(call: Call, done: Finished) -> LLMResult:
    """The whole answer of a call that does not stream. With structured output the host takes text and nothing else."""
    answer = _llm_result(call, done)
    if not isinstance(answer, LLMResultWithStructuredOutput):
        return answer
    message = AssistantPromptMessage(content=json_text(answer.structured_output or {}))
    return LLMResult(model=call.model, message=message, usage=answer.usage)


def _chunks(call: Call, done: Finished) -> list[LLMResultChunk]:
    """A list, not a generator: what fails inside a generator would reach the host untranslated."""
    told = partial(say, settings=call.settings)
    deliveries = deliver_each(done.result, done.options, duration=done.duration, say=told)
    chunks = [_chunk(call.model, list(delivered.contents), index) for index, delivered in enumerate(deliveries)]
    last = chunks[-1].delta
    last.usage, last.finish_reason = usage_of(done.result, done.duration), "stop"
    return chunks


def _chunk(model: str, content: str | list[PromptMessageContentUnionTypes], index: int = 0) -> LLMResultChunk:
    delta = LLMResultChunkDelta(index=index, message=AssistantPromptMessage(content=content))
    return LLMResultChunk(model=model, delta=delta)


def _form(model: str, settings: Settings) -> tuple[list[ParameterRule], bool] | None:
    """The parameters of a model, with its server's choices where they are to be had, and whether it takes images."""
    try:
        backend = registry.bind(model, settings)
        return _host_rules(_live_rules(backend)), backend.capabilities.images > 0
    except Exception:  # noqa: BLE001 -- a form without choices is better than no model at all
        logger.warning("the form of %s could not be made; only the known parameters are shown", model)
        return None


def _live_rules(backend: Backend) -> Iterable[Rule]:
    try:
        backend.require_access()
        with gevent.Timeout(FORM_SECONDS + 1):
            return backend.live_form(backend.within(FORM_SECONDS))
    except (ImageError, gevent.Timeout):
        return backend.rules()


def _host_rules(rules: Iterable[Rule]) -> list[ParameterRule]:
    """The rules as the host's, and those that belong to every model."""
    return _with_every([_host_rule(rule) for rule in rules])


def _with_every(rules: Sequence[ParameterRule]) -> list[ParameterRule]:
    every = {rule.name: rule for rule in (*rules, *map(_host_rule, EVERY_MODEL))}
    return list(every.values())


def _host_rule(rule: Rule) -> ParameterRule:
    """The host draws a slider for a number with two bounds, on which no single seed can be set: a seed has one."""
    hidden = {"max"} if rule.name == "seed" else set[str]()
    return ParameterRule.model_validate(rule.model_dump(mode="json", exclude_none=True, exclude=hidden))


def _bare_schema(model: str) -> AIModelEntity:
    return AIModelEntity(
        model=model,
        label=I18nObject(en_us=model),
        model_type=ModelType.LLM,
        features=[ModelFeature.VISION],
        parameter_rules=_host_rules(registry.COMMON_RULES),
        fetch_from=FetchFrom.CUSTOMIZABLE_MODEL,
        model_properties={ModelPropertyKey.MODE: LLMMode.CHAT.value, ModelPropertyKey.CONTEXT_SIZE: CONTEXT_SIZE},
    )
