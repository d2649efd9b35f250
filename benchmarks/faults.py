"""The fault matrix: every backend against every fault, on real sockets. Ends non-zero when a cell is wrong.

`uv run python -m benchmarks.faults [--only TEXT] [--sentences]`

`fault_cells.py` holds the cells. They run beside each other in one process; the plugin's clock and all limits of its way to
HTTP run SPEED times as fast as the wall's.
"""

import dify_plugin  # isort: skip  # noqa: F401 -- it patches the sockets that everything else uses

import argparse
import base64
import json
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from requests.adapters import HTTPAdapter

from benchmarks.fault_cells import (
    FAULTS,
    MORE_TIME,
    NEVER,
    SPEED,
    TIMEOUT,
    Expected,
    Fault,
    expected,
)
from benchmarks.fault_targets import TARGETS, Target
from models.backends import cache, http, questions
from models.backends.automatic1111 import job
from models.backends.comfyui import events
from models.backends.errors import ImageError
from models.pipeline import Asked, Call, Waiting
from models.request.conversation import Conversation
from tests.servers.faulty import SELF_SIGNED, FaultyProxy, full_backlog, running
from tests.servers.scripted import Act, Script, free_port, say, scripted_server

AT_ONCE = 4
TICK = 0.005  # seconds
HELD = 4.0
"""Seconds that a check may take: one for the plugin, the rest for this machine, at SPEED times the wall's clock."""


class FastClock:
    """The wall's clock, SPEED times as fast: one clock for all cells, as in the plugin.

    It stands still while the machine does not let this process run: what is measured is the plugin's time.
    """

    _time, _wall = time.time(), time.monotonic()

    def now(self) -> float:
        wall = time.monotonic()
        FastClock._time += min(wall - FastClock._wall, 10 * TICK) * SPEED
        FastClock._wall = wall
        return FastClock._time

    def monotonic(self) -> float:
        return self.now()

    def sleep(self, seconds: float) -> None:
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            time.sleep(left / SPEED)

    def tick(self) -> None:
        while True:
            self.now()
            time.sleep(TICK)


class _FastTimeout(gevent.Timeout):
    def __init__(self, seconds: float) -> None:
        super().__init__(seconds / SPEED)


@contextmanager
def fast_network() -> Iterator[None]:
    """Make every limit of the way to HTTP as short as the clock is fast."""
    ordinary, next_event = HTTPAdapter.send, events.EventSocket.next

    def send(self: HTTPAdapter, request: Any, *, timeout: tuple[float, float], **options: Any) -> Any:
        connect, read = timeout
        return ordinary(self, request, timeout=(connect / SPEED, read / SPEED), **options)

    with (
        patch.object(http, "gevent", SimpleNamespace(Timeout=_FastTimeout)),
        patch.object(questions, "gevent", SimpleNamespace(Timeout=_FastTimeout, spawn=gevent.spawn)),
        patch.object(HTTPAdapter, "send", send),
        patch.object(job, "FIRST_POLL", job.FIRST_POLL / SPEED),
        patch.object(job, "POLL_INTERVAL", job.POLL_INTERVAL / SPEED),
        patch.object(events, "OPEN_TIMEOUT", events.OPEN_TIMEOUT / SPEED),
        patch.object(events, "SETTLE_SECONDS", events.SETTLE_SECONDS / SPEED),
        patch.object(events.EventSocket, "next", lambda self, seconds: next_event(self, seconds / SPEED)),
    ):
        ticking = gevent.spawn(FastClock().tick)
        yield
        ticking.kill()


@dataclass(frozen=True)
class Cell:
    target: Target
    stage: str
    fault: Fault
    way: str

    @property
    def name(self) -> str:
        return f"{self.target.name} {self.stage} {self.way} {self.fault.name}"

    @property
    def expected(self) -> Expected:
        return expected(self.target, self.stage, self.fault)

    @property
    def within(self) -> float:
        return (self.expected.polled if self.way == "polling" else None) or self.expected.within


