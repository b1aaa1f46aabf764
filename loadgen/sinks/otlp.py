"""The output `otlp=URL`: OpenTelemetry's metrics as protobuf over HTTP; the only importer of opentelemetry packages.

Only the messages of `opentelemetry-proto` are used. The SDK is not, because it counts values itself, and our values
are already counted. Histograms have the explicit bounds of `buckets.py`. Exponential bounds are not used, because our
slots lie across them.

Counts start at the start of the run (cumulative). With `temporality=delta` they start at the last delivered snapshot.
Names are the names of a scrape, with dots and without the unit: `loadgen.request.duration`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
    Gauge,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Histogram as HistogramData

from loadgen.outside_text import one_line
from loadgen.sinks.buckets import EDGES_CLS, EDGES_S
from loadgen.sinks.metric_names_and_labels import Family, Point, families
from loadgen.sinks.output_queue import Sink, Undelivered
from loadgen.sinks.post import Poster
from loadgen.sinks.snapshot import Series, Snapshot

__all__ = ["OtlpSink", "name_of"]

_Key = tuple[str, tuple[str, ...]]

_HEADERS: Final = {"Content-Type": "application/x-protobuf"}
_AT_ONCE: Final = 250
"""The most points of one message: 250 kB if they are histograms. Collectors accept some MB."""


class OtlpSink(Sink):
    """Sends figures by OTLP. where: the URL as it is shown. headers: names and values. ca: a CA file."""

    def __init__(
        self,
        url: str,
        where: str,
        headers: Mapping[str, str],
        ca: Path | None = None,
        *,
        is_delta: bool = False,
    ) -> None:
        super().__init__("otlp", where)
        self._poster = Poster(url, headers, ca)
        self._is_delta = is_delta
        self._before: dict[str, dict[_Key, tuple[Point, int]]] = {}
        """For each run: the last delivered point of each series and its time; only used for deltas."""

    def deliver(self, snapshot: Snapshot) -> None:
        run_id = snapshot.run.run_id
        before = self._before.setdefault(run_id, {}) if self._is_delta else {}
        for part in _parts(snapshot):
            metrics = [_metric(family, points, before, snapshot, self._is_delta) for family, points in part]
            request = ExportMetricsServiceRequest(resource_metrics=[_resource(snapshot, metrics)])
            answer = self._poster.post(request.SerializeToString(), _HEADERS)
            self._check(answer)
            if self._is_delta:
                time_ns = snapshot.time_ns
                before |= {_key(family, one): (one, time_ns) for family, points in part for one in points}
        if snapshot.is_final:
            self._before.pop(run_id, None)

    def close(self) -> None:
        self._poster.close()

    def _check(self, answer: bytes) -> None:
        try:
            partial = ExportMetricsServiceResponse.FromString(answer).partial_success
        except Exception:  # noqa: BLE001 - protobuf's error class cannot be imported here; some servers answer {} or nothing
            return
        if partial.rejected_data_points:
            text = one_line(" ".join(partial.error_message.split()), 160)
            raise Undelivered(f"the server rejects {partial.rejected_data_points} points: {text}")


def _parts(snapshot: Snapshot) -> Iterator[list[tuple[Family, list[Point]]]]:
    """Divide a snapshot into messages of at most `_AT_ONCE` points, and yield the families and points of each
    message.
    """
    part: list[tuple[Family, list[Point]]] = []
    size = 0
    for family, points in families((snapshot,)):
        for n in range(0, len(points), _AT_ONCE):
            some = points[n : n + _AT_ONCE]
            if size + len(some) > _AT_ONCE:
                yield part
                part, size = [], 0
            part.append((family, some))
            size += len(some)
    yield part


def _resource(snapshot: Snapshot, metrics: list[Metric]) -> ResourceMetrics:
    made = ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=metrics)])
    made.scope_metrics[0].scope.name = "loadgen"
    made.resource.attributes.append(_attribute("service.name", "loadgen"))
    made.resource.attributes.append(_attribute("service.instance.id", snapshot.run.run_id))
    return made


def _metric(
    family: Family, points: list[Point], before: Mapping[_Key, tuple[Point, int]], snapshot: Snapshot, is_delta: bool
) -> Metric:
    temporality = AGGREGATION_TEMPORALITY_DELTA if is_delta else AGGREGATION_TEMPORALITY_CUMULATIVE
    made = Metric(name=name_of(family), description=family.help, unit=family.unit or "1")
    if family.kind == "gauge":
        levels = [_number(family, point, point.value, (0, snapshot.time_ns)) for point in points]
        made.gauge.CopyFrom(Gauge(data_points=levels))
        return made
    histograms, numbers = [], []
    for point in points:
        was, since_ns = before.get(_key(family, point), (None, snapshot.started_ns))
        span = since_ns, snapshot.time_ns
        if point.series is not None:
            histograms.append(_histogram(family, point, point.series, None if was is None else was.series, span))
        else:
            numbers.append(_number(family, point, point.value - (was.value if was is not None else 0), span))
    if family.kind == "histogram":
        made.histogram.CopyFrom(HistogramData(data_points=histograms, aggregation_temporality=temporality))
    else:
        made.sum.CopyFrom(Sum(data_points=numbers, aggregation_temporality=temporality, is_monotonic=True))
    return made


def name_of(family: Family) -> str:
    """Return the name of a metric family in OpenTelemetry, for example "loadgen.request.duration"."""
    dots = 3 if family.name.startswith("loadgen_tagged_") else 2
    return family.name.removesuffix("_seconds").removesuffix("_bytes").replace("_", ".", dots)


def _key(family: Family, point: Point) -> _Key:
    """Return the identity of a series. Labels of tags that are new in the run, which the point does not have, are left
    out.
    """
    labels = point.labels
    while labels and not labels[-1]:
        labels = labels[:-1]
    return family.name, labels


def _histogram(
    family: Family, point: Point, series: Series, was: Series | None, span: tuple[int, int]
) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes=_attributes(family, point),
        count=series.count - (was.count if was is not None else 0),
        sum=(series.sum_ns - (was.sum_ns if was is not None else 0)) / 1e9 * series.labels.per_s,
        bucket_counts=(series.buckets if was is None else series.buckets - was.buckets).tolist(),
        explicit_bounds=EDGES_S if family.unit else EDGES_CLS,
        start_time_unix_nano=span[0],
        time_unix_nano=span[1],
    )


def _number(family: Family, point: Point, value: float, span: tuple[int, int]) -> NumberDataPoint:
    made = NumberDataPoint(attributes=_attributes(family, point), start_time_unix_nano=span[0], time_unix_nano=span[1])
    if isinstance(value, int):
        made.as_int = value
    else:
        made.as_double = value
    return made


def _attributes(family: Family, point: Point) -> list[KeyValue]:
    return [_attribute(name, value) for name, value in zip(family.labels, point.labels, strict=True) if value]


def _attribute(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=value))
