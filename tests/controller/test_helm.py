"""Looks made of what agents report, who is asked, and what comes of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from loadgen import goodput, p
from loadgen.dsl.plans.spec import JourneySpec, LaneSpec, PlanSpec, SteeringSpec
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import GOODPUT_TAG, OK, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective
from loadgen.measure.objectives.steering_observation import Part
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.messages import Steered
from loadgen_controller.core.load_change_messages import Adjustments
from loadgen_controller.core.shares import Assignment
from loadgen_controller.core.steered_loads_state import (
    MOST_LOOKS,
    Finding,
    RateDecision,
    RateRequest,
    SteeredLoads,
    as_rows,
)
from tests.support.deltas import FakeAgent, journey_key

S = NS_PER_S
ASSIGNMENT = Assignment(("a", "b"), ("eu", "us"), (1.0, 1.0))
P99 = Objective(kind="percentile", q=99, limit=300 * NS_PER_MS, window_ns=S, text="p(99) < 300ms")
STEERING = SteeringSpec(executor="hold p(99) < 300ms", objectives=(P99,), start_per_s=20.0, upto_per_s=100.0)
PROFILE = ArrivalProfile((Stage(20.0, 20.0, 60 * S),))
JOURNEYS = (JourneySpec(name="checkout", weight=1.0),)
LANE = LaneSpec(name="", load="", journeys=JOURNEYS, profile=PROFILE, steering=STEERING)
SPEC = PlanSpec(
    name="plan", scenario="x.py", doc="", target="http://x", load="", profile=PROFILE, journeys=JOURNEYS, slos=(),
    regions={"eu": 1.0, "us": 1.0}, duration_ns=60 * S, total_arrivals=None, peak=20.0, max_users=None,
    max_lateness_ns=None, warmup_ns=0, drain_ns=0, connect_timeout_ns=S, timeout_ns=S, seed=1, lanes=(LANE,),
)  # fmt: skip


class Fleet:
    """Two agents that report an interval at a time."""

    def __init__(self, spec: PlanSpec = SPEC) -> None:
        self.merge, self.steered_loads, self.adjustments = Merge(), SteeredLoads(spec, "run"), Adjustments.of(spec)
        self.agents = {name: FakeAgent(name) for name in ASSIGNMENT.agents}

    def report(self, agent: str, *response_ms: float, overdue: int = 0, unfit: Sequence[str] = ()) -> None:
        k = self.agents[agent].seq
        values = {journey_key(): [round(ms * NS_PER_MS) for ms in response_ms]}
        delta = self.agents[agent].delta(values, health=Health(in_flight=overdue, unfit=tuple(unfit)))
        late = sum(ms > 300 for ms in response_ms)
        due = (DueCounts(0, "checkout", k, good=len(response_ms) - late, bad=late, overdue=overdue),)
        self.merge.accept(ASSIGNMENT.region(agent), replace(delta, due=due))

    def both(self, *response_ms: float) -> None:
        for agent in ASSIGNMENT.agents:
            self.report(agent, *response_ms)

    def tick(self, clock_s: float, live: Sequence[str] = ASSIGNMENT.agents) -> list[RateRequest]:
        return self.steered_loads.tick(self.merge, ASSIGNMENT, live, (), round(clock_s * S), self.adjustments)

    def answered(self, agent: str, **answer: object) -> RateDecision | RateRequest | None:
        return self.steered_loads.answered(agent, _steered(**answer), 0)  # type: ignore[arg-type]


def _steered(known: int = 1, **answer: object) -> Steered:
    return replace(Steered("run", 0, known), **answer)  # type: ignore[arg-type]


def test_a_look_is_made_when_all_have_reported() -> None:
    fleet = Fleet()
    fleet.report("a", 10, 100, 250, 400)
    assert fleet.tick(1.1) == []

    fleet.report("b", 10, 290)
    (ask,) = fleet.tick(1.2)
    (look,) = ask.message.looks

    assert (ask.agent, ask.message.first, ask.message.count) == ("a", 0, 1)
    assert (look.from_s, look.to_s, look.rate_per_s) == (0.0, 1.0, 20.0)
    assert (look.due, look.good, look.bad) == (6, 5, 1)
    assert (look.reported, look.agents, look.is_steady, look.is_sound) == (2, 2, True, True)
    # above 238, 189, 150 and 119 ms: 250 and 290; above 94 ms and less: 100 too; the two of 10 above none
    assert look.parts == (Part(0, "checkout", 5, 1, (2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3)),)
    assert fleet.tick(1.3) == []


def test_what_is_in_flight_and_older_than_the_limit_is_bad_once() -> None:
    fleet = Fleet()
    fleet.both(10)
    fleet.tick(1.1)
    for agent in ASSIGNMENT.agents:
        fleet.report(agent, overdue=3)
    (frozen,) = fleet.tick(2.1)[0].message.looks[-1:]
    fleet.both(1500, 1500, 1500)  # they end now, of intervals before
    (ended,) = fleet.tick(3.1)[0].message.looks[-1:]

    assert (frozen.good, frozen.bad) == (0, 6)
    assert (ended.good, ended.bad) == (0, 0)


def test_a_load_that_follows_goodput_counts_good_bad_and_lost_requests() -> None:
    good = (goodput(ttft="500ms") > "95%").objective
    assert good is not None
    steering = SteeringSpec(executor="search", objectives=(good,), start_per_s=20.0, upto_per_s=100.0)
    journeys = (*JOURNEYS, JourneySpec(name="browse", weight=1.0))
    lane = msgspec.structs.replace(LANE, journeys=journeys, steering=steering)
    fleet = Fleet(msgspec.structs.replace(SPEC, lanes=(lane,)))
    row = SeriesKey("goodput", "checkout", None, "chat", OK, "value", tags=((GOODPUT_TAG, good.goodput_text),))
    other = replace(row, tags=((GOODPUT_TAG, "ttft<=1ms"),))
    for agent in ASSIGNMENT.agents:
        delta = fleet.agents[agent].delta({row: [1] * 7, replace(row, outcome="slow"): [1] * 2, other: [1] * 9})
        due = (
            DueCounts(0, "checkout", 0, good=7, bad=3, overdue=1, total=1),
            DueCounts(0, "browse", 0, bad=4, total=4),  # it asks no models
        )
        fleet.merge.accept(ASSIGNMENT.region(agent), replace(delta, due=due))
    (look,) = fleet.tick(1.1)[0].message.looks
    assert look.parts == (Part(0, "checkout", 14, 8),)


def test_a_load_that_follows_ttft_counts_values_of_ok_requests_and_streams_without_a_token() -> None:
    slo = (p(95, metric="ttft") < "300ms").objective
    assert slo is not None
    steering = SteeringSpec(executor="search", objectives=(slo,), start_per_s=20.0, upto_per_s=100.0)
    lane = msgspec.structs.replace(LANE, steering=steering)
    fleet = Fleet(msgspec.structs.replace(SPEC, lanes=(lane,)))
    row = SeriesKey("request", "checkout", None, "chat", OK, "ttft")
    values = {
        row: [100 * NS_PER_MS, 250 * NS_PER_MS, 400 * NS_PER_MS],
        replace(row, metric="tpot"): [10 * NS_PER_MS] * 3,
        replace(row, censored=True): [50 * NS_PER_MS],  # ok without a token
        replace(row, outcome="stream truncated"): [50 * NS_PER_MS] * 2,
        replace(row, warmup=True): [50 * NS_PER_MS],
    }
    for agent in ASSIGNMENT.agents:
        due = (DueCounts(0, "checkout", 0, good=2, bad=4, overdue=5),)
        delta = fleet.agents[agent].delta(values)
        fleet.merge.accept(ASSIGNMENT.region(agent), replace(delta, due=due))
    (look,) = fleet.tick(1.1)[0].message.looks
    assert look.parts == (Part(0, "checkout", 4, 18, (2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4)),)
    assert isinstance(look.observed_ms, float | None)


def test_a_look_says_who_was_not_fit_and_who_is_missing() -> None:
    fleet = Fleet()
    fleet.report("a", 10, unfit=["lag p99 9 ms"])
    (ask,) = fleet.tick(2.7)  # b's is overdue

    assert ask.message.looks[0].unfit == ("a: lag p99 9 ms",)
    assert (ask.message.looks[0].reported, ask.message.looks[0].agents) == (1, 2)


def test_an_interval_in_which_the_rate_changed_is_not_steady() -> None:
    fleet = Fleet()
    stages = (Stage(50.0, 50.0, 58 * S),)
    fleet.adjustments = fleet.adjustments.replaced(0, stages, round(1.4 * S), "run", why="more")
    for _ in range(3):
        fleet.both(10)
    (ask,) = fleet.tick(3.1)

    assert [(look.rate_per_s, look.is_steady) for look in ask.message.looks] == [(20, True), (50, False), (50, True)]


def test_a_decision_is_followed_once() -> None:
    fleet = Fleet()
    fleet.both(10)
    fleet.tick(1.1)
    finding = msgspec.json.encode(Finding("found", "it is there", 40.0))

    turn = fleet.answered("a", known=1, rate_per_s=30.0, why="growing", finding_json=finding)

    assert turn == RateDecision(0, 30.0, "growing", 1)
    assert as_rows(fleet.steered_loads)[0]["text"] == "it is there"
    assert fleet.answered("b", known=1, rate_per_s=70.0) is None  # not asked
    assert fleet.answered("a", known=9, rate_per_s=70.0) is None  # of looks that were not given


def test_no_rate_ends_the_load_and_the_asking() -> None:
    fleet = Fleet()
    fleet.both(10)
    fleet.tick(1.1)

    assert fleet.answered("a", known=1, ends=True, why="done") == RateDecision(0, None, "done", 1)
    fleet.both(10)
    assert fleet.tick(2.1) == []


def test_the_next_agent_gets_all_looks_when_one_is_lost() -> None:
    fleet = Fleet()
    fleet.both(10)
    fleet.tick(1.1)
    fleet.answered("a", known=1, rate_per_s=20.0)
    fleet.both(10)
    assert fleet.tick(2.1)[0].message.first == 1

    fleet.report("b", 10)
    (ask,) = fleet.tick(3.1, live=("b",))

    assert (ask.agent, ask.message.first, len(ask.message.looks)) == ("b", 0, 3)


def test_a_new_process_of_an_agent_is_told_the_rest() -> None:
    fleet = Fleet()
    for _ in range(4):
        fleet.both(10)
    fleet.tick(4.1)
    fleet.answered("a", known=4, rate_per_s=20.0)

    ask = fleet.answered("a", known=0)

    assert isinstance(ask, RateRequest)
    assert (ask.message.first, len(ask.message.looks)) == (0, 4)


def test_very_many_looks_come_in_several_messages() -> None:
    fleet = Fleet(msgspec.structs.replace(SPEC, lanes=(msgspec.structs.replace(LANE, profile=LONG),)))
    for k in range(MOST_LOOKS + 5):
        fleet.both(10)
        if k % 20 == 0:
            fleet.tick(k + 1.1)
    (ask,) = fleet.tick(MOST_LOOKS + 6)
    assert (ask.message.first, len(ask.message.looks), ask.message.count) == (0, MOST_LOOKS, MOST_LOOKS + 5)

    rest = fleet.answered("a", known=MOST_LOOKS)

    assert isinstance(rest, RateRequest)
    assert (rest.message.first, len(rest.message.looks)) == (MOST_LOOKS, 5)


LONG = ArrivalProfile((Stage(20.0, 20.0, 7_200 * S),))


def test_an_error_or_silence_leaves_the_rate_and_is_told() -> None:
    fleet = Fleet()
    fleet.both(10)
    fleet.tick(1.1)
    assert fleet.answered("a", known=1, error="it raised: ValueError") is None
    assert fleet.steered_loads.problems == {0: "it raised: ValueError; the rate stays 20.0/s"}

    for _ in range(5):
        fleet.both(10)
    fleet.tick(6.1)

    assert fleet.steered_loads.problems == {0: "no answer from hold p(99) < 300ms for 6 s; the rate stays 20.0/s"}


def test_a_controller_that_is_started_anew_goes_on_with_what_was_seen_and_decided() -> None:
    fleet = Fleet()
    fleet.both(10, 400)
    fleet.tick(1.1)
    turn = fleet.answered("a", known=1, rate_per_s=30.0, why="growing")
    assert isinstance(turn, RateDecision)
    fleet.steered_loads.turned(turn)
    fleet.both(10)
    fleet.tick(2.1)
    (before,) = fleet.steered_loads.steered_loads

    fleet.steered_loads = SteeredLoads(SPEC, "run")
    for k, look in enumerate(before.looks, 1):
        fleet.steered_loads.seen_before(
            0, k, msgspec.convert(msgspec.json.decode(msgspec.json.encode(look)), type(look))
        )
    fleet.steered_loads.turned_before(turn)

    (anew,) = fleet.steered_loads.steered_loads
    for name in ("looks", "rate_per_s", "why", "decided", "turns", "next_k", "is_over", "bad"):
        assert getattr(anew, name) == getattr(before, name), name
    fleet.both(10, 10)
    (ask,) = fleet.tick(3.1)
    assert (ask.agent, ask.message.first, ask.message.count) == ("a", 0, 3)
    assert fleet.answered("a", known=3, rate_per_s=30.0, why="growing") == RateDecision(0, 30.0, "growing", 3)


def test_a_load_that_was_over_stays_so() -> None:
    fleet = Fleet()
    fleet.steered_loads.turned_before(RateDecision(0, None, "done", 1))
    fleet.both(10)
    assert fleet.tick(1.1) == []
