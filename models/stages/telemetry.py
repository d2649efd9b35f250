"""The observer that reports metrics and traces by OpenTelemetry (OTLP over HTTP), where its standard variables say so.

Only the facts of a request are gathered here. The OpenTelemetry libraries take a third of a second to import, so that
happens in a thread, once per process; what ends meanwhile waits. Names of metrics, attributes and variables: docs/operations.md.
"""

import importlib
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import gevent
from cachetools import LRUCache

from models.backends.errors import logger, redact
from models.backends.trail import CallTrail, HttpCall, begin_trail
from models.limits import Audit
from models.settings import Settings
from models.stages.audit import Receipt
from models.threads import ThreadShare

if TYPE_CHECKING:
    from models.stages.telemetry_export import OtlpExport

_MOST = 1000  # requests that wait for the import, and jobs whose queue time is remembered
_import = ThreadShare(1)


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What is reported of a request: in the end, or (`finished` false) of one host call while its job goes on.

    `queued` is seconds in the service's queue, None where they are unknown; `dropped` counts HTTP requests beyond `calls`.
    """

    receipt: Receipt
    calls: Sequence[HttpCall]
    dropped: int = 0
    queued: float | None = None
    finished: bool = True


@dataclass(eq=False)
class TelemetrySink:
    """Where the facts go: to the exporter of the process, which is started in the background."""

    signals: frozenset[str]
    environment: Mapping[str, str]
    export: "OtlpExport | None" = None
    early: deque[RequestFacts] = field(default_factory=lambda: deque(maxlen=_MOST))
    queued: LRUCache[str, float] = field(default_factory=lambda: LRUCache(_MOST))
    failed: bool = False

    def start(self) -> None:
        try:
            module = _import.run(importlib.import_module, "models.stages.telemetry_export")
            self.export = module.OtlpExport(self.signals, self.environment)
        except Exception as error:  # noqa: BLE001 -- an observer never raises
            self.failed = True
            said = redact(str(error), secrets_of(self.environment))
            logger.error("telemetry is off: it could not be started: %s: %s", type(error).__name__, said)
        while self.early:
            self.put(self.early.popleft())

    def put(self, facts: RequestFacts) -> None:
        if self.failed:
            return
        if self.export is None:
            self.early.append(facts)
        else:
            self.export.report(facts)


@lru_cache(maxsize=1)
def _sink(signals: frozenset[str]) -> TelemetrySink:
    """The one of the process."""
    sink = TelemetrySink(signals, os.environ)  # the libraries read this environment and no other
    gevent.spawn(sink.start)
    return sink


@dataclass(frozen=True, slots=True, repr=False)
class RequestTelemetry:
    """`trail` gathers what this host call sends. `secrets` never stand in a metric or a span."""

    sink: TelemetrySink
    trail: CallTrail
    secrets: tuple[str, ...]

    @classmethod
    def read(cls, settings: Settings, _: Audit) -> "RequestTelemetry | None":
        """To be called as a host call begins. None where telemetry is switched off."""
        wanted = signals(settings.environment)
        if not wanted:
            return None
        sink = _sink(wanted)
        return cls(sink, begin_trail(), (*settings.secrets, *secrets_of(settings.environment)))

    def __call__(self, receipt: Receipt) -> None:
        self._report(receipt, finished=True)

    def waiting(self, receipt: Receipt) -> None:
        self._report(receipt, finished=False)

    def _report(self, receipt: Receipt, *, finished: bool) -> None:
        try:
            queued, dropped = self._queued(receipt), self.trail.dropped
            calls = [replace(call, host=redact(call.host, self.secrets)) for call in self.trail.taken()]
            self.sink.put(RequestFacts(self._shown(receipt), calls, dropped, queued, finished))
        except Exception as error:  # noqa: BLE001 -- an observer never raises
            logger.warning("the telemetry of request %s was lost: %s", receipt.id, type(error).__name__)

    def _queued(self, receipt: Receipt) -> float | None:
        """Seconds from the request's start to the last moment at which this process saw its job in a queue."""
        seen, at = self.sink.queued, self.trail.queued_at
        if at is not None:
            seen[receipt.id] = max(0.0, at - receipt.time)
        return seen.get(receipt.id)

    def _shown(self, receipt: Receipt) -> Receipt:
        """Without prompt, user and addresses: they are never reported."""
        model, backend = redact(receipt.model, self.secrets), redact(receipt.backend, self.secrets)
        answered_by = redact(receipt.answered_by or "", self.secrets) or None
        return replace(
            receipt, prompt="", user="", image_urls=(), model=model, backend=backend, answered_by=answered_by
        )


def signals(environment: Mapping[str, str]) -> frozenset[str]:
    """Which of `metrics` and `traces` are exported, by the standard variables."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return frozenset()
    return frozenset(signal for signal in ("metrics", "traces") if _exported(signal.upper(), environment))


def _exported(signal: str, environment: Mapping[str, str]) -> bool:
    endpoint = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environment.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    return bool(endpoint) and (environment.get(f"OTEL_{signal}_EXPORTER") or "otlp").strip() == "otlp"


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of the exporter's headers, whole and without a scheme such as `Bearer`."""
    texts = (
        value for name, value in environment.items() if name.startswith("OTEL_EXPORTER_OTLP_") and "HEADERS" in name
    )
    values = (pair.partition("=")[2].strip() for text in texts for pair in text.split(","))
    return tuple(part for value in values for part in (value, value.replace("%20", " ").rpartition(" ")[2]) if part)
