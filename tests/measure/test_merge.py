"""Each delta once, whatever the wire does to them; and what is asked is answered from their sum."""

import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Counters, Delta, Health, SeriesStats
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.histogram import MAX_NS, SLOTS, Histogram, percentile
from loadgen.measure.merging.checkpoint import freeze, thaw
from loadgen.measure.merging.merge import Accepted, Merge, check_invariant
from loadgen.measure.merging.queries import Row, Window
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, counters_of, journey_key, request_key
from tests.support.examples import examples

KEYS = [
    request_key(),
    request_key("GET /cart", step="cart"),
    request_key("GET /cart", step=None),
    request_key("GET /cart", "http 503", step="cart"),
    request_key("GET /cart", "timeout", step="cart", censored=True),
    journey_key(),
    journey_key(outcome="missed", censored=True),
    request_key(warmup=True),
]
REGIONS = {"a": "us", "b": "eu", "c": "eu"}
VALUES = st.dictionaries(
    st.sampled_from(KEYS), st.lists(st.integers(0, 3_000_000_000), min_size=1, max_size=8), max_size=4
)


def dense(merge: Merge) -> dict[tuple[str, SeriesKey], dict[int, int]]:
    """Every bucket of the merge."""
    found = {}
    for region in merge.regions():
        for key in merge.keys(region):
            histogram = merge.histogram(key, region)
            assert histogram is not None
            slots, counts = histogram.sparse()
            found[region, key] = dict(zip(slots.tolist(), counts.tolist(), strict=True))
    return found


def state(merge: Merge) -> object:
    """All that can be asked of it."""
    return (
        dense(merge),
        [[(name, getattr(merge.counters(agent=a), name)) for name in Counters.__slots__] for a in merge.agents()],
        [(e.agent, e.epoch, e.next_seq, e.recorded, e.spans) for a in merge.agents() for e in merge.epochs(a)],
        [(w.k, dict(w.health), w.counters(), w.keys(), w.count("request")) for w in merge.windows()],
        repr(merge.fitness),
    )


def exact(merge: Merge, kind: str = "request", **wanted: object) -> tuple[int, int]:
    observed, censored = merge.select(kind, **wanted)  # type: ignore[arg-type]
    return observed.total, censored.total


# -- exactly once ---------------------------------------------------------------------------


@settings(max_examples=examples(60))
@given(
    st.dictionaries(
        st.sampled_from(sorted(REGIONS)), st.lists(st.lists(VALUES, max_size=5), min_size=1, max_size=2), min_size=1
    ),
    st.data(),
)
def test_merged_is_bucket_by_bucket_the_sum_of_what_was_accepted(
    made: dict[str, list[list[dict[SeriesKey, list[int]]]]], data: st.DataObject
) -> None:
    """Any agents, epochs, order, repeats and gaps; afterwards each agent resends what is still missing."""
    deltas: list[tuple[Delta, dict[SeriesKey, list[int]]]] = []
    for name, epochs in made.items():
        for epoch, intervals in enumerate(epochs, 1):
            agent = FakeAgent(name, epoch)
            deltas += [(agent.delta(values), values) for values in intervals]
    order = data.draw(st.lists(st.sampled_from(deltas), max_size=40)) if deltas else []

    merge = Merge()
    expected: dict[tuple[str, SeriesKey], list[int]] = defaultdict(list)
    totals: dict[str, Counters] = defaultdict(Counters)
    next_seq: dict[tuple[str, int], int] = defaultdict(int)
    newest: dict[str, int] = {}
    for delta, values in [*order, *deltas]:
        at = (delta.agent, delta.epoch)
        if delta.epoch < newest.get(delta.agent, 0):
            right = Accepted.OLD_EPOCH
        elif delta.seq != next_seq[at]:
            right = Accepted.DUPLICATE if delta.seq < next_seq[at] else Accepted.GAP
        else:
            right = Accepted.MERGED
            next_seq[at] += 1
            newest[delta.agent] = delta.epoch
            totals[delta.agent] += counters_of(values)
            for key, ns in values.items():
                expected[REGIONS[delta.agent], key] += ns
        assert merge.accept(REGIONS[delta.agent], delta) is right
        assert merge.next_seq(*at) == next_seq[at]

    for (region, key), ns in expected.items():
        histogram = merge.histogram(key, region)
        assert histogram == Histogram.of_ns(ns)
        assert histogram is not None
        assert (histogram.sum_ns, histogram.min_ns, histogram.max_ns) == (sum(ns), min(ns), max(ns))
    assert dense(merge).keys() == expected.keys()
    assert {agent: merge.counters(agent=agent) for agent in merge.agents()} == dict(totals)
    assert merge.counters() == sum(totals.values(), start=Counters())
    assert check_invariant(merge) == []


