"""What adds up over a run: many sound agents are merged into `(other)`, one that brings too much is refused.

Limits are a hundredth of what they are, so that tests are quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from loadgen.dsl.plans.spec import LaneSpec, PlanSpec, SteeringSpec
from loadgen.engine.recording import recorder
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import LimitExceeded
from loadgen.measure.deltas import limits
from loadgen.measure.deltas.custom import CustomStats, MetricSpec
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.limits import CUSTOM_OF_AGENT, CUSTOM_OF_RUN
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import OK, OTHER, SeriesKey
from loadgen.measure.deltas.series_numbering import Numbering, tight_from
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.merging.merge import Accepted, Merge, check_invariant
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode, encode
from loadgen.wire.messages import Steered
from loadgen_agent.delivery import aggregate
from loadgen_agent.delivery.aggregate import AddUp
from loadgen_controller.run import delta_admission as admission
from loadgen_controller.run.delta_admission import Admission
from tests.controller.conftest import spec
from tests.support.deltas import FakeAgent, request_key

SERIES_OF_AGENT = limits.SERIES_OF_AGENT // 100
SERIES_OF_RUN = limits.SERIES_OF_RUN // 100


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recorder, aggregate):
        monkeypatch.setattr(module, "Numbering", partial(Numbering, SERIES_OF_AGENT))
    monkeypatch.setattr(admission, "SERIES_OF_AGENT", SERIES_OF_AGENT)
    monkeypatch.setattr(admission, "SERIES_OF_RUN", SERIES_OF_RUN)


def test_both_sides_have_the_same_limit() -> None:
    assert Numbering()._most == limits.SERIES_OF_AGENT


class Run:
    """A merge with its admission, and the deltas as they would be in the log."""

    def __init__(self, plan: PlanSpec | None = None) -> None:
        self.merge, self.notices, self.log = Merge(), list[str](), list[tuple[str, bytes]]()
        self.admission = Admission(plan or spec(), self.merge, self.notices.append)

    def take(self, region: str, delta: Delta) -> Accepted:
        self.admission.check(delta)
        fitted = self.admission.fitted(region, delta)
        self.log.append((region, encode(fitted)))
        return self.merge.accept(region, fitted)


def names(first: int, count: int, **other: str) -> Iterator[SeriesKey]:
    for n in range(first, first + count):
        yield replace(request_key(f"GET /{n}"), **other)  # type: ignore[arg-type]


def brought(agent: str, k: int, keys: Iterator[SeriesKey], of: dict[str, FakeAgent] | None = None) -> Delta:
    fake = (of if of is not None else {}).setdefault(agent, FakeAgent(agent))
    return fake.delta({key: [1_000_000] for key in keys}, k=k)


def test_further_series_of_sound_agents_are_merged_and_every_count_is_exact() -> None:
    run = Run()
    for n in range(8):
        assert run.take("eu", brought(f"a{n}", 0, names(n * 100, 100))) is Accepted.MERGED
    assert len(run.merge.names) <= SERIES_OF_RUN
    assert run.merge.counters().requests_finished == 800
    assert run.merge.select("request")[0].total == 800
    assert check_invariant(run.merge) == []
    words = f"the agents have more than {tight_from(SERIES_OF_RUN):,} series together: new series are in {OTHER}"
    assert set(run.notices) == {words}


def test_the_log_says_the_same_as_the_merge_in_whatever_order_agents_are_read() -> None:
    run, agents = Run(), dict[str, FakeAgent]()
    for k in range(2):
        for n in range(5):
            run.take("eu", brought(f"a{n}", k, names(n * 200 + k * 90, 90), agents))
    again = Merge()
    for region, data in sorted(run.log, key=lambda one: decode(one[1]).agent, reverse=True):  # type: ignore[union-attr]
        delta = decode(data)
        assert isinstance(delta, Delta)
        again.accept(region, delta)
    for row in run.merge.rows("request"):
        assert again.select_row(row)[0].total == run.merge.select_row(row)[0].total
    assert set(again.keys()) == set(run.merge.keys())


def test_a_series_that_the_run_knows_keeps_its_name_also_when_it_is_full() -> None:
    run = Run()
    for n in range(5):
        run.take("eu", brought(f"a{n}", 0, names(n * 100, 100)))
    late = run.admission.fitted("eu", brought("late", 0, names(5, 1)))
    assert late.new_series == (request_key("GET /5"),)


@pytest.mark.parametrize("regions", [2, 4])
def test_names_count_once_in_each_region(regions: int) -> None:
    run = Run()
    for n in range(regions):
        run.take(f"r{n}", brought(f"a{n}", 0, names(0, 150)))
    assert bool(run.notices) is (regions * 150 > SERIES_OF_RUN)
    assert run.merge.counters().requests_finished == regions * 150
    assert check_invariant(run.merge) == []


def test_an_agent_at_its_limit_is_taken_in_and_one_series_more_is_not() -> None:
    run, agents = Run(), dict[str, FakeAgent]()
    assert run.take("eu", brought("a", 0, names(0, SERIES_OF_AGENT), agents)) is Accepted.MERGED
    with pytest.raises(LimitExceeded, match="series of one agent is 201: the limit is 200"):
        run.take("eu", brought("a", 1, names(SERIES_OF_AGENT, 1), agents))


def test_a_sound_agent_of_many_workers_stays_below_the_controllers_limits() -> None:
    """Both numbers together: each worker brings as much as its recorder can, all of it different."""
    adding, run, workers = AddUp(4), Run(), 4
    recorders = [Recorder() for _ in range(workers)]
    for worker, one in enumerate(recorders):
        adding.begin(worker)
        for n in range(400):
            series = one.request_series(f"j{worker}", f"s{n // 50}", f"GET /{worker}/{n}")
            one.counters.requests_started += 1
            one.request(series, 1, 2, 1_000_001, OK if n % 2 else f"http {n}", 10)
    made = [
        delta
        for worker, one in enumerate(recorders)
        for delta in adding.take(worker, decode(encode(one.flip(0, NS_PER_S))))  # type: ignore[arg-type]
    ]
    deltas = [decode(encode(replace(delta, agent="a", epoch=1)), from_agent=True) for delta in made]
    for delta in deltas:
        assert isinstance(delta, Delta)
        assert run.take("eu", delta) is Accepted.MERGED
    assert run.merge.epochs("a")[0].series <= SERIES_OF_AGENT
    assert run.merge.counters().requests_finished == workers * 400
    assert run.merge.select("request")[0].total == workers * 400
    assert check_invariant(run.merge) == []
    notes = [note for delta in deltas if isinstance(delta, Delta) for note in delta.health.notes]
    assert any("series together: new series are in (other)" in note for note in notes)


def customs(first: int, count: int, prefix: str = "check: ") -> tuple[CustomStats, ...]:
    return tuple(CustomStats(f"{prefix}{n}", "rate", 2, 1) for n in range(first, first + count))


def test_further_custom_metrics_are_merged_by_kind_and_their_sums_are_exact() -> None:
    run = Run()
    for n in range(5):
        run.take("eu", replace(brought(f"a{n}", 0, names(0, 1)), custom=customs(n * 900, 900)))
    assert len(run.merge.custom) <= CUSTOM_OF_RUN
    sums = [run.merge.custom.of(name) for name in run.merge.custom.names()]
    assert sum(one.n for one in sums if one is not None) == 5 * 900 * 2
    other = run.merge.custom.of(f"check: {OTHER}")
    assert other is not None
    assert other.n == (5 * 900 - (CUSTOM_OF_RUN - 4)) * 2
    assert len(run.notices) == 3


def test_an_agent_with_too_many_custom_metrics_is_refused() -> None:
    run, agents = Run(), dict[str, FakeAgent]()
    run.take("eu", replace(brought("a", 0, names(0, 1), agents), custom=customs(0, CUSTOM_OF_AGENT)))
    run.take("eu", replace(brought("a", 1, names(0, 1), agents), custom=customs(0, CUSTOM_OF_AGENT)))  # the same
    with pytest.raises(LimitExceeded, match="custom metrics of one agent is 1,001: the limit is 1,000"):
        run.take("eu", replace(brought("a", 2, names(0, 1), agents), custom=customs(CUSTOM_OF_AGENT, 1)))


def test_losses_add_up() -> None:
    run, agents = Run(), dict[str, FakeAgent]()
    losses = tuple(Loss(0, 1, n, 0, -1, 0, "killed") for n in range(600))
    run.take("eu", replace(brought("a", 0, names(0, 1), agents), losses=losses))
    with pytest.raises(LimitExceeded, match="losses of one agent is 1,200: the limit is 1,000"):
        run.take("eu", replace(brought("a", 1, names(0, 1), agents), losses=losses))


def test_a_trend_that_the_plan_does_not_declare_is_refused() -> None:
    run = Run(spec(metrics=(MetricSpec(name="basket", kind="trend"),)))
    trend = SeriesKey("trend", "", None, "basket", OK, "value")
    run.admission.check(Delta("a", 1, 0, 0, NS_PER_S, (trend,)))
    with pytest.raises(
        LimitExceeded,
        match=r'trend is "other", which the plan does not declare: the limit is one of the 1 trends',
    ):
        run.admission.check(Delta("a", 1, 0, 0, NS_PER_S, (replace(trend, request="other"),)))


@pytest.mark.parametrize(
    "row", [DueCounts(1, "shop", 0), DueCounts(0, "other", 0), DueCounts(0, "shop", 3), DueCounts(0, "shop", 1 << 31)]
)
def test_due_counts_that_cannot_be_of_this_run_are_refused(row: DueCounts) -> None:
    run = Run()
    run.admission.check(Delta("a", 1, 0, 0, NS_PER_S, due=(DueCounts(0, "shop", 1), DueCounts(0, "", 2))))
    with pytest.raises(LimitExceeded, match="DueCounts"):
        run.admission.check(Delta("a", 1, 0, 0, NS_PER_S, due=(row,)))


def test_a_load_is_not_steered_beyond_its_plan() -> None:
    plan = spec()
    steering = SteeringSpec(executor="hold", objectives=(), start_per_s=1, upto_per_s=100)
    lane = LaneSpec(name="", load="", journeys=plan.journeys, profile=plan.profile, steering=steering)
    run = Run(spec(lanes=(lane,)))
    run.admission.check_steered(Steered("run", 0, 1, 100.0))
    with pytest.raises(LimitExceeded, match=r"Steered\.rate_per_s is 101: the limit is 100, the plan's highest rate"):
        run.admission.check_steered(Steered("run", 0, 1, 101.0))
    run.admission.check_steered(Steered("run", 7, 1, 101.0))  # no such load: nobody follows it
