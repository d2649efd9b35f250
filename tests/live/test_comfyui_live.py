"""A real ComfyUI, without any model: `COMFYUI_URL=http://127.0.0.1:8188 uv run pytest -m live tests/live`.

The tests that kill a server start their own: `COMFYUI_COMMAND="python main.py --cpu --port {port}"`, run in the folder
`COMFYUI_FOLDER`. All nodes are standard ones. Seeds and colours are drawn, since a server answers an identical graph
from its cache.
"""

import os
import secrets
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import gevent
import pytest
import requests

from models.backends.base import Running
from models.backends.comfyui.client import ComfyUIClient, FileRef
from models.backends.comfyui.state import JobState
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.clock import Deadline
from models.entities import ImageResult, InputImage
from tests.backends.comfyui.jobs import Graph, backend_for, invoked, sampled, submitted
from tests.fakes import image_file
from tests.servers.comfyui import wait_until

URL = os.environ.get("COMFYUI_URL", "")
COMMAND = os.environ.get("COMFYUI_COMMAND", "")
FOLDER = os.environ.get("COMFYUI_FOLDER", ".")

pytestmark = [pytest.mark.live, pytest.mark.skipif(not URL, reason="no COMFYUI_URL")]
own_server = pytest.mark.skipif(not COMMAND, reason="no COMFYUI_COMMAND")


def painted(count: int = 1) -> Graph:
    """A unique image of one colour."""
    colour = secrets.randbelow(2**24)
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": count, "color": colour}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "dify-live"}},
    }


def laborious(rounds: int = 20) -> Graph:
    """A chain of scalings on the CPU: each node takes a noticeable part of a second, and interrupts come in between."""
    graph = painted()
    graph["1"]["inputs"].update(width=2048, height=2048)
    for number in range(rounds):
        side = 3072 if number % 2 == 0 else 2048
        graph[f"s{number}"] = {
            "class_type": "ImageScale",
            "inputs": {
                "image": [f"s{number - 1}" if number else "1", 0],
                "upscale_method": "lanczos",
                "width": side,
                "height": side,
                "crop": "disabled",
            },
        }
    graph["2"]["inputs"]["images"] = [f"s{rounds - 1}", 0]
    return graph


def running_on(url: str) -> list[str]:
    return [item[1] for item in requests.get(f"{url}/queue", timeout=10).json()["queue_running"]]


def finished(graph: Graph, job: dict[str, Any], url: str, seconds: float = 120) -> ImageResult:
    backend = backend_for(url, graph)
    seen = backend.watch(job, Deadline.after(backend.clock, seconds), started=backend.clock.now())
    assert isinstance(seen, ImageResult)
    return seen


def test_the_server_is_recognised_and_the_workflow_checked() -> None:
    assert backend_for(URL, painted()).check_access()[0].startswith("ComfyUI ")


def test_an_image_is_generated() -> None:
    result = invoked(backend_for(URL, painted()))
    assert [image.size for image in result.images] == [(64, 48)]


def test_a_batch_of_three_images_is_generated() -> None:
    assert len(invoked(backend_for(URL, painted()), n=3).images) == 3


def test_polling_across_instances_reports_progress() -> None:
    graph = laborious()
    backend = backend_for(URL, graph)
    job = submitted(backend)
    first = backend.watch(job, Deadline.after(backend.clock, 1.0), started=backend.clock.now())
    assert isinstance(first, Running)
    assert first.progress
    assert finished(graph, job, URL).images[0].size in {(2048, 2048), (3072, 3072)}


def test_an_uploaded_image_is_returned() -> None:
    graph = painted()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    sent = InputImage(image_file(40, 30, colour=tuple(secrets.token_bytes(3))), "image/png")
    assert invoked(backend_for(URL, graph), images=(sent,)).images[0].size == (40, 30)


def test_a_failing_node_is_reported() -> None:
    graph = painted()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}, "_meta": {"title": "Input"}}
    sent = InputImage(b"no image " + secrets.token_bytes(8), "image/png")
    with pytest.raises(BadRequest, match='node 1 \\(LoadImage "Input"\\): cannot identify image'):
        invoked(backend_for(URL, graph), images=(sent,))


def test_a_missing_checkpoint_is_reported_with_the_next_step() -> None:
    with pytest.raises(BadRequest, match="models/checkpoints"):
        invoked(backend_for(URL, sampled(ckpt_name="no-such-model.safetensors")))


