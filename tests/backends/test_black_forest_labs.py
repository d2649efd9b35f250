"""Black Forest Labs with a fake server over HTTP: bodies, tasks, prices and refusals."""

import base64
import io
from collections.abc import Iterator
from decimal import Decimal

import pytest
import responses
from PIL import Image
from pydantic import JsonValue

from models.backends.base import Running
from models.backends.black_forest_labs import BlackForestLabs
from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.catalog import cards
from models.entities import ImageRequest, ImageResult, InputImage, Price
from models.sizes import SeedRule
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.black_forest_labs import FakeFlux, black_forest_labs

PREDEFINED = sorted(card.model for card in cards().values() if card.backend == "black_forest_labs")
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")
MASK = InputImage(image_file(64, 48, mode="L", colour=255), "image/png", "mask.png")


@pytest.fixture
def server() -> Iterator[FakeFlux]:
    with black_forest_labs(key=MARKER_KEY) as fake:
        yield fake


def flux(fake: FakeFlux, model: str, *, key: str = MARKER_KEY, remote: str = "") -> BlackForestLabs:
    form = {"bfl_api_key": key, "bfl_base_url": fake.url}
    if remote:
        form = {"backend": "black_forest_labs", "base_url": fake.url, "api_key": key, "remote_model": remote}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, BlackForestLabs)
    return backend


def generate(backend: BlackForestLabs, **parts: object) -> ImageResult:
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def test_an_image_is_a_task_at_the_models_path(server: FakeFlux) -> None:
    result = generate(flux(server, "flux-2-pro"), width=1000, height=760, seed=42, output_format="png")
    body = {"prompt": "a red bicycle", "width": 1008, "height": 768, "seed": 42, "output_format": "png"}
    assert server.asked == [("/v1/flux-2-pro", body)]
    assert result.images[0].seed == 7, "the service's own word"
    assert result.images[0].size == (64, 48)
    assert result.price == Price(Decimal("0.03"), "USD")


def test_models_of_closed_shapes_get_the_nearest_ratio(server: FakeFlux) -> None:
    result = generate(flux(server, "flux-pro-1.1-ultra"), width=1600, height=920)
    assert server.asked[0][1]["aspect_ratio"] == "16:9"
    assert any("16:9" in notice for notice in result.notices)


def test_several_images_are_several_tasks_with_summed_cost(server: FakeFlux) -> None:
    result = generate(flux(server, "flux-2-pro"), n=3, seed=5)
    assert sorted(body["seed"] for _, body in server.asked) == [5, 6, 7]
    assert len(result.images) == 3
    assert result.price == Price(Decimal("0.09"), "USD")


def test_input_images_are_numbered_fields(server: FakeFlux) -> None:
    generate(flux(server, "flux-2-pro"), images=(PHOTO, PHOTO))
    assert server.asked[0][1]["input_image"] == server.asked[0][1]["input_image_2"] == PHOTO.base64
    generate(flux(server, "flux-pro-1.1"), images=(PHOTO,))
    assert server.asked[1][1]["image_prompt"] == PHOTO.base64


def test_inpainting_and_outpainting(server: FakeFlux) -> None:
    generate(flux(server, "flux-pro-1.0-fill"), images=(PHOTO,), mask=MASK, steps=20, prompt_extend=True)
    body = server.asked[0][1]
    assert (body["image"], body["steps"], body["prompt_upsampling"]) == (PHOTO.base64, 20, True)
    mask = Image.open(io.BytesIO(base64.b64decode(body["mask"])))
    assert (mask.size, mask.getextrema()) == ((64, 48), (255, 255))
    generate(flux(server, "flux-pro-1.0-expand"), images=(PHOTO,), extra={"outpaint_left": 64, "outpaint_up": 32})
    assert (server.asked[1][1]["left"], server.asked[1][1]["top"]) == (64, 32)


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_names_its_path(server: FakeFlux, model: str) -> None:
    backend = flux(server, model)
    server.faults.append((500, {"detail": "stop here"}))
    images = (PHOTO,) * backend.capabilities.min_images
    with pytest.raises(ServerUnavailable, match="stop here"):
        generate(backend, images=images)
    assert server.asked[0][0] == f"/v1/{model}"


