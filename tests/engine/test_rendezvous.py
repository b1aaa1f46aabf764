"""Rendez-vous of one worker: who waits, who may go, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter_ns

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.load.rendezvous import LATE_NS, TELL_NS, Ended, Points
from loadgen.errors import UsageError, WireError
from loadgen.measure.deltas.rendezvous_counts import MAX_POINTS, WaitingAt, check_waiting
from tests.support.examples import examples
from tests.support.turns import turns

LONG_S = 60.0
NOW = 0
"""An instant that is over."""


class Told:
    """What a worker of a fleet tells, and what it notes."""

    def __init__(self) -> None:
        self.told: list[tuple[WaitingAt, ...]] = []
        self.noted: list[str] = []
        self.heard = asyncio.Event()

    def __call__(self, points: tuple[WaitingAt, ...]) -> None:
        self.told.append(points)
        self.heard.set()

    async def says(self, arrived: int, gone: int) -> None:
        async with asyncio.timeout(60):
            while not self.told or (self.told[-1][0].arrived, self.told[-1][0].gone) != (arrived, gone):
                self.heard.clear()
                await self.heard.wait()


@contextmanager
def worker(told: Told | None) -> Iterator[Points]:
    points = Points(told, told.noted.append) if told is not None else Points()
    try:
        yield points
    finally:
        points.close()


def come(points: Points, number: int, users: int = 10, timeout_s: float = LONG_S) -> list[asyncio.Task[Ended]]:
    return [asyncio.create_task(points.wait(0, "sale opens", users, timeout_s)) for _ in range(number)]


# -- alone --------------------------------------------------------------------------------------------


async def test_without_a_fleet_the_users_of_the_worker_meet_among_themselves_in_groups() -> None:
    with worker(None) as points:
        first = come(points, 9, timeout_s=LONG_S)
        await turns()
        assert not any(one.done() for one in first)
        rest = come(points, 14)
        await turns()
        assert [one.done() for one in (*first, *rest)] == [True] * 20 + [False] * 3
        assert {one.result() for one in first} == {"met"}
        points.end_all()
        assert await asyncio.gather(*rest) == ["met"] * 11 + ["load ended"] * 3


async def test_a_group_of_one_waits_for_nobody() -> None:
    with worker(Told()) as points:
        assert await points.wait(0, "alone", 1, LONG_S) == "met"


async def test_loads_and_names_do_not_mix() -> None:
    with worker(None) as points:
        waits = [
            asyncio.create_task(points.wait(load, name, 2, LONG_S)) for load, name in [(0, "a"), (1, "a"), (0, "b")]
        ]
        await turns()
        assert not any(one.done() for one in waits)
        assert await points.wait(1, "a", 2, LONG_S) == "met"
        points.end(0)
        assert [await one for one in waits] == ["load ended", "met", "load ended"]


async def test_who_has_waited_long_enough_goes_on_and_is_no_member_of_the_group_after_it() -> None:
    with worker(None) as points:
        assert await points.wait(0, "sale opens", 2, 0.001) == "timed out"
        late = come(points, 1, users=2)
        await turns()
        assert not late[0].done()
        assert await points.wait(0, "sale opens", 2, LONG_S) == await late[0] == "met"


async def test_who_is_cancelled_while_it_waits_does_not_count_any_more() -> None:
    with worker(None) as points:
        gone, stays = come(points, 2, users=3)
        await turns()
        gone.cancel()
        await turns()
        (third,) = come(points, 1, users=3)
        await turns()
        assert not third.done()
        (fourth,) = come(points, 1, users=3)
        assert {await one for one in (stays, third, fourth)} == {"met"}


async def test_one_name_has_one_number_of_users() -> None:
    with worker(None) as points:
        come(points, 1)
        await turns()
        with pytest.raises(UsageError, match='"sale opens" has 10 users elsewhere, and 11 here') as caught:
            await points.wait(0, "sale opens", 11, LONG_S)
        assert "two names" in caught.value.hint


async def test_names_that_vary_are_told_and_not_kept() -> None:
    with worker(None) as points:
        for n in range(MAX_POINTS):
            await points.wait(0, f"sale {n}", 1, LONG_S)
        with pytest.raises(UsageError, match="more than 50 rendez-vous"):
            await points.wait(0, "one more", 1, LONG_S)


# -- in a fleet ---------------------------------------------------------------------------------------


async def test_those_that_come_in_one_turn_are_told_at_once_and_together() -> None:
    told = Told()
    with worker(told) as points:
        come(points, 7)
        await turns()
        assert told.told == [(WaitingAt(0, "sale opens", 10, 7, 0),)]


async def test_who_comes_one_by_one_is_told_at_most_once_in_50_ms() -> None:
    told = Told()
    with worker(told) as points:
        began_ns = perf_counter_ns()
        for _ in range(40):
            come(points, 1, users=100)
            await asyncio.sleep(0.005)
        await told.says(40, 0)
        took_ns = perf_counter_ns() - began_ns
        assert len(told.told) <= took_ns // TELL_NS + 2


async def test_a_worker_in_which_nobody_uses_it_tells_nothing() -> None:
    told = Told()
    with worker(told) as points:
        points.release(0, "sale opens", 5, NOW)
        points.end(0)
        points.end_all()
    assert told.told == []


async def test_a_complete_group_in_one_worker_of_a_fleet_waits_for_the_word_of_the_controller() -> None:
    told = Told()
    with worker(told) as points:
        waits = come(points, 12)
        await turns()
        assert not any(one.done() for one in waits)
        points.release(0, "sale opens", 10, NOW)
        assert await asyncio.gather(*waits[:10]) == ["met"] * 10
        assert not any(one.done() for one in waits[10:])
        await told.says(12, 10)


async def test_nobody_leaves_before_the_release_s_instant() -> None:
    with worker(Told()) as points:
        waits = come(points, 20)
        await turns()
        at_ns = perf_counter_ns() + 30_000_000
        points.release(0, "sale opens", 10, at_ns)
        points.release(0, "sale opens", 20, at_ns + 20_000_000)

        async def left(one: asyncio.Task[Ended]) -> int:
            assert await one == "met"
            return perf_counter_ns()

        times = await asyncio.gather(*map(left, waits))
        assert min(times[:10]) >= at_ns
        assert min(times[10:]) >= at_ns + 20_000_000


async def test_who_is_let_go_does_not_time_out_any_more() -> None:
    with worker(Told()) as points:
        (one,) = come(points, 1, timeout_s=0.2)
        await turns()
        points.release(0, "sale opens", 1, perf_counter_ns() + 300_000_000)
        assert await one == "met"


async def test_a_release_that_is_heard_twice_or_late_lets_nobody_else_go() -> None:
    told = Told()
    with worker(told) as points:
        waits = come(points, 6)
        await turns()
        points.release(0, "sale opens", 4, NOW)
        points.release(0, "sale opens", 4, NOW)
        points.release(0, "sale opens", 2, NOW)
        await turns()
        await told.says(6, 4)
        assert [one.done() for one in waits] == [True] * 4 + [False] * 2


async def test_a_release_that_was_lost_is_made_up_for_by_the_next() -> None:
    with worker(Told()) as points:
        waits = come(points, 6)
        await turns()
        points.release(0, "sale opens", 6, NOW)
        assert await asyncio.gather(*waits) == ["met"] * 6


async def test_a_release_without_anybody_left_is_answered_so_that_it_is_known_to_be_heard() -> None:
    told = Told()
    with worker(told) as points:
        assert await points.wait(0, "sale opens", 10, 0.001) == "timed out"
        await told.says(1, 1)
        told.told.clear()
        points.release(0, "sale opens", 1, NOW)
        await told.says(1, 1)


async def test_who_times_out_while_a_release_is_on_its_way_leaves_the_group_one_short_and_nobody_else_goes() -> None:
    told = Told()
    with worker(told) as points:
        waits = [*come(points, 1, timeout_s=0.001), *come(points, 5)]
        assert await waits[0] == "timed out"
        points.release(0, "sale opens", 3, NOW)
        await turns()
        await told.says(6, 3)
        assert [one.done() for one in waits] == [True] * 3 + [False] * 3


async def test_a_late_release_is_noted_once() -> None:
    told = Told()
    with worker(told) as points:
        come(points, 2)
        await turns()
        late_ns = perf_counter_ns() - 10 * LATE_NS
        points.release(0, "sale opens", 1, late_ns)
        points.release(0, "sale opens", 2, late_ns)
        (note,) = told.noted
        assert "rendez-vous sale opens: a release reached a worker" in note


async def test_an_instant_that_is_far_ahead_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.engine.load.rendezvous.AHEAD_NS", 1_000_000)
    with worker(Told()) as points:
        waits = come(points, 2)
        await turns()
        points.release(0, "sale opens", 2, perf_counter_ns() + 3600 * 10**9)
        assert await asyncio.gather(*waits) == ["met"] * 2


async def test_nothing_is_told_after_the_last_word() -> None:
    told = Told()
    with worker(told) as points:
        come(points, 1)
        await turns()
    told.told.clear()
    points.release(0, "sale opens", 1, NOW)
    await asyncio.sleep(2 * TELL_NS / 1e9)
    assert told.told == []


async def test_after_the_end_of_the_load_nobody_waits() -> None:
    told = Told()
    with worker(told) as points:
        waits = come(points, 3)
        await turns()
        points.end(0, grace_s=0.01)
        assert not any(one.done() for one in waits)
        assert await asyncio.gather(*waits) == ["load ended"] * 3
        assert await points.wait(0, "sale opens", 10, LONG_S) == "load ended"
        await told.says(3, 3)


async def test_the_last_word_says_that_nobody_waits() -> None:
    told = Told()
    with worker(told) as points:
        waits = come(points, 3)
        await turns()
    assert told.told[-1] == (WaitingAt(0, "sale opens", 10, 3, 3),)
    assert await asyncio.gather(*waits) == ["load ended"] * 3


async def test_a_secret_in_a_name_stays_in_the_worker() -> None:
    told = Told()
    points = Points(told, known=lambda text: text.replace("hunter2", "****"))
    waiting = asyncio.create_task(points.wait(0, "at hunter2", 5, LONG_S))
    await turns()
    assert told.told[-1][0].name == "at ****"
    points.release(0, "at ****", 1, NOW)
    assert await waiting == "met"
    points.close()


@settings(max_examples=examples(200))
@given(st.lists(st.sampled_from(["come", "cancel", "release", "again", "leave"]), max_size=40), st.data())
def test_whatever_happens_counts_add_up_and_nobody_goes_twice(moves: list[str], data: st.DataObject) -> None:
    async def play() -> None:
        told = Told()
        points = Points(told)
        waits: list[asyncio.Task[Ended]] = []
        upto = 0
        for move in moves:
            if move == "come":
                waits += come(points, data.draw(st.integers(1, 3)), users=1000)
            elif move == "cancel" and waits:
                data.draw(st.sampled_from(waits)).cancel()
            elif move == "release":
                upto = data.draw(st.integers(upto, max(upto, len(waits))))
                points.release(0, "sale opens", upto, NOW)
            elif move == "again":
                points.release(0, "sale opens", upto, NOW)
            await turns()
            if waits:
                (now,) = points.standing()
                assert (now.arrived, now.waiting) == (len(waits), sum(not one.done() for one in waits))
                assert now.gone >= min(upto, now.arrived)
                check_waiting((now,))
        points.close()
        await asyncio.gather(*waits, return_exceptions=True)
        assert all(one.done() for one in waits)

    asyncio.run(play())


@pytest.mark.parametrize(
    "odd",
    [
        (WaitingAt(0, "a", 0, 0, 0),),
        (WaitingAt(0, "a", 5, 2, 3),),
        (WaitingAt(0, "a", 5, 2, -1),),
        (WaitingAt(0, "a", 5, 10**6, 1),),
        (WaitingAt(0, "a" * 101, 5, 2, 1),),
        (WaitingAt(0, "a", 5, 2, 1), WaitingAt(0, "a", 5, 2, 1)),
        tuple(WaitingAt(0, f"a{n}", 5, 2, 1) for n in range(51)),
    ],
)
def test_what_no_worker_can_say_is_refused(odd: tuple[WaitingAt, ...]) -> None:
    with pytest.raises(WireError, match="impossible counts of a rendez-vous"):
        check_waiting(odd)
