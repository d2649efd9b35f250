"""The model `auto`: the form of a model that is named by a parameter, a directive or the provider's form.

`models/routing.py` hands its requests to the named model. `auto` has no service of its own: asked by itself it draws what
`preview` draws, which answers where no service is filled.
"""

from pathlib import Path
from typing import ClassVar, override

from models.backends.base import Backend, Capabilities
from models.backends.preview import Preview
from models.backends.registry import is_filled
from models.catalog import cards, nameable, service_of
from models.clock import Clock, Deadline
from models.limits import Limits
from models.parameters import Rule, load_rules
from models.settings import Settings


class Auto(Preview):
    name: ClassVar[str] = "auto"
    title: ClassVar[str] = "Auto"
    prefix: ClassVar[str] = "auto"
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))
    look: ClassVar[frozenset[str]] = frozenset({"model"})

    usable: tuple[str, ...] = ()
    """The models of the filled services that the owner's limits allow, in the order of Dify's page."""

    @classmethod
    @override
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> Backend:
        bound = super().bind(name, settings, clock)
        assert isinstance(bound, Auto)  # noqa: S101 -- `cls` is, this only tells the type checker
        bound.usable = _usable(settings)
        return bound

    @property
    @override
    def capabilities(self) -> Capabilities:
        """As the filled services have them: each request is checked by the model that gets it."""
        takes_images = not self.usable or any(cards()[model].vision for model in self.usable)
        return super().capabilities if takes_images else Capabilities()

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        options = (*self.usable, "preview")
        return tuple(rule.narrowed(options=options) if rule.name == "model" else rule for rule in self.rules())

    def default_model(self, *, with_images: bool) -> str:
        """The first usable model, with input images the first that takes them; `preview` where no service is filled."""
        fitting = [model for model in self.usable if cards()[model].vision or not with_images]
        return next(iter((*fitting, *self.usable)), "preview")


def _usable(settings: Settings) -> tuple[str, ...]:
    allowed = Limits.read(settings).models or nameable()
    filled = {service for service in map(service_of, nameable()) if is_filled(service, settings)}
    return tuple(
        model for model in nameable() if model != "preview" and model in allowed and service_of(model) in filled
    )
