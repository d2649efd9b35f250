"""The server's JSON, including the formats of unusual versions."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from models.backends.comfyui.client import (
    Accepted,
    ComfyUIClient,
    FileRef,
    PromptRequest,
    Queue,
    Refused,
    RunStatus,
)
from models.backends.errors import ImageError, ServerUnavailable
from models.backends.http import TimedOutError
from models.clock import Deadline, SystemClock
from models.entities import InputImage
from models.room import MIB, CallRoom, Room, room_for_call
from tests.backends.comfyui.jobs import backend_for, slow
from tests.fakes import FakeClock

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


def test_empty_objects_may_come_as_a_list() -> None:
    refused = Refused.model_validate(
        {"error": {"type": "no_prompt", "message": "No prompt", "extra_info": []}, "node_errors": []}
    )
    assert refused.node_errors == {}


def test_a_blocked_branch_is_not_a_failure() -> None:
    status = RunStatus(status_str="success", messages=(("execution_error", {}), ("execution_success", {})))
    assert status.last == "execution_success"


def test_ties_in_the_queue_are_ordered_as_on_the_server() -> None:
    queue = Queue.model_validate({"queue_running": [], "queue_pending": [[1, "b", {}], [1, "a", {}], [-5, "z", {}]]})
    assert [queue.place(name) for name in "zab"] == [1, 2, 3]


@settings(deadline=None, max_examples=50)
@given(WORDS, WORDS, WORDS)
@example("../../../etc/passwd", "..", "input&type=output")
@example("a.png?type=input#x", "//evil.example/", "output")
def test_a_file_name_of_the_server_is_sent_back_as_a_name_only(filename: str, folder: str, kind: str) -> None:
    client = ComfyUIClient(backend_for("http://comfy.test/prefix", slow()).service)
    with responses.RequestsMock() as mock:
        mock.get("http://comfy.test/prefix/view", body=b"x")
        file = FileRef(filename=filename, subfolder=folder, type=kind)
        client.view(file, deadline=Deadline.after(SystemClock(), 60))
        asked = urlsplit(mock.calls[0].request.url or "")
    assert (asked.netloc, asked.path, asked.fragment) == ("comfy.test", "/prefix/view", "")
    assert parse_qs(asked.query) == {"filename": [filename], "subfolder": [folder], "type": [kind]}


@pytest.mark.parametrize("class_type", ["../system_stats", "a/b?c=d#e", "KSampler (Efficient)"])
def test_a_class_name_of_a_workflow_stays_one_part_of_the_path(class_type: str) -> None:
    client = ComfyUIClient(backend_for("http://comfy.test", slow()).service)
    with responses.RequestsMock() as mock:
        mock.get(re.compile("http://comfy.test/.*"), json={})
        client.node(class_type, deadline=Deadline.after(SystemClock(), 60))
        path = urlsplit(mock.calls[0].request.url or "").path
    assert path.count("/") == 2
    assert path.startswith("/object_info/")


# --- the routes ---

URL = "http://comfy.test"
BODY: Any = {"prompt": {}, "prompt_id": "p", "client_id": "c", "extra_data": {}}


@pytest.fixture
def client(clock: FakeClock) -> ComfyUIClient:
    return ComfyUIClient(backend_for(URL, slow(), clock).service)


@pytest.fixture
def soon(clock: FakeClock) -> Deadline:
    return Deadline.after(clock, 60)


@responses.activate
@pytest.mark.parametrize(("front", "more"), [(None, {}), (True, {"front": True})])
def test_a_job_goes_to_the_front_only_where_that_is_asked(
    client: ComfyUIClient, soon: Deadline, front: Any, more: dict[str, bool]
) -> None:
    responses.post(f"{URL}/prompt", json={"prompt_id": "p"})
    assert client.submit(PromptRequest(**BODY, front=front), deadline=soon) == Accepted(prompt_id="p")
    assert json.loads(responses.calls[0].request.body or "") == {**BODY, **more}


@responses.activate
@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"error": {"type": "invalid_prompt", "message": "m"}, "node_errors": {}}, True),
        ({"error": {"type": 5}}, False),
        ({"error": "Bad Request"}, False),
        ({}, False),
    ],
)
def test_a_400_refuses_the_workflow_only_in_comfyuis_own_words(
    client: ComfyUIClient, soon: Deadline, body: Any, refused: bool
) -> None:
    responses.post(f"{URL}/prompt", status=400, json=body)
    if refused:
        reply = client.submit(PromptRequest(**BODY), deadline=soon)
        assert isinstance(reply, Refused)
        assert (reply.error.type, reply.error.message) == ("invalid_prompt", "m")
    else:
        with pytest.raises(ImageError, match="Submitting the workflow to ComfyUI failed"):
            client.submit(PromptRequest(**BODY), deadline=soon)


@responses.activate
def test_a_job_is_found_in_the_history_by_its_id(client: ComfyUIClient, soon: Deadline) -> None:
    responses.get(f"{URL}/history/a%20b", json={"a b": {"outputs": {"9": {}}}, "other": {}})
    responses.get(f"{URL}/history/c", json={})
    found = client.entry("a b", deadline=soon)
    assert found is not None
    assert found.outputs == {"9": {}}
    assert client.entry("c", deadline=soon) is None


@responses.activate
def test_a_server_tells_its_queue_its_version_and_its_nodes(client: ComfyUIClient, soon: Deadline) -> None:
    responses.get(f"{URL}/queue", json={"queue_running": [[0, "a", {}]], "queue_pending": [[2, "c"], [1, "b"]]})
    responses.get(f"{URL}/prompt", json={"exec_info": {"queue_remaining": 3}})
    responses.get(f"{URL}/system_stats", json={"system": {"comfyui_version": "0.10.0"}})
    responses.get(f"{URL}/object_info/A", json={"A": {"input": {}}})
    queue = client.queue(deadline=soon)
    assert [queue.place(name) for name in "abcd"] == [0, 1, 2, None]
    assert client.queue_length(deadline=soon) == 3
    assert client.stats(deadline=soon).comfyui_version == "0.10.0"
    assert client.node("A", deadline=soon) == {"A": {"input": {}}}


@responses.activate
@pytest.mark.parametrize(("status", "data"), [(200, b"image"), (404, None)])
def test_a_file_that_is_gone_has_no_bytes(
    client: ComfyUIClient, soon: Deadline, status: int, data: bytes | None
) -> None:
    responses.get(f"{URL}/view", status=status, body=b"image")
    assert client.view(FileRef(filename="a.png"), deadline=soon) == data


@responses.activate
def test_a_question_is_asked_once_because_a_poll_comes_again(client: ComfyUIClient, soon: Deadline) -> None:
    responses.get(f"{URL}/view", status=503)
    responses.get(f"{URL}/queue", status=503)
    for ask in (lambda: client.view(FileRef(filename="a.png"), deadline=soon), lambda: client.queue(deadline=soon)):
        with pytest.raises(ServerUnavailable):
            ask()
    assert len(responses.calls) == 2


@responses.activate
@pytest.mark.parametrize(("mime_type", "suffix"), [("image/jpeg", "jpg"), ("image/tiff", "png")])
def test_an_input_image_gets_a_name_and_a_folder_of_its_own(
    client: ComfyUIClient, soon: Deadline, mime_type: str, suffix: str
) -> None:
    responses.post(f"{URL}/upload/image", json={"name": "x.png", "subfolder": "dify", "type": "input"})
    assert client.upload(InputImage(b"photo", mime_type, "me"), deadline=soon) == "dify/x.png"
    body = responses.calls[0].request.body
    assert isinstance(body, bytes)
    assert re.search(rb'name="image"; filename="[0-9a-f-]{36}\.' + suffix.encode(), body)
    assert mime_type.encode() in body
    assert b'name="type"\r\n\r\ninput\r\n' in body
    assert b'name="subfolder"\r\n\r\ndify\r\n' in body


@responses.activate
@pytest.mark.parametrize(("status", "sent"), [(500, 2), (413, 1)])
def test_an_input_image_is_sent_again_after_a_passing_failure_only(
    client: ComfyUIClient, soon: Deadline, status: int, sent: int
) -> None:
    responses.post(f"{URL}/upload/image", status=status)
    responses.post(f"{URL}/upload/image", json={"name": "x.png"})
    if sent == 2:
        assert client.upload(InputImage(b"photo", "image/png"), deadline=soon) == "x.png"
    else:
        with pytest.raises(ImageError):
            client.upload(InputImage(b"photo", "image/png"), deadline=soon)
    assert len(responses.calls) == sent


@responses.activate
@pytest.mark.parametrize(
    ("status", "body", "cancelled"),
    [(200, {"cancelled": True}, True), (200, {"cancelled": False}, False), (200, {}, False), (404, {}, False)],
)
def test_a_job_is_cancelled_in_one_step_where_the_server_can(
    client: ComfyUIClient, soon: Deadline, status: int, body: Any, cancelled: bool
) -> None:
    responses.post(f"{URL}/api/jobs/a%20b/cancel", status=status, json=body)
    assert client.cancel("a b", deadline=soon) is cancelled


@responses.activate
def test_jobs_are_removed_and_interrupted_by_their_ids(client: ComfyUIClient, soon: Deadline) -> None:
    responses.post(f"{URL}/queue")
    responses.post(f"{URL}/interrupt")
    client.remove_pending(iter(["a", "b"]), deadline=soon)
    client.interrupt("a", deadline=soon)
    sent = [json.loads(call.request.body or "") for call in responses.calls]
    assert sent == [{"delete": ["a", "b"]}, {"prompt_id": "a"}]


@pytest.mark.parametrize(
    ("kind", "saved"), [("output", True), (None, True), ("", True), ("temp", False), ("input", False)]
)
def test_only_an_output_stays_on_the_server(kind: str | None, saved: bool) -> None:
    assert FileRef.model_validate({"filename": "a.png", "type": kind}).saved is saved


@pytest.mark.parametrize("reply", [FileRef(filename="a"), RunStatus(), Accepted(prompt_id="p")])
def test_a_reply_is_not_changed_after_it_was_read(reply: BaseModel) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(reply, next(iter(type(reply).model_fields)), "other")


@responses.activate
def test_a_file_waits_for_room_and_a_question_does_not(client: ComfyUIClient, clock: FakeClock) -> None:
    responses.get(f"{URL}/view", body=b"x" * MIB)
    responses.get(f"{URL}/history/p", json={})
    room = Room(2 * MIB)
    CallRoom(room, 0).take(2 * MIB)  # of another call
    soon = Deadline.after(clock, 0.2)
    with room_for_call("form", room):
        assert client.entry("p", deadline=soon) is None
        with pytest.raises(TimedOutError):
            client.view(FileRef(filename="a.png"), deadline=soon)
