"""Which requests are equal, and what an entry holds."""

from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.entities import GeneratedImage, ImageRequest, InputImage, Kept, Price
from models.settings import Settings
from models.stages.cache.entries import (
    CachedResult,
    Neighbour,
    UnreadableEntryError,
    decoded_neighbours,
    encoded_neighbours,
)
from models.stages.cache.key import key_of
from models.stages.cache.note import dumped, loaded
from tests.fakes import image_file

PNG, OTHER = image_file(), image_file(colour=(0, 0, 255))
REQUEST = ImageRequest(
    model="m", prompt="a fox", images=(InputImage(PNG, "image/png", "a.png"),), seeds=(5,), extra={"loras": "x"}
)
CHANGES: dict[str, object] = {
    "model": "n",
    "prompt": "a dog",
    "images": (InputImage(OTHER, "image/png", "a.png"),),
    "mask": InputImage(PNG, "image/png"),
    "width": 64,
    "height": 64,
    "steps": 30,
    "cfg_scale": 7.0,
    "negative_prompt": "text",
    "n": 2,
    "sampler": "euler",
    "scheduler": "karras",
    "denoising_strength": 0.5,
    "style_preset": "anime",
    "output_format": "webp",
    "output_quality": 80,
    "checkpoint": "c",
    "prompt_extend": True,
    "watermark": True,
    "asked_seed": 5,
    "stamp": "SALE",
    "ai_label": "visible",
    "variants": "900x383",
    "thumbnail": 256,
    "extra": {"loras": "y"},
}
NO_CHANGES: dict[str, object] = {
    "seeds": (6,),
    "details": True,
    "timeout": 60.0,
    "cache": "exact",
    "fallback": "preview",
    "notices": ("x",),
    "user": "u-2",
}


def exact(request: ImageRequest, **form: str) -> str:
    return key_of(request, Settings(form, {})).exact


@pytest.mark.parametrize("name", [field.name for field in fields(ImageRequest)])
def test_every_field_of_a_request_counts_unless_it_changes_no_image(name: str) -> None:
    assert (name in CHANGES) != (name in NO_CHANGES)
    changed = replace(REQUEST, **{name: {**CHANGES, **NO_CHANGES}[name]})  # type: ignore[arg-type]
    assert (exact(changed) == exact(REQUEST)) == (name in NO_CHANGES)


def test_input_images_count_by_content_and_priority_not_at_all() -> None:
    renamed = replace(REQUEST, images=(InputImage(PNG, "image/png", "b.png"),))
    assert exact(renamed) == exact(REQUEST)
    assert exact(replace(REQUEST, extra={"loras": "x", "priority": "high"})) == exact(REQUEST)


def test_two_models_of_one_account_are_two() -> None:
    forms = [
        {"backend": "comfyui", "limits": "account a", "workflow": "1"},
        {"backend": "comfyui", "limits": "account a", "workflow": "2"},
        {"backend": "comfyui", "limits": "account a", "base_url": "http://b"},
    ]
    assert len({exact(REQUEST, **form) for form in forms}) == 3
    assert exact(REQUEST, limits="account a", storage_url="s3://x") == exact(REQUEST, limits="account a")
    assert exact(REQUEST, limits="account a", region="x") == exact(REQUEST, limits="account a")


def test_the_versions_of_a_model_are_two() -> None:
    settings = Settings({}, {})
    assert len({key_of(REQUEST, settings, version).exact for version in (None, "main", "canary")}) == 3


def test_the_order_of_a_services_own_parameters_does_not_count() -> None:
    one = replace(REQUEST, extra={"loras": "x", "tiling": True})
    other = replace(REQUEST, extra={"tiling": True, "loras": "x"})
    assert exact(one) == exact(other)


def test_the_input_mask_counts_by_content() -> None:
    masked = [replace(REQUEST, mask=InputImage(data, "image/png")) for data in (PNG, OTHER)]
    assert len({exact(request) for request in (REQUEST, *masked)}) == 3


def test_no_name_shows_an_account_or_a_prompt() -> None:
    key = key_of(REQUEST, Settings({"limits": "account sk-marker"}, {}))
    assert len(key.account) == 32
    assert all(
        set(part) <= set("0123456789abcdef") for part in (key.account, key.exact, key.similar, key.near, key.bag)
    )


def test_an_entry_comes_back_as_it_was() -> None:
    kept = Kept("p/a.png", "https://cdn", {"thumb": "https://t"}, by_url=True)
    images = (GeneratedImage(PNG, seed=2**60, revised_prompt="图", kept=kept), GeneratedImage(OTHER))
    entry = CachedResult(1.5, "b", "m", images, ("A notice.",), Price(Decimal("0.03"), "CNY"))
    assert CachedResult.decoded(entry.encoded()) == entry
    plain = CachedResult(1.5, "b", "m", images)
    assert CachedResult.decoded(plain.encoded()) == plain


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_changed_or_cut_entry_is_none(place: int, change: bytes) -> None:
    whole = CachedResult(1.5, "b", "m", (GeneratedImage(PNG),)).encoded()
    body = whole.index(b"\n") + 1
    at = body + place % (len(whole) - body)
    if whole[at : at + len(change)] != change:
        with pytest.raises(UnreadableEntryError):
            CachedResult.decoded(whole[:at] + change + whole[at + len(change) :])
    with pytest.raises(UnreadableEntryError):
        CachedResult.decoded(whole[:at])


def test_the_numbers_of_a_meaning_are_kept_with_five_digits() -> None:
    (found,) = decoded_neighbours(encoded_neighbours([Neighbour("a", "bag", (0.1234567, -0.00001))]))
    assert found.vector == (0.12346, -0.00001)


def test_neighbours_that_cannot_be_read_are_none() -> None:
    neighbours = [Neighbour("a", "bag", (0.5, -0.25))]
    assert decoded_neighbours(encoded_neighbours(neighbours)) == neighbours
    assert decoded_neighbours(None) == decoded_neighbours(b"{") == decoded_neighbours(b'[["a"]]') == []


def test_a_waiting_request_is_plain_json() -> None:
    plain = replace(REQUEST, images=(), cfg_scale=7.5, notices=("x",))
    assert loaded(dumped(plain)) == plain
    assert loaded({"model": 1}) is None
