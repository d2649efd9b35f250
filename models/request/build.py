"""From a conversation and a node's parameters to one settled ImageRequest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.entities import ImageRequest, ParameterValue
from models.parameters import RANDOM_SEED, RULES, Rule, read_values
from models.request.conversation import Conversation
from models.request.directives import Directed, split_directives
from models.request.input_images import images_and_mask
from models.request.overrides import NEVER, overrides, policy_of
from models.request.shape import area_of, settle, wish_of

_COMMON = frozenset(f.name for f in fields(ImageRequest)) & frozenset(RULES)
_SHAPE = ("width", "height", "aspect_ratio")
_SETTLED = frozenset({*_SHAPE, "seed"})


def build_request(
    backend: Backend, conversation: Conversation, parameters: Mapping[str, object], *, timeout: float
) -> ImageRequest:
    """The request of one call. `timeout` (seconds) applies where neither node nor directive names one.

    Raises BadRequest for an empty prompt, a bad value or an image that cannot be read, ConnectionFailed for an image
    whose address does not answer.
    """
    rules = _with_shape(backend.rules())
    model = backend.model.name
    directed = split_directives(conversation.prompt, rules)
    others = {name: value for name, value in parameters.items() if name != "directives"}
    node = read_values(rules, others, form_only=backend.form_only)
    told = overrides(directed, rules, policy_of(parameters), model)
    values = {**node, **told.values}
    if not directed.prompt and backend.needs_prompt(values):
        raise BadRequest("There is no prompt", next_step="Write what the image shows into the node's user message")
    values, pixels = _shaped(node, told.values)
    images, mask = images_and_mask(backend, conversation)
    request = ImageRequest(
        **{"timeout": timeout, **_common(values)},  # type: ignore[arg-type]  # read_values gave each the type of its rule
        model=model,
        prompt=directed.prompt,
        images=images,
        mask=mask,
        extra={name: value for name, value in values.items() if name not in _COMMON | _SETTLED | NEVER},
        notices=(*conversation.notices, *told.notices, *_lost_ratio(directed, told.values)),
    )
    return settle(request, wish_of(values, pixels), backend)


def _common(values: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    return {name: value for name, value in values.items() if name in _COMMON - _SETTLED}


def _with_shape(rules: Sequence[Rule]) -> Sequence[Rule]:
    """A model whose form has width and height, or a ratio, understands the other spelling as well."""
    named = {rule.name for rule in rules}
    return (*rules, *(RULES[name] for name in _SHAPE if named & set(_SHAPE) and name not in named))


def _shaped(
    node: Mapping[str, ParameterValue], told: Mapping[str, ParameterValue]
) -> tuple[dict[str, ParameterValue], int | None]:
    """All values together, and the number of pixels that a ratio of the prompt keeps: it beats the node's size."""
    values = {**node, **told}
    if values.get("seed") == RANDOM_SEED:  # in the prompt it takes back the node's seed
        del values["seed"]
    if "aspect_ratio" not in told or {"width", "height"} & set(told):
        return values, None
    return {name: value for name, value in values.items() if name not in {"width", "height"}}, area_of(node)


def _lost_ratio(directed: Directed, told: Mapping[str, ParameterValue]) -> Iterator[str]:
    if {"aspect_ratio", "width", "height"} <= set(told):
        yield f"`{directed.said['aspect_ratio']}` lost to `{directed.said['width']}`."
