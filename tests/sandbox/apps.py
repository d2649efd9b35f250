"""A builder for small Dify apps: nodes by name, edges as `source -> target` or `source[handle] -> target`."""

import re
from typing import Literal

import yaml
from pydantic import JsonValue

from sandbox.protocol import JsonObject

PROVIDER = "sandbox/misbehaving/misbehaving"
OTHER_PROVIDER = "langgenius/openai/openai"

_EDGE = re.compile(r"(?P<source>\w+)(?:\[(?P<handle>[\w-]+)\])? -> (?P<target>\w+)")


def app(*edges: str, mode: Literal["workflow", "advanced-chat"] = "workflow", **nodes: JsonObject) -> str:
    """The DSL of an app."""
    graph: JsonObject = {
        "nodes": [_node(name, data) for name, data in nodes.items()],
        "edges": [_edge(edge) for edge in edges],
    }
    workflow: JsonObject = {"graph": graph, "environment_variables": [], "conversation_variables": [], "features": {}}
    document = {"kind": "app", "version": "0.6.0", "app": {"name": "test", "mode": mode}, "workflow": workflow}
    return yaml.safe_dump(document, allow_unicode=True)


def _node(name: str, data: JsonObject) -> JsonObject:
    parent = data.get("iteration_id")
    node: JsonObject = {"id": name, "type": "custom", "data": {"title": name, **data}}
    return node | ({"parentId": parent} if parent else {})


def _edge(edge: str) -> JsonObject:
    match = _EDGE.fullmatch(edge)
    assert match, edge
    handle = match["handle"] or "source"
    return {"id": edge, "source": match["source"], "sourceHandle": handle, "target": match["target"], "type": "custom"}


def start(*variables: JsonObject) -> JsonObject:
    return {"type": "start", "variables": list(variables)}


def variable(name: str, kind: str = "paragraph", **more: JsonValue) -> JsonObject:
    return {"variable": name, "label": name, "type": kind, "required": True, **more}


def llm(prompt: str, *, model: str = "painter", provider: str = PROVIDER, **more: JsonValue) -> JsonObject:
    parameters = more.pop("parameters", {})
    return {
        "type": "llm",
        "model": {"provider": provider, "name": model, "mode": "chat", "completion_params": parameters},
        "prompt_template": [{"role": "user", "text": prompt}],
        "context": {"enabled": False, "variable_selector": []},
        "vision": {"enabled": False},
        **more,
    }


def code(source: str, inputs: dict[str, list[str]], outputs: dict[str, str], language: str = "python3") -> JsonObject:
    return {
        "type": "code",
        "code_language": language,
        "code": source,
        "variables": [{"variable": name, "value_selector": [*selector]} for name, selector in inputs.items()],
        "outputs": {name: {"type": kind, "children": None} for name, kind in outputs.items()},
    }


def template(text: str, **inputs: list[str]) -> JsonObject:
    return {
        "type": "template-transform",
        "template": text,
        "variables": [{"variable": name, "value_selector": [*selector]} for name, selector in inputs.items()],
    }


def end(**outputs: list[str]) -> JsonObject:
    return {
        "type": "end",
        "outputs": [{"variable": name, "value_selector": [*selector]} for name, selector in outputs.items()],
    }


def answer(text: str) -> JsonObject:
    return {"type": "answer", "answer": text, "variables": []}


def human_input(content: str, *actions: str, **fields: str) -> JsonObject:
    """A form with text fields (name and default) and a button for each action."""
    return {
        "type": "human-input",
        "form_content": content,
        "inputs": [
            {
                "type": "paragraph",
                "output_variable_name": name,
                "default": {"type": "constant", "selector": [], "value": value},
            }
            for name, value in fields.items()
        ],
        "user_actions": [{"id": action, "title": action.title(), "button_style": "default"} for action in actions],
        "delivery_methods": [{"id": "5f0c6a0e-59a4-4c51-9f0a-0c1f6a20c101", "type": "webapp", "enabled": True}],
        "timeout": 3,
        "timeout_unit": "day",
    }
