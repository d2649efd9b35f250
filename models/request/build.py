"""From a conversation and a node's parameters to one settled ImageRequest.

First it is read what was asked for (`Wanted`), by the rules of the asked model; then a request is settled for the model
that answers, which may be another one (`models/routing.py`). The directives of a prompt change what the node allows them
to, as near as the model can.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.entities import ImageRequest, ParameterValue, StrictModel
from models.parameters import EVERY_MODEL, RANDOM_SEED, RULES, Rule, nearest_value, read_value, read_values
from models.request.conversation import Conversation, images_and_mask
from models.request.directives import Directed, split_directives
from models.sizes import Wish, area_of, settle_seeds, settle_size, wish_of

type Values = Mapping[str, ParameterValue]

_COMMON = frozenset(f.name for f in fields(ImageRequest)) & frozenset(RULES)
_SHAPE = ("width", "height", "aspect_ratio")
_SETTLED = frozenset({*_SHAPE, "seed"})
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


class Wanted(StrictModel):
    """What was asked for, as plain JSON: no defaults of a model, no size or seed settled yet.

    `values` are the parameters that node and directives set, each of its rule's type, as `model` takes them; `pixels` goes
    with a ratio that shall keep a number of pixels. `notices` are sentences for the user.
    """

    model: str
    prompt: str
    values: dict[str, ParameterValue]
    pixels: int | None = None
    notices: tuple[str, ...] = ()


def build_request(
    backend: Backend, conversation: Conversation, parameters: Mapping[str, object], *, timeout: float
) -> ImageRequest:
    """The request of one call. `timeout` (seconds) applies where neither node nor directive names one.

    Raises BadRequest for an empty prompt, a bad value or an image that cannot be read, ConnectionFailed for an image
    whose address does not answer.
    """
    return settled_request(backend, read_wanted(backend, conversation, parameters), conversation, timeout=timeout)


def read_wanted(backend: Backend, conversation: Conversation, parameters: Mapping[str, object]) -> Wanted:
    """What node and prompt ask `backend`'s model for. Raises BadRequest for a bad value."""
    rules = rules_for(backend)
    directed = split_directives(conversation.text_for(backend.capabilities), rules)
    given = {name: value for name, value in parameters.items() if name != "directives"}
    node = read_values(rules, given, form_only={rule.name for rule in rules})
    policy = _policy_of(parameters)
    told, notices = _overrides(directed, rules, policy, backend)
    values, pixels = _shaped(node, told)
    notices = (*conversation.notices, *notices, *_lost(node, directed, told))
    return Wanted(model=backend.model.name, prompt=directed.prompt, values=values, pixels=pixels, notices=notices)


def settled_request(backend: Backend, wanted: Wanted, conversation: Conversation, *, timeout: float) -> ImageRequest:
    """`wanted` with the defaults, the images, the size and the seeds of `backend`'s model. Raises as `build_request`."""
    values = read_values(rules_for(backend), wanted.values, form_only=backend.form_only)
    if not wanted.prompt and backend.needs_prompt(values):
        raise BadRequest("There is no prompt", next_step="Write what the image shows into the node's user message")
    images, mask = images_and_mask(backend, conversation)
    common = {name: value for name, value in values.items() if name in _COMMON - _SETTLED}
    request = ImageRequest(
        **{"timeout": timeout, **common},  # type: ignore[arg-type]  # read_values gave each the type of its rule
        model=backend.model.name,
        prompt=wanted.prompt,
        images=images,
        mask=mask,
        extra={name: value for name, value in values.items() if name not in _COMMON | _SETTLED | NEVER},
        notices=wanted.notices,
    )
    return settle(request, wish_of(values, wanted.pixels), backend)


