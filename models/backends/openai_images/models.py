"""One model on one server, from what is known about servers (`dialects.yaml`) and models (`families.yaml`), and its
parameter form."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from models.backends.base import Capabilities
from models.entities import StrictModel
from models.images.inputs import InputLimits
from models.parameters import MAX_SEED, VOCABULARY, Rule, load_rules, read_yaml
from models.sizes import FreeSizes, NoSizes, SeedRule, Size, SizeRule

_LARGEST_DRAWN = 2**31 - 1  # every server takes a seed up to here


class Route(StrictModel):
    """One way to call a server. `dialects.yaml` explains the fields."""

    path: str
    keys: Mapping[str, str]
    body: Literal["json", "form", "chat"] = "json"
    image_keys: tuple[str, ...] = ()
    images_key: str = ""
    bare_base64: bool = False
    mask: str = ""
    mask_form: Literal["white", "alpha"] = "white"
    input_size: bool = False
    prompt_syntax: Literal["plain", "bar", "sd_cpp_extra_args"] = "plain"


class Dialect(StrictModel):
    """One kind of server. `dialects.yaml` explains the fields."""

    name: str
    title: str
    generate: Route
    edit: Route
    inpaint: Route | None = None
    hosts: tuple[str, ...] = ()
    lists: str = ""
    owners: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    about: str = ""
    home: str = ""
    newest: str = ""
    n: int = 10
    images: int = 8
    inputs: InputLimits = InputLimits()
    size_mark: str = "x"
    steps: int = 200
    seed: int | None = None
    seeds: Literal["shared", "counted", "repeated"] = "shared"
    defaults: bool = False
    blank_negative: bool = False
    model_name: Literal["exact", "free", "ignored", "deployment"] = "free"
    key_header: str = ""
    worth_asking: bool = False
    fastapi: bool = False
    ignores_masks: bool = False
    urls_expire: str = ""

    def is_at(self, host: str) -> bool:
        return host in self.hosts or any(end.startswith(".") and host.endswith(end) for end in self.hosts)

    def route(self, *, edits: bool, masked: bool) -> Route:
        if masked and self.inpaint:
            return self.inpaint
        return self.edit if edits else self.generate

    @property
    def masks(self) -> bool:
        return bool((self.inpaint or self.edit).mask)


class Family(StrictModel):
    """Models of one kind. `families.yaml` explains the fields."""

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

    def fits(self, plain_names: Iterable[str], dialect: Dialect) -> bool:
        return dialect.name in self.dialects and any(re.search(self.pattern, name) for name in plain_names)


@cache
def dialects() -> Mapping[str, Dialect]:
    """The kinds of servers by their names, in the order in which they are recognised."""
    entries = read_yaml(Path(__file__).with_name("dialects.yaml"))
    return {entry["name"]: Dialect.model_validate(entry) for entry in entries}


@cache
def families() -> Sequence[Family]:
    return [Family.model_validate(entry) for entry in read_yaml(Path(__file__).with_name("families.yaml"))]


def family_of(names: Iterable[str], dialect: Dialect) -> Family:
    """The first entry that fits; the last one of a dialect fits everything."""
    plain = [re.sub(r"[\s_]+", "-", name.lower()) for name in names]  # the one form that the patterns know
    return next(family for family in families() if family.fits(plain, dialect))


@dataclass(frozen=True, slots=True)
class ServedModel:
    """`remote` is the model's name at the server; `samplers` and `schedulers` are set if the server reports them."""

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
        return 1 if "n" in self.family.without else self.family.n or self.dialect.n

    @property
    def masks(self) -> bool:
        """Whether a mask has an effect: several servers accept one and ignore it."""
        known = self.family.masks
        return self.dialect.masks and self.images > 0 and (known is None or self.dialect.name in known)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            images=self.images,
            min_images=self.family.min_images,
            mask=self.masks,
            second_image="mask" if self.images == 1 else "image",
        )

    def understood(self, route: Route) -> frozenset[str]:
        return frozenset(route.keys) - self.family.without

    @property
    def words(self) -> frozenset[str]:
        generates = [] if self.family.min_images else [self.dialect.generate]
        edits = [self.dialect.edit] if self.images else []
        return frozenset().union(*(self.understood(route) for route in generates + edits))

    def cfg_word(self, route: Route) -> str:
        return "true_cfg_scale" if self.family.true_cfg and "true_cfg_scale" in route.keys else "cfg_scale"

    def sizes(self, route: Route, image: Size | None) -> SizeRule:
        """The sizes of a route; an edit without one keeps that of its first image, `image`: most servers see to it."""
        rule = self.family.sizes
        if "size" not in self.understood(route):
            return NoSizes(reason=f"{self.remote} has no size parameter here")
        if image is None:
            return rule
        default = rule.nearest(image) if route.input_size else None
        return rule.model_copy(update={"default": default, "area": rule.pixels})

    def seeds(self, route: Route, count: int) -> SeedRule | None:
        """The plugin draws the seed to report it, and because SGLang repeats the same image without one; if one seed
        makes equal images, the server draws."""
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

_LAST = frozenset({"output_format", "output_quality", "details", "timeout"})  # every form ends with them
_UNKNOWN = frozenset(  # no server of this kind takes them
    {"checkpoint", "prompt_extend", "watermark", "duration", "fps", "resolution", "generate_audio", "input_mode"}
    | {"outpaint_left", "outpaint_right", "outpaint_up", "outpaint_down"}
)
_ALL = (
    *(rule for rule in VOCABULARY if rule.name not in _LAST | _UNKNOWN),
    *EXTRA_RULES,
    *(rule for rule in VOCABULARY if rule.name in _LAST),
)
_LARGEST_CFG = 20
_FORM_STEPS, _FORM_CFG = 30, 5.0  # prefilled in the form; if unset, the server's defaults apply


def rules_for(served: ServedModel) -> tuple[Rule, ...]:
    offered, bounds = _offered(served), _bounds(served)
    return tuple(rule.narrowed(**bounds.get(rule.name, {})) for rule in _ALL if rule.name in offered)


def rules_for_any() -> tuple[Rule, ...]:
    """Every parameter that some server supports, for the form of an unknown server."""
    starts = {"steps": _FORM_STEPS, "cfg_scale": _FORM_CFG}
    return tuple(rule.narrowed(default=starts.get(rule.name, rule.default)) for rule in _ALL)


def _offered(served: ServedModel) -> frozenset[str]:
    words = served.words | _LAST
    if "size" in words:
        words |= {"width", "height", "aspect_ratio"}
    if "true_cfg_scale" in words:
        words |= {"cfg_scale"}
    return words - {"n"} if served.n == 1 else words


def _bounds(served: ServedModel) -> Mapping[str, Mapping[str, object]]:
    family, dialect = served.family, served.dialect
    return {
        "steps": {"default": family.steps or _FORM_STEPS, "max": dialect.steps},
        "cfg_scale": {"default": family.cfg or _FORM_CFG, "max": _LARGEST_CFG},
        "n": {"max": served.n},
        "seed": {"max": min(MAX_SEED, dialect.seed or 0)},
        "quality": {"options": family.qualities},
        "sampler": {"options": served.samplers},
        "scheduler": {"options": served.schedulers},
    }