def test_a_missing_node_is_named_at_the_credential_check() -> None:
    graph = painted()
    graph["3"] = {"class_type": "NoSuchNode", "inputs": {"image": ["1", 0]}}
    graph["2"]["inputs"]["images"] = ["3", 0]
    with pytest.raises(BadRequest, match="NoSuchNode"):
        backend_for(URL, graph).check_access()


def test_an_interrupt_from_outside_ends_the_wait() -> None:
    backend = backend_for(URL, laborious(60))
    job = submitted(backend)
    wait_until(lambda: running_on(URL))
    requests.post(f"{URL}/interrupt", json={"prompt_id": JobState.load(job).ids[0]}, timeout=10)
    with pytest.raises(ServerUnavailable, match="interrupted"):
        backend.watch(job, Deadline.after(backend.clock, 60), started=backend.clock.now())


def test_cancelling_removes_a_waiting_job_and_stops_a_running_one() -> None:
    backend = backend_for(URL, laborious(60))
    running = submitted(backend)
    waiting = submitted(backend_for(URL, painted()))
    wait_until(lambda: running_on(URL))
    backend.cancel(waiting)
    queue = requests.get(f"{URL}/queue", timeout=10).json()
    assert queue["queue_pending"] == []
    backend.cancel(running)
    wait_until(lambda: not running_on(URL), seconds=30)


def test_a_deleted_cached_image_is_generated_again() -> None:
    """The server has no API to delete a file, so the history is changed to name a missing one."""
    graph = painted()
    backend = backend_for(URL, graph)
    job = submitted(backend)
    wait_until(lambda: not running_on(URL))
    backend.client = _Forgetful(backend.service)
    seen = backend.watch(job, Deadline.after(backend.clock, 30), started=backend.clock.now())
    assert isinstance(seen, ImageResult)
    assert any("saved again" in notice for notice in seen.notices)


class _Forgetful(ComfyUIClient):
    """The real server, except for the first requested file."""

    asked: ClassVar[set[str]] = set()

    def view(self, file: FileRef, *, deadline: Deadline) -> bytes | None:
        if not self.asked:
            self.asked.add(file.filename)
            return None
        return super().view(file, deadline=deadline)


def test_a_refused_websocket_loses_no_image() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _NoSockets) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        result = invoked(backend_for(f"http://127.0.0.1:{proxy.server_address[1]}", laborious(4)))
        proxy.shutdown()
    assert len(result.images) == 1


class _NoSockets(BaseHTTPRequestHandler):
    """A reverse proxy that blocks WebSockets."""

    def do_GET(self) -> None:
        if self.path.startswith("/ws"):
            self.send_error(403)
        else:
            self._pass("GET", None)

    def do_POST(self) -> None:
        self._pass("POST", self.rfile.read(int(self.headers["Content-Length"])))

    def _pass(self, method: str, body: bytes | None) -> None:
        kept = {key: value for key, value in self.headers.items() if key == "Content-Type"}
        answer = requests.request(method, URL + self.path, data=body, headers=kept, timeout=60)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)


class Own:
    """A server process for this test, which kills it."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = shlex.split(COMMAND.format(port=self.port))
        # The command is set by the tester.
        self.process = subprocess.Popen(  # noqa: S603
            command, cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, seconds=180)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def _answers(self) -> bool:
        gevent.sleep(0.5)
        try:
            return requests.get(f"{self.url}/system_stats", timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture
def own() -> Iterator[Own]:
    server = Own()
    server.start()
    yield server
    server.kill()


@own_server
def test_both_jobs_finish_after_a_server_restart(own: Own) -> None:
    graph, next_graph = laborious(40), painted()
    running = submitted(backend_for(own.url, graph))
    queued = submitted(backend_for(own.url, next_graph))
    wait_until(lambda: running_on(own.url))
    own.kill()
    with pytest.raises(ImageError) as caught:
        backend_for(own.url, graph).check(running)
    assert caught.value.transient
    waiting = gevent.spawn(finished, graph, running, own.url, 400)
    own.start()
    results = [finished(next_graph, queued, own.url, 300), waiting.get(timeout=300)]
    for result in results:
        assert len(result.images) == 1
        assert any("submitted again" in notice for notice in result.notices)
