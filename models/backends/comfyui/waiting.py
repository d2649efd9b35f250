"""Waiting for one job: by its events where there is a socket, by the clock where there is none.

Only the history decides that a job is over. With a socket a warm job costs one look at its end; without one, or with
one that stays silent, looks come by the clock, so that nothing depends on an event that may never arrive.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from models.backends.base import Running
from models.backends.cache import ServerCache
from models.backends.comfyui.events import EventSocket, JobProgress, NoSocketError, SocketOpener
from models.backends.comfyui.jobs import JobTracker
from models.backends.comfyui.state import JobState
from models.backends.errors import ImageError
from models.backends.http import Service
from models.backends.partial import Partial
from models.clock import Clock, Deadline

GREETING = 2.0  # seconds; the server greets at once, so a socket that stays silent longer is blocked on the way
REOPEN = 5.0  # seconds between attempts to get a lost socket back
FIRST_LOOK = 1.0  # seconds without a start, after which a reader wants to know the place in the queue
QUEUED = 5.0  # seconds between looks at the queue, which carries every waiting graph
SILENCE = 10.0  # seconds without an event of a running job: a model is being loaded, or the socket is dead

_NO_SOCKET = ServerCache[bool](seconds=60.0)
"""Servers that lately refused the socket: trying again with every image would only cost time."""


@dataclass
class EventStream:
    """The events of one job, read into `progress`. Without a socket it just lets time pass."""

    service: Service
    client_id: str
    progress: JobProgress
    clock: Clock
    opener: SocketOpener
    _socket: EventSocket | None = field(default=None, init=False)
    _tried: float = field(default=0.0, init=False)

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def open(self) -> None:
        """Try to get a socket, at most every REOPEN seconds. Never raises: polling works as well."""
        lately = self.clock.now() - self._tried < REOPEN
        if self.connected or lately or _NO_SOCKET.get(self.service):
            return
        self._tried = self.clock.now()
        try:
            self._socket = self._greeted(self.opener(self.service, self.client_id))
        except NoSocketError as none:
            if none.forbidden:
                _NO_SOCKET.put(self.service, True)

    def listen(self, patience: Callable[[], float], until: Deadline) -> None:
        """Take in events until the job is over, nothing came for `patience()` seconds, or `until` passes."""
        end = until.earlier(patience())
        while not self.progress.over and not end.passed:
            if self._socket is None:
                self.clock.sleep(end.remaining)
            elif self._hear(self._socket, end.remaining):
                end = until.earlier(patience())
            elif not self.connected:
                return  # the connection was lost, and events may have been missed: look at once

    def close(self) -> None:
        """Close the socket: the server keeps one socket per client id, and the next one must find the place free."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _hear(self, source: EventSocket, seconds: float) -> bool:
        """Whether an event of this job came within `seconds`."""
        try:
            event = source.next(seconds)
        except NoSocketError:
            self.close()
            self.progress.started.clear()  # the server may have been restarted and have forgotten the job
            return False
        if event is None:
            return False
        self.progress.hear(event)
        return event.prompt_id in self.progress.ids

    def _greeted(self, source: EventSocket) -> EventSocket:
        greeting = source.next(GREETING)
        if greeting is None:
            source.close()
            raise NoSocketError(forbidden=True)
        self.progress.hear(greeting)  # usually a status, but nothing depends on it
        return source


@dataclass
class JobWait:
    """`pause(age)` is the number of seconds between looks where no socket helps; `say` is told what a look found."""

    tracker: JobTracker
    events: EventStream
    state: JobState
    clock: Clock
    started: float
    pause: Callable[[float], float]
    say: Callable[[str], None]
    _seen: Running = field(default_factory=Running, init=False)
    _queue_seen: float | None = field(default=None, init=False)

    def until(self, end: Deadline, *, look_first: bool) -> Running | Partial:
        """Wait for the job's end or `end`. `look_first`: the socket was opened too late to have heard everything.

        Transient trouble is waited out; raises ImageError for a job that failed.
        """
        due = look_first
        while True:
            if due and isinstance(seen := self._look(), Partial):
                return seen
            if end.passed:
                return Running(self.events.progress.words or self._seen.progress)
            self.events.open()
            self.events.listen(self._patience, end)
            due = self.events.progress.over or not end.passed

    def _look(self) -> Running | Partial:
        progress = self.events.progress
        try:
            seen = self.tracker.look(self.state, places=not progress.over and self._queue_due())
        except ImageError as error:
            if not error.transient:
                raise
            return self._seen
        finally:
            # A submission that had to be repeated may have another id, and an end that was only heard counts for one look.
            progress.ids = self.state.ids
            progress.ended = self.tracker.ended
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

    def _patience(self) -> float:
        """How long silence may last before the next look."""
        heard = bool(self.events.progress.started)
        if not self.events.connected or (self.tracker.at_work and not heard):
            return self.pause(self.clock.now() - self.started)
        if heard:
            return SILENCE
        return FIRST_LOOK if self._queue_seen is None else QUEUED
