"""What the caller wants of the answer's form: format, details, and the properties of structured output."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from models.backends.errors import BadRequest
from models.entities import ImageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What the caller wants of the answer's form, whichever backend made it.

    `properties` are the names that the node's structured output asks for; None without structured output. `texts` are
    those of them that the node's schema wants as text, which is what Dify's editor makes of a new property.
    """

    output_format: str | None = None
    output_quality: int | None = None
    details: bool = False
    properties: tuple[str, ...] | None = None
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: ImageRequest, json_schema: Mapping[str, object] | None = None) -> "OutputOptions":
        """Raises BadRequest for a schema that no image can fulfil: better before the image is paid for than after."""
        _check_required(json_schema or {})
        return cls(
            output_format=request.output_format,
            output_quality=request.output_quality,
            details=request.details,
            properties=_property_names(json_schema),
            texts=_text_names(json_schema or {}),
        )

    def to_state(self) -> dict[str, JsonValue]:
        """The options as plain JSON, for another process to go on with."""
        return {
            "output_format": self.output_format,
            "output_quality": self.output_quality,
            "details": self.details,
            "properties": None if self.properties is None else list(self.properties),
            "texts": list(self.texts),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, JsonValue]) -> "OutputOptions":
        """The inverse of `to_state`, also after the host's float64 round trip."""
        quality, names, texts = (state.get(name) for name in ("output_quality", "properties", "texts"))
        asked = state.get("output_format")
        return cls(
            output_format=asked if isinstance(asked, str) else None,
            output_quality=int(quality) if isinstance(quality, int | float) else None,
            details=state.get("details") is True,
            properties=tuple(str(name) for name in names) if isinstance(names, list) else None,
            texts=tuple(str(name) for name in texts) if isinstance(texts, list) else (),
        )


PROPERTIES = (
    "image_url",
    "images",
    "seed",
    "width",
    "height",
    "mime_type",
    "model",
    "backend",
    "prompt",
    "revised_prompt",
    "notices",
    "cost",
    "currency",
    "duration_seconds",
)
"""What a node's structured output may ask for."""


def _check_required(json_schema: Mapping[str, object]) -> None:
    required = json_schema.get("required")
    unknown = [str(name) for name in required if name not in PROPERTIES] if isinstance(required, list) else []
    if unknown:
        raise BadRequest(
            f"The node's structured output requires {', '.join(unknown)[:200]}, which no image has",
            next_step=f"Name only properties of {', '.join(PROPERTIES)}",
        )


def _text_names(json_schema: Mapping[str, object]) -> tuple[str, ...]:
    properties = json_schema.get("properties")
    listed = properties.items() if isinstance(properties, Mapping) else ()
    return tuple(str(name) for name, rule in listed if isinstance(rule, Mapping) and rule.get("type") == "string")


def _property_names(json_schema: Mapping[str, object] | None) -> tuple[str, ...] | None:
    if json_schema is None:
        return None
    properties = json_schema.get("properties")
    return tuple(str(name) for name in properties) if isinstance(properties, Mapping) else ()
