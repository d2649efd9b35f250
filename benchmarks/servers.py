"""The same list of jobs on 1, 2 and 4 fake ComfyUI workers behind one form: `uv run python -m benchmarks.servers`.

Each worker runs one job at a time. The list takes a time in proportion to 1/N; the command fails where it is more than 15 %
off. With `--mixed` the jobs take from half to one and a half of `--seconds`, and at most `--at-once` are in flight; it only
measures, because the last jobs of such a list rarely end together.
"""

import dify_plugin  # noqa: F401, I001 -- patches the sockets that everything else uses

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from gevent.pool import Pool

from models.backends import cache
from tests.asking import asked, bound
from tests.backends.comfyui.jobs import slow
from tests.servers.comfyui import ComfyUIServer

WORKERS = (1, 2, 4)
ALLOWED = 0.15


@dataclass(frozen=True)
class Run:
    """`seconds` for the whole list, and the jobs that each worker got."""

    seconds: float
    jobs: tuple[int, ...]


def one_image(addresses: str, seed: int, seconds: float) -> None:
    form = {"backend": "comfyui", "base_url": addresses, "workflow": json.dumps(slow(seconds, colour=seed + 1))}
    backend = bound("benchmark", form)
    backend.invoke(asked(backend, "a fox", seed=seed + 1, timeout=590.0))


def measured(workers: int, durations: Sequence[float], at_once: int) -> Run:
    cache.clear_all()
    with ExitStack() as stack:
        servers = [stack.enter_context(ComfyUIServer()) for _ in range(workers)]
        for server in servers:  # its node definitions are read once in five minutes
            one_image(server.url, seed=-1, seconds=0.0)
        addresses = ", ".join(server.url for server in servers)
        pool, began = Pool(at_once), time.monotonic()
        for _ in pool.imap_unordered(lambda job: one_image(addresses, *job), enumerate(durations)):
            pass
        return Run(time.monotonic() - began, tuple(len(server.engine.executed) - 1 for server in servers))


def listed(arguments: argparse.Namespace) -> list[float]:
    """Seconds of each job."""
    if not arguments.mixed:
        return [arguments.seconds] * arguments.jobs
    return [arguments.seconds * (0.5 + (7 * number % 11) / 10) for number in range(arguments.jobs)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one job")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--at-once", type=int, help="jobs in flight; default: 12 if mixed, else all")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    durations = listed(arguments)
    at_once = arguments.at_once or (12 if arguments.mixed else len(durations))
    print("| workers | seconds | 1/N of one worker | off by | jobs per worker |\n|---|---|---|---|---|")
    alone, worst = 0.0, 0.0
    for workers in WORKERS:
        run = measured(workers, durations, at_once)
        alone = alone or run.seconds
        off = run.seconds * workers / alone - 1
        worst = max(worst, abs(off))
        shared = ", ".join(map(str, run.jobs))
        print(f"| {workers} | {run.seconds:.1f} | {alone / workers:.1f} | {off:+.1%} | {shared} |", flush=True)
    return int(worst > ALLOWED and not arguments.mixed)


if __name__ == "__main__":
    sys.exit(main())
