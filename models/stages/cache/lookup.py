"""The stage before the service: an equal or similar request's image, or the right to make it.

A cache that fails costs no image: the request goes on with a notice.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal

from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import timed_out
from models.clock import Clock, SystemClock
from models.entities import ImageRequest, ImageResult, InputImage, Price
from models.limits import Limits
from models.settings import Settings
from models.stages.cache.entries import CachedResult, UnreadableEntryError, decoded_neighbours
from models.stages.cache.fault import CacheFaultError
from models.stages.cache.flights import LEASE, land, lead, wait
from models.stages.cache.key import CacheKey, account_name, key_of
from models.stages.cache.leases import Leases, leases_of
from models.stages.cache.meaning import FIELD, Meaning
from models.stages.cache.note import CacheNote, dumped, loaded
from models.stages.cache.shelf import Shelf, shelf_of
from models.stages.carried import Carried, Following

POLLED_LEASE = 75.0
"""Seconds for which a polled request leads; two of its checks are at most 30 apart."""
_MOST_FOLLOWED = 2  # flights; a request that saw so many of them fail makes its image alone


@dataclass(frozen=True, slots=True)
class CacheLookup:
    settings: Settings
    clock: Clock = field(default_factory=SystemClock)

    def __call__(self, request: ImageRequest, carried: Carried) -> ImageRequest | ImageResult | Following:
        """Raises BadRequest for limits that cannot be read, ConnectionFailed where the request's time ends with waiting."""
        key = key_of(request, self.settings, carried.receipt.version)
        before = CacheNote.of(carried)
        name = key.exact if request.cache == "exact" else key.similar
        note = CacheNote(name=name, model=request.model, n=request.n, told=list(request.notices))
        note.followed = before.followed if before else []
        try:
            shelf = shelf_of(self.settings, key.account, self.clock)
            return _Search(self.settings, self.clock, request, carried, key, note, shelf).outcome()
        except CacheFaultError as fault:
            return request.with_notices(fault.notice)
        except BadRequest as unreadable:
            return request.with_notices(f"The cache failed: {unreadable}")


