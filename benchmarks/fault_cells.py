"""The fault matrix as data: the services, the faults, and what a user must be told in each cell.

A cell is a service, a stage of its job, a fault and a way to wait (`direct`: one call; `polling`: start and checks).
Seconds are those of the plugin's clock, which runs faster than the wall's.
"""

import base64
import gzip
import io
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler
from itertools import product

from tests.contract_cases import CASES, Case
from tests.fakes import MARKER_KEY, picture
from tests.servers.faulty import die, dripping, huge, reset, reset_inside_body, restart, silent
from tests.servers.scripted import Act, hang_up, say

SPEED = 20.0
"""Seconds of the plugin's clock for one of the wall's."""
TIMEOUT = 120
"""The parameter `timeout` of every request."""
SILENT = 60.0
"""Seconds for which a service may be silent about a job before the user is told."""

# --- services ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Target:
    """A service: its stages as regular expressions for "METHOD /path", and its answer with one image where that comes in the
    answer to `submit`; else it is fetched."""

    name: str
    case: Case
    stages: Mapping[str, str]
    answer: Callable[[str], object] | None = None
    polled: bool = False


def _data(encoded: str) -> object:
    return {"created": 1, "data": [{"b64_json": encoded}]}


def _webui(encoded: str) -> object:
    return {"images": [encoded], "parameters": {}, "info": "{}"}


def _stability(encoded: str) -> object:
    return {"image": encoded, "finish_reason": "SUCCESS", "seed": 1}


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
    ),
    Target(
        name="openai_images",
        case=CASES["openai_images"],
        stages={"submit": "POST /v1/images/"},
        answer=_data,
    ),
    Target(
        name="openrouter",
        case=CASES["openrouter"],
        stages={"submit": "POST /api/v1/(images|chat)"},
        answer=_data,
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
    ),
    Target(
        name="stability",
        case=CASES["stability"],
        stages={"submit": "POST /v2beta/"},
        answer=_stability,
    ),
)

# --- expectations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`outcome`: names of error classes, or `image`. `says`: what the sentence must match. `within`: seconds until it is
    told. `submitted`: requests for a job, at most; more than one only where the others surely did not run."""

    outcome: str
    says: str = ""
    within: float = 20.0
    submitted: int = 1
    raise_timeout: bool = False
    """Whether the sentence may advise a longer `timeout`."""


NEVER: Sequence[str] = (
    MARKER_KEY,
    MARKER_KEY[8:20],
    base64.b64encode(f"dify:{MARKER_KEY}".encode()).decode(),
    "<html",
    "Traceback",
    '{"',
    "Error(",
    "None",
)
"""What no sentence may hold."""
RAISE_TIMEOUT = "aise `timeout`"


# --- answers ----------------------------------------------------------------------------------------------------------


def quoting(status: int, message: str = "refused", code: str = "", **headers: str) -> Act:
    """A refusal that quotes the credentials of the request, as some services do."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        said = f"{message} for {handler.headers.get('Authorization', '')}"
        error: dict[str, object] = {"message": said, **({"code": code} if code else {})}
        say(status, json.dumps({"error": error, **error}), **headers)(handler)

    return act


def page(status: int) -> Act:
    return say(status, "<html><body>Bad <b>Gateway</b> Traceback</body></html>", Content_Type="text/html")


def retry_at(seconds: float, *, server_time: float | None = None) -> Act:
    """A 429 with a date `seconds` after the server's own clock."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        now = int(server_time or time.time())
        dates = {"Date": formatdate(now, usegmt=True), "Retry_After": formatdate(now + seconds, usegmt=True)}
        handler.date_time_string = lambda *_: dates["Date"]  # type: ignore[method-assign]
        del dates["Date"]
        quoting(429, "too many requests", "Throttling.RateQuota", **dates)(handler)

    return act


@cache
def bomb() -> bytes:
    """A PNG of 900 megapixels in 110 KB."""
    side = 30_000
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@cache
def gzip_bomb() -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(bytes(2**20))
    return out.getvalue()


# --- faults -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`address`: what is wrong with the way to the service; else `act` answers the requests of a stage."""

    name: str
    expected: Mapping[str, Expected]
    """By stage; `submit` stands for the whole service where `address` is set."""
    act: Callable[[], Act] | None = None
    image: Callable[[], bytes] | None = None
    """The bytes of an image, whole or not, in the answer or in the file that is fetched."""
    encoded: Callable[[], str] | None = None
    """The base64 of an image, for services that answer with one."""
    address: str = ""
    carried_out: bool = False
    times: int = 1_000_000
    fast: bool = False
    """Whether the fast form runs it."""
    alone: bool = False
    """Whether it takes so much memory that no other cell may run beside it."""


def everywhere(expected: Expected, **other: Expected) -> Mapping[str, Expected]:
    return {"submit": expected, "look": expected, "fetch": expected, **other}


_NAMES = ("image", "images", "data", "info", "output", "artifacts", "prompt_id", "queue_running", "queue_pending", "choices")
CONNECTION = "connection"
SERVER = "server"
IMAGE = "image"

_LOST = everywhere(Expected(outcome=CONNECTION), look=Expected(outcome=CONNECTION, within=SILENT + 15))

