"""Requests, bytes received and milliseconds per ComfyUI image for a growing server history.

`uv run python -m benchmarks.comfyui_history [--runs 30]` uses the fake server, whose jobs take no time;
`--url http://127.0.0.1:8188` measures a real server with its current history.
"""

import dify_plugin  # noqa: F401, I001 -- patches the sockets that everything else uses

import argparse
import json
import time
from statistics import median

import requests

from tests.asking import asked, bound
from tests.servers.comfyui import ComfyUIServer

HISTORIES = (0, 100, 1_000, 5_000)
WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": "{{seed}}"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "benchmark"}},
}


def one_image(url: str, seed: int) -> float:
    """Milliseconds."""
    credentials = {"backend": "comfyui", "base_url": url, "workflow": json.dumps(WORKFLOW)}
    before = time.perf_counter()
    backend = bound("benchmark", credentials)
    backend.invoke(asked(backend, "a fox", seed=seed))
    return (time.perf_counter() - before) * 1000


def stand_in(old_jobs: int, runs: int) -> tuple[float, float, float, int]:
    """Requests, bytes and milliseconds per image, and the bytes of the whole history."""
    with ComfyUIServer() as server:
        server.fill_history(old_jobs)
        one_image(server.url, 0)
        server.requests.clear()
        server.bytes_sent = 0
        spent = median(one_image(server.url, seed) for seed in range(1, runs + 1))
        asked, received = len(server.requests) / runs, server.bytes_sent / runs
        return asked, received, spent, len(requests.get(f"{server.url}/history", timeout=60).content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--url", help="a real server")
    arguments = parser.parse_args()
    if arguments.url:
        start = int(time.time())
        spent = median(one_image(arguments.url, (start + run) % 2**24) for run in range(arguments.runs))
        print(f"{spent:.0f} ms per image, median of {arguments.runs}")
        return
    print("old jobs   requests   bytes received   ms (median)   whole history, never requested")
    for old_jobs in HISTORIES:
        asked, received, spent, whole = stand_in(old_jobs, arguments.runs)
        print(f"{old_jobs:>8,}   {asked:>8.1f}   {received:>14,.0f}   {spent:>11.1f}   {whole:>12,} bytes")


if __name__ == "__main__":
    main()
