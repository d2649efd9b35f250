"""The backend of the Comfy API between a request and the routes: what is ordered, kept, told and fetched."""

import json
from typing import Any

import pytest
import responses
from PIL.PngImagePlugin import PngInfo

from models.backends.base import Job, Running
from models.backends.comfyui.api_v2 import ComfyAPI
from models.backends.errors import BadRequest, RateLimited, ServerUnavailable
from models.backends.servers import Standing
from models.clock import Deadline
from models.entities import ImageResult, InputImage
from tests.asking import asked
from tests.backends.comfyui.api_v2.models import api_model
from tests.backends.comfyui.jobs import Graph, edited, sampled
from tests.fakes import FakeClock, image_file

API = "https://api.test/api/v2"
PNG = image_file()
PHOTO = InputImage(PNG, "image/png")


def order(backend: ComfyAPI, *, cancel: str = "", **parts: Any) -> Job:
    """The job of an order that the service calls `7`."""
    links = {"self": "/api/v2/jobs/7", "cancel": cancel}
    responses.post(f"{API}/jobs", status=201, json={"id": "7", "status": "queued", "urls": links})
    job = backend.submit(asked(backend, "a fox", **parts))
    assert isinstance(job, dict)
    return job


def says(status: str, **facts: Any) -> None:
    """What the service says of that job from now on."""
    responses.remove(responses.GET, f"{API}/jobs/7")
    responses.get(f"{API}/jobs/7", json={"id": "7", "status": status, **facts})


def output(name: str, node: str = "9", **facts: Any) -> dict[str, Any]:
    return {"node_id": node, "name": name, "id": name, "content_type": "image/png", **facts}


def stored(*names: str) -> None:
    for name in names:
        responses.get(f"{API}/assets/{name}/content", body=PNG)


def result_of(backend: ComfyAPI, job: Job) -> ImageResult:
    result = backend.check(job)
    assert isinstance(result, ImageResult)
    return result


@pytest.fixture
def backend(clock: FakeClock) -> ComfyAPI:
    return api_model(API, sampled(), clock)


# --- the order ---


@responses.activate
@pytest.mark.parametrize("kept", [True, False])
def test_a_job_keeps_the_nodes_without_their_inputs(backend: ComfyAPI, kept: bool) -> None:
    job = order(backend, cancel="/api/v2/jobs/7/stop", seed=5, extra={"embed_workflow": kept})
    assert job["server"] == 0
    tasks: Any = job["tasks"]
    (task,) = tasks
    facts = task["facts"]
    assert (task["id"], task["seed"]) == ("7", 5)
    assert (facts["self"], facts["cancel"], facts["keep"]) == ("/api/v2/jobs/7", "/api/v2/jobs/7/stop", kept)
    assert {node: content["inputs"] for node, content in facts["nodes"].items()} == {node: {} for node in sampled()}
    assert facts["nodes"]["3"]["class_type"] == "KSampler"
    assert backend.handed_over


@responses.activate
def test_notices_of_an_order_are_told_once(backend: ComfyAPI) -> None:
    job = order(backend, extra={"priority": "high"}, notices=("one", "one"))
    assert job["notices"] == ["one", "`priority` was not used: the Comfy API runs jobs in its own order"]
    assert order(backend, extra={"priority": "normal"})["notices"] == []


@responses.activate
def test_a_refused_graph_is_undone_and_hides_keys(clock: FakeClock) -> None:
    graph = sampled()
    graph["3"]["inputs"]["api_key"] = "secret-key-0123456789"
    backend = api_model(API, graph, clock)
    faults = {"3": [{"field": "cfg", "reason": "bad secret-key-0123456789"}]}
    error = {"code": "invalid_workflow", "message": "m", "details": {"node_errors": faults}}
    responses.post(f"{API}/jobs", status=422, json={"error": error})
    with pytest.raises(BadRequest) as refused:
        backend.submit(asked(backend))
    assert refused.value.said == "node 3 (KSampler): bad [hidden]: cfg"
    assert refused.value.undone


@responses.activate
def test_keys_of_both_workflows_are_hidden(clock: FakeClock) -> None:
    first, second = sampled(), sampled()
    first["3"]["inputs"]["api_key"], second["3"]["inputs"]["api_key"] = "first-key-012345", "second-key-012345"
    backend = api_model(API, first, clock, canary_workflow=json.dumps(second))
    assert {"first-key-012345", "second-key-012345"} <= set(backend.service.secrets)
    unread = api_model(API, first, clock, canary_workflow="{")
    assert "first-key-012345" in unread.service.secrets


@responses.activate
def test_an_image_is_sent_as_an_asset(clock: FakeClock) -> None:
    backend = api_model(API, edited(), clock)
    responses.post(f"{API}/assets", json={"id": "a-1"})
    order(backend, images=(PHOTO,))
    graph = json.loads(responses.calls[-1].request.body or "")["workflow"]
    assert graph["10"]["inputs"]["image"] == {"__type": "core/ASSET", "info": {"id": "a-1"}}