FAULTS: Sequence[Fault] = (
    # The way to the service.
    Fault(name="refused", address="refused", expected={"submit": Expected(outcome=CONNECTION, says="base_url")}, fast=True),
    Fault(name="DNS failure", address="dns", expected={"submit": Expected(outcome=CONNECTION, says="base_url")}),
    Fault(name="TLS failure", address="tls", expected={"submit": Expected(outcome=CONNECTION, says="secure.*base_url")}, fast=True),
    Fault(
        name="connect timeout",
        address="full",
        expected={"submit": Expected(outcome=CONNECTION, says="in time.*base_url", within=50)},
    ),
    # The connection.
    Fault(name="silent", act=lambda: silent, expected=_LOST),
    Fault(name="one byte a second", act=lambda: dripping(1 / SPEED), expected=_LOST),
    Fault(name="reset before the answer", act=lambda: reset, expected=_LOST, carried_out=True, fast=True),
    Fault(name="closed before the answer", act=lambda: hang_up, expected=_LOST, carried_out=True),
    Fault(name="request lost", act=lambda: reset, expected=_LOST),
    Fault(name="reset inside the body", act=lambda: reset_inside_body, expected=_LOST, carried_out=True, fast=True),
    Fault(name="died", act=lambda: die, expected=_LOST, fast=True),
    Fault(name="back after three resets", act=lambda: reset, times=3, expected=_LOST),
    Fault(name="restarted", act=lambda: restart, times=1, expected={"look": Expected(outcome=IMAGE, submitted=2)}),
    # The answer.
    Fault(name="empty body", act=lambda: say(200, b""), expected=_LOST, fast=True),
    Fault(name="HTML instead of JSON", act=lambda: page(200), expected=_LOST, fast=True),
    Fault(name="a list", act=lambda: say(200, "[]"), expected=_LOST),
    Fault(name="wrong types", act=lambda: say(200, json.dumps({k: 7 for k in _NAMES})), expected=_LOST, fast=True),
    Fault(name="empty image list", act=lambda: say(200, '{"images": [], "data": [], "artifacts": []}'), expected=_LOST),
    Fault(name="truncated base64", encoded=lambda: base64.b64encode(picture(512, 512)).decode()[:-333], expected=_LOST, fast=True),
    Fault(name="truncated image", image=lambda: picture(512, 512)[:-100], expected=_LOST, fast=True),
    Fault(name="zero-byte image", image=lambda: b"", expected=_LOST),
    Fault(name="1x1 image", image=lambda: picture(1, 1), expected=_LOST),
    Fault(name="decompression bomb", image=bomb, expected=_LOST),
    Fault(name="gzip bomb", act=lambda: say(200, gzip_bomb(), Content_Encoding="gzip"), expected=_LOST, alone=True),
    Fault(name="300 MB answer", act=lambda: huge(300 * 2**20), expected=_LOST, alone=True),
    # Refusals.
    Fault(name="401", act=lambda: quoting(401), expected=_LOST, fast=True),
    Fault(name="402", act=lambda: quoting(402), expected=_LOST, fast=True),
    Fault(name="403", act=lambda: quoting(403), expected=_LOST),
    Fault(name="400 no credit", act=lambda: quoting(400, "Insufficient account balance, please recharge"), expected=_LOST, fast=True),
    Fault(name="403 no credit", act=lambda: quoting(403, "Your credit balance is insufficient"), expected=_LOST),
    Fault(name="429 no credit", act=lambda: quoting(429, "You exceeded your current quota", "insufficient_quota"), expected=_LOST),
    Fault(name="404", act=lambda: quoting(404), expected=_LOST),
    Fault(name="413", act=lambda: quoting(413), expected=_LOST),
    Fault(name="422", act=lambda: quoting(422), expected=_LOST),
    Fault(name="429", act=lambda: quoting(429, "too many requests", "Throttling.RateQuota"), expected=_LOST, fast=True),
    Fault(name="429 once, Retry-After 7", act=lambda: quoting(429, "too many requests", "Throttling.RateQuota", Retry_After="7"), times=1, expected=_LOST),
    Fault(name="429 once, Retry-After date", act=lambda: retry_at(7), times=1, expected=_LOST, fast=True),
    Fault(name="429 once, date, clock 6 years late", act=lambda: retry_at(7, server_time=1_600_000_000), times=1, expected=_LOST, fast=True),
    Fault(name="429, Retry-After 1 hour", act=lambda: quoting(429, "too many requests", "Throttling.RateQuota", Retry_After="3600"), expected=_LOST),
    Fault(name="500", act=lambda: quoting(500), expected=_LOST, fast=True),
    Fault(name="502 page", act=lambda: page(502), expected=_LOST, fast=True),
    Fault(name="503", act=lambda: quoting(503), expected=_LOST),
    Fault(name="503 once, Retry-After 7", act=lambda: quoting(503, Retry_After="7"), times=1, expected=_LOST),
    Fault(name="504 page", act=lambda: page(504), expected=_LOST),
    Fault(name="redirect to another host", address="redirect", expected=_LOST, fast=True),
)
