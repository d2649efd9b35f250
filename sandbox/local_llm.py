"""
A local replacement for other providers' language models, for example for a prompt enhancer node.

It is not a language model: it returns the last user message or a scripted answer.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from graphon.model_runtime.entities.common_entities import I18nObject
from graphon.model_runtime.entities.llm_entities import (
    LLMResult,
    LLMResultChunk,
    LLMResultChunkDelta,
    LLMResultChunkWithStructuredOutput,
    LLMResultWithStructuredOutput,
    LLMUsage,
)
from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    PromptMessage,
    PromptMessageRole,
    PromptMessageTool,
)
from graphon.model_runtime.entities.model_entities import (
    AIModelEntity,
    FetchFrom,
    ModelFeature,
    ModelPropertyKey,
    ModelType,
)
from pydantic import JsonValue

type Answer = str | Mapping[str, JsonValue]
type Script = Mapping[str, Answer]

LABEL = "local model"


@dataclass
class LocalModel:
    """
    Answers an LLM node of a provider that is not the plugin's (the engine's `LLMProtocol`).

    Args:
        provider, model_name, parameters: as the node names them.
        answer: the text to return; None returns the last user message, else the system text.

    """

    provider: str
    model_name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    answer: Answer | None = None
    stop: Sequence[str] | None = None

    def get_model_schema(self) -> AIModelEntity:
        return AIModelEntity(
            model=self.model_name,
            label=I18nObject(en_us=f"{self.model_name} ({LABEL})"),
            model_type=ModelType.LLM,
            features=[ModelFeature.VISION, ModelFeature.STRUCTURED_OUTPUT],
            fetch_from=FetchFrom.PREDEFINED_MODEL,
            model_properties={ModelPropertyKey.MODE: "chat", ModelPropertyKey.CONTEXT_SIZE: 128_000},
        )

    def get_llm_num_tokens(self, prompt_messages: Sequence[PromptMessage]) -> int:
        return 0

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
        message = AssistantPromptMessage(content=self._text(prompt_messages))
        if stream:
            return _stream(self.model_name, message)
        return LLMResult(model=self.model_name, message=message, usage=LLMUsage.empty_usage())

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
        text = self._text(prompt_messages)
        value = self.answer if isinstance(self.answer, Mapping) else _fill(json_schema, text)
        message = AssistantPromptMessage(content=text)
        if stream:
            return _stream_structured(self.model_name, message, value)
        return LLMResultWithStructuredOutput(
            model=self.model_name, message=message, usage=LLMUsage.empty_usage(), structured_output=value
        )

    def is_structured_output_parse_error(self, error: Exception) -> bool:
        return False

    def _text(self, prompt_messages: Sequence[PromptMessage]) -> str:
        return self.answer if isinstance(self.answer, str) else last_words(prompt_messages)


def last_words(prompt_messages: Sequence[PromptMessage]) -> str:
    """The text of the last user message, else of the last message with text."""
    spoken = [message for message in prompt_messages if message.get_text_content().strip()]
    by_users = [message for message in spoken if message.role == PromptMessageRole.USER]
    return next((message.get_text_content().strip() for message in reversed(by_users or spoken)), "")


def _fill(schema: Mapping[str, Any], text: str) -> Any:
    """A value that satisfies a JSON schema: the first of a choice, else strings hold the text, numbers the minimum."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _fill(part, text) for name, part in schema.get("properties", {}).items()}
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "array":
            return [_fill(schema.get("items", {}), text)] * schema.get("minItems", 0)
        case _:
            return text


def _stream(model: str, message: AssistantPromptMessage) -> Generator[LLMResultChunk, None, None]:
    delta = LLMResultChunkDelta(index=0, message=message, usage=LLMUsage.empty_usage(), finish_reason="stop")
    yield LLMResultChunk(model=model, delta=delta)


def _stream_structured(
    model: str, message: AssistantPromptMessage, value: Mapping[str, JsonValue]
) -> Generator[LLMResultChunkWithStructuredOutput, None, None]:
    delta = LLMResultChunkDelta(index=0, message=message, usage=LLMUsage.empty_usage(), finish_reason="stop")
    yield LLMResultChunkWithStructuredOutput(model=model, delta=delta, structured_output=value)
