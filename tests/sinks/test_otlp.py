"""OTLP: a receiver that decodes the protobuf has counts, buckets and times, cumulative or as differences."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from loadgen.sinks.buckets import EDGES_S
from loadgen.sinks.metric_names_and_labels import FAMILIES
from loadgen.sinks.otlp import OtlpSink, name_of
from loadgen.sinks.output_queue import Undelivered
from loadgen.sinks.snapshot import SnapshotMaker
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import journey_key, request_key
from tests.support.sinks import RUN, STARTED_NS, Fleet, HttpReceiver, final_of, http_receiver, interval_of, snapshot

CUMULATIVE, DELTA = 2, 1  # as AggregationTemporality numbers them


def sink_to(receiver: HttpReceiver, **how: Any) -> OtlpSink:
    return OtlpSink(f"{receiver.url}/v1/metrics", receiver.url, {}, **how)


def points(receiver: HttpReceiver, name: str) -> list[tuple[dict[str, str], Any]]:
    """Of a metric in all messages: attributes, and the point."""
    found = []
    for got in receiver.got:
        for resource in ExportMetricsServiceRequest.FromString(got.body).resource_metrics:
            for metric in resource.scope_metrics[0].metrics:
                if metric.name == name:
                    data = getattr(metric, metric.WhichOneof("data") or "")
                    for point in data.data_points:
                        found.append(({a.key: a.value.string_value for a in point.attributes}, point))
    return found


def temporalities(receiver: HttpReceiver) -> set[int]:
    found = set()
    for got in receiver.got:
        for metric in ExportMetricsServiceRequest.FromString(got.body).resource_metrics[0].scope_metrics[0].metrics:
            kind = metric.WhichOneof("data") or ""
            if kind != "gauge":
                found.add(getattr(metric, kind).aggregation_temporality)
    return found


def test_a_receiver_reads_counts_buckets_and_times_from_the_start_of_the_run() -> None:
    fleet = Fleet(a="eu")
    fleet.report("a", 0, {request_key(): [3 * NS_PER_MS] * 5, journey_key(): [4 * NS_PER_MS]})
    with http_receiver() as receiver:
        sink_to(receiver).deliver(interval_of(fleet, 0))
        (got,) = receiver.got
        ((attributes, point),) = points(receiver, "loadgen.request.duration")
        ((_, finished),) = points(receiver, "loadgen.requests.finished")
        ((_, users),) = points(receiver, "loadgen.users")
        assert temporalities(receiver) == {CUMULATIVE}
    assert got.path == "/v1/metrics"
    assert got.headers["content-type"] == "application/x-protobuf"
    resource = ExportMetricsServiceRequest.FromString(got.body).resource_metrics[0].resource
    assert {a.key: a.value.string_value for a in resource.attributes} == {
        "service.name": "loadgen",
        "service.instance.id": RUN.run_id,
    }
    assert attributes == {
        "run_id": RUN.run_id,
        "plan": "shop",
        "journey": "checkout",
        "step": "browse",
        "request": "GET /",
        "outcome": "ok",
        "region": "eu",
        "warmup": "false",
    }
    assert (point.count, sum(point.bucket_counts), point.sum) == (5, 5, pytest.approx(0.015))
    assert list(point.explicit_bounds) == list(EDGES_S)
    where = list(point.bucket_counts).index(5)
    assert EDGES_S[where - 1] < 0.003 <= EDGES_S[where]
    assert (point.start_time_unix_nano, point.time_unix_nano) == (STARTED_NS, STARTED_NS + NS_PER_S)
    assert (finished.as_int, finished.start_time_unix_nano) == (5, STARTED_NS)
    assert users.as_int == 0


def test_units_and_names_come_to_those_of_the_scrape_when_a_collector_translates_them() -> None:
    suffixes = {"s": "_seconds", "By": "_bytes", "": ""}
    for family in FAMILIES:
        assert name_of(family).replace(".", "_") + suffixes[family.unit] == family.name


def test_differences_add_up_to_the_whole_also_where_a_message_was_refused_in_between() -> None:
    fleet, maker = Fleet(a="eu"), SnapshotMaker(RUN)
    with http_receiver() as receiver:
        sink = sink_to(receiver, is_delta=True)
        for k in range(5):
            fleet.report("a", k, {request_key(): [NS_PER_MS] * (k + 1)})
            receiver.status = 503 if k == 2 else 200
            before = len(receiver.got)
            try:
                sink.deliver(interval_of(fleet, k, maker))
            except Undelivered:
                del receiver.got[before:]
        sink.deliver(final_of(fleet.merge, maker))
        found = [point for _, point in points(receiver, "loadgen.request.duration")]
        assert temporalities(receiver) == {DELTA}
        counted = sum(point.as_int for _, point in points(receiver, "loadgen.requests.finished"))
    assert [point.count for point in found] == [1, 2, 3 + 4, 5, 0]
    assert counted == 15
    buckets: Counter[int] = Counter()
    for point in found:
        buckets.update(dict(enumerate(point.bucket_counts)))
    assert buckets.total() == 15
    spans = [(point.start_time_unix_nano, point.time_unix_nano) for point in found]
    assert spans[0][0] == STARTED_NS
    assert all(one[1] == after[0] for one, after in pairwise(spans)), "no gap and no overlap"


def test_points_that_are_rejected_are_told() -> None:
    rejected = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too\nold")
    answer = ExportMetricsServiceResponse(partial_success=rejected).SerializeToString()
    with (
        http_receiver(answer=answer) as receiver,
        pytest.raises(Undelivered, match=r"^the server rejects 3 points: too old$"),
    ):
        sink_to(receiver).deliver(snapshot(1.0))


@pytest.mark.parametrize("answer", [b"", b"{}", b"<html>"])
def test_what_a_collector_says_beside_a_success_does_no_harm(answer: bytes) -> None:
    with http_receiver(answer=answer) as receiver:
        sink_to(receiver).deliver(snapshot(1.0))


def test_many_series_go_in_several_messages_each_point_once() -> None:
    fleet = Fleet(a="eu")
    fleet.report("a", 0, {request_key(f"GET /{n}"): [NS_PER_MS] for n in range(600)})
    with http_receiver() as receiver:
        sink_to(receiver).deliver(interval_of(fleet, 0))
        names = [attributes["request"] for attributes, _ in points(receiver, "loadgen.request.duration")]
        assert len(receiver.got) == 3
    assert len(names) == len(set(names)) == 600
