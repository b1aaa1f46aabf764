"""Values with times of their server: the order and the number of their arrivals change nothing."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.points import Point
from loadgen.probes.reader import ServerTime
from loadgen.probes.rows import Row, Series
from loadgen.probes.server_clock import ServerClockOffset
from loadgen.probes.timed_points import TimedPoints

S = 1_000_000_000
AHEAD_S = 1_700_000_000
ROWS = (
    Row(key="hits[a]", title="a", kind="counter", names=("hits",)),
    Row(key="hits[b]", title="b", kind="counter", names=("hits",)),
)
SERIES = {
    "a": (Series("hits[a]", "value", "hits", (("path", "/"),)), Series("hits[a]", "value", "hits", (("path", "/x"),))),
    "b": (Series("hits[b]", "value", "hits"),),
}


def clock() -> ServerClockOffset:
    offset = ServerClockOffset()
    offset.add(ServerTime(0, 2_000_000, AHEAD_S * S + 1_000_000))
    return offset


def built(values: list[tuple[str, int, float]], chunks: list[int]) -> tuple[dict[str, list[Point]], list[int], int]:
    """The points of values (group, time in s, value) that come in chunks of these sizes."""
    timed = TimedPoints()
    left = list(values)
    for size in [*chunks, len(left)]:
        for group, at_s, value in left[:size]:
            for series in SERIES[group]:
                timed.add(group, series, [(AHEAD_S + at_s) * 1_000], [value])
        left = left[size:]
    points, _ = timed.build(ROWS, clock(), 15 * S, 0)
    return points.points, [gap.at_ns for gap in points.gaps], points.samples


values = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 300), st.floats(0, 1e6)), min_size=1, max_size=40,
    unique_by=lambda one: one[:2],
)  # fmt: skip


@given(values, st.lists(st.integers(1, 10), max_size=10), st.randoms(use_true_random=False))
def test_order_and_repetition_of_arrivals_change_nothing(
    made: list[tuple[str, int, float]], chunks: list[int], order: random.Random
) -> None:
    mixed = [*made, *made[: len(made) // 2]]
    order.shuffle(mixed)

    assert built(mixed, chunks) == built(sorted(made), [])


@given(st.integers(2, 30), st.sets(st.integers(1, 28), max_size=20))
def test_each_missing_scrape_is_one_gap_and_the_increase_over_it_is_exact(count: int, missing: set[int]) -> None:
    # Fewer than half are missing, so the usual distance is known.
    missing = {n for n in missing if 0 < n < count - 1 and n % 3 == 0}
    there = [n for n in range(count) if n not in missing]

    points, gaps, samples = built([("b", n * 15, n * 30.0) for n in there], [])

    assert samples == len(there)
    assert [round(at / S / 15) for at in gaps] == sorted(missing)
    assert sum(point.count or 0 for point in points["hits[b]"]) == (count - 1) * 30
    assert {point.value for point in points["hits[b]"]} <= {2.0}


def test_instances_have_gaps_of_their_own() -> None:
    timed = TimedPoints()
    for group, times in (("a", range(0, 150, 15)), ("b", [*range(0, 60, 15), *range(90, 150, 15)])):
        for at_s in times:
            for series in SERIES[group]:
                timed.add(group, series, [(AHEAD_S + at_s) * 1_000], [1.0])

    _, spacings = timed.build(ROWS, clock(), 15 * S, 0)

    assert not spacings["hits[a]"].gaps
    assert [round(gap.at_ns / S) for gap in spacings["hits[b]"].gaps] == [60, 75]
    assert {spacing.interval_ns for spacing in spacings.values()} == {15 * S}