@settings(max_examples=examples(30))
@given(st.lists(VALUES, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_between_agents_does_not_matter(intervals, random) -> None:  # type: ignore[no-untyped-def]
    queues = [[agent.delta(values) for values in intervals] for agent in map(FakeAgent, REGIONS)]
    straight, mixed = Merge(), Merge()
    for queue in queues:
        for delta in queue:
            straight.accept(REGIONS[delta.agent], delta)
    while any(queues):
        delta = random.choice([queue for queue in queues if queue]).pop(0)
        mixed.accept(REGIONS[delta.agent], delta)
    assert dense(mixed) == dense(straight)
    assert mixed.counters() == straight.counters()


def test_new_epoch_begins_at_seq_0_and_ends_the_old_one() -> None:
    merge = Merge()
    old, new = FakeAgent("a", 1), FakeAgent("a", 2)
    late = [old.delta({request_key(): [NS_PER_MS]}) for _ in range(3)]
    fresh = [new.delta({request_key("GET /cart"): [NS_PER_MS]}) for _ in range(2)]
    assert merge.accept("us", late[0]) is Accepted.MERGED
    assert merge.accept("us", fresh[1]) is Accepted.GAP
    assert merge.accept("us", late[1]) is Accepted.MERGED  # a gap in the new epoch has not ended the old one
    assert merge.accept("us", fresh[0]) is Accepted.MERGED
    assert merge.accept("us", late[2]) is Accepted.OLD_EPOCH
    assert [(e.epoch, e.next_seq, e.recorded) for e in merge.epochs("a")] == [(1, 2, 2), (2, 1, 1)]
    assert merge.next_seq("a", 3) == 0


def test_epoch_knows_the_time_that_is_missing() -> None:
    merge, agent = Merge(), FakeAgent("a")
    for k in (0, 1, 4, 5):
        merge.accept("us", agent.delta({}, k=k))
    epoch = merge.epochs("a")[0]
    assert epoch.spans == [(0, 2 * NS_PER_S), (4 * NS_PER_S, 6 * NS_PER_S)]
    assert epoch.missing_ns(0, 8 * NS_PER_S) == 4 * NS_PER_S
    assert epoch.missing_ns(0, 2 * NS_PER_S) == 0


# -- malformed ------------------------------------------------------------------------------

GOOD = {request_key(): [NS_PER_MS, 2 * NS_PER_MS, 2 * NS_PER_MS], journey_key(): [9 * NS_PER_MS]}


def words(*numbers: int) -> bytes:
    return np.array(numbers, dtype="<u4").tobytes()


MALFORMED: dict[str, Callable[[Delta], Delta]] = {
    "count is shorter than index": lambda d: replace(d, count=d.count[:-4]),
    "index ends within a word": lambda d: replace(d, index=d.index[:-1], count=d.count[:-1]),
    "indices fall": lambda d: replace(d, index=d.index[4:8] + d.index[:4] + d.index[8:]),
    "an index stands twice": lambda d: replace(d, index=d.index[:4] + d.index[:4] + d.index[8:]),
    "series is unknown": lambda d: replace(d, index=d.index[:-4] + words(9 * SLOTS)),
    "greatest index": lambda d: replace(d, index=d.index[:-4] + words(2**32 - 1)),
    "key was not brought": lambda d: replace(d, new_series=d.new_series[:1]),
    "key was brought twice": lambda d: replace(d, new_series=(d.new_series[0], d.new_series[0])),
    "key is of no kind": lambda d: replace(
        d,
        new_series=(replace(d.new_series[0], kind="thing"), *d.new_series[1:]),  # type: ignore[arg-type]
    ),
    "count is 0": lambda d: replace(d, count=words(0) + d.count[4:]),
    "counts are not the sum": lambda d: replace(d, count=words(5) + d.count[4:]),
    "sums are missing": lambda d: replace(d, stats=d.stats[:-1]),
    "sums of a series without counts": lambda d: replace(d, stats=(*d.stats, SeriesStats(1, 1, 1, 1, 1))),
    "sum is below the least": lambda d: replace(d, stats=(replace(d.stats[0], sum_ns=1), *d.stats[1:])),
    "sum is beyond measure": lambda d: replace(d, stats=(replace(d.stats[0], sum_ns=2**80), *d.stats[1:])),
    "least is below 0": lambda d: replace(d, stats=(replace(d.stats[0], min_ns=-1), *d.stats[1:])),
    "greatest is above 1 h": lambda d: replace(d, stats=(replace(d.stats[0], max_ns=MAX_NS + 1), *d.stats[1:])),
    "time runs backwards": lambda d: replace(d, end_ns=d.start_ns - 1),
    "counter is negative": lambda d: replace(d, counters=Counters(requests_started=-1)),
}


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("has_more", [False, True], ids=["first", "later"])
def test_malformed_delta_changes_nothing(spoil: Callable[[Delta], Delta], has_more: bool) -> None:
    merge, agent = Merge(), FakeAgent("a")
    merge.accept("eu", FakeAgent("b").delta(GOOD))
    if has_more:
        merge.accept("us", agent.delta({request_key("GET /other"): [NS_PER_MS]}))
    good = agent.delta(GOOD)
    before = state(merge)
    with pytest.raises(WireError):
        merge.accept("us", spoil(good))
    assert state(merge) == before
    assert merge.accept("us", good) is Accepted.MERGED
    assert check_invariant(merge) == []


def test_key_that_the_epoch_brought_before_is_refused() -> None:
    """Two ids for one series would lose counts in a single numpy addition."""
    merge, agent = Merge(), FakeAgent("a")
    merge.accept("us", agent.delta(GOOD))
    again = replace(agent.delta({}), new_series=(request_key(),))
    with pytest.raises(WireError, match="sent before"):
        merge.accept("us", again)


@settings(max_examples=examples(150))
@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 2**64), st.integers(0, 2**64))
def test_random_bytes_raise_wire_error_and_nothing_else(index: bytes, count: bytes, n: int, sum_ns: int) -> None:
    merge, agent = Merge(), FakeAgent("a")
    good = agent.delta(GOOD)
    before = state(merge)
    try:
        merge.accept("us", replace(good, index=index, count=count, stats=(SeriesStats(0, n, sum_ns, 0, MAX_NS),)))
    except WireError:
        assert state(merge) == before


