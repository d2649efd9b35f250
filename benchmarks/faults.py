"""The fault matrix: every backend against every fault, on real sockets. Ends non-zero when a cell is wrong.

`uv run python -m benchmarks.faults [--only TEXT] [--sentences] [--markdown FILE] [--processes N]`

`fault_cells.py` holds the cells. They run beside each other, in one process for each core; the plugin's clock and all limits
of its way to HTTP run SPEED times as fast as the wall's. So a machine that is busy with other cells takes part in what is
measured: a wrong cell is run once more at the end, when nothing runs beside it, and that counts.
"""

import dify_plugin  # isort: skip  # noqa: F401 -- it patches the sockets that everything else uses

import argparse
import base64
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
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

AT_ONCE = 12
"""Cells in one process: they mostly wait."""
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
    """The matrix in Markdown: for each fault and service the classes and after how many seconds they were told, over all
    stages of the job and both ways to wait; `!` marks a wrong cell."""
    services = list(dict.fromkeys(cell.target.name for cell, _ in seen))
    yield f"| fault | {' | '.join(services)} |"
    yield "|---" * (len(services) + 1) + "|"
    for fault in dict.fromkeys(fault.name for fault in FAULTS):
        row = [[one for one in seen if one[0].fault.name == fault and one[0].target.name == name] for name in services]
        if any(row):
            yield f"| {fault} | {' | '.join(map(_summary, row))} |"


def _summary(some: Sequence[tuple[Cell, Seen]]) -> str:
    by_class: dict[str, list[float]] = {}
    for cell, one in some:
        mark = "!" if any(one.wrongs(cell)) else ""
        by_class.setdefault(mark + _SHORT.get(one.outcome, one.outcome), []).append(one.seconds)
    return ", ".join(f"{name} {_span(seconds)} s" for name, seconds in by_class.items())


def _span(seconds: Sequence[float]) -> str:
    low, high = f"{min(seconds):.0f}", f"{max(seconds):.0f}"
    return low if low == high else f"{low}–{high}"


def _in_processes(chosen: Sequence[Cell], count: int) -> Mapping[str, Seen]:
    """What came of each cell, by name; `count` processes of this program share them."""
    parts = [[cell.name for cell in chosen[part::count]] for part in range(count)]
    texts = Pool(count).map(_worked, filter(None, parts))
    seen = {name: Seen(**one) for text in texts for name, one in map(json.loads, text.splitlines())}
    if missing := {cell.name for cell in chosen} - seen.keys():
        raise RuntimeError(f"a process ended before its work, without {sorted(missing)[:5]}")
    return seen


def _worked(names: Sequence[str]) -> str:
    command = [sys.executable, "-m", "benchmarks.faults", "--worker"]
    ended = subprocess.run(command, input="\n".join(names), stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    return ended.stdout


def _work() -> None:
    """One of these processes: the names of cells come in, a line of JSON goes out for each."""
    names = set(sys.stdin.read().splitlines())
    for cell, one in outcomes(cell for cell in cells() if cell.name in names):
        print(json.dumps([cell.name, asdict(one)]), flush=True)


def repeated(seen: Iterable[tuple[Cell, Seen]]) -> list[tuple[Cell, Seen]]:
    """The same with each wrong cell run again, alone: those beside it on a busy machine can make it late."""
    with fast_network():
        return [(cell, run(cell) if any(one.wrongs(cell)) else one) for cell, one in seen]


def measured(chosen: Sequence[Cell], processes: int) -> tuple[list[tuple[Cell, Seen]], int]:
    """What came of each cell, and how many were right only when they ran alone."""
    first = _in_processes(chosen, processes)
    seen = repeated((cell, first[cell.name]) for cell in chosen)
    mended = sum(any(first[cell.name].wrongs(cell)) and not any(one.wrongs(cell)) for cell, one in seen)
    return seen, mended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression for `service stage way fault`")
    parser.add_argument("--sentences", action="store_true", help="print what is told in each cell")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.INFO)  # the receipts of the requests
    if options.worker:
        _work()
        return
    began = time.monotonic()
    chosen = [cell for cell in cells() if re.search(options.only, cell.name)]
    seen, mended = measured(chosen, options.processes)
    if options.sentences:
        for cell, one in seen:
            print(f"{cell.name}: {one.outcome} {one.seconds:.1f} s: {one.sentence}")
    lines = "\n".join(table(seen))
    if options.markdown:
        options.markdown.write_text(f"{lines}\n", "utf-8")
    print(lines)
    wrong = [(cell, one, list(one.wrongs(cell))) for cell, one in seen if any(one.wrongs(cell))]
    for cell, one, why in wrong:
        print(f"WRONG {cell.name}: {'; '.join(why)}: {one.sentence}")
    took = time.monotonic() - began
    print(f"{len(seen)} cells, {len(wrong)} wrong, {mended} right only alone, {took:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
