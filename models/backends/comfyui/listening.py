"""Waiting for a job by its events, where a socket can be had, and by the clock where none can."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from models.backends.comfyui.events import Event, Progress
from models.backends.comfyui.memory import Memory
from models.backends.comfyui.socket import NoSocket
from models.backends.http import Service
from models.clock import Clock, Deadline

GREETING = 2.0  # seconds; the server greets at once, so a socket that stays silent longer is blocked on the way
REOPEN = 5.0  # seconds between attempts to get a lost socket back
_NO_SOCKET = Memory[bool](seconds=60.0, limit=256)
"""Servers that lately refused the socket: asking again with every image would only cost time."""


class Socket(Protocol):
    def next(self, seconds: float) -> Event | None: ...

    def close(self) -> None: ...


type Opener = Callable[[Service, str], Socket]


@dataclass
class Ears:
    """Hears the events of one job into `progress`. Deaf without a socket; then it just lets time pass."""

    service: Service
    client_id: str
    progress: Progress
    clock: Clock
    opener: Opener
    _socket: Socket | None = field(default=None, init=False)
    _tried: float = field(default=0.0, init=False)

    @property
    def deaf(self) -> bool:
        return self._socket is None

    def open(self) -> None:
        """Try to get a socket, at most every REOPEN seconds. Never raises: polling does as well."""
        if not self.deaf or self._recently_tried() or _NO_SOCKET.get(self.service.base_url):
            return
        self._tried = self.clock.now()
        try:
            self._socket = self._greeted(self.opener(self.service, self.client_id))
        except NoSocket as none:
            if none.forbidden:
                _NO_SOCKET.put(self.service.base_url, True)

    def listen(self, quiet: Callable[[], float], until: Deadline) -> None:
        """Take in events until the job is over, nothing came for `quiet()` seconds, or `until` passes."""
        end = until.earlier(quiet())
        while not self.progress.over and not end.passed:
            if self._socket is None:
                self.clock.sleep(end.remaining)
            elif self._hear(self._socket, end.remaining):
                end = until.earlier(quiet())
            elif self.deaf:
                return  # lost on the way: what was missed is worth a look at once

    def close(self) -> None:
        """Let the socket go; the next one with this client id must find the place free."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _hear(self, socket: Socket, seconds: float) -> bool:
        """Whether something about our own job was heard within `seconds`."""
        try:
            event = socket.next(seconds)
        except NoSocket:
            self.close()
            self.progress.started.clear()  # the server may have been restarted, and have forgotten the job
            return False
        if event is None:
            return False
        self.progress.hear(event)
        return event.prompt_id in self.progress.ids

    def _greeted(self, socket: Socket) -> Socket:
        greeting = socket.next(GREETING)
        if greeting is None:
            socket.close()
            raise NoSocket(forbidden=True)
        self.progress.hear(greeting)  # what comes first is a status, but nothing depends on it
        return socket

    def _recently_tried(self) -> bool:
        return self.clock.now() - self._tried < REOPEN
