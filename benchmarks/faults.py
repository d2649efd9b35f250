"""The fault matrix: every backend against every fault, on real sockets. Ends non-zero when a cell is wrong.

`uv run python -m benchmarks.faults [--fast] [--only TEXT] [--all]`
"""

import dify_plugin  # isort: skip  # noqa: F401 -- it patches the sockets that everything else uses

import argparse
import base64
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from requests.adapters import HTTPAdapter

from benchmarks.fault_cells import FAULTS, SPEED, TARGETS, TIMEOUT, Expected, Fault, Target
from models.backends import cache, http
from models.backends.automatic1111 import job
from models.backends.errors import ImageError
from models.pipeline import Asked, Call, Waiting
from models.request.conversation import Conversation
from tests.servers.faulty import FaultyProxy, full_backlog, running
from tests.servers.scripted import Act, Script, free_port, say, scripted_server

AT_ONCE = 8


class FastClock:
    """The wall's clock, SPEED times as fast."""

    def __init__(self) -> None:
        self._began, self._start = time.time(), time.monotonic()

    def now(self) -> float:
        return self._began + self.monotonic() - self._start * SPEED

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / SPEED)


class _FastTimeout(gevent.Timeout):
    def __init__(self, seconds: float) -> None:
        super().__init__(seconds / SPEED)


@contextmanager
def fast_network() -> Iterator[None]:
    """Make every limit of the way to HTTP SPEED times as short, as the clock is faster."""
    ordinary = HTTPAdapter.send

    def send(self: HTTPAdapter, request: Any, *, timeout: tuple[float, float], **options: Any) -> Any:
        connect, read = timeout
        return ordinary(self, request, timeout=(connect / SPEED, read / SPEED), **options)

    with (
        patch.object(http, "gevent", SimpleNamespace(Timeout=_FastTimeout)),
        patch.object(HTTPAdapter, "send", send),
        patch.object(job, "FIRST_LOOK", job.FIRST_LOOK / SPEED),
        patch.object(job, "PACE", job.PACE / SPEED),
    ):
        yield


@dataclass(frozen=True)
class Cell:
    target: Target
    stage: str
    fault: Fault
    way: str
    expected: Expected


@dataclass(frozen=True)
class Seen:
    """What came of a cell. `outcome` is an error's short name or `image`; `leaked`: whether another host was asked."""

    outcome: str
    sentence: str
    seconds: float
    requests: int
    submitted: int
    leaked: bool = False


def cells() -> Iterator[Cell]:
    for target in TARGETS:
        for fault in FAULTS:
            for stage, expected in fault.expected.items():
                if stage not in target.stages:
                    continue
                if fault.encoded and not target.answer:
                    continue
                if fault.image and (stage != ("submit" if target.answer else "fetch")):
                    continue
                for way in ("direct", "polling") if target.polled else ("direct",):
                    yield Cell(target, stage, fault, way, expected)


def act_of(cell: Cell, other: Script) -> Act | None:
    fault, target = cell.fault, cell.target
    if fault.address == "redirect":
        return say(307, Location=f"{other.url}/elsewhere")
    if fault.act:
        return fault.act()
    if fault.encoded or fault.image:
        data = fault.image() if fault.image else b""
        if target.answer:
            encoded = fault.encoded() if fault.encoded else base64.b64encode(data).decode()
            return say(200, json.dumps(target.answer(encoded)))
        return say(200, data, Content_Type="image/png")
    return None


def run(cell: Cell) -> Seen:
    fault, target = cell.fault, cell.target
    assert target.case.serve
    assert target.case.credentials
    with ExitStack() as stack:
        fake: Any = stack.enter_context(target.case.serve())
        other = stack.enter_context(scripted_server())
        parts = urlsplit(fake.url)
        proxy = FaultyProxy(
            upstream=f"http://{parts.netloc}",
            stages=target.stages,
            stage=cell.stage,
            act=act_of(cell, other),
            times=fault.times,
            carried_out=fault.carried_out,
            fake=fake,
        )
        stack.enter_context(running(proxy))
        origin = {
            "refused": lambda: f"http://127.0.0.1:{free_port()}",
            "dns": lambda: "http://painter.invalid:8188",
            "tls": lambda: proxy.url.replace("http://", "https://"),
            "full": lambda: stack.enter_context(full_backlog()),
        }.get(fault.address, lambda: proxy.url)()
        credentials = target.case.credentials(origin + parts.path)
        cache.clear_all()
        clock = FastClock()
        began = clock.now()
        outcome, sentence = asked(target.case.model, credentials, cell.way, clock)
        return Seen(outcome, sentence, clock.now() - began, proxy.count(), proxy.count("submit"), bool(other.seen))


def asked(model: str, credentials: dict[str, str], way: str, clock: FastClock) -> tuple[str, str]:
    question = Asked(Conversation("a red fox in the snow"), {"timeout": TIMEOUT})

    def call() -> Call:
        return Call.of(model, credentials, None, clock)

    try:
        if way == "direct":
            finished = call().generate(question)
        else:
            outcome = call().start(question)
            while isinstance(outcome, Waiting):
                clock.sleep(outcome.next_check)
                outcome = call().check(json.loads(json.dumps(outcome.state)))
            finished = outcome
    except ImageError as error:
        return type(error).__mro__[-4].__name__ if False else error.host.__name__, str(error)
    except Exception as error:  # noqa: BLE001 -- a cell that is wrong in the worst way
        return "UNTYPED", repr(error)
    return "image", " ".join(finished.result.notices)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    pool, heavy = Pool(AT_ONCE), BoundedSemaphore(1)
    def work(cell: Cell):
        if cell.fault.alone:
            with heavy:
                return cell, run(cell)
        return cell, run(cell)
    import logging; logging.disable(logging.INFO)
    began = time.time()
    with fast_network():
        for cell, seen in pool.imap(work, [c for c in cells() if re.search(options.only, f"{c.target.name} {c.stage} {c.way} {c.fault.name}")]):
            print(f"{cell.target.name:14} {cell.stage:6} {cell.way:7} {cell.fault.name:28} {seen.outcome:28} {seen.seconds:6.1f}s r{seen.requests} s{seen.submitted} {'LEAK' if seen.leaked else ''} {seen.sentence}", flush=True)
    print(time.time()-began)


if __name__ == "__main__":
    main()
