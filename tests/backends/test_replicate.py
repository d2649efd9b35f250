"""Replicate with a fake server over HTTP: inputs by card and by schema, predictions, failures, cancelling."""

import json
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
from models.backends.replicate import Replicate
from models.catalog import cards
from models.entities import ImageResult, InputImage
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.replicate import BASE, VERSION, FakeReplicate, replicate

PREDEFINED = sorted(card.model for card in cards().values() if card.backend == "replicate")
PHOTO = InputImage(image_file(64, 48), "image/png", "photo.png")
MASK = InputImage(image_file(64, 48, mode="L", colour=255), "image/png", "mask.png")


@pytest.fixture
def server() -> Iterator[FakeReplicate]:
    with replicate(key=MARKER_KEY) as fake:
        yield fake


def bound(fake: FakeReplicate, model: str, *, remote: str = "", key: str = MARKER_KEY) -> Replicate:
    form = {"replicate_api_key": key, "replicate_base_url": fake.url + BASE}
    if remote:
        form = {"backend": "replicate", "base_url": fake.url + BASE, "api_key": key, "remote_model": remote}
    backend = asking.bound(model, form, FakeClock())
    assert isinstance(backend, Replicate)
    return backend


def generate(backend: Replicate, **parts: object) -> ImageResult:
    backend.learn(backend.within(5.0))
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def test_an_image_is_a_prediction_with_the_models_own_names(server: FakeReplicate) -> None:
    result = generate(
        bound(server, "replicate-flux-schnell"), seed=7, steps=4, aspect_ratio="16:9", output_format="jpeg"
    )
    path, body = server.asked[0]
    assert path == f"{BASE}/models/black-forest-labs/flux-schnell/predictions"
    inputs = {
        "prompt": "a red bicycle",
        "num_inference_steps": 4,
        "seed": 7,
        "output_format": "jpg",
        "aspect_ratio": "16:9",
    }
    assert body == {"input": inputs}
    assert server.lives == ["60s"], "a prediction that nobody waits for does not run on"
    assert (result.images[0].size, result.images[0].seed) == ((64, 48), 7)


def test_exact_sides_need_the_word_custom(server: FakeReplicate) -> None:
    generate(bound(server, "replicate-flux-1.1-pro"), width=1000, height=700)
    inputs = server.asked[0][1]["input"]
    assert (inputs["aspect_ratio"], inputs["width"], inputs["height"]) == ("custom", 992, 704)
    generate(bound(server, "replicate-seedream-4"), width=2048, height=1024, images=(PHOTO,))
    inputs = server.asked[1][1]["input"]
    assert (inputs["size"], inputs["image_input"]) == ("custom", [PHOTO.data_url])


def test_several_images_are_several_predictions(server: FakeReplicate) -> None:
    result = generate(bound(server, "replicate-flux-schnell"), n=3, seed=5)
    assert sorted(body["input"]["seed"] for _, body in server.asked) == [5, 6, 7]
    assert len(result.images) == 3


def test_the_seed_in_the_log_is_the_one_that_was_used(server: FakeReplicate) -> None:
    server.logs = "Using seed: 12345\n"
    assert generate(bound(server, "replicate-flux-schnell")).images[0].seed == 12345


@pytest.mark.parametrize("model", PREDEFINED)
def test_every_predefined_model_names_its_model(server: FakeReplicate, model: str) -> None:
    server.faults.append((500, {"detail": "stop here"}))
    with pytest.raises(ServerUnavailable, match="stop here"):
        generate(bound(server, model))
    assert server.asked[0][0] == f"{BASE}/models/{cards()[model].facts['model']}/predictions"


