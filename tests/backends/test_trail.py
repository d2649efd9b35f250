"""The trail of a host call: its HTTP requests without addresses and keys, and when its job was seen in a queue."""

import gevent
import pytest
import responses

from models.backends.http import Service
from models.backends.trail import CallTrail, HttpCall, begin_trail
from models.clock import Deadline
from tests import asking
from tests.backends.comfyui.jobs import backend_for, slow, submitted
from tests.fakes import MARKER_KEY, FakeClock
from tests.servers.comfyui import ComfyUIServer, wait_until
from tests.servers.fal import fal
from tests.servers.replicate import BASE, replicate
from tests.servers.scripted import free_port, say, scripted_server


def service(url: str, clock: FakeClock) -> Service:
    return Service(name="S", base_url=url, clock=clock, headers={"Authorization": f"Bearer {MARKER_KEY}"})


def ask(url: str, clock: FakeClock) -> None:
    deadline = Deadline.after(clock, 60)
    service(url, clock).request("GET", f"/x/{MARKER_KEY}?k={MARKER_KEY}", attempt="Asking", deadline=deadline)


def test_every_attempt_of_a_call_and_of_its_greenlets_is_on_its_trail(clock: FakeClock) -> None:
    with scripted_server() as script:
        script.then(say(500), say(200))
        trail = begin_trail()
        gevent.spawn(ask, script.url, clock).join()
        port = int(script.url.rpartition(":")[2])
        began = 1_790_000_000.0
        assert trail.calls == [
            HttpCall("GET", "127.0.0.1", port, began, began, 500),
            HttpCall("GET", "127.0.0.1", port, began + 1, began + 1, 200),
        ]
        assert MARKER_KEY not in str(trail.calls)
        begin_trail()
        ask(script.url, clock)
        assert len(trail.calls) == 2


def test_a_failed_attempt_names_the_exception(clock: FakeClock) -> None:
    trail = begin_trail()
    with pytest.raises(Exception, match="could not be reached"):
        ask(f"http://127.0.0.1:{free_port()}", clock)
    assert {(call.status, call.error) for call in trail.calls} == {(None, "ConnectionError")}


def test_a_trail_keeps_a_hundred_requests() -> None:
    trail = CallTrail()
    for _ in range(103):
        trail.add(HttpCall("GET", "host", 80, 1.0, 2.0, 200))
    assert (len(trail.calls), trail.dropped) == (100, 3)
    assert len(trail.taken()) == 100
    assert (trail.calls, trail.dropped) == ([], 0)


def test_fal_tells_of_its_queue() -> None:
    with fal(key=MARKER_KEY) as server:
        backend = asking.bound("fal-flux-dev", {"fal_api_key": MARKER_KEY, "fal_base_url": server.url}, FakeClock())
        trail = begin_trail()
        backend.invoke(asking.asked(backend, timeout=60.0))
    assert trail.queued_at is not None


@pytest.mark.parametrize(("status", "queued"), [("starting", True), ("processing", False)])
def test_replicate_tells_of_its_queue(status: str, queued: bool) -> None:
    with replicate(key=MARKER_KEY) as server:
        form = {"replicate_api_key": MARKER_KEY, "replicate_base_url": server.url + BASE}
        backend = asking.bound("replicate-flux-schnell", form, FakeClock())
        server.endings.append({"status": status})
        trail = begin_trail()
        backend.invoke(asking.asked(backend, timeout=60.0))
    assert (trail.queued_at is not None) == queued


def test_comfyui_tells_of_its_queue() -> None:
    with ComfyUIServer() as server:
        server.engine.gate.clear()
        first, second = (submitted(backend_for(server, slow(seconds))) for seconds in (0.0, 0.01))
        wait_until(lambda: server.engine.running)
        seen = []
        for job in (first, second):
            trail = begin_trail()
            backend_for(server, slow()).check(job)
            seen.append(trail.queued_at is not None)
        server.engine.gate.set()
    assert seen == [False, True]


@responses.activate
@pytest.mark.parametrize(
    ("url", "port"), [("https://a.example", 443), ("http://a.example", 80), ("https://a.example:8443", 8443)]
)
def test_a_request_has_the_port_of_its_scheme(clock: FakeClock, url: str, port: int) -> None:
    responses.get(f"{url}/x/{MARKER_KEY}", json={})
    trail = begin_trail()
    ask(url, clock)
    assert [(call.host, call.port) for call in trail.calls] == [("a.example", port)]


def test_a_trail_leaves_what_else_its_greenlets_share() -> None:
    def begun() -> object:
        here = gevent.getcurrent()
        here.spawn_tree_locals = {"mine": 5}  # type: ignore[attr-defined]
        begin_trail()
        return here.spawn_tree_locals["mine"]  # type: ignore[attr-defined]

    assert gevent.spawn(begun).get() == 5
