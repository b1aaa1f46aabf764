"""The generator says when it was not fit to measure, and who blocked it."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter, perf_counter_ns
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.health.process_health import HealthReading, Probe
from loadgen.engine.health.selfcheck import NEAR_NOTE, Seen, SelfCheck, _p99, unfit_reasons

pytestmark = pytest.mark.quiet
MS = 1_000_000
WELL = HealthReading(
    cpu_share=0.6, fds=900, fd_limit=1000, ports=20_000, port_limit=28_232, memory_free_bytes=1 << 30, steal_share=0.02
)


@pytest.mark.parametrize(
    ("lag_ms", "response_ms", "fit"),
    [(1.9, 0, True), (2.1, 0, False), (2.1, 30, True), (4, 30, False), (90, 1000, True), (110, 1000, False)],
)
def test_a_second_is_unfit_when_lag_p99_exceeds_2_ms_and_a_tenth_of_the_response_p99(
    lag_ms: float, response_ms: float, fit: bool
) -> None:
    seen = Seen(lag_p99_ns=round(lag_ms * MS), response_p99_ns=round(response_ms * MS))
    assert (unfit_reasons(seen) == ()) is fit


@pytest.mark.parametrize(
    ("lag_ms", "lasting_ms", "response_ms", "fit"),
    [(1.5, 0.4, 2, True), (1.5, 1.2, 2, False), (0.9, 0.9, 2, True), (1.5, 1.2, 20, True)],
)
def test_a_lag_that_lasts_is_unfit_from_1_ms(lag_ms: float, lasting_ms: float, response_ms: int, fit: bool) -> None:
    seen = Seen(lag_p99_ns=round(lag_ms * MS), lasting_lag_ns=round(lasting_ms * MS), response_p99_ns=response_ms * MS)
    assert (unfit_reasons(seen) == ()) is fit


def test_a_target_that_collapses_makes_nothing_unfit() -> None:
    assert unfit_reasons(Seen(lag_p99_ns=1 * MS, response_p99_ns=60_000 * MS, look=WELL)) == ()


@pytest.mark.parametrize(
    ("look", "text"),
    [
        (replace(WELL, steal_share=0.08), "the machine's host took 8.0 % of its CPU time (steal)"),
        (replace(WELL, fds=951), "951 of 1,000 file descriptors are open"),
        (replace(WELL, ports=25_500), "25,500 of 28,232 local ports are in use towards one address"),
        (replace(WELL, memory_free_bytes=30 << 20), "only 30 MiB of memory are free"),
    ],
)
def test_what_the_machine_lacks_is_a_reason_of_its_own(look: HealthReading, text: str) -> None:
    assert unfit_reasons(Seen(look=WELL)) == ()
    assert [reason.replace("8.00", "8.0") for reason in unfit_reasons(Seen(look=look))] == [text]


def test_what_is_not_known_is_no_reason() -> None:
    assert unfit_reasons(Seen(look=HealthReading(fds=10, ports=10))) == ()
    assert unfit_reasons(Seen(look=HealthReading(fds=10, fd_limit=-1))) == ()  # no limit at all


def test_requests_without_a_descriptor_or_a_port_are_our_fault() -> None:
    assert unfit_reasons(Seen(own_faults=3)) == ("3 requests had no file descriptor or no local port",)


def test_a_busy_core_and_its_neighbours_explain_a_lag_and_are_no_faults_alone() -> None:
    look = HealthReading(cpu_share=0.99, starved_share=0.3, throttled_share=0.1)
    assert unfit_reasons(Seen(look=look)) == ()
    lag, *why = unfit_reasons(Seen(lag_p99_ns=41 * MS, look=look))
    assert lag == "lag p99 41.0 ms is above 2.00 ms"
    assert ["busy" in why[0], "other programs" in why[1], "CPU limit" in why[2]] == [True] * 3


def test_more_programs_than_cores_explain_a_lag() -> None:
    def why(load: float) -> tuple[str, ...]:
        return unfit_reasons(Seen(lag_p99_ns=41 * MS, look=HealthReading(machine_load=load, cores=2)))[1:]

    assert why(5.26) == ("its machine is busy (load 5.3 on 2 cores)",)
    assert why(1.9) == ()


@pytest.mark.parametrize(
    ("is_held", "cpu_share", "waited_ms", "is_named"),
    [
        (False, 0.3, 0, True),  # how long the loop waited is unknown
        (True, 0.3, 0, False),
        (False, 0.3, 30, False),
        (False, 0.3, 45, True),
        (False, 0.99, 30, True),  # the process used its core, and the machine has too few of them
    ],
)
def test_a_busy_machine_explains_no_lag_for_which_the_loop_did_not_wait(
    is_held: bool, cpu_share: float, waited_ms: int, is_named: bool
) -> None:
    look = HealthReading(cpu_share=cpu_share, starved_share=waited_ms / 1000, machine_load=2.1, cores=2)
    reasons = unfit_reasons(Seen(lag_p99_ns=41 * MS, look=look), is_held=is_held)
    assert reasons[0] == "lag p99 41.0 ms is above 2.00 ms"
    assert ("its machine is busy (load 2.1 on 2 cores)" in reasons) is is_named


@pytest.mark.parametrize(
    ("total_ms", "longest_ms", "response_ms", "fit"),
    [(9, 9, 5, True), (12, 9, 5, False), (30, 1, 5, True), (30, 9, 200, True)],
)
def test_pauses_count_when_they_are_longer_than_the_allowed_lag_and_1_percent_of_the_time(
    total_ms: int, longest_ms: int, response_ms: int, fit: bool
) -> None:
    seen = Seen(gc_total_ns=total_ms * MS, gc_max_ns=longest_ms * MS, response_p99_ns=response_ms * MS)
    assert (unfit_reasons(seen) == ()) is fit


@given(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(0, 10**10))
def test_a_slower_target_never_makes_a_second_less_fit(lag_ns: int, response_ns: int, more_ns: int) -> None:
    def fit(response: int) -> bool:
        return not unfit_reasons(
            Seen(lag_p99_ns=lag_ns, gc_max_ns=lag_ns, gc_total_ns=lag_ns, response_p99_ns=response)
        )

    assert fit(response_ns + more_ns) or not fit(response_ns)


@given(st.lists(st.integers(0, 10**9), max_size=300))
def test_p99_of_lags_is_exceeded_by_1_percent_and_at_least_one(lags: list[int]) -> None:
    found = _p99(sorted(lags))
    if len(lags) > 1:
        assert sum(lag > found for lag in lags) <= max(1, len(lags) // 100)
        assert sum(lag >= found for lag in lags) > max(1, len(lags) // 100)


SOURCE = """\
import time

