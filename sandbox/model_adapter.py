"""Adapts the plugin's models, called through the plugin process, to the workflow engine."""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, overload, override

from graphon.model_runtime.entities.llm_entities import (
    LLMPollingConfig,
    LLMPollingResult,
    LLMResult,
    LLMResultChunk,
    LLMResultChunkDelta,
    LLMResultChunkWithStructuredOutput,
    LLMResultWithStructuredOutput,
    LLMUsage,
)
from graphon.model_runtime.entities.message_entities import AssistantPromptMessage, PromptMessage, PromptMessageTool
from graphon.model_runtime.entities.model_entities import AIModelEntity
from graphon.model_runtime.errors.invoke import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)
from graphon.model_runtime.errors.validate import CredentialsValidateFailedError
from graphon.nodes.llm.runtime_protocols import LLMPollingCapableProtocol
from pydantic import JsonValue

from sandbox.errors import PluginError
from sandbox.host import Host, Values
from sandbox.protocol import Chunk, JsonObject

_KNOWN_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error
    for error in (
        InvokeConnectionError,
        InvokeServerUnavailableError,
        InvokeRateLimitError,
        InvokeAuthorizationError,
        InvokeBadRequestError,
        CredentialsValidateFailedError,
    )
}


class StructuredOutputError(ValueError):
    """The model's text is not a JSON object. Dify would try to repair it and change its content."""


@dataclass
class PluginModel:
    """
    A model of the plugin without the polling feature (the engine's `LLMProtocol`).

    Args:
        host: the running plugin.
        provider, model_name, parameters: as the node names them.
        credentials: what the host has stored for the provider.
        schema: the model's entity.

    """

    host: Host
    provider: str
    model_name: str
    parameters: Mapping[str, Any]
    credentials: Values
    schema: AIModelEntity
    stop: Sequence[str] | None = None

    def get_model_schema(self) -> AIModelEntity:
        return self.schema

    def get_llm_num_tokens(self, prompt_messages: Sequence[PromptMessage]) -> int:
        try:
            return self.host.num_tokens(self.model_name, self.credentials, _to_wire(prompt_messages))
        except PluginError as error:
            raise as_host_error(error) from error

    @overload
    def invoke_llm(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: Literal[False],
    ) -> LLMResult: ...

    @overload
    def invoke_llm(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: Literal[True],
    ) -> Generator[LLMResultChunk, None, None]: ...

    def invoke_llm(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: bool,
    ) -> LLMResult | Generator[LLMResultChunk, None, None]:
        chunks = self._stream(prompt_messages, model_parameters, stream=stream)
        return chunks if stream else _joined(self.model_name, chunks)

    @overload
    def invoke_llm_with_structured_output(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        json_schema: Mapping[str, Any],
        model_parameters: Mapping[str, Any],
        stop: Sequence[str] | None,
        stream: Literal[False],
    ) -> LLMResultWithStructuredOutput: ...

    @overload
    def invoke_llm_with_structured_output(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        json_schema: Mapping[str, Any],
        model_parameters: Mapping[str, Any],
        stop: Sequence[str] | None,
        stream: Literal[True],
    ) -> Generator[LLMResultChunkWithStructuredOutput, None, None]: ...

    def invoke_llm_with_structured_output(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        json_schema: Mapping[str, Any],
        model_parameters: Mapping[str, Any],
        stop: Sequence[str] | None,
        stream: bool,
    ) -> LLMResultWithStructuredOutput | Generator[LLMResultChunkWithStructuredOutput, None, None]:
        """
        Like Dify without polling (core/llm_generator/output_parser/structured_output.py): the schema is sent in the
        parameter `json_schema`; the complete text must be the JSON object. Images are passed on in a stream and dropped
        otherwise.
        """
        wrapped = json.dumps({"schema": json_schema, "name": "llm_response"}, ensure_ascii=False)
        chunks = self._stream(prompt_messages, {**model_parameters, "json_schema": wrapped}, stream=stream)
        if stream:
            return _with_structured_output(self.model_name, chunks)
        result = _joined(self.model_name, chunks)
        text = result.message.get_text_content()
        return LLMResultWithStructuredOutput(
            model=result.model,
            message=AssistantPromptMessage(content=text),
            usage=result.usage,
            structured_output=_parse_object(text),
        )

    def is_structured_output_parse_error(self, error: Exception) -> bool:
        return isinstance(error, StructuredOutputError)

    def _stream(
        self, messages: Sequence[PromptMessage], parameters: Mapping[str, Any], *, stream: bool
    ) -> Generator[LLMResultChunk, None, None]:
        try:
            for chunk in self.host.stream(
                self.model_name, self.credentials, _to_wire(messages), parameters, stream=stream
            ):
                yield _to_engine(chunk)
        except PluginError as error:
            raise as_host_error(error) from error


