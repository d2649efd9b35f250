"""One model on one server: what is known of models by their names (`families.yaml`) and of servers (`dialects.py`)
together, and the parameter form that follows from the two."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.backends.base import Capabilities
from models.backends.openai_images.dialects import OPENAI, Dialect, Route
from models.parameters import MAX_SEED, RULES, VOCABULARY, Rule, load_rules, read_yaml
from models.sizes import FreeSizes, NoSizes, SeedRule, Size, SizeRule

_LARGEST_DRAWN = 2**31 - 1  # every server takes a seed up to here


class Family(BaseModel):
    """Models of one kind. `images` None means: as many as the dialect takes.

    `true_cfg` models are steered by `true_cfg_scale`; `gpt` ones are OpenAI's own, which refuse `response_format`;
    `without` lists words that would be refused or ignored; `masks` names the dialects on which a mask has an effect
    (None: wherever the dialect has masks). `dialects` limits the entry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    pattern: str = ""
    dialects: frozenset[str]
    sizes: SizeRule = FreeSizes(multiple=8)
    images: int | None = None
    min_images: int = 0
    steps: int | None = None
    cfg: float | None = None
    true_cfg: bool = False
    gpt: bool = False
    n: int | None = None
    without: frozenset[str] = frozenset()
    masks: frozenset[str] | None = None
    qualities: tuple[str, ...] = ()

    def fits(self, names: Iterable[str], dialect: Dialect) -> bool:
        """Whether one of a model's names is of this family on a server of this dialect."""
        return dialect.name in self.dialects and any(re.search(self.pattern, _plain(name)) for name in names)


@cache
def families() -> Sequence[Family]:
    return [Family.model_validate(entry) for entry in read_yaml(Path(__file__).with_name("families.yaml"))]


def family_of(names: Iterable[str], dialect: Dialect) -> Family:
    """The first entry that fits; the last one of a dialect fits everything."""
    known = tuple(names)
    return next(family for family in families() if family.fits(known, dialect))


def newest_at_openai() -> Family:
    """What a name is taken for that OpenAI itself serves and the table does not know yet."""
    return family_of(("gpt-image-2",), OPENAI)


def _plain(name: str) -> str:
    """`Qwen/Qwen-Image-Edit-2509`, a file path or an alias, in the one form that the patterns know."""
    return re.sub(r"[\s_]+", "-", name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """`remote` is the model's name at the server; `samplers` and `schedulers` are listed where the server tells them."""

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

    def sizes(self, route: Route, image: Size | None) -> SizeRule:
        """The sizes of a route. An edit without a size keeps that of its first image, `image`: most servers see to
        it themselves."""
        rule = self.family.sizes
        if "size" not in self.understood(route):
            return NoSizes(reason=f"{self.remote} has no size parameter here")
        if image is None:
            return rule
        default = rule.nearest(image) if route.input_size else None
        return rule.model_copy(update={"default": default, "area": rule.pixels})

    def seeds(self, route: Route, count: int) -> SeedRule | None:
        """The seeds of a request for `count` images. One drawn by the plugin can be reported, and SGLang makes the
        same image again and again without one; where one seed makes equal images, the server draws."""
        if self.dialect.seed is None or "seed" not in self.understood(route):
            return None
        return SeedRule(
            highest=min(self.dialect.seed, MAX_SEED),
            drawn=_LARGEST_DRAWN,
            step=1 if self.dialect.seeds == "counted" else 0,
            draw=not (self.dialect.seeds == "repeated" and count > 1),
        )


# The form.

EXTRA_RULES = load_rules(Path(__file__).with_name("parameters.yaml"))

_SHAPE = ("width", "height", "aspect_ratio")
_ALWAYS = frozenset({"output_format", "output_quality", "details", "timeout"})
_FORM_STEPS, _FORM_CFG = 30, 5.0  # what the form starts with; left out, the server's own apply
_STYLES = ("vivid", "natural")
_EXTRA = {rule.name: rule for rule in EXTRA_RULES}
_ALL = {**RULES, **_EXTRA}
_ORDER = (
    *(rule.name for rule in VOCABULARY if rule.name not in _ALWAYS),
    *_EXTRA,
    *(rule.name for rule in VOCABULARY if rule.name in _ALWAYS),
)
_UNKNOWN = frozenset({"checkpoint", "prompt_extend", "watermark"})  # no server of this kind takes them


def rules_for(served: ServedModel) -> tuple[Rule, ...]:
    """The parameters of one model on one server, in the order of the vocabulary."""
    offered = _offered(served)
    return tuple(_narrowed(_ALL[name], served) for name in _ORDER if name in offered)


def rules_for_any() -> tuple[Rule, ...]:
    """Every parameter that some server understands: for the form of a server that is not known."""
    starts = {"steps": _FORM_STEPS, "cfg_scale": _FORM_CFG}
    rules = (_ALL[name] for name in _ORDER if name not in _UNKNOWN)
    return tuple(rule.narrowed(default=starts[rule.name]) if rule.name in starts else rule for rule in rules)


def _offered(served: ServedModel) -> frozenset[str]:
    words = served.words | _ALWAYS
    if "size" in words:
        words |= set(_SHAPE)
    if "true_cfg_scale" in words:
        words |= {"cfg_scale"}
    return words - {"n"} if served.n == 1 else words


def _narrowed(rule: Rule, served: ServedModel) -> Rule:
    match rule.name:
        case "steps":
            return rule.narrowed(default=served.family.steps or _FORM_STEPS, max=served.dialect.steps)
        case "cfg_scale":
            return rule.narrowed(default=served.family.cfg or _FORM_CFG, max=served.dialect.cfg)
        case "n":
            return rule.narrowed(max=served.n)
        case "seed" if served.dialect.seed is not None:
            return rule.narrowed(max=min(rule.max or 0, served.dialect.seed))
        case "quality":
            return rule.narrowed(options=served.family.qualities)
        case "style_preset":
            return rule.narrowed(options=_STYLES)
        case "sampler":
            return rule.narrowed(options=served.samplers)
        case "scheduler":
            return rule.narrowed(options=served.schedulers)
        case _:
            return rule
