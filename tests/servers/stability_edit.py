"""What the fake of Stability AI accepts at its editing, control and upscaling endpoints, as strict as the service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

type Sizes = tuple[int, int]

_MASKED = {"mask", "grow_mask"}
_TEXT = {"negative_prompt", "style_preset"}
_NINE = 9_437_184


@dataclass(frozen=True)
class Endpoint:
    """`files` and `needed` beside `fields`; `area` and `ratio` bound the first file."""

    files: tuple[str, ...]
    needed: tuple[str, ...]
    fields: frozenset[str]
    credits: float
    area: int = _NINE
    ratio: float = 1000.0
    formats: tuple[str, ...] = ("png", "jpeg", "webp")
    jobs: bool = False


def _endpoint(files: str, needed: str, fields: set[str], credits: float, **more: object) -> Endpoint:
    every = frozenset({*fields, *needed.split(), "output_format"})
    return Endpoint(tuple(files.split()), tuple(needed.split()), every, credits, **more)  # type: ignore[arg-type]


RELIGHT = {
    *("background_prompt", "foreground_prompt", "negative_prompt", "preserve_original_subject"),
    *(
        "original_background_depth",
        "keep_original_background",
        "light_source_direction",
        "light_source_strength",
        "seed",
    ),
}
ENDPOINTS: Mapping[str, Endpoint] = {
    "edit/inpaint": _endpoint("image mask", "prompt", {*_MASKED, *_TEXT, "seed"}, 5),
    "edit/erase": _endpoint("image mask", "", {*_MASKED, "seed"}, 5),
    "edit/outpaint": _endpoint(
        "image", "", {"left", "right", "up", "down", "creativity", "prompt", "seed", "style_preset"}, 4, ratio=2.5
    ),
    "edit/search-and-replace": _endpoint("image", "prompt search_prompt", {"grow_mask", *_TEXT, "seed"}, 5, ratio=2.5),
    "edit/search-and-recolor": _endpoint("image", "prompt select_prompt", {"grow_mask", *_TEXT, "seed"}, 5, ratio=2.5),
    "edit/remove-background": _endpoint("image", "", set(), 5, area=4_194_304, formats=("png", "webp")),
    "edit/replace-background-and-relight": _endpoint(
        "subject_image background_reference", "", RELIGHT, 8, ratio=2.5, jobs=True
    ),
    "upscale/fast": _endpoint("image", "", set(), 2, area=1_048_576),
    "upscale/conservative": _endpoint("image", "prompt", {"creativity", "negative_prompt", "seed"}, 40, ratio=2.5),
    "upscale/creative": _endpoint("image", "prompt", {"creativity", *_TEXT, "seed"}, 60, area=1_048_576, jobs=True),
    "control/sketch": _endpoint("image", "prompt", {"control_strength", *_TEXT, "seed"}, 5, ratio=2.5),
    "control/structure": _endpoint("image", "prompt", {"control_strength", *_TEXT, "seed"}, 5, ratio=2.5),
    "control/style": _endpoint("image", "prompt", {"fidelity", "aspect_ratio", *_TEXT, "seed"}, 5, ratio=2.5),
    "control/style-transfer": _endpoint(
        "init_image style_image",
        "",
        {"prompt", "negative_prompt", "seed", "style_strength", "composition_fidelity", "change_strength"},
        8,
        ratio=2.5,
    ),
}


def fault(name: str, texts: Mapping[str, str], files: Mapping[str, Sizes]) -> str:
    """What is wrong with a form in the service's words; empty if nothing is."""
    endpoint = ENDPOINTS[name]
    rules: list[tuple[bool, Callable[[], str]]] = [
        (not set(files) <= set(endpoint.files), lambda: f"{min(files)}: unexpected file"),
        (endpoint.files[0] not in files, lambda: f"{endpoint.files[0]}: required"),
        (
            not set(texts) <= endpoint.fields,
            lambda: f"{min(set(texts) - endpoint.fields)}: unexpected field",
        ),
        (any(not texts.get(needed) for needed in endpoint.needed), lambda: f"{endpoint.needed}: required"),
        (texts.get("output_format", "png") not in endpoint.formats, lambda: "output_format: must be one of them"),
        (name == "edit/outpaint" and not _margins(texts), lambda: "at least one side must be above 0"),
        (name == "control/style-transfer" and "style_image" not in files, lambda: "style_image: required"),
    ]
    return next((words() for broken, words in rules if broken), "") or _size_fault(endpoint, files)


def _margins(texts: Mapping[str, str]) -> int:
    return sum(int(texts.get(side, "0")) for side in ("left", "right", "up", "down"))


def _size_fault(endpoint: Endpoint, files: Mapping[str, Sizes]) -> str:
    width, height = files[endpoint.files[0]]
    if width * height > endpoint.area or min(width, height) < 64:
        return f"{endpoint.files[0]}: the area is out of range"
    return f"{endpoint.files[0]}: the ratio" if max(width, height) > endpoint.ratio * min(width, height) else ""
