"""The time limits and sizes of the whole plugin in one table.

Each was measured, is promised in docs/ or follows from a limit of the host or of a file format; together they must fit into
the host's 600 seconds, its 5 MB and its 256 MiB. To change one is a decision about all of them.
"""

from importlib import import_module
from types import ModuleType

import pytest

from models import images, pipeline, redis_client, routing
from models.backends.base import SYNC_LIMIT
from models.images import ai_label, codec, inputs, integrity, lettering, metadata, sniff, video
from models.output import delivery, documents
from models.request import conversation
from models.stages import audit, audit_store, moderation, quota, quota_file, quota_redis, storage, telemetry, webhook
from models.stages import telemetry_export as export
from models.stages.cache import flights, keeping, local, lookup, meaning
from models.storage import address, objects, probe

SECONDS: dict[ModuleType, dict[str, object]] = {
    pipeline: {"HOLD": 0.8, "_LONGEST_PAUSE": 30, "POLLED_LIMIT": 6900},
    routing: {"_LEARN_SECONDS": 30, "LEAST_SECONDS": 10, "_PREVIEW_SECONDS": 5},
    conversation: {"FETCH_SECONDS": 60},
    redis_client: {"SECONDS": 2},
    moderation: {"SECONDS": 8},
    webhook: {"SECONDS": 15, "DELAYS": (2, 10, 60, 300), "_LONGEST": 900},
    quota: {"LEASE": 600, "_LATER": (1, 5, 30, 120)},
    quota_file: {"_BUSY": 10, "_REMEMBERED": 86_400},
    quota_redis: {"_REMEMBERED": 86_400},
    lookup: {"POLLED_LEASE": 75},
    flights: {"LEASE": 20, "_RENEWED": 5, "_LOOK": 0.2},
    local: {"_BUSY": 10, "_USED_AGAIN": 60},
    meaning: {"_SECONDS": 5},
    export: {
        "_SECONDS": (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120),
        "_LOG_SECONDS": 60,
    },
}
SIZES: dict[ModuleType, dict[str, object]] = {
    pipeline: {"_MOST_CHECKS": 220},
    conversation: {"MAX_INPUT_BYTES": 33_554_432},
    redis_client: {"_CONNECTIONS": 16},
    moderation: {"_SMALL": 300_000, "_SIDE": 1024, "_COPY_QUALITY": 85},
    webhook: {"_MOST": 1000, "_SHORTEST": 24},
    audit: {"_LONGEST_PROMPT": 20_000},
    audit_store: {"_MOST": 1000},
    telemetry: {"_MOST": 1000},
    export: {"_BATCH": 128},
    quota: {"_MILLIONTHS": 1_000_000},
    storage: {"_BESIDE": 6},
    keeping: {"_MOST_NEIGHBOURS": 100},
    lookup: {"_MOST_FOLLOWED": 2},
    local: {"MOST_BYTES": 512_000_000, "_LARGEST": 64_000_000},
    meaning: {"_LONGEST": 8000, "_THRESHOLD": 0.95},
    address: {"LONGEST_LINK_HOURS": 168},
    delivery: {
        "MAX_LINE": 5_000_000,
        "_ENVELOPE": 40_000,
        "_SMALLEST_SHARE": 4000,
        "_LONGEST_TEXT": 20_000,
        "_MOST_NOTICES": 20,
        "_EXACT": 9_007_199_254_740_992,
    },
    documents: {"_AROUND": 500},
    sniff: {"MAX_PIXELS": 67_108_864, "MAX_BYTES": 134_217_728, "_MOST_SEGMENTS": 2000, "_WINDOW": 1_000_000},
    integrity: {"_MOST_PARTS": 10_000, "_BEST_DEFLATE": 1032},
    metadata: {"_LARGEST_PACKET": 262_144, "_LONGEST_SEGMENT": 65_533},
    ai_label: {"_LONGEST_LABEL": 32_000, "_LONGEST_VALUE": 1000},
    video: {"_MOST_PARTS": 100_000},
    lettering: {"LINE_HEIGHT": 1.35, "_BASELINE": 0.86, "_MOST_FONTS": 400, "_PROBE_SIZE": 16},
    inputs: {"_GLANCE": 64, "_TINT": 4},
    codec: {
        "DEFAULT_QUALITY": 90,
        "QUALITIES": (90, 80, 65, 50),
        "_SHRUNK_QUALITY": 80,
        "_LOSSLESS_GAIN": 1.5,
        "_BIG": 1_000_000,
        "_MOST_LOSSLESS": 4_500_000,
        "_LABEL_FRAME": 100,
        "_WEBP_LONGEST_SIDE": 16_383,
    },
}

