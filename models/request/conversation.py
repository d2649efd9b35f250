"""What a conversation asks for: the prompt and the images, out of the host's messages."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dify_plugin.entities.model.message import (
    ImagePromptMessageContent,
    PromptMessage,
    PromptMessageRole,
    TextPromptMessageContent,
)

# No part can run over the start of the next image: a text of nothing but starts is still read in one go.
_MARKDOWN_IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()]*(?:\([^()]*\)[^()]*)*\)")
_THOUGHTS = re.compile(r"(?is)\s*<(think|thinking)>.*?</\1>\s*")
_FENCE = re.compile(r"(?s)\s*(```|~~~)[\w-]*[ \t]*\n((?:(?!\1).)*?)\n?[ \t]*\1\s*")
_DIRECTING = (PromptMessageRole.SYSTEM, PromptMessageRole.DEVELOPER)


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image as the host sent it: base64 text or an address, and a file name that is only a hint."""

    base64_data: str
    url: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The current turn. `earlier` is the latest image that a user showed in an earlier turn.

    `notices` are sentences for the user about what was left out.
    """

    prompt: str
    images: tuple[ImagePart, ...] = ()
    earlier: ImagePart | None = None
    notices: tuple[str, ...] = ()


def read_conversation(messages: Sequence[PromptMessage]) -> Conversation:
    """The prompt (art direction of the system text, then the user's words) and the images of the current turn.

    The current turn is every user message after the last assistant message. Markdown images are links that an
    earlier answer left in the text; they never belong to a prompt.
    """
    current, earlier = _turns(messages)
    direction = _joined(message for message in messages if message.role in _DIRECTING)
    wish = _joined(current)
    before = _images(earlier)
    return Conversation(
        prompt="\n".join(text for text in (direction, wish) if text),
        images=tuple(_images(current)),
        earlier=before[-1] if before else None,
        notices=tuple(dict.fromkeys(_left_out(current))),
    )


def _turns(messages: Sequence[PromptMessage]) -> tuple[list[PromptMessage], list[PromptMessage]]:
    start = 0
    for index, message in enumerate(messages):
        if message.role is PromptMessageRole.ASSISTANT:
            start = index + 1
    users = [(index, message) for index, message in enumerate(messages) if message.role is PromptMessageRole.USER]
    return [m for index, m in users if index >= start], [m for index, m in users if index < start]


def _joined(messages: Iterable[PromptMessage]) -> str:
    texts = (_bare(_text(message)) for message in messages)
    return "\n".join(text for text in texts if text)


def _bare(text: str) -> str:
    """The words of a message without what a language model or an earlier answer put around them."""
    text = _MARKDOWN_IMAGE.sub("", text)
    if thoughts := _THOUGHTS.match(text):
        text = text[thoughts.end() :]
    if fenced := _FENCE.fullmatch(text):
        text = fenced[2]
    return text.strip()


def _left_out(messages: Iterable[PromptMessage]) -> Iterator[str]:
    """Notices about what of the messages is not used."""
    for message in messages:
        if _THOUGHTS.match(_text(message)):
            yield "The text of a <think> block at the beginning of the prompt was left out."
        for part in message.content if isinstance(message.content, list) else ():
            if not isinstance(part, (TextPromptMessageContent, ImagePromptMessageContent)):
                name = getattr(part, "filename", "") or f"The {part.type.value}"
                yield f"{name} was not used: of a message, text and images are read."


def _text(message: PromptMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.data for part in message.content if isinstance(part, TextPromptMessageContent))
    return message.content or ""


def _images(messages: Iterable[PromptMessage]) -> list[ImagePart]:
    return [
        ImagePart(part.base64_data, part.url, part.filename)
        for message in messages
        if isinstance(message.content, list)
        for part in message.content
        if isinstance(part, ImagePromptMessageContent)
    ]
