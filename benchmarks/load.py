"""Two tenants with 200 jobs in flight in one plugin process. Ends non-zero when anything is mixed up or a bound is passed.

`uv run python -m benchmarks.load [--jobs 200] [--hold 60] [--pace 0.5]`

The tenants share an AUTOMATIC1111 WebUI, a ComfyUI and Model Studio, with keys and checkpoints of their own. The services hold
all jobs until every job is there, then each finishes one in `--pace` seconds (0: all at once). Each image says in its pixels which checkpoint, seed and prompt
it was made of; the fakes note which key asked for which prompt.
"""

import dify_plugin  # isort: skip  # noqa: F401 -- it patches the sockets that everything else uses

import argparse
import base64
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol, Self, override
from urllib.parse import urlsplit

import psutil
from pydantic import JsonValue

from sandbox.errors import HostError
from sandbox.host import Host
from sandbox.protocol import user
from tests.servers.automatic1111 import FakeWebUI, read_image
from tests.servers.comfyui import ComfyUIServer
from tests.servers.named_images import named_image
from tests.servers.qwen_image import FakeModelStudio, Received, Refusal
from tools.package import ROOT, packed_files

TENANTS = ("north", "south")
KEYS = {tenant: f"sk-key-of-{tenant}-5d1f" for tenant in TENANTS}
SIDE = 1024
STEPS = 2
MOST_MIB = 256
LONGEST_HOLD = 0.2
"""Seconds for which nothing may hold up the greenlets of the process."""
MOST_UNFAIR = 0.15
"""Of the time for all jobs: by so much one tenant may wait longer for half of its own."""
SOCKETS_PER_JOB = 2
"""To one server: the job's request or its WebSocket, and a question about its state."""
_LEFT = 8  # sockets to a server beyond that: lists of names, one probe


class Service(Protocol):
    """A fake that both tenants use."""

    name: str

    @property
    def url(self) -> str: ...
    def form(self, tenant: str) -> Mapping[str, JsonValue]: ...
    def model(self, tenant: str) -> tuple[str, str, Mapping[str, JsonValue]]:
        """The model to ask for, the checkpoint that its images must name, the parameters that choose it."""
        ...

    def asked_by(self, prompt: str) -> list[str | None]:
        """The Authorization headers that the jobs with this prompt came with."""
        ...

    def release(self) -> None:
        """Begin to work."""
        ...


class WebUI(FakeWebUI):
    name = "automatic1111"

    def __init__(self, pace: float) -> None:
        super().__init__(auth=("tenant", "any"), draw=named_image, step_seconds=pace / STEPS)
        self.headers: list[tuple[str, str | None]] = []
        self.released = threading.Event()

    @override
    def answer(self, method: str, path: str, body: Any, authorization: str | None) -> Any:
        if path == "/sdapi/v1/txt2img" and method == "POST":
            self.headers.append((body["prompt"], authorization))
        return super().answer(method, path, body, authorization)

    @override
    def _check_login(self, authorization: str | None) -> None:
        if authorization not in {_basic(tenant) for tenant in TENANTS}:
            super()._check_login(authorization)

    @override
    def _begin(self, task: str) -> None:
        self.released.wait()
        super()._begin(task)

    def form(self, tenant: str) -> Mapping[str, JsonValue]:
        return {
            "automatic1111_base_url": self.url,
            "automatic1111_username": tenant,
            "automatic1111_password": KEYS[tenant],
        }

    def model(self, tenant: str) -> tuple[str, str, Mapping[str, JsonValue]]:
        checkpoint = dict(zip(TENANTS, self.checkpoints, strict=True))[tenant]
        return "automatic1111", checkpoint, {"checkpoint": checkpoint, "steps": STEPS}

    def asked_by(self, prompt: str) -> list[str | None]:
        return [header for asked, header in self.headers if asked == prompt]

    def release(self) -> None:
        self.released.set()


