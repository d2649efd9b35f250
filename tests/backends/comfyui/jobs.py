"""Workflows like those of the recorded servers, and a backend for them."""

import json
import time
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

from models.backends.base import Job
from models.backends.comfyui import ComfyUI
from models.backends.comfyui.events import Event, EventSocket, NoSocketError, open_socket
from models.backends.http import Service
from models.clock import Clock
from models.entities import ImageResult
from tests.asking import asked, bound
from tests.fakes import FakeClock
from tests.servers.comfyui import ComfyUIServer

type Graph = dict[str, dict[str, Any]]

CHECKPOINT = "tiny-random-sd15.safetensors"

TXT2IMG: Graph = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42,
            "steps": 4,
            "cfg": 7.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
        "_meta": {"title": "KSampler"},
    },
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": CHECKPOINT},
        "_meta": {"title": "Load Checkpoint"},
    },
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "6": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "a fox", "clip": ["4", 1]},
        "_meta": {"title": "Positive"},
    },
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text", "clip": ["4", 1]}, "_meta": {"title": "Negative"}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "fox", "images": ["8", 0]}},
}


def sampled(**changes: Any) -> Graph:
    """TXT2IMG with some inputs changed: `sampled(ckpt_name="x")`."""
    graph: Graph = json.loads(json.dumps(TXT2IMG))
    for node in graph.values():
        node["inputs"].update({name: value for name, value in changes.items() if name in node["inputs"]})
    return graph


def edited(*, masked: bool = False) -> Graph:
    """TXT2IMG of an input image, and a mask."""
    graph = sampled()
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    graph["11"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    if masked:
        graph["12"] = {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["11", 0], "mask": ["13", 0]}}
        graph["13"] = {"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "red"}}
    graph["3"]["inputs"]["latent_image"] = ["12" if masked else "11", 0]
    return graph


def slow(seconds: float = 0.0, *, steps: int = 4, prefix: str = "slow", colour: int = 1) -> Graph:
    """A slow workflow without a model; `{{seed}}` replaces the seed of a sampler."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": colour}},
        "2": {
            "class_type": "DevSleep",
            "inputs": {"image": ["1", 0], "seconds": seconds, "steps": steps, "seed": "{{seed}}"},
            "_meta": {"title": "Slow"},
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }


def failing(kind: str) -> Graph:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 1}},
        "2": {"class_type": "DevFail", "inputs": {"image": ["1", 0], "kind": kind}, "_meta": {"title": "Breaks"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "never"}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


def comfyui(model: str, credentials: dict[str, str], clock: Clock | None = None) -> ComfyUI:
    """The backend of a model name and a form."""
    backend = bound(model, credentials, clock)
    assert isinstance(backend, ComfyUI)
    return backend


def backend_for(server: ComfyUIServer | str, graph: Graph, clock: Clock | None = None, **form: str) -> ComfyUI:
    """A customizable model with this workflow."""
    url = server if isinstance(server, str) else server.url
    credentials = {"backend": "comfyui", "base_url": url, "workflow": json.dumps(graph), **form}
    return comfyui("my-workflow", credentials, clock)


def no_socket(_: Service, __: str) -> EventSocket:
    raise NoSocketError(forbidden=True)


def without_socket(clock: FakeClock, graph: Graph, **form: str) -> ComfyUI:
    """`backend_for` an address that is not asked, on a simulated clock."""
    backend = backend_for("http://comfy.test", graph, clock, **form)
    backend.open_socket = no_socket
    return backend


def invoked(backend: ComfyUI, prompt: str = "a red fox", **parts: Any) -> ImageResult:
    return backend.invoke(asked(backend, prompt, **{"timeout": 30.0, **parts}))


def submitted(backend: ComfyUI, prompt: str = "a red fox", **parts: Any) -> Job:
    """The job of a request after a round trip through JSON text."""
    job = backend.submit(asked(backend, prompt, **{"timeout": 30.0, **parts}))
    assert isinstance(job, dict)
    again: Job = json.loads(json.dumps(job))
    return again


@dataclass(eq=False)
class HurriedClock:
    """The real clock at many times its speed: seconds become milliseconds."""

    speed: float = 10.0
    started: float = field(default_factory=time.time)

    def now(self) -> float:
        return self.started + (time.time() - self.started) * self.speed

    def monotonic(self) -> float:
        return self.now()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.speed)


class HurriedSocket(EventSocket):
    """A WebSocket with timeouts on that clock, except for the handshake, which may be slow on a busy machine."""

    def __init__(self, opened: EventSocket, speed: float) -> None:
        super().__init__(opened._socket)
        self.speeds = chain([1.5], repeat(speed))

    def next(self, seconds: float) -> Event | None:
        return super().next(seconds / next(self.speeds))


def hurried(server: ComfyUIServer | str, graph: Graph, speed: float = 10.0) -> ComfyUI:
    """`backend_for` with a clock at many times the real speed."""
    backend = backend_for(server, graph, HurriedClock(speed))

    def opener(service: Service, client_id: str) -> EventSocket:
        return HurriedSocket(open_socket(service, client_id), speed)

    backend.open_socket = opener
    return backend
