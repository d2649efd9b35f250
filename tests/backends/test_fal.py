"""fal with a fake queue over HTTP: inputs, states, filters, schemas, cancelling."""

from collections.abc import Iterator

import pytest
import responses
from pydantic import JsonValue

from models.backends.base import Running
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.backends.fal import Fal
from models.catalog import cards
from models.entities import ImageResult, InputImage
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.fal import DOCUMENT, FakeFal, fal

PREDEFINED = sorted(card.model for card in cards().values() if card.backend == "fal")
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")


@pytest.fixture
def server() -> Iterator[FakeFal]:
    with fal(key=MARKER_KEY) as fake:
        yield fake


def bound(fake: FakeFal, model: str, *, remote: str = "", key: str = MARKER_KEY) -> Fal:
    form = {"fal_api_key": key, "fal_base_url": fake.url}
    if remote:
        form = {"backend": "fal", "base_url": fake.url, "api_key": key, "remote_model": remote}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, Fal)
    return backend


def generate(backend: Fal, **parts: object) -> ImageResult:
    backend.learn(backend.within(5.0))
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def test_an_image_is_a_request_in_the_queue(server: FakeFal) -> None:
    result = generate(bound(server, "fal-flux-dev"), width=1000, height=760, steps=28, seed=7, output_format="png")
    body = {
        "prompt": "a red bicycle",
        "num_inference_steps": 28,
        "seed": 7,
        "output_format": "png",
        "image_size": {"width": 1008, "height": 768},
    }
    assert server.asked == [("/fal-ai/flux/dev", body)]
    assert server.lives == ['{"expiration_duration_seconds": 86400}']
    assert result.images[0].seed == 9, "the service's own word"
    assert result.images[0].size == (64, 48)


def test_input_images_go_to_the_models_own_endpoint_for_them(server: FakeFal) -> None:
    generate(bound(server, "fal-flux-dev"), images=(PHOTO,), denoising_strength=0.4)
    assert server.asked[0][0] == "/fal-ai/flux/dev/image-to-image"
    assert (server.asked[0][1]["image_url"], server.asked[0][1]["strength"]) == (PHOTO.data_url, 0.4)
    generate(bound(server, "fal-nano-banana"), images=(PHOTO, PHOTO), aspect_ratio="16:9")
    assert server.asked[1][0] == "/fal-ai/nano-banana/edit"
    assert server.asked[1][1]["image_urls"] == [PHOTO.data_url, PHOTO.data_url]
    assert server.asked[1][1]["aspect_ratio"] == "16:9"


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_names_its_endpoint(server: FakeFal, model: str) -> None:
    backend, facts = bound(server, model), cards()[model].facts
    server.faults.append((500, {"detail": "stop here", "error_type": "internal_error"}))
    images = (PHOTO,) * backend.capabilities.min_images
    with pytest.raises(ServerUnavailable, match="stop here"):
        generate(backend, images=images)
    assert server.asked[0][0] == f"/{facts['model']}"


def test_the_form_of_any_model_is_made_from_its_schema(server: FakeFal) -> None:
    backend = bound(server, "mine", remote="acme/painter")
    rules = {rule.name: rule for rule in backend.live_form(backend.within(5.0))}
    assert rules["brush"].options == ("oil", "ink")
    assert rules["brush"].default == "ink"
    assert rules["brush"].label.en_US == "Brush"
    assert (rules["steps"].max, rules["steps"].default) == (40, 20)
    assert not {"num_images", "sync_mode", "loras", "image_urls", "image_size"} & set(rules)
    assert backend.capabilities.images == 4
    generate(backend, images=(PHOTO,), extra={"brush": "oil"}, width=640, height=480, seed=1)
    body = {"prompt": "a red bicycle", "seed": 1, "brush": "oil", "image_size": {"width": 640, "height": 480}}
    assert server.asked == [("/acme/painter", {**body, "image_urls": [PHOTO.data_url]})]


def test_a_model_that_publishes_nothing_is_asked_with_little(server: FakeFal) -> None:
    backend = bound(server, "mine", remote="acme/unknown")
    with pytest.raises(BadRequest, match="remote_model"):
        generate(backend)


def test_a_job_goes_on_in_another_process_and_tells_its_place(server: FakeFal) -> None:
    backend = bound(server, "fal-flux-dev")
    job = backend.submit(asking.asked(backend))
    assert isinstance(job, dict)
    other = bound(server, "fal-flux-dev")
    assert other.check(job) == Running("queued, 2 before it")
    assert other.check(job) == Running("running")
    assert isinstance(other.check(job), ImageResult)


