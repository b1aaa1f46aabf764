"""hold and search: what they are told, what they say, and that they end where the knee is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from loadgen.dsl.executors.capacity import Limit, hold, search
from loadgen.dsl.executors.steering_executor import Decision, SteeringExecutor, decision_wrong
from loadgen.dsl.plans.objectives.slo import error_ratio, p
from loadgen.errors import ScenarioError
from loadgen.measure.objectives.steering_observation import Look
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from tests.support.queues import Queue, Targeted, dm1, fixed, longest_s, mm1, mmc

TARGETS = (
    (fixed(2, 0.1, 0.6), 1200),
    (dm1(20, 1.0), 3600),
    (fixed(4, 0.05, 0.3), 600),
    (mm1(90, 0.5), 1800),
    (mmc(4, 0.05, 0.6), 1800),
    (dm1(200, 0.2), 900),
    (mm1(500, 0.1), 900),
    (dm1(1000, 0.1), 600),
    (fixed(50, 0.01, 0.2), 600),
    (mm1(5000, 0.05), 600),
)
"""Knees from 20/s to 5,000/s, each with how long it is held."""


def at(limit: Targeted) -> str:
    return f"{limit.limit_s * 1000:g}ms"


def run(executor: Limit, queue: Queue, looks: int) -> tuple[Decision, list[float]]:
    """The last decision, and the rate of each look."""
    seen: list[Look] = []
    rates: list[float] = []
    decision = Decision(executor.terms.start_per_s)
    rate = coming = executor.terms.start_per_s
    for _ in range(looks):
        rates.append(rate)
        seen.append(queue.look(rate))
        decision = executor.steer(seen)
        if decision.rate_per_s is None:
            break
        rate, coming = coming, decision.rate_per_s
    return decision, rates


# -- where they end ----------------------------------------------------------------------------


def test_hold_ends_within_5_percent_of_the_knee_and_does_not_stay_beyond_it() -> None:
    """All targets with ten seeds each: tests/statistics/test_limit.py."""
    for target, seconds in TARGETS[::6]:
        executor = hold(p(99) < at(target), upto=target.knee_per_s * 4, duration=seconds)
        decision, rates = run(executor, target.queue(1), seconds)
        assert decision.finding is not None
        held = decision.finding.held_per_s or 0.0
        assert held == pytest.approx(target.knee_per_s, rel=0.05), target.name
        window_s = executor.window_s(target.knee_per_s)
        beyond = longest_s([rate > 1.05 * target.knee_per_s for rate in rates])
        assert beyond <= 2 * window_s, (target.name, beyond, window_s)


@pytest.mark.parametrize("target", [mm1(90, 0.5), fixed(4, 0.05, 0.3), dm1(200, 0.2)], ids=lambda one: one.name)
def test_search_ends_with_an_interval_that_has_the_knee_in_it(target: Targeted) -> None:
    decision, rates = run(search(p(99) < at(target), upto=target.knee_per_s * 4), target.queue(2), 3600)
    finding = decision.finding

    assert decision.rate_per_s is None
    assert finding is not None
    assert finding.verdict == "found"
    assert finding.low is not None
    assert finding.high is not None
    assert finding.low < target.knee_per_s < finding.high
    assert finding.rate_per_s == pytest.approx(target.knee_per_s, rel=0.05)
    assert "90 % interval" in decision.why
    assert len(rates) < 3600


def test_an_objective_that_is_always_met_ends_a_search_at_upto() -> None:
    decision, rates = run(search(p(99) < "500ms", upto="40/s", start="10/s"), fixed(10, 0.01, 0.5).queue(1), 900)

    assert decision.rate_per_s is None
    assert decision.finding is not None
    assert decision.finding.verdict == "not reached"
    assert decision.finding.text == (
        "the knee was not reached: p(99) < 500ms is met at 40.0/s, the highest allowed rate (upto)"
    )
    assert max(rates) == 40


def test_an_objective_that_is_always_met_holds_upto() -> None:
    executor = hold(p(99) < "500ms", upto="40/s", start="10/s", duration="5m")
    decision, _ = run(executor, fixed(10, 0.01, 0.5).queue(1), 300)

    assert decision.rate_per_s == 40
    assert decision.finding is not None
    assert (decision.finding.verdict, decision.finding.held_per_s) == ("not reached", 40)


@pytest.mark.parametrize("make", [hold, search])
def test_an_objective_that_can_never_be_met_ends_and_says_so(make: type[Limit]) -> None:
    executor = make(p(99) < "50ms", upto="40/s", start="10/s", duration="1h")  # type: ignore[arg-type]
    decision, rates = run(executor, fixed(100, 0.1, 0.05).queue(1), 3600)

    assert decision.rate_per_s is None
    assert decision.finding is not None
    assert decision.finding.verdict == "never met"
    assert decision.finding.text.startswith("p(99) < 50ms is not met even at 0.")
    assert len(rates) < 900


def test_too_few_results_are_not_a_decision() -> None:
    executor = search(p(99.9) < "500ms", upto="2/s", start="1/s", duration="10m")
    decision, _ = run(executor, mm1(50, 0.5).queue(1), 600)

    assert decision.finding is not None
    assert decision.finding.verdict == "not decided"
    assert "too few samples" in decision.finding.text
    assert "3000 needed, which takes 25m at 2.00/s" in decision.finding.text


def test_an_error_ratio_is_held_too() -> None:
    """Each objective's own: what is late beyond 300 ms is bad, by a ratio of 5 % more may be."""
    target = fixed(4, 0.05, 0.3)
    executor = hold(error_ratio() < "5%", upto="300/s", duration="15m")
    decision, _ = run(executor, target.queue(1), 900)

    assert decision.finding is not None
    assert decision.finding.held_per_s == pytest.approx(80, rel=0.05)


