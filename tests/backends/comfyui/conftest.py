import json
from collections.abc import Iterator

import pytest

from models.backends.comfyui import backend
from models.backends.http import Service
from tests.backends.comfyui.graphs import FIXTURES
from tests.backends.comfyui.jobs import CHECKPOINT
from tests.backends.comfyui.simulated import SimulatedServer
from tests.fakes import FakeClock
from tests.servers.comfyui import ComfyUIServer


@pytest.fixture
def server() -> Iterator[ComfyUIServer]:
    """A fake ComfyUI 0.10.0 that a test can change before or while it runs."""
    with ComfyUIServer() as running:
        yield running


@pytest.fixture
def simulated(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> SimulatedServer:
    """The server of every backend in the test, with the recorded node definitions."""
    server = SimulatedServer(Service(name="ComfyUI", base_url="http://comfy.test", clock=clock))
    server.nodes = json.loads((FIXTURES / "object_info_selected.json").read_text("utf-8"))
    read = json.loads((FIXTURES / "object_info_from_source.json").read_text("utf-8"))
    server.nodes |= read["classes"]
    server.nodes["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [[CHECKPOINT], {}]
    monkeypatch.setattr(backend, "ComfyUIClient", lambda _: server)
    return server
