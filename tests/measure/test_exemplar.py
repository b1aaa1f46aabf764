"""A run keeps few of many exemplars: the slowest for sure, the others by chance, none without end."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loadgen.measure.deltas.exemplar import Exemplar, ExemplarTable, KeptExemplar
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


def test_each_says_whose_it_is_and_the_newest_interval_is_at_hand() -> None:
    table = ExemplarTable()
    table.add("eu", "a", [ONE])
    table.add("us", "b", [replace(ONE, n=1)])
    table.add("eu", "a", [replace(ONE, n=2)])
    assert sorted((kept.region, kept.agent, kept.exemplar.n) for kept in table) == [
        ("eu", "a", 0),
        ("eu", "a", 2),
        ("us", "b", 1),
    ]
    assert sorted((kept.agent, kept.exemplar.n) for kept in table.last()) == [("a", 2), ("b", 1)]
    table.add("eu", "a", [])
    assert [kept.agent for kept in table.last()] == ["b"]


def test_the_warm_up_has_none() -> None:
    table = ExemplarTable()
    table.add("eu", "a", [replace(ONE, warmup=True)])
    assert list(table) == []
    assert table.of("nobody") == []
