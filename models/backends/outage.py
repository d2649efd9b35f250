"""Errors of a server while a job runs there: ignored for a while, then reported."""

from dataclasses import dataclass

from models.backends.errors import ImageError, RateLimited
from models.clock import Clock

OUTAGE_LIMIT = 60.0
"""Seconds for which one call waits for a job whose server fails every poll."""


@dataclass(slots=True)
class Outage:
    """Transient errors that every poll of a job has met since a moment."""

    clock: Clock
    since: float | None = None
    error: ImageError | None = None

    def met(self, error: ImageError, began: float) -> None:
        """Note the error of a poll that began then. Raises `error` itself unless it is transient."""
        if not error.transient:
            raise error
        self.error, self.since = error, began if self.since is None else self.since

    def end(self) -> None:
        self.error = self.since = None

    @property
    def lasting(self) -> bool:
        """Whether it is time to report it. A server that is only busy (429) is waited for."""
        if self.since is None or isinstance(self.error, RateLimited):
            return False
        return self.clock.now() - self.since >= OUTAGE_LIMIT
