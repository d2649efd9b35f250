"""Overhead of the plugin: time per 1 MB image, start-up time, memory, package size.

`uv run python -m benchmarks.overhead [--runs 50] [--starts 9] [--jobs 200]`

Times are compared with `bare_plugin`: the same HTTP call with the bare SDK, which passes the bytes on without checks.
Direct call, bare plugin and this plugin alternate in one run, so that changes in machine speed affect all of them.
"""

import dify_plugin  # noqa: F401 -- it patches the sockets before anything else imports them

# isort: split

import argparse
import base64
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil
import requests

from sandbox.host import Host
from tests.fakes import MARKER_KEY
from tools.package import ROOT, packed_files, write_package

BARE = Path(__file__).parent / "bare_plugin"
MODEL = "sd3.5-medium"
MESSAGES = [{"role": "user", "content": "a red fox in the snow"}]
_HEADERS = {
    "Authorization": f"Bearer {MARKER_KEY}",
    "Accept": "application/json",
    "stability-client-id": "benchmark",
    "stability-client-version": "1",
}
_FORM = {
    "prompt": "a red fox in the snow",
    "model": MODEL,
    "mode": "text-to-image",
    "aspect_ratio": "1:1",
    "output_format": "png",
}


@contextmanager
def fake_stability() -> Iterator[tuple[str, int]]:
    """The address of a fake server in another process, and the size of its image in bytes."""
    command = [sys.executable, "-m", "benchmarks.stability_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        assert server.stdout  # noqa: S101 -- it was asked for as a pipe
        try:
            url, size = server.stdout.readline().split()
            yield url, int(size)
        finally:
            server.kill()


def direct(url: str, session: requests.Session) -> bytes:
    """The same image by a single HTTP call."""
    reply = session.post(
        f"{url}/v2beta/stable-image/generate/sd3",
        headers=_HEADERS,
        files={name: (None, value) for name, value in _FORM.items()},
        timeout=60,
    )
    reply.raise_for_status()
    return base64.b64decode(reply.json()["image"])


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1000


def overhead(runs: int) -> list[tuple[str, str]]:
    """Milliseconds per image, and the overhead of each plugin over the direct call before it."""
    with (
        fake_stability() as (url, size),
        Host(plugin_dir=BARE) as bare,
        Host(plugin_dir=ROOT) as ours,
        requests.Session() as session,
    ):
        credentials = {"stability_api_key": MARKER_KEY, "stability_base_url": url}
        ways: list[Callable[[], object]] = [
            lambda: direct(url, session),
            lambda: bare.invoke(MODEL, credentials, MESSAGES, {}),
            lambda: ours.invoke(MODEL, credentials, MESSAGES, {}),
        ]
        for way in ways * _WARM_UP:
            way()
        processes = [psutil.Process(host.process(0).pid) for host in (bare, ours)]
        before = [_cpu_time(process) for process in processes]
        rounds = [[timed(way) for way in ways] for _ in range(runs)]
        cpu = [(_cpu_time(process) - start) / runs for process, start in zip(processes, before, strict=True)]
    added_by_bare, added_by_ours = (median(row[way] - row[0] for row in rounds) for way in (1, 2))
    return [
        (f"direct call, {size / 1e6:.2f} MB image, median of {runs}", f"{median(row[0] for row in rounds):.1f} ms"),
        ("overhead of the bare plugin over stdio, median of the pairs", f"{added_by_bare:.1f} ms"),
        ("overhead of this plugin", f"{added_by_ours:.1f} ms, {added_by_ours / added_by_bare:.2f} times"),
        ("CPU time of the bare plugin per image", f"{cpu[0]:.1f} ms"),
        ("CPU time of this plugin per image", f"{cpu[1]:.1f} ms, {cpu[1] / cpu[0]:.2f} times"),
    ]


def _cpu_time(process: psutil.Process) -> float:
    """CPU time in milliseconds; it depends less on other load than the wall clock."""
    times = process.cpu_times()
    return float(times.user + times.system) * 1000


_WARM_UP = 3


def start_times(runs: int) -> list[tuple[str, str]]:
    """Time from process start to the first heartbeat and to the first reply, which needs no service."""
    rounds = [(_start(BARE, MODEL), _start(ROOT, "preview")) for _ in range(runs)]
    rows = []
    for moment, what in enumerate(("first heartbeat", "first reply")):
        bare, ours = (median(row[plugin][moment] for row in rounds) for plugin in (0, 1))
        rows += [
            (f"start to {what} of the bare plugin, median of {runs}", f"{bare:.0f} ms"),
            (f"start to {what} of this plugin", f"{ours:.0f} ms, {ours / bare:.2f} times"),
        ]
    return rows


def _start(plugin: Path, model: str) -> tuple[float, float]:
    """Milliseconds to the first heartbeat and to the first reply."""
    before = time.perf_counter()
    with Host(plugin_dir=plugin) as host:
        ready = time.perf_counter()
        host.num_tokens(model, {}, MESSAGES)
        return (ready - before) * 1000, (time.perf_counter() - before) * 1000


def memory(jobs: int) -> list[tuple[str, str]]:
    """Resident memory of the process, idle and with `jobs` waiting preview jobs of 1 MP, one call each."""
    with Host(plugin_dir=ROOT) as host:
        process = psutil.Process(host.process(0).pid)
        idle = process.memory_info().rss
        parameters = {"simulate_seconds": 60, "width": 1024, "height": 1024}
        states: list[object] = []
        threads = [
            threading.Thread(
                target=lambda: states.append(host.start_polling("preview", {}, MESSAGES, parameters).status)
            )
            for _ in range(jobs)
        ]
        for thread in threads:
            thread.start()
        time.sleep(15)
        waiting, os_threads = process.memory_info().rss, process.num_threads()
        for thread in threads:
            thread.join()
        running = sum(status == "running" for status in states)
    return [
        ("resident memory, idle", f"{idle / 2**20:.0f} MiB"),
        (f"resident memory, {jobs} jobs waiting ({running} answered `running`)", f"{waiting / 2**20:.0f} MiB"),
        ("threads of the process with waiting jobs", str(os_threads)),
    ]


def package() -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        packed = write_package(ROOT, Path(folder) / "plugin.difypkg")
    unpacked = sum((ROOT / path).stat().st_size for path in packed_files(ROOT))
    return [("package", f"{packed / 2**20:.2f} MiB"), ("package, unpacked", f"{unpacked / 2**20:.2f} MiB")]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=int, default=50)
    options.add_argument("--starts", type=int, default=9)
    options.add_argument("--jobs", type=int, default=200)
    asked = options.parse_args()
    print("| what | value |\n| --- | --- |")
    show(overhead(asked.runs))
    show(start_times(asked.starts))
    show(memory(asked.jobs))
    show(package())


def show(rows: list[tuple[str, str]]) -> None:
    for name, value in rows:
        print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()
