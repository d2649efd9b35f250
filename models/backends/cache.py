"""What servers said about themselves, kept for a while: bounded, never needed for a result.

Entries are kept per address and account: what one login may see is not told to another.
"""

import hashlib
from collections.abc import Hashable
from weakref import WeakSet

from cachetools import TTLCache

from models.backends.http import Service
from models.clock import Clock

_CACHES: WeakSet["ServerCache"] = WeakSet()


class ServerCache[V]:
    """Keeps at most `limit` values for `seconds` each; the oldest go first."""

    def __init__(self, *, seconds: float, limit: int = 512) -> None:
        self._seconds = seconds
        self._limit = limit
        self._kept: dict[Clock, TTLCache[Hashable, V]] = {}
        _CACHES.add(self)

    def get(self, service: Service, key: Hashable = "") -> V | None:
        return self._of(service.clock).get((_account(service), key))

    def put(self, service: Service, value: V, key: Hashable = "") -> None:
        self._of(service.clock)[_account(service), key] = value

    def drop(self, service: Service, key: Hashable = "") -> None:
        self._of(service.clock).pop((_account(service), key), None)

    def clear(self) -> None:
        self._kept.clear()

    def _of(self, clock: Clock) -> TTLCache[Hashable, V]:
        # The process has one clock; each test brings its own.
        if clock not in self._kept:
            self._kept[clock] = TTLCache(self._limit, self._seconds, timer=clock.monotonic)
        return self._kept[clock]


def clear_all() -> None:
    """Forget everything, in every cache of the process: an address may belong to another server now."""
    for cache in _CACHES:
        cache.clear()


def _account(service: Service) -> str:
    login = hashlib.sha256(repr(sorted(service.headers.items())).encode()).hexdigest()
    return f"{service.base_url} {login}"
