"""Work that would stop every greenlet of the process, run in gevent's thread pool: image files, SQLite, obstore.

The pool belongs to the whole process and resolves host names too, so each kind of work gets a bounded share of it.
"""

from collections.abc import Callable
from typing import cast

import gevent
from gevent.lock import BoundedSemaphore


class ThreadShare:
    """At most `most` threads of the pool at a time; further calls wait their turn without holding anybody up."""

    def __init__(self, most: int) -> None:
        self._free = BoundedSemaphore(most)

    def run[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` returns. Raises as `work`."""

        def outcome() -> tuple[R | None, Exception | None]:
            try:
                return work(*args, **kwargs), None
            except Exception as error:  # noqa: BLE001 -- raised below; the thread pool would print its traceback
                return None, error

        with self._free:
            value, error = gevent.get_hub().threadpool.apply(outcome)
        if error is not None:
            raise error
        return cast(R, value)
