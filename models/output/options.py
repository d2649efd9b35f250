"""What the caller wants of the answer's form: format, details, and the schema of structured output."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from models.entities import ImageRequest
from models.output.structured import OutputSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What the caller wants of the answer's form, whichever backend made it. `schema` is None without structured output."""

    output_format: str | None = None
    output_quality: int | None = None
    details: bool = False
    schema: OutputSchema | None = None

    @classmethod
    def of(cls, request: ImageRequest, schema: OutputSchema | None = None) -> "OutputOptions":
        return cls(
            output_format=request.output_format,
            output_quality=request.output_quality,
            details=request.details,
            schema=schema,
        )

    def to_state(self) -> dict[str, JsonValue]:
        """The options as plain JSON, for another process to go on with."""
        return {
            "output_format": self.output_format,
            "output_quality": self.output_quality,
            "details": self.details,
            "schema": self.schema.to_state() if self.schema else None,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, JsonValue]) -> "OutputOptions":
        """The inverse of `to_state`, also after the host's float64 round trip."""
        asked, quality, schema = (state.get(name) for name in ("output_format", "output_quality", "schema"))
        return cls(
            output_format=asked if isinstance(asked, str) else None,
            output_quality=int(quality) if isinstance(quality, int | float) else None,
            details=state.get("details") is True,
            schema=OutputSchema.read(schema),
        )