MEASURES: dict[str, dict[str, object]] = {
    "entities": {"_LONG": 1000000},
    "images.codec": {"_LARGEST_PROFILE": 65536, "_SAMPLE_SIDE": 1024, "_TILES": 4},
    "images.heic": {"_CHUNK": 1048576},
    "images.heic_decoder": {"SECONDS": 60, "MEMORY": 2147483648, "MAX_PIXELS": 67108864},
    "images.inputs": {"_MIDDLE_GREY": 128, "_SAME_SHAPE": 1.02},
    "images.redraw": {"FINE_QUALITY": 95, "_MOST_ANIMATED": 33554432, "_FRAME_MILLISECONDS": 100},
    "images.stamps": {
        "_MARGIN": 0.03,
        "_TEXT": 0.05,
        "_SMALLEST_TEXT": 9,
        "_WIDEST_TEXT": 0.9,
        "_MOST_LINES": 4,
        "_QR": 0.24,
        "_QUIET": 4,
        "_LEAST_MODULE": 2,
        "_LOGO": (0.28, 0.16),
        "_LABEL": 0.05,
        "_CAPITALS": 0.7,
        "_PANE": 0.75,
    },
    "llm.llm": {"CONTEXT_SIZE": 10000, "FORM_SECONDS": 3.0},
    "messages.catalogue": {"_MOST_READINGS": 60},
    "messages.chinese": {"_LONGEST": 2000, "_MOST_PARTS": 400, "_FEW_LETTERS": 7, "_LEAST_SAID": 10, "_MOST_WORDS": 3},
    "output.videos": {"_LONGEST_URL": 8000},
    "parameters": {"MAX_SEED": 9007199254740991},
    "room": {"FREE": 131072},
    "sizes": {"ONE_MEGAPIXEL": 1048576, "_REACH": 3, "_SAME_SHAPE": 1.05},
    "stages.stamp": {
        "_MOST_STAMPS": 6,
        "_LONGEST_TEXT": 300,
        "_LARGEST_LOGO": 4194304,
        "_LOGO_SECONDS": 10.0,
        "_LOGO_KEPT": 3600.0,
    },
    "stages.variants": {"MOST": 12, "SMALLEST": 16, "LARGEST": 4096},
    "translation": {"_LISTED": 12},
}
"""By the module's name: shares, weights and usual values."""


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(module, *pair) for table in (SECONDS, SIZES) for module, numbers in table.items() for pair in numbers.items()],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_number_is_that_of_the_table(module: object, name: str, value: object) -> None:
    assert getattr(module, name) == value


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(module, *pair) for module, numbers in MEASURES.items() for pair in numbers.items()],
)
def test_a_measure_is_that_of_the_table(module: str, name: str, value: object) -> None:
    assert getattr(import_module(f"models.{module}"), name) == value


def test_a_request_of_590_seconds_ends_before_the_hosts_600() -> None:
    """Moderation of the request and its result come on top of the job itself."""
    assert SYNC_LIMIT + moderation.SECONDS < 600
    assert pipeline.POLLED_LIMIT + pipeline._LONGEST_PAUSE + 2 * moderation.SECONDS < 7200
    assert pipeline._MOST_CHECKS * pipeline._LONGEST_PAUSE < pipeline.POLLED_LIMIT


def test_the_shares_of_gevents_pool_leave_room_for_host_names() -> None:
    """It has ten threads."""
    shares = (images.in_thread.__self__, objects._THREADS, local._thread, quota_file._thread)  # type: ignore[attr-defined]
    assert [share._free.counter for share in shares] == [2, 6, 1, 1]


def test_how_long_a_store_may_take() -> None:
    assert objects.Patience(seconds=30, retries=2) == objects.PATIENT == objects.Patience()
    assert objects.Patience(seconds=6, retries=0) == probe._PATIENCE
    assert objects._CONNECT.total_seconds() == 5
    assert moderation._RETRIES.delays == (0.5, 1.5)
    assert meaning._RETRIES.delays == (0.5,)
