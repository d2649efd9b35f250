"""A job told while it runs: for callers that read a stream and asked for details."""

from collections.abc import Generator

import gevent
from gevent.queue import SimpleQueue

from models.backends.base import Backend
from models.entities import ImageRequest, ImageResult


def narrated(backend: Backend, request: ImageRequest) -> Generator[str, None, ImageResult]:
    """`backend.invoke(request)`, with a few words for each change of the job's state ("queued 2nd", "step 12/30").

    Returns the result; raises what `invoke` raises.
    """
    words: SimpleQueue[str | None] = SimpleQueue()
    backend.on_progress = lambda running: words.put(running.progress)

    def work() -> ImageResult | Exception:
        try:
            return backend.invoke(request)
        except Exception as error:  # noqa: BLE001 -- raised below; gevent would print it first
            return error
        finally:
            words.put(None)

    worker = gevent.spawn(work)
    told = ""
    for word in iter(words.get, None):
        if word and word != told:
            yield word
            told = word
    outcome = worker.get()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
