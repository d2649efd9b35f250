"""The choice among the servers of one form: which of them gets a job.

The servers are asked, in parallel and for a few seconds, what each can do for a request. Of those that have what it needs
the one with the shortest queue gets it; a model that is not loaded counts as one more job, and among equals that server
goes first which was used the longest ago. What a process knows of its servers is its own: nothing is shared between
processes.
"""

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import gevent
from gevent.pool import Pool

from models.backends.base import Backend
from models.backends.cache import ServerCache
from models.backends.errors import BadRequest, ImageError, RateLimited, ServerUnavailable
from models.clock import Clock, Deadline
from models.entities import ImageRequest

ASK_SECONDS = 3.0
"""How long a server may take to say what it can do for a request."""
LEFT_OUT_SECONDS = 30.0
"""How long a server that failed gets no job, until it is asked again."""
_REMEMBERED = 60.0  # seconds; longer than any queue report takes to arrive

# A line break, or a comma before white space, always separates; a comma or white space alone only where an address
# follows, because a path may have commas.
_SEPARATOR = re.compile(r"\s*\n\s*|\s*[,;，；]+\s+|\s*[,;，；\s]\s*(?=\S+?://|[^\s,;/]*[.:]|$)")


def split_addresses(text: str) -> tuple[str, ...]:
    """The addresses of a form's field, without doubles."""
    return tuple(dict.fromkeys(filter(None, (piece.strip(",;，；") for piece in _SEPARATOR.split(text.strip())))))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a server can do for a request. `lacks` says what it lacks, empty if nothing.

    `loaded`: whether it has the model in memory, as far as is known. `waiting` counts the jobs in its queue, the running
    one included and without those that still wait in this process.
    """

    lacks: str = ""
    loaded: bool = False
    waiting: int = 0


class PooledBackend(Backend, ABC):
    """A backend whose form takes several addresses; an instance is bound to one of them."""

    place: int = 0
    """The place of its address in the form's list, from 0."""
    handed_over: bool = False
    """Set right before the request that may start a job: what fails later may have arrived."""

    @abstractmethod
    def standing(self, request: ImageRequest, deadline: Deadline, *, fresh: bool) -> Standing:
        """Ask the server. `fresh`: a file may just have been added, so that nothing cached counts. Raises ImageError."""

    def version(self, request: ImageRequest) -> str | None:
        """Which of a model's two versions serves `request`; None where there is one."""
        del request
        return None

    @property
    def shown(self) -> str:
        """The address in messages: without scheme and login."""
        return urlsplit(self.service.base_url).netloc or self.service.base_url


def server_is_gone(backend: Backend) -> ServerUnavailable:
    """The error for a job whose place in the list has no server any more."""
    return ServerUnavailable(
        f"The job of {backend.model.name} was given to a server that is no longer in the list",
        next_step=f"Run it again; put new addresses at the end of {backend.model.access.where('base_url')}, and take one "
        "out when its jobs have ended",
    )


@dataclass(slots=True)
class ServerRecord:
    """What this process knows of one server. Times are on the monotonic clock."""

    used: float = 0.0  # when a job was last handed to it
    out_until: float = 0.0
    trouble: ImageError | None = None
    underway: int = 0  # jobs that are being handed over
    done: deque[float] = field(default_factory=deque)  # when the last ones were, which older reports do not show

    @contextmanager
    def handing_over(self, clock: Clock) -> Iterator[None]:
        self.used, self.underway = clock.monotonic(), self.underway + 1
        try:
            yield
        finally:
            self.underway -= 1
            self.done.append(clock.monotonic())
            while self.done[0] < self.done[-1] - _REMEMBERED:
                self.done.popleft()

    def unreported(self, since: float) -> int:
        """Jobs of this process that a report asked for at `since` does not hold."""
        return self.underway + sum(moment >= since for moment in self.done)

    def note(self, error: ImageError, now: float) -> None:
        """Leave the server out for a while, unless it is only this request that it cannot serve."""
        if not isinstance(error, (BadRequest, RateLimited)):
            self.trouble, self.out_until = error, now + LEFT_OUT_SECONDS

    def recover(self) -> None:
        self.trouble = None


