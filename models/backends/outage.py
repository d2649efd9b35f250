"""A server in trouble while a job runs there: waited out for a while, then told."""

from dataclasses import dataclass

from models.backends.errors import ImageError, RateLimited
from models.clock import Clock

OUTAGE_LIMIT = 60.0
"""Seconds for which a server may be in trouble while one call waits for its job."""


@dataclass(slots=True)
class Outage:
    """Passing trouble, such as lost connections, that every look at a job has met since a moment."""

    clock: Clock
    since: float | None = None
    error: ImageError | None = None

    def met(self, error: ImageError, began: float) -> None:
        """Note what a look, which began then, has met. Raises `error` itself where it is no passing trouble."""
        if not error.transient:
            raise error
        self.error, self.since = error, began if self.since is None else self.since

    def end(self) -> None:
        self.error = self.since = None

    @property
    def lasting(self) -> bool:
        """Whether it is time to tell. Who says that he has too much to do is waited for."""
        if self.since is None or isinstance(self.error, RateLimited):
            return False
        return self.clock.now() - self.since >= OUTAGE_LIMIT