# -- asking ---------------------------------------------------------------------------------


def test_questions_sum_over_what_is_not_given() -> None:
    merge = Merge()
    for name, region in REGIONS.items():
        merge.accept(region, FakeAgent(name).delta({key: [NS_PER_MS] * n for n, key in enumerate(KEYS, 1)}))
    assert exact(merge) == (3 * (1 + 2 + 3 + 4), 3 * 5)
    assert exact(merge, region="eu") == (2 * 10, 2 * 5)
    assert exact(merge, outcome="ok") == (3 * 6, 0)
    assert exact(merge, request="GET /cart") == (3 * 9, 3 * 5)
    assert exact(merge, request="GET /cart", step="cart") == (3 * 6, 3 * 5)
    assert exact(merge, warmup=True) == (3 * 8, 0)
    assert exact(merge, "journey") == (3 * 6, 3 * 7)
    assert exact(merge, journey="other") == (0, 0)
    assert merge.count("request", request="GET /cart", region="us") == 14
    assert merge.outcomes("request", region="us") == {"ok": 6, "timeout": 5, "http 503": 4}
    outside = Row("request", "checkout", None, "GET /cart")
    assert outside in merge.rows("request")
    assert merge.select_row(outside)[0].total == 9
    assert merge.row_outcomes(Row("request", "checkout", "cart", "GET /cart"), "us") == {
        "timeout": 5,
        "http 503": 4,
    } | {"ok": 2}
    assert merge.rows("request", warmup=True) == [Row("request", "checkout", "browse", "GET /")]
    assert merge.rows(region="mars") == []


