"""Put a request into a workflow: values as JSON values of the right type, on a deep copy.

Nothing is ever replaced in serialised JSON, and what was put in is not searched for placeholders again: no prompt can
break the graph or reach beyond its own input.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from models.backends.comfyui.graph.edits import inputs_of, insert_after
from models.backends.comfyui.graph.fill_images import fill_images, fill_mask
from models.backends.comfyui.graph.graph import Graph, RawGraph, Target
from models.backends.comfyui.graph.kinds import typed
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.optional import leave_out
from models.backends.comfyui.graph.placeholders import replaced
from models.backends.comfyui.graph.sizing import wanted_size
from models.backends.comfyui.graph.slots import MARK_IT, Slots
from models.backends.errors import BadRequest
from models.entities import ImageRequest, ParameterValue
from models.parameters import RULES

SEED_LIMIT = 2**32  # seeds above 2**53 lose digits in JavaScript and in JSON tools; below 2**32 every reader is safe

_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Filled:
    """A graph ready for `POST /prompt`. `seed` is the one that was put in, None where the workflow has no slot for it."""

    graph: RawGraph
    seed: int | None
    notices: tuple[str, ...]


@dataclass(slots=True)
class _Work:
    """What the steps of one filling share."""

    graph: Graph
    slots: Slots
    request: ImageRequest
    info: ObjectInfo | None
    raw: RawGraph
    notices: list[str] = field(default_factory=list)

    def own(self, name: str) -> ParameterValue | None:
        slot = self.slots.get(name)
        return slot.default if slot else None


def fill(
    graph: Graph,
    slots: Slots,
    request: ImageRequest,
    *,
    images: Sequence[str] = (),
    mask: str | None = None,
    seed: int | None = None,
    filename_prefix: str | None = None,
    info: ObjectInfo | None = None,
) -> Filled:
    """The workflow with the request in it.

    `images` and `mask` are the names that the server gave to the uploaded images, in the request's order. The seed
    is the request's, else `seed`, else drawn. Raises BadRequest when the workflow cannot take the request, naming the
    node and the way out.
    """
    work = _Work(graph, slots, request, info, graph.raw())
    values = _values(work, seed)
    _fill_placeholders(work, values)
    leave_out(work.raw, graph, lambda name: bool(values.get(name) or work.own(name)), info)
    _fill_places(work, values)
    work.notices.extend(fill_images(work.raw, graph, slots, images, info))
    fill_mask(work.raw, slots, request.images, images, mask)
    _repeat(work)
    if filename_prefix is not None:
        _rename(work.raw, filename_prefix)
    if info:
        _complete(work.raw, info)
    used = values.get("seed")
    return Filled(work.raw, used if isinstance(used, int) and "seed" in slots.found else None, tuple(work.notices))


# Values

_SET_APART = frozenset({"seed", "n", "negative_prompt", "width", "height"})


def _values(work: _Work, seed: int | None) -> dict[str, ParameterValue]:
    """Everything that the request asks for, by parameter name; what it leaves open keeps the workflow's own value."""
    request, slots = work.request, work.slots
    values: dict[str, ParameterValue] = {**request.extra, "prompt": request.prompt, "n": request.n}
    for name in RULES:
        value = getattr(request, name, None)
        if value is not None and name not in _SET_APART:
            values[name] = value
    if request.negative_prompt:
        values["negative_prompt"] = request.negative_prompt
    chosen = request.seed if request.seed is not None else seed
    values["seed"] = chosen if chosen is not None else _RANDOM.randrange(SEED_LIMIT)
    size, said = wanted_size(request, (work.own("width"), work.own("height")), slots.size_step)
    values.update(size)
    work.notices.extend(said)
    if request.extra.get("draft") is True:
        _halve_steps(work, values)
    _keep_own_spelling(work, values)
    _check_prompt(work)
    _notice_unused(work)
    _notice_negative(work, values)
    return values


def _keep_own_spelling(work: _Work, values: dict[str, ParameterValue]) -> None:
    # Values arrive trimmed, the form's defaults too: "masterpiece, " must keep the space its author wrote.
    for name, value in values.items():
        own = work.own(name)
        if isinstance(own, str) and value == own.strip():
            values[name] = own


