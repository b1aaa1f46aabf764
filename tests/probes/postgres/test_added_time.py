"""Statements: increases between two readings, resets, evictions, and the time that the load has added."""

from __future__ import annotations

from math import fsum, isclose

from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.postgres.statements import (
    REST,
    Counters,
    Increase,
    Snapshot,
    StatementKey,
    added_time,
    body_of,
    increase,
    of_body,
    snapshot_of,
    together,
)
from loadgen.units import NS_PER_S as S

CART, ITEM, NEW = StatementKey(10, 5, 1), StatementKey(10, 5, 2), StatementKey(10, 5, 3)


def of(calls: int, exec_ms: float) -> Counters:
    return Counters(calls, exec_ms, calls, 0, 0, 0, 0, 0.0)


def at(
    seconds: float,
    counters: dict[StatementKey, Counters],
    *,
    started_s: float = 1.0,
    reset_s: float = 2.0,
    evictions: int = 0,
    since_s: dict[StatementKey, float] | None = None,
) -> Snapshot:
    return Snapshot(round(seconds * S), started_s, reset_s, evictions, counters, since_s or {})


def test_an_increase_is_the_difference_and_a_statement_without_one_is_left_out() -> None:
    found = increase(at(0, {CART: of(5, 50.0), ITEM: of(7, 1.0)}), at(10, {CART: of(8, 95.0), ITEM: of(7, 1.0)}))

    assert found.by_statement == {CART: of(3, 45.0)}
    assert (found.from_ns, found.to_ns, found.why) == (0, 10 * S, "")


def test_all_of_a_statement_that_is_new_belongs_to_the_interval() -> None:
    assert increase(at(0, {}), at(10, {NEW: of(2, 3.0)})).by_statement == {NEW: of(2, 3.0)}


def test_after_a_reset_the_whole_interval_is_unknown_even_if_counters_are_above_their_old_values() -> None:
    found = increase(at(0, {CART: of(5, 50.0)}), at(10, {CART: of(9, 90.0)}, reset_s=7.0))

    assert found.by_statement == {}
    assert found.why == "the statistics of statements were reset"


def test_after_a_restart_of_the_server_the_whole_interval_is_unknown() -> None:
    found = increase(at(0, {CART: of(5, 50.0)}), at(10, {CART: of(9, 90.0)}, started_s=7.0))

    assert (found.by_statement, found.why) == ({}, "the server was restarted")


def test_a_statement_whose_counters_fell_is_counted_as_unknown_and_never_negative() -> None:
    found = increase(at(0, {CART: of(5, 50.0), ITEM: of(1, 1.0)}), at(10, {CART: of(2, 9.0), ITEM: of(2, 3.0)}))

    assert found.by_statement == {ITEM: of(1, 2.0)}
    assert found.restarted == 1


def test_a_statement_that_was_forgotten_and_came_back_is_unknown_even_with_more_calls() -> None:
    before = at(0, {CART: of(5, 50.0)}, since_s={CART: 1.0})
    found = increase(before, at(10, {CART: of(9, 90.0)}, since_s={CART: 6.0}, evictions=1))

    assert (found.by_statement, found.restarted) == ({}, 1)


def test_forgotten_statements_are_counted() -> None:
    assert increase(at(0, {CART: of(5, 50.0), ITEM: of(1, 1.0)}), at(10, {}, evictions=1)).evicted == 2


def test_added_time_is_the_time_of_the_load_minus_the_rate_before_it() -> None:
    before = Increase(0, 30 * S, {CART: of(30, 300.0), ITEM: of(60, 60.0)})
    during = Increase(30 * S, 90 * S, {CART: of(60, 600.0), ITEM: of(600, 720.0), NEW: of(1, 5.0)})

    found = added_time([before, during], t0_ns=30 * S, end_ns=90 * S)

    assert [(row.key, row.added.exec_ms, row.added.calls) for row in found.rows] == [
        (ITEM, 600.0, 480.0),  # 720 - 60 s of 2 ms/s
        (NEW, 5.0, 1.0),
        (CART, 0.0, 0.0),
    ]
    assert found.total.added.exec_ms == 605.0
    assert (found.baseline_s, found.during_s, found.unknown_s) == (30.0, 60.0, 0.0)


def test_a_statement_that_the_load_displaces_has_a_negative_added_time() -> None:
    before, during = Increase(0, 10 * S, {CART: of(10, 100.0)}), Increase(10 * S, 20 * S, {})

    assert added_time([before, during], 10 * S, 20 * S).rows[0].added.exec_ms == -100.0


