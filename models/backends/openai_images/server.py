"""One model on one server: its dialect and family together, and what follows from the two."""

from dataclasses import dataclass

from models.backends.base import Capabilities
from models.backends.openai_images.dialects import Dialect, Route
from models.backends.openai_images.families import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`remote` is the model's name there; `samplers` and `schedulers` are listed where the server tells them."""

    dialect: Dialect
    family: Family
    remote: str
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        return self.dialect.images if self.family.images is None else self.family.images

    @property
    def n(self) -> int:
        """The largest number of images of one request."""
        if "n" in self.family.without:
            return 1
        return self.family.n or self.dialect.n

    @property
    def masks(self) -> bool:
        """Whether a mask has an effect: several servers take one and never look at it."""
        known = self.family.masks
        return self.dialect.masks and self.images > 0 and (known is None or self.dialect.name in known)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            images=self.images,
            min_images=self.family.min_images,
            mask=self.masks,
            second_image="mask" if self.masks and self.images == 1 else "image",
        )

    def understood(self, route: Route) -> frozenset[str]:
        """The words that have an effect on a route."""
        return frozenset(route.keys) - self.family.without

    @property
    def words(self) -> frozenset[str]:
        """The words that have an effect on any route of this model."""
        routes = [self.dialect.edit] if self.family.min_images else [self.dialect.generate]
        if self.images and not self.family.min_images:
            routes.append(self.dialect.edit)
        return frozenset().union(*(self.understood(route) for route in routes))

    def cfg_word(self, route: Route) -> str:
        """Which of the two guidance scales steers this model here."""
        return "true_cfg_scale" if self.family.true_cfg and "true_cfg_scale" in route.keys else "cfg_scale"

    @property
    def steps(self) -> int | None:
        """The steps sent where nobody names any; None leaves them to the server."""
        return self.family.steps if self.dialect.defaults else None

    @property
    def cfg(self) -> float | None:
        return self.family.cfg if self.dialect.defaults else None
