"""What a controller is measured with: seconds that a merge takes, and verdicts that say what they are of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench import controller, controller_beside_locust
from bench.controller import MIB, Fleet, Seen, _verdict
from bench.deltas import drawn_seconds
from bench.locust_master import Seen as Master
from bench.swarm import _joined
from loadgen.measure.merging.merge import Accepted, Merge, check_invariant
from loadgen.units import NS_PER_S

FIGURES = {
    "delta_bytes": 1,
    "sent_per_s": 1,
    "received_per_s": 1,
    "ack_ms": {"p50": 1, "p99": 1},
    "asked_s": [],
    "swarm_cpu": 0.1,
    "late_ms": 20.0,
}


def test_drawn_seconds_are_taken_by_a_merge_and_add_up() -> None:
    merge = Merge()
    for second in drawn_seconds(names=3, requests=4, agents=10, count=3):
        assert merge.accept("a", replace(second, agent="sim.0", epoch=1)) is Accepted.MERGED

    assert merge.counters().requests_finished == 3 * 4 * 3
    assert check_invariant(merge) == []


def test_all_drawn_seconds_have_the_series_that_the_first_brings() -> None:
    first, *others = drawn_seconds(names=3, requests=4, agents=10, count=3)

    assert len(first.new_series) == Fleet(1, 3, 4).series == 12
    assert all(not one.new_series and len(one.stats) == 12 for one in others)


def test_joined_seconds_are_as_long_and_as_full_as_their_parts() -> None:
    drawn = [replace(one, new_series=()) for one in drawn_seconds(names=2, requests=2, agents=1, count=4)]

    for intervals, joints in _joined(drawn).items():
        assert {one.counters.requests_finished for one in joints} == {2 * 2 * intervals}
        assert {one.end_ns - one.start_ns for one in joints} == {intervals * NS_PER_S}


def seen(agents: int, names: int, cpu_share: float, rss_bytes: int = 200 * MIB, wrong: str = "", *asked: float) -> Seen:
    swarm = {**FIGURES, "asked_s": [(5.0, interval_s) for interval_s in asked]}
    return Seen(Fleet(agents, names, 50), cpu_share, rss_bytes, 10.0, swarm, 1.0, 1.0, wrong)


def test_a_controller_within_its_budget_holds_it() -> None:
    assert _verdict(seen(1_000, 20, 0.25)).endswith("budget 25% of a core, 500 MiB, a report per 1 s: held.")
    assert _verdict(seen(5_000, 20, 0.95, 800 * MIB, "", 2.0)).endswith("800 MiB, a report per 2 s: held.")


def test_a_controller_that_is_too_dear_too_large_or_wrong_does_not() -> None:
    for one in (
        seen(1_000, 20, 0.26),
        seen(1_000, 20, 0.2, 9, "", 2.0),
        seen(5_000, 20, 0.9, 9, "", 2.0, 3.0),
        seen(200, 150, 0.3, 501 * MIB),
        seen(200, 150, 0.3, wrong="1 of 2 requests"),
    ):
        assert "NOT HELD" in _verdict(one)


def test_a_fleet_without_a_budget_is_told_and_not_judged() -> None:
    assert _verdict(seen(2_000, 20, 0.9)) == "2,000 agents of 46 series: all requests are in the run."


@pytest.mark.parametrize(
    ("of_the_fleet", "of_the_controller", "shown"),
    [
        ({"swarm_cpu": 0.96}, 0.9, "The simulated fleet and not the controller was the limit: it used 96% of its core"),
        ({"late_ms": 1234.0}, 0.9, "was the limit: it used 10% of its core, and its messages left up to 1,234 ms late"),
        ({"late_ms": 501.0}, 0.97, "Both the simulated fleet and the controller were at their limit: it used 10%"),
    ],
)
def test_a_verdict_says_that_the_fleet_was_the_limit(
    of_the_fleet: dict[str, Any], of_the_controller: float, shown: str
) -> None:
    one = seen(5_000, 20, of_the_controller, wrong="12 agents out of their lease")

    verdict = _verdict(replace(one, swarm={**one.swarm, **of_the_fleet}))

    assert verdict.startswith("5,000 agents of 46 series: 12 agents out of their lease; budget")
    assert shown in verdict


def test_locusts_master_is_over_when_it_is_busy_or_calls_a_worker_missing() -> None:
    calm = Master(100, 0.5, 1, 33.0, 7_500, 10.0, 20.0, 0, 0.1)

    assert not calm.is_over
    assert replace(calm, cpu_share=0.91).is_over
    assert replace(calm, missing=1).is_over


def test_a_fleet_that_does_not_come_up_is_a_sentence_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def watched(fleet: Fleet, seconds: int, skip: int) -> Seen:
        if fleet.agents == 5_000:
            raise RuntimeError("the load did not begin: nothing for 130 s\nwaiting for 1,204 agents")
        return replace(seen(fleet.agents, 20, 0.2), swarm=FIGURES)

    monkeypatch.setattr(controller, "watch_fleet", watched)
    section = controller.measure(fleets=(Fleet(5_000, 20, 50), Fleet(1_000, 20, 50)))

    assert [row[0] for row in section.rows] == ["1,000"]
    assert section.verdict.startswith(
        "5,000 agents of 46 series: the load did not begin: nothing for 130 s; the budget is NOT HELD."
    )
    assert section.verdict.endswith(": held.")


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"),
    [
        ([0.44, 0.40, 0.36], [0.43, 0.41, 0.39], "40% and 41% of a core, ratio 0.98; budget 1.32: held."),
        ([0.25, 0.25, 0.25], [0.19, 0.18, 0.19], "25% and 19% of a core, ratio 1.32; budget 1.32: held."),
        ([0.30, 0.31, 0.32], [0.20, 0.20, 0.20], "31% and 20% of a core, ratio 1.55; budget 1.32: NOT HELD."),
    ],
)
def test_a_controller_is_judged_beside_locusts_master_by_medians(
    ours: list[float], theirs: list[float], shown: str
) -> None:
    assert shown in controller_beside_locust._verdict(ours, theirs)
