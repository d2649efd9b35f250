"""The other half of the cache: what a service made is kept, and the lease of who made it is renewed and given back."""

from dataclasses import dataclass, field, replace

from models.backends.errors import BadRequest, logger
from models.clock import Clock, SystemClock
from models.entities import ImageResult
from models.limits import Limits
from models.settings import Settings
from models.stages.cache.entries import CachedResult, Neighbour, decoded_neighbours, encoded_neighbours
from models.stages.cache.fault import CacheFaultError
from models.stages.cache.flights import land
from models.stages.cache.key import account_name
from models.stages.cache.leases import leases_of
from models.stages.cache.lookup import POLLED_LEASE
from models.stages.cache.note import CacheNote
from models.stages.cache.shelf import Shelf, shelf_of
from models.stages.carried import Carried

_MOST_NEIGHBOURS = 100


@dataclass(slots=True)
class CacheKeeping:
    """Two stages of one result: `take` has the images as the service made them, `keep` knows where they are kept."""

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    taken: ImageResult | None = None

    def take(self, result: ImageResult, _: Carried) -> ImageResult:
        self.taken = result
        return result

    def keep(self, result: ImageResult, carried: Carried) -> ImageResult:
        """A result that is not whole, or another model's, is no answer to an equal request and is not kept."""
        note, made = CacheNote.of(carried), self.taken
        if note is None or made is None or made.cached:
            return result
        if len(made.images) != note.n or made.model != note.model:
            return result
        if not can_be_cached(result):
            notice = "The video was not cached: that needs storage with an address, as the service's own ends soon."
            return replace(result, notices=(*result.notices, notice))
        try:
            self._keep(result, made, note, carried)
        except CacheFaultError as fault:
            return replace(result, notices=(*result.notices, fault.notice))
        except BadRequest as unreadable:
            return replace(result, notices=(*result.notices, f"The cache failed: {unreadable}"))
        return result

    def _keep(self, result: ImageResult, made: ImageResult, note: CacheNote, carried: Carried) -> None:
        shelf = shelf_of(self.settings, account_name(self.settings), self.clock)
        seconds = Limits.read(self.settings).cache
        own = tuple(notice for notice in made.notices if notice not in note.told)
        price = made.priced(carried.price_per_image).price
        kept = tuple(replace(raw, kept=done.kept) for raw, done in zip(made.images, result.images, strict=False))
        cached = CachedResult(self.clock.now(), made.backend, made.model, kept, own, price)
        shelf.put(note.name, cached.encoded(), seconds)
        if note.vector:
            _add_neighbour(shelf, note, seconds)


def can_be_cached(result: ImageResult) -> bool:
    """A video from the cache must be kept somewhere: most are too large for the bytes of an answer."""
    return all(not image.is_video or (image.kept and image.kept.url) for image in result.images)


def _add_neighbour(shelf: Shelf, note: CacheNote, seconds: float) -> None:
    """Two at the same time may forget one of them: it is made again, never mistaken for another."""
    others = [other for other in decoded_neighbours(shelf.get(note.near)) if other.name != note.name]
    own = Neighbour(note.name, note.bag, tuple(note.vector))
    shelf.put(note.near, encoded_neighbours([*others, own][-_MOST_NEIGHBOURS:]), seconds)


def renew(settings: Settings, carried: Carried, clock: Clock) -> None:
    """A polled request that leads goes on leading. Never raises."""
    note = CacheNote.of(carried)
    if note and note.leads:
        try:
            leases_of(settings, clock).take(note.name, carried.receipt.id, POLLED_LEASE)
        except CacheFaultError as error:
            logger.warning("a lease of the cache could not be renewed: %s", error.said)


def release(settings: Settings, carried: Carried, clock: Clock) -> None:
    """The request has ended: who waits for it is let go. Never raises."""
    note = CacheNote.of(carried)
    if note and note.leads:
        land(leases_of(settings, clock), note.name, carried.receipt.id)
