"""One model on one server: its sizes, seeds, bounds and form."""

from typing import Any

import pytest

from models.backends.openai_images.models import (
    Dialect,
    Family,
    Route,
    ServedModel,
    dialects,
    family_of,
    rules_for,
    rules_for_any,
)
from models.parameters import MAX_SEED
from models.sizes import FreeSizes, NoSizes, SeedRule

KEYS = {name: name for name in ("prompt", "size", "seed", "steps", "cfg_scale", "n", "sampler", "scheduler")}
ROUTE = Route(path="images/generations", keys=KEYS)
EDIT = Route(path="images/edits", keys={**KEYS, "denoising_strength": "strength"}, mask="mask", input_size=True)


def dialect(**parts: Any) -> Dialect:
    return Dialect(**{"name": "d", "title": "D", "generate": ROUTE, "edit": EDIT, "seed": 2**32, **parts})


def served(family: dict[str, Any] | None = None, samplers: tuple[str, ...] = (), **parts: Any) -> ServedModel:
    kind = Family(**{"dialects": frozenset({"d"}), **(family or {})})
    return ServedModel(dialect(**parts), kind, "m", samplers)


@pytest.mark.parametrize(
    ("host", "there"),
    [("a.example", True), ("x.b.example", True), ("b.example", False), ("xb.example", False), ("", False)],
)
def test_a_dialect_is_known_by_its_hosts(host: str, there: bool) -> None:
    assert dialect(hosts=("a.example", ".b.example")).is_at(host) is there


@pytest.mark.parametrize(
    ("edits", "masked", "inpaint", "route"),
    [
        (False, False, None, ROUTE),
        (True, False, None, EDIT),
        (True, True, None, EDIT),
        (False, True, None, ROUTE),
        (True, True, ROUTE, ROUTE),
        (True, False, ROUTE, EDIT),
    ],
)
def test_a_request_has_its_route(edits: bool, masked: bool, inpaint: Route | None, route: Route) -> None:
    assert dialect(inpaint=inpaint).route(edits=edits, masked=masked) is route


@pytest.mark.parametrize(
    ("family", "images", "second", "mask"),
    [
        ({}, 8, "image", True),
        ({"images": 1}, 1, "mask", True),
        ({"images": 0}, 0, "image", False),
        ({"masks": frozenset()}, 8, "image", False),
        ({"images": 1, "masks": frozenset({"x"})}, 1, "mask", False),
        ({"images": 2, "min_images": 1, "masks": frozenset({"d"})}, 2, "image", True),
    ],
)
def test_masks_are_taken_where_they_have_an_effect(
    family: dict[str, Any], images: int, second: str, mask: bool
) -> None:
    able = served(family).capabilities
    assert (able.images, able.second_image, able.mask) == (images, second, mask)
    assert able.min_images == family.get("min_images", 0)
    plain = served(family, edit=EDIT.model_copy(update={"mask": ""}))
    assert not plain.masks


@pytest.mark.parametrize(
    ("family", "n"),
    [({}, 10), ({"n": 4}, 4), ({"without": frozenset({"n"})}, 1), ({"without": frozenset({"n"}), "n": 4}, 1)],
)
def test_the_number_of_images_is_the_models_or_the_servers(family: dict[str, Any], n: int) -> None:
    model = served(family)
    assert model.n == n
    assert {rule.name: rule.max for rule in rules_for(model)}.get("n") == (n if n > 1 else None)


def test_sizes_beside_an_image_keep_its_shape() -> None:
    model = served({"sizes": FreeSizes(multiple=16, default=(1024, 1024))})
    assert model.sizes(ROUTE, None) == FreeSizes(multiple=16, default=(1024, 1024))
    beside = model.sizes(EDIT, (643, 485))
    assert isinstance(beside, FreeSizes)
    assert beside.default == (640, 480)
    assert beside.area == model.family.sizes.pixels
    free = model.sizes(ROUTE, (643, 485))
    assert isinstance(free, FreeSizes)
    assert free.default is None
    none = served({"without": frozenset({"size"})}).sizes(ROUTE, None)
    assert none == NoSizes(reason="m has no size parameter here")


