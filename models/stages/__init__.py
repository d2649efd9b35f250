"""The stages that a request passes before a service, and its result after it; and the observers beside them.

The order stands in the two lists below and nowhere else. A stage is made anew from the credentials for each call: what
the second half of a job needs travels in the job's state. A stage that is not configured is not in the list and its
module is not imported.

- before the service: `ImageRequest` in; `ImageRequest` out, or an `ImageResult` that answers in place of the service.
- after it: `ImageResult` in, `ImageResult` out.
- an observer is told once of every outcome. It changes nothing, delays nothing and never raises.

A stage refuses by raising ImageError.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from models.entities import ImageRequest, ImageResult
from models.limits import Limits
from models.output.options import OutputOptions
from models.receipt import Receipt
from models.settings import Settings
from models.stages.files import formatting, proof

type Before = Callable[[ImageRequest], ImageRequest | ImageResult]
type After = Callable[[ImageResult], ImageResult]


class Observer(Protocol):
    """Told of every outcome."""

    def __call__(self, receipt: Receipt) -> None: ...


def before_service(settings: Settings, limits: Limits) -> Sequence[Before]:
    """The stages that refuse a request or answer it in place of the service. Raises BadRequest for a bad setting."""
    del settings, limits
    return []


def after_service(options: OutputOptions) -> Sequence[After]:
    """The stages that prove, check, convert, mark and keep what a service made."""
    return [proof, formatting(options)]


def observers(limits: Limits) -> Sequence[Observer]:
    """Who is told of the outcome."""
    del limits
    return []