class ComfyUI(ComfyUIServer):
    name = "comfyui"

    def __init__(self, pace: float) -> None:
        super().__init__(login=_bearer("north"), logins=(_bearer("south"),))
        self.install_models()
        loader = self.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]
        loader["ckpt_name"] = [[f"{tenant}.safetensors" for tenant in TENANTS], {}]
        self.engine.draw = lambda width, height, task: named_image(width, height, *_made_of(task.graph))
        execute = self.engine._execute  # noqa: SLF001

        def execute_slowly(*job: Any) -> Any:
            time.sleep(pace)
            return execute(*job)

        self.engine._execute = execute_slowly  # type: ignore[method-assign, assignment, unused-ignore]  # noqa: SLF001

    @override
    def start(self) -> None:
        super().start()
        self.engine.stop()  # the jobs wait in the queue until `release`

    def form(self, tenant: str) -> Mapping[str, JsonValue]:
        return {"comfyui_base_url": self.url, "comfyui_api_key": KEYS[tenant]}

    def model(self, tenant: str) -> tuple[str, str, Mapping[str, JsonValue]]:
        checkpoint = f"{tenant}.safetensors"
        return "comfyui-sdxl", checkpoint, {"checkpoint": checkpoint, "steps": STEPS}

    def asked_by(self, prompt: str) -> list[str | None]:
        return [header for header, graph in self.submitted if _made_of(graph)[2] == prompt]

    def release(self) -> None:
        self.engine.start()


def _made_of(graph: Mapping[str, Any]) -> tuple[str, int, str]:
    """Checkpoint, seed and prompt of a graph in API format."""
    nodes = {node["class_type"]: node["inputs"] for node in graph.values()}
    sampler = nodes["KSampler"]
    text = graph[sampler["positive"][0]]["inputs"]["text"]
    return nodes["CheckpointLoaderSimple"]["ckpt_name"], sampler["seed"], text


class ModelStudio(FakeModelStudio):
    name = "qwen_image"

    def __init__(self, pace: float) -> None:
        super().__init__()
        self.pace = pace
        self.statuses = ["RUNNING"]
        self.headers: list[tuple[str, str | None]] = []
        self._submitting = threading.local()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @override
    def authorize(self, headers: Mapping[str, str]) -> None:
        if headers.get("authorization") not in {_bearer(tenant) for tenant in TENANTS}:
            raise Refusal(401, "InvalidApiKey", "key not accepted")

    @override
    def submit(self, received: Received, api: str) -> dict[str, object]:
        text = received.body["input"]["messages"][0]["content"][-1]["text"]
        self._submitting.made_of = (received.body["model"], received.body["parameters"]["seed"], text)
        self.headers.append((text, received.headers.get("authorization")))
        return super().submit(received, api)

    @override
    def _publish(self, size: tuple[int, int]) -> str:
        url = super()._publish((64, 64))
        self._images[urlsplit(url).path] = named_image(*size, *self._submitting.made_of)
        return url

    def form(self, tenant: str) -> Mapping[str, JsonValue]:
        return {"dashscope_base_url": self.url, "dashscope_api_key": KEYS[tenant]}

    def model(self, tenant: str) -> tuple[str, str, Mapping[str, JsonValue]]:
        model = "qwen-image-3.0" if tenant == "north" else "qwen-image-3.0-pro"
        return model, model, {"prompt_extend": False}

    def asked_by(self, prompt: str) -> list[str | None]:
        return [header for asked, header in self.headers if asked == prompt]

    def release(self) -> None:
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        finished: set[str] = set()
        while self._server is not None:
            for task in [task for task in self._tasks.values() if task.id not in finished][:1]:
                task.statuses = ["SUCCEEDED"]
                finished.add(task.id)
            time.sleep(self.pace or 0.001)


def _basic(tenant: str) -> str:
    return "Basic " + base64.b64encode(f"{tenant}:{KEYS[tenant]}".encode()).decode()


def _bearer(tenant: str) -> str:
    return f"Bearer {KEYS[tenant]}"


