"""Who may ask a server next.

The server paints one image at a time and holds every waiting request open in a pool of 40 threads, in which its other
answers wait too (AUTOMATIC1111 API, section "progress, queue, interrupt"): so requests queue here. Only until the next
job begins does it tell whether the last one was interrupted and what it left in the settings: so one at a time.
"""

from weakref import WeakValueDictionary

from gevent.event import Event

STREAK = 8
"""Images of one checkpoint in a row while requests for another one wait."""


class Gate:
    """Lets one request through at a time: first come, first served, but requests for the checkpoint of the last one go
    first, up to STREAK of them, because loading a model takes longer than painting an image."""

    def __init__(self) -> None:
        self.closed = False
        self._waiting: list[_Waiter] = []
        self._checkpoint = ""
        self._streak = 0

    def enter(self, checkpoint: str, *, timeout: float) -> bool:
        """Wait for a turn; False after `timeout` seconds without one. Every turn ends with `leave`."""
        waiter = _Waiter(checkpoint)
        self._waiting.append(waiter)
        self._admit()
        try:
            waiter.admitted.wait(timeout)
        except BaseException:  # killed while it waited, perhaps in the moment in which it was let in
            self._withdraw(waiter)
            raise
        if waiter.admitted.is_set():
            return True
        self._withdraw(waiter)
        return False

    def leave(self) -> None:
        self.closed = False
        self._admit()

    def _withdraw(self, waiter: "_Waiter") -> None:
        if waiter.admitted.is_set():
            self.leave()
        else:
            self._waiting.remove(waiter)

    def _admit(self) -> None:
        if self.closed or not self._waiting:
            return
        waiter = self._next()
        self._waiting.remove(waiter)
        self.closed = True
        self._streak = self._streak + 1 if waiter.checkpoint == self._checkpoint else 1
        self._checkpoint = waiter.checkpoint
        waiter.admitted.set()

    def _next(self) -> "_Waiter":
        first = self._waiting[0]
        if self._streak >= STREAK:
            return next((waiter for waiter in self._waiting if waiter.checkpoint != self._checkpoint), first)
        return next((waiter for waiter in self._waiting if waiter.checkpoint == self._checkpoint), first)


class _Waiter:
    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.admitted = Event()


_gates: WeakValueDictionary[str, Gate] = WeakValueDictionary()


def gate_of(base_url: str) -> Gate:
    """The gate of one server, kept as long as somebody uses it."""
    return _gates.setdefault(base_url.rstrip("/"), Gate())