@pytest.mark.parametrize(
    ("parts", "count", "rule"),
    [
        ({}, 1, SeedRule(highest=2**32, drawn=2**31 - 1, step=0, draw=True)),
        ({"seed": 2**60}, 1, SeedRule(highest=MAX_SEED, drawn=2**31 - 1, step=0, draw=True)),
        ({"seeds": "counted"}, 2, SeedRule(highest=2**32, drawn=2**31 - 1, step=1, draw=True)),
        ({"seeds": "repeated"}, 1, SeedRule(highest=2**32, drawn=2**31 - 1, step=0, draw=True)),
        ({"seeds": "repeated"}, 2, SeedRule(highest=2**32, drawn=2**31 - 1, step=0, draw=False)),
        ({"seeds": "shared"}, 2, SeedRule(highest=2**32, drawn=2**31 - 1, step=0, draw=True)),
        ({"seed": None}, 1, None),
        ({"generate": ROUTE.model_copy(update={"keys": {}})}, 1, None),
    ],
)
def test_seeds_are_those_of_the_server(parts: dict[str, Any], count: int, rule: SeedRule | None) -> None:
    model = served(**parts)
    assert model.seeds(model.dialect.generate, count) == rule


@pytest.mark.parametrize(
    ("family", "keys", "word"),
    [
        ({"true_cfg": True}, {"true_cfg_scale": "x"}, "true_cfg_scale"),
        ({"true_cfg": True}, {"cfg_scale": "x"}, "cfg_scale"),
        ({}, {"true_cfg_scale": "x"}, "cfg_scale"),
    ],
)
def test_true_cfg_has_a_key_of_its_own(family: dict[str, Any], keys: dict[str, str], word: str) -> None:
    assert served(family).cfg_word(Route(path="x", keys=keys)) == word


def form(model: ServedModel) -> dict[str, Any]:
    return {rule.name: rule for rule in rules_for(model)}


def test_the_form_has_what_the_server_takes() -> None:
    rules = form(served({"steps": 40, "cfg": 4.5, "qualities": ("low", "high")}, ("euler",)))
    assert {"width", "height", "aspect_ratio", "seed", "steps", "cfg_scale", "n", "output_format", "timeout"} <= set(
        rules
    )
    assert not {"negative_prompt", "checkpoint", "prompt_extend", "watermark", "quality"} & set(rules)
    assert (rules["steps"].default, rules["steps"].max, rules["cfg_scale"].default) == (40, 200, 4.5)
    assert rules["cfg_scale"].max == 20
    assert (rules["seed"].max, rules["sampler"].options, rules["scheduler"].options) == (2**32, ("euler",), ())
    plain = form(served())
    assert (plain["steps"].default, plain["cfg_scale"].default) == (30, 5.0)
    assert list(rules)[-4:] == ["output_format", "output_quality", "details", "timeout"]


def test_a_form_without_a_size_has_no_sides() -> None:
    without = frozenset({"size"})
    assert not {"width", "height", "aspect_ratio"} & set(form(served({"without": without})))


def test_true_cfg_is_offered_as_a_cfg_scale() -> None:
    route = Route(path="x", keys={"true_cfg_scale": "true_cfg_scale", "prompt": "prompt"})
    assert "cfg_scale" in form(served(generate=route, edit=route))
    assert "true_cfg_scale" not in form(served(generate=route, edit=route))


def test_what_only_an_edit_takes_is_offered_where_images_are() -> None:
    assert "denoising_strength" in form(served())
    assert "denoising_strength" not in form(served({"images": 0}))
    only = Route(path="x", keys={"prompt": "prompt", "steps": "steps"})
    assert "steps" not in form(served({"min_images": 1}, generate=only, edit=Route(path="y", keys={"prompt": "p"})))


def test_the_form_of_an_unknown_server_has_everything() -> None:
    rules = {rule.name: rule for rule in rules_for_any()}
    assert (rules["steps"].default, rules["cfg_scale"].default) == (30, 5.0)
    assert {"negative_prompt", "sampler", "quality", "background"} <= set(rules)
    assert list(rules)[-4:] == ["output_format", "output_quality", "details", "timeout"]


@pytest.mark.parametrize("name", ["Qwen/Qwen_Image", "qwen image"])
def test_a_family_is_known_by_the_models_name_in_any_spelling(name: str) -> None:
    known = family_of(("Qwen/Qwen-Image",), dialects()["vllm_omni"])
    assert known.name
    assert family_of((name,), dialects()["vllm_omni"]) is known
