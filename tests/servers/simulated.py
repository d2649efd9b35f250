"""Services on a simulated clock, without sockets: hours pass in a moment, and every run is the same.

The clock leaps to the next thing that is due once no greenlet can run. HTTP requests end in a function instead of a
socket; limits of the way to HTTP run on the same clock.
"""

import heapq
import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal, Self
from unittest.mock import patch

import gevent
import requests
from gevent.event import Event as Signal
from requests.adapters import HTTPAdapter

from models.backends import http, questions
from models.backends.automatic1111 import job
from models.backends.comfyui import events
from models.backends.comfyui.events import Event, EventSocket, NoSocketError
from models.backends.http import Service
from tests.fakes import image_file
from tests.servers.automatic1111 import FakeWebUI
from tests.servers.comfyui_engine import Engine

type Answer = tuple[int, bytes] | None
"""Status and body; None for silence."""

ORIGIN = "http://127.0.0.1:9"
_LATENCY = 0.03  # seconds for each request


class SimulatedClock:
    """A clock that leaps; `run` drives it."""

    def __init__(self) -> None:
        self.time = 1_790_000_000.0
        self._due: list[tuple[float, int, list[Callable[[], object]]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.wait(Signal(), seconds)

    def wait(self, signal: Signal, seconds: float) -> bool:
        """Whether the signal was given within that time."""
        timer = Signal()
        due = self.at(self.time + max(0.0, seconds), timer.set)
        gevent.wait([signal, timer], count=1)
        due.clear()
        return signal.is_set()

    def at(self, when: float, do: Callable[[], object]) -> list[Callable[[], object]]:
        """Do something later; emptying the list that is returned revokes it."""
        what = [do]
        heapq.heappush(self._due, (when, next(self._numbers), what))
        return what

    def run[T](self, work: Callable[[], T]) -> T:
        """The outcome of `work`."""
        working = gevent.spawn(_caught, work)
        while not working.ready():
            gevent.idle()
            if gevent.get_hub().threadpool.task_queue.unfinished_tasks:
                gevent.sleep(0.001)  # work on images takes no time on this clock
            elif self._due and not working.ready():
                self._leap()
        outcome = working.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _leap(self) -> None:
        when, _, what = heapq.heappop(self._due)
        if what:
            self.time = max(self.time, when)
            what[0]()

    @property
    def gevent(self) -> SimpleNamespace:
        """What the plugin uses of gevent, with limits on this clock."""
        clock = self

        class Timeout(BaseException):
            def __init__(self, seconds: float) -> None:
                self.seconds = seconds

            def __enter__(self) -> Self:
                target, loop = gevent.getcurrent(), gevent.get_hub().loop
                self.due = clock.at(clock.now() + self.seconds, lambda: loop.run_callback(target.throw, self))
                return self

            def __exit__(self, *_: object) -> None:
                self.due.clear()

        def with_timeout(seconds: float, work: Callable[[], object], *, timeout_value: None) -> object:
            over = Timeout(seconds)
            try:
                with over:
                    return work()
            except Timeout as passed:
                if passed is not over:
                    raise
                return timeout_value

        return SimpleNamespace(Timeout=Timeout, spawn=gevent.spawn, with_timeout=with_timeout)


def _caught[T](work: Callable[[], T]) -> T | BaseException:
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 -- raised by `run`
        return error


@contextmanager
def simulated(clock: SimulatedClock, answer: Callable[[requests.PreparedRequest], Answer]) -> Iterator[list[str]]:
    """Answer all HTTP requests with a function; the list holds their lines ("GET /queue")."""
    seen: list[str] = []

    def send(_: HTTPAdapter, request: requests.PreparedRequest, *, timeout: tuple[float, float], **__: Any) -> Any:
        seen.append(f"{request.method} {request.path_url.partition('?')[0]}")
        clock.sleep(_LATENCY)
        answered = answer(request)
        if answered is None:
            clock.sleep(timeout[1])
            raise requests.exceptions.ReadTimeout
        response = requests.Response()
        response.status_code, body = answered
        response.raw = io.BytesIO(body)
        return response

    ways = [patch.object(module, "gevent", clock.gevent) for module in (http, questions, events, job)]
    with patch.object(HTTPAdapter, "send", send):
        for way in ways:
            way.start()
        try:
            yield seen
        finally:
            for way in ways:
                way.stop()


def _json(body: object) -> Answer:
    return 200, json.dumps(body).encode()


@dataclass
class SimulatedService:
    """A service whose jobs take `seconds`; from `silent_from` on (seconds of the job) it accepts and never answers."""

    clock: SimulatedClock
    seconds: float
    silent_from: float = float("inf")
    began: float | None = None

    @property
    def age(self) -> float:
        """Of the job, in seconds."""
        return 0.0 if self.began is None else self.clock.now() - self.began

    @property
    def ended(self) -> bool:
        return self.began is not None and self.age >= self.seconds

    def __call__(self, request: requests.PreparedRequest) -> Answer:
        if self.age >= self.silent_from:
            return None
        return self.answer(str(request.method), request.path_url, request.body)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        raise NotImplementedError


@dataclass
class SimulatedModelStudio(SimulatedService):
    """Qwen-Image's tasks."""

    def answer(self, method: str, path: str, body: Any) -> Answer:
        if path.startswith("/results/"):
            return 200, image_file()
        if method == "POST" and not path.endswith("/cancel"):
            self.began = self.clock.now()
            return _json({"output": {"task_id": "t-1", "task_status": "PENDING"}})
        if not self.ended:
            return _json({"output": {"task_id": "t-1", "task_status": "RUNNING"}})
        image = {"image": f"{ORIGIN}/results/1.png"}
        choices = [{"message": {"role": "assistant", "content": [image]}}]
        return _json({"output": {"task_id": "t-1", "task_status": "SUCCEEDED", "choices": choices}})


type Sockets = Literal["open", "forbidden", "stuck", "silent", "mute", "dropping"]


@dataclass
class SimulatedComfyUI(SimulatedService):
    """ComfyUI and its WebSocket, which misbehaves as that of `tests.servers.comfyui`."""

    sockets: Sockets = "open"
    prompt_id: str = ""
    engine: Engine = field(default_factory=lambda: Engine((0, 10, 0), lambda *_: None))
    listening: list["SimulatedSocket"] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        match path.strip("/").split("/"):
            case ["prompt"]:
                self.prompt_id, self.began = json.loads(body)["prompt_id"], self.clock.now()
                self._tell()
                return _json({"prompt_id": self.prompt_id, "number": 1, "node_errors": {}})
            case ["history", _]:
                images = {"images": [{"filename": "1.png", "subfolder": "", "type": "output"}]}
                status = {"status_str": "success", "messages": [["execution_success", {}]]}
                return _json({self.prompt_id: {"outputs": {"9": images}, "status": status}} if self.ended else {})
            case ["queue"] if method == "GET":
                running = [] if self.ended else [[1, self.prompt_id, {}, {}, []]]
                return _json({"queue_running": running, "queue_pending": []})
            case ["object_info", name]:
                return _json({name: self.engine.object_info[name]})
            case [view] if view.startswith("view"):
                return 200, image_file()
            case _:
                return 404, b""

    def _tell(self) -> None:
        assert self.began is not None
        steps = [self.began + second for second in range(1, int(self.seconds))]
        for socket in self.listening:
            socket.later(self.began, Event(type="execution_start", prompt_id=self.prompt_id))
            for number, when in enumerate(steps, 1):
                socket.later(when, Event(type="progress", prompt_id=self.prompt_id, value=number, max=len(steps) + 1))
            socket.later(self.began + self.seconds, Event(type="executing", prompt_id=self.prompt_id))

    def open_socket(self, _: Service, __: str) -> EventSocket:
        self.clock.sleep(_LATENCY)
        if self.sockets == "forbidden":
            raise NoSocketError(forbidden=True)
        if self.sockets == "stuck":
            self.clock.sleep(events.OPEN_TIMEOUT)
            raise NoSocketError(forbidden=True)
        socket = SimulatedSocket(self.clock, drops=self.sockets == "dropping")
        if self.sockets != "silent":
            socket.later(self.clock.now(), Event(type="status"))
        if self.sockets in {"open", "dropping"}:
            self.listening.append(socket)
        return socket


class SimulatedSocket(EventSocket):
    """`drops`: the connection is lost with the first event of the job."""

    def __init__(self, clock: SimulatedClock, *, drops: bool) -> None:
        self.clock, self.drops = clock, drops
        self._events: list[Event] = []
        self._signal = Signal()

    def later(self, when: float, event: Event) -> None:
        self.clock.at(when, lambda: self._came(event))

    def _came(self, event: Event) -> None:
        self._events.append(event)
        self._signal.set()

    def next(self, seconds: float) -> Event | None:
        self._signal.clear()
        if not self._events and not self.clock.wait(self._signal, seconds):
            return None
        event = self._events.pop(0)
        if self.drops and event.prompt_id:
            raise NoSocketError
        return event

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class SimulatedWebUI(SimulatedService):
    """The WebUI: one long request, and questions about it beside it."""

    webui: FakeWebUI = field(default_factory=FakeWebUI)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        asked = json.loads(body) if body else None
        if path == "/sdapi/v1/txt2img":
            self.began = self.clock.now()
            self.clock.sleep(min(self.seconds, self.silent_from))
            if self.age >= self.silent_from:
                return None
        elif path == "/internal/progress":
            return _json({"active": not self.ended, "queued": False, "completed": self.ended, "progress": 0.5})
        return _json(self.webui.answer(method, path.partition("?")[0], asked, None))
