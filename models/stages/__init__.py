"""The stages that a request passes before a service, and its result after it; and the observers beside them.

The order stands in the lists below and nowhere else. A stage is made anew from the credentials for each call: what the
second half of a job needs travels in the job's state (`Carried`). A stage that is not configured is not in its list and its module
is not imported.

- before the service: `ImageRequest` and `Carried` in; `ImageRequest` out, or an `ImageResult` that answers in place of the service.
- after it: `ImageResult` and `Carried` in, `ImageResult` out.
- an observer is told once of every outcome. It changes nothing, delays nothing and never raises.

A stage refuses by raising ImageError.
"""

from collections.abc import Callable, Sequence

from models.backends.errors import BadRequest
from models.entities import ImageRequest, ImageResult
from models.limits import FIELD, Limits
from models.settings import Settings
from models.stages.audit import AuditLog, Receipt
from models.stages.carried import Carried
from models.stages.files import formatting, proof
from models.stages.request_limits import RequestLimits

type Before = Callable[[ImageRequest, Carried], ImageRequest | ImageResult]
type After = Callable[[ImageResult, Carried], ImageResult]
type Observer = Callable[[Receipt], None]


def before_service(settings: Settings) -> Sequence[Before]:
    """The stages that refuse a request or answer it in place of the service. Raises BadRequest for a bad setting."""
    stages: list[Before] = [RequestLimits(Limits.read(settings), settings.where(FIELD))]
    if settings.text("forbidden_words"):
        from models.stages.forbidden_words import ForbiddenWords  # noqa: PLC0415 -- see the module's docstring

        stages.append(ForbiddenWords.read(settings))
    return stages


def after_service(settings: Settings) -> Sequence[After]:
    """The stages that a result passes, in whichever process its end is seen."""
    del settings  # no stage so far depends on it
    return [proof, formatting]


def observers(settings: Settings) -> Sequence[Observer]:
    """Who is told of the outcome. Never raises: limits that cannot be read are refused, and that is told as well."""
    try:
        limits = Limits.read(settings)
    except BadRequest:
        limits = Limits()
    return [AuditLog(limits.audit, settings.secrets)]
