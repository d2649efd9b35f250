"""One call to Stability AI; the image is passed on as base64, without checks, options or limits."""

from collections.abc import Generator, Mapping
from typing import Any

import requests
from dify_plugin import LargeLanguageModel
from dify_plugin.entities.model.llm import LLMResult, LLMResultChunk, LLMResultChunkDelta, LLMUsage
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessage,
    PromptMessageTool,
)
from dify_plugin.errors.model import InvokeError

_SESSION = requests.Session()


class BareModel(LargeLanguageModel):
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
        del model_parameters, tools, stop, user
        image = _generated(model, credentials, "\n".join(message.get_text_content() for message in prompt_messages))
        content = ImagePromptMessageContent(format="png", mime_type="image/png", base64_data=image)
        message = AssistantPromptMessage(content=[content])
        usage = LLMUsage.empty_usage()
        if not stream:
            return LLMResult(model=model, message=message, usage=usage)
        return _streamed(LLMResultChunk(model=model, delta=LLMResultChunkDelta(index=0, message=message, usage=usage)))

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        del model, credentials, prompt_messages, tools
        return 0

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        del model, credentials

    @property
    def _invoke_error_mapping(self) -> dict[type[InvokeError], list[type[Exception]]]:
        return {}


def _generated(model: str, credentials: Mapping[str, Any], prompt: str) -> str:
    """The image as base64, as returned by the service."""
    form = {
        "prompt": prompt,
        "model": model,
        "mode": "text-to-image",
        "aspect_ratio": "1:1",
        "output_format": "png",
    }
    reply = _SESSION.post(
        f"{credentials['stability_base_url']}/v2beta/stable-image/generate/sd3",
        headers={
            "Authorization": f"Bearer {credentials['stability_api_key']}",
            "Accept": "application/json",
            "stability-client-id": "benchmark",
            "stability-client-version": "1",
        },
        files={name: (None, value) for name, value in form.items()},
        timeout=60,
    )
    reply.raise_for_status()
    image: str = reply.json()["image"]
    return image


def _streamed(chunk: LLMResultChunk) -> Generator[LLMResultChunk, None, None]:
    yield chunk
