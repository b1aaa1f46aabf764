"""Who meets whom over the whole fleet: the pure machine, row by row, and under everything that can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen_controller.core.rendezvous import (
    AGAIN_NS,
    LEAD_NS,
    MOST_POINTS,
    AgentBack,
    AgentGone,
    Differs,
    Effect,
    Event,
    Release,
    RendezvousState,
    Tick,
    WaitersReported,
    WorkerSlot,
    met_before,
    step,
)
from tests.support.examples import examples

KEY = (0, "sale opens")
A, A1, B = WorkerSlot("a", 0), WorkerSlot("a", 1), WorkerSlot("b", 0)


def told(
    seat: WorkerSlot, arrived: int, gone: int = 0, *, users: int = 10, life: int = 0, now_ns: int = 0
) -> WaitersReported:
    return WaitersReported(seat, life, (WaitingAt(*KEY, users, arrived, gone),), now_ns)


def walk(*events: Event, meetings: RendezvousState | None = None) -> tuple[RendezvousState, list[Effect]]:
    meetings = meetings or RendezvousState()
    done: list[Effect] = []
    for event in events:
        meetings, effects = step(meetings, event)
        done += effects
    return meetings, done


def released(effects: list[Effect]) -> list[tuple[int, tuple[tuple[WorkerSlot, int, int], ...]]]:
    return [(one.group, one.upto) for one in effects if isinstance(one, Release)]


def test_a_group_goes_when_so_many_of_all_agents_wait_at_one_instant_ahead() -> None:
    _, effects = walk(told(A, 4), told(B, 5), told(A1, 1, now_ns=77))
    assert effects == [Release(KEY, 1, 10, 77 + LEAD_NS, ((A, 0, 4), (B, 0, 5), (A1, 0, 1)), (("a", 5), ("b", 5)))]


def test_those_that_came_last_wait_for_the_next_group() -> None:
    meetings, effects = walk(told(A, 7), told(B, 9))
    assert released(effects) == [(1, ((A, 0, 7), (B, 0, 3)))]
    assert meetings.points[KEY].waiting == 6
    _, effects = walk(told(A, 11, 7), meetings=meetings)
    assert released(effects) == [(2, ((B, 0, 9), (A, 0, 11)))]


def test_one_worker_may_bring_several_groups_at_once() -> None:
    meetings, effects = walk(told(A, 25))
    assert released(effects) == [(1, ((A, 0, 10),)), (2, ((A, 0, 20),))]
    assert (meetings.points[KEY].waiting, meetings.points[KEY].met) == (5, 20)


def test_who_has_gone_otherwise_does_not_count() -> None:
    meetings, effects = walk(told(A, 9, 4), told(B, 4))
    assert effects == []
    assert meetings.points[KEY].waiting == 9


def test_loads_and_names_do_not_mix() -> None:
    points = tuple(WaitingAt(load, name, 10, 9, 0) for load, name in [(0, "a"), (1, "a"), (0, "b")])
    meetings, effects = walk(WaitersReported(A, 0, points, 0))
    assert effects == []
    assert [point.waiting for point in meetings.points.values()] == [9, 9, 9]


def test_what_is_told_late_or_twice_changes_nothing() -> None:
    meetings, effects = walk(told(A, 9), told(A, 9), told(A, 4), told(A, 2, 1))
    assert effects == []
    assert meetings.points[KEY].waiting == 8


def test_users_of_a_lost_agent_do_not_count_and_do_not_hold_up_others() -> None:
    meetings, effects = walk(told(A, 9), AgentGone("a"), AgentGone("a"), told(B, 9))
    assert effects == []
    assert meetings.points[KEY].waiting == 9
    _, effects = walk(told(B, 10), meetings=meetings)
    assert released(effects) == [(1, ((B, 0, 10),))]


def test_users_of_an_agent_that_was_never_gone_count_again_as_the_last() -> None:
    meetings, _ = walk(told(A, 5), told(A1, 3), AgentGone("a"), told(A, 6), told(B, 8))
    meetings, effects = walk(AgentBack("a", 5), AgentBack("a", 5), meetings=meetings)
    assert released(effects) == [(1, ((B, 0, 8), (A, 0, 2)))]
    assert meetings.points[KEY].waiting == 4 + 3


def test_who_was_let_go_before_its_agent_was_lost_does_not_count_when_it_is_back() -> None:
    meetings, _ = walk(told(A, 10), AgentGone("a"), AgentBack("a", 5))
    assert meetings.points[KEY].waiting == 0


def test_the_process_that_takes_a_worker_s_place_begins_anew() -> None:
    meetings, _ = walk(told(A, 9, 3), WaitersReported(A, 1, (), 0))
    assert meetings.points[KEY].waiting == 0
    meetings, effects = walk(told(A, 9, 3), told(A, 9, life=1), meetings=meetings)  # the first is of the old process
    assert (effects, meetings.points[KEY].waiting) == ([], 9)
    _, effects = walk(told(A, 10, life=1), meetings=meetings)
    assert released(effects) == [(1, ((A, 1, 10),))]


def test_a_release_is_said_again_until_the_worker_tells_that_its_users_are_gone() -> None:
    meetings, _ = walk(told(A, 6), told(B, 4, now_ns=0), told(B, 4, 4, now_ns=1))
    _, effects = walk(Tick(AGAIN_NS - 1), meetings=meetings)
    assert effects == []
    meetings, effects = walk(Tick(AGAIN_NS), Tick(AGAIN_NS + 1), meetings=meetings)
    assert effects == [Release(KEY, 1, 10, LEAD_NS, ((A, 0, 6),), again=True)]
    meetings, effects = walk(Tick(2 * AGAIN_NS), told(A, 6, 6), Tick(9 * AGAIN_NS), meetings=meetings)
    assert len(effects) == 1


@pytest.mark.parametrize("after", [[AgentGone("a")], [WaitersReported(A, 1, (), 0)]])
def test_nothing_is_said_again_to_who_is_not_there_any_more(after: list[Event]) -> None:
    _, effects = walk(told(A, 10), *after, Tick(9 * AGAIN_NS))
    assert len(effects) == 1


def test_another_number_of_users_than_was_told_first_is_said_once() -> None:
    _, effects = walk(told(A, 1, users=10), told(B, 1, users=5), told(B, 2, users=5), told(B, 6, users=5))
    assert effects == [Differs(KEY, B, 10, 5)]


def test_names_that_never_end_are_forgotten() -> None:
    named = [WaitersReported(A, 0, (WaitingAt(0, f"sale {n}", 10, 1, 0),), 0) for n in range(MOST_POINTS + 5)]
    meetings, _ = walk(*named)
    assert len(meetings.points) == MOST_POINTS


# -- everything that can go wrong ---------------------------------------------------------------------


@dataclass
class Worker:
    """One as `loadgen.engine.load.rendezvous` is: a queue of users, known here by name."""

    seat: WorkerSlot
    life: int = 0
    arrived: int = 0
    gone: int = 0
    queue: list[int] = field(default_factory=list)

    def tells(self, now_ns: int) -> WaitersReported:
        return told(self.seat, self.arrived, self.gone, life=self.life, now_ns=now_ns)

    def leaves(self, number: int, place: int = 0) -> list[int]:
        left = self.queue[place : place + number]
        del self.queue[place : place + number]
        self.gone += len(left)
        return left


class Fleet:
    """Two agents of two workers; lines that lose, repeat and delay messages."""

    def __init__(self) -> None:
        self.meetings = RendezvousState()
        self.workers = {seat: Worker(seat) for seat in (A, A1, B, WorkerSlot("b", 1))}
        self.agents_gone: set[str] = set()
        self.users = 0
        self.now_ns = 0
        self.up: list[WaitersReported] = []
        self.down: list[tuple[int, WorkerSlot, int, int]] = []
        self.groups: dict[int, int] = {}
        """Of each group how many it let go, as decided."""
        self.went: dict[int, str] = {}
        """How each user left: "met", "left" or "died"."""

    def leave(self, users: list[int], how: str) -> None:
        for user in users:
            assert user not in self.went, f"user {user} goes twice: {self.went[user]}, {how}"
            self.went[user] = how

    def hear(self, event: Event) -> None:
        self.meetings, effects = step(self.meetings, event)
        for effect in effects:
            assert isinstance(effect, Release)
            if not effect.again:
                assert effect.group not in self.groups
                assert sum(count for _, count in effect.counts) == effect.users == 10
                self.groups[effect.group] = effect.users
            self.down += [(effect.at_ns, *one) for one in effect.upto]
        for point in self.meetings.points.values():
            assert 0 <= point.waiting < point.users

    def come(self, seat: WorkerSlot, number: int) -> None:
        worker = self.workers[seat]
        worker.queue += range(self.users, self.users + number)
        self.users += number
        worker.arrived += number
        self.up.append(worker.tells(self.now_ns))

    def deliver_down(self, place: int) -> None:
        _, seat, life, upto = self.down.pop(place)
        worker = self.workers[seat]
        if worker.life == life:
            self.leave(worker.leaves(max(0, upto - worker.gone)), "met")
            self.up.append(worker.tells(self.now_ns))

    def replace(self, seat: WorkerSlot) -> None:
        old = self.workers[seat]
        self.leave(old.queue, "died")
        self.workers[seat] = Worker(seat, old.life + 1)
        self.up.append(WaitersReported(seat, old.life + 1, (), self.now_ns))


MOVES = ["come", "come", "come", "time out", "cut off", "up", "up", "down", "lose up", "lose down", "twice", "tick"]
MOVES += ["replace", "replace", "agent gone", "agent back"]


@settings(max_examples=examples(400))
@given(st.data())
def test_whatever_is_lost_repeated_or_late_nobody_goes_twice_and_nobody_is_forgotten(data: st.DataObject) -> None:
    fleet = Fleet()
    seats = st.sampled_from(sorted(fleet.workers))
    for move in data.draw(st.lists(st.sampled_from(MOVES), max_size=60)):
        fleet.now_ns += 1
        match move:
            case "come":
                fleet.come(data.draw(seats), data.draw(st.integers(1, 12)))
            case "time out":
                worker = fleet.workers[data.draw(seats)]
                fleet.leave(worker.leaves(1), "left")
            case "cut off":
                worker = fleet.workers[data.draw(seats)]
                fleet.leave(worker.leaves(1, data.draw(st.integers(0, max(0, len(worker.queue) - 1)))), "left")
            case "up" if fleet.up:  # in any order
                fleet.hear(fleet.up.pop(data.draw(st.integers(0, len(fleet.up) - 1))))
            case "down" if fleet.down:
                fleet.deliver_down(data.draw(st.integers(0, len(fleet.down) - 1)))
            case "lose up" if fleet.up:
                fleet.up.pop()
            case "lose down" if fleet.down:
                fleet.down.pop()
            case "twice":
                fleet.up += fleet.up[-1:]
                fleet.down += fleet.down[-1:]
            case "tick":
                fleet.now_ns += AGAIN_NS
                fleet.hear(Tick(fleet.now_ns))
            case "replace":
                fleet.replace(data.draw(seats))
            case "agent gone":
                fleet.hear(AgentGone(data.draw(st.sampled_from("ab"))))
            case "agent back":
                fleet.hear(AgentBack(data.draw(st.sampled_from("ab")), fleet.now_ns))
    # Then the lines are good again, as after a reconnect: everybody tells, and is heard, until nothing is left to say.
    for agent in "ab":
        fleet.hear(AgentBack(agent, fleet.now_ns))
    for _ in range(4):
        fleet.up += [worker.tells(fleet.now_ns) for worker in fleet.workers.values()]
        while fleet.up:
            fleet.hear(fleet.up.pop(0))
        fleet.now_ns += AGAIN_NS
        fleet.hear(Tick(fleet.now_ns))
        while fleet.down:
            fleet.deliver_down(0)
    waiting = sum(len(worker.queue) for worker in fleet.workers.values())
    point = fleet.meetings.points.get(KEY)
    assert waiting == (point.waiting if point is not None else 0) < 10
    assert fleet.users == len(fleet.went) + waiting
    met = sum(how == "met" for how in fleet.went.values())
    lost = sum(how != "met" for how in fleet.went.values())
    # A group is short only of those that left by themselves or died.
    assert sum(fleet.groups.values()) - lost <= met <= sum(fleet.groups.values())
    assert sorted(fleet.groups) == list(range(1, len(fleet.groups) + 1))


@given(st.lists(st.tuples(st.sampled_from([A, A1, B]), st.integers(1, 30)), max_size=30))
def test_without_any_trouble_every_group_is_whole(comings: list[tuple[WorkerSlot, int]]) -> None:
    fleet = Fleet()
    for seat, number in comings:
        fleet.come(seat, number)
        while fleet.up or fleet.down:
            while fleet.up:
                fleet.hear(fleet.up.pop(0))
            while fleet.down:
                fleet.deliver_down(0)
    assert len(fleet.went) == 10 * len(fleet.groups) == fleet.users - fleet.users % 10


def test_a_controller_that_is_started_anew_lets_nobody_go_twice_and_goes_on_counting() -> None:
    before, effects = walk(told(A, 7), told(B, 9), told(A, 11, 7))
    meetings = RendezvousState()
    for effect in effects:
        assert isinstance(effect, Release)
        meetings = met_before(meetings, effect)
    point = meetings.points[KEY]
    assert (point.groups, point.met, point.waiting) == (2, 20, 0)
    meetings, effects = walk(told(A, 11, 7), told(B, 9, 3), meetings=meetings)
    assert effects == [], "all of them were let go, though they have not heard it"
    assert meetings.points[KEY].waiting == before.points[KEY].waiting == 0
    _, effects = walk(Tick(AGAIN_NS), meetings=meetings)
    assert [(one.upto, one.again) for one in effects if isinstance(one, Release)] == [
        (((A, 0, 11),), True),
        (((B, 0, 9),), True),
    ]
    _, effects = walk(told(A, 21, 11), meetings=meetings)
    assert released(effects) == [(3, ((A, 0, 21),))]


def test_of_a_worker_that_was_replaced_only_the_newest_process_is_known() -> None:
    meetings = met_before(RendezvousState(), Release(KEY, 1, 10, 0, ((A, 0, 10),)))
    meetings = met_before(meetings, Release(KEY, 2, 10, 0, ((A, 1, 10),)))
    meetings = met_before(meetings, Release(KEY, 3, 10, 0, ((B, 0, 10),)))
    assert (meetings.lives[A], meetings.points[KEY].queues[A].life, meetings.points[KEY].groups) == (1, 1, 3)
    _, effects = walk(told(A, 20, 10, life=1), meetings=meetings)
    assert released(effects) == [(4, ((A, 1, 20),))]