@dataclass(slots=True)
class _Search:
    """One request that looks for its image. `note` is what its other half needs to know."""

    settings: Settings
    clock: Clock
    request: ImageRequest
    carried: Carried
    key: CacheKey
    note: CacheNote
    shelf: Shelf
    notices: list[str] = field(default_factory=list)
    meaning: Meaning | None = None

    def outcome(self) -> ImageRequest | ImageResult | Following:
        leases, me = leases_of(self.settings, self.clock), self.carried.receipt.id
        self._read_meaning()
        while True:
            if hit := self._hit():
                return hit
            holder = leases.take(self.note.name, me, POLLED_LEASE if self.carried.polled else LEASE)
            if holder == me:
                return self._leading(leases)
            if holder not in self.note.followed:
                self.note.followed.append(holder)
            if len(self.note.followed) > _MOST_FOLLOWED:
                return self._going_on()
            if self._remaining <= 0:
                raise timed_out("Waiting for an equal request")
            if self.carried.polled:
                return self._following()
            wait(leases, self.note.name, self._remaining)

    @property
    def _remaining(self) -> float:
        return self.carried.receipt.time + self.request.timeout - self.clock.now()

    def _leading(self, leases: Leases) -> ImageRequest | ImageResult:
        """The request, which makes the image for all, unless another one made it just before."""
        me = self.carried.receipt.id
        if hit := self._hit():
            land(leases, self.note.name, me)
            return hit
        self.note.leads = True
        if not self.carried.polled:
            lead(leases, self.note.name, me, self.request.timeout)
        return self._going_on()

    def _going_on(self) -> ImageRequest:
        self.note.leave(self.carried)
        # Time that passed in waiting is over for the service as well; a polled job's deadline counts from the start anyway.
        waited = bool(self.note.followed) and not self.carried.polled
        request = replace(self.request, timeout=max(1.0, self._remaining)) if waited else self.request
        return request.with_notices(*self.notices)

    def _following(self) -> Following:
        """The request waits in the job's state, its input images on the shelf."""
        request, note = self.request, self.note
        inputs = [*request.images, *filter(None, (request.mask,))]
        if not note.request:
            for number, image in enumerate(inputs):
                self.shelf.put(_input_name(self.carried, number), image.data, request.timeout)
        note.request = dumped(replace(request, images=(), mask=None))
        note.inputs = [(image.mime_type, image.filename) for image in inputs]
        note.has_mask = request.mask is not None
        note.leave(self.carried)
        return Following(request.timeout)

    # --- hits ---

    def _hit(self) -> ImageResult | None:
        names = (self.key.exact,) if self.request.cache == "exact" else (self.key.exact, self.key.similar)
        for name in names:
            if found := self._read(name):
                return self._result(found, exact=name == self.key.exact)
        near = self._nearest()
        found = self._read(near) if near else None
        return self._result(found, exact=False) if found else None

    def _read(self, name: str) -> CachedResult | None:
        """An entry that can be read and is not too old."""
        data = self.shelf.get(name)
        try:
            found = CachedResult.decoded(data) if data else None
        except UnreadableEntryError:
            return None
        return found if found and self.clock.now() - found.made < Limits.read(self.settings).cache else None

    def _result(self, found: CachedResult, *, exact: bool) -> ImageResult:
        age = _duration(max(0.0, self.clock.now() - found.made))
        like = "" if exact else " for a similar prompt"
        saved = f"; {found.price.amount.normalize():f} {found.price.currency} saved" if found.price else ""
        notices = dict.fromkeys((*self.request.notices, *found.notices, *self.notices))
        return ImageResult(
            images=found.images,
            backend=found.backend,
            model=found.model,
            prompt=self.request.prompt,
            notices=(*notices, f"Taken from the cache, made {age} ago{like}{saved}."),
            price=Price(Decimal(0), found.price.currency if found.price else "USD"),
            cached=True,
        )

    # --- meaning ---

    def _read_meaning(self) -> None:
        if self.request.cache != "similar" or not self.settings.text(FIELD):
            return
        try:
            self.meaning = Meaning.read(self.settings, self.clock)
        except BadRequest as unreadable:
            self.notices.append(str(unreadable))

    def _nearest(self) -> str | None:
        """The name of the entry with the prompt of the same meaning. The endpoint is asked once; where it fails, it is told."""
        if self.meaning is None:
            return None
        try:
            self.note.vector = self.note.vector or list(self.meaning.vector(self.request.prompt))
        except ImageError as error:
            self.meaning = None
            self.notices.append(f"The meaning of the prompt could not be compared: {error}")
            return None
        self.note.near, self.note.bag = self.key.near, self.key.bag
        return self.meaning.nearest(self.note.vector, self.key.bag, decoded_neighbours(self.shelf.get(self.key.near)))


def resumed(settings: Settings, carried: Carried, clock: Clock) -> ImageRequest:
    """The request that waited in the job's state. Raises ServerUnavailable where its input images are gone."""
    note = CacheNote.of(carried)
    request = loaded(note.request) if note else None
    if note is None or request is None:
        raise _gone("it is not in the state of the job")
    try:
        shelf = shelf_of(settings, account_name(settings), clock)
        files = [shelf.get(_input_name(carried, number)) for number in range(len(note.inputs))]
    except CacheFaultError as fault:
        raise _gone(fault.said) from None
    images = [InputImage(data, *facts) for data, facts in zip(files, note.inputs, strict=True) if data]
    if len(images) < len(note.inputs):
        raise _gone("its input images are gone")
    mask = images.pop() if note.has_mask else None
    return replace(request, images=tuple(images), mask=mask)


def _gone(why: str) -> ServerUnavailable:
    return ServerUnavailable("The request that waited for an equal one cannot go on", why, "Run it again")


def _input_name(carried: Carried, number: int) -> str:
    return f"input-{carried.receipt.id}-{number}"


_UNITS = (
    (86_400, "1 day", "{count} days"),
    (3_600, "1 hour", "{count} hours"),
    (60, "1 minute", "{count} minutes"),
    (1, "1 second", "{count} seconds"),
)


def _duration(seconds: float) -> str:
    """In the largest unit that counts at least one."""
    size, one, several = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    count = int(seconds // size)
    return one if count == 1 else several.format(count=count)
