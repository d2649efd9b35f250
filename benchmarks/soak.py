"""Mixed traffic with faults while a plugin process is killed again and again. Ends non-zero when a promise is broken.

`uv run python -m benchmarks.soak [--minutes 30] [--clients 12] [--pause 8]`

The plugin runs in two processes that share the calls: the first is killed every two minutes, the second runs from the
beginning to the end, and its memory, threads and sockets are recorded. 5 % of the HTTP requests to each fake service
fail. Each request has its own number in its prompt; a proxy counts how often its service accepted that number.
"""

import dify_plugin  # isort: skip  # noqa: F401 -- it patches the sockets that everything else uses

import argparse
import io
import json
import logging
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from statistics import median
from typing import Any

import psutil
from PIL import Image as PillowImage
from pydantic import JsonValue

from benchmarks.fault_targets import TARGETS, Target
from sandbox.errors import CallTimeoutError, PluginDiedError, PluginError, PluginStartError
from sandbox.host import Host, PollingReply
from sandbox.process import Limits
from sandbox.protocol import Image, user
from tests.fakes import MARKER_KEY
from tests.servers import faulty, scripted
from tests.servers.faulty import FaultyProxy, running
from tests.servers.scripted import Act, say
from tools.package import ROOT

FAULTY = 0.05
"""The share of HTTP requests that fail."""
KILL_EVERY = 120.0
TIMEOUT = 45
"""The parameter `timeout` of every request, in seconds."""
HUNG = 150.0
"""Seconds after which a call counts as hung: `timeout`, and what a busy machine and a restart take."""
TYPED = re.compile(r"Invoke(Authorization|RateLimit|BadRequest|ServerUnavailable|Connection)Error")
_TAG = re.compile(rb"soak-\d+-\d+")

REFUSED: Sequence[Act] = (
    say(429, '{"error": "slow down"}', Retry_After="1"),
    say(503, "<html>busy</html>", Content_Type="text/html"),
    say(500, '{"error": "it broke"}'),
    say(502, "<html>Bad Gateway</html>", Content_Type="text/html"),
)
"""Faults of a request that did not run."""
LOST: Sequence[Act] = (
    faulty.reset,
    faulty.reset_inside_body,
    faulty.silent,
    scripted.hang_up,
    say(200, ""),
    say(200, "[1, 2]"),
)
"""Faults that may also hide a request that ran."""


@dataclass(kw_only=True)
class RandomFaults(FaultyProxy):
    """A proxy where 5 % of all requests fail; half of those whose answer is lost were carried out."""

    chance: random.Random = field(default_factory=lambda: random.Random(12))  # noqa: S311
    accepted: Counter[str] = field(default_factory=Counter)
    """How often the service accepted the request of a tag."""
    requests: int = 0
    faults: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        submits = self.stage_of(f"{handler.command} {handler.path}") == "submit"
        self.requests += 1
        act, runs = self._fault()
        if runs:
            status, told, content = self._passed_on(handler, body)
            if submits and status < 300:  # noqa: PLR2004
                self.accepted.update({found.decode() for found in _TAG.findall(body)})
        if act:
            self.faults += 1
            act(handler)
        else:
            faulty._send(handler, status, told, content)  # noqa: SLF001

    def _fault(self) -> tuple[Act | None, bool]:
        """What goes wrong, and whether the service gets the request."""
        if self.chance.random() >= FAULTY:
            return None, True
        if self.chance.random() < 0.5:  # noqa: PLR2004
            return self.chance.choice(REFUSED), False
        return self.chance.choice(LOST), self.chance.random() < 0.5  # noqa: PLR2004


@dataclass(frozen=True)
class Route:
    """A kind of request: a model with its form, and how Dify waits for it."""

    name: str
    model: str
    form: Mapping[str, JsonValue]
    parameters: Mapping[str, JsonValue]
    polled: bool


@dataclass(frozen=True)
class Ended:
    route: str
    outcome: str
    """`image`, the name of an error class, `died with the process`, or what must not be: `hung`, `broken: ...`."""
    seconds: float


