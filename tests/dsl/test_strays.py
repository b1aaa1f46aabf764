"""What journeys get wrong beside raising: each is told once, with file, line and what to do, and the run goes on."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from loadgen.dsl.users.leaked_tasks import find_origins
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_runner import BoundJourney
from loadgen.engine.load.user_iterations import Arrival, UserPool
from loadgen.engine.recording.recorder import Recorder
from tests.support.lives import Bench, bound
from tests.support.turns import turns

pytestmark = pytest.mark.filterwarnings("default:coroutine")
"""Python's own warning is what tells of a coroutine that nobody awaited."""


@pytest.fixture(autouse=True)
def _tracking() -> Iterator[None]:
    yield
    sys.set_coroutine_origin_tracking_depth(0)


# -- tasks that outlive their iteration -----------------------------------------------------------------


async def test_a_task_that_outlives_its_iteration_is_cancelled_and_told_with_its_line() -> None:
    ended: list[str] = []

    async def leak() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async def j(user: User) -> None:
        asyncio.create_task(leak())  # noqa: RUF006
        await asyncio.sleep(0)

    for fresh in (True, False):
        ended.clear()
        bench = Bench(bound(j), fresh=fresh)
        assert (await bench.run()).outcome == "ok"
        await asyncio.sleep(0)
        assert ended == ["cancelled"]
        (said,) = bench.said
        line = j.__code__.co_firstlineno + 1
        assert said == (
            f"test_strays.py:{line} in j: a task was still running when the iteration of j ended, and was cancelled; "
            "`await` it, or run calls concurrently with `await user.gather(...)`"
        )


async def test_a_task_that_a_task_started_is_found_as_well() -> None:
    async def inner() -> None:
        await asyncio.sleep(3600)

    async def outer() -> None:
        asyncio.create_task(inner())  # noqa: RUF006

    async def j(user: User) -> None:
        await asyncio.create_task(outer())

    bench = Bench(bound(j))
    await bench.run()
    assert len(bench.said) == 1
    assert " in outer: a task was still running" in bench.said[0]


async def test_tasks_that_are_awaited_are_no_strays() -> None:
    async def part() -> None:
        await asyncio.sleep(0)

    async def j(user: User) -> None:
        await asyncio.gather(part(), part())
        async with asyncio.TaskGroup() as group:
            group.create_task(part())
        await asyncio.wait_for(part(), 60)
        await user.gather(user.http.get("/"), part())

    bench = Bench(bound(j))
    assert (await bench.run(3)).outcome == "ok", bench.said
    assert bench.said == []


async def test_a_task_of_the_set_up_is_the_persons_and_ends_with_it() -> None:
    beats: list[str] = []

    async def beat() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            beats.append("ended")

    async def up(user: User) -> None:
        asyncio.create_task(beat())  # noqa: RUF006

    async def j(user: User) -> None:
        await asyncio.sleep(0)

    closed = Bench(bound(j, set_up=up), fresh=False)
    await closed.run(3)
    assert beats == []
    await closed.life.close()
    await asyncio.sleep(0)
    assert beats == ["ended"]
    fresh = Bench(bound(j, set_up=up), fresh=True)
    await fresh.run(3)
    await asyncio.sleep(0)
    assert beats == ["ended"] * 4
    assert closed.said == fresh.said == []


async def test_a_task_that_a_library_keeps_is_the_persons_and_not_told() -> None:
    ended: list[str] = []
    library = ModuleType("library")
    source = """
import asyncio
import warnings
async def keep(ended):
    try:
        await asyncio.sleep(3600)
    finally:
        ended.append("ended")
def connect(ended):
    return asyncio.get_running_loop().create_task(keep(ended))
"""
    import sysconfig

    exec(compile(source, sysconfig.get_paths()["purelib"] + "/library.py", "exec"), library.__dict__)

    async def j(user: User) -> None:
        library.connect(ended)
        await asyncio.sleep(0)

    bench = Bench(bound(j), fresh=False)
    await bench.run(2)
    assert ended == []
    await bench.life.close()
    await asyncio.sleep(0)
    assert ended == ["ended"] * 2
    assert bench.said == []


async def test_a_task_of_somebody_else_is_left_alone() -> None:
    async def mine() -> str:
        await asyncio.sleep(0.01)
        return "done"

    task = asyncio.create_task(mine())

    async def j(user: User) -> None:
        await asyncio.sleep(0)

    bench = Bench(bound(j))
    after = asyncio.create_task(mine())
    await bench.run()
    assert [await task, await after] == ["done", "done"]


# -- coroutines that nobody awaited -----------------------------------------------------------------------


