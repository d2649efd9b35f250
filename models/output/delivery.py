"""From a result to what the host gets: its images within the host's line limit, its details, its structured output.

Everything the host receives in one message is one line of JSON. The daemon kills the plugin's process, with
everybody's requests in it, on a line over 5,242,880 bytes; so a line is budgeted before it is built.
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from dify_plugin.entities.model.message import ImagePromptMessageContent, TextPromptMessageContent
from pydantic import JsonValue

from models.backends.errors import ServerUnavailable, shorten, unusable_image
from models.entities import GeneratedImage, ImageResult, Price
from models.images.sniff import BrokenImageError, sniff
from models.images.threads import in_thread
from models.output.options import OutputOptions
from models.output.usage import price_of

MAX_LINE = 5_000_000
"""Bytes of one line to the host, everything included."""

_ENVELOPE = 40_000  # the host's envelope, model names, usage, and the notices that are not known before the squeezing
_SMALLEST_SHARE = 4_000  # bytes of base64 into which any image can be brought
_LONGEST_URL = 8_000
_LONGEST_TEXT = 20_000
_MOST_NOTICES = 20
_EXACT = 2**53  # JSON numbers are float64 on the host's side

type Content = TextPromptMessageContent | ImagePromptMessageContent


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message to the host: its contents in order, and the values that the node's schema asked for."""

    contents: tuple[Content, ...]
    structured_output: dict[str, JsonValue] | None = None


def deliver_whole(
    result: ImageResult, options: OutputOptions, *, duration: float, price_per_image: Price | None = None
) -> Delivered:
    """The whole result as one message; `duration` in seconds. Raises ServerUnavailable when no image can be sent."""
    price = price_of(result, price_per_image)
    return _of_the_decodable(result, lambda left: _whole(left, options, duration, price))


def deliver_each(
    result: ImageResult, options: OutputOptions, *, duration: float, price_per_image: Price | None = None
) -> list[Delivered]:
    """One message per image, the details in the first; for callers that read a stream and know no structured output.

    A list, not a generator: an error while the host reads a generator would reach the user as raw text.
    Raises ServerUnavailable when no image can be sent.
    """
    single, price = replace(options, properties=None), price_of(result, price_per_image)
    return _of_the_decodable(result, lambda left: _each(left, single, duration, price))


class _UndecodableError(Exception):
    """The image with this number is too big for the line and cannot be decoded; `said` is why."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(said)
        self.number = number
        self.said = said


def _of_the_decodable[D](result: ImageResult, deliver: Callable[[ImageResult], D]) -> D:
    """What `deliver` makes of the result without the images that cannot be made smaller."""
    try:
        return deliver(result)
    except _UndecodableError as error:
        name = result.name_of(error.number)
        left = (*result.images[: error.number], *result.images[error.number + 1 :])
        if not left:
            raise unusable_image(name, result.model, error.said) from None
        notices = (*result.notices, f"{name} was left out: {error.said}.")
        return _of_the_decodable(replace(result, images=left, notices=notices), deliver)


def _whole(result: ImageResult, options: OutputOptions, duration: float, price: Price | None) -> Delivered:
    answer = _Answer(result, options, duration, price)
    line = _Line(result, options, MAX_LINE - answer.overhead(result.images), answer.copies)
    pictures = line.fitted(range(len(result.images)))
    return answer.with_notices(line.notices).message(pictures)


def _each(result: ImageResult, options: OutputOptions, duration: float, price: Price | None) -> list[Delivered]:
    answer = _Answer(result, options, duration, price)
    line = _Line(result, options, MAX_LINE - answer.overhead(result.images), answer.copies)
    pictures = [picture for number in range(len(result.images)) for picture in line.fitted([number])]
    answer = answer.with_notices(line.notices)
    first = Delivered((*answer.text(pictures), _content(pictures[0])))
    return [first, *(Delivered((_content(picture),)) for picture in pictures[1:])]


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image as it goes out."""

    source: GeneratedImage
    base64: str
    mime_type: str
    width: int
    height: int

    @property
    def public_url(self) -> str | None:
        return public_url(self.source)

    @property
    def image_url(self) -> str:
        return self.public_url or f"data:{self.mime_type};base64,{self.base64}"

    @property
    def facts(self) -> dict[str, JsonValue]:
        facts: dict[str, JsonValue] = {"width": self.width, "height": self.height}
        return facts if self.source.seed is None else {"seed": seed_value(self.source.seed), **facts}