def test_a_model_without_a_card_is_asked_like_flux_2(server: FakeFlux) -> None:
    with pytest.raises(BadRequest, match="remote_model"):
        generate(flux(server, "mine", remote="flux-9"))
    assert server.asked[0][0] == "/v1/flux-9"


def test_a_job_goes_on_in_another_process(server: FakeFlux) -> None:
    job = flux(server, "flux-2-pro").submit(asking.asked(flux(server, "flux-2-pro"), n=2))
    assert isinstance(job, dict)
    other = flux(server, "flux-2-pro")
    assert not isinstance(other.check(job), ImageResult)
    done = other.check(job)
    assert isinstance(done, ImageResult)
    assert len(done.images) == 2


def test_paid_images_are_kept_when_another_task_fails(server: FakeFlux) -> None:
    server.looks = 0
    backend = flux(server, "flux-2-pro")
    job = backend.submit(asking.asked(backend, n=2))
    assert isinstance(job, dict)
    server.states.append((200, {"status": "Error", "details": {"error": "out of memory"}}))
    done = backend.check(job)
    assert isinstance(done, ImageResult)
    assert len(done.images) == 1
    assert "out of memory" in " ".join(done.notices)
    assert done.price == Price(Decimal("0.03"), "USD")


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        ({"status": "Request Moderated", "details": {"Moderation Reasons": ["Sexual"]}}, BadRequest, "Sexual"),
        ({"status": "Content Moderated", "details": None}, BadRequest, "the generated image was refused"),
        ({"status": "Error", "details": "boom"}, ServerUnavailable, "boom"),
    ],
)
def test_a_task_that_ends_badly_says_why(server: FakeFlux, state: object, error: type[ImageError], said: str) -> None:
    server.states.append((200, state))
    with pytest.raises(error, match=said):
        generate(flux(server, "flux-2-pro"))


def test_a_task_that_another_region_does_not_know_yet_is_waited_for(server: FakeFlux) -> None:
    server.states.extend([(404, {"id": "x", "status": "Task not found", "result": None})] * 3)
    assert generate(flux(server, "flux-2-pro")).images


