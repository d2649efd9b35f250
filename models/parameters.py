"""The one vocabulary of parameters: their rules, and the reading of values that arrive typed in every possible way."""

import math
import re
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict

from models.backends.errors import BadRequest, names_like
from models.entities import ParameterValue, StrictModel

MAX_SEED = 2**53 - 1  # the host carries numbers as float64; a larger seed would come back as another one
RANDOM_SEED = -1

type RuleType = Literal["int", "float", "string", "text", "boolean"]


class Text(BaseModel):
    """A sentence in the languages of the plugin; the host falls back to English."""

    model_config = ConfigDict(frozen=True)

    en_US: str  # noqa: N815 -- the host's names
    zh_Hans: str | None = None  # noqa: N815
    ja_JP: str | None = None  # noqa: N815


class Rule(StrictModel):
    """One parameter: the same fields as a `parameter_rules` entry of a model card.

    `open_ended` options are only those known today: the service gets to see any other word.
    """

    name: str
    type: RuleType
    label: Text
    help: Text | None = None
    required: bool = False
    default: ParameterValue | None = None
    min: float | None = None
    max: float | None = None
    precision: int | None = None
    options: tuple[str, ...] = ()
    open_ended: bool = False

    def narrowed(self, **changes: object) -> Self:
        """The same parameter with other bounds, choices, default or help, as one model has them.

        A default that is not among the changes is brought within the new bounds, or dropped where it is no choice.
        """
        rule = self.model_validate({**self.model_dump(), **changes})
        return rule if "default" in changes else rule.model_copy(update={"default": _fitting(rule)})


def _fitting(rule: Rule) -> ParameterValue | None:
    if isinstance(rule.default, (int, float)) and rule.type in {"int", "float"}:
        return clamped(rule, rule.default)
    return rule.default if not rule.options or rule.default in rule.options else None


def clamped(rule: Rule, number: float) -> float:
    """The nearest number within the bounds of `rule`, a whole one where its type is "int"."""
    raised = number if rule.min is None else max(rule.min, number)
    within = raised if rule.max is None else min(rule.max, raised)
    return round(within) if rule.type == "int" else within


def read_yaml(path: Path) -> Any:
    # The C loader makes the start of the process noticeably shorter; both are safe loaders.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text("utf-8"), Loader=loader)  # noqa: S506


def load_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a YAML file, a list in the format of a model card's `parameter_rules`."""
    return tuple(Rule.model_validate(entry) for entry in read_yaml(path))


PROMPT_RULE, *_others = load_rules(Path(__file__).with_name("parameters.yaml"))
VOCABULARY: tuple[Rule, ...] = tuple(_others)
RULES: Mapping[str, Rule] = {rule.name: rule for rule in VOCABULARY}


EVERY_MODEL = tuple(
    RULES[name] for name in ("directives", "cache", "stamp", "ai_label", "variants", "thumbnail", "fallback")
)
"""Parameters that belong to every model, whatever its service can do. They are on no card: the schema adds them."""

FORM_ONLY = frozenset(
    {"width", "height", "aspect_ratio", "seed", "denoising_strength", "output_quality", "timeout", "thumbnail"}
)
"""Parameters whose default is only what the form starts with: to leave them out means something else. Services add theirs."""


def read_values(
    rules: Iterable[Rule],
    values: Mapping[str, object],
    form_only: Container[str] = FORM_ONLY,
) -> dict[str, ParameterValue]:
    """The values that have a rule, each as the type that its rule names. The others have their default but for `form_only`.

    Numbers may come as text, whole numbers as floats, booleans as words: workflow variables are typed by their
    content. Values without a rule are left out (a fresh LLM node carries `temperature`).
    Raises BadRequest with one sentence that names the parameter, the value and what is allowed.
    """
    read: dict[str, ParameterValue] = {}
    for rule in rules:
        value = values.get(rule.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            value = None if rule.name in form_only else rule.default
        if value is not None:
            read[rule.name] = read_value(rule, value)
    if read.get("seed") == RANDOM_SEED:
        del read["seed"]
    return read


def read_value(rule: Rule, value: object) -> ParameterValue:
    """One value as its rule's type, checked against bounds and choices. Raises BadRequest."""
    match rule.type:
        case "int" if rule.name == "timeout":
            return _within(rule.narrowed(max=None), _whole(rule, value), value)  # a longer one is lowered later
        case "int":
            return _within(rule, _whole(rule, value), value)
        case "float":
            return _within(rule, _number(rule, value), value)
        case "boolean":
            return _truth(rule, value)
        case "string" if rule.name == "aspect_ratio":
            return _ratio(rule, value)
        case "string":
            return _choice(rule, _plain(value))
        case "text":
            return _plain(value)


def nearest_value(rule: Rule, value: object) -> tuple[ParameterValue, str]:
    """The value, or the nearest that the rule allows and words for it. A seed has no near one. Raises BadRequest."""
    try:
        return read_value(rule, value), ""
    except BadRequest:
        if rule.type not in {"int", "float"} or rule.name == "seed":
            raise
        near = clamped(rule, _number(rule, value))
        return read_value(rule, near), f"{near:g}, the nearest value"


def _number(rule: Rule, value: object, allowed: str = "a number") -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with suppress(ValueError):
            if math.isfinite(number := float(value)):
                return number
    raise refused(rule, value, allowed)


# Longer digits are out of every bound, and int() itself refuses very many of them.
_EXACT_WHOLE = re.compile(r"[+-]?\d{1,20}")


def _whole(rule: Rule, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _EXACT_WHOLE.fullmatch(value.strip()):
        return int(value)
    number = _number(rule, value, "a whole number")
    if number != int(number):
        raise refused(rule, value, "a whole number")
    return int(number)


def _within[N: (int, float)](rule: Rule, number: N, value: object) -> N:
    low, high = rule.min, rule.max
    if (low is not None and number < low) or (high is not None and number > high):
        raise refused(rule, value, _bounds(low, high))
    return number


def _bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"a number between {_plain(low)} and {_plain(high)}"
    return f"a number of at least {_plain(low)}" if low is not None else f"a number of at most {_plain(high)}"


_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def _truth(rule: Rule, value: object) -> bool:
    word = _plain(value).lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise refused(rule, value, "true or false")


def _plain(value: object) -> str:
    # A workflow variable with the text `1.0` or `true` arrives as a number or a boolean.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*[:：/xX×]\s*(\d+(?:\.\d+)?)")


def _ratio(rule: Rule, value: object) -> str:
    """Any ratio: what a model makes of one that it does not offer is settled later."""
    found = _RATIO.fullmatch(_plain(value))
    if found is None or not (float(found[1]) and float(found[2])):
        raise refused(rule, value, "a ratio such as 16:9")
    return f"{found[1]}:{found[2]}"


def _choice(rule: Rule, word: str) -> str:
    if not rule.options or word in rule.options:
        return word
    matches = [option for option in rule.options if option.casefold() == word.casefold()]
    if len(matches) == 1:
        return matches[0]
    if rule.open_ended:
        return word
    raise refused(rule, word, f"one of {names_like(word, rule.options)}")


def refused(rule: Rule, value: object, allowed: str) -> BadRequest:
    shown = str(value)
    return BadRequest(f"The parameter `{rule.name}` cannot be {shown[:80]!r}", next_step=f"Give {allowed}")
