"""Cached values expire, are separated by address and account, and are limited in number."""

import pytest

from models.backends import cache
from models.backends.cache import ServerCache
from models.backends.http import Service
from tests.fakes import FakeClock


def service(clock: FakeClock, url: str = "http://gpu", key: str = "k") -> Service:
    return Service(name="Stub", base_url=url, clock=clock, headers={"Authorization": f"Bearer {key}"})


def test_a_value_expires_after_its_seconds(clock: FakeClock) -> None:
    kept = ServerCache[str](seconds=30)
    kept.put(service(clock), "euler")
    clock.sleep(29)
    assert kept.get(service(clock)) == "euler"
    clock.sleep(2)
    assert kept.get(service(clock)) is None


@pytest.mark.parametrize("other", [{"url": "http://other"}, {"key": "other"}])
def test_accounts_and_addresses_do_not_share_values(clock: FakeClock, other: dict[str, str]) -> None:
    kept = ServerCache[str](seconds=30)
    kept.put(service(clock), "euler")
    assert kept.get(service(clock, **other)) is None


def test_values_of_one_server_are_separated_by_key(clock: FakeClock) -> None:
    kept = ServerCache[int](seconds=30)
    kept.put(service(clock), 1, "one")
    kept.put(service(clock), 2, "two")
    kept.drop(service(clock), "one")
    kept.drop(service(clock), "never there")
    assert (kept.get(service(clock), "one"), kept.get(service(clock), "two")) == (None, 2)


def test_the_oldest_values_are_dropped_over_the_limit(clock: FakeClock) -> None:
    kept = ServerCache[int](seconds=30, limit=2)
    for number in range(3):
        kept.put(service(clock), number, number)
    assert [kept.get(service(clock), number) for number in range(3)] == [None, 1, 2]


def test_the_cache_can_be_cleared(clock: FakeClock) -> None:
    kept = ServerCache[int](seconds=30)
    kept.put(service(clock), 1)
    cache.clear_all()
    assert kept.get(service(clock)) is None


def test_no_login_is_stored(clock: FakeClock) -> None:
    kept = ServerCache[int](seconds=30)
    kept.put(service(clock, key="sk-MARKER"), 1)
    assert "sk-MARKER" not in repr(kept._kept)


def test_the_cache_can_forget_one_address(clock: FakeClock) -> None:
    kept = ServerCache[int](seconds=30)
    for url in ("http://gpu", "http://other"):
        kept.put(service(clock, url), 1)
    cache.clear_all("http://gpu")
    assert [kept.get(service(clock, url)) for url in ("http://gpu", "http://other")] == [None, 1]


def test_what_was_cleared_is_not_shown_again_by_another_clock(clock: FakeClock) -> None:
    kept = ServerCache[int](seconds=30)
    kept.put(service(clock), 1)
    later = FakeClock(time=clock.time + 31)
    assert kept.get(service(later)) is None
    kept.clear()
    assert kept.get(service(clock)) is None


def test_a_cache_keeps_512_values(clock: FakeClock) -> None:
    kept = ServerCache[int](seconds=30)
    for number in range(513):
        kept.put(service(clock), number, number)
    assert [kept.get(service(clock), number) for number in (0, 1, 512)] == [None, 1, 512]
