"""What the caller wants of the answer's form; above all structured output, the JSON schema of a node.

The schema is checked before anything is generated and filled afterwards: a paid image is never lost to it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from itertools import islice

from pydantic import JsonValue

from models.backends.errors import BadRequest
from models.entities import ImageRequest

_SAMPLES: Mapping[str, JsonValue] = {
    "image_url": "text",
    "images": [],
    "seed": 1,
    "width": 7919,
    "height": 7919,
    "mime_type": "text",
    "model": "text",
    "backend": "text",
    "answered_by": "text",
    "cached": True,
    "storage_key": "text",
    "thumbnail_url": "text",
    "variants": {"900x383": "text"},
    "prompt": "text",
    "revised_prompt": "text",
    "notices": ["text"],
    "cost": 0.5,
    "currency": "text",
    "duration_seconds": 0.5,
}
"""Values as results have them. No `enum` of sizes or texts holds them: a list of values cannot be promised."""
_IMAGE: Mapping[str, JsonValue] = {
    **{name: _SAMPLES[name] for name in ("seed", "width", "height")},
    "image_url": "data:",
    "mime_type": "image/png",
}
PROPERTIES = tuple(_SAMPLES)
"""What a node's structured output may ask for."""
_KNOWN = f"Name only properties of {', '.join(PROPERTIES)}"
STORED = frozenset({"storage_key", "thumbnail_url", "variants"})
"""Those that need a storage in the settings."""
NOT_ALWAYS = frozenset({"seed", "revised_prompt", "cost", "currency"}) | STORED
"""Those that only some models can tell, or some settings allow."""

_PARAMETER_OF: Mapping[str, str] = {
    name: f" and the parameter `{parameter}`"
    for name, parameter in (("thumbnail_url", "thumbnail"), ("variants", "variants"))
}

