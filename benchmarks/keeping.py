"""Milliseconds of storage and cache for one image of 1 MB, how long greenlets are held up, and equal requests at once.

`uv run python -m benchmarks.keeping [--runs 20] [--requests 1000] [--processes 4]`

The S3 server is `moto` in a process of its own: its time is part of the figures.
"""

import dify_plugin  # noqa: F401 -- it patches the sockets before anything else imports them

# isort: split

import argparse
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median

import gevent

from benchmarks.overhead import fake_stability
from models.backends.errors import logger
from models.clock import SystemClock
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.output.structured import OutputOptions
from models.settings import Settings
from models.stages import after_service, release
from models.stages.cache.lookup import CacheLookup
from models.stages.carried import Carried
from models.storage.objects import Bucket
from sandbox.host import Host
from sandbox.protocol import user
from tests.asking import carried
from tests.fakes import MARKER_KEY, noise
from tests.servers.object_store import KEY, SECRET, object_store_server
from tests.servers.scripted import say, scripted_server
from tools.package import ROOT

SIDE = 682  # pixels; grey noise of this size is a PNG of 1 MB


def milliseconds(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1000


class Bench:
    """The stages on one image, with the settings of a form."""

    def __init__(self, form: Mapping[str, str], folder: str, cache: str = "off") -> None:
        self.settings = Settings(form, {"IMAGE_GENERATION_STATE_DIR": folder})
        self.image = noise(SIDE, SIDE)
        self.cache = cache

    def beside(self) -> Carried:
        return carried(OutputOptions(cache=self.cache), time=time.time(), id=uuid.uuid4().hex)

    def after(self, beside: Carried) -> None:
        result = ImageResult(images=(GeneratedImage(self.image),), backend="preview", model="preview", prompt="a fox")
        for stage in after_service(self.settings, beside.options):
            result = stage(result, beside)
        release(self.settings, beside, SystemClock())
        assert not result.notices, result.notices  # noqa: S101 -- a failing store is quick

    def before(self, beside: Carried, prompt: str) -> object:
        return CacheLookup(self.settings)(ImageRequest(model="preview", prompt=prompt, cache=self.cache), beside)

    def stored(self) -> float:
        beside = self.beside()
        return milliseconds(lambda: self.after(beside))

    def missed(self) -> float:
        beside, prompt = self.beside(), uuid.uuid4().hex

        def work() -> None:
            self.before(beside, prompt)
            self.after(beside)

        return milliseconds(work)

    def hit(self) -> float:
        return milliseconds(lambda: self.before(self.beside(), "kept"))

    def keep(self) -> "Bench":
        beside = self.beside()
        self.before(beside, "kept")
        self.after(beside)
        return self


def rows(folder: str, s3: str) -> Mapping[str, Callable[[], float]]:
    """Each row's work. A new one is a line."""
    local = {"storage_url": f"file://{folder}/images"}
    return {
        "no storage, no cache": Bench({}, folder).stored,
        "storage in a folder": Bench(local, folder).stored,
        "storage in S3": Bench({"storage_url": s3}, folder).stored,
        "cache in the plugin's folder, a miss": Bench({}, folder, "exact").missed,
        "cache in the plugin's folder, a hit": Bench({}, folder, "exact").keep().hit,
        "cache and storage in S3, a miss": Bench({"storage_url": s3}, folder, "exact").missed,
        "cache in S3, a hit": Bench({"storage_url": s3}, folder, "exact").keep().hit,
    }


def longest_pause() -> tuple[float, float]:
    """Seconds of four uploads to a store that answers after 2 s, and the longest time without a heartbeat meanwhile."""
    beats: list[float] = []

    def beat() -> None:
        while True:
            beats.append(time.perf_counter())
            gevent.sleep(0.01)

    def slow(handler: object) -> None:
        gevent.sleep(2)
        say(200, ETag='"1"')(handler)  # type: ignore[arg-type]

    with scripted_server() as server:
        server.then(*[slow] * 4)
        url = f"s3://{KEY}:{SECRET}@{server.url.removeprefix('http://')}/b?tls=false"
        bucket = Bucket.of(Settings({"storage_url": url}, {}))
        assert bucket  # noqa: S101
        heart = gevent.spawn(beat)
        took = milliseconds(
            lambda: gevent.joinall([gevent.spawn(bucket.put, str(n), b"1") for n in range(4)], raise_error=True)
        )
        heart.kill()
    return took / 1000, max(late - early for early, late in pairwise(beats))


def equal_requests(requests: int, processes: int, folder: str) -> tuple[int, float]:
    """How many of these equal requests were generated, and the seconds of all."""
    prices: list[float] = []
    with (
        fake_stability() as (url, _),
        Host(plugin_dir=ROOT, processes=processes, environment={"IMAGE_GENERATION_STATE_DIR": folder}) as host,
    ):
        form = {"stability_api_key": MARKER_KEY, "stability_base_url": url}
        start = threading.Barrier(requests)

        def ask() -> None:
            start.wait()
            usage = host.invoke("sd3.5-medium", form, [user("a fox")], {"cache": "exact"}).usage
            prices.append(float(usage.total_price) if usage else -1.0)

        threads = [threading.Thread(target=ask) for _ in range(requests)]
        took = milliseconds(lambda: [*map(threading.Thread.start, threads), *map(threading.Thread.join, threads)])
    assert len(prices) == requests  # noqa: S101 -- else a request failed
    return sum(price > 0 for price in prices), took / 1000


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--requests", type=int, default=1000)
    options.add_argument("--processes", type=int, default=4)
    asked = options.parse_args()
    logger.setLevel("WARNING")
    with tempfile.TemporaryDirectory() as folder, object_store_server() as server:
        print("| what | ms per 1 MB image |\n|---|---|")
        for name, work in rows(folder, server.storage_url(server.bucket())).items():
            work()
            print(f"| {name} | {median(work() for _ in range(asked.runs)):.1f} |")
    took, pause = longest_pause()
    print(
        f"four uploads to a store that takes 2 s: {took:.2f} s, longest pause of another greenlet {pause * 1000:.0f} ms"
    )
    with tempfile.TemporaryDirectory() as folder:
        made, took = equal_requests(asked.requests, asked.processes, str(Path(folder)))
    print(f"{asked.requests} equal requests to {asked.processes} processes: {made} generated, {took:.1f} s")


if __name__ == "__main__":
    main()
