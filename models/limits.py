"""The owner's limits: the grammar of the form's field `limits`, `name value` pairs separated by commas or newlines."""

from dataclasses import dataclass

from models.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The rules for input images and instructions. 0 means: no limit. `input_mb` counts 1,000,000 bytes."""

    formats: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp")
    input_mb: float = 10.0
    instruction: int = 2000
    audit: str = "hash"

    @classmethod
    def read(cls, settings: Settings) -> "Limits":
        """Raises BadRequest for what cannot be read, naming the place."""
        del settings
        return cls()
