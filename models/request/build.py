"""From a conversation and a node's parameters to one settled ImageRequest."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.entities import ImageRequest, ParameterValue
from models.parameters import RULES, Rule, read_values
from models.request.conversation import Conversation
from models.request.directives import split_directives
from models.request.input_images import images_and_mask
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
    rules = backend.rules()
    directed = split_directives(conversation.prompt, rules)
    node = read_values(_with_shape(rules), parameters, form_only=backend.form_only)
    told = read_values(_with_shape(rules), directed.values, defaults=False)
    values = {**node, **told}
    if not directed.prompt and backend.needs_prompt(values):
        raise BadRequest("There is no prompt", next_step="Write what the image shows into the node's user message")
    pixels = None
    if "aspect_ratio" in told and not {"width", "height"} & set(told):
        # The later word counts: a ratio in the prompt is not beaten by the node's width and height.
        pixels = area_of(node)
        values = {name: value for name, value in values.items() if name not in {"width", "height"}}
    images, mask = images_and_mask(backend, conversation)
    request = ImageRequest(
        **{"timeout": timeout, **_common(values)},  # type: ignore[arg-type]  # read_values gave each the type of its rule
        model=backend.model.name,
        prompt=directed.prompt,
        images=images,
        mask=mask,
        extra={name: value for name, value in values.items() if name not in _COMMON | _SETTLED},
        notices=tuple(_ignored(directed.values, rules, backend.model.name)),
    )
    return settle(request, wish_of(values, pixels), backend)


def _common(values: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    return {name: value for name, value in values.items() if name in _COMMON - _SETTLED}


def _with_shape(rules: Sequence[Rule]) -> Sequence[Rule]:
    """A model whose form has width and height, or a ratio, understands the other spelling as well."""
    named = {rule.name for rule in rules}
    return (*rules, *(RULES[name] for name in _SHAPE if named & set(_SHAPE) and name not in named))


def _ignored(directives: Mapping[str, object], rules: Sequence[Rule], model: str) -> list[str]:
    named = {rule.name for rule in _with_shape(rules)}
    return [f"`--{name}` was ignored: {model} has no parameter {name}." for name in directives if name not in named]
