"""When agents are asked to report less often, and when again as the plan has it; time and figures are handed in."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from loadgen.units import NS_PER_S
from loadgen_controller.core.report_interval import CALM_NS, HOLD_NS, STEPS, ReportInterval, busy_ns, first_step

S = NS_PER_S
LATE_JOINERS = (2_000, 5_000, 8_000, 2_000, 8_000)


def walk(
    report_interval: ReportInterval, seconds: Iterable[int], busy: float = 0.0, late_s: float = 0.0
) -> list[tuple[int, int]]:
    """(second, interval asked for in s) of each change. busy: share of the CPU, in each second alike."""
    found = []
    for second in seconds:
        if report_interval.look(second * S, round(second * S * busy), round(late_s * S)):
            found.append((second, report_interval.asked_ns // S))
    return found


def test_a_controller_that_keeps_up_asks_for_nothing() -> None:
    report_interval = ReportInterval(S)
    assert walk(report_interval, range(100), busy=0.79, late_s=2.9) == []
    assert report_interval.asked_ns == 0


def test_a_busy_one_asks_for_longer_and_longer_intervals_and_waits_for_what_each_step_brings() -> None:
    report_interval = ReportInterval(S)
    assert walk(report_interval, range(100), busy=0.81) == [(2, 2), (2 + HOLD_NS // S, 4)]


@pytest.mark.parametrize(
    ("loop_share", "all_share", "cpus", "is_busy"),
    [
        (0.79, 0.94, 1, False),
        (0.79, 0.96, 1, True),  # ZeroMQ's thread has taken the rest of the CPU
        (0.79, 1.30, 2, False),
        (0.81, 0.95, 2, True),
        (0.30, 1.95, 2, True),
    ],
)
def test_the_loop_s_thread_and_all_threads_together_have_limits_of_their_own(
    loop_share: float, all_share: float, cpus: int, is_busy: bool
) -> None:
    assert (
        walk(ReportInterval(S), range(5), busy=busy_ns(round(loop_share * S), round(all_share * S), cpus) / S) != []
    ) is (is_busy)


def test_late_acknowledgements_are_reason_enough() -> None:
    report_interval = ReportInterval(S)
    assert report_interval.look(0, 0, 4 * S) == "acknowledgements are 4.0 s late"
    assert report_interval.asked_ns == 2 * S


def test_calm_leads_back_to_the_plan_s_interval_step_by_step() -> None:
    report_interval = ReportInterval(S)
    walk(report_interval, range(15), late_s=4)
    assert report_interval.asked_ns == 4 * S
    calm = CALM_NS // S
    assert walk(report_interval, range(15, 200)) == [(15 + calm, 2), (15 + 2 * calm, 0)]


def test_between_calm_and_busy_it_stays_as_it_is() -> None:
    report_interval = ReportInterval(S)
    walk(report_interval, [0], late_s=4)
    assert walk(report_interval, range(1, 300), busy=0.39) == []
    assert report_interval.asked_ns == 2 * S


def test_steps_are_multiples_of_the_plan_s_interval() -> None:
    report_interval = ReportInterval(S // 2)
    report_interval.look(0, 0, 4 * S)
    assert report_interval.asked_ns == S


@pytest.mark.parametrize(
    ("agents", "interval_s", "first_s"),
    [
        (0, 1, 1),
        (1, 1, 1),
        (1_000, 1, 1),
        (2_000, 1, 1),
        (2_807, 1, 1),  # 0.285 ms each: 80 % of a core
        (2_808, 1, 2),
        (5_000, 1, 2),
        (8_000, 1, 4),
        (10_000, 1, 4),
        (20_000, 1, 4),  # the longest that there is, although it is too short
        (5_000, 2, 2),
        (1_000, 0.25, 0.5),
    ],
)
def test_the_first_interval_follows_from_the_number_of_agents(agents: int, interval_s: float, first_s: float) -> None:
    assert STEPS[first_step(agents, round(interval_s * S))] * interval_s == first_s


def test_a_large_fleet_begins_with_a_longer_interval_for_a_reason_with_its_size() -> None:
    report_interval = ReportInterval(S)
    why = report_interval.expect(0, 5_000)
    assert why == "5,000 agents that report every 1 s would take 142% of a CPU"
    assert report_interval.asked_ns == 2 * S


def test_a_small_fleet_begins_with_the_plan_s_interval_without_a_reason() -> None:
    report_interval = ReportInterval(S)
    assert report_interval.expect(0, 2_000) == ""
    assert report_interval.asked_ns == 0


def test_a_controller_that_is_calm_with_a_large_fleet_leads_back_to_the_plan_s_interval() -> None:
    report_interval = ReportInterval(S)
    report_interval.expect(0, 5_000)
    assert walk(report_interval, range(100), busy=0.3) == [(CALM_NS // S, 0)]


def test_a_controller_that_was_calm_keeps_its_interval_when_one_more_agent_joins() -> None:
    report_interval = ReportInterval(S)
    report_interval.expect(0, 5_000)
    walk(report_interval, range(100), busy=0.3)
    assert report_interval.expect(0, 5_001) == ""
    assert report_interval.asked_ns == 0


def test_agents_that_join_late_make_the_interval_longer_and_those_that_leave_do_not_make_it_shorter() -> None:
    report_interval = ReportInterval(S)
    seen = [(agents, bool(report_interval.expect(0, agents)), report_interval.asked_ns // S) for agents in LATE_JOINERS]
    assert seen == [(2_000, False, 0), (5_000, True, 2), (8_000, True, 4), (2_000, False, 4), (8_000, False, 4)]


def test_a_busy_controller_of_a_large_fleet_asks_for_still_longer_intervals() -> None:
    report_interval = ReportInterval(S)
    report_interval.expect(0, 5_000)
    assert walk(report_interval, range(12), busy=0.81) == [(HOLD_NS // S, 4)], "and not for the first deltas"


def test_an_estimate_does_not_shorten_the_interval_of_a_busy_controller() -> None:
    report_interval = ReportInterval(S)
    walk(report_interval, range(15), late_s=4)
    assert report_interval.expect(0, 5_000) == ""
    assert report_interval.asked_ns == 4 * S


def test_work_that_comes_in_bursts_is_measured_over_whole_intervals() -> None:
    """All agents report each 4 s: then the controller is busy for 2.4 s, which is 60 % of the time."""
    report_interval = ReportInterval(S)
    walk(report_interval, range(15), late_s=4)
    assert report_interval.asked_ns == 4 * S
    busy_ns = [second // 4 * 24 * S // 10 + min(second % 4 * S, 24 * S // 10) for second in range(60)]
    assert [report_interval.look((15 + second) * S, busy_ns[second], 0) for second in range(60)] == [""] * 60
