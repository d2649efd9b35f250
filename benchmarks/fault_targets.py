"""The services of the fault matrix: their stages, and their answers about images and jobs."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.contract_cases import CASES, Case
from tests.fakes import MARKER_KEY, image_file
from tests.servers.comfy_api import comfy_api


@dataclass(frozen=True, kw_only=True)
class Target:
    """A service: its stages as regular expressions for "METHOD /path", and its answer with one image where that comes in the
    answer to `submit`; else it is fetched."""

    name: str
    case: Case
    stages: Mapping[str, str]
    answer: Callable[[str], object] | None = None
    polled: bool = False
    failed: Callable[[str], object] | None = None
    """The answer about a job that failed, to a request for a path."""
    vanished: Callable[[str], object] | None = None
    """The answer about a job that is not known, to a request for a path."""
    filtered: tuple[str, int, object] | None = None
    """The stage, status and answer by which the service withholds an image."""


def _data(encoded: str) -> object:
    return {"created": 1, "data": [{"b64_json": encoded}]}


def _webui(encoded: str) -> object:
    return {"images": [encoded], "parameters": {}, "info": "{}"}


def _stability(encoded: str) -> object:
    return {"image": encoded, "finish_reason": "SUCCESS", "seed": 1}


def _history(path: str, status: Mapping[str, object] | None) -> object:
    if path.startswith("/queue"):
        return {"queue_running": [], "queue_pending": []}
    return {path.rpartition("/")[2]: {"outputs": {}, "status": status}} if status else {}


_NODE_FAILED = {
    "status_str": "error",
    "messages": [["execution_error", {"node_id": "3", "node_type": "KSampler", "exception_message": "it broke"}]],
}


def _task(status: str, **more: str) -> object:
    return {"output": {"task_id": "t", "task_status": status, **more}, "request_id": "r"}


TARGETS: Sequence[Target] = (
    Target(
        name="automatic1111",
        case=CASES["automatic1111"],
        stages={"submit": "POST /sdapi/v1/txt2img", "lists": "GET /sdapi/v1/"},
        answer=_webui,
    ),
    Target(
        name="comfyui",
        case=CASES["comfyui"],
        stages={"submit": "POST /prompt", "look": "GET /(history|queue)", "fetch": "GET /view"},
        polled=True,
        failed=lambda path: _history(path, _NODE_FAILED),
        vanished=lambda path: _history(path, None),
    ),
    Target(
        name="comfyui api_v2",
        case=replace(
            CASES["comfyui api_v2"], serve=lambda: comfy_api(MARKER_KEY)
        ),  # its files come from its own address
        stages={
            "submit": "POST /api/v2/jobs$",
            "look": "GET /api/v2/jobs/",
            "fetch": "GET /api/v2/assets/.*/content",
        },
        polled=True,
        failed=lambda _: {
            "id": "job-0",
            "status": "failed",
            "error": {"code": "node_execution_error", "message": "it broke", "node_id": "3", "class_type": "KSampler"},
        },
        vanished=lambda _: {"id": "job-0", "status": "expired", "outputs": [], "error": None},
    ),
    Target(
        name="openai_images",
        case=CASES["openai_images"],
        stages={"submit": "POST /v1/images/"},
        answer=_data,
        filtered=("submit", 400, {"error": {"code": "moderation_blocked", "message": "rejected by the safety system"}}),
    ),
    Target(
        name="openrouter",
        case=CASES["openrouter"],
        stages={"submit": "POST /api/v1/(images|chat)"},
        answer=_data,
        filtered=("submit", 403, {"error": {"code": 403, "message": "the input was flagged"}}),
    ),
    Target(
        name="qwen_image",
        case=CASES["qwen_image"],
        stages={
            "submit": "POST .*/(generation|image-synthesis)$",
            "look": "GET .*/tasks/",
            "fetch": "GET /results/",
        },
        polled=True,
        failed=lambda _: _task("FAILED", code="InternalError.Algo", message="it broke"),
        vanished=lambda _: _task("UNKNOWN"),
        filtered=("look", 200, _task("FAILED", code="DataInspectionFailed", message="inappropriate content")),
    ),
    Target(
        name="qwen_image videos",
        case=replace(CASES["qwen_image"], model="wan2.7-t2v"),
        # The faults of a fetched file are those of images.
        stages={"submit": "POST .*/video-synthesis$", "look": "GET .*/tasks/"},
        polled=True,
        failed=lambda _: _task("FAILED", code="InternalError.Algo", message="it broke"),
        vanished=lambda _: _task("UNKNOWN"),
        filtered=("look", 200, _task("FAILED", code="DataInspectionFailed", message="inappropriate content")),
    ),
    Target(
        name="stability",
        case=CASES["stability"],
        stages={"submit": "POST /v2beta/"},
        answer=_stability,
        filtered=(
            "submit",
            200,
            {"image": base64.b64encode(image_file()).decode(), "finish_reason": "CONTENT_FILTERED"},
        ),
    ),
    Target(
        name="google",
        case=CASES["google"],
        stages={"submit": "POST /v1beta/models/"},
        answer=lambda encoded: {
            "candidates": [
                {
                    "content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": encoded}}]},
                    "finishReason": "STOP",
                }
            ]
        },
        filtered=("submit", 200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    ),
    Target(
        name="ark",
        case=CASES["ark"],
        stages={"submit": "POST .*/images/generations"},
        answer=_data,
        filtered=("submit", 400, {"error": {"code": "InputTextSensitiveContentDetected", "message": "sensitive"}}),
    ),
    Target(
        name="ark videos",
        case=replace(CASES["ark"], model="seedance-2.0"),
        # The faults of a fetched file are those of images.
        stages={"submit": "POST .*/contents/generations/tasks$", "look": "GET .*/contents/generations/tasks/"},
        polled=True,
        failed=lambda _: {
            "id": "cgt-0",
            "status": "failed",
            "error": {"code": "InternalServiceError", "message": "it broke"},
        },
        filtered=(
            "look",
            200,
            {
                "id": "cgt-0",
                "status": "failed",
                "error": {"code": "OutputVideoSensitiveContentDetected", "message": "sensitive"},
            },
        ),
    ),
    Target(
        name="zhipu",
        case=CASES["zhipu"],
        stages={"submit": "POST .*/images/generations", "fetch": "GET /file.png"},
        filtered=("submit", 400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全内容"}}),
    ),
    Target(
        name="huggingface",
        case=CASES["huggingface"],
        stages={"submit": "POST /", "fetch": "GET /file.png"},
    ),
    Target(
        name="replicate",
        case=CASES["replicate"],
        stages={"submit": "POST .*/predictions$", "look": "GET .*/predictions/", "fetch": "GET /files/"},
        polled=True,
        failed=lambda _: {"id": "p0", "status": "failed", "output": None, "error": "it broke", "logs": ""},
    ),
    Target(
        name="fal",
        case=CASES["fal"],
        stages={"submit": "POST /", "look": "GET .*/requests/", "fetch": "GET /files/"},
        polled=True,
    ),
    Target(
        name="black_forest_labs",
        case=CASES["black_forest_labs"],
        stages={"submit": "POST /v1/", "look": "GET /v1/get_result", "fetch": "GET /results/"},
        polled=True,
        failed=lambda _: {"id": "task-0", "status": "Error", "result": None, "details": {"error": "it broke"}},
        vanished=lambda _: {"id": "task-0", "status": "Task not found", "result": None},
        filtered=("look", 200, {"id": "task-0", "status": "Content Moderated", "result": None}),
    ),
)