@dataclass(frozen=True)
class Order:
    service: Service
    tenant: str
    number: int

    @property
    def prompt(self) -> str:
        return f"a fox of {self.tenant}, number {self.number}"

    def findings(self, host: Host) -> Iterator[str]:
        """What is wrong with the answer, as words."""
        model, checkpoint, chosen = self.service.model(self.tenant)
        parameters = {"width": SIDE, "height": SIDE, "seed": self.number, "timeout": 590, **chosen}
        try:
            images = host.invoke(model, self.service.form(self.tenant), [user(self.prompt)], parameters).images
        except HostError as error:
            yield f"{type(error).__name__}: {str(error)[:300]}"
            return
        made_of = [read_image(image.data) for image in images]
        if made_of != [(checkpoint, self.number, self.prompt)]:
            yield f"the answer was made of {made_of}"
        asked = self.service.asked_by(self.prompt)
        if len(asked) != 1 or asked[0] not in {_basic(self.tenant), _bearer(self.tenant)}:
            yield f"the service was asked by {asked}"


@dataclass(frozen=True)
class Beat:
    """A late heartbeat, in seconds: when, by how much, and what the greenlets used of it on a CPU."""

    when: float
    late: float
    used: float
    in_line: float


@dataclass
class Outcome:
    findings: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})
    """From the release of the jobs to each answer, by tenant."""
    in_flight: int = 0
    sockets: Counter[int] = field(default_factory=Counter)
    """The most sockets to a server, by its port."""
    threads: int = 0
    mib_waiting: float = 0.0
    """Resident memory while the jobs wait."""
    mib: float = 0.0
    """The most of it at any time."""
    beats: list["Beat"] = field(default_factory=list)
    first_beats: list["Beat"] = field(default_factory=list)
    """Those of the start of the process and of the first request to each service, which loads its modules."""

    @property
    def unfairness(self) -> float:
        """By how much longer one tenant waited for half of its answers, as a share of the time for all."""
        one, other = (median(seconds) for seconds in self.seconds.values())
        return abs(one - other) / max(map(max, self.seconds.values()))


