"""What telemetry costs: milliseconds added to one 1 MB image, and the longest pause of a greenlet while exporters wait.

`uv run python -m benchmarks.telemetry [--runs 30]`

The first table goes through two plugin processes, one with an OTLP endpoint and one without, by turns; the value is the
median of the differences. The second one runs the exporter in this process, with a receiver that replies at once, after
two seconds, or never; a ticking greenlet measures how long it was held up beyond its pause.
"""

import dify_plugin  # noqa: F401 -- it patches the sockets before anything else imports them

# isort: split

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median

import gevent

from benchmarks.overhead import MESSAGES, MODEL, fake_stability, timed
from benchmarks.teams import process
from models.backends.trail import HttpCall
from models.stages.audit import Receipt
from models.stages.telemetry import RequestFacts
from models.stages.telemetry_export import OtlpExport
from sandbox.host import Host
from tests.fakes import MARKER_KEY
from tests.servers.scripted import Act, say, scripted_server, silence
from tools.package import ROOT

TICK = 0.002  # seconds
REQUESTS = 500  # between two exports
_WARM_UP = 10
SIGNALS = frozenset({"metrics", "traces"})


def added(runs: int) -> float:
    with ExitStack() as stack:
        url, _ = stack.enter_context(fake_stability())
        receiver = stack.enter_context(process("-m", "tests.servers.otlp"))
        assert receiver.stdout  # noqa: S101 -- it was asked for as a pipe
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.stdout.readline().strip()}
        hosts = [stack.enter_context(Host(plugin_dir=ROOT, environment=extra)) for extra in ({}, endpoint)]
        form = {"stability_api_key": MARKER_KEY, "stability_base_url": url}

        def way(host: Host) -> Callable[[], object]:
            return lambda: host.invoke(MODEL, form, MESSAGES, {})

        bare, ours = map(way, hosts)
        for warm in (bare, ours) * _WARM_UP:
            warm()
        return median(second - first for first, second in ((timed(bare), timed(ours)) for _ in range(runs)))


def late(handler: object) -> None:
    time.sleep(2)
    say(200, b"")(handler)  # type: ignore[arg-type]


def held_up(act: Act) -> tuple[float, float]:
    """Milliseconds: the longest delay of a tick during an export, and the export."""
    with scripted_server() as script:
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": script.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "5"}
        script.then(*[act] * 10)
        export = OtlpExport(SIGNALS, os.environ)
        calls = [HttpCall("POST", "host", 443, 1.0, 2.0, 200)] * 3
        for number in range(REQUESTS):
            receipt = Receipt(time=1.0, user="", model=f"m{number % 40}", backend="b", n=1, seconds=1.0)
            export.report(RequestFacts(receipt, calls))
        began, delays = time.perf_counter(), list(_delays(gevent.spawn(export.flush)))
        return 1000 * max(delays), 1000 * (time.perf_counter() - began)


def _delays[**P, R](work: "gevent.Greenlet[P, R]") -> Iterator[float]:
    while not work.ready():
        before = time.perf_counter()
        gevent.sleep(TICK)
        yield time.perf_counter() - before - TICK


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=int, default=30)
    print(f"added to a 1 MB image: {added(options.parse_args().runs):.1f} ms\n")
    print(
        f"| the receiver replies | longest delay of a greenlet | export of {REQUESTS} requests |\n| --- | --- | --- |"
    )
    receivers: dict[str, Act] = {"at once": say(200, b""), "after 2 s": late, "never": silence}
    idle = max(_delays(gevent.spawn(gevent.sleep, 10)))
    print(f"| (no export for 10 s) | {1000 * idle:.0f} ms | |", flush=True)
    for name, act in receivers.items():
        delay, whole = held_up(act)
        print(f"| {name} | {delay:.0f} ms | {whole / 1000:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
