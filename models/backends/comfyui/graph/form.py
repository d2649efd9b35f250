"""The parameter form of a workflow: each slot with its type, the workflow's own value as default, and the server's
bounds and choices where its definitions are at hand."""

from models.backends.comfyui.graph.graph import Graph
from models.backends.comfyui.graph.nodes import InputSpec, workflow_rule, workflow_rules
from models.backends.comfyui.graph.slots import Slot, Slots
from models.entities import ParameterValue
from models.parameters import MAX_SEED, RULES, Rule, Text

_DELIVERY = ("output_format", "output_quality", "details", "timeout")
_ORDER = (
    *("negative_prompt", "width", "height", "aspect_ratio", "n", "seed", "steps", "cfg_scale", "sampler", "scheduler"),
    *("denoising_strength", "checkpoint"),
)


def make_form(graph: Graph, slots: Slots) -> tuple[Rule, ...]:
    """Every parameter that the workflow takes, in the vocabulary's order, its own ones after the common ones.

    The prompt is not among them: it comes from the messages.
    """
    rules = {name: _rule(graph, slot) for name, slot in slots.found.items() if _is_offered(slots, slot)}
    if "width" in rules and "height" in rules:
        rules["aspect_ratio"] = RULES["aspect_ratio"]
    if "n" not in rules and slots.sizes.latent is not None:
        rules["n"] = RULES["n"]
    if "width" in rules or "steps" in rules:
        rules["draft"] = workflow_rules()["draft"]
    common = [rules.pop(name) for name in _ORDER if name in rules]
    own = [rule for name, rule in rules.items() if name not in _DELIVERY]
    return (*common, *own, *(RULES[name] for name in _DELIVERY))


def _is_offered(slots: Slots, slot: Slot) -> bool:
    if slot.name == "denoising_strength" and slot.by == "trace":
        # On an empty latent a strength below 1 leaves noise in the image, so it is offered only where something is repainted.
        return slots.sizes.from_image or (isinstance(slot.default, (int, float)) and slot.default < 1)
    return slot.name != "prompt"


def _rule(graph: Graph, slot: Slot) -> Rule:
    spec = _spec(graph, slot)
    base = RULES.get(slot.name) or workflow_rule(slot.name) or _fresh_rule(slot)
    if slot.name == "seed":
        return base
    changes: dict[str, object] = {}
    if slot.default not in (None, ""):
        changes["default"] = slot.default
    elif slot.default is None and base.default is None and slot.name != "negative_prompt":
        changes["required"] = True
    changes.update(_bounds(base, slot, spec))
    if base.type == "string" and spec and spec.choices:
        changes["options"] = _options(spec.choices, slot.default)
    return base.narrowed(**changes)


def _fresh_rule(slot: Slot) -> Rule:
    """A parameter that the workflow's author made up: its name is its label."""
    label = Text(en_US=slot.name)
    return Rule(name=slot.name, type=slot.kind, label=label, precision=2 if slot.kind == "float" else None)


def _spec(graph: Graph, slot: Slot) -> InputSpec | None:
    specs = (graph.spec(place) for place in slot.places)
    return next((spec for spec in specs if spec is not None), None)


def _bounds(base: Rule, slot: Slot, spec: InputSpec | None) -> dict[str, object]:
    """The node class's bounds within the plugin's, wide enough for the workflow's own value."""
    if base.type not in ("int", "float"):
        return {}
    # What counts for the number of images is the plugin's bound: memory grows with a batch.
    low, high = (spec.number("min"), spec.number("max")) if spec and slot.name != "n" else (None, None)
    if high is not None and high > MAX_SEED:
        low, high = None, None  # a value node without bounds of its own
    low, high = base.min if low is None else low, base.max if high is None else high
    own = slot.default
    if isinstance(own, (int, float)) and not isinstance(own, bool):
        low, high = None if low is None else min(low, own), None if high is None else max(high, own)
    return {"min": low, "max": high}


def _options(choices: tuple[str, ...], own: ParameterValue | None) -> tuple[str, ...]:
    # The workflow's own file stays choosable when the server lacks it: the server then names it in its refusal.
    return choices if own in (None, "") or own in choices else (str(own), *choices)
