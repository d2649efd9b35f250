"""Questions to a server beside its jobs: ones that outlive the call which asks them, and ones that can be left out.

In polling the host waits for each check, so that a check waits a moment only. A server that is slower than that, or far
away, would never be heard: its answer is awaited in the background and belongs to the next check of this process.
"""

from collections.abc import Callable
from typing import Any

import gevent

from models.backends.cache import ServerCache
from models.backends.errors import ImageError
from models.backends.http import Service
from models.clock import Deadline

ANSWER_SECONDS = 10.0
"""For an answer, the background included."""

SILENCE_SECONDS = 20.0
"""For which a server that failed to answer is not asked what can be left out: a form must not wait each time."""

_SILENT: ServerCache[bool] = ServerCache(seconds=SILENCE_SECONDS)
_ASKED: ServerCache["gevent.Greenlet[..., Any]"] = ServerCache(seconds=60)


def answered[T](service: Service, question: str, ask: Callable[[Deadline], T], until: Deadline) -> T:
    """The answer of `ask`, which is begun here or was by an earlier call; `question` names it at this service.

    Raises what `ask` raises, and TimedOutError when there is no answer by `until`.
    """
    asked: gevent.Greenlet[..., T | Exception] | None = _ASKED.get(service, question)
    if asked is None:  # one that has its answer counts as false
        asked = gevent.spawn(_caught, ask, service)
    _ASKED.put(service, asked, question)
    over = gevent.Timeout(until.remaining)
    try:
        with over:
            asked.join()
    except gevent.Timeout as passed:
        if passed is not over:
            raise
        raise service.late("Asking for the state of the job") from None
    _ASKED.drop(service, question)
    answer = asked.get()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _caught[T](ask: Callable[[Deadline], T], service: Service) -> T | Exception:
    # An error is a value here: gevent prints what a greenlet raises.
    try:
        return ask(Deadline.after(service.clock, ANSWER_SECONDS))
    except Exception as error:  # noqa: BLE001 -- raised by whoever waits for it
        return error


def optional[T](service: Service, ask: Callable[[], T], otherwise: T) -> T:
    """The answer of `ask`; `otherwise` where it fails, or another one at this service failed a moment ago."""
    if _SILENT.get(service):
        return otherwise
    try:
        return ask()
    except ImageError:  # what needs the server reports the error
        _SILENT.put(service, True)
        return otherwise
