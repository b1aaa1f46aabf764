"""A backlog of the generator's own is released at twice the planned rate at most, and nothing is released early."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.load.catch_up import ALLOWANCE_NS, CATCH_UP, CatchUp

MS = 1_000_000


@given(steps=st.lists(st.integers(0, 300 * MS), min_size=1, max_size=200), behind_ns=st.integers(0, 10_000 * MS))
def test_in_any_time_at_most_twice_the_planned_time_and_the_allowance_are_released(
    steps: Sequence[int], behind_ns: int
) -> None:
    catch_up = CatchUp(-behind_ns)
    now_ns, seen = 0, [(0, -behind_ns)]
    for step in steps:
        now_ns += step
        upto_ns = catch_up.release(now_ns)
        assert seen[-1][1] <= upto_ns <= now_ns
        seen.append((now_ns, upto_ns))
    for index, (at_ns, from_ns) in enumerate(seen):
        for later_ns, upto_ns in seen[index + 1 :]:
            assert upto_ns - from_ns <= ALLOWANCE_NS + CATCH_UP * (later_ns - at_ns)


@given(late=st.lists(st.integers(0, ALLOWANCE_NS), min_size=1, max_size=50), gap_ns=st.integers(5 * MS, 1_000 * MS))
def test_an_ordinary_late_wake_up_is_made_up_at_once(late: Sequence[int], gap_ns: int) -> None:
    catch_up, due_ns = CatchUp(0), 0
    for late_ns in late:
        due_ns += gap_ns
        catch_up.slept(due_ns)
        assert catch_up.release(due_ns + late_ns) == due_ns + late_ns


@pytest.mark.parametrize("stop_ms", [300, 10_000])
def test_after_a_stop_the_plan_is_reached_again_in_the_same_time(stop_ms: int) -> None:
    catch_up = CatchUp(0)
    catch_up.slept(0)
    now_ns = stop_ms * MS
    assert catch_up.release(now_ns) == ALLOWANCE_NS
    while catch_up.upto_ns < now_ns:
        now_ns += MS
        catch_up.release(now_ns)
    assert (2 * stop_ms - 10) * MS <= now_ns <= 2 * stop_ms * MS


def test_a_gap_in_the_plan_is_no_backlog() -> None:
    catch_up = CatchUp(0)
    catch_up.release(0)
    catch_up.slept(60_000 * MS)
    assert catch_up.release(60_000 * MS + 3 * MS) == 60_000 * MS + 3 * MS


def test_a_loop_whose_turns_are_long_still_catches_up_at_twice_the_rate() -> None:
    catch_up, now_ns = CatchUp(-1_000 * MS), 0
    for _ in range(100):
        now_ns += 20 * MS
        catch_up.release(now_ns)
    assert catch_up.upto_ns == now_ns


def test_a_single_long_turn_among_short_ones_releases_no_more_than_the_allowance() -> None:
    catch_up, now_ns = CatchUp(0), 0
    for gap_ms in (1, 1, 500):
        now_ns += gap_ms * MS
        before_ns = catch_up.upto_ns
        catch_up.release(now_ns)
    assert catch_up.upto_ns - before_ns == ALLOWANCE_NS
    before_ns = catch_up.upto_ns
    catch_up.release(now_ns + MS)
    assert catch_up.upto_ns - before_ns == CATCH_UP * MS
