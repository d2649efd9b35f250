"""The previous turns of a chatflow, for LLM nodes with memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphon.file.file_manager import to_prompt_message_content
from graphon.file.models import File
from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessage,
    PromptMessageContentUnionTypes,
    TextPromptMessageContent,
    UserPromptMessage,
)

_MOST_TURNS = 500


@dataclass
class Conversation:
    """
    The engine's `PromptMessageMemory`: files before the text, images of answers included.

    Follows Dify's `core/memory/token_buffer_memory.py`, without pruning by tokens: the plugin's models do not count them.
    """

    turns: list[tuple[PromptMessage, PromptMessage]] = field(default_factory=list)

    def add(self, query: str, files: Sequence[File], answer: str, images: Sequence[File]) -> None:
        user = UserPromptMessage(content=_content(query, files))
        self.turns.append((user, AssistantPromptMessage(content=_content(answer, images))))

    def get_history_prompt_messages(
        self,
        max_token_limit: int = 2000,  # noqa: ARG002 - the engine's signature
        message_limit: int | None = None,
    ) -> Sequence[PromptMessage]:
        """The messages of the last `message_limit` turns, oldest first, as copies: the engine filters them in place."""
        turns = self.turns[-(message_limit or _MOST_TURNS) :]
        return [message.model_copy() for turn in turns for message in turn]


def _content(text: str, files: Sequence[File]) -> str | list[PromptMessageContentUnionTypes]:
    if not files:
        return text
    detail = ImagePromptMessageContent.DETAIL.HIGH
    parts = [to_prompt_message_content(file, image_detail_config=detail) for file in files]
    return [*parts, TextPromptMessageContent(data=text)]