def test_a_job_past_its_deadline_is_cancelled(server: FakeFal) -> None:
    backend = bound(server, "fal-flux-dev")
    job = backend.submit(asking.asked(backend))
    assert isinstance(job, dict)
    with pytest.raises(ConnectionFailed):
        backend.give_up(job, Running("running"))
    assert server.cancelled == ["r0"]


def _fault(kind: str) -> dict[str, object]:
    return {"detail": [{"loc": ["body", "prompt"], "msg": "not possible", "type": kind, "input": "a secret prompt"}]}


@pytest.mark.parametrize(
    ("status", "body", "error", "advice"),
    [
        (422, _fault("content_policy_violation"), BadRequest, "Change the prompt"),
        (422, _fault("no_media_generated"), BadRequest, "made no image"),
        (422, _fault("image_too_large"), BadRequest, "input image"),
        (504, _fault("generation_timeout"), ServerUnavailable, "Try again"),
        (422, {"detail": "plain words"}, BadRequest, "parameter"),
    ],
)
def test_a_result_that_is_a_failure_says_why(
    server: FakeFal, status: int, body: object, error: type[ImageError], advice: str
) -> None:
    server.results.extend([(status, body)] * 400)
    with pytest.raises(error) as caught:
        generate(bound(server, "fal-flux-dev"))
    assert advice in f"{caught.value}"
    assert "a secret prompt" not in str(caught.value)


def test_a_blacked_out_image_is_not_a_success(server: FakeFal) -> None:
    image = {"url": f"{server.url}/files/r0.png"}
    server.results.append((200, {"images": [image], "seed": 1, "has_nsfw_concepts": [True]}))
    with pytest.raises(BadRequest, match="safety checker"):
        generate(bound(server, "fal-flux-dev"))


