"""What sizes and seeds a model takes, as data that a backend hands out; and the one resolver of what was asked for.

Sizes are (width, height) in pixels, ratios are width over height.
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from models.entities import StrictModel
from models.parameters import RULES, refused

type Size = tuple[int, int]

ONE_MEGAPIXEL = 1024 * 1024
_REACH = 3  # grid steps around the wished width within which a legal size is looked for first
_SAME_SHAPE = 1.05  # rounding to a grid changes a shape by less


class _Rule(StrictModel):
    """`default` is for a request without any shape (None: the service chooses), `area` the pixels for a bare ratio."""

    default: Size | None = None
    area: int | None = None

    @property
    def pixels(self) -> int:
        """The number of pixels of an image of which only the ratio was named."""
        return self.area or (math.prod(self.default) if self.default else ONE_MEGAPIXEL)

    def nearest(self, size: Size) -> Size:
        """The size to ask for in place of `size`."""
        raise NotImplementedError

    def for_ratio(self, ratio: float, pixels: int) -> Size:
        return self.nearest(shaped(ratio, pixels))


class FreeSizes(_Rule):
    """Any size on a grid within bounds. `presets` are the sizes that the model paints best, by their ratio."""

    rule: Literal["free"] = "free"
    multiple: int = 1
    min_side: int = 1
    max_side: int = 16_384
    min_area: int = 1
    max_area: int = 2**31
    max_ratio: float = 1000.0
    presets: Mapping[str, Size] = Field(default_factory=dict)

    def nearest(self, size: Size) -> Size:
        # A ComfyUI workflow's own size may lie off its grid, and GLM-Image advises sizes outside its own bounds.
        if size == self.default or size in self.presets.values() or self._legal(size):
            return size
        width, height = self._within(*size)
        middle = math.floor(width / self.multiple)
        near = range(max(1, middle - _REACH), middle + _REACH + 2)
        every = range(1, self.max_side // self.multiple + 1)
        found = self._columns(near, height) or self._columns(every, height)
        return min(found, key=lambda size: _apart(size[0], width) + _apart(size[1], height))

    def for_ratio(self, ratio: float, pixels: int) -> Size:
        for name, preset in self.presets.items():
            if pixels == self.pixels and same_shape(ratio_of(name), ratio):
                return preset
        return self.nearest(shaped(ratio, pixels))

    def _legal(self, size: Size) -> bool:
        short, long = sorted(size)
        return (
            size[0] % self.multiple == size[1] % self.multiple == 0
            and self.min_side <= short
            and long <= self.max_side
            and self.min_area <= short * long <= self.max_area
            and long <= short * self.max_ratio
        )

    def _within(self, width: float, height: float) -> tuple[float, float]:
        """The wished size brought within the bounds, off the grid."""
        ratio = _clamped(width / height, 1 / self.max_ratio, self.max_ratio)
        area = _clamped(width * height, self.min_area, self.max_area)
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        shrink = min(1.0, self.max_side / max(width, height))
        scale = shrink * max(1.0, self.min_side / (min(width, height) * shrink))
        low, high = self.min_side, self.max_side
        return _clamped(width * scale, low, high), _clamped(height * scale, low, high)

    def _columns(self, steps: range, height: float) -> list[Size]:
        """For each width of the grid the legal size whose height is closest to `height`."""
        return [size for step in steps if self._legal(size := self._column(self.multiple * step, height))]

    def _column(self, width: int, height: float) -> Size:
        low = max(self.min_side, self.min_area / width, width / self.max_ratio)
        high = min(self.max_side, self.max_area / width, width * self.max_ratio)
        lowest, highest = math.ceil(low / self.multiple), math.floor(high / self.multiple)
        return width, self.multiple * min(max(round(height / self.multiple), lowest), highest)


class ListedSizes(_Rule):
    """A closed list: the entry with the most similar shape is the nearest, then the one with the most similar area."""

    rule: Literal["listed"] = "listed"
    sizes: tuple[Size, ...]

    def nearest(self, size: Size) -> Size:
        ratio, area = size[0] / size[1], math.prod(size)
        return min(self.sizes, key=lambda one: (round(_apart(one[0] / one[1], ratio), 6), abs(math.prod(one) - area)))


class RatioSizes(_Rule):
    """A closed list of ratios; the service chooses the pixels."""

    rule: Literal["ratios"] = "ratios"
    ratios: tuple[str, ...]

    def nearest(self, size: Size) -> Size:
        return shaped(ratio_of(self.nearest_ratio(size)), self.pixels)

    def nearest_ratio(self, size: Size) -> str:
        """The ratio of the list whose shape is closest to `size`, in proportion."""
        return min(self.ratios, key=lambda ratio: _apart(size[0] / size[1], ratio_of(ratio)))


class NoSizes(_Rule):
    """No size can be asked for, `default` is made; `reason` completes the sentence "1:1 was not used: ..."."""

    rule: Literal["none"] = "none"
    reason: str


type SizeRule = Annotated[FreeSizes | ListedSizes | RatioSizes | NoSizes, Field(discriminator="rule")]


class SeedRule(StrictModel):
    """The seeds of a service. The images of one request get the first seed and the ones `step` behind it.

    A seed is drawn up to `drawn` where none was asked for and `draw` is true. `zero_is_random` excludes 0.
    """

    highest: int
    drawn: int | None = None
    draw: bool = True
    step: int = 1
    zero_is_random: bool = False

    @property
    def lowest(self) -> int:
        return 1 if self.zero_is_random else 0

    def following(self, first: int, count: int) -> tuple[int, ...]:
        """`count` seeds from `first` on; behind the highest comes the lowest."""
        span = self.highest - self.lowest + 1
        return tuple((first - self.lowest + self.step * place) % span + self.lowest for place in range(count))


@dataclass(frozen=True, slots=True)
class Wish:
    """The shape and seed that were asked for. `pixels` goes with a ratio that shall keep a number of pixels."""

    width: int | None = None
    height: int | None = None
    aspect_ratio: str | None = None
    pixels: int | None = None
    seed: int | None = None


def wish_of(values: Mapping[str, object], pixels: int | None = None) -> Wish:
    known = {name: values[name] for name in ("width", "height", "aspect_ratio", "seed") if name in values}
    return Wish(**known, pixels=pixels)  # type: ignore[arg-type]  # `read_values` gave each the type of its rule


def area_of(values: Mapping[str, object]) -> int | None:
    """The number of pixels of a width and height that were given together."""
    width, height = values.get("width"), values.get("height")
    return width * height if isinstance(width, int) and isinstance(height, int) else None


def settle_size(wish: Wish, rule: SizeRule | None, model: str) -> tuple[Size | None, tuple[str, ...]]:
    """The size to ask for, None where the service chooses, and a notice naming the asked and the used one.

    Width and height win over the ratio; one side alone is completed by the ratio, or by the shape of the default.
    """
    asked = _words(wish)
    match rule:
        case None:
            return (wished_size(wish, None) if asked else None), ()
        case NoSizes():
            return rule.default, (f"{asked} was not used: {rule.reason}.",) if asked else ()
    if not asked:
        return rule.default, ()
    wished = wished_size(wish, rule)
    if wish.aspect_ratio and not (wish.width or wish.height):
        used = rule.for_ratio(ratio_of(wish.aspect_ratio), wish.pixels or rule.pixels)
    else:
        used = rule.nearest(wished)
    if _is_kept(wish, wished, used):
        return used, ()
    makes = rule.nearest_ratio(wished) if isinstance(rule, RatioSizes) else written(used)
    return used, (f"{asked} became {makes}, the nearest that {model} makes.",)


def _is_kept(wish: Wish, wished: Size, used: Size) -> bool:
    """Whether all that was asked for came true; what only completes it may be rounded."""
    sides = wish.width in {None, used[0]} and wish.height in {None, used[1]}
    return sides and same_shape(used[0] / used[1], wished[0] / wished[1], _SAME_SHAPE)


def wished_size(wish: Wish, rule: SizeRule | None) -> Size:
    """The size that a wish means, whether or not a model makes it."""
    default = rule.default if rule else None
    ratio = ratio_of(wish.aspect_ratio) if wish.aspect_ratio else default[0] / default[1] if default else 1.0
    match wish.width, wish.height:
        case int(width), int(height):
            return width, height
        case int(width), None:
            return width, max(1, round(width / ratio))
        case None, int(height):
            return max(1, round(height * ratio)), height
        case _:
            return shaped(ratio, wish.pixels or (rule.pixels if rule else ONE_MEGAPIXEL))


def settle_seeds(
    asked: int | None, rule: SeedRule | None, count: int, title: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """One seed for each of `count` images; none where the service has no seeds. Raises BadRequest."""
    if rule is None:
        return (), (f"The seed {asked} was not used: {title} takes none here.",) if asked is not None else ()
    if asked is not None and not 0 <= asked <= rule.highest:
        raise refused(RULES["seed"], asked, f"a number from 0 to {rule.highest}")
    if asked is None and not rule.draw:
        return (), ()
    if asked is not None and asked >= rule.lowest:
        return rule.following(asked, count), ()
    first = rule.lowest + secrets.randbelow((rule.drawn or rule.highest) - rule.lowest + 1)
    told = (f"Seed 0 means random to {title}; {first} was used.",) if asked == 0 else ()
    return rule.following(first, count), told


def shaped(ratio: float, pixels: int) -> Size:
    """The size of about `pixels` pixels whose width is `ratio` times its height."""
    width = math.sqrt(pixels * ratio)
    return max(1, round(width)), max(1, round(width / ratio))


def written(size: Size) -> str:
    """A size for a reader, `1024×768`."""
    return f"{size[0]}×{size[1]}"


def ratio_of(aspect_ratio: str) -> float:
    """`16:9` as a number, width over height."""
    across, down = aspect_ratio.split(":")
    return float(across) / float(down)


def same_shape(one: float, other: float, tolerance: float = 1.001) -> bool:
    """Whether two ratios differ by less than `tolerance` times."""
    return max(one / other, other / one) < tolerance


def _apart(one: float, other: float) -> float:
    return abs(math.log(one / other))


def _clamped(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def _words(wish: Wish) -> str:
    """The asked shape as a notice names it; empty where none was asked for."""
    if wish.width and wish.height:
        return f"The size {written((wish.width, wish.height))}"
    sides = {"width": wish.width, "height": wish.height, "aspect ratio": wish.aspect_ratio}
    return next((f"The {name} {value}" for name, value in sides.items() if value), "")
