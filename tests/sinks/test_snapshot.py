"""Counts of a snapshot go to the end of its interval, whatever else was merged by then, and the last has all."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.series_key import OTHER, SeriesKey
from loadgen.sinks.snapshot import Levels, Snapshot, SnapshotMaker
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import journey_key, request_key
from tests.support.examples import examples
from tests.support.sinks import RUN, STARTED_NS, Fleet, counts_of, final_of, interval_of, series_of

KEYS = [
    request_key(),
    request_key("GET /cart", "http 503"),
    request_key("GET /cart", "timeout", censored=True),
    request_key(warmup=True),
    journey_key(),
]
ORDERS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 6),
        st.dictionaries(st.sampled_from(KEYS), st.lists(st.integers(0, 10**10), min_size=1, max_size=4), max_size=3),
    ),
    max_size=14,
)


def totals(of: Snapshot) -> Counter[object]:
    found: Counter[object] = Counter()
    for series in of.series:
        found[series.labels] += series.count
        assert series.count == series.buckets.sum()
    return found


def whole(of: Snapshot) -> dict[object, tuple[int, int, int, list[int]]]:
    return {one.labels: (one.count, one.censored, one.sum_ns, one.buckets.tolist()) for one in of.series}


@settings(max_examples=examples(80), deadline=None)
@given(ORDERS)
def test_an_interval_has_what_ended_before_its_end_and_the_last_has_all(
    order: list[tuple[str, int, dict[SeriesKey, list[int]]]],
) -> None:
    """Deltas in any order, late ones too; after each the newest interval but one is told."""
    fleet, maker = Fleet(a="eu", b="us"), SnapshotMaker(RUN)
    merged: list[tuple[str, int, dict[SeriesKey, list[int]]]] = []
    before: Counter[object] = Counter()
    told = -1
    for agent, k, values in order:
        fleet.report(agent, k, values)
        merged.append((agent, k, values))
        kept = [window.k for window in fleet.merge.windows()][:-1]
        if kept and kept[-1] >= told:
            told = kept[-1]
            of = interval_of(fleet, told, maker)
            assert whole(of) == whole(interval_of(fleet, told)), "kept up and counted anew"
            seen = totals(of)
            assert seen.total() == sum(len(v) for _, k, vs in merged if k <= told for v in vs.values())
            assert all(seen[labels] >= count for labels, count in before.items()), "a count fell"
            before = seen
    last = final_of(fleet.merge, maker)
    assert whole(last) == whole(final_of(fleet.merge))
    assert totals(last).total() == sum(len(v) for _, _, vs in merged for v in vs.values())
    for region, name in (("eu", "a"), ("us", "b")):
        finished = sum(len(v) for n, _, vs in merged if n == name for key, v in vs.items() if key.kind == "request")
        assert region not in last.counters or last.counters[region].requests_finished == finished


def test_what_comes_late_for_an_interval_is_in_the_next_snapshot() -> None:
    fleet, maker = Fleet(a="eu", b="eu"), SnapshotMaker(RUN)
    fleet.report("a", 0, {request_key(): [NS_PER_MS] * 3})
    first = interval_of(fleet, 0, maker)
    fleet.report("b", 0, {request_key(): [NS_PER_MS] * 4})
    fleet.report("a", 1, {request_key(): [NS_PER_MS] * 5})
    second = interval_of(fleet, 1, maker)
    assert [counts_of(one)["checkout", "GET /", "ok", "eu"] for one in (first, second)] == [3, 12]


def test_what_was_merged_of_a_later_interval_is_not_in_a_snapshot_yet() -> None:
    fleet = Fleet(a="eu", b="eu")
    fleet.report("a", 0, {request_key(): [NS_PER_MS]})
    fleet.report("a", 1, {request_key(): [2_000 * NS_PER_MS, NS_PER_MS], request_key("GET /new"): [5]})
    fleet.report("b", 0, {request_key(): [NS_PER_MS]})
    of = interval_of(fleet, 0)
    series = series_of(of, kind="request")
    assert (series.count, series.sum_ns) == (2, 2 * NS_PER_MS)
    assert of.counters["eu"].requests_finished == 2
    assert of.time_ns == STARTED_NS + NS_PER_S


def test_a_series_in_which_nothing_happened_is_the_same_value_again() -> None:
    fleet, maker = Fleet(), SnapshotMaker(RUN)
    fleet.report("a", 0, {request_key(): [1], request_key("GET /other"): [1]})
    interval_of(fleet, 0, maker)
    fleet.report("a", 1, {request_key(): [1]})
    second = interval_of(fleet, 1, maker)
    fleet.report("a", 2, {request_key(): [1]})
    third = interval_of(fleet, 2, maker)
    assert series_of(second, request="GET /other") is series_of(third, request="GET /other")
    assert series_of(second, request="GET /other").recent is None
    assert series_of(third, request="GET /").count == 3


def test_tags_are_summed_up_and_bounds_are_above_every_bucket() -> None:
    fleet = Fleet()
    hit = SeriesKey("request", "checkout", None, "GET /", "ok", "response", tags=(("x-cache", "hit"),))
    fleet.report("a", 0, {hit: [1], request_key(step=None): [1]})
    assert series_of(interval_of(fleet, 0), kind="request").count == 2
    late = request_key(outcome="timeout", censored=True)
    fleet.report("a", 1, {late: [5 * NS_PER_S] * 2})
    timed_out = series_of(interval_of(fleet, 1), outcome="timeout")
    assert (timed_out.censored, timed_out.buckets[-1]) == (2, 2)


def test_names_beyond_the_most_are_summed_up_in_other_and_counts_still_add_up() -> None:
    fleet, maker = Fleet(), SnapshotMaker(RUN, max_series=2)
    fleet.report("a", 0, {request_key(f"GET /{n}"): [1] * (n + 1) for n in range(5)})
    fleet.report("a", 1, {request_key("GET /0"): [1]})
    of = interval_of(fleet, 1, maker)
    assert counts_of(of) == {
        ("checkout", "GET /0", "ok", "eu"): 2,
        ("checkout", "GET /1", "ok", "eu"): 2,
        (OTHER, OTHER, OTHER, "eu"): 3 + 4 + 5,
    }
    assert maker.is_full


def test_levels_are_sums_over_the_agents_of_a_region_and_the_worst_of_any() -> None:
    fleet = Fleet(a="eu", b="eu", c="us")
    for agent, lag_us, unfit in (("a", 500, ()), ("b", 3_000, ("lag",)), ("c", 0, ())):
        fleet.report(agent, 0, {}, Health(users=2, in_flight=1, websockets=5, generator_lag_p99_us=lag_us, unfit=unfit))
    of = interval_of(fleet, 0)
    assert of.levels["eu"] == Levels(agents=2, unfit=1, users=4, in_flight=2, websockets=10, generator_lag_p99_s=0.003)
    assert of.levels["us"].users == 2


def test_the_loop_gets_a_turn_every_40_series() -> None:
    fleet = Fleet()
    fleet.report("a", 0, {request_key(f"GET /{n}"): [1] for n in range(100)})
    steps = list(SnapshotMaker(RUN).steps(fleet.merge, fleet.window(0), STARTED_NS, NS_PER_S))
    assert steps[:-1] == [None, None]
