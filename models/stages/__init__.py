"""The stages that a request passes before a service, and its result after it; and the observers beside them.

The order stands in the lists below and nowhere else. A stage is made anew from the credentials for each call: what the
second half of a job needs travels in the job's state (`Carried`). A stage that is not configured is not in its list and its module
is not imported.

- before the service: `ImageRequest` and `Carried` in; `ImageRequest` out, or an `ImageResult` that answers in place of the service, or
  `Following` where a polled request waits for an equal one.
- after it: `ImageResult` and `Carried` in, `ImageResult` out.
- an observer is told once of every outcome. It changes nothing, delays nothing and never raises.

A stage refuses by raising ImageError.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import gevent
from dify_plugin.errors.model import InvokeError

from models.backends.errors import BadRequest, host_errors, logger
from models.clock import Clock, SystemClock
from models.entities import ImageRequest, ImageResult
from models.limits import FIELD, Audit, Limits
from models.output.structured import STORED, OutputOptions
from models.settings import Settings
from models.stages.audit import AuditLog, Receipt
from models.stages.carried import Carried, Following
from models.stages.files import formatting, proof
from models.stages.request_limits import RequestLimits

type Shaping = Callable[[ImageRequest, Carried], ImageRequest]
type Before = Callable[[ImageRequest, Carried], ImageRequest | ImageResult | Following]
type After = Callable[[ImageResult, Carried], ImageResult]
type Observer = Callable[[Receipt], None]

_NO_OPTIONS = OutputOptions()
_OTLP = tuple(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "METRICS_", "TRACES_"))


@runtime_checkable
class WaitingObserver(Protocol):
    """An observer that keeps facts of a single host call: where a job goes on, they are lost with the call."""

    def waiting(self, receipt: Receipt) -> None:
        """Never raises."""


def before_service(
    settings: Settings, options: OutputOptions = _NO_OPTIONS, clock: Clock | None = None
) -> Sequence[Before]:
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
    if options.cache != "off":
        from models.stages.cache.lookup import CacheLookup  # noqa: PLC0415

        stages.append(CacheLookup(settings, clock or SystemClock()))
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


def passed(listed: Sequence[Before], request: ImageRequest, carried: Carried) -> ImageRequest | ImageResult | Following:
    """The request after these stages, or the answer of one of them."""
    for stage in listed:
        outcome = stage(request, carried)
        if not isinstance(outcome, ImageRequest):
            return outcome
        request = outcome
    return request


def after_service(
    settings: Settings, options: OutputOptions = _NO_OPTIONS, clock: Clock | None = None
) -> Sequence[After]:
    """The stages that a result passes, in whichever process its end is seen. Raises BadRequest for a bad setting."""
    take, keep = _caching(settings, options, clock)
    stages: list[After] = [proof, *_moderation_of_results(settings), *take, formatting]
    if options.marked:
        from models.stages.marking import Marking  # noqa: PLC0415

        stages.append(Marking.read(settings))
    return [*stages, *_storage(settings), *keep]


def _caching(
    settings: Settings, options: OutputOptions, clock: Clock | None
) -> tuple[Sequence[After], Sequence[After]]:
    """The two places of the cache: images are as the service made them in the first, and stored in the second."""
    if options.cache == "off":
        return (), ()
    from models.stages.cache.keeping import CacheKeeping  # noqa: PLC0415

    keeping = CacheKeeping(settings, clock or SystemClock())
    return [keeping.take], [keeping.keep]


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


def followed(settings: Settings, carried: Carried, clock: Clock) -> ImageRequest | ImageResult | Following:
    """What has become of the request that a polled one waits for: as `passed`, from the cache on."""
    from models.stages.cache.lookup import CacheLookup, resumed  # noqa: PLC0415

    request = resumed(settings, carried, clock)
    listed = before_service(settings, carried.options, clock)
    place = next(number for number, stage in enumerate(listed) if isinstance(stage, CacheLookup))
    return passed(listed[place:], request, carried)


def renew(settings: Settings, carried: Carried, clock: Clock) -> None:
    """A polled job goes on: what it reserved for itself stays its own. Never raises."""
    if carried.options.cache != "off":
        from models.stages.cache.keeping import renew  # noqa: PLC0415

        renew(settings, carried, clock)


def release(settings: Settings, carried: Carried, clock: Clock) -> None:
    """The request has ended, whatever the outcome. Never raises."""
    if carried.options.cache != "off":
        from models.stages.cache.keeping import release  # noqa: PLC0415

        release(settings, carried, clock)


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
    if settings.text("embedding_url"):
        from models.stages.cache.meaning import check_embeddings  # noqa: PLC0415

        yield check_embeddings
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
    if any(map(settings.environment.get, _OTLP)):
        from models.stages.telemetry import RequestTelemetry  # noqa: PLC0415

        yield RequestTelemetry.read


def tell_waiting(observers: Sequence[Observer], receipt: Receipt) -> None:
    """A host call ends and its job goes on: for observers that keep facts of a single call."""
    for observer in observers:
        if isinstance(observer, WaitingObserver):
            observer.waiting(receipt)


def _limits(settings: Settings) -> Limits:
    try:
        return Limits.read(settings)
    except BadRequest:
        return Limits()
