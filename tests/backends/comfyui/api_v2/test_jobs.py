"""Jobs at the Comfy API v2: submitted once, polled by any process, cancelled, and what their ends mean."""

import json

import pytest

from models.backends.base import Running
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.entities import ImageResult
from tests.backends.comfyui.api_v2.conftest import KEY
from tests.backends.comfyui.api_v2.models import api_model, job_of, one_at_a_time, result_of, watched
from tests.backends.comfyui.jobs import TXT2IMG, failing, sampled, slow
from tests.fakes import FakeClock
from tests.servers.comfy_api import FakeComfyAPI, busy, failure
from tests.servers.comfyui import wait_until
from tests.servers.faulty import FaultyProxy, reset, running


def keys_of(service: FakeComfyAPI) -> list[str]:
    return [call.headers["idempotency-key"] for call in service.sent("POST", "jobs")]


def test_an_image_is_made_in_one_job(service: FakeComfyAPI) -> None:
    result = result_of(api_model(service, TXT2IMG), seed=7)
    assert [(image.size, image.seed) for image in result.images] == [((64, 64), 7)]
    (call,) = service.sent("POST", "jobs")
    assert set(call.body) == {"workflow"}
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert b"prompt" not in result.images[0].data


def test_each_image_of_a_workflow_without_a_batch_is_an_order_of_its_own(service: FakeComfyAPI) -> None:
    result = result_of(api_model(service, one_at_a_time(service)), n=3, seed=5)
    assert [image.seed for image in result.images] == [5, 6, 7]
    assert len(set(keys_of(service))) == 3


def test_the_images_of_a_batch_share_a_job_and_a_seed(service: FakeComfyAPI) -> None:
    result = result_of(api_model(service, TXT2IMG), n=2, seed=5)
    assert len(result.images) == 2
    assert len(service.graphs) == 1
    assert "The 2 images come from one batch with the seed 5" in result.notices


def test_the_workflow_stays_in_the_image_on_request(service: FakeComfyAPI) -> None:
    result = result_of(api_model(service, TXT2IMG), extra={"embed_workflow": True})
    assert b"prompt" in result.images[0].data


def test_a_priority_is_not_promised(service: FakeComfyAPI) -> None:
    result = result_of(api_model(service, TXT2IMG), extra={"priority": "high"})
    assert any(notice.startswith("`priority` was not used") for notice in result.notices)


# Submission


@pytest.mark.parametrize("code", ["queue_full", "deployment_not_ready", "rate_limited"])
def test_a_busy_service_is_waited_for_with_the_same_key(cloud: FakeComfyAPI, code: str) -> None:
    cloud.refusals.extend([busy(code, "30")] * 4)
    clock = FakeClock()
    backend = api_model(cloud, TXT2IMG, clock)
    job_of(backend, timeout=300.0)
    assert len(keys_of(cloud)) == 5
    assert len(set(keys_of(cloud))) == 1
    assert clock.pauses == [30.0] * 4


def test_a_cold_start_longer_than_the_time_limit_is_told(cloud: FakeComfyAPI) -> None:
    cloud.refusals.extend([busy("deployment_not_ready", "50")] * 4)
    with pytest.raises(ServerUnavailable, match="still starting: raise `timeout`") as caught:
        job_of(api_model(cloud, TXT2IMG, FakeClock()), timeout=120.0)
    assert caught.value.undone


def test_an_order_of_unknown_outcome_is_not_repeated(service: FakeComfyAPI) -> None:
    proxy = FaultyProxy(upstream=service.url, stages={"submit": "POST /"}, stage="submit", act=reset, carried_out=True)
    with running(proxy), pytest.raises(ConnectionFailed, match="may still have been processed") as caught:
        job_of(api_model(f"{proxy.url}/api/v2", TXT2IMG))
    assert proxy.count() == len(service.graphs) == 1
    assert not caught.value.undone


