"""Equal requests in flight: one makes the image, the others of this process wait together until it is there.

However many wait, one greenlet asks for the state of a lease. A request that leads renews its lease while its process lives;
a polled one renews it with every check.
"""

import gevent
from gevent.event import Event
from gevent.greenlet import Greenlet

from models.backends.errors import logger
from models.stages.cache.fault import CacheFaultError
from models.stages.cache.leases import Leases

LEASE = 20.0
"""Seconds for which a lease is taken in a call."""
_RENEWED = 5.0  # seconds between two renewals; several may fail
_LOOK = 0.2  # seconds between two looks at a lease of another process

_leading: "dict[tuple[str, str], Greenlet[..., None]]" = {}
_awaited: dict[str, Event] = {}


def lead(leases: Leases, name: str, holder: str, seconds: float) -> None:
    """Renew a lease that was taken until `land`, as long as this process lives, for `seconds` at most."""
    if (name, holder) not in _leading:
        _leading[name, holder] = gevent.spawn(_renew, leases, name, holder, int(seconds / _RENEWED))


def land(leases: Leases, name: str, holder: str) -> None:
    """Give a lease back, and let go who waits for it. Never raises: the lease ends by itself."""
    renewing = _leading.pop((name, holder), None)
    if renewing is not None:
        renewing.kill(block=False)
    try:
        leases.drop(name, holder)
    except CacheFaultError as error:
        logger.warning("a lease of the cache could not be given back: %s", error.said)
    if awaited := _awaited.pop(name, None):
        awaited.set()


def wait(leases: Leases, name: str, seconds: float) -> bool:
    """Wait until nobody holds the lease, at most `seconds`. Returns whether that came true."""
    event = _awaited.get(name)
    if event is None:
        event = _awaited[name] = Event()
        gevent.spawn(_watch, leases, name, event)
    return bool(event.wait(max(0.0, seconds)))


def _renew(leases: Leases, name: str, holder: str, times: int) -> None:
    for _ in range(times):
        gevent.sleep(_RENEWED)
        try:
            if leases.take(name, holder, LEASE) != holder:
                return  # it was late, and another one leads
        except CacheFaultError as error:
            logger.warning("a lease of the cache could not be renewed: %s", error.said)


def _watch(leases: Leases, name: str, event: Event) -> None:
    try:
        while _awaited.get(name) is event and not leases.is_free(name):
            gevent.sleep(_LOOK)
    except CacheFaultError as error:
        logger.warning("the leases of the cache could not be read: %s", error.said)
    finally:
        if _awaited.get(name) is event:
            del _awaited[name]
        event.set()