_RECORDS: ServerCache[ServerRecord] = ServerCache(seconds=24 * 3600.0)


def record_of(backend: PooledBackend) -> ServerRecord:
    service = backend.service
    record = _RECORDS.get(service) or ServerRecord()
    _RECORDS.put(service, record)
    return record


@dataclass(frozen=True, slots=True)
class AbleServer[B: PooledBackend]:
    """A server that can take the request; `asked` is when it was asked."""

    backend: B
    record: ServerRecord
    standing: Standing
    asked: float

    @property
    def rank(self) -> tuple[float, bool, float, int]:
        """The lowest goes first. Loading a model takes about as long as one job."""
        waiting = self.standing.waiting + self.record.unreported(self.asked)
        return waiting + (not self.standing.loaded), not self.standing.loaded, self.record.used, self.backend.place


@dataclass(frozen=True, slots=True)
class ServerChooser[B: PooledBackend]:
    """Chooses among the servers of one pool, for one request."""

    members: Sequence[B]
    clock: Clock

    def in_order(self) -> list[B]:
        """Those that failed last come last."""
        return sorted(self.members, key=lambda one: record_of(one).trouble is not None)

    def candidates(
        self, request: ImageRequest, deadline: Deadline, failures: dict[int, ImageError]
    ) -> list[AbleServer[B]]:
        """The servers that can take the request. Why the others cannot is added to `failures`, by their places.

        One that failed a short while ago is asked again beside the request, which does not wait for it; where no other
        can take the request it is asked at once, as is everyone whose files may have changed meanwhile.
        """
        out = [one for one in self.members if record_of(one).trouble is not None]
        self._ask_again(out, request)
        healthy = [one for one in self.members if one not in out]
        return self._asked(healthy, request, deadline, failures) or self._asked(
            self.members, request, deadline, failures, fresh=True
        )

    def _asked(
        self,
        members: Sequence[B],
        request: ImageRequest,
        deadline: Deadline,
        failures: dict[int, ImageError],
        *,
        fresh: bool = False,
    ) -> list[AbleServer[B]]:
        until = deadline.earlier(ASK_SECONDS)
        found: list[AbleServer[B]] = []
        for one, answer in zip(
            members, in_parallel(lambda one: self._ask(one, request, until, fresh=fresh), members), strict=True
        ):
            if isinstance(answer, ImageError):
                failures[one.place] = answer
            else:
                failures.pop(one.place, None)
                found.append(answer)
        return found

    def _ask(self, one: B, request: ImageRequest, until: Deadline, *, fresh: bool) -> AbleServer[B]:
        record, asked = record_of(one), self.clock.monotonic()
        try:
            standing = one.standing(request, until, fresh=fresh)
        except ImageError as error:
            record.note(error, self.clock.monotonic())
            raise
        record.recover()
        if standing.lacks:
            next_step = "Install what is missing on one of the servers, or ask for what they have"
            raise BadRequest(f"The request cannot run on {one.shown}", standing.lacks, next_step)
        return AbleServer(one, record, standing, asked)

    def _ask_again(self, members: Sequence[B], request: ImageRequest) -> None:
        now = self.clock.monotonic()
        for one in members:
            record = record_of(one)
            if now >= record.out_until:
                record.out_until = now + LEFT_OUT_SECONDS
                gevent.spawn(self._look_again, one, request)

    def _look_again(self, one: B, request: ImageRequest) -> None:
        with suppress(ImageError):  # noted in the server's record
            self._ask(one, request, Deadline.after(self.clock, ASK_SECONDS), fresh=False)


def in_parallel[A, R](work: Callable[[A], R], items: Sequence[A]) -> list[R | ImageError]:
    """The outcome for each item; each fails on its own."""

    def attempt(item: A) -> R | ImageError | Exception:
        try:
            return work(item)
        except Exception as error:  # noqa: BLE001 -- raised below unless it is an ImageError; gevent would print it
            return error

    outcomes: list[R | ImageError] = []
    for outcome in Pool().map(attempt, items):
        if isinstance(outcome, Exception) and not isinstance(outcome, ImageError):
            raise outcome
        outcomes.append(outcome)
    return outcomes