@contextmanager
def without_raw_warnings() -> Iterator[None]:
    """Fail if Python's own warning is shown beside the report, which has the line and the remedy."""
    with warnings.catch_warnings(record=True) as raw:
        warnings.simplefilter("always")
        yield
    assert raw == []


async def lost(j: Any, times: int = 1, *, collect: bool = False, recorder: Recorder | None = None) -> Bench:
    """A bench made where warnings are shown to pytest: it is the last to be shown them, as in a worker."""
    bench = Bench(bound(j), recorder=recorder)
    await bench.run(times)
    if collect:
        gc.collect()
    return bench


async def test_a_request_that_was_never_awaited_is_told_with_its_line_and_what_was_written() -> None:
    async def j(user: User) -> None:
        user.http.get("/")  # type: ignore[unused-coroutine]
        await asyncio.sleep(0)

    with without_raw_warnings():
        bench = await lost(j)
    assert bench.life.outcome == "ok"
    line = j.__code__.co_firstlineno + 1
    assert bench.network.requests == []
    assert bench.said == [
        f'test_strays.py:{line} in j: `user.http.get("/")` was never awaited, so '
        "nothing was sent; write `await` before it"
    ]


async def test_a_think_that_was_never_awaited_is_told_in_a_helper_too() -> None:
    async def helper(user: User) -> None:
        user.think(1)  # type: ignore[unused-coroutine]

    async def j(user: User) -> None:
        await helper(user)

    with without_raw_warnings():
        bench = await lost(j)
    (said,) = bench.said
    assert f"test_strays.py:{helper.__code__.co_firstlineno + 1} in helper: `user.think(1)" in said
    assert "was never awaited, so it never ran; write `await` before it" in said


async def test_a_coroutine_that_was_kept_in_a_variable_is_told_with_its_line_when_it_happens_again() -> None:
    async def j(user: User) -> None:
        answer = user.http.get("/")  # noqa: F841
        await asyncio.sleep(0)

    with without_raw_warnings():
        bench = await lost(j, times=2)
    assert len(bench.said) == 1
    assert f"test_strays.py:{j.__code__.co_firstlineno + 1} in j: `answer = user.http.get" in bench.said[0]
    assert sys.get_coroutine_origin_tracking_depth() == 0


async def test_what_one_person_was_told_the_line_of_is_not_told_again_without_it_by_another() -> None:
    async def j(user: User) -> None:
        answer = user.http.get("/")  # noqa: F841
        await asyncio.sleep(0)

    recorder = Recorder()
    with without_raw_warnings():
        first, second = await lost(j, recorder=recorder), await lost(j, recorder=recorder)
    await first.life.close()
    await second.life.close()
    assert (len(first.said), len(second.said)) == (0, 1)


async def test_one_that_happens_once_only_is_told_without_a_line_and_without_names_of_loadgen() -> None:
    async def j(user: User) -> None:
        answer = user.http.get("/")  # noqa: F841
        await asyncio.sleep(0)

    with without_raw_warnings():
        bench = await lost(j)
    assert bench.said == []
    await bench.life.close()
    assert len(bench.said) == 1
    assert bench.said == [
        "test_strays.py: in journey j a request, such as user.http.get(...), was never awaited, so it did nothing; "
        "write `await` before it"
    ]


async def test_one_that_happens_once_only_is_told_with_its_line_if_origins_are_kept() -> None:
    async def j(user: User) -> None:
        def keep(call: object) -> None: ...

        keep(user.http.get("/"))
        keep(user.think(1))

    with without_raw_warnings():
        find_origins()
        bench = await lost(j)
        await bench.life.close()
    line = j.__code__.co_firstlineno
    assert bench.said[0].startswith(f'test_strays.py:{line + 3} in j: `keep(user.http.get("/"))` was never awaited')
    assert "`keep(user.think(1))`" in bench.said[1]


async def test_one_that_the_garbage_collector_finds_is_told_to_somebody() -> None:
    async def j(user: User) -> None:
        loop: list[Any] = []
        loop.append((loop, user.http.get("/")))

    with without_raw_warnings():
        bench = await lost(j, collect=True)
    await bench.life.close()
    assert len(bench.said) == 1


async def test_other_warnings_are_nobodys_business() -> None:
    async def j(user: User) -> None:
        warnings.warn("mind the gap", RuntimeWarning, stacklevel=1)

    with pytest.warns(RuntimeWarning, match="mind the gap"):
        bench = await lost(j)
    assert bench.said == []


# -- journeys that await nothing -----------------------------------------------------------------------------


