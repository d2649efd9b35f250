"""From a result to what the host gets: its images within the host's line limit, its details, its structured output, its usage.

Everything the host receives in one message is one line of JSON. The daemon kills the plugin's process, with
everybody's requests in it, on a line over 5,242,880 bytes; so a line is budgeted before it is built.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from dify_plugin.entities.model.llm import LLMUsage
from dify_plugin.entities.model.message import (
    DocumentPromptMessageContent,
    ImagePromptMessageContent,
    TextPromptMessageContent,
    VideoPromptMessageContent,
)
from pydantic import JsonValue

from models.backends.errors import ServerUnavailable, shorten, unusable_image
from models.entities import POSTER, GeneratedImage, ImageResult, Price
from models.images import in_thread
from models.images.sniff import BrokenImageError, sniff
from models.output.documents import documents_of
from models.output.structured import OutputOptions
from models.output.videos import TO_STORE, host_url, link_to, public_url, too_large, video_content

MAX_LINE = 5_000_000
"""Bytes of one line to the host, everything included."""

_ENVELOPE = 40_000  # the host's envelope, model names, usage, and the notices that are not known before the squeezing
_SMALLEST_SHARE = 4_000  # bytes of base64 into which any image can be brought

THUMBNAIL = "thumb"
"""The suffix of the side file that is a thumbnail."""
_SIDE_NAMES = {THUMBNAIL: "thumbnail_url", POSTER: "poster_url", "zip": "archive_url", "html": "gallery_url"}
_LONGEST_TEXT = 20_000
_MOST_NOTICES = 20
_EXACT = 2**53  # JSON numbers are float64 on the host's side
_NOTHING = Decimal(0)

type Say = Callable[[str], str]
type Content = (
    TextPromptMessageContent | ImagePromptMessageContent | VideoPromptMessageContent | DocumentPromptMessageContent
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message to the host: its contents in order, and the values that the node's schema asked for."""

    contents: tuple[Content, ...]
    structured_output: dict[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class OutgoingImage:
    source: GeneratedImage
    base64: str
    mime_type: str
    width: int
    height: int
    notices: tuple[str, ...] = ()

    @property
    def public_url(self) -> str | None:
        return public_url(self.source)

    @property
    def where_kept(self) -> dict[str, JsonValue]:
        """The object's key in the owner's storage, and the addresses of the image's side files."""
        kept = self.source.kept
        if kept is None:
            return {}
        sides = {suffix: url for suffix, url in kept.side_urls.items() if url}
        named = {name: sides.pop(suffix) for suffix, name in _SIDE_NAMES.items() if suffix in sides}
        return {"storage_key": kept.key, **named, **({"variants": dict(sides)} if sides else {})}

    @property
    def image_url(self) -> str:
        return self.public_url or f"data:{self.mime_type};base64,{self.base64}"

    @property
    def facts(self) -> dict[str, JsonValue]:
        facts: dict[str, JsonValue] = {"width": self.width, "height": self.height}
        seed = self.source.seed
        # As text where a JSON number would lose digits on the way.
        return facts if seed is None else {"seed": seed if abs(seed) <= _EXACT else str(seed), **facts}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about a result that is not the images' bytes. `duration` is seconds; `say` gives a notice in the user's language."""

    result: ImageResult
    options: OutputOptions
    duration: float
    say: Say = str
    extra_notices: tuple[str, ...] = ()

    def with_notices_of(self, images: Iterable[OutgoingImage]) -> "Report":
        return replace(self, extra_notices=tuple(notice for image in images for notice in image.notices))

    @property
    def notices(self) -> list[JsonValue]:
        every = (*self.result.notices, *self.extra_notices)
        every = tuple(dict.fromkeys(shorten(notice[:_LONGEST_TEXT]) for notice in every))
        if len(every) > _MOST_NOTICES:
            every = (*every[:_MOST_NOTICES], f"… and {len(every) - _MOST_NOTICES} more notices")
        return [*map(self.say, every)]

    def details(self, images: Sequence[OutgoingImage]) -> str:
        """The line of details; empty where nobody asked. It ends with a newline: the image's Markdown follows it."""
        return f"{json_text(self._details(images))}\n" if self.options.details else ""

    def structured(self, images: Sequence[OutgoingImage]) -> dict[str, JsonValue] | None:
        """The properties that the node's schema names, in its types; None without structured output."""
        return self.options.schema.fill(self._properties(images)) if self.options.schema else None

    def copies(self, number: int) -> int:
        """How often the structured output holds the image with this number, as a data URI."""
        asked: Iterable[str] = self.options.schema.properties if self.options.schema else ()
        if public_url(self.result.images[number]):
            return 0
        return ("images" in asked) + (number == 0 and "image_url" in asked)

    def _details(self, images: Sequence[OutgoingImage]) -> dict[str, JsonValue]:
        first = images[0]
        details: dict[str, JsonValue] = {
            "model": self.result.model,
            "backend": self.result.backend,
            **first.facts,
            "duration_seconds": round(self.duration, 2),
            "cached": self.result.cached,
            "answered_by": self.result.answered_by or self.result.model,
            "notices": self.notices,
            **_addresses(first),
        }
        if len(images) > 1:
            details["images"] = [{**image.facts, **_addresses(image)} for image in images]
        return details

    def _properties(self, images: Sequence[OutgoingImage]) -> Mapping[str, JsonValue]:
        first, result = images[0], self.result
        known: dict[str, JsonValue] = {
            **first.facts,
            "image_url": first.image_url,
            "mime_type": first.mime_type,
            "model": result.model,
            "backend": result.backend,
            "answered_by": result.answered_by or result.model,
            "cached": result.cached,
            **first.where_kept,
            "prompt": _cut(result.prompt),
            "notices": self.notices,
            "duration_seconds": round(self.duration, 2),
        }
        if self.options.schema and "images" in self.options.schema.properties:  # they are megabytes
            known["images"] = [
                {"image_url": image.image_url, "mime_type": image.mime_type, **image.facts, **image.where_kept}
                for image in images
            ]
        if first.source.revised_prompt is not None:
            known["revised_prompt"] = _cut(first.source.revised_prompt)
        if result.price is not None:
            known |= {"cost": float(result.price.amount), "currency": result.price.currency}
        return known


def _addresses(image: OutgoingImage) -> dict[str, JsonValue]:
    return {**({"image_url": image.public_url} if image.public_url else {}), **image.where_kept}


def json_text(value: Mapping[str, JsonValue]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def deliver_whole(result: ImageResult, options: OutputOptions, *, duration: float, say: Say = str) -> Delivered:
    """The whole result as one message; `duration` in seconds. Raises ServerUnavailable when no image can be sent."""
    return _of_the_decodable(Report(result.shown, options, duration, say), _whole)


def deliver_each(result: ImageResult, options: OutputOptions, *, duration: float, say: Say = str) -> list[Delivered]:
    """One message per image, the details in the first; with structured output the first is its JSON and nothing else.

    Raises ServerUnavailable when no image can be sent.
    """
    return _of_the_decodable(Report(result.shown, options, duration, say), _each)


def usage_of(result: ImageResult, duration: float) -> LLMUsage:
    """The host's usage record of a result that took `duration` seconds. An unknown price counts as zero.

    "Completion tokens" are images, the unit price is the price of one image.
    """
    count = len(result.images)
    total = result.price or Price(_NOTHING, "USD")
    return LLMUsage(
        prompt_tokens=0,
        prompt_unit_price=_NOTHING,
        prompt_price_unit=_NOTHING,
        prompt_price=_NOTHING,
        completion_tokens=count,
        completion_unit_price=total.amount / count if count else _NOTHING,
        completion_price_unit=Decimal(1),
        completion_price=total.amount,
        total_tokens=count,
        total_price=total.amount,
        currency=total.currency,
        latency=duration,
    )


class _UndecodableError(Exception):
    """The image with this number is too big for the line and cannot be decoded; `said` is why."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(said)
        self.number = number
        self.said = said


def _of_the_decodable[D](report: Report, deliver: Callable[[Report], D]) -> D:
    """What `deliver` makes of the result without the images that cannot be made smaller."""
    result = report.result
    try:
        return deliver(report)
    except _UndecodableError as error:
        name = result.name_of(error.number)
        left = (*result.images[: error.number], *result.images[error.number + 1 :])
        if not left:
            raise unusable_image(name, result.model, error.said) from None
        notices = (*result.notices, f"{name} was left out: {error.said}.")
        return _of_the_decodable(replace(report, result=replace(result, images=left, notices=notices)), deliver)


def _whole(report: Report) -> Delivered:
    everything = range(len(report.result.images))
    images = _fitted(report, _overhead(report), lambda number: 1 + report.copies(number), everything)
    used = _overhead(report) + sum(len(image.base64) * (1 + report.copies(n)) for n, image in enumerate(images))
    report = report.with_notices_of(images)
    shown = (content for number in everything for content in _contents(report, images, number))
    contents = (*_text(report.details(images)), *shown, *_documents(report, MAX_LINE - used))
    return Delivered(contents, report.structured(images))


def _each(report: Report) -> list[Delivered]:
    images = _fitted_apart(report, _overhead(report))
    report = report.with_notices_of(images)
    structured = report.structured(images)
    documents = [Delivered((document,)) for document in _documents(report, MAX_LINE - _ENVELOPE)]
    each = [_contents(report, images, number) for number in range(len(images))]
    if structured is not None:
        first = Delivered(_text(f"{json_text(structured)}\n\n"))
        return [first, *(Delivered(contents) for contents in each if contents), *documents]
    first = Delivered((*_text(report.details(images)), *each[0]))
    return [first, *map(Delivered, each[1:]), *documents]


def _documents(report: Report, room: int) -> Iterator[Content]:
    for image in report.result.images:
        yield from documents_of(image, room, told=report.options.schema is None)


def _fitted_apart(report: Report, overhead: int) -> list[OutgoingImage]:
    """The images for a line each; those of which the structured output holds data URIs fit into its line as well."""
    everything = range(len(report.result.images))
    inside = [number for number in everything if report.copies(number)]
    done = dict(zip(inside, _fitted(report, overhead, report.copies, inside), strict=True))
    for number in everything:
        if number not in done:
            done[number] = _fitted(report, overhead, lambda _: 1, [number])[0]
    return [done[number] for number in everything]


def _text(text: str) -> tuple[Content, ...]:
    return (TextPromptMessageContent(data=text),) if text else ()


def _overhead(report: Report) -> int:
    """Bytes of the line without the images' base64, rounded up."""
    blank = [OutgoingImage(image, "", "image/jpeg", 99999, 99999) for image in report.result.images]
    contents = (*_text(report.details(blank)), *(one for n in range(len(blank)) for one in _contents(report, blank, n)))
    written_down = sum(len(content.model_dump_json().encode()) + 1 for content in contents)
    # In a stream the structured output is text inside JSON, where quotes are escaped.
    return (
        _ENVELOPE
        + written_down
        + len(json.dumps(json_text(report.structured(blank) or {}), ensure_ascii=False).encode())
    )


def _fitted(report: Report, overhead: int, copies: Callable[[int], int], wanted: Sequence[int]) -> list[OutgoingImage]:
    """The images of one line, those with the numbers `wanted`, ready to send.

    Small ones come first and keep their bytes; what they leave of their equal share goes to the bigger ones.
    """
    result, room = report.result, MAX_LINE - overhead
    done: dict[int, OutgoingImage] = {}
    by_size = sorted(wanted, key=lambda number: len(result.images[number].data) * copies(number))
    for place, number in enumerate(by_size):
        share = room // (len(by_size) - place) // copies(number)
        if share < _SMALLEST_SHARE:
            raise ServerUnavailable(
                f"{result.model} sent {len(result.images)} images",
                f"one answer to Dify holds at most {MAX_LINE // 1_000_000} MB",
                "Ask for fewer images (`n`)",
            )
        image = _outgoing(report, number, max_bytes=share // 4 * 3)
        room -= len(image.base64) * copies(number)
        done[number] = image
    return [done[number] for number in wanted]


def _outgoing(report: Report, number: int, *, max_bytes: int) -> OutgoingImage:
    source = report.result.images[number]
    if host_url(source):
        return OutgoingImage(source, "", source.mime_type, *source.size)
    if source.is_video and len(source.data) > max_bytes:
        return _linked(report, number)
    data, changes = source.data, tuple[str, ...]()
    if len(data) > max_bytes:
        data, changes = _smaller(report, number, max_bytes)
    header = source.header if data is source.data else sniff(data)
    encoded = base64.b64encode(data).decode()
    return OutgoingImage(source, encoded, header.mime_type, header.width, header.height, changes)


def _linked(report: Report, number: int) -> OutgoingImage:
    """A video that has no room in the line, by its address as text. Raises ServerUnavailable where none can be told."""
    source, name, schema = report.result.images[number], report.result.name_of(number), report.options.schema
    if not public_url(source) or (schema and schema.properties.keys().isdisjoint({"image_url", "images"})):
        raise too_large(name, report.result.model, source, public_url(source))
    notice = f"{name} is given as a link, because Dify cannot store it from there: {TO_STORE}."
    return OutgoingImage(source, "", source.mime_type, *source.size, (notice,))


def _smaller(report: Report, number: int, max_bytes: int) -> tuple[bytes, tuple[str, ...]]:
    """The image in `max_bytes` bytes, and notices about what was done to it."""
    from models.images.codec import fit_file  # noqa: PLC0415 -- most images fit and need no Pillow

    data, options = report.result.images[number].data, report.options
    try:
        smaller, changes = in_thread(fit_file, data, max_bytes, options.output_format, options.output_quality)
    except BrokenImageError as error:
        raise _UndecodableError(number, str(error)) from None
    *lost, how = changes
    limit = f"because one answer to Dify holds at most 5 MB ({len(data) / 1e6:.1f} MB were too much)"
    return smaller, tuple(f"{report.result.name_of(number)} {change}" for change in (*lost, f"{how}, {limit}"))


def _contents(report: Report, images: Sequence[OutgoingImage], number: int) -> tuple[Content, ...]:
    """One image or video of a message. Between videos text begins a new line: the host writes links without one."""
    image, told = images[number], report.options.schema is None
    apart = told and number and any(one.source.is_video for one in images)
    return (*_text("\n" if apart else ""), *_content(image, told=bool(told)))


def _content(image: OutgoingImage, *, told: bool) -> tuple[Content, ...]:
    url, mime_type = host_url(image.source), image.mime_type
    if image.source.is_video:
        if url or image.base64:
            return (video_content(image.source.mime_type, url, image.base64),)
        return _text(link_to(image.source, image.public_url or "")) if told else ()
    kind = mime_type.removeprefix("image/")
    if url:
        return (ImagePromptMessageContent(format=kind, url=url, mime_type=mime_type),)
    return (ImagePromptMessageContent(format=kind, base64_data=image.base64, mime_type=mime_type),)
