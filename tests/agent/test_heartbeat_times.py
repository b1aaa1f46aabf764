"""When an agent sends a heartbeat, and whether it travels within a delta."""

from __future__ import annotations

from itertools import pairwise

import pytest

from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen_agent.supervisor.heartbeat_times import HeartbeatTimes

S = NS_PER_S


def of_an_hour(every_ns: int, late_ns: int = 20 * NS_PER_MS, *, may_ride: bool = True) -> tuple[list[int], list[int]]:
    """Times of the heartbeats of their own and of those within deltas, by ticks of 50 ms; a delta each `every_ns`."""
    times, own, within, next_ns = HeartbeatTimes(0), list[int](), list[int](), every_ns
    times.may_ride = may_ride
    for now_ns in range(0, 3600 * S, 50 * NS_PER_MS):
        if every_ns and now_ns >= next_ns + late_ns:
            next_ns += every_ns
            if rides := times.rides(now_ns):
                within.append(now_ns)
            times.delta_sent(now_ns, with_beat=rides, every_ns=every_ns)
        if times.is_due(now_ns):
            times.sent(now_ns)
            own.append(now_ns)
    return own, within


def test_under_load_each_heartbeat_travels_within_a_delta() -> None:
    own, within = of_an_hour(S)
    assert len(own) <= 1, "before the first delta"
    assert 3590 < len(within) <= 3600


@pytest.mark.parametrize("every_ns", [0, S // 10, S, 3 * S // 2, 2 * S, 3 * S, 5 * S])
@pytest.mark.parametrize("late_ns", [0, 20 * NS_PER_MS, 400 * NS_PER_MS])
def test_no_two_heartbeats_are_further_apart_than_a_second_and_half_or_2_and_a_half_with_longer_intervals(
    every_ns: int, late_ns: int
) -> None:
    own, within = of_an_hour(every_ns, late_ns)
    sent = sorted((*own, *within))
    most_ns = (1550 if every_ns <= S else 2550) * NS_PER_MS
    assert max(b - a for a, b in pairwise(sent)) <= most_ns, "an agent is suspected after 3 s"
    assert len(sent) <= 2 * 3600, "deltas that come more often do not each carry one"


@pytest.mark.parametrize(("every_s", "own_of_each"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_heartbeats_of_their_own_fill_the_time_between_deltas_each_2_s(every_s: int, own_of_each: int) -> None:
    own, within = of_an_hour(every_s * S, late_ns=0)
    deltas = 3600 // every_s
    assert abs(len(own) - own_of_each * deltas) <= 5, "before the first delta, one each second"
    assert abs(len(within) - deltas) <= 1


def test_an_older_controller_gets_heartbeats_of_their_own() -> None:
    own, within = of_an_hour(S, may_ride=False)
    assert (len(own), within) == (3599, [])


def test_a_new_phase_is_sent_at_once_whatever_carried_the_last_heartbeat() -> None:
    for within in (False, True):
        times = HeartbeatTimes(0)
        times.may_ride = True
        times.sent(S)
        times.delta_sent(S, with_beat=within, every_ns=0)
        assert not times.is_due(S)
        assert not times.rides(S)
        times.soon()
        assert times.is_due(S)
        assert times.rides(S)
        times.sent(S)
        assert not times.is_due(S + 1)