@dataclass(frozen=True)
class Seen:
    """What came of a cell. `leaked`: whether another host was sent a credential; `held`: seconds of the check in the
    middle, of those that left the job running; the longest says more about this machine."""

    outcome: str
    sentence: str
    seconds: float
    requests: int
    submitted: int
    leaked: bool
    held: float = 0.0

    def wrongs(self, cell: Cell) -> Iterator[str]:
        """What is not as expected, in words."""
        wanted = cell.expected
        if self.outcome not in wanted.outcome.split("|"):
            yield f"{self.outcome} instead of {wanted.outcome}"
        elif self.outcome != "image" and not re.search(wanted.says, self.sentence, re.IGNORECASE):
            yield f"does not say {wanted.says!r}"
        yield from (f"says {word!r}" for word in NEVER if word in self.sentence)
        if MORE_TIME in self.sentence and not wanted.more_time:
            yield "advises a longer `timeout`"
        if not wanted.least <= self.seconds <= cell.within:
            yield f"took {self.seconds:.0f} s, not {wanted.least:g} to {cell.within:g}"
        if self.submitted > wanted.submitted:
            yield f"{self.submitted} jobs instead of {wanted.submitted}"
        if self.held > HELD:
            yield f"held a check for {self.held:.0f} s"
        if self.leaked:
            yield "sent a credential to another host"


def cells() -> Iterator[Cell]:
    """Every cell that makes sense: an image is broken where one is sent, a job fails where there are jobs."""
    for target in TARGETS:
        for fault in FAULTS:
            for stage in fault.expected:
                if stage in target.stages and fault.only in {"", target.name} and _applies(target, stage, fault):
                    ways = ("direct", "polling") if target.polled else ("direct",)
                    yield from (Cell(target, stage, fault, way) for way in ways)


def _applies(target: Target, stage: str, fault: Fault) -> bool:
    if fault.special == "filtered":
        return target.filtered is not None and target.filtered[0] == stage
    if fault.special:
        return getattr(target, fault.special) is not None
    if fault.encoded or fault.image:
        return stage == ("submit" if target.answer else "fetch") and (fault.image is not None or bool(target.answer))
    # The requests for the job's state are small: a large answer to them is no other case.
    return not (fault.name == "empty image list" and target.polled)


def run(cell: Cell) -> Seen:
    fault, case = cell.fault, cell.target.case
    assert case.serve  # noqa: S101 -- every target is a service
    assert case.credentials  # noqa: S101
    with ExitStack() as stack:
        fake: Any = stack.enter_context(case.serve())
        other = stack.enter_context(scripted_server())
        parts = urlsplit(fake.url)
        proxy = stack.enter_context(
            running(
                FaultyProxy(
                    upstream=f"http://{parts.netloc}",
                    stages=cell.target.stages,
                    stage=cell.stage,
                    act=_act(cell, other),
                    times=fault.times,
                    carried_out=fault.carried_out,
                    late=None if fault.late is None else fault.late / SPEED,
                    onwards=fault.onwards,
                    fake=fake,
                ),
                SELF_SIGNED if fault.address == "self-signed" else None,
            )
        )
        origin = _origin(fault, proxy, stack)
        if fault.socket:  # without the proxy, which passes on no WebSocket
            fake.sockets, origin = fault.socket, f"http://{parts.netloc}"
        cache.clear_all(origin)  # a port may have been another server's
        clock = FastClock()
        began, held = clock.now(), list[float]()
        outcome, sentence = _asked(case.model, case.credentials(origin + parts.path), cell.way, clock, held)
        return Seen(
            outcome,
            sentence,
            seconds=clock.now() - began,
            requests=len(fake.requests) if fault.socket else proxy.count(),
            submitted=fake.count("POST /prompt") if fault.socket else proxy.count("submit"),
            leaked=any("authorization" in seen.headers for seen in other.seen),
            held=median(held or [0.0]),
        )


def _origin(fault: Fault, proxy: FaultyProxy, stack: ExitStack) -> str:
    match fault.address:
        case "refused":
            return f"http://127.0.0.1:{free_port()}"
        case "dns":
            return "http://painter.invalid:8188"
        case "tls":
            return proxy.url.replace("http://", "https://")
        case "full":
            return stack.enter_context(full_backlog())
        case _:
            return proxy.url