# --- the state ---


@responses.activate
@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"status": "queued", "queue_position": 2}, "queued 2nd"),
        ({"status": "queued", "queue_position": 0}, "queued"),
        ({"status": "queued"}, "queued"),
        ({"status": "running"}, "running"),
        ({"status": "running", "progress": {"step": 3, "steps": 4}}, "step 3/4"),
        ({"status": "canceling", "progress": {"step": 3, "steps": 4}}, "canceling"),
        ({"status": "paused"}, "paused"),
    ],
)
def test_a_state_is_told_in_words(backend: ComfyAPI, state: dict[str, Any], words: str) -> None:
    job = order(backend)
    says(**state)
    assert backend.check(job) == Running(words)


NODE = "node 3 (KSampler)"


@responses.activate
@pytest.mark.parametrize(
    ("state", "said", "next_step"),
    [
        ({"status": "canceled"}, "the job was canceled at the service, which also ends jobs at the time limit of a plan",
         "Run it again unless it was stopped on purpose"),
        ({"status": "expired"}, "the service no longer has the job: it was deleted, or ComfyUI restarted",
         "Run it again"),
        ({"status": "failed"}, "the job: failed without a message", None),
        ({"status": "failed", "error": {"message": "bad", "node_id": "3"}}, f"{NODE}: bad", None),
        ({"status": "failed", "error": {"code": "upset", "node_id": "3"}}, f"{NODE}: upset", None),
        ({"status": "failed", "error": {"message": "bad", "node_id": "99", "class_type": "Other"}},
         "node 99 (Other): bad", None),
    ],
)  # fmt: skip
def test_a_job_that_ended_without_images_says_why(
    backend: ComfyAPI, state: dict[str, Any], said: str, next_step: str | None
) -> None:
    job = order(backend)
    says(**state)
    with pytest.raises(ServerUnavailable) as ended:
        backend.check(job)
    assert ended.value.said == said
    assert next_step in {None, ended.value.next_step}


@responses.activate
def test_a_job_of_another_place_in_the_list_is_gone(backend: ComfyAPI) -> None:
    job = order(backend)
    with pytest.raises(ServerUnavailable, match="no longer in the list"):
        backend.check({**job, "server": 1})


@responses.activate
@pytest.mark.parametrize(("link", "route"), [("", "/jobs/7/cancel"), ("/api/v2/jobs/7/stop", "/jobs/7/stop")])
def test_a_job_is_cancelled_by_its_link_or_the_documented_route(backend: ComfyAPI, link: str, route: str) -> None:
    job = order(backend, cancel=link)
    responses.post(f"{API}{route}", json={})
    backend.cancel(job)
    assert responses.calls[-1].request.url == f"{API}{route}"


@pytest.mark.parametrize(("elapsed", "pause"), [(0, 0.5), (10, 0.5), (20, 1.0), (100, 5.0), (900, 5.0)])
def test_polls_become_rarer(backend: ComfyAPI, elapsed: float, pause: float) -> None:
    assert backend.interval(elapsed) == pause


@responses.activate
def test_a_standing_is_no_more_than_an_answer(backend: ComfyAPI, clock: FakeClock) -> None:
    job = f"{API}/jobs/00000000-0000-4000-8000-000000000000"
    responses.get(job, status=404, json={"error": {"code": "not_found"}})
    assert backend.standing(asked(backend), Deadline.after(clock, 5), fresh=False) == Standing()
    responses.replace(responses.GET, job, status=429, json={"error": {"code": "rate_limited"}})
    with pytest.raises(RateLimited):
        backend.standing(asked(backend), Deadline.after(clock, 5), fresh=False)


# --- the images ---


def shown(*nodes: tuple[str, str]) -> Graph:
    graph = sampled()
    for node, kind in nodes:
        graph[node] = {"class_type": kind, "inputs": {"images": ["8", 0]}}
    return graph


@responses.activate
@pytest.mark.parametrize(
    ("outputs", "fetched"),
    [
        ([output("b.png"), output("c.png")], ["b.png", "c.png"]),
        ([output("a.png", "20"), output("b.png")], ["b.png"]),
        ([output("a.png", "20"), output("p.png", "21")], ["a.png", "p.png"]),
        ([output("a.png", "21"), output("b.png", "99")], ["b.png"]),
        ([output("a.png", "99"), output("b.png")], ["b.png", "a.png"]),
    ],
)
def test_saved_files_come_before_previews_in_the_order_of_the_graph(
    clock: FakeClock, outputs: list[dict[str, Any]], fetched: list[str]
) -> None:
    """The API does not tell a preview: nodes that only show, and others with such a name, do."""
    backend = api_model(API, shown(("20", "PreviewImage"), ("21", "SomebodysPreview")), clock)
    job = order(backend)
    says("succeeded", outputs=outputs)
    stored("a.png", "b.png", "c.png", "p.png")
    result = result_of(backend, job)
    assert len(result.images) == len(fetched)
    asked_for = [str(call.request.url) for call in responses.calls if "/assets/" in str(call.request.url)]
    assert asked_for == [f"{API}/assets/{name}/content" for name in fetched]


