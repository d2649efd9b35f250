"""When to look at a job: often only near the end that its model's jobs usually have.

The service allows 20 polls a second for all jobs of an account (Model Studio, task API), so that a look every 0.4
seconds is for the moment when the job is about to end. The usual duration is the card's, until this process has seen
jobs of the model; it sees them only where one call waits for the end.
"""

from dataclasses import dataclass

from models.backends.cache import ServerCache
from models.backends.http import Service

_KEPT = 8  # durations for each model and account
_OFTEN = 0.4  # seconds between looks near the usual end
_RARELY = 5.0  # well before it
_LATE = 1.8  # well after it, and for jobs of ten minutes
_SEEN: ServerCache[tuple[float, ...]] = ServerCache(seconds=24 * 3600.0)


@dataclass(frozen=True, slots=True)
class UsualDuration:
    """The durations of one model's jobs for one account. `known`: the shortest and the longest usual one, in seconds."""

    service: Service
    model: str
    known: tuple[float, float]

    def learn(self, seconds: float) -> None:
        seen = _SEEN.get(self.service, self.model) or ()
        _SEEN.put(self.service, (*seen, seconds)[-_KEPT:], self.model)

    def pause(self, elapsed: float) -> float:
        """Seconds until the next look at a job that is `elapsed` seconds old."""
        seen = _SEEN.get(self.service, self.model) or self.known
        earliest, latest = 0.8 * min(seen), 1.25 * max(seen)
        often = min(_LATE, max(_OFTEN, elapsed / 150))
        if elapsed < earliest:
            return max(often, min(_RARELY, max(1.0, elapsed / 4), earliest - elapsed))
        return min(_LATE, often + max(0.0, elapsed - latest) / 20)
