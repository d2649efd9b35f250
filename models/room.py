"""Room for results: how many bytes of results this process has in memory at a time.

Results that arrive at the same moment wait for the two threads that check images (`images.in_thread`). Without a bound all
of them would be in memory meanwhile. So the body of a result stays unread on its socket until there is room for it.

A call of the host that has room gets more without waiting: several images of one result cannot block each other. Its room
is free again when the call ends, when it goes on waiting for its job, and for others also some seconds after its last
MiB came: a slow server, or one image that waits for another, must not hold up the results of others.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import gevent
from gevent.event import Event

MIB = 1024 * 1024
FREE = 128 * 1024  # bytes of a body that are read without asking: most bodies are questions and answers about jobs
_KEY = "image_generation.room"
_numbers = count()


@dataclass(eq=False, slots=True)
class CallRoom:
    """The room of one call of the host for the account `form`; `size` bytes, which others respect until `until`."""

    room: "Room"
    form: int
    size: int = 0
    until: float = 0.0

    def take(self, size: int) -> None:
        """Room for `size` further bytes, as soon as there is some."""
        if not self.size:
            self.room.enter(self, size)
        else:
            self.size += size
        self.until = self.room.now() + self.room.lasting

    def leave(self) -> None:
        if self.size:
            self.room.leave(self)


@dataclass(eq=False, slots=True)
class _Waiting:
    call: CallRoom
    size: int
    number: int = field(default_factory=_numbers.__next__)
    admitted: Event = field(default_factory=Event)


class Room:
    """Room for `most` bytes in all; a single larger result gets in when it would be alone.

    `lasting`: seconds for which the room of a call counts after its last MiB. Of those that wait, the account with the
    fewest results in memory comes first, then the order of arrival.
    """

    def __init__(self, most: int, *, lasting: float = 10.0, now: Callable[[], float] = time.monotonic) -> None:
        self.lasting = lasting
        self.now = now
        self._most = most
        self._inside: list[CallRoom] = []
        self._waiting: list[_Waiting] = []

    def enter(self, call: CallRoom, size: int) -> None:
        waiting = _Waiting(call, size)
        self._waiting.append(waiting)
        try:
            self._admit()
            while not waiting.admitted.wait(self._next_end()):
                self._admit()
        except BaseException:  # the deadline of the request; what was let in meanwhile leaves with its call
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._admit()
            raise

    def leave(self, call: CallRoom) -> None:
        call.size = 0
        self._inside.remove(call)
        self._admit()

    def _admit(self) -> None:
        """Let in whoever is next, as long as there is room."""
        while self._waiting:
            results = Counter(call.form for call in self._inside)
            first = min(
                self._waiting, key=lambda waiting: (not waiting.call.size, results[waiting.call.form], waiting.number)
            )
            used = sum(call.size for call in self._counted())
            if used and used + first.size > self._most and not first.call.size:
                return
            self._waiting.remove(first)
            if not first.call.size:
                self._inside.append(first.call)
            first.call.size += first.size
            first.call.until = self.now() + self.lasting
            first.admitted.set()

    def _counted(self) -> list[CallRoom]:
        now = self.now()
        return [call for call in self._inside if call.until > now]

    def _next_end(self) -> float:
        """Seconds until the room of some call counts no more."""
        return max(0.01, min((call.until - self.now() for call in self._counted()), default=0.0))


RESULTS = Room(32 * MIB)


@contextmanager
def room_for_call(form: object, room: Room = RESULTS) -> Iterator[CallRoom]:
    """What this greenlet, and those that it starts inside the block, read of results shares one room."""
    here = gevent.getcurrent()
    before = getattr(here, "spawn_tree_locals", None)
    call = CallRoom(room, hash(repr(form)))
    here.spawn_tree_locals = {**(before or {}), _KEY: call}  # type: ignore[attr-defined]  # as in `trail`
    try:
        yield call
    finally:
        here.spawn_tree_locals = before  # type: ignore[attr-defined]
        call.leave()


def _current() -> CallRoom | None:
    shared = getattr(gevent.getcurrent(), "spawn_tree_locals", None)
    return shared.get(_KEY) if shared else None


def leave_room() -> None:
    """This call has no result in memory any more: it waits for its job, or another model is asked."""
    if call := _current():
        call.leave()


class Intake:
    """Takes room for a body while it is read. `expected` is its number of bytes where the server says it, else 0."""

    def __init__(self, expected: int) -> None:
        self._call = _current()
        self._expected = expected
        self._taken = 0
        self._next = FREE

    def received(self, size: int) -> None:
        """Call it before keeping the chunk that makes the body `size` bytes long."""
        if self._call is None or size <= self._next:
            return
        wanted = max(size, self._expected)
        self._call.take(wanted - self._taken)
        self._taken, self._next = wanted, size + MIB
