"""What the replies of the Comfy API v2 mean, one value at a time."""

import json
import re
import uuid

import pytest
import responses
from pydantic import BaseModel, JsonValue

from models.backends.comfyui.api_v2.client import ApiJob, ApiOutput, ApiProgress, ComfyAPIClient, parse_job
from models.backends.comfyui.client import Refused
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.clock import Deadline
from models.entities import InputImage
from tests.backends.comfyui.api_v2.models import api_model
from tests.backends.comfyui.jobs import TXT2IMG
from tests.fakes import FakeClock


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({}, "running"),
        ({"step": 0, "steps": 0, "nodes_done": 0, "nodes_total": 0}, "running"),
        ({"step": 3.0, "steps": 20.0}, "step 3/20"),
        ({"steps": 20}, "step 0/20"),
        ({"step": 1, "steps": 1, "current_node_class": "VAEDecode"}, "running VAEDecode"),
        ({"nodes_done": 2, "nodes_total": 7}, "2 of 7 nodes finished"),
        ({"nodes_total": 7}, "0 of 7 nodes finished"),
    ],
)
def test_progress_is_told_in_steps_else_by_the_node_else_by_the_count(
    progress: dict[str, JsonValue], words: str
) -> None:
    assert ApiProgress.model_validate(progress).words == words


@responses.activate
@pytest.mark.parametrize(
    ("link", "asked"),
    [
        ("/api/v2/jobs/7/stop?now=1", "https://api.test/api/v2/jobs/7/stop?now=1"),
        ("/elsewhere", "https://api.test/elsewhere"),
        ("https://api.test/api/v2/jobs/7/stop", "https://api.test/api/v2/jobs/7/stop"),
        ("//evil.example/jobs/7", "https://api.test/api/v2/jobs/7/cancel"),
        ("https://evil.example/api/v2/jobs/7", "https://api.test/api/v2/jobs/7/cancel"),
        ("https://api.test/api/v2.evil/7", "https://api.test/api/v2/jobs/7/cancel"),
        ("", "https://api.test/api/v2/jobs/7/cancel"),
    ],
)
def test_a_link_is_followed_at_the_forms_own_origin_only(link: str, asked: str) -> None:
    responses.post(asked, json={})
    clock = FakeClock()
    client = api_model("https://api.test/api/v2", TXT2IMG, clock).client
    client.cancel("7", link, deadline=Deadline.after(clock, 60))
    assert [call.request.url for call in responses.calls] == [asked]


@pytest.mark.parametrize(
    ("output", "filename"),
    [
        ({"name": "a.png", "content_type": "video/mp4"}, "a.png"),
        ({"name": "a", "content_type": "video/mp4"}, "a.mp4"),
        ({"id": "7", "content_type": "image/png"}, "7.png"),
        ({"name": "a", "id": "7", "content_type": "no/such"}, "a"),
        ({"name": "a", "content_type": None}, "a"),
    ],
)
def test_a_file_without_a_suffix_gets_that_of_its_type(output: dict[str, JsonValue], filename: str) -> None:
    assert ApiOutput.model_validate(output).filename == filename


def test_a_job_may_leave_out_everything_but_its_id_and_state() -> None:
    bare = {"id": "7", "status": "queued"}
    empty = {"outputs": None, "urls": None, "error": None, "progress": None, "queue_position": None}
    assert ApiJob.model_validate({**bare, **empty}) == ApiJob.model_validate(bare)
    full = {
        **bare,
        "outputs": [{"node_id": 9}],
        "urls": {"self": "/a", "cancel": "/b"},
        "progress": {"step": None, "steps": None, "nodes_done": None, "nodes_total": None},
    }
    job = ApiJob.model_validate(full)
    assert [output.node_id for output in job.outputs] == ["9"]
    assert (job.urls.job, job.urls.cancel) == ("/a", "/b")


@pytest.mark.parametrize("model", [ApiJob(id="7", status="queued"), ApiJob(id="7", status="x").urls])
def test_a_reply_is_not_changed_after_it_was_read(model: BaseModel) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(model, next(iter(type(model).model_fields)), "other")


# --- the routes ---

API = "https://api.test/api/v2"
PHOTO = InputImage(b"photo", "image/jpeg", "me.jpg")


@pytest.fixture
def client(clock: FakeClock) -> ComfyAPIClient:
    return api_model(API, TXT2IMG, clock).client


@pytest.fixture
def soon(clock: FakeClock) -> Deadline:
    return Deadline.after(clock, 60)