async def test_a_journey_that_awaits_nothing_in_a_closed_load_is_told_once_a_worker() -> None:
    async def idle(user: User) -> None:
        pass

    recorder = Recorder()
    first, second = (Bench(BoundJourney("idle", idle), fresh=False, recorder=recorder) for _ in range(2))
    await first.run(50)
    await second.run(50)
    (said,) = first.said
    assert second.said == []
    assert said.startswith(f"test_strays.py:{idle.__code__.co_firstlineno}: journey idle took ")
    assert "and awaited nothing, so in a closed load its user starts it again at once" in said
    assert "await a request, or `await user.think(1, 3)`" in said


async def test_a_journey_that_fails_at_once_in_a_closed_load_is_told_too() -> None:
    async def j(user: User) -> None:
        user.fail("at once")

    bench = Bench(bound(j), fresh=False)
    await bench.run(20)
    assert "awaited nothing" in bench.said[0]


async def test_a_quick_journey_that_awaits_is_not_told() -> None:
    async def j(user: User) -> None:
        await asyncio.sleep(0)

    bench = Bench(bound(j), fresh=False)
    await bench.run(200)
    assert bench.said == []


async def test_in_an_open_load_a_journey_may_await_nothing() -> None:
    async def j(user: User) -> None: ...

    bench = Bench(bound(j), fresh=True)
    await bench.run(50)
    assert bench.said == []


# -- journeys that catch their cancellation --------------------------------------------------------------------


def pool_of(bench: Bench) -> UserPool:
    series = [bench.recorder.journey_series("j")]
    return UserPool(lambda: bench.life, bench.recorder, (series, series), max_users=1)


async def cut_off(bench: Bench, patience_s: float = 0.05) -> UserPool:
    """Start one iteration, stop it at once, and end the pool."""
    pool = pool_of(bench)
    pool.arrive(Arrival(0, 0, 0, False))
    await turns()
    pool.cut_off()
    await turns()
    await pool.close(patience_s)
    return pool


async def test_a_journey_that_lets_its_cancellation_through_is_not_told() -> None:
    async def j(user: User) -> None:
        try:
            await asyncio.sleep(3600)
        except Exception:
            raise AssertionError("not reached") from None

    bench = Bench(bound(j))
    await cut_off(bench)
    assert bench.said == []
    assert bench.recorder.counters.iterations_cut_off == 1


async def test_a_journey_that_catches_every_cancellation_does_not_hang_the_stop_and_is_told_where_it_stood() -> None:
    left: list[str] = []

    async def j(user: User) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                left.append("caught")

    bench = Bench(bound(j))
    pool = await asyncio.wait_for(cut_off(bench), 60)
    (said,) = bench.said
    line = j.__code__.co_firstlineno + 3
    assert said == (
        f"test_strays.py:{line} in j: journey j caught CancelledError and did not stop, so its iteration was "
        "abandoned; use `except Exception`, which does not catch it, "
        "instead of `except BaseException` or a bare `except:`"
    )
    # The task itself ends when it is cancelled the next time, as at the end of the loop.
    (task,) = [slot.task for slot in pool._slots if slot.task is not None]
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()
    assert bench.recorder.counters.script_faults == 0


async def test_a_journey_that_catches_even_what_closes_it_is_left_behind() -> None:
    is_over: list[bool] = []

    async def j(user: User) -> None:
        while not is_over:
            try:
                await asyncio.sleep(3600)
            except BaseException:
                continue

    bench = Bench(bound(j))
    pool = await asyncio.wait_for(cut_off(bench), 60)
    assert "did not stop" in bench.said[0]
    is_over.append(True)
    (task,) = [slot.task for slot in pool._slots if slot.task is not None]
    task.cancel()
    await turns()


async def test_a_journey_that_catches_its_cancellation_and_ends_is_told_with_the_line_that_caught_it() -> None:
    async def j(user: User) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return

    bench = Bench(bound(j))
    bench.life._journey = bound(j)
    bench.life.resisted()
    bench.life.resisted()
    (said,) = bench.said
    line = j.__code__.co_firstlineno + 3
    assert said.startswith(f"test_strays.py:{line} in j: journey j caught CancelledError and continued after it was")


async def test_a_cancellation_that_the_journey_makes_itself_is_its_fault_and_does_not_end_the_user() -> None:
    async def j(user: User) -> None:
        task = asyncio.create_task(asyncio.sleep(3600))
        task.cancel()
        await task

    bench = Bench(bound(j))
    assert (await bench.run(2)).outcome == "script CancelledError"
    assert " in j: CancelledError: ; do not raise CancelledError" in bench.said[0]