@pytest.mark.parametrize(
    ("status", "body", "error", "advice"),
    [
        (401, {"detail": f"No user found for {MARKER_KEY}"}, AuthorizationFailed, "api_key"),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, RateLimited, "no credit"),
        (403, {"detail": "Access denied"}, AuthorizationFailed, "scope"),
        (404, {"detail": "Application not found"}, BadRequest, "remote_model"),
        (500, {"detail": "boom", "error_type": "internal_error"}, ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_next_step(
    server: FakeFal, status: int, body: object, error: type[ImageError], advice: str
) -> None:
    server.faults.append((status, body))
    with pytest.raises(error) as caught:
        generate(bound(server, "fal-flux-dev"))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_the_key_goes_to_the_services_hosts_only(server: FakeFal) -> None:
    urls = dict.fromkeys(("response_url", "status_url", "cancel_url"), "https://evil.example/x")
    server.faults.append((200, {"status": "IN_QUEUE", "request_id": "r", **urls}))
    with pytest.raises(ServerUnavailable, match=r"evil\.example"):
        generate(bound(server, "fal-flux-dev"))


def test_the_form_is_checked_by_the_price_list(server: FakeFal) -> None:
    assert bound(server, "fal-flux-dev").check_access() == ()
    with pytest.raises(AuthorizationFailed):
        bound(server, "fal-flux-dev", key="wrong").check_access()
    assert server.asked == []


# ---- one request, its state and its result

OWN = "https://queue.fal.run/fal-ai/flux/requests/r"
JOB: dict[str, JsonValue] = {
    "tasks": [
        {"id": "r", "seed": 3, "facts": {"status_url": f"{OWN}/status", "response_url": OWN, "cancel_url": f"{OWN}/x"}}
    ],
    "prompt": "a fox",
    "n": 1,
    "input_images": 0,
    "notices": [],
}
PICTURE = {"url": "data:image/png;base64," + PHOTO.base64}


def hosted(model: str = "fal-flux-dev") -> Fal:
    backend = asking.bound(model, {"fal_api_key": MARKER_KEY}, FakeClock())
    assert isinstance(backend, Fal)
    return backend


def ended(body: object, status: int = 200, **state: object) -> Running | ImageResult:
    """What a look shows of a request that has ended with this result."""
    responses.get(f"{OWN}/status", json={"status": "COMPLETED", **state})
    responses.get(OWN, json=body, status=status)
    return hosted().check(JOB)


@responses.activate
@pytest.mark.parametrize(
    ("state", "progress"),
    [
        ({"status": "IN_QUEUE"}, "queued"),
        ({"status": "IN_QUEUE", "queue_position": 0}, "queued, 0 before it"),
        ({"status": "IN_PROGRESS", "queue_position": 2}, "running"),
    ],
)
def test_a_request_that_has_not_ended_tells_its_place(state: object, progress: str) -> None:
    responses.get(f"{OWN}/status", json=state)
    assert hosted().check(JOB) == Running(progress)
    assert responses.calls[0].request.headers["Authorization"] == f"Key {MARKER_KEY}"


@responses.activate
@pytest.mark.parametrize(
    ("more", "seeds", "filtered"),
    [
        ({"seed": 9, "has_nsfw_concepts": [False, False]}, [9, 9], 0),
        ({"seed": "9"}, [3, 3], 0),
        ({"seed": 0, "has_nsfw_concepts": [True, False]}, [0], 1),
        ({"has_nsfw_concepts": [True]}, [3, 3], 0),
        ({"has_nsfw_concepts": True}, [3, 3], 0),
    ],
)
def test_images_have_their_seed_and_the_flagged_ones_are_left_out(
    more: dict[str, object], seeds: list[int], filtered: int
) -> None:
    result = ended({"images": [PICTURE, PICTURE], **more})
    assert isinstance(result, ImageResult)
    assert [image.seed for image in result.images] == seeds
    told = "Generating with fal failed: an image was refused by the model's safety checker. Change the prompt."
    assert [notice for notice in result.notices if "safety" in notice] == [told] * filtered


@responses.activate
@pytest.mark.parametrize(
    ("status", "body", "state", "passing"),
    [
        (500, {"detail": "gateway"}, {}, True),
        (503, {"detail": "gateway"}, {}, True),
        (422, {"detail": "gateway"}, {}, False),
        (500, {"detail": "x", "error_type": "internal_error"}, {}, False),
        (500, {"detail": "gateway"}, {"error_type": "runner_crashed"}, False),
        (500, {"detail": [{"type": "downstream_error"}]}, {}, False),
    ],
)
def test_only_a_gateways_own_failure_may_pass(
    status: int, body: object, state: dict[str, object], passing: bool
) -> None:
    with pytest.raises(ImageError) as caught:
        ended(body, status, **state)
    assert caught.value.transient is passing


@responses.activate
@pytest.mark.parametrize("status", [200, 400, 404])
def test_a_request_that_has_ended_needs_no_cancelling(status: int) -> None:
    responses.put(f"{OWN}/x", status=status, json={"status": "ALREADY_COMPLETED"})
    hosted().cancel(JOB)
    assert len(responses.calls) == 1


@responses.activate
def test_the_service_has_its_prices_and_schemas_at_other_hosts() -> None:
    prices = "https://api.fal.ai/v1/models/pricing?endpoint_id=fal-ai%2Fflux%2Fdev"
    responses.get(prices, json={})
    assert hosted().check_access() == ()
    schema = "https://fal.ai/api/openapi/queue/openapi.json?endpoint_id=acme%2Fpainter"
    responses.get(schema, json=DOCUMENT)
    form = {"backend": "fal", "api_key": MARKER_KEY, "remote_model": "acme/painter"}
    backend = asking.bound("mine", form, FakeClock())
    assert "brush" in {rule.name for rule in backend.live_form(backend.within(5.0))}
    assert [call.request.url for call in responses.calls] == [prices, schema]
    keys = [call.request.headers.get("Authorization") for call in responses.calls]
    assert keys == [f"Key {MARKER_KEY}", None], "the schema is public, and at another host"


@responses.activate
@pytest.mark.parametrize(
    "document",
    [
        [],
        {"paths": DOCUMENT["paths"]},
        {**DOCUMENT, "paths": {}},
        {**DOCUMENT, "paths": {"/acme/painter": {"get": {}}}},
    ],
)
def test_a_document_without_the_endpoint_gives_no_form(document: object) -> None:
    responses.get("https://fal.ai/api/openapi/queue/openapi.json", json=document)
    form = {"backend": "fal", "api_key": MARKER_KEY, "remote_model": "acme/painter"}
    backend = asking.bound("mine", form, FakeClock())
    assert "brush" not in {rule.name for rule in backend.live_form(backend.within(5.0))}


def test_an_endpoint_for_input_images_is_used_only_with_them(server: FakeFal) -> None:
    backend = bound(server, "fal-nano-banana")
    generate(backend)
    generate(backend, images=(PHOTO,))
    assert [path for path, _ in server.asked] == ["/fal-ai/nano-banana", "/fal-ai/nano-banana/edit"]
