"""Waiting for one job: the socket tells when a look is worth its requests, the clock tells when the socket does not.

The history alone decides. With a socket a warm job costs one look at its end; without one, or with one that stays
silent, looks come by the clock, so that nothing depends on an event that may never arrive.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from models.backends.base import Running
from models.backends.comfyui.listening import Ears
from models.backends.comfyui.state import JobState
from models.backends.comfyui.tracking import Made, Tracker
from models.backends.errors import ImageError
from models.clock import Clock, Deadline

FIRST_LOOK = 1.0  # seconds without a start: then a reader wants to know the place in the queue
QUEUED = 5.0  # seconds between looks at the queue, which carries every waiting graph
SILENCE = 10.0  # seconds without an event of a running job: a model is being loaded, or the socket is dead


@dataclass
class Wait:
    """`pause` says how many seconds lie between looks where no socket helps, for a job of a given age in seconds;
    `say` is told what a look has found."""

    tracker: Tracker
    ears: Ears
    state: JobState
    clock: Clock
    started: float
    pause: Callable[[float], float]
    say: Callable[[str], None]
    _seen: Running = field(default_factory=Running, init=False)
    _queue_seen: float | None = field(default=None, init=False)

    def until(self, end: Deadline, *, look_first: bool) -> Running | Made:
        """Wait for the job's end or `end`. `look_first`: the socket was opened too late to have heard everything.

        Transient trouble is waited out; raises ImageError for a job that failed.
        """
        due = look_first
        while True:
            if due and isinstance(seen := self._look(), Made):
                return seen
            if end.passed:
                return Running(self.ears.progress.words or self._seen.progress)
            self.ears.open()
            self.ears.listen(self._quiet, end)
            due = self.ears.progress.over or not end.passed

    def _look(self) -> Running | Made:
        progress = self.ears.progress
        try:
            seen = self.tracker.look(self.state, places=not progress.over and self._queue_due())
        except ImageError as error:
            if not error.transient:
                raise
            return self._seen
        finally:
            # A run that had to be repeated goes on under another id, and an end counts for one look only.
            progress.ids = self.state.ids
            progress.ended.clear()
        if isinstance(seen, Running) and not progress.started:
            self._seen = seen
            self.say(seen.progress)
        return seen

    def _queue_due(self) -> bool:
        now = self.clock.now()
        due = self._queue_seen is None or now - self._queue_seen >= QUEUED
        if due:
            self._queue_seen = now
        return due

    def _quiet(self) -> float:
        """How long silence may last before the next look."""
        heard = bool(self.ears.progress.started)
        if self.ears.deaf or (self.tracker.at_work and not heard):
            return self.pause(self.clock.now() - self.started)
        if heard:
            return SILENCE
        return FIRST_LOOK if self._queue_seen is None else QUEUED
