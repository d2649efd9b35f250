"""What came of a request for several images: the ones that were made are delivered, whatever became of the others."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from models.backends.errors import ImageError
from models.entities import GeneratedImage


@dataclass(frozen=True, slots=True)
class Made:
    """The images so far, and why others are missing."""

    images: tuple[GeneratedImage, ...] = ()
    failures: tuple[ImageError, ...] = ()

    def __add__(self, other: "Made") -> "Made":
        return Made(self.images + other.images, self.failures + other.failures)

    def notices(self, asked: int) -> Sequence[str]:
        """What the user must know about missing ones. Raises the first failure where there is no image at all."""
        if self.failures and not self.images:
            raise self.failures[0]
        fewer = len(self.images) < asked
        count = [f"{len(self.images)} of {asked} images came back."] if fewer else []
        return [*count, *dict.fromkeys(str(failure) for failure in self.failures)]


def each[T](make: Callable[[T], GeneratedImage], sources: Iterable[T]) -> Made:
    """Make every image that can be made; an ImageError of one costs only that one."""
    made = Made()
    for source in sources:
        try:
            made += Made(images=(make(source),))
        except ImageError as error:
            made += Made(failures=(error,))
    return made
