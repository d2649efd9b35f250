"""The model cards as data: `models/llm/<backend>/<model>.yaml`, or one folder deeper, each read when it is first asked for.

A card is the host's own format plus one block `image_generation`, which the host does not read: the facts that a
backend needs about the model (endpoint, sizes, limits).
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path

from pydantic import BaseModel, Field

from models.entities import Price, StrictModel
from models.parameters import Rule, Text, read_yaml

CARDS = Path(__file__).parent / "llm"


class Pricing(BaseModel):
    """`output` is the price of one image: the host's "completion tokens" are images here, so `unit` is 1."""

    input: Decimal
    output: Decimal
    unit: Decimal
    currency: str


class Card(StrictModel):
    """A predefined model: one YAML file, and the `backend` below whose folder it lies."""

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


class Lazy[S, V](Mapping[str, V]):
    """The values of a dictionary, each made from its source when it is first asked for."""

    def __init__(self, sources: Mapping[str, S], make: Callable[[S], V]) -> None:
        self._sources = sources
        self._made = cache(make)

    def __getitem__(self, name: str) -> V:
        return self._made(self._sources[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


@cache
def cards() -> Mapping[str, Card]:
    """The cards by model id, which is the name of the file. To read all of them takes a tenth of a second."""
    return Lazy(card_files(), _read)


@cache
def card_files() -> Mapping[str, Path]:
    """The card of each model id."""
    return {path.stem: path for pattern in ("*/*.yaml", "*/*/*.yaml") for path in sorted(CARDS.glob(pattern))}


def service_of(model: str) -> str:
    """The backend of a predefined model, without reading its card; empty for any other name."""
    return card_files()[model].relative_to(CARDS).parts[0] if model in card_files() else ""


@cache
def listed() -> tuple[str, ...]:
    """Every model id in the order of Dify's page: of each service the model to start with comes first."""
    return tuple(read_yaml(CARDS / "_position.yaml"))


@cache
def nameable() -> tuple[str, ...]:
    """The models that `auto` and `fallback` may name: those that make images."""
    return tuple(model for model in listed() if model not in {"auto", "contact-sheet"})


def _read(path: Path) -> Card:
    return Card.model_validate({"backend": service_of(path.stem), **read_yaml(path)})


def card_for(backend: str, model: str) -> Card | None:
    """The card of `model` when it belongs to `backend`."""
    card = cards().get(model)
    return card if card is not None and card.backend == backend else None
