"""What the models take: the block `image_generation` of their cards, and the lookup from any id."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Literal

from pydantic import Field

from models.catalog import cards
from models.entities import GeneratedImage, Price, StrictModel
from models.images.inputs import InputLimits
from models.sizes import NoSizes, SeedRule, Size, SizeRule, shaped

BACKEND = "qwen_image"
SEEDS = SeedRule(highest=2**31 - 1)
LARGEST_1K = 2_250_000  # pixels; a larger image is billed as 2K
MAX_BYTES = (10_485_760 - 64) * 3 // 4  # of an input image; as a data URL its head and padding take at most 64
_FAMILIES: Mapping[str, str] = {
    "wanx": "wan2.5-t2i-preview",
    "wan2.2": "wan2.5-t2i-preview",
    "wan": "wan2.7-image",
    "z-image": "z-image-turbo",
}
"""What the names of unknown models begin with, and the known model with the same requests."""
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")

type JobApi = Literal["text2image", "image-generation", "image2image", "images2image"]


class Prices(StrictModel):
    """In CNY. `image_2k` applies to images larger than LARGEST_1K, `image_extended` to those of a prompt that the service
    rewrote, `input_image` to every image sent along."""

    image: Decimal
    image_2k: Decimal | None = None
    image_extended: Decimal | None = None
    input_image: Decimal = Decimal(0)

    def of(self, images: Iterable[GeneratedImage], input_images: int, *, extended: bool) -> Price:
        made = sum((self._of_one(*image.size, extended=extended) for image in images), Decimal(0))
        return Price(made + input_images * self.input_image, "CNY")

    def _of_one(self, width: int, height: int, *, extended: bool) -> Decimal:
        if extended and self.image_extended is not None:
            return self.image_extended
        return self.image_2k if self.image_2k is not None and width * height > LARGEST_1K else self.image


class StudioModel(StrictModel):
    """What is known of every model: its rate, and the keys of REGIONS that offer it."""

    requests_per_minute: int = Field(gt=0)
    regions: tuple[str, ...]


class QwenModel(StudioModel):
    """`sync` says whether the model answers on the synchronous endpoint, `jobs` which asynchronous one takes it. An image to
    edit is brought to sides (pixels) within `min_input_side` and `max_input_side`, its result to `max_edit_area` (pixels).
    `prompt_characters` is where the asynchronous endpoint stops reading, `prompt_tokens` where the synchronous one does
    (None: at the same characters). `prompt_extend`: it can rewrite the prompt, `extends_unasked`:
    and does so where nothing is asked. `thinks`: it has a thinking mode of its own for text-to-image. `without` are the
    parameters of every model that this one does not take. `usual_seconds`: the shortest and the longest that a job
    usually takes.
    """

    sync: bool = True
    jobs: JobApi | None = None
    images: int = 0
    min_images: int = 0
    min_input_side: int | None = None
    max_input_side: int = 3072
    images_per_call: int = 1
    sizes: SizeRule
    max_edit_area: int | None = None
    prompt_extend: bool = True
    extends_unasked: bool = True
    thinks: bool = False
    without: frozenset[str] = frozenset()
    prompt_characters: int | None = None
    prompt_tokens: int | None = None
    usual_seconds: tuple[float, float] = (5.0, 20.0)
    prices: Mapping[str, Prices] = Field(default_factory=dict)

    @property
    def mask(self) -> bool:
        return self.jobs == "image2image"

    @property
    def input_limits(self) -> InputLimits:
        return InputLimits(max_bytes=MAX_BYTES, min_side=self.min_input_side, max_side=self.max_input_side)

    def sizes_beside(self, image: Size | None) -> SizeRule:
        """The sizes for a request whose last input image has that size: an edit keeps its shape by default."""
        if image is None or isinstance(self.sizes, NoSizes):
            return self.sizes
        most = {"max_area": self.max_edit_area} if self.max_edit_area else {}
        sizes = self.sizes.model_copy(update={"area": self.sizes.pixels, **most})
        return sizes.model_copy(update={"default": sizes.nearest(shaped(image[0] / image[1], sizes.pixels))})


def model_for(remote: str) -> QwenModel:
    """A dated snapshot is its family. An unknown id is asked like the most similar known one, synchronously where that is
    possible, and without a price."""
    known = _known()
    if remote in known:
        return known[remote]
    if (family := known.get(without_date(remote))) is not None:
        return _synchronous(family)
    return _synchronous(known[family_of(remote)]).model_copy(update={"prices": {}})


def is_known(remote: str) -> bool:
    return remote in _known() or without_date(remote) in _known()


def without_date(remote: str) -> str:
    """The name of the model of which this is a snapshot."""
    return _SNAPSHOT.sub("", remote)


def family_of(remote: str) -> str:
    similar = [known for known in _known() if remote.startswith(known) and known != "qwen-image"]
    other = next((model for sign, model in _FAMILIES.items() if remote.startswith(sign)), "qwen-image-2.0")
    return max(similar, key=len, default=other)


def _synchronous(model: QwenModel) -> QwenModel:
    return model.model_copy(update={"jobs": None}) if model.sync else model


@cache
def _known() -> Mapping[str, QwenModel]:
    own = [card for card in cards().values() if card.backend == BACKEND and "video" not in card.facts]
    known = {card.model: QwenModel.model_validate(card.facts) for card in own}
    # The base model has no card: qwen-image-plus has the same abilities for less money.
    return {**known, "qwen-image": known["qwen-image-plus"].model_copy(update={"prices": {}})}