def test_the_form_of_any_model_is_made_from_its_schema(server: FakeReplicate) -> None:
    backend = bound(server, "mine", remote="stability-ai/sdxl")
    rules = {rule.name: rule for rule in backend.live_form(backend.within(5.0))}
    assert {"width", "height", "negative_prompt", "scheduler", "refine", "lora_scale", "apply_watermark"} <= set(rules)
    assert not {"prompt", "image", "mask", "num_outputs", "disable_safety_checker", "prompt_strength"} & set(rules)
    assert rules["scheduler"].options == ("DDIM", "K_EULER")
    assert (rules["steps"].max, rules["steps"].default) == (500, 50)
    assert (rules["lora_scale"].max, rules["lora_scale"].default) == (1, 0.6)
    assert (backend.capabilities.images, backend.capabilities.mask) == (1, True)


def test_a_community_model_is_asked_by_its_version(server: FakeReplicate) -> None:
    backend = bound(server, "mine", remote="stability-ai/sdxl")
    generate(backend, images=(PHOTO,), mask=MASK, denoising_strength=0.5, extra={"refine": "no_refiner"}, seed=3)
    assert [path for path, _ in server.asked] == [f"{BASE}/models/stability-ai/sdxl/predictions", f"{BASE}/predictions"]
    body = server.asked[1][1]
    assert body["version"] == VERSION
    assert (body["input"]["prompt_strength"], body["input"]["image"]) == (0.5, PHOTO.data_url)
    assert body["input"]["mask"].startswith("data:image/png")
    named = bound(server, "mine", remote=f"stability-ai/sdxl:{VERSION}")
    generate(named)
    assert [path for path, _ in server.asked[2:]] == [f"{BASE}/predictions"]


def test_a_model_that_does_not_exist_names_the_field(server: FakeReplicate) -> None:
    with pytest.raises(BadRequest, match="remote_model"):
        generate(bound(server, "mine", remote="acme/none"))


def test_a_job_goes_on_in_another_process_and_tells_its_progress(server: FakeReplicate) -> None:
    backend = bound(server, "replicate-flux-schnell")
    job = backend.submit(asking.asked(backend))
    assert isinstance(job, dict)
    assert bound(server, "replicate-flux-schnell").check(job) == Running("running, 42%")
    assert isinstance(bound(server, "replicate-flux-schnell").check(job), ImageResult)


def test_a_job_past_its_deadline_is_cancelled(server: FakeReplicate) -> None:
    backend = bound(server, "replicate-flux-schnell")
    job = backend.submit(asking.asked(backend))
    assert isinstance(job, dict)
    with pytest.raises(ConnectionFailed):
        backend.give_up(job, Running("running"))
    assert server.cancelled == ["p0"]


@pytest.mark.parametrize(
    ("ending", "error", "advice"),
    [
        (
            {"status": "failed", "error": "The input or output was flagged as sensitive. (E005) (abc)"},
            BadRequest,
            "prompt",
        ),
        ({"status": "failed", "error": "NSFW content detected. Try running it again"}, BadRequest, "prompt"),
        ({"status": "failed", "error": "CUDA out of memory"}, ServerUnavailable, "smaller"),
        ({"status": "failed", "error": None}, ServerUnavailable, ""),
        ({"status": "canceled"}, ServerUnavailable, "Start it again"),
        ({"status": "aborted"}, ServerUnavailable, "Start it again"),
    ],
)
def test_a_prediction_that_ends_badly_says_why(
    server: FakeReplicate, ending: dict[str, object], error: type[ImageError], advice: str
) -> None:
    server.endings.append(ending)
    with pytest.raises(error) as caught:
        generate(bound(server, "replicate-flux-schnell"))
    assert advice in caught.value.next_step


