"""
The protocol between the plugin daemon and a plugin process: JSON lines, as the daemon parses and rebuilds them.

Source: langgenius/dify-plugin-daemon, `pkg/entities/model_entities`, `pkg/entities/requests` and
`internal/core/io_tunnel`; dify_plugin 0.10.2, `core/server/stdio`.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sandbox.errors import RefusedError

type JsonObject = dict[str, JsonValue]

LINE_LIMIT = 5_242_880
"""Maximum bytes of a stdout line, including the line feed, in the daemon's scanner."""

_EXPONENT_FROM = 1e21  # Go writes floats below this without an exponent: integral ones become ints


def float64_round_trip(value: JsonValue) -> JsonValue:
    """
    A value after a round trip through Go's `map[string]any` (no `UseNumber`, keys sorted).

    Integral floats become ints, integers beyond 2**53 lose digits.

    Raises:
        OverflowError: a number does not fit into a float64.

    """
    match value:
        case dict():
            return {key: float64_round_trip(value[key]) for key in sorted(value)}
        case list():
            return [float64_round_trip(item) for item in value]
        case bool() | str() | None:
            return value
        case int() | float():
            return _go_number(float(value))


def _go_number(number: float) -> int | float:
    if not number.is_integer() or abs(number) >= _EXPONENT_FROM:
        return number
    return int(Decimal(repr(number)))  # Go prints the shortest digits that read back equal, then zeros


class Content(BaseModel):
    """One part of a message, with the keys that the daemon keeps."""

    model_config = ConfigDict(frozen=True)

    type: Literal["text", "image", "audio", "video", "document"]
    data: str = ""
    base64_data: str = ""
    url: str = ""
    format: str = ""
    mime_type: str = ""
    detail: str = ""
    filename: str = ""
    opaque_body: JsonValue = None


class Message(BaseModel):
    """A prompt message or a reply. The daemon requires content that is not null."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[Content, ...]
    name: str | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """The parts; a bare string counts as one text part."""
        return (Content(type="text", data=self.content),) if isinstance(self.content, str) else self.content


class Usage(BaseModel):
    """Usage. The daemon requires every field."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int
    prompt_unit_price: Decimal
    prompt_price_unit: Decimal
    prompt_price: Decimal
    completion_tokens: int
    completion_unit_price: Decimal
    completion_price_unit: Decimal
    completion_price: Decimal
    total_tokens: int
    total_price: Decimal
    currency: str
    latency: float


class Delta(BaseModel):
    """The content of one chunk."""

    model_config = ConfigDict(frozen=True)

    index: int
    message: Message
    usage: Usage | None = None
    finish_reason: str | None = None


class Chunk(BaseModel):
    """One message of an `invoke_llm` reply."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(min_length=1)
    system_fingerprint: str | None = None
    delta: Delta


class LlmResult(BaseModel):
    """The result inside a polling reply. The daemon passes it on unread."""

    model: str
    message: Message
    usage: Usage
    structured_output: JsonObject | None = None


class PollingResult(BaseModel):
    """One reply of `start_polling` or `check_polling`; the daemon rebuilds only `plugin_state`."""

    status: Literal["running", "succeeded", "failed"]
    plugin_state: JsonObject | None = None
    result: JsonObject | None = None
    error: str | None = None
    next_check_after_seconds: int | None = None
    expires_after_seconds: int | None = None
    max_attempts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image in a reply: inline bytes, or a URL that the host downloads."""

    data: bytes
    url: str
    mime_type: str
    format: str
    filename: str


def text_of(messages: Iterable[Message]) -> str:
    """All text parts in order, joined without a separator."""
    return "".join(part.data for message in messages for part in message.contents if part.type == "text")


def images_of(messages: Iterable[Message]) -> tuple[Image, ...]:
    """
    All image parts in order, decoded as strictly as in the host.

    Raises:
        RefusedError: `base64_data` is not plain base64 (a line break or a data-URI prefix is enough).

    """
    parts = (part for message in messages for part in message.contents if part.type == "image")
    return tuple(
        Image(
            data=_decode(part.base64_data),
            url=part.url,
            mime_type=part.mime_type,
            format=part.format,
            filename=part.filename,
        )
        for part in parts
    )


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        msg = f"the host cannot decode this image: {error}; its data begins with {text[:40]!r}"
        raise RefusedError(msg) from error


def text_part(text: str) -> JsonObject:
    return {"type": "text", "data": text}


def image_part(data: bytes, *, filename: str = "", detail: str = "high") -> JsonObject:
    """An inline input image, with the type of its first bytes (default PNG)."""
    image_format = _sniff(data)
    return {
        "type": "image",
        "format": image_format,
        "mime_type": f"image/{image_format}",
        "base64_data": base64.b64encode(data).decode(),
        "url": "",
        "detail": detail,
        "filename": filename,
    }


def image_url_part(url: str, *, filename: str = "", image_format: str = "png") -> JsonObject:
    """An input image sent by URL, as a host with `MULTIMODAL_SEND_FORMAT=url` does."""
    return {
        "type": "image",
        "format": image_format,
        "mime_type": f"image/{image_format}",
        "base64_data": "",
        "url": url,
        "detail": "high",
        "filename": filename,
    }


def image_file_part(path: Path) -> JsonObject:
    return image_part(path.read_bytes(), filename=path.name)


def user(*parts: str | JsonObject) -> JsonObject:
    """A user message of texts and image parts."""
    return _message("user", parts)


def system(*parts: str | JsonObject) -> JsonObject:
    return _message("system", parts)


def assistant(*parts: str | JsonObject) -> JsonObject:
    return _message("assistant", parts)


def _message(role: str, parts: Sequence[str | JsonObject]) -> JsonObject:
    if len(parts) == 1 and isinstance(parts[0], str):
        return {"role": role, "content": parts[0]}
    return {"role": role, "content": [text_part(part) if isinstance(part, str) else part for part in parts]}


def _sniff(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"GIF8"):
        return "gif"
    return "png"


def rebuild_messages(messages: Sequence[Mapping[str, JsonValue]]) -> list[JsonValue]:
    """
    The prompt messages as the daemon passes them on: only known keys, including empty ones.

    Raises:
        pydantic.ValidationError: the daemon would refuse the message.

    """
    return [cast("JsonObject", Message.model_validate(message).model_dump(mode="json")) for message in messages]


def request_line(session_id: str, data: JsonObject) -> bytes:
    """One request in the daemon's envelope."""
    return _line(
        {
            "session_id": session_id,
            "conversation_id": None,
            "message_id": None,
            "app_id": "sandbox-app",
            "endpoint_id": None,
            "context": {},
            "event": "request",
            "data": data,
        }
    )


def refusal_lines(session_id: str, backwards_request_id: str) -> list[bytes]:
    """The daemon's reply to any call from a model plugin into the host."""
    return [
        _line(
            {
                "session_id": session_id,
                "event": "backwards_response",
                "data": {
                    "backwards_request_id": backwards_request_id,
                    "event": event,
                    "message": message,
                    "data": None,
                },
            }
        )
        for event, message in (("error", "you can not invoke dify from model"), ("end", ""))
    ]


def _line(message: JsonObject) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def parse_line(line: bytes) -> JsonObject | None:
    """The JSON object on a stdout line; None for anything else, which the daemon logs and skips."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
