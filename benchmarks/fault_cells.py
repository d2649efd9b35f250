"""The fault matrix as data: the services, the faults, and what a user must be told in each cell.

A cell is a service, a stage of its job, a fault and a way to wait (`direct`: one call; `polling`: start and checks).
Seconds are those of the plugin's clock, which runs faster than the wall's.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from benchmarks.fault_answers import bomb, gzip_bomb, page, quoting, retry_at
from benchmarks.fault_targets import Target
from tests.fakes import MARKER_KEY, image_file
from tests.servers.faulty import die, dripping, huge, reset, reset_inside_body, restart, silent
from tests.servers.scripted import Act, hang_up, say

SPEED = 20.0
"""Seconds of the plugin's clock for one of the wall's."""
TIMEOUT = 120
"""The parameter `timeout` of every request."""

# --- expectations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`outcome`: names of error classes without `Invoke` and `Error`, or `image`. `says`: what the sentence must match.
    `within`: seconds until it is told, `polled` the same where checks wait for it; `least`: not sooner.
    `submitted`: requests for a job, at most; more than one only where the others surely did not run.
    `more_time`: whether the sentence may advise a longer `timeout`.
    """

    outcome: str
    says: str = ""
    within: float = 45.0
    polled: float | None = None
    least: float = 0.0
    submitted: int = 1
    more_time: bool = False


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
MORE_TIME = "aise `timeout`"