_BOUNDS = frozenset(
    {
        *("maximum", "exclusiveMaximum", "exclusiveMinimum", "multipleOf", "maxLength", "pattern", "maxItems"),
        *("contains", "uniqueItems", "minProperties", "maxProperties", "allOf", "not", "if", "$ref"),
        "dependentRequired",
    }
)
"""Keywords whose outcome nobody knows before the image is made: a property that has one is left out or null."""


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """What a node's structured output names: the JSON schema of each property, and those that must be there."""

    properties: Mapping[str, JsonValue] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @classmethod
    def read(cls, json_schema: object) -> "OutputSchema | None":
        """A schema as the host sends it: text or an object, bare or as `{"schema": ...}`; None where there is none.

        Raises BadRequest for text that is not a JSON object.
        """
        if json_schema is None or json_schema == "":
            return None
        whole = _parsed(json_schema)
        inner = whole.get("schema")
        if isinstance(inner, Mapping) and "properties" not in whole:
            whole = inner
        listed, required = whole.get("properties"), whole.get("required")
        properties = {str(name): rule for name, rule in listed.items()} if isinstance(listed, Mapping) else {}
        names = tuple(map(str, required)) if isinstance(required, list) else ()
        return cls({**properties, **{name: {} for name in names if name not in properties}}, names)

    def check(self, gives: frozenset[str], samples: Mapping[str, JsonValue], model: str) -> tuple[str, ...]:
        """Notices about optional properties that will be missing.

        `gives` are the properties of NOT_ALWAYS that the model can tell, `samples` values that are known already.
        Raises BadRequest for a required property that cannot be given, and where none of all can.
        """
        images: JsonValue = [{name: value for name, value in _IMAGE.items() if name not in NOT_ALWAYS - gives}]
        faults = dict(self._faults(gives, {**_SAMPLES, "images": images, **samples}, model))
        if missing := {name: faults[name] for name in self.required if name in faults}:
            raise BadRequest(
                f"The node's structured output requires {_listed(missing)}",
                next_step="Take them out of `required`, or allow null" if set(missing) <= set(PROPERTIES) else _KNOWN,
            )
        if faults and len(faults) == len(self.properties):
            raise BadRequest(
                f"Nothing that the node's structured output names can be given: {_listed(faults)}",
                next_step=_KNOWN,
            )
        return (f"Missing in the structured output: {_listed(faults)}.",) if faults else ()

    def fill(self, known: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The value of each property in the type that the schema names; what is not known is null or left out."""
        filled: dict[str, JsonValue] = {}
        for name, rule in self.properties.items():
            if fitting := list(_fitting(name, None if _bounded(rule) else known.get(name), rule)):
                filled[name] = fitting[0]
            elif name in self.required:  # `check` was promised more than came; the image is not lost to it
                filled[name] = _neutral(rule)
        return filled

    def _faults(self, gives: frozenset[str], samples: Mapping[str, JsonValue], model: str) -> Iterator[tuple[str, str]]:
        for name, rule in self.properties.items():
            if _allows_null(rule):
                continue
            if name not in PROPERTIES:
                yield name, "which no image has"
            elif name in STORED - gives:
                yield name, f"which needs a storage in the settings{_PARAMETER_OF.get(name, '')}"
            elif name in NOT_ALWAYS - gives:
                yield name, f"which {model} cannot tell"
            elif _bounded(rule) or not list(_fitting(name, samples[name], rule)):
                yield name, "in a type or with bounds that it may not fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What the caller wants of the result, whichever backend made it. `schema` is None without structured output.

    `edited`: the request had input images. The fields from `cache` on are the parameters of the stages.
    """

    output_format: str | None = None
    output_quality: int | None = None
    details: bool = False
    edited: bool = False
    cache: str = "off"
    stamp: str = ""
    ai_label: str = "off"
    variants: str = ""
    thumbnail: int | None = None
    schema: OutputSchema | None = None

    @property
    def marked(self) -> bool:
        """Whether stamps, a label, variants or a thumbnail are asked for."""
        return bool(self.stamp or self.variants or self.thumbnail) or self.ai_label != "off"

    @classmethod
    def of(cls, request: ImageRequest, schema: OutputSchema | None = None) -> "OutputOptions":
        same = [one.name for one in fields(cls) if one.name not in {"edited", "schema"}]
        return cls(**{name: getattr(request, name) for name in same}, edited=bool(request.images), schema=schema)


def _listed(faults: Mapping[str, str]) -> str:
    return "; ".join(f"`{name[:100]}`, {why}" for name, why in list(faults.items())[:5])


def _parsed(json_schema: object) -> Mapping[str, JsonValue]:
    with suppress(ValueError):
        parsed = json.loads(json_schema) if isinstance(json_schema, str) else json_schema
        if isinstance(parsed, Mapping):
            return parsed
    raise BadRequest(
        "The structured output's schema is not a JSON object", next_step="Write the node's schema in the editor again"
    )


def _branches(rule: JsonValue) -> list[Mapping[str, JsonValue]]:
    """One schema for each type that `rule` allows."""
    if not isinstance(rule, dict):
        return [{}]
    for several in (rule.get("anyOf"), rule.get("oneOf")):
        if isinstance(several, list):
            return [branch for one in several for branch in _branches(one)]
    kinds = rule.get("type")
    return [{**rule, "type": kind} for kind in kinds] if isinstance(kinds, list) else [rule]


def _allows_null(rule: JsonValue) -> bool:
    return any(branch.get("type") == "null" for branch in _branches(rule))


def _bounded(rule: JsonValue) -> bool:
    if isinstance(rule, list):
        return any(map(_bounded, rule))
    if not isinstance(rule, dict):
        return False
    least = (rule.get("minimum"), rule.get("minLength"), rule.get("minItems"))
    inside = (rule.get("items"), rule.get("anyOf"), rule.get("oneOf"), *_inner_properties(rule).values())
    return (
        not _BOUNDS.isdisjoint(rule)
        or any(isinstance(bound, int | float) and bound > 1 for bound in least)
        or any(map(_bounded, inside))
    )


def _fitting(name: str, value: JsonValue, rule: JsonValue) -> Iterator[JsonValue]:
    """The forms of `value` that fit `rule`, the best one first."""
    return (fit for form in _forms(name, value) for branch in _branches(rule) for fit in _cast(form, branch))


def _forms(name: str, value: JsonValue) -> Iterator[JsonValue]:
    """The value, and what else stands for it: addresses for images and sizes, whole seconds for seconds."""
    yield value
    if name == "images" and isinstance(value, list):
        yield [image["image_url"] for image in value if isinstance(image, dict)]
    if name == "variants" and isinstance(value, dict):
        yield list(value.values())
    if name == "duration_seconds" and isinstance(value, float):
        yield round(value)


def _cast(value: JsonValue, rule: Mapping[str, JsonValue]) -> Iterator[JsonValue]:
    choices = rule.get("enum", [rule["const"]] if "const" in rule else None)
    return (fit for fit in _as_type(value, rule) if not isinstance(choices, list) or fit in choices)


def _as_type(value: JsonValue, rule: Mapping[str, JsonValue]) -> Iterator[JsonValue]:
    match rule.get("type"), value:
        case (None, known) if known is not None:
            yield known
        case ("null", None) | ("boolean", bool()):
            yield value
        case ("string", str() | bool() | int() | float() | list()):
            yield _text(value)
        case ("integer" | "number", _):
            yield from _number(value, whole=rule["type"] == "integer")
        case ("array", list(items)):
            fits = [fit for item in items for fit in islice(_fitting("", item, rule.get("items")), 1)]
            yield from [fits] if len(fits) == len(items) else ()
        case ("object", dict(known)):
            yield from _object(known, rule)


def _text(value: JsonValue) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(value: JsonValue, *, whole: bool) -> Iterator[int | float]:
    if isinstance(value, str) and value.isdecimal():  # a seed that has more digits than the host's numbers
        yield int(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and (not whole or value == int(value)):
        yield int(value) if whole else value


def _object(known: Mapping[str, JsonValue], rule: Mapping[str, JsonValue]) -> Iterator[JsonValue]:
    """The named properties of an object, all of them where the schema names none."""
    named, required = _inner_properties(rule), rule.get("required")
    if not named and rule.get("additionalProperties") is not False:
        yield dict(known)
        return
    fits = ((name, islice(_fitting(name, known.get(name), inner), 1)) for name, inner in named.items())
    filled = {name: fit for name, fitting in fits for fit in fitting}
    if not isinstance(required, list) or all(name in filled or name not in required for name in named):
        yield filled


def _inner_properties(rule: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    named = rule.get("properties")
    return named if isinstance(named, dict) else {}


def _neutral(rule: JsonValue) -> JsonValue:
    if _allows_null(rule):
        return None
    empty: dict[str, JsonValue] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}
    return empty.get(str(_branches(rule)[0].get("type")))
