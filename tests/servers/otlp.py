"""An OTLP receiver: a scripted server whose received requests are read as metrics and spans."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tests.servers.scripted import Seen, scripted_server

type Value = str | int | float | bool


@dataclass(frozen=True)
class Point:
    """One row of a metric: the sum of a counter, or the sum and count of a histogram."""

    name: str
    unit: str
    attributes: Mapping[str, Value]
    total: float
    count: int
    resource: Mapping[str, Value]


@dataclass(frozen=True)
class ReceivedSpan:
    """Ids are hexadecimal, times are epoch seconds; `parent` is empty for the request's own span."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Value]
    began: float
    ended: float
    failed: bool
    resource: Mapping[str, Value]


def points(seen: Iterable[Seen]) -> list[Point]:
    """Of the newest export of each process: counters are cumulative."""
    newest: dict[Value, list[Point]] = {}
    for one in seen:
        if one.path == "/v1/metrics":
            found = list(_points(one.body))
            newest[found[0].resource["service.instance.id"]] = found
    return [point for found in newest.values() for point in found]


def spans(seen: Iterable[Seen]) -> list[ReceivedSpan]:
    return [span for one in seen if one.path == "/v1/traces" for span in _spans(one.body)]


def _points(body: bytes) -> Iterator[Point]:
    for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        resource = _values(group.resource.attributes)
        for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
            for attributes, total, count in _rows(metric):
                yield Point(metric.name, metric.unit, attributes, total, count, resource)


def _rows(metric: Metric) -> Iterator[tuple[Mapping[str, Value], float, int]]:
    for bucket in metric.histogram.data_points:
        yield _values(bucket.attributes), bucket.sum, bucket.count
    for number in metric.sum.data_points:
        yield _values(number.attributes), number.as_double or number.as_int, 1


def _spans(body: bytes) -> Iterator[ReceivedSpan]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for span in (span for scope in group.scope_spans for span in scope.spans):
            yield ReceivedSpan(
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                _values(span.attributes),
                span.start_time_unix_nano / 1e9,
                span.end_time_unix_nano / 1e9,
                span.status.code == span.status.STATUS_CODE_ERROR,
                _values(group.resource.attributes),
            )


def _values(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


if __name__ == "__main__":
    with scripted_server() as server:
        print(server.url, flush=True)  # noqa: T201
        threading.Event().wait()