@dataclass
class Soak:
    """The traffic of one run."""

    host: Host
    routes: Sequence[Route]
    pause: float
    ended: list[Ended] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def client(self, number: int) -> None:
        """One user: a request, a pause, the next request."""
        chance = random.Random(number)  # noqa: S311
        turn = 0
        while not self.over.wait(chance.expovariate(1 / self.pause)):
            turn += 1
            route, began = chance.choice(self.routes), time.monotonic()
            outcome = self._outcome(route, f"soak-{number}-{turn}")
            self.ended.append(Ended(route.name, outcome, time.monotonic() - began))

    def _outcome(self, route: Route, tag: str) -> str:
        try:
            return self._polled(route, tag) if route.polled else self._called(route, tag)
        except PluginError as error:
            return _told(error.error_type, error.message)
        except (PluginDiedError, PluginStartError) as error:
            return "died with the process" if "killed by the test" in str(error) else f"broken: {error}"
        except CallTimeoutError:
            return "hung"
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is a finding
            return f"broken: {error!r}"

    def _called(self, route: Route, tag: str) -> str:
        messages = [user(f"a fox, {tag}")]
        return _image(self.host.invoke(route.model, route.form, messages, route.parameters).images)

    def _polled(self, route: Route, tag: str) -> str:
        reply = self.host.start_polling(route.model, route.form, [user(f"a fox, {tag}")], route.parameters)
        end = time.monotonic() + HUNG
        while reply.status == "running":
            if MARKER_KEY in json.dumps(reply.plugin_state):
                return "broken: a key in the state"
            if time.monotonic() > end:
                return "hung"
            time.sleep(reply.next_check_after_seconds or 1)
            reply = self._checked(route, reply)
        return _image(reply.images) if reply.status == "succeeded" else _told("polling: FAILED", reply.error or "")

    def _checked(self, route: Route, before: PollingReply) -> PollingReply:
        """A check that dies with its process is made again: the job lives on in its state."""
        try:
            return self.host.check_polling(route.model, route.form, before.plugin_state or {})
        except (PluginDiedError, PluginStartError):
            return before


def _image(images: Sequence[Image]) -> str:
    if len(images) != 1:
        return f"broken: {len(images)} images"
    PillowImage.open(io.BytesIO(images[0].data)).load()
    return "image"


def _told(kind: str, message: str) -> str:
    if not (TYPED.fullmatch(kind) or kind == "polling: FAILED"):
        return f"broken: {kind}: {message[:200]}"
    if MARKER_KEY in message or "Traceback" in message or not message.strip():
        return f"broken: the message {message[:200]!r}"
    return kind


@dataclass(frozen=True)
class Sample:
    minute: float
    mib: float
    threads: int
    sockets: int
    files: int


def _sample(process: psutil.Process, began: float) -> Sample:
    return Sample(
        (time.monotonic() - began) / 60,
        process.memory_info().rss / 2**20,
        process.num_threads(),
        len(process.net_connections()),
        process.num_fds(),
    )


@contextmanager
def services(targets: Sequence[Target]) -> Iterator[dict[str, RandomFaults]]:
    """Every fake service with a proxy before it."""
    with ExitStack() as stack:
        proxies = {}
        for target in targets:
            assert target.case.serve  # noqa: S101
            fake = stack.enter_context(target.case.serve())
            _slow_down(fake)
            proxy = RandomFaults(upstream=fake.url, stages=target.stages, fake=fake)
            stack.enter_context(running(proxy))
            proxies[target.name] = proxy
        yield proxies


def _slow_down(fake: Any) -> None:
    """Make jobs last a moment, where the fake can, so that kills and faults meet them."""
    for name, value in {
        "statuses": ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"],
        "step_seconds": 0.02,
        "delay": 0.7,
        "balance": 1e9,
    }.items():
        if hasattr(fake, name):
            setattr(fake, name, value)


def _routes(targets: Sequence[Target], proxies: Mapping[str, RandomFaults]) -> list[Route]:
    routes = [
        Route("preview polling", "preview", {}, {"simulate_seconds": 3, "width": 512, "height": 512}, polled=True)
    ]
    for target in targets:
        case, proxy = target.case, proxies[target.name]
        assert case.credentials  # noqa: S101
        base = proxy.url + re.sub(r"^http://[^/]*", "", proxy.upstream)
        form: dict[str, JsonValue] = dict(case.credentials(base))
        if target.name == "comfyui":
            form["workflow"] = json.dumps(_sleeping(json.loads(str(form["workflow"]))))
        for polled in (False, True) if target.polled else (False,):
            name = f"{target.name} {'polling' if polled else 'direct'}"
            routes.append(Route(name, case.model, form, {"timeout": TIMEOUT}, polled=polled))
    return routes


