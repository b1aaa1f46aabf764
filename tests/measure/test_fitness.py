"""What a run's intervals said of the generator, kept small and complete enough to advise."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.health.process_health import HealthReading
from loadgen.engine.health.selfcheck import Seen, unfit_reasons
from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.deltas.run_fitness import Fitness, cause_of, spans_text
from loadgen.units import NS_PER_S

LAG = "lag p99 41.0 ms is above 2.00 ms"


def second(fitness: Fitness, k: int, rate: int = 100, *unfit: str, health: Health | None = None) -> None:
    health = msgspec.structs.replace(health or Health(), unfit=unfit)
    fitness.add(health, Counters(iterations_started=rate), k * NS_PER_S, (k + 1) * NS_PER_S)


def test_every_reason_that_the_self_check_gives_has_its_cause() -> None:
    look = HealthReading(
        cpu_share=1.0,
        steal_share=0.5,
        throttled_share=0.5,
        starved_share=0.5,
        machine_load=5.3,
        cores=2,
        fds=99,
        fd_limit=100,
        ports=99,
        port_limit=100,
        memory_free_bytes=1,
        shaped=(("pps_allowance_exceeded", 1),),
    )
    seen = Seen(lag_p99_ns=NS_PER_S, gc_total_ns=NS_PER_S, gc_max_ns=NS_PER_S, own_faults=1, look=look)
    causes = [cause_of(reason) for reason in unfit_reasons(seen)]
    machine = ["sockets", "fds", "ports", "memory", "network"]
    assert causes == ["lag", "busy", "starved", "machine", "throttled", "gc", "steal", *machine]
    assert cause_of("what nobody has heard of") == "other"


def test_unfit_seconds_that_touch_are_one_span() -> None:
    fitness = Fitness()
    for k in range(10):
        second(fitness, k, 100, *([LAG] if k in (2, 3, 4, 8) else []))
    assert fitness.unfit_spans == [(2, 5), (8, 9)]
    assert spans_text(fitness.unfit_spans_ns) == "2 to 5 s, 8 to 9 s"
    assert spans_text([(0, 14_676_800_000)]) == "0 to 14.7 s"
    assert spans_text([(k * NS_PER_S, (k + 1) * NS_PER_S) for k in (0, 2, 4, 6, 8)]).endswith("4 to 5 s and 2 more")


@given(st.lists(st.booleans(), max_size=80))
def test_spans_hold_exactly_the_unfit_seconds(unfit: list[bool]) -> None:
    fitness = Fitness()
    for k, is_unfit in enumerate(unfit):
        second(fitness, k, 100, *([LAG] if is_unfit else []))
    within = [any(start <= k < end for start, end in fitness.unfit_spans) for k in range(len(unfit))]
    assert within == unfit
    assert fitness.unfit == sum(unfit)


def test_capacity_is_the_rate_up_to_which_seconds_were_fit_on_a_ramp() -> None:
    fitness = Fitness()
    for k in range(200):
        second(fitness, k, 10 * k, *([LAG] if k > 150 else []))
    assert fitness.capacity_per_s == pytest.approx(1500, rel=0.1)
    assert fitness.rate_max_per_s == 1990


def test_one_unfit_second_at_a_low_rate_is_chance_and_no_capacity() -> None:
    fitness = Fitness()
    for k in range(100):
        second(fitness, k, 10 * k, *([LAG] if k == 20 else []))
    assert fitness.capacity_per_s == 990


def test_a_constant_rate_that_is_unfit_now_and_then_has_the_rate_of_its_fit_seconds() -> None:
    fitness = Fitness()
    for k in range(10):
        second(fitness, k, 1000 + k, *([LAG] if k % 3 == 0 else []))
    assert fitness.capacity_per_s == 1008


def test_an_agent_that_was_never_fit_has_no_capacity() -> None:
    fitness = Fitness()
    for k in range(5):
        second(fitness, k, 100, LAG)
    assert fitness.capacity_per_s == 0


def test_the_worst_lag_is_kept_with_the_rate_at_which_it_came() -> None:
    fitness = Fitness()
    for k, lag_ms in enumerate((5, 41, 7)):
        reason = f"lag p99 {lag_ms} ms is above 2 ms"
        second(fitness, k, 100 * k, reason, health=Health(generator_lag_p99_us=lag_ms * 1000))
    assert (fitness.worst_lag_us, fitness.worst_rate_per_s) == (41_000, 100)
    assert fitness.examples["lag"] == "lag p99 41 ms is above 2 ms"


def test_a_line_that_blocks_again_and_again_is_one_note() -> None:
    fitness = Fitness()
    for k in range(50):
        fitness.add(Health(notes=(f"a.py:4 (nap) blocked the event loop for {200 + k} ms", "said")))
    assert list(fitness.notes) == ["a.py:4 (nap) blocked the event loop for 200 ms", "said"]
    assert (fitness.holders["a.py:4 (nap)"].intervals, fitness.intervals) == (50, 50)
    assert fitness.holders["a.py:4 (nap)"].text == "blocked the event loop for 200 ms"


@given(st.lists(st.tuples(st.integers(0, 10**6), st.booleans()), max_size=200))
def test_what_is_kept_does_not_grow_with_the_run(seconds: list[tuple[int, bool]]) -> None:
    fitness = Fitness()
    for k, (rate, is_unfit) in enumerate(seconds):
        reason = f"lag p99 {k} ms is above 2.00 ms"
        second(fitness, k, rate, *([reason] if is_unfit else []), health=Health(notes=(f"note {k}",)))
    assert len(fitness.reasons) <= 20
    assert len(fitness.notes) <= 100
    assert len(fitness.rates) <= 160
    assert fitness.fit_rate_max_per_s <= fitness.rate_max_per_s
    assert fitness.capacity_per_s <= fitness.rate_max_per_s


def test_peaks_are_those_of_the_worst_interval() -> None:
    fitness = Fitness()
    fitness.add(Health(steal_share=0.1, gc_max_us=900, fds=7, fd_limit=9, ports=3, port_limit=5, memory_free_bytes=50))
    fitness.add(Health(steal_share=0.2, gc_max_us=100, fds=5, fd_limit=9, ports=4, port_limit=5, memory_free_bytes=40))
    fitness.add(Health())
    assert (fitness.steal_share_max, fitness.gc_max_us, fitness.fds_max, fitness.fd_limit) == (0.2, 900, 7, 9)
    assert (fitness.ports_max, fitness.port_limit, fitness.memory_free_bytes_min) == (4, 5, 40)
