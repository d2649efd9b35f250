"""What the directives of a prompt may change: as far as the node allows it, and as near as the model can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.backends.errors import BadRequest
from models.entities import ParameterValue
from models.parameters import RULES, Rule, read_value
from models.request.directives import Directed

LOOK = frozenset(
    {
        *("aspect_ratio", "negative_prompt", "seed", "style_preset", "sampler", "scheduler", "cfg_scale", "guidance"),
        *("distilled_cfg_scale", "denoising_strength", "output_format", "output_quality", "prompt_extend", "details"),
    }
)
"""Parameters that change the look at the same price."""
NEVER = frozenset({"directives", "ai_label", "fallback"})
"""Parameters that are the node's alone."""

_AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Overrides:
    """The values that directives set, by parameter name, and what the user must know about the others."""

    values: Mapping[str, ParameterValue]
    notices: tuple[str, ...]


def overrides(directed: Directed, rules: Sequence[Rule], policy: str, model: str) -> Overrides:
    """The directives that count for `model`, whose parameters are `rules`, under the node's parameter `directives`.

    Raises BadRequest for a value of which only a guess could be made.
    """
    known = {rule.name: rule for rule in rules}
    values: dict[str, ParameterValue] = {}
    notices = list(directed.notices)
    for name, given in directed.values.items():
        said = f"`{directed.said[name]}`"
        if reason := _refusal(name, given, known, policy, model):
            notices.append(f"{said} was ignored: {reason}.")
            continue
        values[name], change = _nearest(known[name], given)
        if change:
            notices.append(f"{said} became {change} that {model} takes.")
    return Overrides(values, tuple(dict.fromkeys(notices)))


def _refusal(name: str, given: str | bool, known: Mapping[str, Rule], policy: str, model: str) -> str:
    """Why a directive does not count; empty where it does."""
    if name in NEVER:
        return "only the node sets it"
    if name not in known:
        return f"{model} has no parameter {name}"
    if policy == "off":
        return "the node's `directives` is off"
    if policy == "look" and name not in LOOK:
        return "the node's `directives` allows only what changes the look at the same price; `all` allows it"
    if str(given).lower() == _AUTO and _AUTO not in known[name].options:
        return f"{model} decides what is not set"
    if name == "style_preset" and not _is_choice(known[name], given):
        return f"{model} has no such style"
    return ""


def _is_choice(rule: Rule, given: str | bool) -> bool:
    return not rule.options or str(given).casefold() in {option.casefold() for option in rule.options}


def _nearest(rule: Rule, given: str | bool) -> tuple[ParameterValue, str]:
    """The value, or the nearest that the rule allows and words for it. A seed has no near one. Raises BadRequest."""
    try:
        return read_value(rule, given), ""
    except BadRequest:
        if rule.type not in {"int", "float"} or rule.name == "seed":
            raise
        near = _clamped(
            rule, float(read_value(rule.model_copy(update={"type": "float", "min": None, "max": None}), given))
        )
        return read_value(rule, near), f"{near:g}, the nearest value"


def _clamped(rule: Rule, number: float) -> float:
    low = number if rule.min is None else max(rule.min, number)
    within = low if rule.max is None else min(rule.max, low)
    return round(within) if rule.type == "int" else within


def policy_of(parameters: Mapping[str, object]) -> str:
    """The node's parameter `directives`. Raises BadRequest for a value that is none."""
    given = parameters.get("directives")
    if given is False:  # a bare `off` in YAML
        return "off"
    return str(read_value(RULES["directives"], given if isinstance(given, str) and given.strip() else "look"))
