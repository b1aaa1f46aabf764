"""When agents are asked to report less often, and when again as the plan has it; time and figures are handed in."""

from __future__ import annotations

from collections.abc import Iterable

from loadgen.units import NS_PER_S
from loadgen_controller.core.report_interval import CALM_NS, HOLD_NS, ReportInterval

S = NS_PER_S


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
    assert walk(report_interval, range(100), busy=0.6, late_s=2.9) == []
    assert report_interval.asked_ns == 0


def test_a_busy_one_asks_for_longer_and_longer_intervals_and_waits_for_what_each_step_brings() -> None:
    report_interval = ReportInterval(S)
    assert walk(report_interval, range(100), busy=0.8) == [(2, 2), (2 + HOLD_NS // S, 3), (2 + 2 * HOLD_NS // S, 5)]


def test_late_acknowledgements_are_reason_enough() -> None:
    report_interval = ReportInterval(S)
    assert report_interval.look(0, 0, 4 * S) == "acknowledgements are 4.0 s late"
    assert report_interval.asked_ns == 2 * S


def test_calm_leads_back_to_the_plan_s_interval_step_by_step() -> None:
    report_interval = ReportInterval(S)
    walk(report_interval, range(15), late_s=4)
    assert report_interval.asked_ns == 3 * S
    calm = CALM_NS // S
    assert walk(report_interval, range(15, 200)) == [(15 + calm, 2), (15 + 2 * calm, 0)]


def test_between_calm_and_busy_it_stays_as_it_is() -> None:
    report_interval = ReportInterval(S)
    walk(report_interval, [0], late_s=4)
    assert walk(report_interval, range(1, 300), busy=0.6) == []
    assert report_interval.asked_ns == 2 * S


def test_steps_are_multiples_of_the_plan_s_interval() -> None:
    report_interval = ReportInterval(S // 2)
    report_interval.look(0, 0, 4 * S)
    assert report_interval.asked_ns == S
