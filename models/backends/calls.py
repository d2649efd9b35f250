"""Services that make each image of a request in one call: the calls run beside each other, paid images are kept."""

from abc import abstractmethod
from typing import Any, ClassVar, Self, override

from models.backends.base import Backend, Capabilities, Model
from models.backends.partial import Partial, collected, together
from models.catalog import cards
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult, Price, StrictModel
from models.images.inputs import InputLimits, fitted
from models.parameters import Rule
from models.sizes import SizeRule


class CallFacts(StrictModel):
    """What a card says about its model: its name at the service, its sizes, and how many input images it takes."""

    model: str
    sizes: SizeRule
    images: int = 0

    def named(self, model: str) -> Self:
        return self.model_copy(update={"model": model})


class CallBackend[F: CallFacts](Backend):
    """A service without jobs. `facts_type` reads the cards; a model without a card is not `known` and asked like `like`."""

    facts_type: ClassVar[Any]
    like: ClassVar[str]
    input_limits: ClassVar[InputLimits] = InputLimits(formats=("png", "jpeg", "webp"))
    calls_at_once: ClassVar[int] = 4

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        own = (card for card in cards().values() if card.backend == self.name)
        known = next((card for card in own if model.remote in {card.model, card.facts["model"]}), None)
        card, self.known = known or cards()[self.like], known is not None
        facts: F = self.facts_type.model_validate(card.facts)
        self.facts: F = facts if known else facts.named(model.remote)
        self._rules = card.rules

    @abstractmethod
    def _call(self, request: ImageRequest, place: int, deadline: Deadline) -> Partial:
        """The image with this number, counted from 0, by one call. Raises ImageError."""

    def _price(self, request: ImageRequest, images: int) -> Price | None:
        """The price of so many images, where it depends on the request; else the card's applies."""
        return None

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=self.facts.images)

    @override
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    @override
    def sizes(self, request: ImageRequest) -> SizeRule | None:
        return self.facts.sizes

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        request = fitted(request, self.input_limits)
        calls = together(
            lambda place: self._call(request, place, deadline), range(request.n), at_once=self.calls_at_once
        )
        made = collected(calls)
        return self.result(request, made, price=self._price(request, len(made.images)))
