"""The verdict on the generator: how many seconds were unfit, why, and what to do about it, with figures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.measure.merging.merge import Merge
from loadgen.units import NS_PER_S
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.validity import Validity, judge_fitness

BOTH = Assignment(("eu-1", "us-1"), ("eu", "us"), (3.0, 1.0))
LAG = "lag p99 41.0 ms is above 2.00 ms"


def of(
    seconds: int = 10, unfit: int = 0, *reasons: str, rate: int = 3100, fit_rate: int = 1900, **more: object
) -> Fitness:
    """`unfit` of the seconds at `rate` for these reasons, the others fit at `fit_rate`."""
    fitness = Fitness()
    for k in range(seconds):
        is_unfit = k >= seconds - unfit
        health = Health(
            unfit=reasons or (LAG,) if is_unfit else (),
            generator_lag_p99_us=41_000 if is_unfit else 300,
            **more,  # type: ignore[arg-type]
        )
        started = Counters(iterations_started=rate if is_unfit else fit_rate)
        fitness.add(health, started, k * NS_PER_S, (k + 1) * NS_PER_S)
    return fitness


def judged(planned_per_s: float | None = None, assignment: Assignment = BOTH, **fitness: Fitness) -> Validity:
    found = {name.replace("_", "-"): of_agent for name, of_agent in fitness.items()}
    return judge_fitness(assignment, cast("Merge", SimpleNamespace(fitness=found, worker_fitness={})), planned_per_s)


def test_all_well_is_valid_without_a_word() -> None:
    assert judged(eu_1=of(), us_1=of()) == Validity()


@pytest.mark.parametrize(
    ("unfit", "verdict"), [(0, "valid"), (1, "valid"), (2, "valid"), (3, "suspect"), (8, "suspect"), (9, "invalid")]
)
def test_share_of_unfit_seconds_decides(unfit: int, verdict: str) -> None:
    assert judged(eu_1=of(40, unfit), us_1=of(40, unfit)).verdict == verdict


def test_an_agent_weighs_as_much_as_its_share() -> None:
    validity = judged(eu_1=of(), us_1=of(10, 10))
    assert (validity.verdict, validity.unfit_share) == ("invalid", 0.25)


def test_each_worker_of_an_agent_is_judged_by_itself_and_named() -> None:
    fitness = {"eu-1": of(10, 5), "us-1": of()}
    workers = {"eu-1": {0: of(), 1: of(10, 5)}}
    merge = cast("Merge", SimpleNamespace(fitness=fitness, worker_fitness=workers))
    validity = judge_fitness(BOTH, merge, 12_000)
    assert validity.unfit_share == pytest.approx(0.75 / 2 * 0.5)
    # 9,000/s planned in eu; 1,520/s a worker with head room, so 6 workers: 4 more, and an agent has 2.
    assert validity.reasons[0].startswith("worker 1 of eu-1 has too much load for one core: lag p99 41.0 ms at 3,100/s")
    assert validity.reasons[1].startswith("worker 1 of eu-1 was unfit to measure in 5 of 10 intervals")
    assert validity.advice == (
        "add 2 agents in eu, or workers: one worker was fit up to 1,900/s, and the planned rate is 9,000/s for 2"
        " workers",
    )


def test_overload_asks_for_as_many_agents_as_the_fit_rate_says() -> None:
    validity = judged(6000, eu_1=of(10, 5), us_1=of())
    # 4,500/s planned in eu; 1,900/s fit, of which 20 % are left free: 1,520/s an agent, so 3 agents.
    assert validity.advice == (
        "add 2 agents in eu, or workers: one agent was fit up to 1,900/s, and the planned rate is 4,500/s for 1 agent",
    )
    assert validity.reasons == (
        "agent eu-1 has too much load for one core: lag p99 41.0 ms at 3,100/s, so times cannot be judged;"
        f" {validity.advice[0]}",
        f"agent eu-1 was unfit to measure in 5 of 10 intervals (50.0 %, 5 to 10 s): {LAG}",
    )


def test_a_region_is_advised_once_for_all_its_agents() -> None:
    assignment = Assignment(("eu-1", "eu-2"), ("eu", "eu"), (1.0, 1.0))
    validity = judged(5800, assignment, eu_1=of(10, 5), eu_2=of(10, 4))
    assert len(validity.reasons) == 3
    (advice,) = validity.advice
    assert advice.startswith("add 2 agents in eu, or workers: ")
    assert advice.endswith("the planned rate is 5,800/s for 2 agents")
    assert advice in validity.reasons[0]
    assert not any(advice in reason for reason in validity.reasons[1:])


def test_all_agents_of_one_busy_machine_make_one_sentence() -> None:
    why = "its machine is busy (load 5.3 on 2 cores)"
    found = {name: of(10, 5, LAG, why, cpu_share=0.04) for name in ("eu-1", "us-1")}
    merge = cast("Merge", SimpleNamespace(fitness=found, worker_fitness={}))
    validity = judge_fitness(BOTH, merge, 40, on_one_machine=True)
    assert validity.reasons[0] == (
        "this machine is busy (load 5.3 on 2 cores): it woke up to 41.0 ms late, so times cannot be judged;"
        " close other programs or use another machine"
    )
    assert [reason[:10] for reason in validity.reasons[1:]] == ["agent eu-1", "agent us-1"]
    assert validity.advice == ("close other programs or use another machine",)


def test_times_of_a_suspect_run_may_be_wrong_and_those_of_an_invalid_one_cannot_be_judged() -> None:
    suspect, invalid = judged(eu_1=of(40, 4), us_1=of(40, 4)), judged(eu_1=of(40, 9), us_1=of(40, 9))
    assert ("times may be wrong" in suspect.reasons[0], "times cannot be judged" in invalid.reasons[0]) == (True, True)


@given(
    st.integers(1, 40),
    st.integers(0, 40),
    st.integers(1, 20_000),
    st.integers(0, 20_000),
    st.none() | st.floats(1, 1e6),
)
def test_advice_is_there_whenever_a_reason_is_more_than_chance(
    seconds: int, unfit: int, rate: int, fit_rate: int, planned: float | None
) -> None:
    fitness = of(seconds, min(seconds, unfit), rate=rate, fit_rate=fit_rate)
    validity = judged(planned, eu_1=fitness, us_1=of())
    assert bool(validity.advice) == (bool(validity.reasons) and fitness.unfit > 1)
    if validity.verdict != "valid":
        assert validity.reasons
