"""What is said about a result beside its images: the notices, the line of details, the values of structured output."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from models.backends.errors import shorten
from models.entities import GeneratedImage, ImageResult
from models.output.structured import OutputOptions

_LONGEST_URL = 8_000
_LONGEST_TEXT = 20_000
_MOST_NOTICES = 20
_EXACT = 2**53  # JSON numbers are float64 on the host's side


@dataclass(frozen=True, slots=True)
class OutgoingImage:
    """An image as it goes out."""

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
    def image_url(self) -> str:
        return self.public_url or f"data:{self.mime_type};base64,{self.base64}"

    @property
    def facts(self) -> dict[str, JsonValue]:
        facts: dict[str, JsonValue] = {"width": self.width, "height": self.height}
        return facts if self.source.seed is None else {"seed": seed_value(self.source.seed), **facts}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about a result that is not the images' bytes. `duration` is seconds."""

    result: ImageResult
    options: OutputOptions
    duration: float
    extra_notices: tuple[str, ...] = ()

    def with_notices_of(self, images: Iterable[OutgoingImage]) -> "Report":
        return replace(self, extra_notices=tuple(notice for image in images for notice in image.notices))

    @property
    def notices(self) -> list[JsonValue]:
        every = tuple(
            dict.fromkeys(shorten(notice[:_LONGEST_TEXT]) for notice in (*self.result.notices, *self.extra_notices))
        )
        if len(every) <= _MOST_NOTICES:
            return list(every)
        return [*every[:_MOST_NOTICES], f"… and {len(every) - _MOST_NOTICES} more notices"]

    def details(self, images: Sequence[OutgoingImage]) -> str:
        """The line of details; empty where nobody asked. It ends with a newline: the image's Markdown follows it."""
        return f"{written(self._details(images))}\n" if self.options.details else ""

    def structured(self, images: Sequence[OutgoingImage]) -> dict[str, JsonValue] | None:
        """The properties that the node's schema names, in its types; None without structured output."""
        return self.options.schema.fill(self._properties(images)) if self.options.schema else None

    def copies(self, number: int) -> int:
        """How often the structured output holds the image with this number, as a data URI."""
        asked: Iterable[str] = self.options.schema.properties if self.options.schema else ()
        return (
            0
            if public_url(self.result.images[number])
            else ("images" in asked) + (number == 0 and "image_url" in asked)
        )

    def _details(self, images: Sequence[OutgoingImage]) -> dict[str, JsonValue]:
        first = images[0]
        details: dict[str, JsonValue] = {
            "model": self.result.model,
            "backend": self.result.backend,
            **first.facts,
            "duration_seconds": round(self.duration, 2),
            "notices": self.notices,
        }
        if first.public_url:
            details["image_url"] = first.public_url
        if len(images) > 1:
            details["images"] = [
                {**image.facts, **({"image_url": image.public_url} if image.public_url else {})} for image in images
            ]
        return details

    def _properties(self, images: Sequence[OutgoingImage]) -> Mapping[str, JsonValue]:
        first, result = images[0], self.result
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
        if self.options.schema and "images" in self.options.schema.properties:  # they are megabytes
            known["images"] = [
                {"image_url": image.image_url, "mime_type": image.mime_type, **image.facts} for image in images
            ]
        if first.source.revised_prompt is not None:
            known["revised_prompt"] = _cut(first.source.revised_prompt)
        if result.price is not None:
            known |= {"cost": float(result.price.amount), "currency": result.price.currency}
        return known


def public_url(image: GeneratedImage) -> str | None:
    """The service's own URL of an image, if it is one that can be handed on."""
    url = image.url or ""
    return url if url.startswith(("https://", "http://")) and len(url) <= _LONGEST_URL else None


def seed_value(seed: int) -> int | str:
    """A seed as JSON: text where a number would lose digits on the way."""
    return seed if abs(seed) <= _EXACT else str(seed)


def written(value: Mapping[str, JsonValue]) -> str:
    """A JSON object as one line of text."""
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
