"""The time limits and sizes of the services in one table, beside `tests/test_bounds.py` for the rest of the plugin.

Each follows from a limit of its service, of the host, or of the memory. A service's row names its module in `models/backends`.
"""

from importlib import import_module

import pytest

from models.backends.automatic1111.server_lists import _RETRIES as LISTS
from models.backends.google import _RETRIES as GOOGLE
from models.backends.replicate import _RETRIES as REPLICATE
from models.backends.stability.models import RETRIES as STABILITY

SECONDS: dict[str, dict[str, object]] = {
    "ark": {"_READ_SECONDS": 300.0},
    "automatic1111.backend": {"_PROBE_SECONDS": 15.0},
    "automatic1111.job": {"FIRST_POLL": 2.0, "POLL_INTERVAL": 5.0, "_REPLY_SECONDS": 5.0},
    "automatic1111.server_lists": {"_READ_TIMEOUT": 20.0, "_FRESH": 60.0},
    "base": {
        "SYNC_LIMIT": 590.0,
        "RESERVE": 7.0,
        "LOOK_SECONDS": 10.0,
        "LEAST_LOOK_SECONDS": 1.0,
        "LAST_LOOK_SECONDS": 5.0,
        "LAST_CALL_SECONDS": 30.0,
        "PROBE_SECONDS": 9.0,
    },
    "black_forest_labs": {"_NOT_FOUND_YET": 15.0},
    "comfyui.api_v2.backend": {"_PROBE_SECONDS": 6.0},
    "comfyui.api_v2.client": {"_SUBMIT_SECONDS": 60.0},
    "comfyui.backend": {"PROBE_SECONDS": 6.0},
    "comfyui.client": {"_SUBMIT_SECONDS": 30.0},
    "comfyui.events": {
        "OPEN_TIMEOUT": 5.0,
        "CLOSE_TIMEOUT": 0.5,
        "FIRST_MESSAGE_SECONDS": 2.0,
        "REOPEN_SECONDS": 5.0,
        "SETTLE_SECONDS": 0.5,
        "WORTH_SECONDS": 2.0,
        "SILENCE_SECONDS": 1.0,
    },
    "comfyui.jobs": {
        "REQUEST_SECONDS": 30.0,
        "FETCH_SECONDS": 120.0,
        "LAST_FETCH_SECONDS": 5.0,
        "CANCEL_SECONDS": 4.0,
        "ARRIVAL_SECONDS": (0.0, 0.5, 1.0, 2.0, 4.0),
        "QUEUE_SECONDS": 5.0,
    },
    "comfyui.model_workflow": {"QUICK_SECONDS": 3.0},
    "comfyui.workflow_backend": {"FINDINGS_SECONDS": 9.0, "CHECK_SECONDS": 30.0},
    "contact_sheet.links": {"_SECONDS": 20.0},
    "google": {"_READ_SECONDS": 300.0},
    "http": {"CONNECT_TIMEOUT": 10.0},
    "huggingface": {"_READ_SECONDS": 300.0},
    "openai_images.client": {"POLL_SECONDS": 3.0},
    "openai_images.detect": {"QUICK_SECONDS": 3.0, "FINDING_SECONDS": 600.0},
    "outage": {"OUTAGE_LIMIT": 60.0},
    "questions": {"ANSWER_SECONDS": 10.0, "SILENCE_SECONDS": 20.0},
    "qwen_image.account": {"_PER_MINUTE_WAIT": 15.0},
    "qwen_image.client": {"_SYNC_SECONDS": 300.0, "_SUBMIT_SECONDS": 60.0},
    "qwen_image.durations": {"_OFTEN": 0.4, "_RARELY": 5.0, "_LATE": 1.8},
    "servers": {"ASK_SECONDS": 3.0, "LEFT_OUT_SECONDS": 30.0, "_REMEMBERED": 60.0},
    "stability.edit": {"_POLL_SECONDS": 10.0},
    "stability.models": {"READ_TIMEOUT": 120.0},
    "tasks": {"_FETCH_SECONDS": 120.0, "_LAST_SECONDS": 4.0, "_VIDEO_POLLS": (2.0, 10.0)},
    "zhipu": {"_READ_SECONDS": 180.0},
}
SIZES: dict[str, dict[str, object]] = {
    "affinity": {"_LONGEST": 512},
    "automatic1111.backend": {"_MAX_IMAGES": 8},
    "automatic1111.job": {"MAX_STREAK": 8, "_ABANDONED_POLLS": 180},
    "comfyui.client": {"_MAX_IMAGE_BYTES": 134217728, "_MAX_QUEUE_BYTES": 67108864, "_MAX_ENTRY_BYTES": 16777216},
    "comfyui.graph.editor": {"_LONGEST": 200, "_DEEPEST": 20},
    "comfyui.graph.prompts": {"_LONGEST": 300},
    "comfyui.graph.source": {"_WRAPPED": 4, "_MOST_DIGITS": 24, "_DEEPEST": 64},
    "comfyui.jobs": {"MAX_TRIES": 2},
    "comfyui.model_workflow": {"_AT_ONCE": 8},
    "comfyui.results": {"_BLACK_PIXELS_PER_BYTE": 50, "_SMALL_FILE": 20000, "_SHOWN_FAULTS": 3},
    "contact_sheet": {"_MOST": 60, "_AT_ONCE": 6, "_QUALITY": 88, "_CELL": 384},
    "contact_sheet.entries": {"_LONGEST_CAPTION": 200},
    "contact_sheet.links": {"LARGEST_FILE": 25165824, "LARGEST_TOGETHER": 100663296},
    "contact_sheet.sheet": {"_LARGEST_SHEET": 16000000, "_LARGEST_IMAGE": 40000000},
    "errors": {"SAID_LIMIT": 600, "_SHOWN_NAMES": 12},
    "http": {"MAX_REPLY_BYTES": 201326592, "_READABLE": 20000},
    "huggingface": {"_AT_ONCE": 4},
    "images": {"_MOST_FILES": 16, "_MOST_BYTES": 67108864, "_DEPTH": 8, "MAX_REDIRECTS": 4},
    "model_inputs": {"_MOST_IMAGES": 10, "_LARGEST_SIDE": 4096},
    "openai_images.detect": {"_SHOWN": 12},
    "openrouter": {"MOST_IMAGES": 8},
    "qwen_image.client": {
        "_MAX_TASK_BYTES": 4194304,
        "_MAX_IMAGE_BYTES": 67108864,
        "_FETCHED_AT_ONCE": 4,
        "_POLLS_A_SECOND": 10,
    },
    "qwen_image.durations": {"_KEPT": 8},
    "qwen_image.models": {"LARGEST_1K": 2250000, "MAX_BYTES": 7864272},
    "refusals": {"_SEARCHED": 5000},
    "stability.models": {
        "LOW_BALANCE": 3,
        "MAX_REQUEST_BYTES": 10485760,
        "REQUEST_OVERHEAD_BYTES": 262144,
        "AT_ONCE": 4,
    },
    "trail": {"_MOST": 100},
}
MEASURES: dict[str, dict[str, object]] = {
    "automatic1111.build": {
        "_IMG2IMG_DENOISING": 0.75,
        "_HIRES_DENOISING": 0.7,
        "_OUTPAINT_DENOISING": 0.8,
        "_FORGE_DISTILLED_CFG": 3.5,
    },
    "automatic1111.images": {"_DEFAULT_UPSCALING": 2.0, "_OVERLAP": 8},
    "comfyui.graph.editor_file": {"_NESTED": 8},
    "comfyui.graph.editor_values": {
        "_MOST": 150,
        "_SLIPPED_IN": 0.5,
        "_UNUSUAL": 1.0,
        "ABSENT": 3.0,
        "_NAMELESS": 4.0,
        "_WRONG": 6.0,
    },
    "comfyui.graph.fill": {"_DRAFT_SIDE": 0.7071067811865476},
    "comfyui.graph.prompts": {"_SHOWN": 6},
    "comfyui.graph.sizes": {"_USUAL_MULTIPLE": 8, "_LATENT_MULTIPLE": 16},
    "comfyui.graph.workflow": {"_DRAWN_SEEDS": 2147483647, "_SHOWN_CHOICES": 8},
    "contact_sheet.gallery": {"_NAME_LENGTH": 60},
    "contact_sheet.sheet": {
        "_WANTED_SHAPE": 1.4,
        "_NARROWEST": 0.4,
        "_WIDEST": 2.5,
        "_GAP": 0.05,
        "_CAPTION_LINES": 2,
        "_TITLE_LINES": 2,
        "_SMALLEST_TEXT": 10,
    },
    "errors": {"_SHORTEST_SECRET": 4, "_SHORTEST_KEY": 20, "_SHORTEST_PIECE": 8, "_LONGEST_PHRASE": 15},
    "openai_images.models": {"_LARGEST_DRAWN": 2147483647, "_LARGEST_CFG": 20, "_FORM_STEPS": 30, "_FORM_CFG": 5.0},
    "qwen_image.account": {"_FAST": 60},
    "qwen_image.wire": {"NEGATIVE_PROMPT_CHARACTERS": 500, "_WIDE_PER_TOKEN": 1.8, "_NARROW_PER_TOKEN": 4.5},
    "replicate": {"_SHORTEST_LIFE": 5},
    "stability.models": {"DEFAULT_STRENGTH": 0.6},
}
"""Shares, weights and usual values."""


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (module, *pair)
        for table in (SECONDS, SIZES, MEASURES)
        for module, numbers in table.items()
        for pair in numbers.items()
    ],
)
def test_a_number_is_that_of_the_table(module: str, name: str, value: object) -> None:
    assert getattr(import_module(f"models.backends.{module}"), name) == value


def test_the_pauses_before_a_request_is_repeated() -> None:
    assert (LISTS.delays, GOOGLE.delays, REPLICATE.delays, STABILITY.delays) == ((0.2,), (2, 8), (7, 10), (2, 8))


def test_a_look_ends_with_its_call() -> None:
    base, comfyui = SECONDS["base"], SECONDS["comfyui.jobs"]
    assert base["SYNC_LIMIT"] + base["RESERVE"] < 600  # type: ignore[operator]
    assert base["LEAST_LOOK_SECONDS"] < base["LAST_LOOK_SECONDS"] < base["RESERVE"]  # type: ignore[operator]
    assert comfyui["CANCEL_SECONDS"] < base["RESERVE"]  # type: ignore[operator]
