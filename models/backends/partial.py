"""Several calls that make one result. Images that were made and paid for are delivered even if other calls fail."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gevent.pool import Pool

from models.backends.errors import ImageError
from models.entities import GeneratedImage


@dataclass(frozen=True, slots=True)
class Partial:
    """The images so far, and why others are missing."""

    images: tuple[GeneratedImage, ...] = ()
    failures: tuple[ImageError, ...] = ()

    def __add__(self, other: "Partial") -> "Partial":
        return Partial(self.images + other.images, self.failures + other.failures)

    def notices(self, asked: int) -> Sequence[str]:
        """Notices about missing images. Raises the first failure if there is no image at all."""
        if self.failures and not self.images:
            raise first_failure(self.failures)
        fewer = len(self.images) < asked
        count = [f"{len(self.images)} of {asked} images came back."] if fewer else []
        return [*count, *dict.fromkeys(str(failure) for failure in self.failures)]


def first_failure(failures: Sequence[ImageError]) -> ImageError:
    """The first failure, to tell of all: the request counts as not taken up only where all of them say so."""
    failures[0].undone = all(failure.undone for failure in failures)
    return failures[0]


def together[A, B](
    work: Callable[[A], B], items: Iterable[A], *, at_once: int, wait: Callable[[int], None] = lambda _: None
) -> list[B | ImageError]:
    """Run `work` on each item, at most `at_once` concurrently; the outcomes keep the order of the items.

    After the first ImageError no further item is started, so that nothing is paid for that would fail the same way;
    running ones are awaited. Other exceptions are raised. `wait` is called with an item's index before its work starts,
    for a rate limit; an ImageError from it fails only that item.
    """
    failed = False

    def attempt(place: int, item: A) -> B | ImageError | Exception | None:
        nonlocal failed
        if failed:
            return None
        try:
            wait(place)
        except ImageError as late:
            return late
        try:
            return None if failed else work(item)
        except Exception as error:  # noqa: BLE001 -- raised below unless it is an ImageError; gevent would print it
            failed = True
            return error

    outcomes: list[B | ImageError] = []
    for outcome in Pool(at_once).map(lambda numbered: attempt(*numbered), list(enumerate(items))):
        if isinstance(outcome, Exception) and not isinstance(outcome, ImageError):
            raise outcome
        if outcome is not None:
            outcomes.append(outcome)
    return outcomes


def collected(outcomes: Iterable[Partial | ImageError]) -> Partial:
    parts = (Partial(failures=(one,)) if isinstance(one, ImageError) else one for one in outcomes)
    return sum(parts, Partial())


def each[T](make: Callable[[T], GeneratedImage], sources: Iterable[T]) -> Partial:
    """Make an image from each source; an ImageError affects only its own image."""
    made = Partial()
    for source in sources:
        try:
            made += Partial(images=(make(source),))
        except ImageError as error:
            made += Partial(failures=(error,))
    return made