def _halve_steps(work: _Work, values: dict[str, ParameterValue]) -> None:
    steps = values.get("steps", work.own("steps"))
    if isinstance(steps, int):
        values["steps"] = max(1, steps // 2)
        work.notices.append(f"Draft: {values['steps']} steps instead of {steps}, half the pixels")


def require_clear_prompt(slots: Slots) -> None:
    """Raises BadRequest, with the candidates and the way out, where the prompt could belong to several places."""
    if "prompt" in slots.ambiguous:
        raise BadRequest(
            "The workflow does not show where the prompt belongs",
            slots.ambiguous["prompt"],
            MARK_IT % ("prompt", "prompt"),
        )


def _check_prompt(work: _Work) -> None:
    require_clear_prompt(work.slots)
    if "prompt" in work.slots.missing:
        work.notices.append(f"The workflow takes no prompt, the text was not used: {work.slots.missing['prompt']}")


def _notice_unused(work: _Work) -> None:
    """Say which wishes the workflow has no place for."""
    request, slots = work.request, work.slots
    for name in ("seed", "steps", "cfg_scale", "sampler", "scheduler", "denoising_strength", "width", "height"):
        if getattr(request, name) is not None and name not in slots.found:
            why = slots.missing.get(name) or slots.ambiguous.get(name) or "the workflow has no place for it"
            work.notices.append(f"`{name}` was not used: {why}")


def _notice_negative(work: _Work, values: Mapping[str, ParameterValue]) -> None:
    wish = work.request.negative_prompt
    if not wish or wish == str(work.own("negative_prompt") or "").strip():
        return
    if "negative_prompt" not in work.slots.found:
        why = work.slots.missing.get("negative_prompt") or work.slots.ambiguous.get("negative_prompt", "")
        work.notices.append(f"The negative prompt was not used: {why}")
    elif values.get("cfg_scale", work.own("cfg_scale")) == 1:
        work.notices.append("The negative prompt has no effect: this workflow runs with a CFG scale of 1")


# Placeholders and places


def _fill_placeholders(work: _Work, values: Mapping[str, ParameterValue]) -> None:
    missing: dict[str, None] = {}

    def look_up(name: str, default: str | None) -> ParameterValue | None:
        slot = work.slots.get(name)
        if slot is None:  # an image's file name, which its own slot fills
            return None
        value = values.get(name)
        if value is None and default is not None:
            value = typed(default, slot.kind)
        if value is None:
            value = slot.default
        if value is None and name == "negative_prompt":
            value = ""
        if value is None:
            missing[name] = None
        return value

    for node in work.raw:
        inputs = inputs_of(work.raw, node)
        for name, value in inputs.items():
            inputs[name] = replaced(value, look_up)
    if missing:
        named = ", ".join(f"`{name}`" for name in missing)
        raise BadRequest(
            f"The workflow asks for {named}", "no value was given", "Set the parameter, or write {{name|default}}"
        )


def _fill_places(work: _Work, values: Mapping[str, ParameterValue]) -> None:
    for slot in work.slots.found.values():
        value = values.get(slot.name)
        if slot.by == "placeholder" or value is None:
            continue
        for place in slot.places:
            if place.node in work.raw:
                inputs_of(work.raw, place.node)[place.input] = _scaled(work, place, value)


def _scaled(work: _Work, place: Target, value: ParameterValue) -> ParameterValue:
    if place.scale == 1 or not isinstance(value, (int, float)):
        return value
    if place.input in ("start_at_step", "end_at_step"):
        return round(value * place.scale)
    step = work.slots.size_step
    return max(step, round(value * place.scale / step) * step)


# Number of images, and what a newer server wants


def _repeat(work: _Work) -> None:
    """Several images of a workflow without a batch field: the latent that sampling starts from is repeated."""
    wanted, latent = work.request.n, work.slots.latent
    if wanted == 1 or "n" in work.slots.found:
        return
    if latent is None:
        work.notices.append("`n` was not used: the workflow makes as many images as it makes")
        return
    inputs: dict[str, JsonValue] = {"samples": [latent.node, latent.slot], "amount": wanted}
    insert_after(work.raw, latent, "RepeatLatentBatch", "Number of images", inputs)


def _rename(raw: RawGraph, prefix: str) -> None:
    for node in raw:
        if "filename_prefix" in inputs_of(raw, node):
            inputs_of(raw, node)["filename_prefix"] = prefix


def _complete(raw: RawGraph, info: ObjectInfo) -> None:
    """Add the required values that the workflow's ComfyUI did not know yet, and write file paths as the server does."""
    for node in raw.values():
        known = info.classes.get(str(node["class_type"]))
        inputs = node["inputs"]
        if known is None or not isinstance(inputs, dict):
            continue
        for spec in known.inputs.values():
            if spec.name not in inputs and spec.required and spec.is_widget and "default" in spec.options:
                inputs[spec.name] = spec.default
            value = inputs.get(spec.name)
            if isinstance(value, str):
                inputs[spec.name] = spec.spelled(value)