@responses.activate
@pytest.mark.parametrize(
    ("outputs", "notices"),
    [
        ([output("a.png")], ()),
        ([output("a.png"), output("b.png")], ("The 2 images come from one batch with the seed 5",)),
        ([output("a.png"), output("b.png", "99")], ()),
        (
            [output("a.png"), output("s.flac")],
            ("The workflow also made sound files, which are not delivered: s.flac",),
        ),
    ],
)
def test_a_result_tells_of_a_batch_and_of_other_files(
    backend: ComfyAPI, outputs: list[dict[str, Any]], notices: tuple[str, ...]
) -> None:
    job = order(backend, seed=5)
    says("succeeded", outputs=outputs)
    stored("a.png", "b.png")
    result = result_of(backend, job)
    assert result.notices == notices
    assert {image.seed for image in result.images} == {5}


@responses.activate
def test_a_black_image_is_told(backend: ComfyAPI) -> None:
    job = order(backend)
    says("succeeded", outputs=[output("a.png")])
    responses.get(f"{API}/assets/a.png/content", body=image_file(colour=(0, 0, 0)))
    (notice,) = result_of(backend, job).notices
    assert notice.startswith("The image is completely black")


@responses.activate
@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([], "the workflow ended without an image or a video"),
        ([output("s.flac")], "The workflow also made sound files, which are not delivered: s.flac"),
    ],
)
def test_a_job_without_an_image_says_what_to_do(backend: ComfyAPI, outputs: list[dict[str, Any]], said: str) -> None:
    job = order(backend)
    says("succeeded", outputs=outputs)
    with pytest.raises(ServerUnavailable) as empty:
        backend.check(job)
    assert (empty.value.said, empty.value.next_step) == (
        said, "Give the workflow a Save Image node that its result leads to",
    )  # fmt: skip


@responses.activate
@pytest.mark.parametrize(
    ("facts", "routes"),
    [
        ({"id": "a", "url": f"{API}/files/a.png"}, ["/files/a.png"]),
        ({"id": "a", "url": f"{API}/files/gone.png"}, ["/files/gone.png", "/assets/a/content"]),
        ({"id": "a", "url": f"{API}/assets/a/content"}, ["/assets/a/content"]),
        ({"id": "a", "url": None}, ["/assets/a/content"]),
        ({"id": None, "url": f"{API}/files/a.png"}, ["/files/a.png"]),
    ],
)
def test_a_file_is_fetched_by_its_link_else_by_its_asset(
    backend: ComfyAPI, facts: dict[str, Any], routes: list[str]
) -> None:
    job = order(backend)
    says("succeeded", outputs=[output("a.png") | facts])
    responses.get(f"{API}/files/a.png", body=PNG)
    responses.get(f"{API}/files/gone.png", status=404)
    stored("a")
    before = len(responses.calls) + 1
    assert [image.data for image in result_of(backend, job).images] == [PNG]
    asked_for = [str(call.request.url).removeprefix(API) for call in responses.calls][before:]
    assert asked_for == routes


@responses.activate
@pytest.mark.parametrize("kept", [True, False])
def test_the_workflow_leaves_the_image_unless_it_is_wanted(backend: ComfyAPI, kept: bool) -> None:
    texts = with_prompt()
    job = order(backend, extra={"embed_workflow": kept})
    says("succeeded", outputs=[output("a.png")])
    responses.get(f"{API}/assets/a.png/content", body=texts)
    (image,) = result_of(backend, job).images
    assert (b"KSampler" in image.data) is kept


def with_prompt() -> bytes:
    texts = PngInfo()
    texts.add_text("prompt", "KSampler")
    return image_file(pnginfo=texts)


@responses.activate
@pytest.mark.parametrize(("content_type", "what"), [("video/mp4", "video"), ("image/png", "image")])
def test_a_file_that_is_gone_was_asked_for_once(backend: ComfyAPI, content_type: str, what: str) -> None:
    job = order(backend)
    address = f"{API}/assets/a/content"
    says("succeeded", outputs=[output("a.png", content_type=content_type, id="a", url=address)])
    responses.get(address, status=404)
    with pytest.raises(ServerUnavailable, match=f"(?i)fetching the {what}"):
        backend.check(job)
    assert [call.request.url for call in responses.calls].count(address) == 1
