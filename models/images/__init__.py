"""Image files: what they are, whether they are whole, and how they are decoded, encoded and made smaller.

`sniff` reads a header and `integrity` proves a file whole; both work on the bytes alone and load no image library.
`codec` decodes, encodes and makes an image fit into a number of bytes, `inputs` is for images given by users.
"""

from collections.abc import Callable
from functools import partial

from models.threads import ThreadShare

in_thread = ThreadShare(2).run  # images; more would only hold more memory: the host's container has few cores
"""Run CPU work on an image in gevent's thread pool: heartbeats and other requests go on. Raises as the work."""


def threaded[**P, R](work: Callable[P, R]) -> Callable[P, R]:
    """A function that always runs `in_thread`; it must not be called by another one that does."""
    return partial(in_thread, work)
