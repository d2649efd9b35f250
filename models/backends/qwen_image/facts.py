"""What is known about a model: the block `image_generation` of its card, and the way from any id to such a block."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.backends.qwen_image.sizes import SizeRule
from models.catalog import cards

BACKEND = "qwen_image"
DEFAULT_FAMILY = "qwen-image-2.0"
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")

type JobApi = Literal["text2image", "image-generation", "image2image"]


class Prices(BaseModel):
    """In CNY. `image_2k` applies to images larger than 2,250,000 pixels, `input_image` to every image sent along."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Decimal
    image_2k: Decimal | None = None
    input_image: Decimal = Decimal(0)


class Facts(BaseModel):
    """How one model is asked.

    `sync` says whether it answers on the synchronous endpoint, `jobs` which asynchronous one takes it. `size` None:
    the model decides. An image to edit is brought to sides (pixels) within `min_input_side` and `max_input_side`.
    `prompt_characters` is where the asynchronous endpoint stops reading, `prompt_tokens` where the synchronous one
    does (None: nowhere that is known).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sync: bool = True
    jobs: JobApi | None = None
    images: int = 0
    min_images: int = 0
    min_input_side: int | None = None
    max_input_side: int = 3072
    images_per_call: int = 1
    size: SizeRule | None = None
    prompt_extend: bool = True
    prompt_characters: int | None = None
    prompt_tokens: int | None = None
    requests_per_minute: int = Field(gt=0)
    regions: tuple[str, ...]
    prices: Mapping[str, Prices] = Field(default_factory=dict)

    @property
    def mask(self) -> bool:
        return self.jobs == "image2image"


def facts_for(remote: str) -> Facts:
    """The facts of a model id, known or not.

    A dated snapshot is its family. Alibaba adds ids every few months, so that an unknown one is asked like the most
    similar known one, synchronously where that is possible, and without a price.
    """
    known = _known()
    if remote in known:
        return known[remote]
    if (family := known.get(_SNAPSHOT.sub("", remote))) is not None:
        return _plainest(family)
    return _plainest(known[family_of(remote)]).model_copy(update={"prices": {}})


def is_known(remote: str) -> bool:
    """Whether `remote` is a model, or a dated snapshot of one, whose facts are documented."""
    return remote in _known() or _SNAPSHOT.sub("", remote) in _known()


def family_of(remote: str) -> str:
    """The known id whose facts apply to `remote`."""
    similar = [known for known in _known() if remote.startswith(known) and known != "qwen-image"]
    return max(similar, key=len, default=DEFAULT_FAMILY)


def _plainest(facts: Facts) -> Facts:
    return facts.model_copy(update={"jobs": None}) if facts.sync else facts


@cache
def _known() -> Mapping[str, Facts]:
    known = {card.model: Facts.model_validate(card.facts) for card in cards().values() if card.backend == BACKEND}
    # The base model has no card: qwen-image-plus has the same abilities for less money.
    return {**known, "qwen-image": known["qwen-image-plus"].model_copy(update={"prices": {}})}
