"""A small memory shared by the calls of one process: bounded in entries, short in time, never needed for a result."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass
class Memory[V]:
    """Keeps at most `limit` values for `seconds` each; the oldest go first."""

    seconds: float
    limit: int
    _kept: OrderedDict[str, tuple[float, V]] = field(default_factory=OrderedDict, init=False)

    def get(self, key: str) -> V | None:
        end, value = self._kept.get(key, (0.0, None))
        if value is None or end < time.monotonic():
            self._kept.pop(key, None)
            return None
        return value

    def put(self, key: str, value: V) -> None:
        self._kept.pop(key, None)
        self._kept[key] = (time.monotonic() + self.seconds, value)
        while len(self._kept) > self.limit:
            self._kept.popitem(last=False)

    def drop(self, key: str) -> None:
        self._kept.pop(key, None)

    def clear(self) -> None:
        self._kept.clear()
