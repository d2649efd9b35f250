"""Errors of a server while a job runs there: ignored for a while, then reported."""

from dataclasses import dataclass

from models.backends.errors import ConnectionFailed, ImageError, RateLimited
from models.backends.http import TimedOutError, timed_out
from models.clock import Clock

OUTAGE_LIMIT = 60.0
"""Seconds for which one call waits for a job whose server fails every poll."""


@dataclass(slots=True)
class Outage:
    """Transient errors that every poll of a job has met since a moment."""

    clock: Clock
    since: float | None = None
    error: ImageError | None = None
    busy: bool = False

    def met(self, error: ImageError, began: float) -> None:
        """Note the error of a poll that began then. Raises `error` itself unless it is transient."""
        if not error.transient:
            raise error
        self.since, self.busy = began if self.since is None else self.since, isinstance(error, RateLimited)
        if self.error is None or not isinstance(error, TimedOutError):  # an earlier failure tells the cause
            self.error = error

    def end(self) -> None:
        self.error = self.since = None

    @property
    def pause(self) -> float:
        """Seconds to leave the server alone: one that goes on failing is asked every second."""
        return 0.0 if self.since is None else min(1.0, (self.clock.now() - self.since) / 8)

    @property
    def lasting(self) -> bool:
        """Whether it is time to report it. A server that is only busy (429) is waited for."""
        if self.since is None or self.busy:
            return False
        return self.clock.now() - self.since >= OUTAGE_LIMIT

    def reason(self, attempt: str, title: str, where: str, more_time: str = "") -> ImageError:
        """Why a job is given up: in this outage, or at its deadline where there is none.

        `where` is the form field of the service's address, `more_time` the next step after a deadline if a longer
        `timeout` does not help; in an outage it never does.
        """
        if self.error is None:
            late = timed_out(attempt)
            late.next_step = more_time or late.next_step
            return late
        # Not TimedOutError, whose advice is more time.
        kind = ConnectionFailed if isinstance(self.error, ConnectionFailed) else type(self.error)
        return kind(
            f"{attempt} failed",
            f"the state of the job could not be read ({self.error.said})",
            f"Check {title} at the address in {where} before trying again: the job may still be processed",
        )
