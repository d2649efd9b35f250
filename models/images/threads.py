"""Where CPU work runs: in gevent's thread pool, so that heartbeats and other requests go on meanwhile."""

from collections.abc import Callable
from functools import wraps
from typing import cast

import gevent
from gevent.lock import BoundedSemaphore

_AT_ONCE = BoundedSemaphore(2)  # more would only hold more memory: the host's container has few cores


def in_thread[**P, R](work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run CPU work on an image outside the hub's thread.

    At most two images are worked on at once in the whole process. What `work` raises is raised here.
    """

    def outcome() -> tuple[R | None, Exception | None]:
        # The thread pool would print every exception with its traceback before handing it on.
        try:
            return work(*args, **kwargs), None
        except Exception as error:  # noqa: BLE001 -- nothing is swallowed, it is raised below
            return None, error

    with _AT_ONCE:
        value, error = gevent.get_hub().threadpool.apply(outcome)
    if error is not None:
        raise error
    return cast(R, value)


def threaded[**P, R](work: Callable[P, R]) -> Callable[P, R]:
    """A function that always runs `in_thread`; it must not be called by another one that does."""

    @wraps(work)
    def elsewhere(*args: P.args, **kwargs: P.kwargs) -> R:
        return in_thread(work, *args, **kwargs)

    return elsewhere
