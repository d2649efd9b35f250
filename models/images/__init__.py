"""Image files: what they are, whether they are whole, and how they are decoded, encoded and made smaller.

`sniff` reads a header and `integrity` proves a file whole; both work on the bytes alone and load no image library.
`codec` decodes, encodes and makes an image fit into a number of bytes, `inputs` is for images given by users.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import gevent
from gevent.lock import BoundedSemaphore

_AT_ONCE = BoundedSemaphore(2)  # images; more would only hold more memory: the host's container has few cores


def in_thread[**P, R](work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run CPU work on an image in gevent's thread pool: heartbeats and other requests go on. Raises as `work`."""

    def outcome() -> tuple[R | None, Exception | None]:
        try:
            return work(*args, **kwargs), None
        except Exception as error:  # noqa: BLE001 -- raised below; the thread pool would print its traceback
            return None, error

    with _AT_ONCE:
        value, error = gevent.get_hub().threadpool.apply(outcome)
    if error is not None:
        raise error
    return cast(R, value)


def threaded[**P, R](work: Callable[P, R]) -> Callable[P, R]:
    """A function that always runs `in_thread`; it must not be called by another one that does."""
    return partial(in_thread, work)
