"""The form of a model as text, and the credentials of a model with a given ComfyUI workflow."""

import base64
import textwrap
from collections.abc import Iterator
from pathlib import Path

from sandbox.parameters import Rule, Schema

_IMAGES = (b"\x89PNG", b"RIFF")
_SHOWN = 6


def workflow_credentials(file: Path, *, base_url: str, api_key: str = "") -> dict[str, str]:
    """
    The form of a customizable model with this workflow.

    An image made by ComfyUI contains its workflow; it is passed as base64 because a form holds text.
    """
    data = file.read_bytes()
    workflow = base64.b64encode(data).decode() if data.startswith(_IMAGES) else data.decode("utf-8", "replace")
    return {"backend": "comfyui", "base_url": base_url, "api_key": api_key, "workflow": workflow}


def form_lines(schema: Schema) -> Iterator[str]:
    """The form, one parameter per line: name, type, bounds or options, default."""
    width = max((len(rule.name) for rule in schema.parameter_rules), default=0)
    for rule in schema.parameter_rules:
        yield f"{rule.name:<{width}}  {', '.join(_facts(rule))}"


def overview_lines(schema: Schema) -> Iterator[str]:
    """A model with its features and the names of its parameters."""
    yield f"{schema.model}  [{', '.join(schema.features or [])}]"
    yield f"    {', '.join(rule.name for rule in schema.parameter_rules) or 'no parameters'}"


def parameter_lines(schema: Schema, *, chinese: bool = False) -> Iterator[str]:
    """Every parameter of a model with all its options, default and help."""
    yield f"{schema.model}  {schema.label.text(chinese=chinese)}  [{', '.join(schema.features or [])}]"
    for rule in schema.parameter_rules:
        yield ""
        yield f"--{rule.name}  {rule.label.text(chinese=chinese)}: {', '.join(_facts(rule, shown=len(rule.options)))}"
        if rule.help:
            yield from textwrap.wrap(
                rule.help.text(chinese=chinese), 100, initial_indent="    ", subsequent_indent="    "
            )


def _facts(rule: Rule, shown: int = _SHOWN) -> Iterator[str]:
    yield rule.type
    if rule.min is not None and rule.max is not None:
        yield f"{rule.min:.16g} to {rule.max:.16g}"
    if rule.options:
        more = f" and {len(rule.options) - shown} more" if len(rule.options) > shown else ""
        yield f"one of {' | '.join(rule.options[:shown])}{more}"
    if rule.default is not None:
        yield f"default {rule.default}"
    if rule.required:
        yield "required"