# -- purity ------------------------------------------------------------------------------------


def test_what_is_kept_changes_nothing() -> None:
    """Another worker that is asked for the first time, with all looks, comes to the same."""
    queue, seen = mm1(90, 0.5).queue(4), list[Look]()
    executor = hold(p(99) < "500ms", upto="400/s", duration="10m")
    for _ in range(200):
        seen.append(queue.look(executor.steer(seen).rate_per_s or 0 if seen else 6.25))

    fresh = hold(p(99) < "500ms", upto="400/s", duration="10m")

    assert fresh.steer(seen) == executor.steer(seen)
    assert fresh.steer(seen[:90]) == executor.steer(seen[:90])
    assert fresh.steer(seen[90:]) == executor.steer(seen[90:])


# -- what they are told ------------------------------------------------------------------------


def test_a_load_begins_at_a_64th_of_what_it_may_go_to() -> None:
    lowered = hold(p(99) < "300ms", upto="640/s", duration="20m").lower(1)

    assert lowered.profile == ArrivalProfile((Stage(10.0, 10.0, 1_200_000_000_000),))
    assert lowered.steering is not None
    assert lowered.steering.executor == "hold p(99) < 300ms: 10.0/s to 640/s"
    assert lowered.steering.upto_per_s == 640
    assert [one.text for one in lowered.steering.objectives] == ["p(99) < 300ms"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hold(upto="9/s", duration="1m"), 'hold: no objective is given; write p(99) < "300ms"'),
        (
            lambda: hold(p(99) < "1s", upto="9", duration="1m", start="10/s"),
            "hold: start, 10.0/s, is above upto, 9.00/s",
        ),
        (
            lambda: hold(p(99) < "1s", upto="fast", duration="1m"),
            'hold: upto: invalid rate "fast"; write "200/s", "30/m" or "1000/h"',
        ),
        (lambda: hold(p(99) < "1s", upto=float("nan"), duration="1m"), "hold: upto: invalid rate nan: must be finite"),
        (
            lambda: hold(p(99) < "1s", upto=0, duration="1m"),
            "hold: upto: 0 is not a valid rate; write one above 0 and at most 1e+08/s",
        ),
        (
            lambda: hold(p(99) < "1s", upto="9/s", duration="2d"),
            "hold: duration: 2d is not valid; write a duration above 0 and at most 24h",
        ),
        (lambda: hold(p(99) < "1s", upto="9/s", duration=None), 'hold: duration: missing; write "20m"'),  # type: ignore[arg-type]
        (
            lambda: hold(p(99) < "1s", upto="9/s", duration="1m", every="10ms"),
            "hold: every: 10ms is shorter than 1s, the interval of measurements; write at least 1s",
        ),
        (
            lambda: search(p(99) < "1s", upto="9/s", tolerance="90%"),
            "search: tolerance: 90% is out of range; write 1% to 50%",
        ),
        (lambda: hold(p(99) < 300, upto="9/s", duration="1m"), "p(99) < 300: the limit has no unit"),  # type: ignore[operator]
        (lambda: hold("p99", upto="9/s", duration="1m"), "hold: 'p99' is not an objective"),  # type: ignore[arg-type]
        (lambda: hold(p(99), upto="9/s", duration="1m"), "hold: p(99) is not an objective"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_a_fault_at_its_line(make: type[Limit], message: str) -> None:
    executor = make()  # type: ignore[call-arg]
    faults = executor.faults

    assert message in [fault.message for fault in faults]
    assert all(fault.file == __file__ for fault in faults)
    with pytest.raises(ScenarioError):
        executor.lower(1)


# -- executors of users ------------------------------------------------------------------------


@dataclass(frozen=True)
class Gentle(SteeringExecutor):
    by: float = 1.1
    objectives = (p(99) < "300ms",)
    start, upto, duration = "5/s", "200/s", "10m"

    def steer(self, looks: Sequence[Look]) -> Decision:
        return Decision(looks[-1].rate_per_s * self.by)

    def wrong(self) -> Sequence[str]:
        return () if self.by > 0 else ("by is above 0",)


def test_an_executor_of_a_users_own_is_lowered_like_ours() -> None:
    lowered = Gentle().lower(7)

    assert lowered.profile == ArrivalProfile((Stage(5.0, 5.0, 600_000_000_000),))
    assert lowered.steering is not None
    assert lowered.steering.executor == "Gentle: 5.00/s to 200/s"


def test_what_it_says_itself_is_wrong_is_a_fault() -> None:
    assert [fault.message for fault in Gentle(by=-1).faults] == ["Gentle: by is above 0"]


def test_an_executor_without_its_attributes_says_which() -> None:
    class Bare(SteeringExecutor):
        def steer(self, looks: Sequence[Look]) -> Decision:
            return Decision(1.0)

    assert [fault.message for fault in Bare().faults] == [
        'Bare: start: missing; write "10/s"',
        'Bare: upto: missing; write "10/s"',
        'Bare: duration: missing; write "20m"',
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Decision(5.0), ""),
        (Decision(0), ""),
        (Decision(None, "done"), ""),
        (Decision(float("nan")), "it returned the rate nan, which is not a finite number of at least 0"),
        (Decision(-1.0), "it returned the rate -1.0, which is not a finite number of at least 0"),
        (Decision(float("inf")), "it returned the rate inf, which is not a finite number of at least 0"),
        (Decision(201.0), "it returned 201/s, which is above upto, 200/s"),
        (Decision("fast"), "it returned the rate 'fast', which is not a finite number of at least 0"),  # type: ignore[arg-type]
        (Decision(True), "it returned the rate True, which is not a finite number of at least 0"),
        (7.0, "it returned 7.0, which is not a Decision(rate, why)"),
        (None, "it returned None, which is not a Decision(rate, why)"),
    ],
)
def test_an_answer_that_is_no_rate_is_told(answer: object, why: str) -> None:
    assert decision_wrong(answer, 200.0) == why
