"""Times of messages and web vitals in live outputs: under names of their own, and only in runs that have them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families as parse

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.series_key import CLS_NS, OK
from loadgen.measure.merging.merge import Merge
from loadgen.sinks.influx import InfluxSink
from loadgen.sinks.metric_names_and_labels import MESSAGES, PAGES, STREAMS, families
from loadgen.sinks.ndjson import NdjsonSink
from loadgen.sinks.otlp import OtlpSink
from loadgen.sinks.prometheus import ScrapeSink
from loadgen.sinks.snapshot import Snapshot
from loadgen.sinks.statsd import StatsdSink
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.sinks.test_ndjson import lines
from tests.sinks.test_prometheus import scrape
from tests.sinks.test_statsd import lines_of
from tests.support.sinks import final_of, http_receiver, snapshot, udp_receiver

SCORES = [0.0, 0.05, 0.1, 0.3]
"""Of four pages."""


@pytest.fixture(scope="module")
def told() -> Snapshot:
    """A second with two WebSockets of 5 messages each, and four pages."""
    recorder, merge = Recorder(), Merge(NS_PER_S)
    feed = recorder.request_series("shop", None, "WS /feed (connect)")
    for _ in range(2):
        feed.phase("first_message", 20 * NS_PER_MS)
        for ms in (10, 11, 12, 13):
            feed.phase("message_gap", ms * NS_PER_MS)
        feed.phase("message_age", 3 * NS_PER_MS)
        recorder.request(feed, 1, 1, 5 * NS_PER_MS, OK, 100)
    page = recorder.request_series("shop", None, "page /")
    for score in SCORES:
        page.phase("lcp", 900 * NS_PER_MS)
        page.phase("cls", round(score * CLS_NS))
        page.phase("ttfb", 80 * NS_PER_MS)
        recorder.request(page, 1, 1, 1_000 * NS_PER_MS, OK, 100)
    made = recorder.flip(0, NS_PER_S, lambda *_: Health(users=1))
    merge.accept("eu", replace(made, agent="a", epoch=1, run_id="r"))
    return final_of(merge)


def test_a_scrape_has_histograms_of_messages_and_of_vitals(told: Snapshot) -> None:
    sink = ScrapeSink("127.0.0.1", 0)
    try:
        sink.deliver(told)
        found = {family.name: family for family in parse(scrape(sink)[0])}
    finally:
        sink.close()

    def value(family: str, part: str, **labels: str) -> float:
        (one,) = [
            s.value
            for s in found[family].samples
            if s.name == f"{family}_{part}" and labels.items() <= s.labels.items()
        ]
        return float(one)

    assert value("loadgen_message_first_seconds", "count") == 2
    assert value("loadgen_message_gap_seconds", "count") == 8
    assert value("loadgen_message_gap_seconds", "sum") == pytest.approx(2 * 0.046, rel=0.001)
    assert value("loadgen_message_age_seconds", "count") == 2
    assert value("loadgen_page_lcp_seconds", "count") == 4
    assert value("loadgen_request_ttfb_seconds", "count") == 4
    assert value("loadgen_page_cls", "sum") == pytest.approx(sum(SCORES), rel=0.001)
    edges = {
        float(s.labels["le"]): s.value for s in found["loadgen_page_cls"].samples if s.name == "loadgen_page_cls_bucket"
    }
    assert [min(n for edge, n in edges.items() if edge >= limit) for limit in (0.06, 0.101, 0.25, 1.0)] == [2, 3, 3, 4]
    assert not found.keys() & {family.name for family in STREAMS.values()}


def test_a_run_without_messages_and_pages_has_none_of_these_names() -> None:
    names = {family.name for family, _ in families([snapshot(3.0)])}

    assert not names & {family.name for group in (MESSAGES, PAGES) for family in group.values()}


def test_a_sum_over_response_times_counts_each_request_once(told: Snapshot) -> None:
    assert sum(one.count for one in told.series if one.labels.kind == "request") == 6
    assert {one.labels.metric for one in told.series} == {"response"}


def test_a_file_has_lines_of_their_own_kinds(told: Snapshot, tmp_path: Path) -> None:
    sink = NdjsonSink(tmp_path / "figures.ndjson")
    sink.deliver(told)
    sink.close()

    found = {one["kind"]: one for one in lines(tmp_path / "figures.ndjson") if "outcome" in one}
    assert found["message_gap"]["count"] == 8
    assert found["page_lcp"]["count"] == 4
    assert "interval_scores" in found["page_cls"]
    assert "metric" not in json.dumps(found["page_cls"])


def test_influx_has_measurements_of_their_own(told: Snapshot) -> None:
    with http_receiver() as receiver:
        sink = InfluxSink(f"{receiver.url}/write?db=x", "x", {})
        sink.deliver(told)
        sink.close()
        text = "\n".join(got.body.decode() for got in receiver.got)

    kinds = {line.split(",")[0] for line in text.splitlines()}
    assert {"loadgen_message_first", "loadgen_message_gap", "loadgen_message_age", "loadgen_page_cls"} <= kinds


def test_opentelemetry_has_scores_without_a_unit(told: Snapshot) -> None:
    with http_receiver() as receiver:
        sink = OtlpSink(receiver.url, "x", {})
        sink.deliver(told)
        sink.close()
        sent = [ExportMetricsServiceRequest.FromString(got.body) for got in receiver.got]
    found = {
        metric.name: metric
        for one in sent
        for resource in one.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert found["loadgen.message.gap"].unit == "s"
    assert found["loadgen.page.cls"].unit == "1"
    (point,) = found["loadgen.page.cls"].histogram.data_points
    assert point.sum == pytest.approx(sum(SCORES), rel=0.001)


@pytest.mark.parametrize("is_dog", [False, True])
def test_statsd_sends_counts_and_figures(told: Snapshot, is_dog: bool) -> None:
    with udp_receiver() as (port, got):
        sink = StatsdSink("127.0.0.1", port, is_dog=is_dog)
        sink.deliver(told)
        sink.close()
        for _ in range(100):
            sent = lines_of(got)
            if any(("page.cls" in one and ".count" in one) or "ttfb" in one for one in sent):
                break
            time.sleep(0.05)
    if is_dog:
        assert any(one.startswith("loadgen.message.gap.count:8|c") for one in sent)
        (tall,) = [one for one in sent if one.startswith("loadgen.page.cls.response:0.28")]
        assert "|d|" in tall
    else:
        assert any(one.startswith("loadgen.message.gap.shop.") and one.endswith(".count:8|c") for one in sent)
        assert any(one.startswith("loadgen.page.cls.shop.") and one.endswith(".count:4|c") for one in sent)
