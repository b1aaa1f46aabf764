"""Figures out of a merge: the same numbers that the summary will have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from loadgen.dsl.plans.spec import JourneySpec, LaneSpec, PlanSpec
from loadgen.measure.deltas.custom import CustomStats, MetricSpec
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective
from loadgen.profiles.profile import ArrivalProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.core.load_change_messages import Adjustments, LoadChange
from loadgen_controller.run.view import AgentState, AgentView, PointView, ViewState
from loadgen_controller.screen.figures_builder import Watch
from loadgen_controller.screen.live import line
from tests.support.deltas import FakeAgent, Values, journey_key, request_key

RAMP = ArrivalProfile((Stage(0, 40, 4 * NS_PER_S), Stage(40, 40, 16 * NS_PER_S)))
STEP = SeriesKey("step", "checkout", "browse", None, "ok", "response")


def spec(profile: Profile = RAMP, *, warmup_ns: int = 0, slos: tuple[Objective, ...] = ()) -> PlanSpec:
    return PlanSpec(
        name="plan",
        scenario="checkout.py",
        doc="",
        target="http://127.0.0.1:1",
        load=profile.describe(),
        profile=profile,
        journeys=(JourneySpec(name="checkout", weight=1.0),),
        slos=slos,
        regions={"eu": 1.0, "us": 1.0},
        duration_ns=profile.duration_ns,
        total_arrivals=None,
        peak=float(profile.peak),
        max_users=None,
        max_lateness_ns=None,
        warmup_ns=warmup_ns,
        drain_ns=0,
        connect_timeout_ns=NS_PER_S,
        timeout_ns=NS_PER_S,
        seed=1,
    )


@dataclass
class FakeRun:
    """Two agents in two regions, and what the conductor would show of them."""

    plan: PlanSpec = field(default_factory=spec)
    merge: Merge = field(default_factory=Merge)
    clock_ns: int = 0
    us_state: AgentState = "running"
    phase: Phase = Phase.RUNNING
    us: FakeAgent = field(default_factory=lambda: FakeAgent("us-1"))
    eu: FakeAgent = field(default_factory=lambda: FakeAgent("eu-1"))

    def second(self, us: Values | None, eu: Values | None, health: Health | None = None) -> None:
        """What both measured in the next second; None: nothing came."""
        for agent, region, values in ((self.us, "us", us), (self.eu, "eu", eu)):
            if values is not None:
                self.merge.accept(region, agent.delta(values, health=health))
        self.clock_ns += NS_PER_S

    def view(self) -> ViewState:
        agents = (AgentView("us-1", "us", self.us_state), AgentView("eu-1", "eu", "running"))
        live = frozenset(agent.id for agent in agents if agent.state not in ("lost", "finished"))
        return ViewState("run", self.phase, self.clock_ns, self.plan, self.merge, agents, live, 2, True, Path("runs/r"))


def ms(*values: float) -> list[int]:
    return [round(v * NS_PER_MS) for v in values]


def test_percentiles_are_those_of_all_agents_together() -> None:
    run = FakeRun()
    run.second({journey_key(): ms(*range(1, 51))}, {journey_key(): ms(*range(51, 101))})

    f = Watch(run.view)()

    (row,) = f.journeys
    assert row.run.count == row.last.count == 100
    assert row.run.text() == ("50.0", "90.0", "95.0", "99.0", "100")
    assert [(r.name, r.run.count, r.run.text()[0]) for r in f.regions] == [
        ("eu (simulated)", 50, "75.0"),
        ("us (simulated)", 50, "25.0"),
    ]
    assert f.reported_text == "2 of 2 agents reported"


def test_last_window_is_apart_from_the_whole_run() -> None:
    run = FakeRun()
    run.second({journey_key(): ms(10, 10)}, {journey_key(): ms(10, 10)})
    run.second({journey_key(): ms(90)}, {journey_key(): ms(90)})

    (row,) = Watch(run.view)().journeys

    assert (row.last.count, row.last.text()[0]) == (2, "90.0")
    assert (row.run.count, row.run.text()[0]) == (6, "10.0")


def test_steps_are_followed_by_their_requests() -> None:
    run = FakeRun()
    run.second({journey_key(): ms(9), request_key("GET /"): ms(4), STEP: ms(5), request_key(step=None): ms(1)}, {})

    assert [r.name for r in Watch(run.view)().parts] == ["  browse", "    GET /", "  GET /"]


def test_a_step_whose_name_has_a_slash_is_shown_with_its_full_name() -> None:
    run = FakeRun()
    step = replace(STEP, step="GET /cart/pay")
    run.second({journey_key(): ms(9), step: ms(5), request_key("POST /", step="GET /cart/pay"): ms(4)}, {})

    assert [r.name for r in Watch(run.view)().parts] == ["  GET /cart/pay", "    POST /"]


def test_time_outs_make_a_percentile_a_bound() -> None:
    run = FakeRun()
    run.second({journey_key(): ms(10), journey_key(outcome="timeout", censored=True): ms(1000)}, {})

    f = Watch(run.view)()

    assert f.journeys[0].run.text()[-1] == "> 999"
    assert f.errors == (("timeout", 1),)


def test_offered_rate_is_that_of_the_window_whose_starts_are_shown() -> None:
    run = FakeRun()
    assert Watch(run.view)().offered_per_s == 0.0

    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})
    run.clock_ns += NS_PER_S  # the present is further up the ramp than what was reported

    assert Watch(run.view)().offered_per_s == 5.0


def test_closed_load_shows_users_and_no_rate() -> None:
    run = FakeRun(spec(UserProfile((Stage(8, 8, 10 * NS_PER_S),))))
    run.clock_ns = NS_PER_S

    f = Watch(run.view)()

    assert f.offered_per_s is None
    assert f.level == 8


def test_agent_that_is_late_is_counted_as_not_reported() -> None:
    run = FakeRun()
    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})
    for _ in range(3):
        run.second({journey_key(): ms(1)}, None)

    f = Watch(run.view)()

    assert f.last_n == 1
    assert f.reported_text == "1 of 2 agents reported"
    assert [a.has_reported for a in f.agents] == [True, False]


def test_lost_agent_is_not_waited_for() -> None:
    run = FakeRun(us_state="lost")
    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})
    run.second(None, {journey_key(): ms(1)})

    f = Watch(run.view)()

    assert f.last_n == 1
    assert f.reported_text == "1 of 2 agents reported"


def test_ranks_of_the_run_are_told_anew_with_each_window_and_once_the_load_is_over_with_each_delta() -> None:
    """Of 1,000 agents they take 10 ms of the controller each time."""
    run = FakeRun()
    watch = Watch(run.view)
    run.second({journey_key(): ms(10)}, {journey_key(): ms(10)})
    assert watch().journeys[0].run.count == 2
    run.merge.accept("us", run.us.delta({journey_key(): ms(10)}))
    assert watch().journeys[0].run.count == 2
    run.merge.accept("eu", run.eu.delta({journey_key(): ms(10)}))
    assert watch().journeys[0].run.count == 4
    run.merge.accept("us", run.us.delta({journey_key(): ms(10)}))
    run.phase = Phase.FINISHING
    assert watch().journeys[0].run.count == 5
    run.merge.accept("us", run.us.delta({journey_key(): ms(10)}))
    assert watch().journeys[0].run.count == 6


def test_warm_up_is_shown_while_it_lasts_and_judged_by_nothing() -> None:
    slo = Objective(kind="percentile", text="p(95) < 300ms", q=95, limit=300 * NS_PER_MS)
    run = FakeRun(spec(warmup_ns=2 * NS_PER_S, slos=(slo,)))
    run.second({journey_key(warmup=True): ms(900)}, {journey_key(warmup=True): ms(900)})
    watch = Watch(run.view)

    assert watch().is_warmup
    assert watch().journeys[0].run.count == 2
    assert watch().slos == ()

    run.second({}, {})
    run.second({journey_key(): ms(10)}, {journey_key(): ms(10)})

    f = watch()
    assert not f.is_warmup
    assert f.journeys[0].run.count == 2
    assert [(s.verdict, s.observed, s.count, s.margin) for s in f.slos] == [("passed", "10.0 ms", 2, "97 % below")]


def test_objective_without_data_is_inconclusive() -> None:
    slo = Objective(kind="error_ratio", text="error_ratio() < 1%", limit=0.01)

    (row,) = Watch(FakeRun(spec(slos=(slo,))).view)().slos

    assert (row.verdict, row.observed, row.margin) == ("inconclusive", "-", "")


def test_health_and_counts_are_those_of_the_last_window() -> None:
    run = FakeRun()
    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)}, Health(users=4, in_flight=2, waiting=1))

    f = Watch(run.view, lambda: ("draining",))()

    assert (f.users, f.in_flight, f.waiting) == (8, 4, 2)
    assert f.notices == ("draining",)


def test_unfit_agent_marks_the_rows_that_it_is_in() -> None:
    run = FakeRun()
    reason = "lag p99 41.0 ms is above 2.00 ms"
    run.merge.accept("us", run.us.delta({journey_key(): ms(1)}, health=Health(unfit=(reason,))))
    run.merge.accept("eu", run.eu.delta({journey_key(): ms(1)}))
    run.clock_ns = NS_PER_S

    f = Watch(run.view)()

    assert [row.is_unfit for row in f.journeys] == [True]
    assert [(row.name, row.is_unfit) for row in f.regions] == [("eu (simulated)", False), ("us (simulated)", True)]
    assert f.unfit == (f"us-1: {reason}",)
    assert [(agent.unfit, agent.intervals) for agent in f.agents] == [(1, 1), (0, 1)]

    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})

    f = Watch(run.view)()
    assert f.unfit == ()
    assert not f.journeys[0].is_unfit
    assert f.agents[0].unfit == 1


def test_offered_rate_is_the_sum_of_all_loads() -> None:
    lanes = tuple(
        LaneSpec(
            name=name, load="", journeys=(JourneySpec(name="checkout", weight=1.0),), profile=profile, after_ns=after
        )
        for name, profile, after in (
            ("", ArrivalProfile((Stage(10, 10, 20 * NS_PER_S),)), 0),
            ("spike", ArrivalProfile((Stage(90, 90, 5 * NS_PER_S),)), NS_PER_S),
        )
    )
    run = FakeRun(msgspec.structs.replace(spec(), lanes=lanes))
    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})
    assert Watch(run.view)().offered_per_s == pytest.approx(10)
    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})
    assert Watch(run.view)().offered_per_s == pytest.approx(100)


def test_windowed_objective_is_judged_over_its_worst_window_while_the_run_goes_on() -> None:
    slo = Objective(
        kind="percentile", text='p(95, window="2s") < 300ms', q=95, limit=300 * NS_PER_MS, window_ns=2 * NS_PER_S
    )
    run = FakeRun(spec(slos=(slo,)))
    assert [(s.verdict, s.window) for s in Watch(run.view)().slos] == [("inconclusive", "")]

    for k, bad in enumerate((0, 0, 60)):
        due = (DueCounts(0, "checkout", k, good=100 - bad, bad=bad),)
        run.merge.accept("us", replace(run.us.delta({journey_key(): ms(1)}), due=due))
        run.merge.accept("eu", run.eu.delta({journey_key(): ms(1)}))
        run.clock_ns += NS_PER_S

    (row,) = Watch(run.view)().slos
    assert (row.verdict, row.observed, row.count) == ("failed", "30.0 % late or failed", 200)
    assert row.budget == "600 % of budget"
    assert row.window.startswith("worst window 0:01 to 0:03, 1 of ")


def test_checks_are_summed_up_and_counters_shown_with_their_unit() -> None:
    metrics = (MetricSpec(name="orders", kind="counter"), MetricSpec(name="stock", kind="gauge", unit="items"))
    run = FakeRun(msgspec.structs.replace(spec(), metrics=metrics))
    custom = (
        CustomStats("check: has price", "rate", n=240, total=234),
        CustomStats("check: has name", "rate", n=240, total=240),
        CustomStats("cache hits", "rate", n=100, total=81),
        CustomStats("orders", "counter", n=5, total=1200),
        CustomStats("stock", "gauge", n=5, low=1, high=9, last=3),
    )
    run.merge.accept("us", replace(run.us.delta({journey_key(): ms(1)}), custom=custom))
    run.merge.accept("eu", run.eu.delta({journey_key(): ms(1)}))

    assert Watch(run.view)().counted == (
        "checks 1 of 2 ok (has price: 6 of 240 failed)",
        "cache hits 81.0 % of 100",
        "orders 1,200",
        "stock 3 items",
    )


def test_who_waits_at_a_rendezvous_is_told_by_how_few_are_missing() -> None:
    run = FakeRun()
    points = (
        PointView("", "sale opens", 37, 100, 2),
        PointView("spike", "sale opens", 1_999, 2_000, 0),
        PointView("", "gate", 0, 5, 9),
    )
    assert Watch(lambda: replace(run.view(), points=points))().meeting == (
        "1,999 of 2,000 wait at sale opens (spike)",
        "37 of 100 wait at sale opens",
    )


def test_tables_are_not_computed_again_while_nothing_changes() -> None:
    run = FakeRun()
    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})
    watch = Watch(run.view)

    first, second = watch(), watch()
    assert first.journeys is second.journeys

    run.second({journey_key(): ms(1)}, {journey_key(): ms(1)})
    assert watch().journeys is not first.journeys


def test_a_paused_run_is_called_so_and_what_is_offered_is_what_it_was_changed_to() -> None:
    run = FakeRun()
    run.clock_ns = 6 * NS_PER_S
    adjustments = Adjustments.of(run.plan).requested(LoadChange("pause"), 5 * NS_PER_S, "run")

    f = Watch(lambda: replace(run.view(), spec=adjustments.in_force(run.plan), is_paused=True))()

    assert (f.phase, f.offered_per_s, f.duration_s) == ("paused", 0, None)
    resumed = adjustments.requested(LoadChange("resume"), 6 * NS_PER_S, "run")
    scaled = resumed.requested(LoadChange("scale", factor=2), 6 * NS_PER_S, "run")
    f = Watch(lambda: replace(run.view(), spec=scaled.in_force(run.plan)))()
    assert (f.phase, f.offered_per_s, f.duration_s) == ("running", 80, 21)


def test_figures_for_lines_give_the_same_lines_and_leave_out_what_no_line_shows() -> None:
    run = FakeRun()
    for _ in range(3):
        run.second({journey_key(): ms(1, 2, 3), request_key(): ms(4)}, {journey_key(): ms(7)})
    whole, lean = Watch(run.view)(), Watch(run.view, is_for_lines=True)()
    assert line(whole) == line(lean)
    assert (whole.unfit, whole.notices, whole.reported_text) == (lean.unfit, lean.notices, lean.reported_text)
    assert whole.parts
    assert (lean.regions, lean.parts, lean.errors, lean.agents) == ((), (), (), ())


@pytest.mark.parametrize("is_for_lines", [False, True])
def test_agents_that_are_only_expected_or_lost_are_not_registered(is_for_lines: bool) -> None:
    states: tuple[AgentState, ...] = ("registered", "ready", "expected", "lost")
    agents = tuple(AgentView(f"agent-{n}", "us", state) for n, state in enumerate(states))
    view = replace(FakeRun().view(), agents=agents, agents_wanted=4, phase=Phase.PREPARING)
    assert Watch(lambda: view, is_for_lines=is_for_lines)().reported_text == "2 of 4 agents registered"
