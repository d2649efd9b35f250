"""Placeholders in the strings of a workflow: `{{prompt}}`, `{{style|anime}}`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import Graph, Target
from models.entities import ParameterValue

_PATTERN = re.compile(r"\{\{\s*(?P<name>\w[\w-]*)\s*(?:\|(?P<default>[^{}]*))?\}\}")

# ComfyUI's own words for what the plugin calls otherwise everywhere.
ALIASES = {
    "positive": "prompt",
    "positive_prompt": "prompt",
    "negative": "negative_prompt",
    "cfg": "cfg_scale",
    "denoise": "denoising_strength",
    "sampler_name": "sampler",
    "noise_seed": "seed",
    "batch_size": "n",
    "ckpt_name": "checkpoint",
    "image_1": "image",
    "image1": "image",
    "image2": "image_2",
    "image3": "image_3",
}


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder where it stands. `whole`: the string is nothing else, so that it takes a typed value."""

    name: str
    default: str | None
    place: Target
    whole: bool


def canonical(name: str) -> str:
    """A placeholder's or title's word as a parameter name."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return ALIASES.get(plain, plain)


def find_placeholders(graph: Graph) -> Iterator[Placeholder]:
    for node in graph.nodes.values():
        for name, value in node.inputs.items():
            for text in _strings(value):
                for found in _PATTERN.finditer(text):
                    yield Placeholder(
                        canonical(found["name"]),
                        found["default"].strip() if found["default"] is not None else None,
                        Target(node.id, name),
                        whole=found[0] == text.strip(),
                    )


def replaced(value: JsonValue, look_up: Callable[[str, str | None], ParameterValue | None]) -> JsonValue:
    """`value` with every placeholder filled by `look_up(name, default)`; what it answers None to stays as it stands.

    A string that is exactly one placeholder becomes the typed value. What is put in is never searched again, so that
    no prompt can smuggle a placeholder in.
    """
    if isinstance(value, str):
        return _replaced(value, look_up)
    if isinstance(value, list):
        return [replaced(item, look_up) for item in value]
    if isinstance(value, dict):
        return {key: replaced(item, look_up) for key, item in value.items()}
    return value


def _replaced(text: str, look_up: Callable[[str, str | None], ParameterValue | None]) -> JsonValue:
    def value_of(found: re.Match[str]) -> ParameterValue | None:
        default = found["default"]
        return look_up(canonical(found["name"]), default.strip() if default is not None else None)

    whole = _PATTERN.fullmatch(text.strip())
    if whole:
        value = value_of(whole)
        return text if value is None else value

    def as_text(found: re.Match[str]) -> str:
        value = value_of(found)
        if value is None:
            return found[0]
        return str(value).lower() if isinstance(value, bool) else str(value)

    return _PATTERN.sub(as_text, text)


def _strings(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
