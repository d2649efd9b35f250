"""The template of services that run anybody's models: a model's card, or the schema that the service publishes, says how it is asked."""

from abc import abstractmethod
from typing import ClassVar, override

from models.backends.base import Capabilities, Model
from models.backends.cache import ServerCache
from models.backends.model_inputs import ModelForm, ModelInputs
from models.backends.tasks import TaskBackend
from models.catalog import cards
from models.clock import Clock, Deadline
from models.entities import ImageRequest
from models.images.inputs import InputLimits, fitted
from models.parameters import RULES, Rule
from models.sizes import RatioSizes, SeedRule, SizeRule

_SEEDS = SeedRule(highest=2**31 - 1)
_INPUTS = InputLimits(formats=("png", "jpeg", "webp"))
_UNKNOWN = ModelForm(
    ModelInputs(shape="ratio", sizes=RatioSizes(ratios=("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")), images=1),
    tuple(RULES[name] for name in ("aspect_ratio", "n", "output_format", "output_quality", "details", "timeout")),
)
"""A model of which nothing is known, because the service did not tell."""
_FORMS: ServerCache[ModelForm] = ServerCache(seconds=3600)


class AnyModelBackend(TaskBackend):
    """One image is one task. A card's facts are `model`, its name at the service, and the fields of ModelInputs."""

    seeds_of_service: ClassVar[SeedRule] = _SEEDS

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        own = (card for card in cards().values() if card.backend == self.name)
        card = next((card for card in own if model.remote in {card.model, card.facts["model"]}), None)
        self.remote = str(card.facts["model"]) if card else model.remote
        self._form = ModelForm(ModelInputs.model_validate(_inputs(card.facts)), card.rules) if card else _UNKNOWN
        self._known = card is not None

    @property
    def inputs(self) -> ModelInputs:
        """How the bound model is asked, as far as it is known."""
        return self._form.inputs

    @abstractmethod
    def _read_form(self, deadline: Deadline) -> ModelForm | None:
        """Ask the service for the schema of the bound model; None where it publishes none. Raises ImageError."""

    @property
    @override
    def capabilities(self) -> Capabilities:
        inputs = self.inputs
        return Capabilities(images=inputs.images, min_images=inputs.min_images, mask=bool(inputs.mask))

    @override
    def rules(self) -> tuple[Rule, ...]:
        return self._form.rules

    @override
    def sizes(self, request: ImageRequest) -> SizeRule | None:
        return self.inputs.sizes

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return self.seeds_of_service if "seed" in self.inputs.names else None

    @override
    def learn(self, deadline: Deadline) -> None:
        if self._known:
            return
        service, key = self.service, self.remote
        if (form := _FORMS.get(service, key)) is None:
            form = self._read_form(deadline) or _UNKNOWN
            _FORMS.put(service, form, key)
        self._form, self._known = form, True

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        self.learn(deadline)
        return self.rules()

    @override
    def _prepared(self, request: ImageRequest) -> ImageRequest:
        return fitted(request, _INPUTS)


def _inputs(facts: object) -> dict[str, object]:
    assert isinstance(facts, dict)  # noqa: S101 -- a card's facts are a mapping
    return {name: value for name, value in facts.items() if name in ModelInputs.model_fields}


def data_urls(request: ImageRequest) -> tuple[str, ...]:
    """The request's images as data URLs, the mask's last."""
    return tuple(image.data_url for image in (*request.images, *filter(None, (request.mask,))))
