"""Width, height and aspect ratio: which of them a request means."""

import math
from collections.abc import Mapping, Sequence

from models.entities import ParameterValue
from models.parameters import RULES, Rule, read_value, read_values

DEFAULT_PIXELS = 1024 * 1024


def size_for_ratio(aspect_ratio: str, *, pixels: int = DEFAULT_PIXELS, multiple: int = 64) -> tuple[int, int]:
    """Width and height of about `pixels` pixels in all for a ratio like `16:9`, both a multiple of `multiple`."""
    ratio = ratio_of(aspect_ratio)
    width = math.sqrt(pixels * ratio)
    return _rounded(width, multiple), _rounded(width / ratio, multiple)


def ratio_of(aspect_ratio: str) -> float:
    """`16:9` as a number, width over height."""
    across, down = aspect_ratio.split(":")
    return float(across) / float(down)


def nearest_ratio(width: float, height: float, choices: Sequence[str]) -> str:
    """The choice whose shape is closest to width × height, by the logarithm of the ratio."""
    return min(choices, key=lambda choice: abs(math.log(width / height / ratio_of(choice))))


def settle_shape(rules: Sequence[Rule], given: Mapping[str, object]) -> dict[str, ParameterValue]:
    """Read `given` by `rules` and leave only the shape that was meant.

    Width and height win over the ratio; a ratio that was given wins over default sizes; one side alone is completed by
    the ratio, by the model's default, or to a square. A model without ratios gets the ratio as width and height.
    Raises BadRequest as `read_values`.
    """
    values = read_values(rules, given)
    named = {rule.name for rule in rules}
    if not {"width", "height"} <= named:
        return values
    sides = {side: values[side] for side in ("width", "height") if given.get(side) not in (None, "")}
    ratio = given.get("aspect_ratio")
    if ratio not in (None, ""):
        if len(sides) == 2:  # noqa: PLR2004
            values.pop("aspect_ratio", None)
        else:
            word = str(read_value(_ratio_rule(rules), ratio))
            values = {name: value for name, value in values.items() if name not in {"width", "height"}}
            values |= _by_ratio(word, sides, values, rules)
    elif len(sides) == 1:
        only = next(iter(sides.values()))
        values = {"width": only, "height": only, **values}
    return values


def _by_ratio(
    ratio: str, sides: Mapping[str, ParameterValue], values: Mapping[str, ParameterValue], rules: Sequence[Rule]
) -> dict[str, ParameterValue]:
    if "width" in sides:
        return {"width": sides["width"], "height": _rounded(float(sides["width"]) / ratio_of(ratio), 8)}
    if "height" in sides:
        return {"width": _rounded(float(sides["height"]) * ratio_of(ratio), 8), "height": sides["height"]}
    if "aspect_ratio" in values:
        return {}
    width, height = size_for_ratio(ratio, pixels=_default_pixels(rules))
    return {"width": width, "height": height}


def _ratio_rule(rules: Sequence[Rule]) -> Rule:
    return next((rule for rule in rules if rule.name == "aspect_ratio"), RULES["aspect_ratio"])


def _default_pixels(rules: Sequence[Rule]) -> int:
    defaults = [rule.default for rule in rules if rule.name in {"width", "height"} and isinstance(rule.default, int)]
    return math.prod(defaults) if len(defaults) == 2 else DEFAULT_PIXELS  # noqa: PLR2004


def _rounded(side: float, multiple: int) -> int:
    return max(multiple, round(side / multiple) * multiple)
