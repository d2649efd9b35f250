"""Services that run anybody's models, each with inputs of its own: what a model's published schema says about them.

`ModelInputs` says under which names one model takes the words of the vocabulary. A card holds it as data; for any other model
`read_schema` makes it, and the model's form, from its JSON schema (Replicate, fal). `inputs_of` builds the inputs of
one image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from models.entities import ImageRequest, ParameterValue, StrictModel
from models.parameters import RULES, Rule, Text, read_yaml
from models.sizes import FreeSizes, ListedSizes, RatioSizes, SizeRule

type Schema = Mapping[str, Any]

_CUSTOM = "custom"
_MOST_IMAGES = 10
_LARGEST_SIDE = 4096


class ModelInputs(StrictModel):
    """How one model is asked. `names` is its input for each word of the vocabulary, `sizes` what it makes.

    `shape` says how a size is sent: as `width` and `height`, as an object or a word in `image_size`, as a ratio, or not at
    all. `custom` are inputs that must say "custom" beside a width and height. `image` and `mask` are the inputs for
    images, `images` how many are taken, `several` whether they are a list.
    """

    names: Mapping[str, str] = {}
    shape: Literal["sides", "image_size", "ratio", "none"] = "none"
    sizes: SizeRule | None = None
    size_words: Mapping[str, tuple[int, int]] = {}
    custom: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    image: str = ""
    images: int = 0
    several: bool = False
    min_images: int = 0
    mask: str = ""


@dataclass(frozen=True, slots=True)
class ModelForm:
    """What a schema says: how the model is asked, and the parameters of its form."""

    inputs: ModelInputs
    rules: tuple[Rule, ...]


@cache
def _words() -> Mapping[str, Any]:
    """`model_inputs.yaml`: the names that models give to the words of the vocabulary."""
    words: Mapping[str, Any] = read_yaml(Path(__file__).with_suffix(".yaml"))
    return words


# --- from a schema to a form ------------------------------------------------------------------------------------------


def schema_form(schemas: Schema, name: str) -> ModelForm | None:
    """The form of the model whose input schema has this name among the `schemas` of an OpenAPI document."""
    schema = schemas.get(name)
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return None
    return read_schema(schema["properties"], schema.get("required") or (), schemas)


def read_schema(properties: Schema, required: Sequence[str] = (), definitions: Schema | None = None) -> ModelForm:
    """The form of a model from the properties of its input schema; `definitions` is what `$ref` points into."""
    known = {name: _resolved(schema, definitions or {}) for name, schema in properties.items()}
    names = {word: name for word, names in _words()["inputs"].items() if (name := _first(names, known))}
    image, mask = _first(_words()["images"], known), _first(_words()["masks"], known)
    several = bool(image) and known[image].get("type") == "array"
    shape, sizes, custom = _shape(known)
    inputs = ModelInputs(
        names=names,
        shape=shape,
        sizes=sizes,
        size_words=_size_words(known),
        custom=custom,
        formats=tuple(known[names["output_format"]].get("enum", ())) if "output_format" in names else (),
        image=image,
        images=(int(known[image].get("maxItems") or _MOST_IMAGES) if several else 1) if image else 0,
        several=several,
        min_images=int(image in required),
        mask=mask,
    )
    return ModelForm(inputs, tuple(_rules(known, inputs)))


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """The schema with its `$ref`, `allOf` and nullable `anyOf` put in place: models write the same thing in all three ways."""
    for key in ("allOf", "anyOf", "oneOf"):
        branches = [_resolved(branch, definitions) for branch in schema.get(key, ())]
        if usable := [branch for branch in branches if branch.get("type") != "null"]:
            merged = {name: value for branch in usable for name, value in branch.items()}
            return {**merged, **{name: value for name, value in schema.items() if name != key}}
    if isinstance(ref := schema.get("$ref"), str):
        target = definitions.get(ref.rpartition("/")[2], {})
        return {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


def _first(names: Sequence[str], known: Schema) -> str:
    return next((name for name in names if name in known), "")


def _shape(known: Schema) -> tuple[Literal["sides", "image_size", "ratio", "none"], SizeRule | None, tuple[str, ...]]:
    if {"width", "height"} <= set(known):
        custom = tuple(name for name in ("aspect_ratio", "size") if _CUSTOM in known.get(name, {}).get("enum", ()))
        return "sides", _free(known["width"], known["height"]), custom
    if "image_size" in known and (known["image_size"].get("properties") or not _ratios(known)):
        return "image_size", _image_sizes(known["image_size"]), ()
    if ratios := _ratios(known):
        return "ratio", RatioSizes(ratios=ratios), ()
    return "none", None, ()


def _free(width: Schema, height: Schema) -> FreeSizes:
    least = max(int(side.get("minimum") or 64) for side in (width, height))
    most = min(int(side.get("maximum") or _LARGEST_SIDE) for side in (width, height))
    return FreeSizes(multiple=int(width.get("multipleOf") or 16), min_side=least, max_side=most)


def _ratios(known: Schema) -> tuple[str, ...]:
    choices = known.get("aspect_ratio", {}).get("enum", ())
    return tuple(
        str(choice) for choice in choices if str(choice).replace(":", "", 1).isdecimal() and ":" in str(choice)
    )


def _image_sizes(schema: Schema) -> SizeRule | None:
    if schema.get("properties"):
        return FreeSizes(multiple=16, min_side=256, max_side=_LARGEST_SIDE)
    words = _size_words({"image_size": schema})
    return ListedSizes(sizes=tuple(words.values())) if words else None


def _size_words(known: Schema) -> Mapping[str, tuple[int, int]]:
    schema = known.get("image_size", {})
    if schema.get("properties"):
        return {}
    table = _words()["size_words"]
    return {word: tuple(table[word]) for word in schema.get("enum", ()) if word in table}


def _rules(known: Schema, inputs: ModelInputs) -> Iterator[Rule]:
    """The parameters of the vocabulary first, then the model's own."""
    if inputs.shape != "none":
        yield from (RULES[name] for name in ("width", "height", "aspect_ratio"))
    for word, name in inputs.names.items():
        yield RULES[word].narrowed(**_bounds(word, known[name]))
    yield from (RULES[name] for name in ("n", "output_format", "output_quality", "details", "timeout"))
    taken = {*inputs.names.values(), inputs.image, inputs.mask, *inputs.custom, *_words()["left_out"]}
    for name, schema in known.items():
        if name not in taken and name not in RULES and (rule := _own_rule(name, schema)):
            yield rule


