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
    assert validity.reasons[0].startswith("worker 1 of eu-1 was unfit to measure in 5 of 10 intervals")
    assert validity.advice == (
        "add 2 agents in eu: lag p99 41.0 ms at 3,100/s; one worker was fit up to 1,900/s, and the planned rate is"
        " 9,000/s for 2 workers",
    )


def test_overload_asks_for_as_many_agents_as_the_fit_rate_says() -> None:
    validity = judged(6000, eu_1=of(10, 5), us_1=of())
    # 4,500/s planned in eu; 1,900/s fit, of which 20 % are left free: 1,520/s an agent, so 3 agents.
    assert validity.advice == (
        "add 2 agents in eu: lag p99 41.0 ms at 3,100/s; one agent was fit up to 1,900/s, and the planned rate is"
        " 4,500/s for 1 agent",
    )
    assert validity.reasons == (
        f"agent eu-1 was unfit to measure in 5 of 10 intervals (50.0 %, 5 to 10 s): {LAG}; {validity.advice[0]}",
    )


def test_a_region_is_advised_once_for_all_its_agents() -> None:
    assignment = Assignment(("eu-1", "eu-2"), ("eu", "eu"), (1.0, 1.0))
    validity = judged(3800, assignment, eu_1=of(10, 5), eu_2=of(10, 4))
    assert len(validity.reasons) == 2
    (advice,) = validity.advice
    assert advice.startswith("add 1 agent in eu: ")
    assert advice.endswith("the planned rate is 3,800/s for 2 agents")
    assert advice not in validity.reasons[1]


def test_without_a_planned_rate_the_reached_one_counts() -> None:
    (advice,) = judged(None, eu_1=of(10, 5), us_1=of()).advice
    assert advice.startswith("add 2 agents in eu: ")
    assert advice.endswith("the highest rate was 3,100/s for 1 agent")


def test_where_no_second_was_fit_it_is_twice_as_many_and_another_look() -> None:
    (advice,) = judged(6000, eu_1=of(10, 10), us_1=of()).advice
    assert advice == "add 1 agent in eu and run again: lag p99 41.0 ms at 3,100/s, and no interval was fit"


def test_a_line_that_blocked_the_loop_is_named_instead_of_agents() -> None:
    note = "shop.py:41 (browse) blocked the event loop for 310 ms"
    (advice,) = judged(6000, eu_1=of(10, 5, LAG, notes=(note,)), us_1=of()).advice
    assert advice == (
        "shop.py:41 (browse) blocked the event loop for 310 ms: make it await, or move it off the loop"
        " (asyncio.to_thread)"
    )


@pytest.mark.parametrize(
    ("reason", "health", "advice"),
    [
        (
            "951 of 1,000 file descriptors are open",
            {"fds": 951, "fd_limit": 1000},
            "(ulimit -n 2000): up to 951 of 1,000",
        ),
        (
            "27,000 of 28,232 local ports are in use towards one address",
            {"ports": 27_000, "port_limit": 28_232},
            "spread eu over more machines or source addresses (Http(source=[...])): up to 27,000 of 28,232 local ports",
        ),
        (
            "12 requests had no file descriptor or no local port",
            {"fds": 1000, "fd_limit": 1000, "ports": 9, "port_limit": 28_232},
            "raise the limit of open files on the machine of eu-1",
        ),
        (
            "12 requests had no file descriptor or no local port",
            {"fds": 10, "fd_limit": 1000, "ports": 28_000, "port_limit": 28_232},
            "up to 28,000 of 28,232 local ports were in use",
        ),
        ("only 30 MiB of memory are free", {"users": 9000, "memory_free_bytes": 30 << 20}, "9,000 users used"),
        ("garbage collection paused it for 80.0 ms, 40.0 ms at once", {"gc_max_us": 40_000}, "for up to 40.0 ms"),
        ("the machine's host took 8.00 % of its CPU time (steal)", {}, "does not share its cores: the machine's host"),
        (
            "the instance's network held back 34 packets (pps_allowance_exceeded)",
            {},
            "use a larger instance type for eu-1",
        ),
    ],
)
def test_what_the_machine_lacks_is_what_to_mend(reason: str, health: dict[str, int], advice: str) -> None:
    (found,) = judged(6000, eu_1=of(10, 5, reason, **health), us_1=of()).advice
    assert advice in found
    assert "add 2 agents" not in found


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("other programs had its core for 31.0 % of the time", "give eu-1 a core of its own"),
        ("its CPU limit held it back for 12.0 % of the time", "raise the CPU limit of eu-1"),
        ("its core was busy for 99.0 % of the time", "add 2 agents in eu"),
    ],
)
def test_what_explains_the_lag_decides_what_to_do_about_it(why: str, advice: str) -> None:
    validity = judged(6000, eu_1=of(10, 5, LAG, why), us_1=of())
    assert validity.advice[0].startswith(advice)
    assert f": {LAG}; " in validity.reasons[0]


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