def test_a_task_that_vanished_is_told_before_the_deadline(server: FakeFlux) -> None:
    server.states.extend([(404, {"id": "x", "status": "Task not found", "result": None})] * 200)
    with pytest.raises(ServerUnavailable, match="no longer has the task"):
        generate(flux(server, "flux-2-pro"))


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (401, AuthorizationFailed, "api_key"),
        (403, AuthorizationFailed, "api_key"),
        (402, RateLimited, "no credit"),
        (422, BadRequest, "parameter"),
        (500, ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_next_step(
    server: FakeFlux, status: int, error: type[ImageError], advice: str
) -> None:
    server.faults.append((status, {"detail": f"refused for {MARKER_KEY}"}))
    with pytest.raises(error) as caught:
        generate(flux(server, "flux-2-pro"))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_too_many_tasks_are_waited_for(server: FakeFlux) -> None:
    server.faults.append((429, {"detail": "Too many active tasks"}))
    assert generate(flux(server, "flux-2-pro")).images


def test_the_key_goes_to_the_services_hosts_only(server: FakeFlux) -> None:
    server.faults.append((200, {"id": "t", "polling_url": "https://evil.example/v1/get_result?id=t"}))
    with pytest.raises(ServerUnavailable, match=r"evil\.example"):
        generate(flux(server, "flux-2-pro"))


def test_the_form_is_checked_by_the_credits(server: FakeFlux) -> None:
    assert flux(server, "flux-2-pro").check_access() == ["123.4 credits are left."]
    with pytest.raises(AuthorizationFailed):
        flux(server, "flux-2-pro", key="wrong").check_access()
    assert server.asked == []


# ---- one task, its state and its result

OWN = "https://api.eu.bfl.ai/v1/get_result?id=t"
SAMPLE = "https://api.bfl.ai/results/t.png"


def hosted() -> BlackForestLabs:
    backend = asking.bound("flux-2-pro", {"bfl_api_key": MARKER_KEY}, FakeClock())
    assert isinstance(backend, BlackForestLabs)
    return backend


def job(backend: BlackForestLabs, *costs: float | None) -> dict[str, JsonValue]:
    facts = {"address": OWN, "started": backend.clock.now()}
    tasks = [{"id": f"t{place}", "seed": 3, "facts": {**facts, "cost": cost}} for place, cost in enumerate(costs)]
    return {"tasks": tasks, "prompt": "a fox", "n": len(costs), "input_images": 0, "notices": []}  # type: ignore[dict-item]


@responses.activate
@pytest.mark.parametrize(
    ("state", "progress"),
    [
        ({"status": "Pending"}, "running"),
        ({"status": "Pending", "progress": 0}, "running"),
        ({"status": "Pending", "progress": 0.4}, "running, 40%"),
        ({"status": "Reviewing"}, "running"),
    ],
)
def test_a_task_that_has_not_ended_tells_its_progress(state: object, progress: str) -> None:
    responses.get(OWN, json=state)
    backend = hosted()
    assert backend.check(job(backend, 3)) == Running(progress)
    assert responses.calls[0].request.headers["x-key"] == MARKER_KEY


@responses.activate
def test_a_task_may_be_unknown_for_fifteen_seconds() -> None:
    responses.get(OWN, status=404, json={"status": "Task not found"})
    backend, clock = hosted(), FakeClock()
    state = job(backend, 3)
    backend.clock = clock
    clock.time += 15
    assert backend.check(state) == Running("running")
    clock.time += 0.5
    with pytest.raises(ServerUnavailable, match="no longer has the task") as caught:
        backend.check(state)
    assert caught.value.next_step == "Start it again"


@responses.activate
@pytest.mark.parametrize(
    ("state", "said"), [("Error", "boom"), ("Failed", "boom"), ("Failed", "the task failed there")]
)
def test_a_failure_is_told_in_the_services_words_if_there_are_any(state: str, said: str) -> None:
    responses.get(OWN, json={"status": state, "details": "boom" if said == "boom" else None})
    backend = hosted()
    with pytest.raises(ServerUnavailable) as caught:
        backend.check(job(backend, 3))
    assert (caught.value.said, caught.value.transient) == (said, False)


@responses.activate
@pytest.mark.parametrize(("told", "seed"), [({}, 3), ({"seed": "9"}, 3), ({"seed": 0}, 0), ({"seed": 9}, 9)])
def test_an_image_has_the_seed_that_was_used(told: dict[str, object], seed: int) -> None:
    responses.get(SAMPLE, body=PHOTO.data)
    responses.get(OWN, json={"status": "Ready", "result": {"sample": SAMPLE, **told}})
    backend = hosted()
    result = backend.check(job(backend, 3))
    assert isinstance(result, ImageResult)
    assert [image.seed for image in result.images] == [seed]


@responses.activate
@pytest.mark.parametrize("result", [None, {}, {"sample": None}, {"sample": 5}])
def test_a_task_without_a_sample_is_an_error(result: object) -> None:
    responses.get(OWN, json={"status": "Ready", "result": result})
    backend = hosted()
    with pytest.raises(ServerUnavailable, match="without an image"):
        backend.check(job(backend, 3))


@responses.activate
@pytest.mark.parametrize(
    ("costs", "price"),
    [((3, 4.5), Price(Decimal("0.075"), "USD")), ((0,), Price(Decimal(0), "USD")), ((3, None), None), ((None,), None)],
)
def test_a_price_is_told_only_if_every_task_has_one(costs: tuple[float | None, ...], price: Price | None) -> None:
    responses.get(SAMPLE, body=PHOTO.data)
    responses.get(OWN, json={"status": "Ready", "result": {"sample": SAMPLE}})
    backend = hosted()
    result = backend.check(job(backend, *costs))
    assert isinstance(result, ImageResult)
    assert result.price == price


def test_a_seed_is_a_signed_number_of_32_bits() -> None:
    assert hosted().seeds(ImageRequest(model="m", prompt="p")) == SeedRule(highest=2_147_483_647)


def test_the_address_of_an_image_is_told_to_expire(server: FakeFlux) -> None:
    told = "The address in `image_url` expires 10 minutes after the image was made."
    assert told in generate(flux(server, "flux-2-pro")).notices
