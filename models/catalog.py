"""The model cards as data: `models/llm/<backend>/<model>.yaml`, each read when it is first asked for.

A card is the host's own format plus one block `image_generation`, which the host does not read: the facts that a
backend needs about the model (endpoint, sizes, limits).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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


class CardFile(BaseModel):
    """One YAML file as it stands in the tree."""

    model_config = ConfigDict(extra="forbid")

    model: str
    label: Text
    model_type: str
    features: tuple[str, ...]
    model_properties: Mapping[str, str | int]
    parameter_rules: tuple[Rule, ...]
    pricing: Pricing | None = None
    deprecated: bool = False
    image_generation: Mapping[str, object] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Card:
    """A predefined model: its id, the backend whose folder it lies in, its rules, price and facts."""

    model: str
    backend: str
    label: str
    rules: tuple[Rule, ...]
    features: tuple[str, ...]
    facts: Mapping[str, object]
    price_per_image: Price | None

    @property
    def vision(self) -> bool:
        return "vision" in self.features


class _Cards(Mapping[str, Card]):
    """The cards by model id, which is the name of the file. To read all of them takes a tenth of a second."""

    def __init__(self) -> None:
        self._paths = {path.stem: path for path in sorted(CARDS.glob("*/*.yaml"))}
        self._read: dict[str, Card] = {}

    def __getitem__(self, model: str) -> Card:
        if model not in self._read:
            self._read[model] = _read(self._paths[model])
        return self._read[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@cache
def cards() -> Mapping[str, Card]:
    """Every predefined model by its id."""
    return _Cards()


def card_for(backend: str, model: str) -> Card | None:
    """The card of `model` when it belongs to `backend`."""
    card = cards().get(model)
    return card if card is not None and card.backend == backend else None


def _read(path: Path) -> Card:
    file = CardFile.model_validate(read_yaml(path))
    return Card(
        model=file.model,
        backend=path.parent.name,
        label=file.label.en_US,
        rules=file.parameter_rules,
        features=file.features,
        facts=file.image_generation,
        price_per_image=_price(file.pricing),
    )


def _price(pricing: Pricing | None) -> Price | None:
    return Price(pricing.output * pricing.unit, pricing.currency) if pricing else None