# --- faults -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong. `address`: on the way to the service; `act`: the answer to the requests of a stage; `image` and
    `encoded`: the file, or its base64 where a service answers with it; `special`: the Target's own answer;
    `socket`: how ComfyUI's WebSocket misbehaves. `expected`: by stage; `submit` stands for the whole service where the
    address is wrong. `carried_out`: the service got the request; `late`: it gets it that many seconds after the client has
    gone. `onwards`: all later requests fail in the same way. `alone`: it takes so much memory that no other cell may run beside it. `fast`: the tests run it.
    """

    name: str
    expected: Mapping[str, Expected]
    act: Callable[[], Act] | None = None
    image: Callable[[], bytes] | None = None
    encoded: Callable[[], str] | None = None
    address: str = ""
    special: str = ""
    socket: str = ""
    only: str = ""
    carried_out: bool = False
    late: float | None = None
    onwards: bool = False
    times: int = 1_000_000
    alone: bool = False
    fast: bool = False


CONNECTION, SERVER, BAD = "Connection", "ServerUnavailable", "BadRequest"
LOGIN, LIMIT, IMAGE = "Authorization", "RateLimit", "image"
_HOST = r"127\.0\.0\.1:\d+"
_UNREACHED = Expected(outcome=CONNECTION, says="base_url")
_LOST = Expected(outcome=CONNECTION, says=f"{_HOST}.*was lost.*may still have been processed")
_OUTAGE = Expected(
    outcome=CONNECTION,
    says=f"the state of the job could not be read.*{_HOST}.*base_url",
    within=95,
    polled=TIMEOUT + 40,
)
_SLOW = replace(_OUTAGE, within=TIMEOUT + 40)
_SILENT = Expected(outcome=CONNECTION, says=_HOST, within=TIMEOUT + 10, more_time=True)
_DOWN = replace(
    _OUTAGE,
    outcome=SERVER,
    says="the state of the job could not be read.*HTTP 5|the state of the job could not be read.*base_url",
)
_BUSY = Expected(outcome=f"{LIMIT}|{SERVER}", says="base_url", within=TIMEOUT + 60)
_BROKEN = Expected(outcome=SERVER)
_TOO_LARGE = Expected(outcome=SERVER, says="larger than", within=120)  # the transfer takes the wall's time
_TOO_LONG = Expected(outcome=f"{SERVER}|{CONNECTION}", says="larger than|did not reply in time", within=TIMEOUT + 40)
_NO_CREDIT = Expected(outcome=LIMIT, says="credit|balance|quota|top it up")
_AGAIN = Expected(outcome=IMAGE, within=60, least=6.5, submitted=2)
_LATER = Expected(outcome=IMAGE, within=60)
_BACK = replace(_LATER, polled=TIMEOUT)
_SOON = Expected(outcome=IMAGE, within=20)  # one second for the plugin, the rest for this machine


def _image(data: Callable[[], bytes], name: str, says: str, *, fast: bool = False) -> Fault:
    return Fault(name=name, image=data, expected=_stages(replace(_BROKEN, says=says)), fast=fast)


def _stages(submit: Expected, look: Expected | None = None, fetch: Expected | None = None) -> Mapping[str, Expected]:
    look = look or submit
    return {"submit": submit, "look": look, "fetch": fetch or look}


def _status(name: str, act: Callable[[], Act], expected: Mapping[str, Expected], **more: Any) -> Fault:
    return Fault(name=name, act=act, expected=expected, **more)


def _too_many(**headers: str) -> Callable[[], Act]:
    return lambda: quoting(429, "too many requests", "Throttling.RateQuota", **headers)


_WRONG_TYPES = json.dumps(
    dict.fromkeys(("image", "images", "data", "info", "output", "choices", "prompt_id", "queue_running"), 7)
)
_EMPTY = '{"images": [], "data": [], "artifacts": [], "choices": []}'
_POOR = (
    ("402", lambda: quoting(402)),
    ("400 no credit", lambda: quoting(400, "Insufficient account balance, please recharge")),
    ("403 no credit", lambda: quoting(403, "Your credit balance is insufficient")),
)
_REFUSED = _stages(Expected(outcome=BAD))
_PASSING = _stages(Expected(outcome=SERVER), _DOWN)

FAULTS: Sequence[Fault] = (
    Fault(name="none", expected={"submit": Expected(outcome=IMAGE, within=TIMEOUT)}, fast=True),
    Fault(name="refused", address="refused", expected={"submit": _UNREACHED}, fast=True),
    Fault(name="DNS failure", address="dns", expected={"submit": _UNREACHED}),
    Fault(name="TLS failure", address="tls", expected={"submit": replace(_UNREACHED, says="secure.*base_url")}, fast=True),
    Fault(name="self-signed certificate", address="self-signed", fast=True,
          expected={"submit": replace(_UNREACHED, says="self-signed certificate.*base_url.*REQUESTS_CA_BUNDLE")}),
    Fault(name="connect timeout", address="full",
          expected={"submit": replace(_UNREACHED, says="in time.*base_url", within=75)}),
    Fault(name="silent", act=lambda: silent, expected=_stages(_SILENT, _OUTAGE, _SLOW)),
    Fault(name="silent in mid-job", act=lambda: silent, onwards=True,
          expected={"look": replace(_OUTAGE, least=55)}),
    Fault(name="silent in mid-job", act=lambda: silent, onwards=True, only="automatic1111",
          expected={"submit": replace(_OUTAGE, least=55)}),
    Fault(name="request a second late", act=lambda: silent, late=1, times=1, only="comfyui",
          expected={"submit": Expected(outcome=IMAGE, within=60)}),
    Fault(name="request a minute late", act=lambda: silent, late=60, times=1, only="comfyui",
          expected={"submit": Expected(outcome=CONNECTION, says=f"{_HOST}.*may still have been processed", within=60)}),
    Fault(name="one byte a second", act=lambda: dripping(1 / SPEED), expected=_stages(_SILENT, _OUTAGE, _SLOW)),
    Fault(name="reset before the answer", act=lambda: reset, expected=_stages(_LOST, _OUTAGE), carried_out=True, fast=True),
    Fault(name="closed before the answer", act=lambda: hang_up, expected=_stages(_LOST, _OUTAGE), carried_out=True),
    Fault(name="reset inside the body", act=lambda: reset_inside_body, expected=_stages(_LOST, _OUTAGE), carried_out=True),
    Fault(name="request lost", act=lambda: reset, expected={"submit": _LOST}),
    Fault(name="died", act=lambda: die, expected=_stages(_LOST, replace(_OUTAGE, says=f"{_HOST} could not be reached"))),
    Fault(name="back after three resets", act=lambda: reset, times=3, expected={"look": _BACK, "fetch": _BACK}, fast=True),
    Fault(name="restarted", act=lambda: restart, times=1, only="comfyui", fast=True,
          expected={"look": Expected(outcome=IMAGE, says="submitted again", polled=TIMEOUT, submitted=2)}),
    *(
        Fault(name=f"WebSocket {kind}", socket=kind, only="comfyui", expected={"look": _SOON}, fast=True)
        for kind in ("forbidden", "stuck", "redirected", "silent", "mute", "dropping")
    ),
    Fault(name="job failed", special="failed", expected={"look": replace(_BROKEN, says="it broke")}, fast=True),
    Fault(name="job vanished", special="vanished", fast=True,
          expected={"look": replace(_BROKEN, says="disappeared|no longer has|not found")}),
    Fault(name="filtered", special="filtered", expected=_stages(Expected(outcome=BAD)), fast=True),
        _status("empty body", lambda: say(200, b""), _stages(replace(_BROKEN, says="empty|without an image")), fast=True),
    _status("HTML instead of JSON", lambda: page(200), _stages(replace(_BROKEN, says="web page|HTML page")), fast=True),
    _status("a list", lambda: say(200, "[]"), _stages(_BROKEN)),
    _status("wrong types", lambda: say(200, _WRONG_TYPES), _stages(_BROKEN), fast=True),
    Fault(name="empty image list", act=lambda: say(200, _EMPTY), expected={"submit": _BROKEN}, fast=True),
    Fault(name="truncated base64", encoded=lambda: base64.b64encode(image_file(512, 512)).decode()[:-333],
          expected={"submit": replace(_BROKEN, says="broken base64")}, fast=True),
    _image(lambda: image_file(512, 512)[:-100], "truncated image", "ends in the middle", fast=True),
    _image(lambda: b"", "zero-byte image", "empty|without an image|has no image"),
    _image(lambda: image_file(1, 1), "1x1 image", "one pixel", fast=True),
    _image(bomb, "decompression bomb", "30000×30000"),
    Fault(name="gzip bomb", act=lambda: say(200, gzip_bomb(), Content_Encoding="gzip"), alone=True,
          expected=_stages(_TOO_LARGE, _TOO_LONG, _TOO_LARGE)),
    Fault(name="300 MB answer", act=lambda: huge(300 * 2**20), alone=True, expected=_stages(_TOO_LARGE, _TOO_LONG, _TOO_LARGE)),
    _status("401", lambda: quoting(401), _stages(Expected(outcome=LOGIN, says="_?key|username|login")), fast=True),
    _status("403", lambda: quoting(403), _stages(Expected(outcome=LOGIN))),
    *(_status(name, act, _stages(_NO_CREDIT), fast=True) for name, act in _POOR),
    _status("429 no credit", lambda: quoting(429, "You exceeded your current quota", "insufficient_quota"),
            _stages(_NO_CREDIT), fast=True),
    _status("404", lambda: quoting(404), _REFUSED),
    _status("413", lambda: quoting(413), _REFUSED),
    _status("422", lambda: quoting(422), _REFUSED),
    _status("429", _too_many(), _stages(Expected(outcome=LIMIT, within=80, submitted=3), _BUSY)),
    _status("429 once, Retry-After 7", _too_many(Retry_After="7"), _stages(_AGAIN, _LATER), times=1),
    _status("429 once, Retry-After a date", lambda: retry_at(7), _stages(_AGAIN, _LATER), times=1, fast=True),
    _status("429 once, a date, clock 6 years late", lambda: retry_at(7, server_time=1_600_000_000),
            _stages(_AGAIN, _LATER), times=1),
    _status("429 once, a date, clock 6 years early", lambda: retry_at(7, server_time=1_990_000_000),
            _stages(_AGAIN, _LATER), times=1),
    _status("429, Retry-After 20", _too_many(Retry_After="20"),
            _stages(Expected(outcome=LIMIT, within=TIMEOUT + 10, least=80, submitted=7), _BUSY)),
    _status("429, Retry-After 1 hour", _too_many(Retry_After="3600"), _stages(Expected(outcome=LIMIT), _BUSY)),
    _status("500", lambda: quoting(500), _PASSING, fast=True),
    _status("502 page", lambda: page(502), _PASSING),
    _status("503", lambda: quoting(503), _PASSING),
    _status("503 once, Retry-After 7", lambda: quoting(503, Retry_After="7"), _stages(_AGAIN, _LATER), times=1),
    _status("504 page", lambda: page(504), _PASSING),
    Fault(name="redirect to another host", address="redirect", expected=_stages(replace(_BROKEN, says="redirects to")),
          fast=True),
)  # fmt: skip

# Changes to the expectation, by regular expressions for the service and the fault, and the stage.
EXCEPTIONS: Sequence[tuple[str, str, str, Mapping[str, Any]]] = (
    # The WebUI tells which job is lost, but for one that it was never seen to have.
    ("automatic1111", "submit", "silent$|one byte", {"says": f"no longer on the server.*{_HOST}", "more_time": False}),
    # ComfyUI is asked for the job before it is submitted again under the same id.
    ("comfyui", "submit", "(reset|closed) (before|inside)", {"outcome": IMAGE, "says": ""}),
    # One that is not answered is not sent again: it may arrive later.
    ("comfyui", "submit", "silent", {"within": 75, "more_time": False}),
    ("comfyui", "submit", r"request lost|50[023]", {"submitted": 2}),
    ("comfyui", "look", "vanished", {"submitted": 2}),
    # Its cached file is gone, so that it is saved again: nothing is drawn twice.
    ("comfyui", "fetch", "404", {"outcome": SERVER, "submitted": 2}),
    ("comfyui", "fetch", "a list|wrong types", {"says": "JSON text"}),
    ("openrouter", "submit", "^403$", {"outcome": BAD}),
    ("openrouter", "submit", "^503$", {"submitted": 3}),  # no provider took the request, so nothing is billed
    ("stability", "submit", "^(500|502 page|503)$", {"submitted": 3}),  # failed calls are not charged
    ("qwen_image", "submit", "silent", {"within": 80, "more_time": False}),
    ("google", "submit", "^503$", {"submitted": 3}),
    # Its models of the community have another address.
    ("replicate", "submit", "^404$", {"submitted": 2}),
    ("black_forest_labs|comfyui api_v2|ark videos", "look", "^404$", {"outcome": SERVER}),
    # The image was made: only its address fails.
    ("zhipu|huggingface|replicate|fal|black_forest_labs|comfyui api_v2", "fetch", "^4(04|13|22)$", {"outcome": SERVER}),
    # There is no job to look at again.
    ("zhipu|huggingface", "fetch", r"silent|one byte|reset|closed|429|50\d", {"says": ""}),
    ("zhipu|huggingface", "fetch", "back", {"outcome": CONNECTION}),
    # Results lie at a file server, which is asked without a key and may redirect.
    ("qwen_image", "fetch", r"^4\d\d( no credit)?$", {"outcome": SERVER, "says": ""}),
    ("qwen_image", "fetch", "^429", {"within": TIMEOUT + 60}),
    ("qwen_image|comfyui api_v2", "fetch", "redirect", {"says": "not an image"}),
)


def expected(target: Target, stage: str, fault: Fault) -> Expected:
    """What must come of a fault at a stage of a service."""
    changes = (
        change
        for name, place, pattern, change in EXCEPTIONS
        if re.fullmatch(name, target.name) and place == stage and re.search(pattern, fault.name)
    )
    return reduce(lambda before, change: replace(before, **change), changes, fault.expected[stage])
