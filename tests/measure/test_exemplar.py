"""A run keeps few of many exemplars: the slowest for sure, the others by chance, none without end."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from loadgen.measure.deltas.exemplar import Exemplar, ExemplarState, ExemplarTable, KeptExemplar
from loadgen.measure.deltas.exemplar_rows import ROW_FIELDS
from loadgen.measure.deltas.series_key import OK

ONE = Exemplar("shop", "browse", "GET /", OK, "random", 0, 0, 0, 100, 90, "a" * 32)


def of(table: ExemplarTable) -> list[KeptExemplar]:
    return table.of("shop", "browse", "GET /")


@given(st.lists(st.lists(st.integers(1, 1_000), max_size=30), max_size=8))
def test_whatever_the_deltas_the_slowest_are_the_slowest(deltas: list[list[int]]) -> None:
    table = ExemplarTable()
    for k, values in enumerate(deltas):
        table.add("eu", "a", [replace(ONE, response_ns=ns, n=n, at_ns=k) for n, ns in enumerate(values)])
    expected = sorted((ns for values in deltas for ns in values), reverse=True)[: ExemplarTable.SLOWEST]
    assert [kept.exemplar.response_ns for kept in of(table)][: len(expected)] == expected


def test_memory_is_bounded_however_long_the_run() -> None:
    table = ExemplarTable()
    for n in range(3_000):
        bad = replace(ONE, n=n, outcome="timeout", why="failed")
        table.add("eu", "a", [replace(ONE, n=n), bad, replace(ONE, request=f"GET /{n}")])
    assert len(of(table)) <= 10 + 20 + 20
    assert len(table.series()) == ExemplarTable.MAX_SERIES
    assert table.left_out == 3_000 - (ExemplarTable.MAX_SERIES - 1)
    assert len(list(table)) == len(table)


def test_those_at_random_are_any_of_the_run_with_the_same_chance() -> None:
    """20 of 100, in 2,000 runs: chi-squared with 99 degrees of freedom, 0.1 % at 148."""
    seen: Counter[int] = Counter()
    random = Random(3)
    for _ in range(2_000):
        table = ExemplarTable(random)
        for n in range(100):
            table.add("eu", "a", [replace(ONE, n=n, outcome="timeout", why="failed")])
        seen.update(kept.exemplar.n for kept in of(table))
    assert sum((seen[n] - 400) ** 2 / 400 for n in range(100)) < 148


def test_each_says_whose_it_is() -> None:
    table = ExemplarTable()
    table.add("eu", "a", [ONE])
    table.add("us", "b", [replace(ONE, n=1)])
    table.add("eu", "a", [replace(ONE, n=2)])
    assert sorted((kept.region, kept.agent, kept.exemplar.n) for kept in table) == [
        ("eu", "a", 0),
        ("eu", "a", 2),
        ("us", "b", 1),
    ]


def test_the_warm_up_has_none() -> None:
    table = ExemplarTable()
    table.add("eu", "a", [replace(ONE, warmup=True)])
    assert list(table) == []
    assert table.of("nobody") == []


def test_there_is_room_for_enough_slow_ones_drawn_with_the_same_chance() -> None:
    """60 of 300, in 300 runs: chi-squared with 299 degrees of freedom, 0.1 % at 380."""
    seen: Counter[int] = Counter()
    random = Random(3)
    for _ in range(300):
        table = ExemplarTable(random)
        for n in range(300):
            table.add("eu", "a", [replace(ONE, n=n, why="over", response_ns=1)])
        over = [kept.exemplar for kept in table._series["shop", "browse", "GET /"].over]
        assert len(over) == ExemplarTable.OVER == 60
        seen.update(one.n for one in over)
    assert sum((seen[n] - 60) ** 2 / 60 for n in range(300)) < 380


def test_slow_ones_survive_a_restart_of_the_controller_and_older_checkpoints_have_none() -> None:
    table = ExemplarTable()
    for n in range(100):
        table.add("eu", "a", [replace(ONE, n=n, why="over", stands_for=2.0, span="b" * 16, tags=(("a", "b"),))])
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(table.state()), type=ExemplarState)
    ours = ExemplarTable()
    ours.take_state(state)
    assert list(ours) == list(table)
    assert len(list(ours)) > 60
    before = msgspec.to_builtins(table.state())
    for one in before[0]:
        del one[6:]  # as version 1.6 wrote it
        for kept in (*[entry[2] for entry in one[1]], *one[2], *one[3]):
            for name in ("span", "sampled", "stands_for", "tags", "requests", "active_loads", "phases"):
                kept["exemplar"].pop(name, None)
    older = ExemplarTable()
    older.take_state(msgspec.convert(before, ExemplarState))
    assert {kept.exemplar.stands_for for kept in older} == {0.0}


def test_a_trace_is_read_only_if_it_may_exist() -> None:
    old = replace(ONE, why="slowest")
    assert old.may_be_read
    assert not replace(ONE, trace="").may_be_read
    assert replace(ONE, span="b" * 16, sampled=True).may_be_read
    assert not replace(ONE, span="b" * 16).may_be_read


def test_slow_sampled_requests_are_counted_by_series_and_limit_whatever_is_stored() -> None:
    table = ExemplarTable()
    sampled = replace(ONE, sampled=True, stands_for=10.0)
    for k in range(500):
        table.add(
            "eu",
            "a",
            [
                replace(sampled, why="slowest", response_ns=400_000_000),
                replace(sampled, why="over", response_ns=310_000_000),
                replace(sampled, why="random", response_ns=350_000_000),  # of the rest: not above its series' limit
                replace(sampled, why="slowest", response_ns=400_000_000, outcome="timeout"),
                replace(sampled, why="slowest", response_ns=900_000_000, warmup=True),
                replace(ONE, why="slowest", response_ns=800_000_000),
                replace(sampled, request="GET /b", why="slowest", response_ns=200_000_000 + k),
            ],
        )
    restored = ExemplarTable()
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(table.state()), type=ExemplarState)
    restored.take_state(state)
    for one in (table, restored):
        assert one.readable(300e6, lambda *key: key == ("shop", "browse", "GET /")) == 1_000
        assert one.readable(350e6, lambda *key: key == ("shop", "browse", "GET /")) == 500
        assert one.readable(100e6, lambda *key: key[2] == "GET /b") == 500
        assert one.readable(0, lambda *_: False) == 0


@given(st.integers(0, 4 * 10**12), st.integers(0, 4 * 10**12))
def test_of_two_response_times_one_percent_apart_the_longer_one_counts_as_above(first: int, second: int) -> None:
    table = ExemplarTable()
    table.add("eu", "a", [replace(ONE, sampled=True, why="slowest", response_ns=first)])
    is_above = bool(table.readable(second, lambda *_: True))
    if first <= second:
        assert not is_above
    elif first > 1.01 * second:
        assert is_above


exemplars = st.builds(
    Exemplar,
    journey=st.just("shop"),
    step=st.sampled_from(["", "browse"]),
    request=st.sampled_from(["", "GET /"]),
    outcome=st.sampled_from([OK, OK, "timeout"]),
    why=st.sampled_from(["slowest", "random", "failed", "over"]),
    load=st.just(0),
    n=st.integers(0, 99),
    at_ns=st.just(0),
    response_ns=st.integers(0, 60),
    warmup=st.sampled_from([False, False, False, True]),
)


@given(st.lists(st.lists(exemplars, max_size=60), max_size=8), st.integers(0, 8))
def test_rows_are_added_as_their_exemplars_are(deltas: list[list[Exemplar]], restart: int) -> None:
    """Also after a restart, and the same ones are kept by chance."""
    tables = ExemplarTable(Random(3)), ExemplarTable(Random(3))
    for k, some in enumerate(deltas):
        if k == restart:
            states = [table.state() for table in tables]
            tables = ExemplarTable(Random(4)), ExemplarTable(Random(4))
            for table, state in zip(tables, states, strict=True):
                table.take_state(state)
        tables[0].add("eu", f"a{k}", some)
        tables[1].add_rows("eu", f"a{k}", [astuple(one)[: len(ROW_FIELDS)] for one in some])
    encoded = [msgspec.msgpack.encode(table.state()) for table in tables]
    assert encoded[0] == encoded[1]
    assert tables[0]._random.getstate() == tables[1]._random.getstate()
