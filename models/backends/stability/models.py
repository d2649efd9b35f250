"""What Stability's models take: the `image_generation` blocks of the cards, and the constants of the API.

Source: Stability REST API, v2beta stable-image/generate and v1 generation.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from models.backends.http import Retries
from models.entities import StrictModel
from models.images.inputs import InputLimits
from models.sizes import ListedSizes, NoSizes, RatioSizes, SeedRule, Size, SizeRule

BASE_URL = "https://api.stability.ai"
LOW_BALANCE = 3  # credits: one image of stable-image-core
MAX_REQUEST_BYTES = 10 * 1024 * 1024
REQUEST_OVERHEAD_BYTES = 256 * 1024  # room for the prompts and the multipart framing beside the image
AT_ONCE = 4  # calls of one request; the service allows 150 in ten seconds for all of an account

# Assumptions: the vendor does not document these.
READ_TIMEOUT = 120.0  # no latency is published
RETRIES = Retries(delays=(2.0, 8.0))
DEFAULT_STRENGTH = 0.6  # the service demands a strength beside an input image and names no default

INPUT_LIMITS = InputLimits(
    formats=("png", "jpeg", "webp"),
    max_bytes=MAX_REQUEST_BYTES - REQUEST_OVERHEAD_BYTES,
    min_side=64,
    max_side=16_384,
    keep_alpha=True,
)
KEEPS_SHAPE = NoSizes(reason="beside an input image the model keeps that image's shape")


class V2BetaModel(StrictModel):
    """A model of v2beta: multipart, one image per call, ratios instead of sizes.

    `image_to_image` is how the endpoint takes an input image: `strength` beside it, or `mode` as well, or not at all.
    `area` is the approximate number of pixels of its images.
    """

    api: Literal["v2beta"]
    path: str
    model: str | None = None
    image_to_image: Literal["no", "strength", "mode"]
    area: int = 1024 * 1024

    ratios: ClassVar[RatioSizes] = RatioSizes(
        ratios=("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
    )
    seeds: ClassVar[SeedRule] = SeedRule(highest=4_294_967_294, zero_is_random=True)

    @property
    def images(self) -> int:
        return 0 if self.image_to_image == "no" else 1

    def sizes_beside(self, image: Size | None) -> SizeRule:
        """The sizes with an input image of that size; by default the endpoint `strength` keeps its shape."""
        if image and self.image_to_image == "mode":
            return KEEPS_SHAPE
        return self.ratios.model_copy(update={"area": self.area, "default": image})


class V1Model(StrictModel):
    """An engine of v1: JSON, exact sizes out of a closed list, several images per call.

    The price of the card holds up to `steps_in_price` steps and grows in proportion beyond them.
    """

    api: Literal["v1"]
    engine: str
    steps_in_price: int
    sizes: ListedSizes

    seeds: ClassVar[SeedRule] = SeedRule(highest=4_294_967_295, zero_is_random=True)
    images: ClassVar[int] = 1

    def sizes_beside(self, image: Size | None) -> SizeRule:
        """Without a wish the size that an input image needs the least cutting for."""
        return self.sizes.model_copy(update={"default": self.sizes.nearest(image)}) if image else self.sizes


type StabilityModel = V2BetaModel | V1Model

_MODEL: TypeAdapter[StabilityModel] = TypeAdapter(Annotated[V2BetaModel | V1Model, Field(discriminator="api")])


def read_model(block: Mapping[str, object]) -> StabilityModel:
    """The `image_generation` block of a card. Raises ValidationError."""
    return _MODEL.validate_python(dict(block))
