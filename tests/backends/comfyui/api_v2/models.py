"""A backend for a workflow at the fake, and its results."""

import json
from typing import Any

from models.backends.base import Job, Running
from models.backends.comfyui.api_v2 import ComfyAPI
from models.clock import Clock, Deadline
from models.entities import ImageResult
from tests.asking import asked, bound
from tests.backends.comfyui.api_v2.conftest import KEY
from tests.backends.comfyui.jobs import Graph, HurriedClock, slow
from tests.fakes import image_file
from tests.servers.comfy_api import FakeComfyAPI


def api_model(server: FakeComfyAPI | str, graph: Graph, clock: Clock | None = None, **form: str) -> ComfyAPI:
    url = server if isinstance(server, str) else f"{server.url}/api/v2"
    credentials = {"backend": "comfyui", "base_url": url, "api_key": KEY, "workflow": json.dumps(graph), **form}
    backend = bound("my-workflow", credentials, clock or HurriedClock(20))
    assert isinstance(backend, ComfyAPI)
    return backend


def one_at_a_time(server: FakeComfyAPI) -> Graph:
    """A workflow without a batch size: each image is an order of its own."""
    server.engine.files["input", "", "own.png"] = image_file()
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "own.png"}, "_meta": {"title": "fixed: own"}}
    return graph


def result_of(backend: ComfyAPI, prompt: str = "a red fox", **parts: Any) -> ImageResult:
    return backend.invoke(asked(backend, prompt, **{"timeout": 60.0, **parts}))


def job_of(backend: ComfyAPI, prompt: str = "a red fox", **parts: Any) -> Job:
    """The job of a request after a round trip through JSON text."""
    again: Job = json.loads(json.dumps(backend.submit(asked(backend, prompt, **{"timeout": 60.0, **parts}))))
    return again


def watched(backend: ComfyAPI, job: Job, seconds: float = 60.0) -> Running | ImageResult:
    return backend.watch(job, Deadline.after(backend.clock, seconds), started=backend.clock.now())
