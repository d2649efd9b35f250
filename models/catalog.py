"""The model cards as data: `models/llm/<backend>/<model>.yaml`, each read when it is first asked for.

A card is the host's own format plus one block `image_generation`, which the host does not read: the facts that a
backend needs about the model (endpoint, sizes, limits).
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from models.entities import Price
from models.parameters import Rule, Text, read_yaml

CARDS = Path(__file__).parent / "llm"


class Pricing(BaseModel):
    """`output` is the price of one image: the host's "completion tokens" are images here, so `unit` is 1."""

    input: Decimal
    output: Decimal
    unit: Decimal
    currency: str


class Card(BaseModel):
    """A predefined model: one YAML file, and the `backend` whose folder it lies in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    model: str
    label: Text
    model_type: str
    features: tuple[str, ...]
    model_properties: Mapping[str, str | int]
    rules: tuple[Rule, ...] = Field(alias="parameter_rules")
    pricing: Pricing | None = None
    deprecated: bool = False
    facts: Mapping[str, object] = Field(alias="image_generation", default_factory=dict)

    @property
    def vision(self) -> bool:
        return "vision" in self.features

    @property
    def price_per_image(self) -> Price | None:
        return Price(self.pricing.output * self.pricing.unit, self.pricing.currency) if self.pricing else None


class _Cards(Mapping[str, Card]):
    """The cards by model id, which is the name of the file. To read all of them takes a tenth of a second."""

    def __init__(self) -> None:
        self._paths = {path.stem: path for path in sorted(CARDS.glob("*/*.yaml"))}
        self._read: dict[str, Card] = {}

    def __getitem__(self, model: str) -> Card:
        if model not in self._read:
            path = self._paths[model]
            self._read[model] = Card.model_validate({"backend": path.parent.name, **read_yaml(path)})
        return self._read[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@cache
def cards() -> Mapping[str, Card]:
    return _Cards()


def card_for(backend: str, model: str) -> Card | None:
    """The card of `model` when it belongs to `backend`."""
    card = cards().get(model)
    return card if card is not None and card.backend == backend else None
