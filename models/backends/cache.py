"""A bounded cache with a time limit for what servers report about themselves; no result depends on it.

Entries are kept per address and account, because logins may see different things.
"""

import hashlib
from collections.abc import Hashable
from typing import Any
from weakref import WeakSet

from cachetools import TTLCache

from models.backends.http import Service
from models.clock import Clock, SystemClock

_CACHES: WeakSet["ServerCache[Any]"] = WeakSet()


class ServerCache[V]:
    """Keeps at most `limit` values for `seconds` each; the oldest go first."""

    def __init__(self, *, seconds: float, limit: int = 512) -> None:
        self._clock: Clock = SystemClock()
        self._kept: TTLCache[tuple[str, Hashable], V] = TTLCache(limit, seconds, timer=self._now)
        _CACHES.add(self)

    def get(self, service: Service, key: Hashable = "") -> V | None:
        return self._at(service.clock).get((_account(service), key))

    def put(self, service: Service, value: V, key: Hashable = "") -> None:
        self._at(service.clock)[_account(service), key] = value

    def drop(self, service: Service, key: Hashable = "") -> None:
        self._at(service.clock).pop((_account(service), key), None)

    def clear(self, base_url: str = "") -> None:
        self._kept.expire()  # it hides old entries, which another clock would show again
        for place in [place for place in self._kept if place[0].startswith(base_url)]:
            self._kept.pop(place, None)

    def _now(self) -> float:
        return self._clock.monotonic()

    def _at(self, clock: Clock) -> TTLCache[tuple[str, Hashable], V]:
        self._clock = clock  # the process has one clock; each test brings its own
        return self._kept


def clear_all(base_url: str = "") -> None:
    """Empty every cache of the process, or forget one address: it may belong to another server now."""
    for cache in _CACHES:
        cache.clear(base_url)


def _account(service: Service) -> str:
    login = hashlib.sha256(repr(sorted(service.headers.items())).encode()).hexdigest()
    return f"{service.base_url} {login}"
