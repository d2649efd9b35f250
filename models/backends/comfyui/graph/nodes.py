"""What is known about node classes and their parameters: two files of ours and a server's definitions.

`nodes.yaml` says what the inputs of nodes mean, `parameters.yaml` holds the parameters that only workflows have.

Definitions are the reply of `GET /object_info` (ComfyUI server API, section "/object_info"). Two spellings of a choice
are in use, `[["a", "b"], {...}]` and `["COMBO", {"options": ["a", "b"]}]`; both are read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import JsonValue

from models.entities import StrictModel
from models.parameters import RULES, Rule, load_rules, read_yaml

type Side = Literal["positive", "negative"]
type Names = tuple[str, ...]


class NodeMeaning(StrictModel):
    """An entry of `classes` in nodes.yaml, where each field is explained."""

    text: Names = ()
    no_text: bool = False
    joins_text: bool = False
    outputs: Names = ()
    passes: Names = ()
    switch: tuple[()] | tuple[str, str, str] = ()
    parameters: Mapping[str, str] = {}
    window: Names = ()
    width: Names = ()
    height: Names = ()
    multiple: int | None = None
    custom_size: str = ""
    count: str = ""
    image: str = ""
    image_base64: str = ""
    mask: str = ""
    makes_mask: bool = False
    inverts_mask: bool = False
    optional: Names = ()
    rows: str = ""
    editor: Literal["", "left out", "passes", "value", "sets", "gets", "broadcasts"] = ""
    saves: bool = False
    shows: bool = False


class InputMeanings(StrictModel):
    settings: Mapping[str, Names]
    conditioning: Mapping[Side, Names]
    pipe: Names
    start: Names
    image: Names
    width: Names
    height: Names
    count: Names
    text: Names
    prompt: Mapping[Side, Names]
    value: Names
    files: Mapping[str, str]


class NodeKnowledge(StrictModel):
    inputs: InputMeanings
    classes: Mapping[str, NodeMeaning]
    parameter_names: Mapping[str, str]
    percent_names: Mapping[str, str]
    folders: Mapping[str, str]
    packages: Mapping[str, str]


_FOLDER = Path(__file__).parents[1]


@cache
def node_knowledge() -> NodeKnowledge:
    """nodes.yaml, read when the first workflow is."""
    return NodeKnowledge.model_validate(read_yaml(_FOLDER / "nodes.yaml"))


def meaning_of(class_type: str) -> NodeMeaning:
    return node_knowledge().classes.get(class_type) or NodeMeaning()


def folder_of(class_type: str, name: str) -> str:
    """The folder below `models` on the server for the file that an input names, "" when it is not known."""
    known = node_knowledge()
    parameter = meaning_of(class_type).parameters.get(name) or known.inputs.files.get(name, "")
    return known.folders.get(parameter, "")


def package_of(class_type: str) -> str:
    """Name of the extension that brings the node, "" when it is not known."""
    packages = node_knowledge().packages
    return next((package for pattern, package in packages.items() if fnmatchcase(class_type, pattern)), "")


_PERCENT = re.compile(r"%(\w+)%")


def with_braces(text: str) -> str:
    """`text` with the placeholders of other programs that are known, `%steps%`, in our form, `{{steps}}`."""
    names = node_knowledge().percent_names
    return _PERCENT.sub(lambda found: f"{{{{{names[found[1]]}}}}}" if found[1] in names else found[0], text)


# The parameters that only workflows have


@cache
def workflow_rules() -> Mapping[str, Rule]:
    return {rule.name: rule for rule in load_rules(_FOLDER / "parameters.yaml")}


def workflow_rule(name: str) -> Rule | None:
    """The rule of a parameter that only workflows have; `lora_2` is the second of its kind. None for others."""
    rules = workflow_rules()
    stem = name.rstrip("0123456789").rstrip("_")
    known = rules.get(name) or {**rules, "checkpoint": RULES["checkpoint"]}.get(stem)
    if known is None or known.name == name:
        return known
    number = name[len(stem) :].lstrip("_")
    label = {language: f"{text} {number}" for language, text in known.label.model_dump().items() if text}
    return known.narrowed(name=name, label=label)


def extra_rules() -> tuple[Rule, ...]:
    """For `Backend.extra_rules`: everything that a card may list beyond the common vocabulary."""
    second = (workflow_rule(name) for name in ("clip_2", "lora_2", "lora_strength_2"))
    return (*workflow_rules().values(), *(rule for rule in second if rule))


# The server's definitions

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
_WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO})


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a node class. `kind` is `INT`, `STRING`, `COMBO` ... or the type of a link (`MODEL`)."""

    name: str
    kind: str
    required: bool
    choices: tuple[str, ...] | None = None
    options: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def is_widget(self) -> bool:
        """Whether the editor shows a field for it, so that `widgets_values` holds its value."""
        shown = self.kind in _WIDGET_TYPES or "widgetType" in self.options
        return shown and not self.options.get("forceInput")

    @property
    def controls_seed(self) -> bool:
        """Whether the editor shows a second field behind it: what becomes of the number after each run."""
        return bool(self.options.get("control_after_generate")) or self.name.lower() in ("seed", "noise_seed")

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
        value = self.options.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def spelled(self, value: str) -> str:
        """`value` as the server's list has it: Windows servers write folders with a backslash."""
        if self.choices is None or value in self.choices:
            return value
        alike = (choice for choice in self.choices if choice.replace("\\", "/") == value.replace("\\", "/"))
        return next(alike, value)

    def inner(self, value: JsonValue) -> tuple["InputSpec", ...]:
        """The inputs that the choice `value` of a dynamic combo brings along, named `outer.inner`."""
        options = self.options.get("options")
        for option in options if isinstance(options, list) else ():
            if isinstance(option, dict) and option.get("key") == value:
                return tuple(_specs(option.get("inputs"), None, prefix=f"{self.name}."))
        return ()


@dataclass(frozen=True, slots=True)
class NodeClass:
    """One node class; `inputs` in the order of the editor's fields, `outputs` are types."""

    name: str
    title: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...]
    is_output: bool
    is_partner: bool
    """Whether it calls a partner's service, which is paid from a Comfy account."""


def side_in(name: str) -> Side | None:
    word = name.strip().lower()
    if len(word) == 1:
        return None
    if word.endswith("+") or "positive" in word or word == "pos":
        return "positive"
    return "negative" if word.endswith("-") or "negative" in word or word == "neg" else None


@dataclass(frozen=True)
class ObjectInfo:
    """Node classes that a server offers: all of them, or those that were asked for."""

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
    outputs = _words(entry.get("output")) or ()
    return NodeClass(
        name=name,
        title=title if isinstance(title, str) and title else name,
        inputs={spec.name: spec for spec in _specs(entry.get("input"), entry.get("input_order"))},
        outputs=outputs,
        output_names=_words(entry.get("output_name")) or outputs,
        is_output=entry.get("output_node") is True,
        is_partner=entry.get("api_node") is True,
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
