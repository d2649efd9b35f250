"""Test doubles: a clock that never waits, and generated images."""

import io
from dataclasses import dataclass, field

from PIL import Image

from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, RateLimited, ServerUnavailable

ERROR_CLASSES = (AuthorizationFailed, RateLimited, BadRequest, ServerUnavailable, ConnectionFailed)
MARKER_KEY = "sk-MARKER-7f3a9c51d2e84b06"
"""A key that must never be seen in a message, a log, a state or a result."""


@dataclass(eq=False)
class FakeClock:
    """A clock that advances only by `sleep`; the pauses are recorded."""

    time: float = 1_790_000_000.0
    pauses: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


def image_file(
    width: int = 64,
    height: int = 48,
    *,
    kind: str = "PNG",
    colour: object = (200, 30, 30),
    mode: str = "RGB",
    **save: object,
) -> bytes:
    """A small image of one colour as file bytes."""
    out = io.BytesIO()
    Image.new(mode, (width, height), colour).save(out, kind, **save)  # type: ignore[arg-type]
    return out.getvalue()


def noise(width: int, height: int, *, kind: str = "PNG", **save: object) -> bytes:
    """An image that no codec can make small."""
    out = io.BytesIO()
    Image.effect_noise((width, height), 100).convert("RGB").save(out, kind, **save)
    return out.getvalue()
