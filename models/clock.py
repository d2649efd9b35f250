"""Time as something that can be handed in: no wait of this plugin asks the machine's clock by itself."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch, a monotonic count for durations, and a pause."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The real clock. `time.sleep` is gevent's: it lets the other requests of the process run."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the epoch clock after which a job is given up; it may cross processes as a plain number."""

    clock: Clock
    at: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> "Deadline":
        return cls(clock, clock.now() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock.now())

    @property
    def passed(self) -> bool:
        return self.remaining == 0.0

    def earlier(self, seconds: float) -> "Deadline":
        """This deadline or `seconds` from now, whichever comes first."""
        return Deadline(self.clock, min(self.at, self.clock.now() + seconds))