def test_removed_output_is_an_error(server: FakeReplicate) -> None:
    server.endings.append({"status": "succeeded", "output": None, "data_removed": True})
    with pytest.raises(ServerUnavailable, match="without an image"):
        generate(bound(server, "replicate-flux-schnell"))


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (401, AuthorizationFailed, "api_key"),
        (402, RateLimited, "no credit"),
        (422, BadRequest, "parameter"),
        (500, ServerUnavailable, ""),
    ],
)
def test_a_refusal_has_its_class_and_next_step(
    server: FakeReplicate, status: int, error: type[ImageError], advice: str
) -> None:
    server.faults.append((status, {"title": "t", "detail": f"refused for {MARKER_KEY}", "status": status}))
    with pytest.raises(error) as caught:
        generate(bound(server, "replicate-flux-schnell"))
    assert advice in caught.value.next_step
    assert MARKER_KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_throttling_is_waited_for(server: FakeReplicate) -> None:
    server.faults.append((429, {"detail": "Request was throttled.", "status": 429, "retry_after": 7}))
    assert generate(bound(server, "replicate-flux-schnell")).images


def test_the_form_is_checked_by_the_account(server: FakeReplicate) -> None:
    assert bound(server, "replicate-flux-schnell").check_access() == ()
    with pytest.raises(AuthorizationFailed):
        bound(server, "replicate-flux-schnell", key="wrong").check_access()
    assert server.asked == []


# ---- one prediction

HOME = "https://api.replicate.com/v1"
JOB: dict[str, JsonValue] = {
    "tasks": [{"id": "p", "seed": 3}],
    "prompt": "a fox",
    "n": 1,
    "input_images": 0,
    "notices": [],
}


def hosted(remote: str = "") -> Replicate:
    form = {"replicate_api_key": MARKER_KEY}
    if remote:
        form = {"backend": "replicate", "api_key": MARKER_KEY, "remote_model": remote}
    backend = asking.bound("m" if remote else "replicate-flux-schnell", form, FakeClock())
    assert isinstance(backend, Replicate)
    return backend


@responses.activate
@pytest.mark.parametrize(
    ("status", "logs", "progress"),
    [
        ("starting", None, "queued"),
        ("starting", " 10%|#  | 1/10", "queued, 10%"),
        ("processing", None, "running"),
        ("processing", "none", "running"),
        ("processing", " 10%|#   | 1/10\n 40%|####   | 4/10", "running, 40%"),
    ],
)
def test_a_prediction_that_has_not_ended_tells_its_progress(status: str, logs: str | None, progress: str) -> None:
    responses.get(f"{HOME}/predictions/p", json={"id": "p", "status": status, "logs": logs})
    assert hosted().check(JOB) == Running(progress)


@responses.activate
@pytest.mark.parametrize(
    ("logs", "seed"), [(None, 3), ("no number", 3), ("Seed: 0", 0), ("seed=12", 12), ("using seed 7", 7)]
)
def test_an_image_has_the_seed_of_the_log_else_its_own(logs: str | None, seed: int) -> None:
    file = f"{HOME}/file.png"
    responses.get(file, body=PHOTO.data)
    responses.get(f"{HOME}/predictions/p", json={"id": "p", "status": "succeeded", "output": file, "logs": logs})
    result = hosted().check(JOB)
    assert isinstance(result, ImageResult)
    assert [image.seed for image in result.images] == [seed]


@responses.activate
@pytest.mark.parametrize(
    ("record", "version"),
    [
        ({"latest_version": {"id": "v9"}}, "v9"),
        ({"latest_version": None}, "a/b"),
        (None, "a/b"),
    ],
)
def test_a_model_without_an_endpoint_is_asked_by_its_latest_version(record: object, version: str) -> None:
    responses.get(f"{HOME}/models/a/b", json=record or {}, status=200 if record else 404)
    responses.post(f"{HOME}/models/a/b/predictions", status=404, json={})
    responses.post(f"{HOME}/predictions", json={"id": "p", "status": "starting"})
    backend = hosted("a/b")
    job = backend.submit(asking.asked(backend, timeout=2.0))
    assert isinstance(job, dict)
    sent = responses.calls[-1].request
    assert json.loads(sent.body or b"")["version"] == version
    assert sent.headers["Cancel-After"] == "5s", "the service takes no shorter life"