@dataclass(frozen=True, slots=True)
class _Answer:
    """Everything about a result that is not the images' bytes."""

    result: ImageResult
    options: OutputOptions
    duration: float
    price: Price | None
    extra_notices: tuple[str, ...] = ()

    def with_notices(self, notices: Iterable[str]) -> "_Answer":
        return replace(self, extra_notices=tuple(notices))

    @property
    def notices(self) -> list[JsonValue]:
        every = tuple(
            dict.fromkeys(shorten(notice[:_LONGEST_TEXT]) for notice in (*self.result.notices, *self.extra_notices))
        )
        if len(every) <= _MOST_NOTICES:
            return list(every)
        return [*every[:_MOST_NOTICES], f"… and {len(every) - _MOST_NOTICES} more notices"]

    def message(self, pictures: Sequence[_Picture]) -> Delivered:
        contents = (*self.text(pictures), *(_content(picture) for picture in pictures))
        return Delivered(contents, self.structured(pictures))

    def text(self, pictures: Sequence[_Picture]) -> tuple[Content, ...]:
        """The line of details. It ends with a newline: the host puts the image's Markdown right behind it."""
        if not self.options.details:
            return ()
        line = json.dumps(self._details(pictures), ensure_ascii=False)
        return (TextPromptMessageContent(data=f"{line}\n"),)

    def _details(self, pictures: Sequence[_Picture]) -> dict[str, JsonValue]:
        first = pictures[0]
        details: dict[str, JsonValue] = {
            "model": self.result.model,
            "backend": self.result.backend,
            **first.facts,
            "duration_seconds": round(self.duration, 2),
            "notices": self.notices,
        }
        if first.public_url:
            details["image_url"] = first.public_url
        if len(pictures) > 1:
            details["images"] = [
                {**picture.facts, **({"image_url": picture.public_url} if picture.public_url else {})}
                for picture in pictures
            ]
        return details

    def structured(self, pictures: Sequence[_Picture]) -> dict[str, JsonValue] | None:
        """The asked properties of which something is known; the host checks them against the node's own schema."""
        asked = self.options.properties
        if asked is None:
            return None
        known = self._properties(pictures, with_images="images" in asked)
        texts = self.options.texts
        return {name: _as_text(known[name]) if name in texts else known[name] for name in asked if name in known}

    def _properties(self, pictures: Sequence[_Picture], *, with_images: bool) -> dict[str, JsonValue]:
        first, result = pictures[0], self.result
        known: dict[str, JsonValue] = {
            **first.facts,
            "image_url": first.image_url,
            "mime_type": first.mime_type,
            "model": result.model,
            "backend": result.backend,
            "prompt": _cut(result.prompt),
            "notices": self.notices,
            "duration_seconds": round(self.duration, 2),
        }
        if with_images:
            known["images"] = [
                {"image_url": picture.image_url, "mime_type": picture.mime_type, **picture.facts}
                for picture in pictures
            ]
        if first.source.revised_prompt is not None:
            known["revised_prompt"] = _cut(first.source.revised_prompt)
        if self.price is not None:
            known |= {"cost": float(self.price.amount), "currency": self.price.currency}
        return known

    def overhead(self, images: Sequence[GeneratedImage]) -> int:
        """Bytes of the line without the images' base64, rounded up."""
        blank = [_Picture(image, "", "image/jpeg", 99999, 99999) for image in images]
        message = self.message(blank)
        contents = sum(len(content.model_dump_json().encode()) + 1 for content in message.contents)
        return _ENVELOPE + contents + _json_length(message.structured_output)

    def copies(self, number: int) -> int:
        """How often the base64 of an image stands in the line: as content, and as data URI where one was asked for."""
        asked = self.options.properties or ()
        if public_url(self.result.images[number]):
            return 1
        return 1 + ("images" in asked) + (number == 0 and "image_url" in asked)


@dataclass(slots=True)
class _Line:
    """The images of a result on their way into a line of the host that has `room` bytes for them.

    `copies` tells how often the base64 of an image stands in the line. `notices` are about what had to be changed.
    """

    result: ImageResult
    options: OutputOptions
    room: int
    copies: Callable[[int], int]
    changes: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def fitted(self, numbers: Sequence[int]) -> list[_Picture]:
        """The images with these numbers as they go into one line together.

        Small ones come first and keep their bytes; what they leave of their equal share goes to the bigger ones.
        """
        room = self.room
        done: dict[int, _Picture] = {}
        by_size = sorted(numbers, key=lambda number: len(self.result.images[number].data) * self.copies(number))
        for place, number in enumerate(by_size):
            copies = self.copies(number)
            share = room // (len(by_size) - place) // copies
            if share < _SMALLEST_SHARE:
                raise _too_many(self.result)
            done[number] = self._picture(number, max_bytes=share // 4 * 3)
            room -= len(done[number].base64) * copies
        return [done[number] for number in numbers]

    @property
    def notices(self) -> list[str]:
        return [
            f"{self.result.name_of(number)} {change}"
            for number in sorted(self.changes)
            for change in self.changes[number]
        ]

    def _picture(self, number: int, *, max_bytes: int) -> _Picture:
        source = self.result.images[number]
        data = source.data if len(source.data) <= max_bytes else self._smaller(number, max_bytes)
        header = sniff(data)
        return _Picture(source, base64.b64encode(data).decode(), header.mime_type, header.width, header.height)

    def _smaller(self, number: int, max_bytes: int) -> bytes:
        from models.images.compression import fit_file  # noqa: PLC0415 -- most images fit and need no Pillow

        data, options = self.result.images[number].data, self.options
        try:
            smaller, changes = in_thread(fit_file, data, max_bytes, options.output_format, options.output_quality)
        except BrokenImageError as error:
            raise _UndecodableError(number, str(error)) from None
        *lost, how = changes
        self.changes[number] = (
            *lost,
            f"{how}, because one answer to Dify holds at most 5 MB ({len(data) / 1e6:.1f} MB were too much)",
        )
        return smaller


def _content(picture: _Picture) -> ImagePromptMessageContent:
    return ImagePromptMessageContent(
        format=picture.mime_type.removeprefix("image/"), base64_data=picture.base64, mime_type=picture.mime_type
    )


def public_url(image: GeneratedImage) -> str | None:
    """The service's own URL of an image, if it is one that can be handed on."""
    url = image.url or ""
    return url if url.startswith(("https://", "http://")) and len(url) <= _LONGEST_URL else None


def seed_value(seed: int) -> int | str:
    """A seed as JSON: text where a number would lose digits on the way."""
    return seed if abs(seed) <= _EXACT else str(seed)


def _as_text(value: JsonValue) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _json_length(value: JsonValue) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _too_many(result: ImageResult) -> ServerUnavailable:
    return ServerUnavailable(
        f"{result.model} sent {len(result.images)} images",
        f"one answer to Dify holds at most {MAX_LINE // 1_000_000} MB",
        "Ask for fewer images (`n`)",
    )
