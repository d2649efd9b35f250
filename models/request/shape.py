"""Width, height, aspect ratio and seed: what a request means by them, and what its model makes of them."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from models.backends.base import Backend
from models.entities import ImageRequest
from models.parameters import RULES, refused
from models.sizes import (
    ONE_MEGAPIXEL,
    FreeSizes,
    ListedSizes,
    NoSizes,
    RatioSizes,
    SeedRule,
    Size,
    SizeRule,
    ratio_of,
    same_shape,
    shaped,
    written,
)

_SAME_SHAPE = 1.05  # rounding to a grid changes a shape by less


@dataclass(frozen=True, slots=True)
class Wish:
    """The shape and seed that were asked for. `pixels` goes with a ratio that shall keep a number of pixels."""

    width: int | None = None
    height: int | None = None
    aspect_ratio: str | None = None
    pixels: int | None = None
    seed: int | None = None


def settle(request: ImageRequest, wish: Wish, backend: Backend) -> ImageRequest:
    """`request` with a size and seeds that its model takes, and a notice for each that is not what was asked for.

    Raises BadRequest for a seed that the service does not take.
    """
    size, size_notices = settle_size(wish, backend.sizes(request), backend.model.name)
    seeds, seed_notices = settle_seeds(wish.seed, backend.seeds(request), request.n, backend.title)
    width, height = size or (None, None)
    settled = replace(request, width=width, height=height, seeds=seeds)
    return settled.with_notices(*size_notices, *seed_notices)


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
    wished, used = wished_size(wish, rule), _used_size(wish, rule)
    if _is_kept(wish, wished, used):
        return used, ()
    makes = rule.nearest_ratio(wished) if isinstance(rule, RatioSizes) else written(used)
    return used, (f"{asked} became {makes}, the nearest that {model} makes.",)


def _used_size(wish: Wish, rule: FreeSizes | ListedSizes | RatioSizes) -> Size:
    if wish.aspect_ratio and not (wish.width or wish.height):
        return rule.for_ratio(ratio_of(wish.aspect_ratio), wish.pixels or rule.pixels)
    return rule.nearest(wished_size(wish, rule))


def _is_kept(wish: Wish, wished: Size, used: Size) -> bool:
    """Whether all that was asked for came true; what only completes it may be rounded."""
    alike = same_shape(used[0] / used[1], wished[0] / wished[1], _SAME_SHAPE)
    if wish.width is None and wish.height is None:
        return alike
    sides = wish.width in {None, used[0]} and wish.height in {None, used[1]}
    return sides and alike


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
    told: tuple[str, ...] = ()
    if asked is None and not rule.draw:
        return (), ()
    if asked is None or (asked == 0 and rule.zero_is_random):
        first = rule.lowest + secrets.randbelow((rule.drawn or rule.highest) - rule.lowest + 1)
        told = (f"Seed 0 means random to {title}; {first} was used.",) if asked == 0 else ()
    else:
        first = asked
    return rule.following(first, count), told


def wish_of(values: Mapping[str, object], pixels: int | None = None) -> Wish:
    """The shape and seed among typed parameter values."""
    known = {name: values[name] for name in ("width", "height", "aspect_ratio", "seed") if name in values}
    return Wish(**known, pixels=pixels)  # type: ignore[arg-type]  # `read_values` gave each the type of its rule


def _words(wish: Wish) -> str:
    """The asked shape as a notice names it; empty where none was asked for."""
    if wish.width and wish.height:
        return f"The size {written((wish.width, wish.height))}"
    if wish.width or wish.height:
        side, value = ("width", wish.width) if wish.width else ("height", wish.height)
        return f"The {side} {value}"
    return f"The aspect ratio {wish.aspect_ratio}" if wish.aspect_ratio else ""


def area_of(values: Mapping[str, object]) -> int | None:
    """The number of pixels of a width and height that were given together."""
    sides = [values.get("width"), values.get("height")]
    numbers = [side for side in sides if isinstance(side, int)]
    return math.prod(numbers) if len(numbers) == len(sides) else None
