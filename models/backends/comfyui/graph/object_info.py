"""`GET /object_info` as typed node definitions (ComfyUI server API, section "/object_info").

Two spellings of a choice are in use, `[["a", "b"], {...}]` and `["COMBO", {"options": ["a", "b"]}]`; both are read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import JsonValue

WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"

type Options = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a node class. `kind` is `INT`, `STRING`, `COMBO` ... or the type of a link (`MODEL`)."""

    name: str
    kind: str
    required: bool
    choices: tuple[str, ...] | None = None
    options: Options = field(default_factory=dict)

    @property
    def is_widget(self) -> bool:
        """Whether the editor shows a field for it, so that `widgets_values` holds its value."""
        return (self.kind in WIDGET_TYPES or self.kind == DYNAMIC_COMBO) and not self.options.get("forceInput")

    @property
    def is_upload(self) -> bool:
        """An image chosen from the server's input folder."""
        return any(self.options.get(key) for key in ("image_upload", "video_upload", "audio_upload"))

    @property
    def default(self) -> JsonValue:
        """The editor's value for a fresh node: the stated default, else the first choice, else nothing (None)."""
        if "default" in self.options:
            return self.options["default"]
        return self.choices[0] if self.choices else None

    def number(self, name: str) -> float | None:
        """`min`, `max` or `step` where the class states it."""
        value = self.options.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def spelled(self, value: str) -> str:
        """`value` as the server's list has it: Windows servers write folders with a backslash."""
        if self.choices is None or value in self.choices:
            return value
        alike = [choice for choice in self.choices if choice.replace("\\", "/") == value.replace("\\", "/")]
        return alike[0] if alike else value

    def inner(self, value: JsonValue) -> tuple["InputSpec", ...]:
        """The inputs that the choice `value` of a dynamic combo brings along, named `outer.inner`."""
        options = self.options.get("options")
        for option in options if isinstance(options, list) else ():
            if isinstance(option, dict) and option.get("key") == value:
                return tuple(_specs(option.get("inputs"), None, prefix=f"{self.name}."))
        return ()


@dataclass(frozen=True, slots=True)
class NodeClass:
    """One node class; `inputs` in the order of the editor's fields."""

    name: str
    title: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    is_output: bool
    module: str


@dataclass(frozen=True)
class ObjectInfo:
    """Every node class that a server offers."""

    classes: Mapping[str, NodeClass]

    @classmethod
    def parse(cls, raw: Mapping[str, JsonValue]) -> Self:
        """Read the reply of `GET /object_info`; entries that are no definitions are left out."""
        return cls({name: _class(name, entry) for name, entry in raw.items() if isinstance(entry, dict)})

    def spec(self, class_type: str, name: str) -> InputSpec | None:
        known = self.classes.get(class_type)
        return known.inputs.get(name) if known else None


def _class(name: str, entry: Mapping[str, JsonValue]) -> NodeClass:
    title = entry.get("display_name")
    outputs = entry.get("output")
    return NodeClass(
        name=name,
        title=title if isinstance(title, str) and title else name,
        inputs={spec.name: spec for spec in _specs(entry.get("input"), entry.get("input_order"))},
        outputs=tuple(str(kind) for kind in outputs) if isinstance(outputs, list) else (),
        is_output=entry.get("output_node") is True,
        module=str(entry.get("python_module") or ""),
    )


def _specs(groups: JsonValue, order: JsonValue, prefix: str = "") -> Iterator[InputSpec]:
    for group in ("required", "optional"):
        entries = groups.get(group) if isinstance(groups, dict) else None
        if not isinstance(entries, dict):
            continue
        names = order.get(group) if isinstance(order, dict) else None
        for name in names if isinstance(names, list) else entries:
            if isinstance(name, str) and name in entries:
                yield _spec(f"{prefix}{name}", entries[name], required=group == "required")


def _spec(name: str, entry: JsonValue, *, required: bool) -> InputSpec:
    parts = entry if isinstance(entry, list) else [entry]
    kind = parts[0] if parts else ""
    options = parts[1] if len(parts) > 1 and isinstance(parts[1], dict) else {}
    if isinstance(kind, list):
        return InputSpec(name, "COMBO", required, _words(kind), options)
    choices = _words(options.get("options")) if kind == "COMBO" else None
    return InputSpec(name, str(kind), required, choices, options)


def _words(values: JsonValue) -> tuple[str, ...] | None:
    # A combo without a list (a remote one) may hold anything.
    return tuple(str(value) for value in values) if isinstance(values, list) else None