@pytest.mark.parametrize(
    ("status", "body"),
    [failure(500, "upstream_error", "it broke"), failure(503, "upstream_unreachable", "Could not reach ComfyUI."), (503, b"<html>no healthy upstream</html>")],
)  # fmt: skip
def test_a_5xx_ends_an_order(cloud: FakeComfyAPI, status: int, body: object) -> None:
    cloud.refusals.append((status, body))
    with pytest.raises(ServerUnavailable) as caught:
        job_of(api_model(cloud, TXT2IMG))
    assert "<html" not in str(caught.value)
    assert not caught.value.undone
    assert len(keys_of(cloud)) == 1


def test_an_image_whose_order_was_taken_is_delivered(service: FakeComfyAPI) -> None:
    service.refusals.append(failure(402, "insufficient_credits", "Add credits."))
    result = result_of(api_model(service, one_at_a_time(service)), n=2)
    assert len(result.images) == 1
    assert any("Add credits to the Comfy account" in notice for notice in result.notices)


@pytest.mark.parametrize(
    ("status", "code", "error", "says"),
    [
        (402, "insufficient_credits", RateLimited, "Add credits to the Comfy account"),
        (403, "forbidden", ImageError, "rights of “API key”"),
        (413, "payload_too_large", BadRequest, "--max-upload-mb"),
        (422, "deployment_stopped", ServerUnavailable, "its operator must start it"),
        (422, "workflow_format_ui", BadRequest, "Export \\(API\\)"),
        (422, "missing_asset", ServerUnavailable, "run it again"),
        (422, "idempotency_key_reuse", ServerUnavailable, "look for the job there"),
        (429, "inactive_subscription", RateLimited, "renew its plan"),
        (503, "upstream_unreachable", ServerUnavailable, "does not reach its ComfyUI"),
    ],
)
def test_a_refusal_says_what_to_do(
    cloud: FakeComfyAPI, status: int, code: str, error: type[ImageError], says: str
) -> None:
    cloud.refusals.append(failure(status, code, f"{code} for {KEY}"))
    with pytest.raises(error, match=says) as caught:
        job_of(api_model(cloud, TXT2IMG))
    assert KEY not in str(caught.value)
    assert len(keys_of(cloud)) == 1


def test_a_refused_workflow_names_the_node_and_the_parameter(service: FakeComfyAPI) -> None:
    """In ComfyUI's form of `node_errors` and in the contract's."""
    graph = sampled(cfg=1000.0)
    graph["3"]["_meta"] = {"title": "Draw"}
    with pytest.raises(BadRequest, match=r"node 3 \(KSampler \"Draw\"\): Value 1000.0 bigger than max") as caught:
        job_of(api_model(service, graph))
    assert caught.value.undone
    assert "cfg" in str(caught.value)


def test_a_missing_node_class_is_named(service: FakeComfyAPI) -> None:
    graph = {**TXT2IMG, "9": {"class_type": "Image Save", "inputs": {"images": ["8", 0]}}}
    with pytest.raises(BadRequest, match=r"does not have node 9 \(Image Save\).*Install Missing Custom Nodes"):
        job_of(api_model(service, graph))


# Polling


def test_another_process_continues_a_job(service: FakeComfyAPI) -> None:
    job = job_of(api_model(service, slow(0.05)), seed=3)
    assert KEY not in json.dumps(job)
    seen = watched(api_model(service, slow(0.05)), job)
    assert isinstance(seen, ImageResult)
    assert [image.seed for image in seen.images] == [3]


def test_progress_is_told(cloud: FakeComfyAPI) -> None:
    cloud.engine.gate.clear()
    backend = api_model(cloud, slow(0.2, steps=4))
    first, second = job_of(backend, seed=1), job_of(backend, seed=2)
    wait_until(lambda: cloud.engine.running)
    assert backend.check(first) == Running("running")
    assert backend.check(second) == Running("queued 1st")
    cloud.engine.gate.set()
    wait_until(lambda: cloud.steps)
    words: list[str] = []
    backend.on_progress = lambda running: words.append(running.progress)
    watched(backend, second)
    assert any(word.startswith("step ") for word in words)


def test_an_unknown_state_counts_as_running(cloud: FakeComfyAPI) -> None:
    backend = api_model(cloud, slow())
    job = job_of(backend)
    cloud.state = "paused"
    assert backend.check(job) == Running("paused")
    cloud.state = ""
    assert isinstance(watched(backend, job), ImageResult)