def test_the_interval_in_which_the_load_begins_belongs_to_the_load_and_does_not_distort_it() -> None:
    # 1 ms/s before T0 = 15 s and 5 ms/s after it: 15 s of load have added 60 ms.
    parts = [
        Increase(0, 10 * S, {CART: of(10, 10.0)}),
        Increase(10 * S, 20 * S, {CART: of(30, 30.0)}),
        Increase(20 * S, 30 * S, {CART: of(50, 50.0)}),
    ]
    found = added_time(parts, 15 * S, 30 * S)

    assert isclose(found.rows[0].added.exec_ms, 60.0)


def test_unknown_intervals_are_left_out_and_named() -> None:
    parts = [Increase(0, 10 * S, {CART: of(1, 1.0)}), Increase(10 * S, 20 * S, {}, why="the server was restarted")]
    found = added_time(parts, 0, 20 * S)

    assert (found.during_s, found.unknown_s, found.whys) == (10.0, 10.0, ("the server was restarted",))


def test_without_readings_before_the_load_nothing_is_subtracted_and_the_baseline_has_no_length() -> None:
    found = added_time([Increase(0, 10 * S, {CART: of(1, 7.0)})], 0, 10 * S)

    assert (found.baseline_s, found.rows[0].added.exec_ms) == (0.0, 7.0)


COUNTERS = st.builds(of, st.integers(0, 1_000), st.floats(0, 1e6))
KEYS = st.builds(StatementKey, st.integers(1, 2), st.integers(1, 2), st.integers(-(2**63), 2**63 - 1))
INCREASES = st.lists(st.dictionaries(KEYS, COUNTERS, max_size=8), max_size=12)


@given(INCREASES, st.integers(0, 12))
def test_added_times_sum_to_the_added_time_of_the_total(parts: list[dict[StatementKey, Counters]], before: int) -> None:
    made = [Increase(n * S, (n + 1) * S, one) for n, one in enumerate(parts)]
    found = added_time(made, before * S, 20 * S)
    split = min(before, len(parts))
    sums = [fsum(c.exec_ms for one in some for c in one.values()) for some in (parts[:split], parts[split:])]
    expected = sums[1] - (sums[0] * (len(parts) - split) / split if split else 0.0)

    assert isclose(found.total.added.exec_ms, expected, rel_tol=1e-9, abs_tol=1e-3)
    assert isclose(fsum(row.added.exec_ms for row in found.rows), expected, rel_tol=1e-9, abs_tol=1e-3)


@given(st.dictionaries(KEYS, COUNTERS, max_size=30), st.integers(1, 30))
def test_a_stored_increase_keeps_its_sum_and_its_largest_statements(
    one: dict[StatementKey, Counters], most: int
) -> None:
    read = of_body(body_of(Increase(0, S, one), most))

    assert isclose(
        fsum(c.exec_ms for c in read.by_statement.values()), fsum(c.exec_ms for c in one.values()), abs_tol=0.1
    )
    assert len(read.by_statement) <= most + 1
    assert (REST in read.by_statement) == (len(one) > most)


@given(INCREASES.filter(bool))
def test_increases_that_are_added_up_are_the_same_load(parts: list[dict[StatementKey, Counters]]) -> None:
    made = [Increase(n * S, (n + 1) * S, one) for n, one in enumerate(parts)]
    whole = made[0]
    for one in made[1:]:
        whole = together(whole, one)

    apart, at_once = added_time(made, 0, 99 * S), added_time([whole], 0, 99 * S)

    assert {row.key for row in apart.rows} == {row.key for row in at_once.rows}
    assert isclose(apart.total.added.exec_ms, at_once.total.added.exec_ms, abs_tol=1e-3)


def test_the_answer_of_the_server_becomes_a_snapshot() -> None:
    rows = [("10,5,-7,1700000000.5,3,1.25,9,100,2,0,4096,0.5",), ("10,5,8,,1,2,3,4,5,6,7,8",)]
    info = ("2", "1700000000", "1600000000", "1700000100")
    found = snapshot_of(7, rows, info)
    again = snapshot_of(8, rows[:1], info, found)

    assert found.counters == {
        StatementKey(10, 5, -7): Counters(3, 1.25, 9, 100, 2, 0, 4096, 0.5),
        StatementKey(10, 5, 8): Counters(1, 2.0, 3, 4, 5, 6, 7, 8.0),
    }
    assert found.since_s == {StatementKey(10, 5, -7): 1700000000.5}
    assert (found.evictions, found.reset_s, found.started_s) == (2, 1.7e9, 1.6e9)
    assert again.counters[StatementKey(10, 5, -7)] is found.counters[StatementKey(10, 5, -7)]
    assert len(again.by_text) == 1
