"""The cases of the contract suite: for each backend, credentials for an address and a fake server.

A new backend adds one entry; a test fails for a registered backend without one. A second word in a name tells another API
of the same backend.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from tests.backends.comfyui.jobs import TXT2IMG
from tests.fakes import MARKER_KEY
from tests.servers.ark import ark
from tests.servers.automatic1111 import FakeWebUI
from tests.servers.black_forest_labs import black_forest_labs
from tests.servers.comfy_api import comfy_api
from tests.servers.comfyui import ComfyUIServer
from tests.servers.fal import fal
from tests.servers.google import google
from tests.servers.huggingface import SCHNELL, huggingface
from tests.servers.openai_images import FakeOpenAIImages
from tests.servers.openrouter import BASE, openrouter
from tests.servers.qwen_image import model_studio
from tests.servers.replicate import replicate
from tests.servers.stability import FakeStability
from tests.servers.zhipu import zhipu

type Credentials = dict[str, str]


class Fake(Protocol):
    """A running fake service."""

    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class Case:
    """`credentials(url)` is a filled form with tests.fakes.MARKER_KEY as every secret; `serve` starts a healthy fake; both are None
    for a backend without a service. `model` is the name to ask for, predefined or the user's own. `edit_model` takes
    an input image, `video_model` makes videos, where one of the service's models does. `images` is how many `model`
    cannot do without."""

    model: str
    credentials: Callable[[str], Credentials] | None = None
    serve: Callable[[], AbstractContextManager[Fake]] | None = None
    edit_model: str | None = None
    video_model: str | None = None
    images: int = 0


CASES: Mapping[str, Case] = {
    "auto": Case(model="auto"),
    "automatic1111": Case(
        model="automatic1111",
        credentials=lambda url: {
            "automatic1111_base_url": url,
            "automatic1111_username": "dify",
            "automatic1111_password": MARKER_KEY,
        },
        serve=lambda: FakeWebUI().run(),
        edit_model="automatic1111",
    ),
    "openai_images": Case(
        model="Qwen/Qwen-Image",
        credentials=lambda url: {"backend": "openai_images", "base_url": f"{url}/v1", "api_key": MARKER_KEY},
        serve=lambda: FakeOpenAIImages(
            "vllm_omni", key=MARKER_KEY, models=("Qwen/Qwen-Image", "Qwen/Qwen-Image-Edit-2509")
        ),
        edit_model="Qwen/Qwen-Image-Edit-2509",
    ),
    "contact_sheet": Case(model="contact-sheet", edit_model="contact-sheet", images=2),
    "preview": Case(model="preview", edit_model="preview"),
    "stability": Case(
        model="stable-image-core",
        credentials=lambda url: {"stability_base_url": url, "stability_api_key": MARKER_KEY},
        serve=lambda: FakeStability(key=MARKER_KEY),
        edit_model="sd3.5-medium",
    ),
    "qwen_image": Case(
        "qwen-image-3.0",
        credentials=lambda url: {"dashscope_api_key": MARKER_KEY, "dashscope_base_url": url},
        serve=lambda: model_studio(key=MARKER_KEY),
        edit_model="qwen-image-edit-plus",
        video_model="wan2.7-t2v",
    ),
    "comfyui": Case(
        model="my-workflow",
        credentials=lambda url: {
            "backend": "comfyui",
            "base_url": url,
            "api_key": MARKER_KEY,
            "workflow": json.dumps(TXT2IMG),
        },
        serve=lambda: ComfyUIServer(login=f"Bearer {MARKER_KEY}"),
    ),
    "comfyui api_v2": Case(
        model="my-deployment",
        credentials=lambda url: {
            "backend": "comfyui",
            "base_url": f"{url}/api/v2",
            "api_key": MARKER_KEY,
            "comfy_account_api_key": MARKER_KEY,
            "workflow": json.dumps(TXT2IMG),
        },
        serve=lambda: comfy_api(MARKER_KEY, hosted=True),
    ),
    "openrouter": Case(
        model="openrouter-gpt-image-2",
        credentials=lambda url: {"openrouter_api_key": MARKER_KEY, "openrouter_base_url": f"{url}{BASE}"},
        serve=lambda: openrouter(key=MARKER_KEY),
        edit_model="openrouter-gemini-3.1-flash-image",
    ),
    "huggingface": Case(
        model=SCHNELL,
        credentials=lambda url: {"backend": "huggingface", "base_url": url, "api_key": MARKER_KEY},
        serve=lambda: huggingface(key=MARKER_KEY),
        edit_model=SCHNELL,
    ),
    "google": Case(
        model="gemini-3.1-flash-image",
        credentials=lambda url: {"google_api_key": MARKER_KEY, "google_base_url": url},
        serve=lambda: google(key=MARKER_KEY),
        edit_model="gemini-3.1-flash-image",
    ),
    "ark": Case(
        model="seedream-4.5",
        credentials=lambda url: {"ark_api_key": MARKER_KEY, "ark_base_url": url},
        serve=lambda: ark(key=MARKER_KEY),
        edit_model="seedream-4.5",
        video_model="seedance-2.0",
    ),
    "zhipu": Case(
        model="glm-image",
        credentials=lambda url: {"zhipu_api_key": MARKER_KEY, "zhipu_base_url": url},
        serve=lambda: zhipu(key=MARKER_KEY),
    ),
    "replicate": Case(
        model="replicate-flux-schnell",
        credentials=lambda url: {"replicate_api_key": MARKER_KEY, "replicate_base_url": f"{url}/v1"},
        serve=lambda: replicate(key=MARKER_KEY),
        edit_model="replicate-flux-kontext-pro",
    ),
    "fal": Case(
        model="fal-flux-dev",
        credentials=lambda url: {"fal_api_key": MARKER_KEY, "fal_base_url": url},
        serve=lambda: fal(key=MARKER_KEY),
        edit_model="fal-nano-banana",
    ),
    "black_forest_labs": Case(
        model="flux-2-pro",
        credentials=lambda url: {"bfl_api_key": MARKER_KEY, "bfl_base_url": url},
        serve=lambda: black_forest_labs(key=MARKER_KEY),
        edit_model="flux-2-pro",
    ),
}