def _sleeping(graph: dict[str, Any]) -> dict[str, Any]:
    """The workflow with two seconds of work before its image is saved."""
    graph["90"] = {"class_type": "DevSleep", "inputs": {"image": ["8", 0], "seconds": 2.0, "steps": 2, "seed": 0}}
    graph["9"]["inputs"]["images"] = ["90", 0]
    return graph


def soak(
    minutes: float, clients: int, pause: float, *, kill_every: float = KILL_EVERY
) -> tuple[Soak, dict[str, RandomFaults], list[Sample]]:
    """Run the traffic. Returns what ended, the proxies, and the samples of the process that was not killed."""
    targets = [target for target in TARGETS if target.case.serve]
    limits = Limits(call=HUNG)
    with services(targets) as proxies, Host(plugin_dir=ROOT, processes=2, limits=limits) as host:
        run = Soak(host, _routes(targets, proxies), pause)
        threads = [threading.Thread(target=run.client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        samples = _watched(host, minutes * 60, kill_every, lambda: len(run.ended))
        run.over.set()
        for thread in threads:
            thread.join(HUNG * 2)
            if thread.is_alive():
                run.ended.append(Ended("?", "hung", HUNG * 2))
    return run, proxies, samples


def _watched(host: Host, seconds: float, kill_every: float, count: Callable[[], int]) -> list[Sample]:
    began = time.monotonic()
    whole, samples, kill = psutil.Process(host.process(1).pid), [], began + kill_every
    while (now := time.monotonic()) < began + seconds:
        if now >= kill:
            kill += kill_every
            host.kill(0)
        samples.append(_sample(whole, began))
        if len(samples) % 12 == 0:
            print(f"# {samples[-1]}, {count()} requests ended", file=sys.stderr, flush=True)
        time.sleep(min(5.0, max(0.1, began + seconds - now)))
    if host.process(1).pid != whole.pid:
        msg = "the second process ended by itself"
        raise RuntimeError(msg)
    return samples


def report(run: Soak, proxies: Mapping[str, RandomFaults], samples: Sequence[Sample]) -> bool:
    """Print the figures; whether every promise was kept."""
    outcomes = Counter(ended.outcome for ended in run.ended)
    bad = {what: count for what, count in outcomes.items() if what == "hung" or what.startswith("broken")}
    twice = {tag: n for proxy in proxies.values() for tag, n in proxy.accepted.items() if n > 1}
    requests, faults = (sum(getattr(p, name) for p in proxies.values()) for name in ("requests", "faults"))
    print("| what | value |\n| --- | --- |")
    print(f"| requests ended | {len(run.ended)} |")
    for what, count in outcomes.most_common():
        print(f"| ended as {what} | {count} |")
    print(f"| plugin processes killed and started again | {run.host.restarts} |")
    print(f"| HTTP requests to the services, faults among them | {requests}, {faults} |")
    print(f"| requests that a service accepted twice | {len(twice)} |")
    print(f"| longest request | {max((e.seconds for e in run.ended), default=0):.0f} s |")
    for name in ("mib", "threads", "sockets", "files"):
        early, late = _ends([getattr(sample, name) for sample in samples])
        print(f"| {name} of the process that was not killed, second sixth and last sixth | {early:.0f}, {late:.0f} |")
    for wrong in (bad, twice):
        if wrong:
            print(f"WRONG: {wrong}")
    return not bad and not twice


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the second and of the last sixth; the first is the start with its caches."""
    sixth = max(1, len(values) // 6)
    return median(values[sixth : 2 * sixth] or values), median(values[-sixth:])


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--minutes", type=float, default=30)
    options.add_argument("--clients", type=int, default=12)
    options.add_argument("--pause", type=float, default=8, help="mean seconds between two requests of a client")
    options.add_argument("--kill-every", type=float, default=KILL_EVERY)
    given = options.parse_args()
    logging.disable(logging.CRITICAL)
    return 0 if report(*soak(given.minutes, given.clients, given.pause, kill_every=given.kill_every)) else 1


if __name__ == "__main__":
    sys.exit(main())
