"""Leases in flight: renewed while a request leads, asked for once however many wait, and never a reason to fail."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import gevent
import pytest

from models.backends.errors import logger
from models.stages.cache.fault import CacheFaultError
from models.stages.cache.flights import land, lead, wait

_pause = gevent.sleep


@dataclass
class ScriptedLeases:
    """`holders` are the answers to `take`, `free` those to `is_free`; the last one stays. An exception is raised."""

    holders: list[str | Exception] = field(default_factory=lambda: ["me"])
    free: list[bool | Exception] = field(default_factory=lambda: [True])
    broken: bool = False
    taken: list[tuple[str, str, float]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    looks: int = 0

    def take(self, name: str, holder: str, seconds: float) -> str:
        self.taken.append((name, holder, seconds))
        answer = self.holders.pop(0) if len(self.holders) > 1 else self.holders[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def drop(self, name: str, holder: str) -> None:
        self.dropped.append((name, holder))
        if self.broken:
            raise CacheFaultError("no file", "Write it")

    def is_free(self, name: str) -> bool:
        self.looks += 1
        answer = self.free.pop(0) if len(self.free) > 1 else self.free[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of the greenlets, which take no time."""
    seen: list[float] = []

    def sleep(seconds: float) -> None:
        seen.append(seconds)
        _pause(0)

    monkeypatch.setattr(gevent, "sleep", sleep)
    return seen


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


def turns(count: int = 30) -> None:
    """Let the other greenlets run."""
    for _ in range(count):
        _pause(0)


def test_a_lease_is_renewed_every_five_seconds_for_the_time_of_its_request(pauses: list[float]) -> None:
    leases = ScriptedLeases()
    lead(leases, "renewed", "me", 20.0)
    lead(leases, "renewed", "me", 20.0)
    turns()
    assert leases.taken == [("renewed", "me", 20.0)] * 4
    assert pauses == [5.0] * 4
    land(leases, "renewed", "me")
    assert leases.dropped == [("renewed", "me")]


def test_a_lease_that_another_one_holds_is_renewed_no_more(pauses: list[float]) -> None:
    leases = ScriptedLeases(holders=["me", "you"])
    lead(leases, "lost", "me", 100.0)
    turns()
    land(leases, "lost", "me")
    assert len(leases.taken) == 2


def test_a_renewal_that_fails_is_logged_and_tried_again(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    leases = ScriptedLeases(holders=[CacheFaultError("no file", "Write it"), "me"])
    lead(leases, "failing", "me", 15.0)
    turns()
    land(leases, "failing", "me")
    assert len(leases.taken) == 3
    assert caplog.messages == ["a lease of the cache could not be renewed: no file"]


def test_a_lease_that_was_given_back_is_not_renewed(pauses: list[float]) -> None:
    leases = ScriptedLeases()
    lead(leases, "landed", "me", 100.0)
    turns(3)
    land(leases, "landed", "me")
    turns(2)
    renewed = len(leases.taken)
    turns()
    assert len(leases.taken) == renewed < 20


def test_a_lease_that_cannot_be_given_back_is_logged_and_lets_go(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    leases = ScriptedLeases(free=[False], broken=True)
    waiting = gevent.spawn(wait, leases, "broken", 5.0)
    turns(3)
    land(leases, "broken", "me")
    assert waiting.get(timeout=2)
    assert caplog.messages == ["a lease of the cache could not be given back: no file"]


def test_all_who_wait_ask_together_until_the_lease_is_free(pauses: list[float]) -> None:
    leases = ScriptedLeases(free=[False, False, True])
    waiting = [gevent.spawn(wait, leases, "shared", 5.0) for _ in range(5)]
    assert [one.get(timeout=2) for one in waiting] == [True] * 5
    assert (leases.looks, pauses) == (3, [0.2, 0.2])
    assert wait(leases, "shared", 5.0)
    assert leases.looks == 4


@pytest.mark.parametrize("seconds", [0.0, -3.0])
def test_who_has_no_time_left_does_not_wait(seconds: float) -> None:
    leases = ScriptedLeases(free=[False])
    with gevent.Timeout(0.5):
        assert not wait(leases, f"held {seconds}", seconds)
    land(leases, f"held {seconds}", "me")


def test_leases_that_cannot_be_read_hold_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    leases = ScriptedLeases(free=[CacheFaultError("no file", "Write it")])
    assert wait(leases, "unreadable", 5.0)
    assert caplog.messages == ["the leases of the cache could not be read: no file"]