@settings(max_examples=examples(40))
@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.lists(st.integers(0, 10**9), min_size=1, max_size=50)
)
def test_percentile_of_regions_is_that_of_all_their_values(us: list[int], eu: list[int]) -> None:
    """Not a mean of percentiles: of the values themselves."""
    merge = Merge()
    merge.accept("us", FakeAgent("a").delta({request_key(): us}))
    merge.accept("eu", FakeAgent("b").delta({request_key(): eu}))
    for q in (50, 95, 99.9):
        assert percentile(*merge.select("request"), q) == percentile(Histogram.of_ns(us + eu), None, q)


def test_answer_after_a_new_series_came_includes_it() -> None:
    """Selections are cached; a new series must not be missed."""
    merge, agent = Merge(), FakeAgent("a")
    merge.accept("us", agent.delta({request_key(): [NS_PER_MS]}))
    assert exact(merge) == (1, 0)
    merge.accept("us", agent.delta({request_key("GET /new"): [NS_PER_MS]}))
    assert exact(merge) == (2, 0)


def test_sums_beyond_64_bits_stay_exact() -> None:
    merge, agent = Merge(), FakeAgent("a")
    n = 2**29
    for _ in range(3):
        delta = agent.delta({request_key("GET /slow", "timeout", censored=True): [MAX_NS]})
        stats = SeriesStats(0, n, n * MAX_NS // 2 + 1, 0, MAX_NS)
        merge.accept("us", replace(delta, count=words(n), stats=(stats,)))
    histogram = merge.histogram(request_key("GET /slow", "timeout", censored=True))
    assert histogram is not None
    assert histogram.sum_ns == 3 * (n * MAX_NS // 2 + 1) > 2**63


# -- windows --------------------------------------------------------------------------------


def shown(merge: Merge, live: list[str] | None = None, clock_ns: int | None = None) -> int | None:
    window = merge.latest_window(live, clock_ns)
    return None if window is None else window.k


def test_window_is_shown_when_all_live_agents_have_reported_it() -> None:
    merge, a, b = Merge(), FakeAgent("a"), FakeAgent("b")
    assert shown(merge) is None
    for agent in (a, b, a):
        merge.accept("us", agent.delta({request_key(): [NS_PER_MS]}))
    assert shown(merge, ["a", "b"]) == 0
    assert shown(merge, ["a"]) == 1
    assert shown(merge, ["a", "b", "c"]) is None
    merge.accept("us", b.delta({request_key(): [NS_PER_MS, NS_PER_MS]}))
    assert shown(merge, ["a", "b"]) == 1
    window = merge.latest_window()
    assert window is not None
    assert (window.count("request"), window.counters().requests_finished, sorted(window.agents)) == (3, 3, ["a", "b"])
    assert merge.count("request") == 5


def test_window_is_shown_in_time_although_an_agent_is_silent() -> None:
    merge, a = Merge(), FakeAgent("a")
    for _ in range(3):
        merge.accept("us", a.delta({}))
    assert shown(merge, ["a", "silent"], clock_ns=3 * NS_PER_S) == 0
    assert shown(merge, ["a", "silent"], clock_ns=4 * NS_PER_S) == 1
    assert shown(merge, ["a", "silent"], clock_ns=9 * NS_PER_S) == 2


def test_thirty_windows_are_kept_and_all_values_stay_in_the_whole() -> None:
    merge, a = Merge(), FakeAgent("a")
    held: list[Window] = []
    for k in range(100):
        merge.accept("us", a.delta({request_key(): [NS_PER_MS * (k + 1)] * (k + 1)}))
        held += [w for w in (merge.window(k),) if w is not None]
    assert [w.k for w in merge.windows()] == list(range(70, 100))
    assert all(w.count("request") == w.k + 1 for w in merge.windows())
    assert all(
        w.select("request")[0].percentile_us(100) == pytest.approx(1_000 * (w.k + 1), rel=0.001) for w in held[70:]
    )
    assert held[0].count("request") == 0  # a dropped window is empty, and not another one's values
    assert merge.window(0) is None
    assert merge.count("request") == 5_050


def test_delta_that_is_very_late_is_merged_without_a_window() -> None:
    merge, prompt, late = Merge(), FakeAgent("prompt"), FakeAgent("late")
    for _ in range(50):
        merge.accept("us", prompt.delta({request_key(): [NS_PER_MS]}))
    merge.accept("us", late.delta({request_key(): [NS_PER_MS]}))
    assert merge.count("request") == 51
    assert [w.k for w in merge.windows()] == list(range(20, 50))


def test_coarse_delta_reports_all_its_intervals_and_is_counted_in_the_last() -> None:
    merge, a = Merge(), FakeAgent("a")
    merge.accept("us", replace(a.delta({request_key(): [NS_PER_MS]}), end_ns=3 * NS_PER_S))
    assert [(w.k, list(w.agents), w.count("request")) for w in merge.windows()] == [
        (0, ["a"], 0),
        (1, ["a"], 0),
        (2, ["a"], 1),
    ]


def test_two_parts_of_an_interval_are_one_window() -> None:
    merge, a = Merge(), FakeAgent("a")
    first = a.delta({request_key(): [NS_PER_MS]}, k=0, health=Health(users=5, unfit=("lag",)))
    second = a.delta({request_key(): [NS_PER_MS]}, k=0, health=Health(users=0))
    merge.accept("us", replace(first, end_ns=NS_PER_S // 2))
    merge.accept("us", replace(second, start_ns=NS_PER_S // 2, end_ns=NS_PER_S * 9 // 10))
    (window,) = merge.windows()
    assert (window.count("request"), window.users, window.health["a"].unfit) == (2, 0, ("lag",))


def test_revision_of_a_window_grows_with_each_delta_that_speaks_of_it() -> None:
    merge, a, b = Merge(), FakeAgent("a"), FakeAgent("b")
    merge.accept("us", replace(a.delta({request_key(): [NS_PER_MS]}), end_ns=2 * NS_PER_S))
    assert [(w.k, w.revision) for w in merge.windows()] == [(0, 1), (1, 1)]
    delta = b.delta({}, k=1)
    merge.accept("us", delta)
    merge.accept("us", delta)
    assert [(w.k, w.revision) for w in merge.windows()] == [(0, 1), (1, 2)]
    assert all(window.revision for window in thaw(freeze(merge)).windows())


def test_interval_is_not_assumed_to_be_a_second() -> None:
    merge, a = Merge(interval_ns=NS_PER_S // 4), FakeAgent("a", interval_ns=NS_PER_S // 4)
    for _ in range(6):
        merge.accept("us", a.delta({}))
    assert [w.k for w in merge.windows()] == [0, 1, 2, 3, 4, 5]


def test_health_of_the_window_and_fitness_of_the_run() -> None:
    merge, a, b = Merge(), FakeAgent("a"), FakeAgent("b")
    for unfit in ((), ("lag",), ("lag",)):
        merge.accept("us", a.delta({}, health=Health(users=3, cpu_share=0.5, unfit=unfit, notes=("said",))))
        merge.accept("us", b.delta({}, health=Health(users=4, waiting=2)))
    window = merge.latest_window()
    assert window is not None
    assert (window.users, window.waiting, window.health["a"].unfit) == (7, 2, ("lag",))
    fitness = merge.fitness["a"]
    assert (fitness.intervals, fitness.unfit, fitness.reasons, list(fitness.notes)) == (3, 2, {"lag": 2}, ["said"])
    assert merge.fitness["b"].unfit == 0


def test_with_very_many_series_fewer_windows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.measure.merging.merge._WINDOW_BYTES", 1)
    merge, a = Merge(), FakeAgent("a")
    for _ in range(10):
        merge.accept("us", a.delta({request_key(): [NS_PER_MS]}))
    assert [w.k for w in merge.windows()] == [7, 8, 9]
    assert merge.count("request") == 10


# -- the invariant --------------------------------------------------------------------------


def test_invariant_holds_for_a_run_with_everything_in_it() -> None:
    merge = Merge()
    for name, region in REGIONS.items():
        merge.accept(region, FakeAgent(name).delta({key: [NS_PER_MS] * n for n, key in enumerate(KEYS, 1)}))
    assert check_invariant(merge) == []


@pytest.mark.parametrize(
    "name", ["requests_finished", "iterations_finished", "iterations_missed", "iterations_cut_off"]
)
def test_invariant_finds_a_counter_that_is_off_by_one(name: str) -> None:
    merge = Merge()
    delta = FakeAgent("a").delta(GOOD)
    counters = replace(delta.counters, **{name: getattr(delta.counters, name) + 1})
    merge.accept("us", replace(delta, counters=counters))
    assert any(word in line for line in check_invariant(merge) for word in ("finished requests", "iterations"))


def test_invariant_finds_a_bucket_that_was_lost() -> None:
    merge = Merge()
    merge.accept("us", FakeAgent("a").delta(GOOD))
    merge.close()
    merge._stores[0]._pages[1] = 0
    assert check_invariant(merge)


def test_closed_merge_gives_two_threads_at_once_the_same_counts() -> None:
    agents = [FakeAgent(name) for name in "abc"]
    deltas = [agent.delta({key: [NS_PER_MS] * 20 for key in KEYS}) for agent in agents for _ in range(2)]
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # without `close`, about 1 in 5 of these pairs saw too few values
    try:
        for _ in range(20):
            merge = Merge()
            merge.read(("us", delta) for delta in deltas)
            merge.close()
            begin = threading.Barrier(2)

            def query(merge: Merge = merge, begin: threading.Barrier = begin) -> list[str]:
                begin.wait()
                return check_invariant(merge)

            with ThreadPoolExecutor(2) as threads:
                assert [*threads.map(lambda _: query(), range(2))] == [[], []]
    finally:
        sys.setswitchinterval(before_s)


def test_counters_of_an_agent_are_over_its_epochs() -> None:
    merge = Merge()
    for epoch in (1, 2):
        merge.accept("us", FakeAgent("a", epoch).delta(GOOD))
    assert merge.counters(agent="a") == merge.counters() == merge.counters("us")
    assert merge.counters(agent="a").requests_finished == 6
    assert merge.counters("eu") == Counters()
    assert merge.counters(agent="nobody") == Counters()


def test_every_counter_is_carried() -> None:
    """A counter added to `Counters` is added up without a change here."""
    wanted = Counters(**{f.name: n for n, f in enumerate(fields(Counters), 1)})
    merge = Merge()
    merge.accept("us", replace(FakeAgent("a").delta({}), counters=wanted))
    assert merge.counters() == wanted


def test_a_row_can_be_asked_for_by_its_tags() -> None:
    hit = replace(request_key(), tags=(("load", "spike"), ("x-cache", "hit")))
    miss = replace(request_key(), tags=(("load", "spike"), ("x-cache", "miss")))
    merge = Merge()
    merge.accept("eu", FakeAgent("a").delta({hit: [1_000_000] * 3, miss: [9_000_000], request_key(): [5_000_000]}))
    (row,) = merge.rows("request")
    assert merge.row_tags(row) == {"load": {"spike": 4}, "x-cache": {"hit": 3, "miss": 1}}
    assert merge.select_row(row)[0].total == 5
    assert merge.select_row(row, tags=(("x-cache", "hit"),))[0].total == 3
    assert merge.select_row(row, tags=(("load", "spike"),))[0].total == 4
