"""Every load of a worker ends with a reason, and what was due by then is in the counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.drive.plan_share_driver import Drive, Totals
from loadgen.dsl.loading.loader import load
from loadgen.engine.load import load_models
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.load_counts import Ending
from tests.support.scenarios import write

MS = 1_000_000
SCENARIO = """
from loadgen import Load, Plan, User, arrivals, iterations, journey, users

@journey
async def once(user: User) -> None:
    pass

open = Plan(target="http://127.0.0.1:1", mix=once, load=arrivals("500/s").hold("300ms"), drain="1s")
closed = Plan(target="http://127.0.0.1:1", mix=once, load=users(2).hold("300ms"), drain="1s")
counted = Plan(target="http://127.0.0.1:1", mix=once, load=iterations(40, users=3), drain="1s")
several = Plan(
    target="http://127.0.0.1:1",
    loads=[
        Load(once, arrivals("200/s").hold("300ms"), name="base"),
        Load(once, arrivals("100/s").hold("100ms"), after="100ms", name="spike"),
        Load(once, users(3).hold("1s"), name="users"),
    ],
    drain="1s",
)
"""


async def driven(
    folder: Path,
    plan: str,
    then: Callable[[Drive], object] = lambda drive: None,
    *,
    after_s: float = 0.1,
    is_over: Callable[[], bool] | None = None,
    from_ns: int = 0,
    since_ns: int = 0,
) -> tuple[Totals, list[Delta]]:
    deltas: list[Delta] = []
    path = write(folder, SCENARIO)
    drive = Drive(load(path, plan), seed=7, interval_ns=100 * MS, emit=deltas.append, is_over=is_over)
    asyncio.get_running_loop().call_later(after_s, then, drive)
    return await drive.run(perf_counter_ns() + 5 * MS - from_ns, from_ns, since_ns), deltas


def sums(deltas: list[Delta]) -> dict[int, tuple[int, int]]:
    """Started and missed by load."""
    found: dict[int, tuple[int, int]] = {}
    for delta in deltas:
        for one in delta.loads:
            started, missed = found.get(one.load, (0, 0))
            found[one.load] = started + one.started, missed + one.missed
    return found


@pytest.mark.parametrize(
    ("plan", "counts"),
    [("open", {0: (150, 0)}), ("counted", {0: (40, 0)}), ("several", {0: (60, 0), 1: (10, 0)})],
)
async def test_a_load_that_was_driven_to_its_end_says_so_and_counts_each_load_by_itself(
    plan: str, counts: dict[int, tuple[int, int]], tmp_path: Path
) -> None:
    totals, deltas = await driven(tmp_path, plan)
    assert totals.ending is Ending.DONE
    found = sums(deltas)
    assert {load: found[load] for load in counts} == counts
    assert sum(started for started, _ in found.values()) == totals.counters.iterations_started
    assert all(one.waiting == one.users == 0 for one in deltas[-1].loads)


async def test_users_that_are_there_are_counted_at_the_end_of_each_interval(tmp_path: Path) -> None:
    _, deltas = await driven(tmp_path, "several")
    users = [next((one.users for one in delta.loads if one.load == 2), 0) for delta in deltas]
    assert max(users) == 3
    assert users[-1] == 0


@pytest.mark.parametrize("plan", ["open", "closed", "counted"])
async def test_a_load_that_the_controller_stops_says_so(plan: str, tmp_path: Path) -> None:
    totals, _ = await driven(tmp_path, plan, lambda drive: drive.stop(), after_s=0.0)
    assert totals.ending is Ending.STOPPED


async def test_arrivals_that_were_due_when_a_load_was_stopped_are_started_or_missed(tmp_path: Path) -> None:
    stopped: list[int] = []

    def stop(drive: Drive) -> None:
        stopped.append(perf_counter_ns() - drive._recorder.t0_ns)
        drive.stop()

    totals, deltas = await driven(tmp_path, "open", stop, after_s=0.15)
    ((started, missed),) = sums(deltas).values()
    assert totals.counters.iterations_due == started + missed
    assert started + missed >= min(stopped[0], 300 * MS) // (2 * MS)


async def test_a_longest_duration_that_is_over_is_named(tmp_path: Path) -> None:
    totals, _ = await driven(tmp_path, "open", lambda drive: drive.stop(ending=Ending.TIME_LIMIT))
    assert totals.ending is Ending.TIME_LIMIT


async def test_a_share_that_was_left_to_others_is_named(tmp_path: Path) -> None:
    totals, deltas = await driven(tmp_path, "open", lambda drive: drive.leave(200 * MS), after_s=0.02)
    assert totals.ending is Ending.LEFT
    assert sums(deltas) == {0: (100, 0)}


@pytest.mark.parametrize("plan", ["open", "closed"])
async def test_a_lease_that_lapses_for_one_look_ends_the_load_for_good(plan: str, tmp_path: Path) -> None:
    """The critical fault: the drive looked once, saw a lapse and stopped; later looks saw a lease that ran."""
    looks = 0

    def is_over() -> bool:
        nonlocal looks
        looks += 1
        return looks == 3

    totals, _ = await driven(tmp_path, plan, is_over=is_over)
    assert looks >= 3
    assert totals.ending is Ending.LEASE
    assert totals.counters.iterations_started < 10_000


async def test_what_was_due_to_one_that_joins_before_it_begins_is_missed(tmp_path: Path) -> None:
    totals, deltas = await driven(tmp_path, "open", from_ns=200 * MS, since_ns=120 * MS)
    ((started, missed),) = sums(deltas).values()
    assert (started, missed) == (50, 40)
    assert totals.ending is Ending.DONE


async def test_a_process_that_takes_over_misses_nothing_of_what_another_one_drove(tmp_path: Path) -> None:
    _, deltas = await driven(tmp_path, "open", from_ns=200 * MS)
    assert sums(deltas) == {0: (50, 0)}


async def test_an_end_that_has_no_reason_is_reported_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive that ends by itself before its load does: what the lapse did. It is a fault of ours, exit code 70."""

    async def ends(*_: object) -> None:
        await asyncio.sleep(0.02)

    monkeypatch.setattr(load_models.OpenDrive, "_drive", ends)
    totals, _ = await driven(tmp_path, "open")
    assert totals.ending is Ending.UNSAID
