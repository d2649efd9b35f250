"""Three fake ComfyUI workers behind a real HAProxy with `docs/haproxy.cfg`: a job stays at its worker.

`apt-get install haproxy` brings the binary; without it these tests are skipped.
"""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import gevent
import pytest
import requests

from models.backends.base import Job, Running
from models.backends.comfyui import ComfyUI
from models.backends.comfyui.state import JobState
from models.clock import Deadline
from models.entities import ImageResult, InputImage
from tests.backends.comfyui.jobs import Graph, backend_for, invoked, slow, submitted
from tests.conftest import ROOT
from tests.fakes import image_file
from tests.servers.comfyui import ComfyUIServer, wait_until

BINARY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
CONFIG = ROOT / "docs" / "haproxy.cfg"

pytestmark = pytest.mark.skipif(not BINARY, reason="haproxy is not installed")


@dataclass
class Farm:
    url: str
    workers: list[ComfyUIServer]

    @property
    def submissions(self) -> list[int]:
        return [worker.count("POST /prompt") for worker in self.workers]

    def worker_of(self, job: Job) -> ComfyUIServer:
        """The worker that the job's cookie names."""
        return self.workers[int(JobState.load(job).cookies["WORKER"].removeprefix("gpu")) - 1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def written_config(folder: Path, port: int, workers: list[ComfyUIServer]) -> Path:
    """The documented file with the addresses of this machine, and without the two seconds between health checks."""
    text = CONFIG.read_text("utf-8").replace("bind *:8188", f"bind 127.0.0.1:{port}")
    text = text.replace("inter 2s", "inter 100ms")
    for number, worker in enumerate(workers, start=1):
        text, count = re.subn(rf"server gpu{number} \S+", f"server gpu{number} 127.0.0.1:{worker.port}", text)
        assert count == 1
    path = folder / "haproxy.cfg"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with ExitStack() as stack:
        workers = [stack.enter_context(ComfyUIServer()) for _ in range(3)]
        port = free_port()
        assert BINARY
        process = subprocess.Popen([BINARY, "-db", "-f", str(written_config(tmp_path, port, workers))])  # noqa: S603
        try:
            farm = Farm(f"http://127.0.0.1:{port}", workers)
            wait_until(lambda: _answers(farm.url))
            yield farm
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/system_stats", timeout=1).ok
    except requests.RequestException:
        return False


def finished(backend: ComfyUI, job: Job) -> Running | ImageResult:
    return backend.watch(job, Deadline.after(backend.clock, 20), started=backend.clock.now())


def with_input() -> Graph:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    return graph


def test_every_request_of_a_job_reaches_the_worker_that_has_it(farm: Farm) -> None:
    photo = InputImage(image_file(), "image/png")

    def one(seed: int) -> ImageResult:
        return invoked(backend_for(farm.url, with_input()), seed=seed, images=(photo,))

    results = [job.get() for job in [gevent.spawn(one, seed) for seed in range(12)]]
    assert [len(result.images) for result in results] == [1] * 12
    assert sum(farm.submissions) == 12, "no job was looked for at another worker and submitted again"
    assert all(farm.submissions), "every worker had some"


def test_a_polled_job_is_found_by_another_process(farm: Farm) -> None:
    jobs = [submitted(backend_for(farm.url, slow())) for _ in range(4)]
    for job in jobs:
        worker = farm.worker_of(job)
        assert worker.count("POST /prompt")
        other_process = backend_for(farm.url, slow())
        assert isinstance(finished(other_process, job), ImageResult)
    assert sum(farm.submissions) == 4


def test_cancelling_reaches_the_worker_that_has_the_job(farm: Farm) -> None:
    for worker in farm.workers:
        worker.engine.gate.clear()
    job = submitted(backend_for(farm.url, slow()))
    worker = farm.worker_of(job)
    wait_until(lambda: worker.engine.running)
    backend_for(farm.url, slow()).cancel(job)
    wait_until(lambda: not worker.engine.running)


def test_a_job_whose_worker_is_killed_runs_once_on_another_one(farm: Farm) -> None:
    for worker in farm.workers:
        worker.engine.gate.clear()
    backend = backend_for(farm.url, slow())
    running = gevent.spawn(invoked, backend)
    wait_until(lambda: any(worker.engine.running for worker in farm.workers))
    (killed,) = [worker for worker in farm.workers if worker.engine.running]
    killed.stop()
    others = [worker for worker in farm.workers if worker is not killed]
    for worker in others:
        worker.engine.gate.set()
    result = running.get(timeout=30)
    assert len(result.images) == 1
    assert [notice for notice in result.notices if "was submitted again" in notice]
    assert sum(len(worker.engine.executed) for worker in others) == 1
    assert killed.engine.executed == []
    killed.start()