def nap():
    time.sleep(0.5)

def spin(until):
    while time.perf_counter() < until:
        sum(range(1000))
"""


@pytest.fixture
def scenario(tmp_path: Path) -> ModuleType:
    (tmp_path / "blocker.py").write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("blocker", tmp_path / "blocker.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def watching(folder: Path, **more: object) -> Iterator[SelfCheck]:
    check = SelfCheck(folder, lambda: (1, 1, 0), **more)  # type: ignore[arg-type]
    check.start()
    try:
        yield check
    finally:
        check.stop()


async def test_a_scenario_that_blocks_the_loop_is_named_with_file_and_line(
    tmp_path: Path, scenario: ModuleType
) -> None:
    with watching(tmp_path) as check:
        await asyncio.sleep(0.05)
        scenario.nap()
        await asyncio.sleep(0.05)
        health = check.health(None, 0, ())
    assert any("blocker.py:4 (nap) blocked the event loop" in note for note in health.notes)
    assert health.unfit
    assert health.loop_lag_max_us > 200_000
    assert health.loop_lag_p99_us > 200_000  # the ticks that the pause swallowed count


class StarvedProbe(Probe):
    """Reports that the loop waited for a core all the time, as the kernel does where other programs have both cores."""

    def waited_ns(self) -> int:
        return perf_counter_ns()


class CalmProbe(Probe):
    """Reports that the loop never waited for a core, as on a quiet machine."""

    def waited_ns(self) -> int:
        return 0


class LoadedProbe(CalmProbe):
    """Reports more programs than cores over the last minute, though the loop never waited for a core."""

    def look(self) -> HealthReading:
        return replace(super().look(), machine_load=2.1, cores=2)


async def test_the_machine_is_not_blamed_while_a_line_of_the_scenario_blocks_the_loop(
    tmp_path: Path, scenario: ModuleType
) -> None:
    with watching(tmp_path, probe=LoadedProbe()) as check:
        await asyncio.sleep(0.05)
        scenario.nap()
        await asyncio.sleep(0.05)
        health = check.health(None, 0, ())
    assert any("(nap) blocked the event loop" in note for note in health.notes)
    assert not [reason for reason in health.unfit if "machine is busy" in reason]


async def test_no_line_is_blamed_while_other_programs_had_the_core(tmp_path: Path, scenario: ModuleType) -> None:
    with watching(tmp_path, probe=StarvedProbe()) as check:
        await asyncio.sleep(0.05)
        scenario.nap()
        await asyncio.sleep(0.05)
        health = check.health(None, 0, ())
    assert health.notes == ()
    assert health.unfit


async def test_a_line_that_holds_a_starved_loop_is_not_blamed_for_it(tmp_path: Path, scenario: ModuleType) -> None:
    with watching(tmp_path, probe=StarvedProbe()) as check:
        until = perf_counter() + 0.6
        while perf_counter() < until:
            scenario.spin(perf_counter() + 0.04)
            await asyncio.sleep(0)
        health = check.health(None, 0, ())
    assert health.notes == ()
    assert any(reason.startswith("other programs had its core") for reason in health.unfit)


async def test_a_line_that_holds_the_loop_in_short_turns_is_named_where_there_was_a_lag(
    tmp_path: Path, scenario: ModuleType
) -> None:
    """Looked at up to 10 times: who looks is a thread, which on a busy machine may not get its turn."""
    with watching(tmp_path, probe=CalmProbe()) as check:
        for _ in range(10):
            until = perf_counter() + 0.6
            while perf_counter() < until:
                scenario.spin(perf_counter() + 0.04)
                await asyncio.sleep(0)
            health = check.health(None, 0, ())
            said = [note for note in health.notes if "(spin) held the event loop for" in note]
            named = [note for note in said if "blocker.py:" in note]
            if named:
                break
    assert health.unfit
    assert named


async def test_a_loop_that_waits_for_a_slow_target_is_fit(tmp_path: Path) -> None:
    with watching(tmp_path) as check:
        for _ in range(10):  # a busy machine may hold it up by a tenth of the response itself
            await asyncio.sleep(0.3)
            if not (health := check.health(0, 300 * MS, ("a note",))).unfit:
                break
    assert health.unfit == ()
    assert health.notes == ("a note",)
    assert health.rss_bytes > 1_000_000


async def test_a_lag_lasts_when_the_interval_before_had_it_too(tmp_path: Path) -> None:
    with watching(tmp_path) as check:
        lags = [round(ms * MS) for ms in (0.2, 1.5, 1.4, 0.3, 1.6)]
        unfit = [check.health(lag, 2 * MS, ()).unfit for lag in lags]
    assert [any("two intervals in a row" in reason for reason in reasons) for reasons in unfit] == [
        False,
        False,
        sys.platform == "linux",
        False,
        False,
    ]


async def test_health_has_what_the_system_says_and_what_is_in_flight(tmp_path: Path) -> None:
    faults = [2]
    with watching(tmp_path, own_faults=lambda: faults[0], oldest_ns=lambda: 31_000 * MS, unacked=lambda: 4) as check:
        faults[0] = 5
        gc.collect()
        health = check.health(None, 300 * MS, ())
        again = check.health(None, 300 * MS, ())
    assert (health.oldest_ms, health.unacked) == (31_000, 4)
    assert health.gc_max_us > 0
    assert health.fds > 0
    assert health.memory_free_bytes > 0
    assert "3 requests had no file descriptor or no local port" in health.unfit
    assert again.unfit == ()


def near(*cpu_shares: float, lag_ms: float = 0.1) -> list[tuple[str, ...]]:
    """The notes of successive intervals in which a worker used these shares of its core."""
    check = SelfCheck(Path(), lambda: (0, 0, 0))
    return [
        tuple(check._near_limit(Seen(lag_p99_ns=round(lag_ms * MS), look=replace(WELL, cpu_share=share))))
        for share in cpu_shares
    ]


def test_a_worker_near_the_limit_of_its_core_says_so_once_and_before_it_is_unfit() -> None:
    assert near(0.5, 0.85, 0.85, 0.9) == [(), (), (NEAR_NOTE,), ()]
    assert near(0.85, 0.5, 0.85, 0.5) == [(), (), (), ()]
    assert near(0.99, 0.99, 0.99, lag_ms=5) == [(), (), ()]  # unfit says more
