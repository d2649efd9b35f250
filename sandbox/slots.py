"""Inspects a ComfyUI workflow: the credentials of a model with this workflow, and its form as text."""

import base64
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


def _facts(rule: Rule) -> Iterator[str]:
    yield rule.type
    if rule.min is not None and rule.max is not None:
        yield f"{rule.min:.16g} to {rule.max:.16g}"
    if rule.options:
        more = f" and {len(rule.options) - _SHOWN} more" if len(rule.options) > _SHOWN else ""
        yield f"one of {' | '.join(rule.options[:_SHOWN])}{more}"
    if rule.default is not None:
        yield f"default {rule.default}"
    if rule.required:
        yield "required"
