"""The trail of one host call: the HTTP requests that were sent for it, and whether its job was seen in a queue.

Nothing is kept unless a trail was begun, which only telemetry does. The greenlets of a call share its trail by gevent's
`spawn_tree_locals`: context variables do not reach a greenlet's children.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, Protocol
from urllib.parse import urlsplit

import gevent
import requests

from models.backends.reply import Reply
from models.clock import Clock

_KEY = "image_generation.trail"
_MOST = 100  # requests of one host call; a job that takes long is asked for its state many times


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One attempt of an HTTP request: no path, no query and no header, which may hold keys or addresses of images.

    `began` and `ended` are epoch seconds, `status` is None without a reply; then `error` names the exception's class.
    """

    method: str
    host: str
    port: int | None
    began: float
    ended: float
    status: int | None
    error: str = ""


@dataclass(eq=False)
class CallTrail:
    """`dropped` counts the requests beyond the first hundred; `queued_at` is when the job was last seen in a queue."""

    calls: list[HttpCall] = field(default_factory=list)
    dropped: int = 0
    queued_at: float | None = None

    def add(self, call: HttpCall) -> None:
        if len(self.calls) < _MOST:
            self.calls.append(call)
        else:
            self.dropped += 1

    def taken(self) -> Sequence[HttpCall]:
        """The requests so far; further ones belong to nobody."""
        calls, self.calls, self.dropped = self.calls, [], 0
        return calls


def begin_trail() -> CallTrail:
    """The trail of everything that this greenlet, and those that it starts from now on, send."""
    here, trail = gevent.getcurrent(), CallTrail()
    tree = {**(getattr(here, "spawn_tree_locals", None) or {}), _KEY: trail}
    here.spawn_tree_locals = tree  # type: ignore[attr-defined]  # gevent's documented way to begin a tree
    return trail


def _trail() -> CallTrail | None:
    shared = getattr(gevent.getcurrent(), "spawn_tree_locals", None)
    return shared.get(_KEY) if shared else None


def note_queued(clock: Clock) -> None:
    """The job waits in its service's queue at this moment."""
    if trail := _trail():
        trail.queued_at = clock.now()


class _Timed(Protocol):
    @property
    def clock(self) -> Clock: ...


def noted[S: _Timed, **P](
    send: Callable[Concatenate[S, requests.PreparedRequest, P], Reply],
) -> Callable[Concatenate[S, requests.PreparedRequest, P], Reply]:
    """`send`, which puts what it sends on the trail, if there is one."""

    @wraps(send)
    def sending(service: S, request: requests.PreparedRequest, /, *args: P.args, **kwargs: P.kwargs) -> Reply:
        trail = _trail()
        if trail is None:
            return send(service, request, *args, **kwargs)
        began, status, error = service.clock.now(), None, ""
        try:
            reply = send(service, request, *args, **kwargs)
            status = reply.status
        except BaseException as failed:  # a timeout of gevent too
            error = type(failed).__name__
            raise
        finally:
            host, port = _host_and_port(request.url or "")
            trail.add(HttpCall(request.method or "", host, port, began, service.clock.now(), status, error))
        return reply

    return sending


def _host_and_port(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None
