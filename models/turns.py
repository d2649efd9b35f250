"""The turns of the models of one request: how long each has, and what the one in turn makes of it.

A job whose turn has passed is cancelled first. Where its service does not confirm that, the job may cost money: it keeps the
rest of the time, and no other model is asked.
"""

import math
from dataclasses import dataclass, replace

from models.backends.base import SYNC_LIMIT, Backend, Job, JobBackend
from models.backends.errors import ImageError
from models.clock import Deadline
from models.entities import ImageRequest, ImageResult
from models.routing import Admit, ModelRequest, ModelRoute


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that goes on, in this turn."""

    turn: "Turn"
    job: Job


@dataclass(frozen=True, slots=True)
class Turn:
    """The model in turn. Seconds since the epoch: the request began at `began`, this turn ends at `until`, the job at `ends`.

    `route` is None where no other model may be asked any more.
    """

    backend: Backend
    route: ModelRoute | None
    began: float
    until: float
    ends: float

    @classmethod
    def first(
        cls, route: ModelRoute, backend: Backend, began: float, request: ImageRequest
    ) -> "tuple[Turn, ImageRequest]":
        """The turn of the first model; all of them have `request.timeout` seconds from now on."""
        ends = began + request.timeout
        return cls(backend, route, began, ends, ends).shared(request)

    def next(self, error: ImageError, called: float, admit: Admit) -> "tuple[Turn, ImageRequest]":
        """The turn of the next model, in a call that the host made at `called`. Raises `error` where there is none."""
        if self.route is None:
            raise error
        found: ModelRequest = self.route.after(error, self.backend, self.remaining, admit)
        turn, request = replace(self, backend=found.backend, until=self.ends).shared(found.request)
        in_this_call = max(1.0, called + SYNC_LIMIT - self.backend.clock.now())
        return turn, replace(request, timeout=min(in_this_call, request.timeout, max(1.0, turn.remaining)))

    def serve(self, request: ImageRequest, *, hold: float) -> ImageResult | Unfinished:
        """Hand the request over. A job is looked at for `hold` seconds; endless: until its end. Raises ImageError."""
        backend = self.backend
        if not isinstance(backend, JobBackend) or (math.isinf(hold) and not self._others):
            return backend.invoke(request)
        backend.in_one_call = math.isinf(hold)
        job = backend.submit(request)
        if isinstance(job, ImageResult):
            return job
        # Checks get no images, so that an accepted job with input images stays where it is.
        stays = bool(request.images) and not math.isinf(hold)
        return (replace(self, route=None, until=self.ends) if stays else self).watch(job, hold=hold)

    def watch(self, job: Job, *, hold: float) -> ImageResult | Unfinished:
        """Look at an accepted job, as `serve` does. Raises ImageError."""
        backend = self.backend
        assert isinstance(backend, JobBackend)  # noqa: S101 -- nothing else accepts jobs
        until = Deadline(backend.clock, self.until)
        seen = backend.watch(job, until.earlier(hold), started=self.began)
        if isinstance(seen, ImageResult):
            return seen
        if not math.isinf(hold) and not until.passed:
            return Unfinished(self, job)
        ended = self._others and _ended_for_free(backend, job)
        if self._others and not ended:
            last = replace(self, route=None, until=self.ends)
            return last.watch(job, hold=hold) if math.isinf(hold) else Unfinished(last, job)
        try:
            return backend.give_up(job, seen)
        except ImageError as late:
            late.undone = ended
            if ended:  # in place of the words of a job without others
                late.said = late.said.replace("the time limit of the job", "its share of the time limit", 1)
            raise

    @property
    def _others(self) -> bool:
        return self.route is not None and self.route.left

    @property
    def remaining(self) -> float:
        return Deadline(self.backend.clock, self.ends).remaining

    def shared(self, request: ImageRequest) -> "tuple[Turn, ImageRequest]":
        """A service that charges has all the time for a call: one that is cut off may cost money and gives nothing."""
        if self.route is None or not self.route.left:
            return self, request
        share = self.route.share(self.remaining)
        turn = replace(self, until=min(self.ends, self.backend.clock.now() + share))
        return turn, request if self.backend.charges else replace(request, timeout=min(share, request.timeout))


def _ended_for_free(backend: JobBackend, job: Job) -> bool:
    """Whether a job costs nothing once it is given up. One that may cost something is left alone."""
    if not backend.charges:
        return True
    if not backend.free_to_cancel:
        return False
    try:
        backend.cancel(job)
    except ImageError:
        return False
    return True
