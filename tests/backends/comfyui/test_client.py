"""The server's JSON, including the formats of unusual versions."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.backends.comfyui.client import ComfyUIClient, FileRef, Queue, Refused, RunStatus
from models.clock import Deadline, SystemClock
from tests.backends.comfyui.jobs import backend_for, slow

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
