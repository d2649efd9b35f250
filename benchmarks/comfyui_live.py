"""The plugin with a real ComfyUI: what it adds to a warm image, checkpoints, jobs beside each other, a full GPU, a dead server.

`uv run python -m benchmarks.comfyui_live --server URL --checkpoint A --checkpoint B [--second URL] [--small URL] [--kill PID]`

`--second`: another server with the same checkpoints. `--small`: a server whose GPU memory is too small for four images of
4096 pixels. `--kill`: the process of the second server, killed in the middle of a job at the end. One plugin process.
"""

import argparse
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import requests

from sandbox import Host, InvokeReply, PluginError, user

MODEL = "comfyui-sdxl"
WARM = 8
BESIDE = 16


@dataclass(frozen=True, kw_only=True)
class Server:
    url: str

    @property
    def form(self) -> dict[str, str]:
        return {"comfyui_base_url": self.url}

    def get(self, path: str) -> dict[str, dict[str, object]]:
        answer: dict[str, dict[str, object]] = requests.get(self.url + path, timeout=30).json()
        return answer

    def jobs(self) -> int:
        return len(self.get("/history"))

    def last_job_seconds(self) -> float:
        """How long the server worked on its newest job, by its own messages."""
        (job,) = self.get("/history?max_items=1").values()
        status = job["status"]
        assert isinstance(status, dict)  # noqa: S101 -- the shape of a real server's answer
        times = {name: told["timestamp"] for name, told in status["messages"] if "timestamp" in told}
        return float(times["execution_success"] - times["execution_start"]) / 1000


def draw(host: Host, form: dict[str, str], checkpoint: str, **parameters: int) -> tuple[float, InvokeReply]:
    started = time.perf_counter()
    reply = host.invoke(MODEL, form, [user("a lighthouse")], {"checkpoint": checkpoint, "steps": 20, **parameters})
    return time.perf_counter() - started, reply


def refused(host: Host, form: dict[str, str], checkpoint: str, **parameters: int) -> str:
    started = time.perf_counter()
    try:
        draw(host, form, checkpoint, **parameters)
    except PluginError as error:
        return f"{time.perf_counter() - started:.1f} s, {error.error_type}: {error.message}"
    return "an image, no error"


def beside_each_other(host: Host, form: dict[str, str], checkpoint: str) -> str:
    started = time.perf_counter()
    with ThreadPoolExecutor(BESIDE) as pool:
        replies = list(pool.map(lambda seed: draw(host, form, checkpoint, seed=seed)[1], range(BESIDE)))
    images = {reply.images[0].data for reply in replies}
    return f"{time.perf_counter() - started:.1f} s, {len(images)} different images"


def report(host: Host, options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    server = Server(url=options.server)
    first, other = options.checkpoint
    yield "cold image", f"{draw(host, server.form, first)[0]:.2f} s"
    added = []
    for _ in range(WARM):
        seconds, _reply = draw(host, server.form, first)
        added.append(seconds - server.last_job_seconds())
    yield f"added to a warm image, median and most of {WARM}", f"{statistics.median(added):.3f}, {max(added):.3f} s"
    yield (
        "the other checkpoint, then the first again",
        ", ".join(f"{draw(host, server.form, name)[0]:.2f} s" for name in (other, first)),
    )
    yield f"{BESIDE} jobs beside each other", beside_each_other(host, server.form, first)
    yield "stopped after 3 s", refused(host, server.form, first, steps=150, width=2048, height=2048, timeout=3)
    time.sleep(2)
    yield "left in the queue two seconds later", str({name: len(jobs) for name, jobs in server.get("/queue").items()})
    if options.small:
        form = Server(url=options.small).form
        yield "GPU memory used up", refused(host, form, first, width=4096, height=4096, n=4, steps=4)
        yield "the same server afterwards", f"{draw(host, form, first)[0]:.2f} s"
    if options.second:
        yield from _two_servers(host, server, Server(url=options.second), options)


def _two_servers(host: Host, server: Server, second: Server, options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    first, other = options.checkpoint
    draw(host, second.form, other)
    draw(host, server.form, first)
    both = {"comfyui_base_url": f"{server.url}, {second.url}"}
    for name in (first, other):
        before = server.jobs(), second.jobs()
        for _ in range(3):
            draw(host, both, name)
        done = server.jobs() - before[0], second.jobs() - before[1]
        yield f"two servers, 3 jobs with {name}", f"{done[0]} and {done[1]}"
    yield f"two servers, {BESIDE} jobs beside each other", beside_each_other(host, both, first)
    if options.kill:
        threading.Timer(2, partial(os.kill, options.kill, signal.SIGKILL)).start()
        yield "server killed in mid-job", refused(host, second.form, other, steps=150, width=2048, height=2048)
        yield "two servers, one dead", f"{draw(host, both, other)[0]:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--checkpoint", action="append", required=True, help="two files that the servers have")
    parser.add_argument("--second")
    parser.add_argument("--small")
    parser.add_argument("--kill", type=int, help="process id of the second server")
    options = parser.parse_args()
    with Host() as host:
        for what, value in report(host, options):
            print(f"| {what} | {value} |", flush=True)


if __name__ == "__main__":
    main()