def test_a_busy_service_does_not_end_a_job(cloud: FakeComfyAPI) -> None:
    backend = api_model(cloud, slow())
    job = job_of(backend)
    cloud.looks.extend(
        [busy("rate_limited", "5"), failure(503, "upstream_unreachable", "x"), (503, b"no healthy upstream")]
    )
    assert isinstance(watched(backend, job), ImageResult)


@pytest.mark.parametrize("links", ["", "http://10.0.0.7:8189"])
def test_the_key_goes_to_the_address_of_the_form_only(proxy: FakeComfyAPI, links: str) -> None:
    """A proxy builds its links from the address at which it sees the request."""
    proxy.links = links
    result = result_of(api_model(proxy, TXT2IMG))
    assert len(result.images) == 1


def test_a_link_is_joined_with_the_origin(cloud: FakeComfyAPI) -> None:
    job = job_of(api_model(cloud, TXT2IMG))
    tasks = job["tasks"]
    assert isinstance(tasks, list)
    (task,) = tasks
    assert isinstance(task, dict)
    assert isinstance(task["facts"], dict)
    assert str(task["facts"]["self"]).startswith("/api/v2/jobs/")
    assert isinstance(watched(api_model(cloud, TXT2IMG), job), ImageResult)


def test_a_job_that_vanished_is_not_submitted_again(proxy: FakeComfyAPI) -> None:
    backend = api_model(proxy, slow())
    job = job_of(backend)
    proxy.restart()
    with pytest.raises(ServerUnavailable, match="the job was not found") as caught:
        watched(backend, job)
    assert not caught.value.transient
    assert len(proxy.graphs) == 1


@pytest.mark.parametrize(
    ("state", "says"), [("expired", "no longer has the job"), ("canceled", "canceled at the service")]
)
def test_a_job_that_ended_without_images_is_told(cloud: FakeComfyAPI, state: str, says: str) -> None:
    backend = api_model(cloud, slow())
    job = job_of(backend)
    cloud.state = state
    with pytest.raises(ServerUnavailable, match=says):
        backend.check(job)


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("value_error", ServerUnavailable, "deliberate failure of a node"),
        ("cuda_oom", ServerUnavailable, "smaller image"),
        ("runtime", BadRequest, "Two model files are incompatible"),
    ],
)
def test_a_failed_node_is_named(service: FakeComfyAPI, kind: str, error: type[ImageError], says: str) -> None:
    with pytest.raises(error, match=rf"node 2 \(DevFail \"Breaks\"\): .*{says}") as caught:
        result_of(api_model(service, failing(kind)))
    assert "/opt/ComfyUI" not in str(caught.value)


def test_a_server_that_left_the_list_ends_its_jobs(cloud: FakeComfyAPI) -> None:
    backend = api_model(cloud, slow())
    job = job_of(backend)
    with pytest.raises(ServerUnavailable, match="no longer in the list"):
        backend.check({**job, "server": 1})


# Cancelling


def test_a_running_job_is_cancelled_and_others_are_not(service: FakeComfyAPI) -> None:
    service.engine.gate.clear()
    backend = api_model(service, slow(0.1))
    first, second = job_of(backend, seed=1), job_of(backend, seed=2)
    wait_until(lambda: service.engine.running)
    backend.cancel(first)
    backend.cancel(first)
    service.engine.gate.set()
    with pytest.raises(ServerUnavailable, match="canceled at the service"):
        watched(backend, first)
    assert isinstance(watched(backend, second), ImageResult)


def test_a_job_past_its_deadline_is_cancelled(service: FakeComfyAPI) -> None:
    service.engine.gate.clear()
    with pytest.raises(ConnectionFailed, match="time limit of the job has passed; last known state: running"):
        result_of(api_model(service, slow(0.1)), timeout=10.0)
    assert len(service.cancelled) == 1


def test_an_ended_job_is_cancelled_without_an_error(service: FakeComfyAPI) -> None:
    backend = api_model(service, slow())
    job = job_of(backend)
    assert isinstance(watched(backend, job), ImageResult)
    service.jobs.clear()
    backend.cancel(job)
