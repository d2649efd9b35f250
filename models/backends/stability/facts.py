"""What the cards say about Stability's models, and the facts of the whole API.

Source: Stability REST API, v2beta stable-image/generate and v1 generation.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

BASE_URL = "https://api.stability.ai"
LOW_BALANCE = 3  # credits: one image of stable-image-core
MAX_REQUEST_BYTES = 10 * 1024 * 1024
REQUEST_OVERHEAD_BYTES = 256 * 1024  # room for the prompts and the multipart framing beside the image

# Not settled by the vendor's documentation; everything that rests on it reads these names.
READ_TIMEOUT = 120.0  # no latency is published
LOCKOUT = 60.0  # seconds of silence after too many requests; the header Retry-After is not documented
# Failed calls are not charged, says the vendor, and these statuses say that the call failed. A 504 only says that a
# gateway stopped waiting: the image may still be made and charged, so it stands with the read timeouts.
FAILED_UNCHARGED = frozenset({500, 502, 503})
BACK_OFF = (2.0, 8.0)  # seconds
DEFAULT_STRENGTH = 0.6  # the service demands a strength beside an input image and names no default

ASPECT_RATIOS = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
SDXL_SIZES = (
    (1024, 1024),
    (1152, 896),
    (896, 1152),
    (1216, 832),
    (832, 1216),
    (1344, 768),
    (768, 1344),
    (1536, 640),
    (640, 1536),
)


class V2Beta(BaseModel):
    """A model of v2beta: multipart, one image per call, shapes instead of sizes.

    `image_to_image` is how the endpoint takes an input image: `strength` beside it, or `mode` as well, or not at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    api: Literal["v2beta"]
    path: str
    model: str | None = None
    image_to_image: Literal["no", "strength", "mode"]
    max_seed: int = 4_294_967_294


class V1(BaseModel):
    """An engine of v1: JSON, exact sizes out of a closed list, several images per call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api: Literal["v1"]
    engine: str
    steps_in_price: int
    max_seed: int = 4_294_967_295


type Facts = V2Beta | V1

_FACTS: TypeAdapter[Facts] = TypeAdapter(Annotated[V2Beta | V1, Field(discriminator="api")])


def read_facts(block: Mapping[str, object]) -> Facts:
    """The `image_generation` block of a card. Raises pydantic's ValidationError for a card with a mistake."""
    return _FACTS.validate_python(dict(block))