@contextmanager
def beating_plugin() -> Iterator[tuple[Path, Path]]:
    """A copy of the plugin with a heartbeat, and the file of its delays."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "plugin"
        for path in packed_files(ROOT):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, root / path)
        (root / "main.py").rename(root / "real_main.py")
        shutil.copyfile(Path(__file__).with_name("beating_main.py"), root / "main.py")
        yield root, Path(folder) / "beats"


def load(jobs: int, hold: float, pace: float) -> Outcome:
    """`jobs` requests at a time, held by the services for `hold` seconds."""
    outcome = Outcome()
    with ExitStack() as stack:
        services: Sequence[Service] = [
            stack.enter_context(WebUI(pace).run()),  # type: ignore[list-item] # `run` is typed as its parent class
            stack.enter_context(ComfyUI(pace)),
            stack.enter_context(ModelStudio(pace)),
        ]
        plugin, beats = stack.enter_context(beating_plugin())
        host = stack.enter_context(Host(plugin_dir=plugin, environment={"BEATS": str(beats)}))
        for service in services:  # Dify asks for this when a node is opened
            host.model_schema(service.model(TENANTS[0])[0], service.form(TENANTS[0]))
        warm = _warm(host)
        orders = [Order(services[n // 2 % 3], TENANTS[n % 2], n) for n in range(jobs)]
        _work_off(orders, services, host, hold, outcome)
        every = [Beat(*map(float, line.split())) for line in beats.read_text().splitlines()]
        outcome.first_beats = [beat for beat in every if beat.when <= warm]
        outcome.beats = [beat for beat in every if beat.when > warm]
        status = Path(f"/proc/{host.process(0).pid}/status").read_text("utf-8")
        outcome.mib = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return outcome


def _warm(host: Host) -> float:
    """The monotonic clock after a request that every part of the plugin has served."""
    host.invoke("preview", {}, [user("a fox")], {"width": 256, "height": 256})
    return time.monotonic()


def _work_off(orders: Sequence[Order], services: Sequence[Service], host: Host, hold: float, outcome: Outcome) -> None:
    released: list[float] = []

    def ask(order: Order) -> None:
        outcome.findings += [f"{order.service.name}, {order.prompt}: {what}" for what in order.findings(host)]
        outcome.seconds[order.tenant].append(time.monotonic() - (released or [time.monotonic()])[0])

    process, ports = psutil.Process(host.process(0).pid), {urlsplit(service.url).port for service in services}
    threads = [threading.Thread(target=ask, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    end = time.monotonic() + hold
    while any(thread.is_alive() for thread in threads):
        open_now = Counter(one.raddr.port for one in process.net_connections() if one.raddr and one.raddr.port in ports)
        outcome.sockets |= open_now
        outcome.threads = max(outcome.threads, process.num_threads())
        if not released and time.monotonic() > end:
            outcome.in_flight = sum(thread.is_alive() for thread in threads)
            outcome.mib_waiting = process.memory_info().rss / 2**20
            released.append(time.monotonic())
            for service in services:
                service.release()
        time.sleep(0.25)


def wrong(outcome: Outcome, jobs: int) -> list[str]:
    """Every promise that was not kept."""
    most = jobs // 3 * SOCKETS_PER_JOB + _LEFT
    held = _longest(outcome.beats, "used")
    return [
        *outcome.findings,
        *([f"only {outcome.in_flight} jobs were in flight"] if outcome.in_flight < jobs else []),
        *([f"{max(outcome.sockets.values())} sockets to a server"] if max(outcome.sockets.values()) > most else []),
        *([f"{outcome.mib:.0f} MiB"] if outcome.mib >= MOST_MIB else []),
        *([f"every greenlet was held up for {held:.2f} s"] if held > LONGEST_HOLD else []),
        *([f"one tenant waited longer: {outcome.seconds}"] if outcome.unfairness > MOST_UNFAIR else []),
    ]


def _longest(beats: Sequence[Beat], what: str) -> float:
    return max((getattr(beat, what) for beat in beats), default=0.0)


def report(outcome: Outcome, jobs: int) -> None:
    rows = {
        "jobs, in flight at the same time": f"{jobs}, {outcome.in_flight}",
        "wrong image, checkpoint or key, failed": len(outcome.findings),
        "most sockets to one server": max(outcome.sockets.values()),
        "threads of the process": outcome.threads,
        "resident memory, all jobs waiting": f"{outcome.mib_waiting:.0f} MiB",
        "most resident memory": f"{outcome.mib:.0f} MiB",
        "seconds to half of the answers, by tenant": " and ".join(f"{median(s):.1f}" for s in outcome.seconds.values()),
        "heartbeat, longest delay": f"{_longest(outcome.beats, 'late'):.3f} s",
        "CPU time of the greenlets between two beats, most": f"{_longest(outcome.beats, 'used'):.3f} s",
        "delays over 0.2 s, those with more CPU time than that": (
            f"{sum(beat.late > LONGEST_HOLD for beat in outcome.beats)}, "
            f"{sum(beat.used > LONGEST_HOLD for beat in outcome.beats)}"
        ),
        "before the load (start, first form of each service), the same CPU time": (
            f"{_longest(outcome.first_beats, 'used'):.3f} s"
        ),
    }
    print("| what | value |\n| --- | --- |")
    for what, value in rows.items():
        print(f"| {what} | {value} |")


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--jobs", type=int, default=200)
    options.add_argument("--hold", type=float, default=60, help="seconds until the services begin to work")
    options.add_argument("--pace", type=float, default=0.5, help="seconds in which a service makes one image")
    given = options.parse_args()
    outcome = load(given.jobs, given.hold, given.pace)
    report(outcome, given.jobs)
    found = wrong(outcome, given.jobs)
    for what in found:
        print(f"WRONG: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
