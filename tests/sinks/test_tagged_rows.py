"""Tags in live outputs: under names of their own, so that what adds up a row counts each value once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse

from loadgen.measure.deltas.series_key import OTHER, SeriesKey, Tags
from loadgen.sinks.influx import InfluxSink
from loadgen.sinks.metric_names_and_labels import FAMILIES, HISTOGRAMS, TAGGED
from loadgen.sinks.ndjson import NdjsonSink
from loadgen.sinks.otlp import OtlpSink
from loadgen.sinks.prometheus import ScrapeSink
from loadgen.sinks.remote_write import RemoteWriteSink
from loadgen.sinks.snapshot import EMPTY, TAG_LABEL, Snapshot, SnapshotMaker
from loadgen.sinks.statsd import StatsdSink
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.sinks.test_ndjson import lines
from tests.sinks.test_otlp import points
from tests.sinks.test_statsd import counts, lines_of
from tests.support.deltas import request_key
from tests.support.examples import examples
from tests.support.prometheus import running_prometheus
from tests.support.sinks import RUN, Fleet, eventually, final_of, http_receiver, interval_of, udp_receiver

ROWS: dict[Tags, int] = {
    (): 10,
    (("load", "day"), ("tenant", "gold")): 5,
    (("load", "day"), ("tenant", "free")): 4,
    (("tenant", "gold"), ("x-cache", "hit")): 3,
    (("x-cache", ""),): 2,
    (("x_cache", "other tag"),): 1,
}
"""Number of requests by their tags, in each interval: 25, of them 8 of gold."""
IN_ALL, TAGGED_OF_ALL, GOLD = 25, 15, 8


def keyed(tags: Tags, name: str = "GET /") -> SeriesKey:
    return replace(request_key(name), tags=tags)


def snapshots(maker: SnapshotMaker | None = None) -> Iterator[Snapshot]:
    """Of two intervals, the tags of x_cache only in the second, and of the end."""
    fleet, maker = Fleet(a="eu"), maker or SnapshotMaker(RUN)
    for k in range(2):
        values = {
            keyed(tags): [2 * NS_PER_MS] * n
            for tags, n in ROWS.items()
            if k or tags[-1:] != (("x_cache", "other tag"),)
        }
        fleet.report("a", k, values)
        yield interval_of(fleet, k, maker)
    yield final_of(fleet.merge, maker)


SUM, SUM_TAGGED, SUM_GOLD = 2 * IN_ALL - 1, 2 * TAGGED_OF_ALL - 1, 2 * GOLD


@settings(max_examples=examples(60), deadline=None)
@given(
    orders=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.dictionaries(
                st.builds(
                    keyed,
                    st.lists(
                        st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=2, unique_by=lambda t: t[0]
                    ).map(tuple),
                    st.sampled_from(["GET /", "POST /"]),
                ),
                st.lists(st.integers(1, 10**9), min_size=1, max_size=4),
                max_size=4,
            ),
        ),
        max_size=10,
    ),
    most=st.sampled_from([2, 1000]),
)
def test_rows_are_as_without_tags_and_tagged_ones_add_up_to_their_values(
    orders: list[tuple[int, dict[SeriesKey, list[int]]]], most: int
) -> None:
    """Also for late deltas, and beyond the most series."""
    tagged, plain = Fleet(a="eu"), Fleet(a="eu")
    makers = SnapshotMaker(RUN, most), SnapshotMaker(RUN, most)
    newest = -1
    for k, values in orders:
        without: dict[SeriesKey, list[int]] = {}
        for key, some in values.items():
            without.setdefault(replace(key, tags=()), []).extend(some)
        tagged.report("a", k, values)
        plain.report("a", k, without)
        if k > newest and tagged.merge.window(k) is not None:
            newest = k
            of, untagged = interval_of(tagged, k, makers[0]), interval_of(plain, k, makers[1])
            assert shown(of) == shown(untagged)
            assert untagged.tagged == ()
    of, untagged = final_of(tagged.merge, makers[0]), final_of(plain.merge, makers[1])
    assert shown(of) == shown(untagged)
    expected = [one for _, values in orders for key, some in values.items() if key.tags for one in some]
    assert sum(one.count for one in of.tagged) == len(expected)
    assert sum(one.sum_ns for one in of.tagged) == pytest.approx(sum(expected), rel=1e-3)
    assert all(one.count == one.buckets.sum() for one in of.tagged)
    if most > 2:
        by_tags = Counter[Tags]()
        for _, values in orders:
            for key, some in values.items():
                by_tags[key.tags] += len(some)
        assert Counter(
            {tags: sum(one.count for one in of.tagged if one.labels.tags == tags) for tags in by_tags if tags}
        ) == Counter({tags: n for tags, n in by_tags.items() if tags})


def shown(of: Snapshot) -> dict[object, tuple[int, int, int, list[int]]]:
    return {one.labels: (one.count, one.censored, one.sum_ns, one.buckets.tolist()) for one in of.series}


def test_no_label_of_a_tag_is_one_of_ours_or_of_another_tag() -> None:
    *_, last = snapshots()
    assert dict(last.tag_labels) == {
        "load": "tag_load",
        "tenant": "tag_tenant",
        "x-cache": "tag_x_cache",
        "x_cache": "tag_x_cache_2",
    }
    ours = {label for family in FAMILIES for label in family.labels} | {"job", "instance", "le", "quantile"}
    assert not [label for label in ours if label.startswith(TAG_LABEL)]
    assert not {family.name for family in HISTOGRAMS.values()} & {family.name for family in TAGGED.values()}


def test_tagged_rows_beyond_the_most_are_in_other_and_rows_keep_their_names() -> None:
    fleet, maker = Fleet(), SnapshotMaker(RUN, max_series=3)
    fleet.report("a", 0, {keyed((("n", str(n)),)): [1] * (n + 1) for n in range(6)})
    of = interval_of(fleet, 0, maker)
    assert [one.count for one in of.series if one.labels.kind == "request"] == [21]
    found = {one.labels.tags[0][1]: one.count for one in of.tagged}
    assert found == {"0": 1, "1": 2, "2": 3, OTHER: 4 + 5 + 6}
    assert maker.is_full


def test_a_scrape_has_tagged_families_with_a_label_for_each_tag() -> None:
    sink = ScrapeSink("127.0.0.1", 0)
    try:
        for one in snapshots():
            sink.deliver(one)
        text = sink.answer("text/plain; version=0.0.4")[0].decode()
    finally:
        sink.close()
    samples = [sample for family in parse(text) for sample in family.samples]
    names = [(one.name, tuple(sorted(one.labels.items()))) for one in samples]
    assert len(names) == len(set(names))
    whole = [one for one in samples if one.name == "loadgen_request_duration_seconds_count"]
    parts = [one for one in samples if one.name == "loadgen_tagged_request_duration_seconds_count"]
    assert sum(one.value for one in whole) == SUM
    assert not [label for one in whole for label in one.labels if label.startswith(TAG_LABEL)]
    assert sum(one.value for one in parts) == SUM_TAGGED
    assert sum(one.value for one in parts if one.labels["tag_tenant"] == "gold") == SUM_GOLD
    assert sum(one.value for one in parts if one.labels["tag_x_cache"] == EMPTY) == 4


def test_a_real_prometheus_answers_by_tag_and_adds_up_rows_as_before(tmp_path: Path) -> None:
    now_ns = int(time.time()) * NS_PER_S
    with running_prometheus(tmp_path) as prometheus:
        sink = RemoteWriteSink(prometheus.write_url, prometheus.write_url, {})
        for n, one in enumerate(snapshots()):
            sink.deliver(replace(one, started_ns=now_ns - 10 * NS_PER_S, end_ns=(n + 1) * NS_PER_S))
        sink.close()
        at = f'{{run_id="{RUN.run_id}"}}[10m]'
        tagged = f"last_over_time(loadgen_tagged_request_duration_seconds_count{at})"
        assert prometheus.value(f"sum(last_over_time(loadgen_request_duration_seconds_count{at}))") == SUM
        assert prometheus.value(f"sum({tagged})") == SUM_TAGGED
        by_tenant = prometheus.ask(f"sum by (tag_tenant) ({tagged})")
        assert {one["metric"].get("tag_tenant", ""): float(one["value"][1]) for one in by_tenant} == {
            "gold": SUM_GOLD,
            "free": 8,
            "": SUM_TAGGED - SUM_GOLD - 8,
        }


@pytest.mark.parametrize("is_delta", [False, True])
def test_otlp_points_of_a_tag_are_right_also_after_a_new_tag_came(is_delta: bool) -> None:
    with http_receiver() as receiver:
        sink = OtlpSink(f"{receiver.url}/v1/metrics", receiver.url, {}, is_delta=is_delta)
        for one in snapshots():
            sink.deliver(one)
        sink.close()
        whole = points(receiver, "loadgen.request.duration")
        found = points(receiver, "loadgen.tagged.request.duration")
    gold = [point.count for attributes, point in found if attributes.get("tag_tenant") == "gold"]
    assert sum(gold) == (SUM_GOLD if is_delta else GOLD + 2 * SUM_GOLD)
    assert sum(point.count for _, point in whole) == (SUM if is_delta else IN_ALL - 1 + 2 * SUM)
    assert {name for attributes, _ in found for name in attributes if name.startswith(TAG_LABEL)} == {
        "tag_load",
        "tag_tenant",
        "tag_x_cache",
        "tag_x_cache_2",
    }


def test_influx_has_measurements_of_their_own_for_tagged_rows() -> None:
    with http_receiver(status=204) as receiver:
        sink = InfluxSink(f"{receiver.url}/write", "", {})
        for one in snapshots():
            sink.deliver(one)
        sink.close()
        found = [line for got in receiver.got for line in got.body.decode().split("\n")]

    def added(measurement: str, tag: str = "") -> int:
        own = [line for line in found if line.startswith(f"{measurement},") and tag in line]
        return sum(int(line.split("interval_count=")[1].split("i")[0]) for line in own)

    assert added("loadgen_request") == SUM
    assert added("loadgen_tagged_request") == SUM_TAGGED
    assert added("loadgen_tagged_request", ",tag_tenant=gold") == SUM_GOLD
    assert added("loadgen_tagged_request", ",tag_x_cache_2=other\\ tag") == 1
    assert not [line for line in found if line.startswith("loadgen_request,") and TAG_LABEL in line]


def test_lines_of_tagged_rows_have_a_kind_of_their_own(tmp_path: Path) -> None:
    sink = NdjsonSink(tmp_path / "f")
    for one in snapshots():
        sink.deliver(one)
    sink.close()
    whole, parts = lines(tmp_path / "f", kind="request"), lines(tmp_path / "f", kind="tagged_request")
    assert sum(one["interval_count"] for one in whole) == SUM
    assert sum(one["interval_count"] for one in parts) == SUM_TAGGED
    assert sum(one["interval_count"] for one in parts if one["tags"].get("tenant") == "gold") == SUM_GOLD
    assert not [one for one in whole if "tags" in one]
    assert json.dumps(whole).count(TAG_LABEL) == 0


@pytest.mark.parametrize("is_dog", [False, True])
def test_statsd_counts_tagged_rows_under_names_of_their_own(is_dog: bool) -> None:
    with udp_receiver() as (port, packets):
        sink = StatsdSink("127.0.0.1", port, is_dog=is_dog)
        for one in snapshots():
            sink.deliver(one)
        eventually(
            lambda: (
                counts(packets, "loadgen.tagged.request.") >= SUM_TAGGED and counts(packets, "loadgen.request.") >= SUM
            )
        )
        sink.close()
    found = [line for line in lines_of(packets) if line.startswith("loadgen.tagged.request.") and "|c" in line]
    assert counts(packets, "loadgen.request.") == SUM
    assert counts(packets, "loadgen.tagged.request.") == SUM_TAGGED
    gold = "tag_tenant:gold" if is_dog else ".tag_tenant.gold."
    assert sum(int(line.split(":", 1)[1].split("|")[0]) for line in found if gold in line) == SUM_GOLD
