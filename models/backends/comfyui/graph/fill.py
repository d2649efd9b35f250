"""Put a request into a workflow: values as JSON values of the right type, on a deep copy.

Nothing is ever replaced in serialised JSON, and what was put in is not searched for placeholders again: no prompt can
break the graph or reach beyond its own input.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import Graph, Link, MutableGraph, Node, RawGraph, Target, as_link, is_number
from models.backends.comfyui.graph.images import fill_images, fill_mask
from models.backends.comfyui.graph.nodes import node_knowledge
from models.backends.comfyui.graph.slots import PLACEHOLDER, SAMPLING, Slots, parameter_name, read_placeholder, typed
from models.backends.errors import BadRequest
from models.entities import ImageRequest, ParameterValue
from models.parameters import RULES

type Values = Mapping[str, ParameterValue]
type LookUp = Callable[[str, str | None], ParameterValue | None]


_OPTIONAL_TITLE = re.compile(r"\s*optional\s*:\s*(?P<name>.+?)\s*", re.IGNORECASE)
_DRAFT_SIDE = math.sqrt(0.5)  # half the pixels


@dataclass(frozen=True, slots=True)
class Filled:
    """A graph ready for `POST /prompt`. `seed` is the one that was put in, None where the workflow has no slot for it."""

    graph: RawGraph
    seed: int | None
    notices: tuple[str, ...]


def fill(
    graph: Graph,
    slots: Slots,
    request: ImageRequest,
    images: Sequence[JsonValue],
    mask: JsonValue,
    now: datetime | None,
) -> Filled:
    require_clear_prompt(slots)
    raw = graph.raw()
    values = _values(slots, request)
    notices = [*_draft_notice(slots, request, values), *_unused(slots, request), *_kept_steps(slots, request)]
    notices += _negative_notice(slots, values)
    _fill_placeholders(raw, slots, values)
    leave_out(raw, graph, lambda name: bool(values.get(name) or slots.own(name)))
    _fill_places(raw, graph, slots, values)
    notices += fill_images(raw, graph, slots.images, images)
    fill_mask(raw, slots.mask, request.images, images, mask)
    notices += _repeat(raw, slots, request.n)
    _fill_tokens(raw, graph, now or datetime.now().astimezone())
    _complete(raw, graph)
    return Filled(raw, request.seed if "seed" in slots.found else None, tuple(notices))


def require_clear_prompt(slots: Slots) -> None:
    """Raises BadRequest, with the candidates and the way out, where the prompt could belong to several places."""
    if "prompt" in slots.ambiguous:
        raise BadRequest(
            "The workflow does not show where the prompt belongs",
            slots.ambiguous["prompt"],
            "Write {{prompt}} where it belongs, or give the node the title `input:prompt`",
        )


# Values


def _values(slots: Slots, request: ImageRequest) -> dict[str, ParameterValue]:
    """Everything that the request asks for, by parameter name; what it leaves open keeps the workflow's own value."""
    asked = {name: getattr(request, name, None) for name in RULES if name not in ("width", "height")}
    values: dict[str, ParameterValue] = {
        **request.extra,
        **{name: value for name, value in asked.items() if value not in (None, "")},
        "prompt": request.prompt,
        **_size(slots, request),
    }
    if request.extra.get("draft") and isinstance(steps := values.get("steps", slots.own("steps")), int):
        values["steps"] = max(1, steps // 2)
    return {name: _own_spelling(slots.own(name), value) for name, value in values.items()}


def _size(slots: Slots, request: ImageRequest) -> dict[str, ParameterValue]:
    """Width and height where they are not the workflow's own, which stay as its author wrote them."""
    asked = {"width": request.width, "height": request.height}
    if not request.extra.get("draft"):
        return {side: value for side, value in asked.items() if value is not None and value != slots.own(side)}
    sides = {side: value or slots.own(side) for side, value in asked.items()}
    numbers = {side: value for side, value in sides.items() if is_number(value) and value}
    return {side: _snapped(value * _DRAFT_SIDE, slots.sizes.multiple) for side, value in numbers.items()}


def _snapped(value: float, multiple: int) -> int:
    return max(multiple, math.floor(value / multiple + 0.5) * multiple)


def _own_spelling(own: ParameterValue | None, value: ParameterValue) -> ParameterValue:
    # Values arrive trimmed, the form's defaults too: "masterpiece, " must keep the space its author wrote.
    return own if isinstance(own, str) and value == own.strip() else value


# Notices


def _draft_notice(slots: Slots, request: ImageRequest, values: Values) -> Iterator[str]:
    full = request.steps or slots.own("steps")
    if request.extra.get("draft") and isinstance(full, int):
        size = ", half the pixels" if "width" in values else ""
        yield f"Draft: {values['steps']} steps instead of {full}{size}"


def _unused(slots: Slots, request: ImageRequest) -> Iterator[str]:
    if "prompt" in slots.missing:
        yield f"The workflow takes no prompt, the text was not used: {slots.missing['prompt']}"
    for name in (*SAMPLING, "width", "height"):
        if getattr(request, name) is not None and name not in slots.found:
            yield f"`{name}` was not used: {slots.why_not(name)}"


def _kept_steps(slots: Slots, request: ImageRequest) -> Iterator[str]:
    if request.steps is not None and request.steps != slots.own("steps"):
        names = node_knowledge().inputs.settings["steps"]
        yield from (words for place, words in slots.kept.items() if place.input in names)


def _negative_notice(slots: Slots, values: Values) -> Iterator[str]:
    wish = values.get("negative_prompt")
    if not wish or wish == slots.own("negative_prompt"):
        return
    if "negative_prompt" not in slots.found:
        yield f"The negative prompt was not used: {slots.why_not('negative_prompt')}"
    elif values.get("cfg_scale", slots.own("cfg_scale")) == 1:
        yield "The negative prompt has no effect: this workflow runs with a CFG scale of 1"


# Placeholders and places


def _fill_placeholders(raw: MutableGraph, slots: Slots, values: Values) -> None:
    missing: dict[str, None] = {}

    def look_up(name: str, default: str | None) -> ParameterValue | None:
        slot = slots.found.get(name)
        if slot is None:  # an image's file name, which its own slot fills
            return None
        stated = typed(default, slot.kind) if default is not None else None
        usual = "" if name == "negative_prompt" else None
        value = next((one for one in (values.get(name), stated, slot.default, usual) if one is not None), None)
        if value is None:
            missing[name] = None
        return value

    for node in raw:
        inputs = raw.inputs(node)
        for name, value in inputs.items():
            inputs[name] = _replaced(value, look_up)
    if missing:
        named = ", ".join(f"`{name}`" for name in missing)
        raise BadRequest(
            f"The workflow asks for {named}", "no value was given", "Set the parameter, or write {{name|default}}"
        )


def _replaced(value: JsonValue, look_up: LookUp) -> JsonValue:
    """`value` with every placeholder filled by `look_up(name, default)`; where that returns None it stays as it is.

    A string that is exactly one placeholder becomes the typed value. What is put in is never searched again, so that
    no prompt can smuggle a placeholder in.
    """
    match value:
        case str():
            return _replaced_text(value, look_up)
        case list():
            return [_replaced(item, look_up) for item in value]
        case dict():
            return {key: _replaced(item, look_up) for key, item in value.items()}
        case _:
            return value


def _replaced_text(text: str, look_up: LookUp) -> JsonValue:
    whole = PLACEHOLDER.fullmatch(text.strip())
    if whole:
        value = look_up(*read_placeholder(whole))
        return text if value is None else value

    def as_text(found: re.Match[str]) -> str:
        value = look_up(*read_placeholder(found))
        if value is None:
            return found[0]
        return str(value).lower() if isinstance(value, bool) else str(value)

    return PLACEHOLDER.sub(as_text, text)


def _fill_places(raw: MutableGraph, graph: Graph, slots: Slots, values: Values) -> None:
    for slot in slots.found.values():
        value = values.get(slot.name)
        if slot.by == "placeholder" or value is None:
            continue
        for place in slot.places:
            if place.node in raw:
                raw.inputs(place.node)[place.input] = _scaled(slots, place, value)
                if slot.name in ("width", "height"):
                    _let_size_count(raw, graph, place)


def _let_size_count(raw: MutableGraph, graph: Graph, place: Target) -> None:
    """A loader with a list of sizes takes its own width and height only where the list says "custom"."""
    switch = graph.nodes[place.node].meaning.custom_size
    if switch and switch in raw.inputs(place.node):
        spec = graph.spec(Target(place.node, switch))
        choices = spec.choices or () if spec else ()
        custom = (choice for choice in choices if "custom" in choice.lower() or "自定义" in choice)
        raw.inputs(place.node)[switch] = next(custom, "width x height (custom)")


def _scaled(slots: Slots, place: Target, value: ParameterValue) -> ParameterValue:
    if place.scale == 1 or not isinstance(value, (int, float)):
        return value
    if place.input in ("start_at_step", "end_at_step"):
        return round(value * place.scale)
    return _snapped(value * place.scale, slots.sizes.multiple)


# Optional nodes


def leave_out(raw: MutableGraph, graph: Graph, given: Callable[[str], bool]) -> None:
    """Bypass every optional node whose parameter `given` denies, as the editor does it: its users take what it took
    itself, and what only it needed (a ControlNet's loader and image) goes too.

    Raises BadRequest for a node that nothing can replace.
    """
    for node in graph.nodes.values():
        found = _OPTIONAL_TITLE.fullmatch(node.title)
        if found and not given(parameter_name(found["name"])):
            _bypass(raw, graph, node)


def _bypass(raw: MutableGraph, graph: Graph, node: Node) -> None:
    passes = node.meaning.passes or _by_type(graph, node)
    used = {link.slot for _, _, link in raw.links() if link.node == node.id}
    for slot in used:
        # What the node takes now counts: its source may have been bypassed meanwhile.
        source = as_link(raw.inputs(node.id).get(passes[slot])) if 0 <= slot < len(passes) else None
        if source is None:
            raise BadRequest(
                f"The workflow's {node.described} is optional and cannot be left out",
                f"nothing of what it takes can stand for its output {slot}",
                "Take the title `optional:` off the node",
            )
        raw.rewire(Link(node.id, slot), source)
    _drop(raw, node.id)


def _by_type(graph: Graph, node: Node) -> tuple[str, ...]:
    """For each output the first linked input of its type."""
    known = graph.definition(node)
    if known is None:
        return ()
    linked = [spec for spec in known.inputs.values() if node.link(spec.name)]
    return tuple(next((spec.name for spec in linked if spec.kind == kind), "") for kind in known.outputs)


def _drop(raw: MutableGraph, node: str) -> None:
    waiting = [node]
    for gone in waiting:  # the list grows while it is walked
        sources = {link.node for user, _, link in raw.links() if user == gone}
        raw.pop(gone, None)
        used = {link.node for _, _, link in raw.links()}
        waiting.extend(source for source in sorted(sources) if source in raw and source not in used)


# Number of images, and what a newer server wants


def _repeat(raw: MutableGraph, slots: Slots, count: int) -> Iterator[str]:
    """Several images of a workflow without a batch field: the latent that sampling starts from is repeated."""
    if count == 1 or "n" in slots.found:
        return
    latent = slots.sizes.latent
    if latent is None:
        yield "`n` was not used: the workflow has no field for the number of images"
        return
    inputs: dict[str, JsonValue] = {"samples": [latent.node, latent.slot], "amount": count}
    raw.insert_after(latent, "RepeatLatentBatch", "Number of images", inputs)


# Tokens of the editor in file names: %date:yyyy-MM-dd%, %KSampler.seed%

_TOKEN = re.compile(r"%(?:date:(?P<date>[^%]+)|(?P<node>[^%.]+)\.(?P<input>[^%.]+))%")
_DATE_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyyy|yy")
_NOT_IN_FILE_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def _fill_tokens(raw: MutableGraph, graph: Graph, now: datetime) -> None:
    """Fill the tokens as the editor does before it sends a graph; the server would take them for folder names.

    A prefix that came with the request gets dates alone: it must not read what else stands in the workflow.
    """
    for node in raw:
        for name, value in raw.inputs(node).items():
            if "prefix" in name and isinstance(value, str) and "%" in value:
                own = node in graph.nodes and graph.nodes[node].inputs.get(name) == value
                raw.inputs(node)[name] = _TOKEN.sub(partial(_token, raw, now, own=own), value)


def _token(raw: MutableGraph, now: datetime, found: re.Match[str], *, own: bool) -> str:
    if found["date"]:
        return _DATE_PART.sub(lambda part: _date_part(part[0], now), found["date"])
    node = _named_node(raw, found["node"]) if own else None
    value = raw.inputs(node).get(found["input"]) if node else None
    if value is None or isinstance(value, (list, dict)):
        return found[0]
    return _NOT_IN_FILE_NAMES.sub("_", str(value))


def _named_node(raw: MutableGraph, name: str) -> str | None:
    if name in raw:
        return name
    titled = [node for node, content in raw.items() if content.get("_meta") == {"title": name}]
    return next(iter([*titled, *(node for node, content in raw.items() if content["class_type"] == name)]), None)


def _date_part(part: str, now: datetime) -> str:
    year = now.year % 10 ** len(part)
    number = {"y": year, "d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}[part[0]]
    return f"{number:0{len(part)}d}"


def _complete(raw: MutableGraph, graph: Graph) -> None:
    """Add the required values that the workflow's ComfyUI did not know yet, and write file paths as the server does."""
    for node_id, node in raw.items():
        known = graph.info.classes.get(str(node["class_type"])) if graph.info else None
        inputs = raw.inputs(node_id)
        for spec in known.inputs.values() if known else ():
            if spec.name not in inputs and spec.required and spec.is_widget and "default" in spec.options:
                inputs[spec.name] = spec.default
            value = inputs.get(spec.name)
            if isinstance(value, str):
                inputs[spec.name] = spec.spelled(value)