def _bounds(word: str, schema: Schema) -> dict[str, object]:
    if word in {"steps", "cfg_scale", "denoising_strength"}:
        bounds = {"min": schema.get("minimum"), "max": schema.get("maximum"), "default": schema.get("default")}
        return {name: value for name, value in bounds.items() if isinstance(value, int | float)}
    if word in {"style_preset", "sampler", "scheduler"} and schema.get("enum"):
        return {"options": tuple(map(str, schema["enum"])), "default": None}
    return {}


_TYPES: Mapping[str, Literal["int", "float", "boolean", "string"]] = {
    "integer": "int",
    "number": "float",
    "boolean": "boolean",
    "string": "string",
}


def _own_rule(name: str, schema: Schema) -> Rule | None:
    """A parameter that only this model has; None for lists, objects and files."""
    kind = _TYPES.get(str(schema.get("type") or ("string" if schema.get("enum") else "")))
    if kind is None or schema.get("format") in {"uri", "password"}:
        return None
    options = tuple(map(str, schema.get("enum") or ()))
    numeric = kind in {"int", "float"}
    return Rule(
        name=name,
        type="string" if options else kind,
        label=Text(en_US=str(schema.get("title") or name)[:60]),
        help=Text(en_US=str(schema["description"])[:300]) if schema.get("description") else None,
        default=_default(schema.get("default"), options, numeric=numeric),
        min=schema.get("minimum") if numeric and not options else None,
        max=schema.get("maximum") if numeric and not options else None,
        precision=2 if kind == "float" else None,
        options=options,
    )


def _default(value: object, options: Sequence[str], *, numeric: bool) -> ParameterValue | None:
    """Dify sends the minimum of a number without a default."""
    if options:
        return str(value) if str(value) in options else None
    if isinstance(value, bool | int | float | str) and value != "":
        return value
    return 0 if numeric else None


# --- from a request to inputs -----------------------------------------------------------------------------------------


def inputs_of(
    model: ModelInputs, request: ImageRequest, seed: int | None, images: Sequence[str]
) -> dict[str, JsonValue]:
    """The inputs of one image; `images` are the addresses or data URLs of the request's images, the mask's last."""
    words: dict[str, JsonValue] = {
        "steps": request.steps,
        "cfg_scale": request.cfg_scale,
        "negative_prompt": request.negative_prompt or None,
        "seed": seed,
        "sampler": request.sampler,
        "scheduler": request.scheduler,
        "denoising_strength": request.denoising_strength if request.images else None,
        "style_preset": request.style_preset,
        "output_format": _format(model, request),
        "output_quality": request.output_quality,
        "prompt_extend": request.prompt_extend,
    }
    named = {model.names[word]: value for word, value in words.items() if word in model.names and value is not None}
    return {
        "prompt": request.prompt,
        **named,
        **request.extra,
        **_size(model, request),
        **_images(model, request, images),
    }


def _format(model: ModelInputs, request: ImageRequest) -> str | None:
    """The model's word for the asked format; what it does not make is converted later, from PNG where it can."""
    words = {"jpeg": ("jpeg", "jpg"), "png": ("png",), "webp": ("webp",)}[request.output_format or "png"]
    return next((word for word in (*words, "png") if word in model.formats), None)


def _size(model: ModelInputs, request: ImageRequest) -> dict[str, JsonValue]:
    if request.size is None:
        return {}
    width, height = request.size
    match model.shape:
        case "sides":
            return {"width": width, "height": height, **dict.fromkeys(model.custom, _CUSTOM)}
        case "image_size":
            words = {size: word for word, size in model.size_words.items()}
            return {"image_size": words.get(request.size) or {"width": width, "height": height}}
        case "ratio" if isinstance(model.sizes, RatioSizes):
            return {"aspect_ratio": model.sizes.nearest_ratio(request.size)}
    return {}


def _images(model: ModelInputs, request: ImageRequest, images: Sequence[str]) -> dict[str, JsonValue]:
    if not images:
        return {}
    mask = {model.mask: images[-1]} if request.mask and model.mask else {}
    shown: list[JsonValue] = [*images[: len(request.images)]]
    return {model.image: shown if model.several else shown[0], **mask}
