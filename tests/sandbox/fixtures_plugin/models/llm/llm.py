"""A model controlled by its parameter `act`: images, and the faults that a host must handle."""

import base64
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from io import BytesIO
from typing import Any, override

from dify_plugin import LargeLanguageModel, get_current_session
from dify_plugin.entities.model.llm import (
    LLMPollingResult,
    LLMPollingStatus,
    LLMResult,
    LLMResultChunk,
    LLMResultChunkDelta,
    LLMResultWithStructuredOutput,
    LLMUsage,
)
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessage,
    PromptMessageTool,
    TextPromptMessageContent,
)
from dify_plugin.errors.model import InvokeBadRequestError, InvokeError
from PIL import Image


def _drawn(text: str) -> bytes:
    shade = sum(text.encode()) % 256
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (shade, 128, 255 - shade)).save(buffer, "PNG")
    return buffer.getvalue()


def _image(data: bytes) -> ImagePromptMessageContent:
    return ImagePromptMessageContent(format="png", mime_type="image/png", base64_data=base64.b64encode(data).decode())


class MisbehavingModel(LargeLanguageModel):
    @override
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
        prompt = "\n".join(message.get_text_content() for message in prompt_messages)
        amount = model_parameters.get("amount", 0)
        if "json_schema" in model_parameters:
            return self._structured(model, prompt, json.loads(model_parameters["json_schema"])["schema"])
        match model_parameters.get("act", "paint"):
            case "echo":
                seen = {
                    "parameters": model_parameters,
                    "credentials": credentials,
                    "messages": [message.model_dump(mode="json") for message in prompt_messages],
                }
                return self._result(model, json.dumps(seen))
            case "long-line":
                return self._result(model, "x" * int(amount))
            case "refuse":
                raise InvokeBadRequestError(prompt)
            case "stream":
                return self._stream(model, prompt)
            case str(act) if act in MISDEEDS:
                return self._result(model, MISDEEDS[act](amount))
        return self._result(model, prompt, _image(_drawn(prompt)))

    @override
    def _start_polling(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any],
        tools: list[PromptMessageTool] | None = None,
        stop: list[str] | None = None,
        stream: bool = False,
        user: str | None = None,
        *,
        json_schema: dict[str, Any] | None = None,
    ) -> LLMPollingResult:
        state = {
            "prompt": "\n".join(message.get_text_content() for message in prompt_messages),
            "rounds": 2,
            "pids": [os.getpid()],
            "seed": model_parameters.get("seed", 0),
            "fails": model_parameters.get("act") == "refuse",
            "structured": json_schema is not None,
            "half": 0.5,
        }
        return LLMPollingResult(status=LLMPollingStatus.RUNNING, plugin_state=state, next_check_after_seconds=1)

    def _check_polling(
        self, model: str, credentials: dict[str, Any], plugin_state: dict[str, Any], user: str | None = None
    ) -> LLMPollingResult:
        state = plugin_state | {"rounds": plugin_state["rounds"] - 1, "pids": [*plugin_state["pids"], os.getpid()]}
        if state["rounds"]:
            return LLMPollingResult(status=LLMPollingStatus.RUNNING, plugin_state=state, next_check_after_seconds=1)
        if state["fails"]:
            return LLMPollingResult(status=LLMPollingStatus.FAILED, error=f"refused: {state['prompt']}")
        result = self._result(model, f"painted by {state['pids']}\n", _image(_drawn(state["prompt"])))
        if state["structured"]:
            structured = {"seed": state["seed"], "prompt": state["prompt"]}
            result = LLMResultWithStructuredOutput(**result.model_dump(), structured_output=structured)
        return LLMPollingResult(status=LLMPollingStatus.SUCCEEDED, result=result)

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        return sum(len(message.get_text_content()) for message in prompt_messages)

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        if credentials.get("api_key") == "wrong":
            msg = f"Fill in another api_key for {model}."
            raise InvokeBadRequestError(msg)

    @property
    def _invoke_error_mapping(self) -> dict[type[InvokeError], list[type[Exception]]]:
        return {InvokeBadRequestError: [InvokeBadRequestError]}

    def _validate_and_filter_model_parameters(
        self, model: str, model_parameters: dict[str, Any], credentials: dict[str, Any]
    ) -> dict[str, Any]:
        known = super()._validate_and_filter_model_parameters(model, model_parameters, credentials)
        return known | {name: value for name, value in model_parameters.items() if name == "json_schema"}

    def _structured(self, model: str, prompt: str, schema: dict[str, Any]) -> Generator[LLMResultChunk, None, None]:
        """The JSON object and a blank line, then an image, as Dify expects in a stream."""
        text = prompt if prompt == "not JSON" else json.dumps(dict.fromkeys(schema["properties"], prompt)) + "\n\n"
        for index, content in enumerate((TextPromptMessageContent(data=text), _image(_drawn(prompt)))):
            message = AssistantPromptMessage(content=[content])
            yield LLMResultChunk(model=model, delta=LLMResultChunkDelta(index=index, message=message))

    def _result(self, model: str, text: str, *images: ImagePromptMessageContent) -> LLMResult:
        message = AssistantPromptMessage(content=[TextPromptMessageContent(data=text), *images])
        return LLMResult(model=model, prompt_messages=[], message=message, usage=LLMUsage.empty_usage())

    def _stream(self, model: str, prompt: str) -> Generator[LLMResultChunk, None, None]:
        for index, word in enumerate(prompt.split()):
            message = AssistantPromptMessage(content=[TextPromptMessageContent(data=f"{word} "), _image(_drawn(word))])
            yield LLMResultChunk(model=model, delta=LLMResultChunkDelta(index=index, message=message))


def _sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def _crash(_: float) -> str:
    sys.stderr.write("the last words\n")
    sys.stderr.flush()
    os._exit(7)


def _call_back(_: float) -> str:
    session = get_current_session()
    assert session is not None
    session.storage.set("key", b"value")
    return "the host let me in"


def _print(_: float) -> str:
    sys.stdout.write("not JSON\n")
    return "printed"


MISDEEDS: dict[str, Callable[[float], str]] = {
    "sleep": _sleep,
    "crash": _crash,
    "call-back": _call_back,
    "print": _print,
}
