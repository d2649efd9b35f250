"""The stages that a request passes before a service, and its result after it; and the observers beside them.

The order stands in the lists below and nowhere else. A stage is made anew from the credentials for each call: what the
second half of a job needs travels in the job's state (`Carried`). A stage that is not configured is not in its list and its module
is not imported.

- before the service: `ImageRequest` and `Carried` in; `ImageRequest` out, or an `ImageResult` that answers in place of the service.
- after it: `ImageResult` and `Carried` in, `ImageResult` out.
- an observer is told once of every outcome. It changes nothing, delays nothing and never raises.

A stage refuses by raising ImageError.
"""

from collections.abc import Callable, Iterator, Sequence

import gevent
from dify_plugin.errors.model import InvokeError

from models.backends.errors import BadRequest, host_errors, logger
from models.entities import ImageRequest, ImageResult
from models.limits import FIELD, Audit, Limits
from models.output.structured import STORED, OutputOptions
from models.settings import Settings
from models.stages.audit import AuditLog, Receipt
from models.stages.carried import Carried
from models.stages.files import formatting, proof
from models.stages.request_limits import RequestLimits

type Shaping = Callable[[ImageRequest, Carried], ImageRequest]
type Before = Callable[[ImageRequest, Carried], ImageRequest | ImageResult]
type After = Callable[[ImageResult, Carried], ImageResult]
type Observer = Callable[[Receipt], None]

_NO_OPTIONS = OutputOptions()


def before_service(settings: Settings, options: OutputOptions = _NO_OPTIONS) -> Sequence[Before]:
    """The stages that refuse a request or answer it in place of the service. Raises BadRequest for a bad setting."""
    stages: list[Before] = [RequestLimits(Limits.read(settings), settings.where(FIELD))]
    if settings.text("forbidden_words"):
        from models.stages.forbidden_words import ForbiddenWords  # noqa: PLC0415 -- see the module's docstring

        stages.append(ForbiddenWords.read(settings))
    if settings.text("moderation_url"):
        from models.stages.moderation import Moderation, RequestModeration  # noqa: PLC0415

        stages.append(RequestModeration(Moderation.read(settings)))
    stages.extend(_shaping(settings))
    if options.marked:
        from models.stages.marking import MarkRules  # noqa: PLC0415

        stages.append(MarkRules.read(settings))
    return [*stages, *_quota(settings)]


def for_next_model(settings: Settings) -> Sequence[Shaping]:
    """The stages before the service that count for each model: its request is settled anew. The others run once."""
    return [RequestLimits(Limits.read(settings), settings.where(FIELD)), *_shaping(settings), *_quota(settings)]


def _quota(settings: Settings) -> Sequence[Shaping]:
    """The last one: what is reserved goes to a service. A further model may have another price."""
    if not Limits.read(settings).quotas:
        return ()
    from models.stages.quota import QuotaReservation, Quotas  # noqa: PLC0415

    return [QuotaReservation(Quotas.read(settings))]


def _shaping(settings: Settings) -> Sequence[Shaping]:
    if not settings.text("default_negative_prompt"):
        return ()
    from models.stages.negative_prompt import DefaultNegativePrompt  # noqa: PLC0415

    return [DefaultNegativePrompt.read(settings)]


def after_service(settings: Settings, options: OutputOptions = _NO_OPTIONS) -> Sequence[After]:
    """The stages that a result passes, in whichever process its end is seen. Raises BadRequest for a bad setting."""
    stages: list[After] = [proof, *_moderation_of_results(settings), formatting]
    if options.marked:
        from models.stages.marking import Marking  # noqa: PLC0415

        stages.append(Marking.read(settings))
    return [*stages, *_storage(settings)]


def _moderation_of_results(settings: Settings) -> Sequence[After]:
    if not settings.text("moderation_url"):
        return ()
    from models.stages.moderation import Moderation, ResultModeration  # noqa: PLC0415

    moderation = Moderation.read(settings)
    return [ResultModeration(moderation)] if moderation.images else []


def _storage(settings: Settings) -> Sequence[After]:
    if not settings.text("storage_url"):
        return ()
    from models.stages.storage import Storage  # noqa: PLC0415

    return [Storage(settings)]


def gives(settings: Settings, request: ImageRequest) -> frozenset[str]:
    """Which properties of STORED a result of `request` has."""
    if not settings.text("storage_url"):
        return frozenset()
    asked = {"thumbnail_url": request.thumbnail, "variants": request.variants, "storage_key": True}
    return frozenset(name for name in STORED if asked[name])


def check(settings: Settings) -> Iterator[str]:
    """A sentence for each setting of the stages that cannot be used; what it names outside the plugin is tried."""
    tried = [gevent.spawn(_fault, probe, settings) for probe in _probes(settings)]
    yield from filter(None, (greenlet.get() for greenlet in tried))


def _probes(settings: Settings) -> Iterator[Callable[[Settings], None]]:
    """One for each configured stage; it takes a few seconds at most and raises ImageError, naming the field to correct."""
    if settings.text("moderation_url"):
        from models.stages.moderation import check_moderation  # noqa: PLC0415 -- see the module's docstring

        yield check_moderation
    if settings.text("marks"):
        from models.stages.stamp import check_marks  # noqa: PLC0415

        yield check_marks
    if _limits(settings).quotas:
        from models.stages.quota import check_quotas  # noqa: PLC0415

        yield check_quotas
    if settings.text("storage_url") or settings.text("storage_public_url"):
        from models.storage.probe import check_storage  # noqa: PLC0415 -- see the module's docstring

        yield check_storage
    if settings.text("webhook_url"):
        from models.stages.webhook import check_webhook  # noqa: PLC0415

        yield check_webhook


def _fault(probe: Callable[[Settings], None], settings: Settings) -> str:
    try:
        with host_errors(settings.values):
            probe(settings)
    except InvokeError as error:
        return str(error)
    return ""


def observers(settings: Settings) -> Sequence[Observer]:
    """Who is told of the outcome. Never raises: limits that cannot be read are refused, and that is told as well."""
    limits = _limits(settings)
    told: list[Observer] = [AuditLog(limits.audit, settings.secrets)]
    if limits.quotas:
        from models.stages.quota import Quotas, QuotaSettlement  # noqa: PLC0415 -- see the module's docstring

        told.append(QuotaSettlement(Quotas.read(settings)))
    for make in _reporters(settings):
        try:
            told += filter(None, [make(settings, limits.audit)])
        except BadRequest as error:
            logger.warning("no outcome is told: %s", error)
    return told


def _reporters(settings: Settings) -> Iterator[Callable[[Settings, Audit], Observer | None]]:
    """Who writes the outcome down outside the plugin."""
    if settings.text("storage_url"):
        from models.stages.audit_store import AuditStore  # noqa: PLC0415 -- see the module's docstring

        yield AuditStore.read
    if settings.text("webhook_url"):
        from models.stages.webhook import WebhookSender  # noqa: PLC0415

        yield WebhookSender.read


def _limits(settings: Settings) -> Limits:
    try:
        return Limits.read(settings)
    except BadRequest:
        return Limits()