def _act(cell: Cell, other: Script) -> Act | None:
    fault, target = cell.fault, cell.target
    if fault.address == "redirect":
        return say(307, Location=f"{other.url}/elsewhere")
    if fault.special == "filtered" and target.filtered:
        _, status, body = target.filtered
        return say(status, json.dumps(body))
    if fault.special:
        answer = getattr(target, fault.special)

        def about_the_job(handler: BaseHTTPRequestHandler) -> None:
            say(200, json.dumps(answer(handler.path)))(handler)

        return about_the_job
    if fault.act:
        return fault.act()
    if not (fault.image or fault.encoded):
        return None
    data = fault.image() if fault.image else b""
    if not target.answer:
        return say(200, data, Content_Type="image/png")
    return say(200, json.dumps(target.answer(fault.encoded() if fault.encoded else base64.b64encode(data).decode())))


def _asked(
    model: str, credentials: Mapping[str, str], way: str, clock: FastClock, held: list[float]
) -> tuple[str, str]:
    """The outcome of a request and what is told, as the host asks for it; `held` gets the seconds of each check."""
    question = Asked(Conversation("a red fox in the snow"), {"timeout": TIMEOUT})

    def call() -> Call:
        return Call.of(model, credentials, None, clock)

    try:
        if way == "direct":
            return "image", " ".join(call().generate(question).result.notices)
        outcome = call().start(question)
        while isinstance(outcome, Waiting):
            clock.sleep(outcome.next_check)
            began = clock.now()
            outcome = call().check(json.loads(json.dumps(outcome.state)))
            held += [clock.now() - began] * isinstance(outcome, Waiting)
        return "image", " ".join(outcome.result.notices)
    except ImageError as error:
        return error.host.__name__.removeprefix("Invoke").removesuffix("Error"), str(error)
    except Exception as error:  # noqa: BLE001 -- a cell that is wrong in the worst way
        return "untyped", repr(error)


def outcomes(chosen: Iterable[Cell]) -> Iterator[tuple[Cell, Seen]]:
    """Run cells beside each other, in order; those without a fault go first, because they load what the others need."""
    chosen = list(chosen)
    healthy = [cell for cell in chosen if cell.fault.name == "none"]
    faulty = [cell for cell in chosen if cell.fault.name != "none"]
    alone = BoundedSemaphore(1)

    def work(cell: Cell) -> tuple[Cell, Seen]:
        if not cell.fault.alone:
            return cell, run(cell)
        with alone:
            return cell, run(cell)

    with fast_network():
        yield from map(work, healthy)
        yield from Pool(AT_ONCE).imap(work, faulty)


_SHORT = {"Connection": "conn", "ServerUnavailable": "server", "BadRequest": "bad", "Authorization": "auth",
          "RateLimit": "limit", "image": "image"}  # fmt: skip


def table(seen: Sequence[tuple[Cell, Seen]]) -> Iterator[str]:
    """The matrix in Markdown: class, seconds, requests/jobs; `!` marks a wrong cell."""
    columns = list(dict.fromkeys(_column(cell) for cell, _ in seen))
    found = {(cell.fault.name, _column(cell)): (cell, one) for cell, one in seen}
    yield f"| fault | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in dict.fromkeys(fault.name for fault in FAULTS):
        row = [found.get((name, column)) for column in columns]
        if any(row):
            yield f"| {name} | {' | '.join(_words(*one) if one else '' for one in row)} |"


def _column(cell: Cell) -> str:
    way = f" {cell.way}" if cell.target.polled else ""
    return f"{cell.target.name} {cell.stage}{way}" if "fetch" in cell.target.stages else cell.target.name


def _words(cell: Cell, seen: Seen) -> str:
    wrong = "!" if any(seen.wrongs(cell)) else ""
    outcome = _SHORT.get(seen.outcome, seen.outcome)
    return f"{wrong}{outcome} {seen.seconds:.0f}s {seen.requests}/{seen.submitted}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression for `service stage way fault`")
    parser.add_argument("--sentences", action="store_true", help="print what is told in each cell")
    options = parser.parse_args()
    logging.disable(logging.INFO)  # the receipts of the requests
    began = time.monotonic()
    seen = []
    for cell, one in outcomes(cell for cell in cells() if re.search(options.only, cell.name)):
        seen.append((cell, one))
        if options.sentences:
            print(f"{cell.name}: {one.outcome} {one.seconds:.1f} s: {one.sentence}", flush=True)
    print("\n".join(table(seen)))
    wrong = [(cell, one, list(one.wrongs(cell))) for cell, one in seen if any(one.wrongs(cell))]
    for cell, one, why in wrong:
        print(f"WRONG {cell.name}: {'; '.join(why)}: {one.sentence}")
    print(f"{len(seen)} cells, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
