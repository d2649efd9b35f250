"""Stability's models that edit, control and upscale, with the fake server over HTTP."""

from collections.abc import Iterator, Mapping

import pytest

from models.backends.base import Running
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.stability.edit import StabilityEdit
from models.catalog import cards
from models.entities import ImageResult, InputImage
from tests import asking
from tests.fakes import FakeClock, image_file, noise
from tests.servers.stability import KEY, FakeStability

EDITS = [card.model for card in cards().values() if card.facts.get("api") == "edit"]
PHOTO = InputImage(image_file(640, 480), "image/png", "photo.png")
STYLE = InputImage(image_file(512, 512, colour="blue"), "image/png", "style.png")
MASK = InputImage(image_file(640, 480, mode="L", colour=255), "image/png", "mask.png")
NEEDS: Mapping[str, Mapping[str, object]] = {
    "stability-outpaint": {"outpaint_left": 200},
    "stability-search-and-replace": {"search_prompt": "the dog"},
    "stability-search-and-recolor": {"select_prompt": "the jacket"},
}


@pytest.fixture
def server() -> Iterator[FakeStability]:
    with FakeStability(balance=1000) as fake:
        yield fake


def bound(fake: FakeStability, model: str) -> StabilityEdit:
    form = {"stability_api_key": KEY, "stability_base_url": fake.url}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, StabilityEdit)
    return backend


def edit(backend: StabilityEdit, prompt: str = "a red hat", *images: InputImage, **parts: object) -> ImageResult:
    given = images or (PHOTO, STYLE)[: backend.capabilities.images]
    return backend.invoke(asking.asked(backend, prompt, images=given, timeout=60.0, **parts))


@pytest.mark.parametrize("model", EDITS)
def test_every_model_edits_an_image(server: FakeStability, model: str) -> None:
    backend = bound(server, model)
    result = edit(backend, extra=NEEDS.get(model, {}))
    assert len(result.images) == 1
    sent = server.requests[0]
    assert sent.path == cards()[model].facts["path"]
    assert ("prompt" in sent.texts) == (backend.facts.prompt == "prompt")


def test_inpainting_sends_image_mask_and_parameters(server: FakeStability) -> None:
    edit(
        bound(server, "stability-inpaint"),
        mask=MASK,
        seed=7,
        negative_prompt="blur",
        output_format="jpeg",
        extra={"grow_mask": 12},
    )
    sent = server.requests[0]
    assert sent.texts == {
        "prompt": "a red hat",
        "negative_prompt": "blur",
        "seed": "7",
        "output_format": "jpeg",
        "grow_mask": "12",
    }
    assert sent.form["image"].value == PHOTO.data
    assert sent.form["mask"].filename == "mask"


def test_outpainting_has_the_services_own_names_of_the_sides(server: FakeStability) -> None:
    edit(bound(server, "stability-outpaint"), "", extra={"outpaint_up": 100, "outpaint_down": 50, "creativity": 0.25})
    texts = server.requests[0].texts
    assert (texts["up"], texts["down"], texts["creativity"]) == ("100", "50", "0.25")
    assert "prompt" not in texts


@pytest.mark.parametrize("model", ["stability-outpaint", "stability-search-and-replace"])
def test_a_missing_parameter_is_named_before_anything_is_sent(server: FakeStability, model: str) -> None:
    with pytest.raises(BadRequest, match="needs at least one of `"):
        edit(bound(server, model))
    assert server.requests == []


def test_a_large_image_is_brought_within_the_models_area(server: FakeStability) -> None:
    big = InputImage(noise(2000, 1500, kind="JPEG"), "image/jpeg", "big.jpg")
    result = edit(bound(server, "stability-upscale-creative"), "a town", big)
    assert any("was scaled from 2000×1500 to" in notice for notice in result.notices)


def test_a_shape_that_the_service_refuses_is_refused_first(server: FakeStability) -> None:
    wide = InputImage(image_file(900, 300), "image/png", "wide.png")
    with pytest.raises(BadRequest, match=r"2\.5 to 1; this one is 900×300"):
        edit(bound(server, "stability-structure"), "a town", wide)
    assert edit(bound(server, "stability-erase"), "", wide).images


def test_a_background_is_removed_without_prompt_seed_and_jpeg(server: FakeStability) -> None:
    result = edit(bound(server, "stability-remove-background"), "ignored", output_format="jpeg")
    assert server.requests[0].texts == {"output_format": "png"}
    assert len(result.images) == 1


def test_two_images_are_the_content_and_the_style(server: FakeStability) -> None:
    edit(bound(server, "stability-style-transfer"), "", PHOTO, STYLE)
    form = server.requests[0].form
    assert (form["init_image"].value, form["style_image"].value) == (PHOTO.data, STYLE.data)


def test_a_job_goes_on_in_another_process(server: FakeStability) -> None:
    backend = bound(server, "stability-upscale-creative")
    job = backend.submit(asking.asked(backend, "a town", images=(PHOTO,), seed=5))
    assert isinstance(job, dict)
    other = bound(server, "stability-upscale-creative")
    assert other.check(job) == Running("running")
    done = other.check(job)
    assert isinstance(done, ImageResult)
    assert done.images[0].seed == 5
    assert other.interval(0) == 10, "the service allows no more"


def test_a_job_that_the_service_no_longer_has_is_told(server: FakeStability) -> None:
    backend = bound(server, "stability-relight")
    job = backend.submit(asking.asked(backend, "a beach", images=(PHOTO,)))
    assert isinstance(job, dict)
    server.jobs.clear()
    with pytest.raises(ServerUnavailable, match="no longer has the job"):
        backend.check(job)


def test_a_filtered_result_is_a_failure(server: FakeStability) -> None:
    server.filter_next()
    with pytest.raises(BadRequest, match="content filter"):
        edit(bound(server, "stability-inpaint"))


def test_several_images_are_several_calls(server: FakeStability) -> None:
    result = edit(bound(server, "stability-inpaint"), n=3, seed=1)
    assert sorted(request.texts["seed"] for request in server.requests) == ["1", "2", "3"]
    assert len(result.images) == 3
