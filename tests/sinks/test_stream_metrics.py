"""Metrics of requests to AI models in live outputs: under names of their own, and only in runs that have them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from loadgen.measure.merging.merge import Merge
from loadgen.sinks.influx import InfluxSink
from loadgen.sinks.metric_names_and_labels import STREAMS, families
from loadgen.sinks.ndjson import NdjsonSink
from loadgen.sinks.prometheus import ScrapeSink
from loadgen.sinks.snapshot import Snapshot, SnapshotMaker
from loadgen.sinks.statsd import StatsdSink
from loadgen.units import NS_PER_S
from tests.sinks.test_ndjson import lines
from tests.sinks.test_prometheus import scrape
from tests.sinks.test_statsd import lines_of
from tests.support.sinks import RUN, final_of, http_receiver, snapshot, udp_receiver
from tests.support.streams import merged, recorded

WHERE = {"request": "chat", "outcome": "ok", "region": "eu", "warmup": "false"}


@pytest.fixture(scope="module")
def told() -> Snapshot:
    return final_of(merged(4, failing_from=2))


def test_counts_and_sums_are_those_of_the_merge(told: Snapshot) -> None:
    found = {(one.labels.metric, one.labels.outcome, one.labels.region): one for one in told.more}

    assert found["ttft", "ok", "eu"].count == 20
    assert found["itl", "ok", "eu"].count == 20 * 19
    assert found["output_tokens", "ok", "eu"].sum_ns == 20 * 20 * 1_000
    assert (found["ttft", "timeout", "us"].count, found["ttft", "timeout", "us"].censored) == (2, 2)
    assert {one.labels.metric for one in told.series} == {"response"}, "a sum over these counts each request once"


def test_a_scrape_has_histograms_of_times_and_counters_of_tokens(told: Snapshot) -> None:
    sink = ScrapeSink("127.0.0.1", 0)
    try:
        sink.deliver(told)
        found = {family.name: family for family in parse(scrape(sink)[0])}
    finally:
        sink.close()

    def value(family: str, name: str) -> float:
        (one,) = [s.value for s in found[family].samples if s.name == name and WHERE.items() <= s.labels.items()]
        return float(one)

    assert value("loadgen_stream_ttft_seconds", "loadgen_stream_ttft_seconds_count") == 20
    assert value("loadgen_stream_itl_seconds", "loadgen_stream_itl_seconds_count") == 380
    assert value("loadgen_stream_output_tokens", "loadgen_stream_output_tokens_total") == 400
    assert value("loadgen_stream_prompt_tokens", "loadgen_stream_prompt_tokens_total") == 20 * 64
    assert value("loadgen_request_duration_seconds", "loadgen_request_duration_seconds_count") == 20


def test_a_run_without_requests_to_models_has_none_of_these_names() -> None:
    names = {family.name for family, _ in families([snapshot(3.0)])}

    assert not names & {family.name for family in STREAMS.values()}
    assert snapshot(3.0).more == ()


def test_snapshots_of_intervals_add_up_to_the_last_one(told: Snapshot) -> None:
    merge, maker = Merge(NS_PER_S), SnapshotMaker(RUN)
    last: Any = None
    for k in range(4):
        for region, delta in recorded(4, failing_from=2)[2 * k : 2 * k + 2]:
            merge.accept(region, delta)
        window = next(one for one in merge.windows() if one.k == k)
        for step in maker.steps(merge, window, 0, (k + 1) * NS_PER_S):
            last = step or last

    assert {one.labels: (one.count, one.sum_ns, one.buckets.tolist()) for one in last.more} == {
        one.labels: (one.count, one.sum_ns, one.buckets.tolist()) for one in told.more
    }


def test_a_file_has_lines_of_their_own_kinds(told: Snapshot, tmp_path: Path) -> None:
    sink = NdjsonSink(tmp_path / "figures.ndjson")
    sink.deliver(told)
    sink.close()

    found = {
        (one["kind"], one["outcome"], one["region"]): one
        for one in lines(tmp_path / "figures.ndjson")
        if "outcome" in one
    }
    assert found["stream_ttft", "ok", "eu"]["count"] == 20
    assert found["stream_output_tokens", "ok", "eu"]["tokens"] == 400
    assert "interval_ms" not in found["stream_output_tokens", "ok", "eu"]
    assert "metric" not in json.dumps(found["request", "ok", "eu"])


def test_influx_has_measurements_of_their_own(told: Snapshot) -> None:
    with http_receiver() as receiver:
        sink = InfluxSink(f"{receiver.url}/write?db=x", "x", {})
        sink.deliver(told)
        sink.close()
        text = "\n".join(got.body.decode() for got in receiver.got)

    (tokens,) = [
        one
        for one in text.splitlines()
        if one.startswith("loadgen_stream_output_tokens,") and "outcome=ok" in one and "region=eu" in one
    ]
    assert ",tokens=400i " in tokens.replace(" count", ",count")
    assert sum(one.startswith("loadgen_stream_ttft,") for one in text.splitlines()) == 6


@pytest.mark.parametrize("is_dog", [False, True])
def test_statsd_sends_tokens_as_a_counter(told: Snapshot, is_dog: bool) -> None:
    with udp_receiver() as (port, got):
        sink = StatsdSink("127.0.0.1", port, is_dog=is_dog)
        sink.deliver(told)
        sink.close()
        time.sleep(0.3)
        sent = lines_of(got)

    tokens = [
        one for one in sent if one.startswith("loadgen.stream.output_tokens") and ("outcome:ok" in one or ".ok." in one)
    ]
    assert [one for one in tokens if ":400|c" in one]
    assert [one for one in sent if one.startswith("loadgen.stream.ttft")]
    assert not [one for one in sent if "metric:" in one]