def settle(request: ImageRequest, wish: Wish, backend: Backend) -> ImageRequest:
    """`request` with a size and seeds that its model takes, and a notice for each that is not what was asked for.

    Raises BadRequest for a seed that the service does not take.
    """
    size, size_notices = settle_size(wish, backend.sizes(request), backend.model.name)
    seeds, seed_notices = settle_seeds(wish.seed, backend.seeds(request), request.n, backend.title)
    width, height = size or (None, None)
    settled = replace(request, width=width, height=height, seeds=seeds, asked_seed=wish.seed)
    return settled.with_notices(*size_notices, *seed_notices)


def rules_for(backend: Backend) -> Sequence[Rule]:
    """The rules of a model, and those of every model.

    A model whose form has width and height, or a ratio, understands the other spelling as well.
    """
    rules = backend.rules()
    named = {rule.name for rule in rules}
    shape = (RULES[name] for name in _SHAPE if named & set(_SHAPE))
    return (*rules, *(rule for rule in (*shape, *EVERY_MODEL) if rule.name not in named))


def _shaped(node: Values, told: Values) -> tuple[Values, int | None]:
    """All values together, and the number of pixels that a ratio of the prompt keeps: it beats the node's size."""
    values = {**node, **told}
    if values.get("seed") == RANDOM_SEED:  # in the prompt it takes back the node's seed
        del values["seed"]
    if "aspect_ratio" not in told or {"width", "height"} & set(told):
        return values, None
    return {name: value for name, value in values.items() if name not in {"width", "height"}}, area_of(node)


def _lost(node: Values, directed: Directed, told: Values) -> Iterator[str]:
    """What a directive beat: a value of the node, or another directive about the shape."""
    beaten: dict[str, list[str]] = {}
    for name, value in told.items():
        if name in node and node[name] != value:
            beaten.setdefault(directed.said[name], []).append(f"`{name}`")
    yield from (f"The node's {' and '.join(names)} lost to `{said}`." for said, names in beaten.items())
    if {"aspect_ratio", "width", "height"} <= set(told):
        yield f"`{directed.said['aspect_ratio']}` lost to `{directed.said['width']}`."


# --- directives --------------------------------------------------------------------------------------------------------


def _overrides(
    directed: Directed, rules: Sequence[Rule], policy: str, backend: Backend
) -> tuple[Values, Sequence[str]]:
    """The values that the directives set for a model, whose parameters are `rules`, and notices about the others.

    `policy` is the node's parameter `directives`. Raises BadRequest for a value of which only a guess could be made.
    """
    known, model = {rule.name: rule for rule in rules}, backend.model.name
    values: dict[str, ParameterValue] = {}
    notices = list(directed.notices)
    for name, given in directed.values.items():
        said = f"`{directed.said[name]}`"
        if reason := _refusal(name, given, known, policy, backend):
            notices.append(f"{said} was ignored: {reason}.")
            continue
        values[name], change = nearest_value(known[name], given)
        if change:
            notices.append(f"{said} became {change} that {model} takes.")
    return values, list(dict.fromkeys(notices))


def _refusal(name: str, given: str | bool, known: Mapping[str, Rule], policy: str, backend: Backend) -> str:
    """Why a directive does not count; empty where it does."""
    model = backend.model.name
    if name in NEVER:
        return "only the node sets it"
    if name not in known:
        return f"{model} has no parameter {name}"
    if policy == "off":
        return "the node's `directives` is off"
    if policy == "look" and name not in LOOK | backend.look:
        return "the node's `directives` allows only what changes the look at the same price; `all` allows it"
    if str(given).lower() == _AUTO and _AUTO not in known[name].options:
        return f"{model} decides what is not set"
    styles = known[name].options if name == "style_preset" else ()
    if styles and str(given).casefold() not in {style.casefold() for style in styles}:
        return f"{model} has no such style"
    return ""


def _policy_of(parameters: Mapping[str, object]) -> str:
    """The node's parameter `directives`. Raises BadRequest for a value that is none."""
    given = parameters.get("directives")
    if given is False:  # a bare `off` in YAML
        return "off"
    return str(read_value(RULES["directives"], given if isinstance(given, str) and given.strip() else "look"))
