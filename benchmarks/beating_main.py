"""The plugin's `main.py` with a heartbeat beside it; `benchmarks.load` puts it in place of the original, which is `real_main`.

A greenlet sleeps for a hundredth of a second again and again. What it comes late is the time for which something held
up every greenlet. Each delay over MARK goes to the file `BEATS` as a line of seconds: the monotonic clock, the delay, the
CPU time that the greenlets used in it, and the time for which threads of the process stood in line for a CPU.
"""

import os
import time
from pathlib import Path

from real_main import plugin  # type: ignore[import-not-found] # isort: skip -- it patches the sockets first

import gevent

PAUSE = 0.01
MARK = 0.02


def in_line() -> float:
    """Seconds for which the threads of the process were ready to run and did not get a CPU (Linux)."""
    waited = 0
    for thread in Path("/proc/self/task").iterdir():
        try:
            waited += int((thread / "schedstat").read_text().split()[1])
        except (OSError, IndexError):
            continue  # it has ended
    return waited / 1e9


def beat() -> None:
    with Path(os.environ["BEATS"]).open("w", buffering=1) as beats:
        last, used, stood = time.monotonic(), time.thread_time(), in_line()
        while True:
            gevent.sleep(PAUSE)
            now = time.monotonic()
            if (late := now - last - PAUSE) > MARK:
                beats.write(f"{now:.3f} {late:.4f} {time.thread_time() - used:.4f} {in_line() - stood:.4f}\n")
            last, used, stood = time.monotonic(), time.thread_time(), in_line()


if __name__ == "__main__":
    gevent.spawn(beat)
    plugin.run()