@responses.activate
@pytest.mark.parametrize(
    ("status", "body", "taken"),
    [
        (404, {"error": {"code": "not_found"}}, True),
        (400, {"error": {"code": "invalid_request"}}, True),
        (422, {"error": {"code": "invalid_request"}}, True),
        (200, {"error": {"code": "not_found"}}, False),
        (404, {"error": {"code": None}}, False),
        (404, {"error": {"code": ""}}, False),
        (404, ["not_found"], False),
    ],
)
def test_a_refusal_with_a_code_shows_that_the_key_was_taken(
    client: ComfyAPIClient, soon: Deadline, status: int, body: JsonValue, taken: bool
) -> None:
    responses.get(f"{API}/jobs/00000000-0000-4000-8000-000000000000", status=status, json=body)
    if taken:
        client.probe(deadline=soon)
    else:
        with pytest.raises(BadRequest, match="No Comfy API v2 was found"):
            client.probe(deadline=soon)
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize(("mime_type", "suffix"), [("image/jpeg", "jpg"), ("image/tiff", "png")])
def test_an_input_image_is_stored_under_a_name_of_its_own(
    client: ComfyAPIClient, soon: Deadline, mime_type: str, suffix: str
) -> None:
    responses.post(f"{API}/assets", json={"id": "a-7", "hash": None})
    asset = client.upload(InputImage(b"photo", mime_type, "me"), deadline=soon)
    assert asset.in_graph == {"__type": "core/ASSET", "info": {"id": "a-7"}}
    body = responses.calls[0].request.body
    assert isinstance(body, bytes)
    assert re.search(rb'filename="[0-9a-f-]{36}\.' + suffix.encode(), body)
    assert re.search(rb"\r\n\r\ninput/dify/[0-9a-f-]{36}\." + suffix.encode() + rb"\r\n", body)
    assert body.count(mime_type.encode()) == 2
    assert b"\r\n\r\nphoto\r\n" in body


@responses.activate
@pytest.mark.parametrize(("status", "sent"), [(500, 2), (413, 1), (401, 1)])
def test_an_input_image_is_sent_again_after_a_passing_failure_only(
    client: ComfyAPIClient, soon: Deadline, status: int, sent: int
) -> None:
    responses.post(f"{API}/assets", status=status, json={})
    responses.post(f"{API}/assets", json={"id": "a-7"})
    if sent == 2:
        assert client.upload(PHOTO, deadline=soon).id == "a-7"
    else:
        with pytest.raises(ImageError):
            client.upload(PHOTO, deadline=soon)
    assert len(responses.calls) == sent


@responses.activate
@pytest.mark.parametrize(("account_key", "extra"), [("", {}), ("paid", {"extra_data": {"api_key_comfy_org": "paid"}})])
def test_an_order_is_the_graph_and_the_key_of_the_account(
    client: ComfyAPIClient, soon: Deadline, account_key: str, extra: dict[str, JsonValue]
) -> None:
    responses.post(f"{API}/jobs", status=201, json={"id": "7", "status": "queued"})
    job = client.submit({"1": {"class_type": "A"}}, account_key=account_key, deadline=soon)
    assert job == ApiJob(id="7", status="queued")
    call = responses.calls[0]
    assert json.loads(call.request.body or "") == {"workflow": {"1": {"class_type": "A"}}, **extra}
    assert str(uuid.UUID(call.request.headers["Idempotency-Key"])) == call.request.headers["Idempotency-Key"]


FAULT = {"field": "cfg", "reason": "too big"}
OWN = {"errors": [{"type": "value_bigger_than_max", "message": "too big"}], "class_type": "KSampler"}


@responses.activate
@pytest.mark.parametrize(
    ("details", "faults"),
    [
        (None, {}),
        ({}, {}),
        ({"node_errors": None}, {}),
        ({"node_errors": {"3": [FAULT, "text"]}}, {"3": [("too big", "cfg", "cfg", "")]}),
        ({"node_errors": {"3": OWN}}, {"3": [("too big", "", "", "value_bigger_than_max")]}),
    ],
)
def test_a_refused_graph_has_faults_in_either_form(
    client: ComfyAPIClient, soon: Deadline, details: JsonValue, faults: dict[str, object]
) -> None:
    error = {"code": "invalid_workflow", "message": "It does not run.", "details": details}
    responses.post(f"{API}/jobs", status=422, json={"error": error})
    refused = client.submit({}, account_key="", deadline=soon)
    assert isinstance(refused, Refused)
    assert (refused.error.type, refused.error.message) == ("invalid_workflow", "It does not run.")
    assert {
        node: [(one.message, one.details, one.extra_info.input_name, one.type) for one in found.errors]
        for node, found in refused.node_errors.items()
    } == faults


@responses.activate
def test_another_422_is_a_failure_with_its_own_next_step(client: ComfyAPIClient, soon: Deadline) -> None:
    responses.post(f"{API}/jobs", status=422, json={"error": {"code": "deployment_stopped", "message": "x"}})
    with pytest.raises(ServerUnavailable, match="its operator must start it"):
        client.submit({}, account_key="", deadline=soon)


@responses.activate
@pytest.mark.parametrize("status", [200, 404, 405])
def test_a_job_is_looked_at_once(client: ComfyAPIClient, soon: Deadline, status: int) -> None:
    responses.get(f"{API}/jobs/a%2F7", status=status, json={"id": "a/7", "status": "running"})
    if status == 200:
        reply = client.job("a/7", "", deadline=soon)
        assert parse_job(reply) == ApiJob(id="a/7", status="running")
    else:
        with pytest.raises(ServerUnavailable, match="the job was not found: it was deleted") as gone:
            client.job("a/7", "", deadline=soon)
        assert gone.value.next_step == "Run it again"
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize("status", [200, 404, 405, 409])
def test_a_job_that_has_ended_is_cancelled_without_an_error(
    client: ComfyAPIClient, soon: Deadline, status: int
) -> None:
    responses.post(f"{API}/jobs/a%2F7/cancel", status=status, json={})
    client.cancel("a/7", "", deadline=soon)
    assert len(responses.calls) == 1


def test_the_bytes_of_an_asset_have_an_address(client: ComfyAPIClient) -> None:
    assert client.content_url("a/7") == f"{API}/assets/a%2F7/content"
