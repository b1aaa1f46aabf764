"""Why a generator was not fit to measure, and advice that fits: a table of cases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.health.process_health import HealthReading
from loadgen.engine.health.selfcheck import Seen, unfit_reasons
from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.units import NS_PER_S
from loadgen_controller.judging.unfit_cause import Diagnosis, Driver, diagnose

LAG = "lag p99 21.0 ms is above 2.00 ms"
STARVED = "other programs had its core for 31.0 % of the time"
BUSY_MACHINE = "its machine is busy (load 5.3 on 2 cores)"
BUSY_CORE = "its core was busy for 99.0 % of the time"
STEAL = "the machine's host took 8.00 % of its CPU time (steal)"


def driver(*reasons: str, cpu: float = 0.0, rate: int = 10, fit_rate: int = 10, fit: int = 5, **more: object) -> Driver:
    """An agent with 5 unfit seconds for these reasons, after `fit` fit ones."""
    fitness = Fitness()
    for k in range(fit + 5):
        is_unfit = k >= fit
        health = Health(
            unfit=reasons or (LAG,) if is_unfit else (),
            generator_lag_p99_us=21_000 if is_unfit else 300,
            cpu_share=cpu,
            **more,  # type: ignore[arg-type]
        )
        started = Counters(iterations_started=rate if is_unfit else fit_rate)
        fitness.add(health, started, k * NS_PER_S, (k + 1) * NS_PER_S)
    return Driver("eu-1", "eu", 1.0, fitness)


def here(one: Driver, planned: float | None = 10) -> Diagnosis:
    return diagnose(one, planned_per_s=planned, on_one_machine=True)


def there(one: Driver, planned: float | None = 10) -> Diagnosis:
    return diagnose(one, planned_per_s=planned)


def test_a_busy_laptop_is_told_to_close_other_programs() -> None:
    assert here(driver(LAG, STARVED, BUSY_MACHINE, cpu=0.04)) == Diagnosis(
        "starved",
        "this machine is busy (load 5.3 on 2 cores): it woke up to 21.0 ms late",
        "close other programs or use another machine",
    )


def test_a_busy_machine_of_a_fleet_is_named() -> None:
    assert there(driver(LAG, STARVED, cpu=0.04)) == Diagnosis(
        "starved",
        "the machine of eu-1 is busy (other programs had a core for 31.0 % of the time): it woke up to 21.0 ms late",
        "close other programs on the machine of eu-1 or use one that runs nothing else",
    )


def test_low_cpu_alone_is_starvation_even_if_nothing_explains_the_lag() -> None:
    found = here(driver(LAG, cpu=0.04))
    assert found.cause == "starved"
    assert found.what == (
        "this machine is busy, or its host paused it: it woke up to 21.0 ms late, though agent eu-1 used only 4.00 % of"
        " a core"
    )


def test_a_host_that_took_the_cpu_asks_for_another_machine() -> None:
    found = there(driver(STEAL, cpu=0.3))
    assert found == Diagnosis(
        "starved",
        "the host of the machine of eu-1 took 8.00 % of its CPU time (steal)",
        "use a machine that does not share its cores instead of the machine of eu-1",
    )


def test_a_full_core_asks_for_as_many_agents_as_the_fit_rate_says() -> None:
    found = there(driver(LAG, BUSY_CORE, cpu=0.99, rate=3100, fit_rate=1900), planned=4500)
    # 1,900/s fit, of which 20 % are left free: 1,520/s an agent, so 3 agents for 4,500/s.
    assert found == Diagnosis(
        "overload",
        "agent eu-1 has too much load for one core: lag p99 21.0 ms at 3,100/s, at 99.0 % of a core",
        "add 2 agents in eu, or workers: one agent was fit up to 1,900/s, and the planned rate is 4,500/s for 1 agent",
    )


def test_without_a_planned_rate_the_highest_one_counts() -> None:
    found = there(driver(LAG, cpu=0.9, rate=3100, fit_rate=1900), planned=None)
    assert found.advice.startswith("add 2 agents in eu")
    assert found.advice.endswith("the highest rate was 3,100/s for 1 agent")


def test_where_no_second_was_fit_it_is_twice_as_many_and_another_look() -> None:
    found = there(driver(LAG, cpu=0.9, rate=3100, fit=0), planned=4500)
    assert found.advice == "add 1 agent in eu, or workers, and run again: no interval was fit"


def test_a_full_core_on_a_machine_without_a_free_one_asks_for_no_agents() -> None:
    found = here(driver(LAG, BUSY_CORE, BUSY_MACHINE, cpu=0.99, rate=3100, fit_rate=1900), planned=4500)
    assert found == Diagnosis(
        "overload",
        "this load is too much for this machine (load 5.3 on 2 cores): it woke up to 21.0 ms late",
        "use a machine with more cores, or lower the rate",
    )


def test_an_agent_that_was_fit_at_the_planned_rate_needs_no_others() -> None:
    found = there(driver(LAG, cpu=0.9, rate=1900, fit_rate=1900), planned=1900)
    assert found.cause == "overload"
    assert found.advice == "use a faster machine with nothing else on it, or lower the rate"


def test_a_line_of_the_scenario_is_named_whatever_the_cpu() -> None:
    note = "shop.py:41 (browse) blocked the event loop for 310 ms"
    for cpu in (0.01, 0.99):
        assert there(driver(LAG, cpu=cpu, notes=(note,))) == Diagnosis(
            "scenario", note, "make it await, or move it off the loop (asyncio.to_thread)"
        )


@pytest.mark.parametrize(
    ("reason", "health", "what", "advice"),
    [
        (
            "951 of 1,000 file descriptors are open",
            {"fds": 951, "fd_limit": 1000},
            "up to 951 of 1,000 open files were in use on the machine of eu-1",
            "(ulimit -n 2000)",
        ),
        (
            "27,000 of 28,232 local ports are in use towards one address",
            {"ports": 27_000, "port_limit": 28_232},
            "up to 27,000 of 28,232 local ports",
            "spread eu over more machines or source addresses (Http(source=[...]))",
        ),
        (
            "12 requests had no file descriptor or no local port",
            {"fds": 1000, "fd_limit": 1000, "ports": 9, "port_limit": 28_232},
            "open files",
            "raise the limit of open files on the machine of eu-1",
        ),
        (
            "12 requests had no file descriptor or no local port",
            {"fds": 10, "fd_limit": 1000, "ports": 28_000, "port_limit": 28_232},
            "up to 28,000 of 28,232 local ports were in use",
            "keep connections alive",
        ),
        (
            "only 30 MiB of memory are free",
            {"users": 9000, "memory_free_bytes": 30 << 20},
            "9,000 users of eu-1 used",
            "give eu-1 more memory",
        ),
        (
            "garbage collection paused it for 80.0 ms, 40.0 ms at once",
            {"gc_max_us": 40_000, "users": 1},
            "for up to 40.0 ms with 1 user",
            "keep fewer objects alive",
        ),
        (
            "its CPU limit held it back for 12.0 % of the time",
            {},
            "agent eu-1: its CPU limit held it back for 12.0 %",
            "raise the CPU limit of eu-1",
        ),
        (
            "the instance's network held back 34 packets (pps_allowance_exceeded)",
            {},
            "held back 34 packets",
            "use a larger instance type for eu-1",
        ),
    ],
)
def test_what_the_machine_lacks_is_what_to_mend(reason: str, health: dict[str, int], what: str, advice: str) -> None:
    found = there(driver(LAG, reason, cpu=0.02, **health), planned=4500)
    assert what in found.what
    assert advice in found.advice


@given(
    st.sampled_from([(), (STARVED,), (BUSY_MACHINE,), (BUSY_CORE,), (STEAL,), (STARVED, BUSY_MACHINE)]),
    st.floats(0.001, 1.5),
    st.integers(1, 20_000),
    st.integers(0, 20_000),
    st.none() | st.floats(1, 1e6),
    st.booleans(),
)
def test_nobody_adds_agents_where_the_cpu_is_low_or_the_fit_rate_is_high_enough(
    more: tuple[str, ...], cpu: float, rate: int, fit_rate: int, planned: float | None, on_one: bool
) -> None:
    one = driver(LAG, *more, cpu=cpu, rate=rate, fit_rate=fit_rate)
    found = diagnose(one, planned_per_s=planned, on_one_machine=on_one)
    needed = one.fitness.rate_max_per_s if planned is None else planned
    if cpu < 0.5 or one.fitness.capacity_per_s >= needed:
        assert not found.advice.startswith("add ")
    assert found.what
    assert found.advice


def test_the_words_of_the_self_check_lead_to_the_diagnosis() -> None:
    look = HealthReading(cpu_share=0.04, starved_share=0.31, machine_load=5.3, cores=2)
    reasons = unfit_reasons(Seen(lag_p99_ns=21_000_000, look=look))
    assert here(driver(*reasons, cpu=0.04)).what.startswith("this machine is busy (load 5.3 on 2 cores): ")