@dataclass
class PollingPluginModel(PluginModel, LLMPollingCapableProtocol):
    """
    A model of the plugin with the polling feature: its LLM nodes start a job and check it.

    The engine decides by this class alone, so no other model may carry it.
    """

    polling_config: LLMPollingConfig = field(default_factory=LLMPollingConfig)

    @override
    def start_llm_polling(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        json_schema: Mapping[str, Any] | None,
    ) -> LLMPollingResult:
        try:
            reply = self.host.start_polling(
                self.model_name,
                self.credentials,
                _to_wire(prompt_messages),
                model_parameters,
                json_schema=json_schema,
            )
        except PluginError as error:
            raise _lost_text(error) from error
        return LLMPollingResult.model_validate(reply.raw)

    @override
    def check_llm_polling(self, *, plugin_state: Mapping[str, JsonValue]) -> LLMPollingResult:
        try:
            reply = self.host.check_polling(self.model_name, self.credentials, plugin_state)
        except PluginError as error:
            raise _lost_text(error) from error
        return LLMPollingResult.model_validate(reply.raw)


def plugin_model(
    host: Host,
    provider: str,
    model_name: str,
    parameters: Mapping[str, Any],
    credentials: Values,
    config: LLMPollingConfig,
) -> PluginModel:
    """
    The adapter that fits the model's declared features.

    Raises:
        LookupError: the plugin does not know the model.

    """
    raw = host.model_schema(model_name, credentials)
    if raw is None:
        msg = f"the plugin has no model named {model_name!r}"
        raise LookupError(msg)
    schema = AIModelEntity.model_validate(raw)
    if not schema.support_polling:
        return PluginModel(host, provider, model_name, parameters, credentials, schema)
    return PollingPluginModel(host, provider, model_name, parameters, credentials, schema, polling_config=config)


def as_host_error(error: PluginError) -> Exception:
    """The exception that Dify raises for a plugin's error: six classes keep the message, any other shows raw JSON."""
    known = _KNOWN_ERRORS.get(error.error_type)
    if known is not None:
        return known(error.message)
    return InvokeError(json.dumps({"error_type": error.error_type, "message": error.message}))


def _lost_text(error: PluginError) -> InvokeError:
    return InvokeError(
        f"{error.error_type} while polling: Dify answers with HTTP 500 and probably loses the text. It was: {error.message}"
    )


def _to_wire(messages: Sequence[PromptMessage]) -> list[JsonObject]:
    return [cast("JsonObject", message.model_dump(mode="json")) for message in messages]


def _to_engine(chunk: Chunk) -> LLMResultChunk:
    return LLMResultChunk.model_validate(chunk.model_dump())


def _joined(model: str, chunks: Generator[LLMResultChunk, None, None]) -> LLMResult:
    message = AssistantPromptMessage(content=[])
    usage = LLMUsage.empty_usage()
    for chunk in chunks:
        content = chunk.delta.message.content or []
        parts = [{"type": "text", "data": content}] if isinstance(content, str) else content
        message = AssistantPromptMessage(content=[*(message.content or []), *parts])
        usage = chunk.delta.usage or usage
    return LLMResult(model=model, message=message, usage=usage)


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        msg = f"not JSON: {text[:100]}"
        raise StructuredOutputError(msg) from error
    if not isinstance(value, dict):
        msg = f"not a JSON object: {text[:100]}"
        raise StructuredOutputError(msg)
    return value


def _with_structured_output(
    model: str, chunks: Generator[LLMResultChunk, None, None]
) -> Generator[LLMResultChunkWithStructuredOutput, None, None]:
    text = ""
    for chunk in chunks:
        text += chunk.delta.message.get_text_content()
        yield LLMResultChunkWithStructuredOutput(model=model, delta=chunk.delta)
    delta = LLMResultChunkDelta(index=0, message=AssistantPromptMessage(content=""))
    yield LLMResultChunkWithStructuredOutput(model=model, delta=delta, structured_output=_parse_object(text))
