"""Users as the engine sees them: who runs an iteration, and what is recorded of it.

A `Life` is the scenario's side of one user (cookies, connections, journeys). The
engine decides when it iterates, takes the times, and records. Lives are kept:
a slot's connections outlive the person that used them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter_ns
from typing import Protocol

import msgspec

from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.series import JourneySeries

__all__ = ["Arrival", "Life", "Slot", "UserPool"]


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One iteration to run. A struct, since one is made for each: 0.1 µs."""

    due_ns: int | None
    """On `perf_counter_ns`; None in closed loads, which have no due."""
    n: int
    journey: int
    warmup: bool
    row: int | None = None
    """The user's stripe, in closed loads."""

    @property
    def person(self) -> int:
        """Index of the data row that is the person's: the global arrival index, or the user's stripe."""
        return self.n if self.row is None else self.row


class Life(Protocol):
    """The scenario's side of one user. `iterate` sets the attributes and never raises but CancelledError."""

    begun_ns: int
    """When the journey's first line ran; 0 until then."""
    ended_ns: int
    """When its last did; 0 until then."""
    set_up_ns: int
    """How long the person's set-up took before the first line; also in `idle_ns`."""
    idle_ns: int
    """Think, pace and set-up that ended within the iteration: not part of the response time."""
    outcome: str
    censored: bool
    """The outcome came from a time-out: the truth would have taken longer."""

    def iterate(self, arrival: Arrival, *, pool_limited: bool) -> Awaitable[None]: ...

    def idle_until(self, now_ns: int) -> int:
        """`idle_ns` with the think that is going on at `now_ns`."""

    def resisted(self) -> None:
        """The iteration was cancelled, and ended otherwise than by that."""

    async def close(self) -> None: ...


class Slot:
    """A place for one user at a time: a life, a long-lived task, and the iteration that is running."""

    __slots__ = ("arrival", "free_ns", "life", "ready_ns", "task", "wake")

    def __init__(self, life: Life) -> None:
        self.life = life
        self.arrival: Arrival | None = None
        self.free_ns = 0
        """When a user was free for the arrival: its due time, or later when it had to wait."""
        self.ready_ns = 0
        """When the iteration was begun: in closed loads, where response times start."""
        self.wake: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None


class UserPool:
    """Runs iterations on slots: takes a free one, makes a new one, or lets the arrival wait in due order.

    Args:
        new_life: makes the scenario's side of one more user.
        series: the journey series by journey index, for (measured, warm-up).
        max_users: the cap; an arrival that finds all of them busy waits, its clock running from due.
        max_lateness_ns: an arrival that waited longer than this is missed; None: it is started however late.
        load: which of the plan's loads it is.
    """

    def __init__(
        self,
        new_life: Callable[[], Life],
        recorder: Recorder,
        series: tuple[list[JourneySeries], list[JourneySeries]],
        *,
        max_users: int,
        max_lateness_ns: int | None = None,
        load: int = 0,
    ) -> None:
        self._load = load
        self._new_life = new_life
        self._recorder = recorder
        self._series = series
        self._max_users = max_users
        self._max_lateness_ns = max_lateness_ns
        self._free: list[Slot] = []
        self._waiting: deque[Arrival] = deque()
        self._slots: dict[Slot, None] = {}
        self._busy = 0
        self.due = self.started = self.missed = 0
        """Iterations so far that became due, or were begun in a closed load; that were started; that were given up.
        What is due and neither waits for a user or for its turn of the loop."""
        self._idle = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def users(self) -> int:
        return len(self._slots)

    @property
    def in_flight(self) -> int:
        return self._busy

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def arrive(self, arrival: Arrival) -> None:
        """HOT, once an iteration of an open load: it is due now."""
        self.due += 1
        self._recorder.counters.iterations_due += 1
        if self._free:
            self._start(self._free.pop(), arrival, 0)
        elif len(self._slots) < self._max_users:
            self._start(self._add_slot(), arrival, 0)
        else:
            self._waiting.append(arrival)

    def cap(self, max_users: int) -> None:
        """From now on it may have so many users: more begin with what waits, those too many go when they are free."""
        self._max_users = max_users
        while self._free and len(self._slots) > max_users:
            slot = self._free.pop()
            del self._slots[slot]
            if slot.task is not None:
                slot.task.cancel()
            closing = asyncio.get_running_loop().create_task(slot.life.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        while len(self._slots) < max_users and (late := self._next_waiting()) is not None:
            self._start(self._add_slot(), late, perf_counter_ns())

    def miss(self, arrival: Arrival) -> None:
        """Count a due arrival that will not be started: we learned too late that it is ours, or the load ended."""
        self.due += 1
        self._recorder.counters.iterations_due += 1
        self._miss(arrival, perf_counter_ns())

    # -- closed loads: users that live in tasks of their own -------------------------------------

    def join(self, life: Life) -> Slot:
        """One more user of a closed load, in the current task."""
        slot = Slot(life)
        slot.task = asyncio.current_task()
        self._slots[slot] = None
        return slot

    async def leave(self, slot: Slot) -> None:
        """The user goes, with its connections."""
        del self._slots[slot]
        await slot.life.close()

    def begin(self, slot: Slot, arrival: Arrival) -> Awaitable[None]:
        """HOT, once an iteration of a closed load: await what it gives, and then say `end`."""
        self._busy += 1
        self.due += 1
        self._recorder.counters.iterations_due += 1
        return self._begin(slot, arrival)

    # -- slots of open loads ------------------------------------------------------------------

    def _add_slot(self) -> Slot:
        slot = Slot(self._new_life())
        slot.task = asyncio.get_running_loop().create_task(self._live(slot))
        self._slots[slot] = None
        return slot

    def _start(self, slot: Slot, arrival: Arrival, free_ns: int) -> None:
        slot.arrival, slot.free_ns = arrival, free_ns
        self._busy += 1
        if slot.wake is not None and not slot.wake.done():
            slot.wake.set_result(None)

    async def _live(self, slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        while True:
            arrival = slot.arrival
            if arrival is None:
                slot.wake = loop.create_future()
                await slot.wake
                continue
            await self._begin(slot, arrival)
            self.end(slot, arrival)
            if len(self._slots) > self._max_users:
                await self.leave(slot)
                self._tell_idle()
                return
            if (late := self._next_waiting()) is not None:
                self._start(slot, late, perf_counter_ns())
            else:
                self._free.append(slot)
                self._tell_idle()

    def _next_waiting(self) -> Arrival | None:
        while self._waiting:
            arrival = self._waiting.popleft()
            if self._max_lateness_ns is None:
                return arrival
            now_ns = perf_counter_ns()
            if now_ns - (arrival.due_ns or 0) <= self._max_lateness_ns:
                return arrival
            self._miss(arrival, now_ns)
        return None

    # -- one iteration ------------------------------------------------------------------------

    def _begin(self, slot: Slot, arrival: Arrival) -> Awaitable[None]:
        """HOT, once an iteration. No coroutine of its own: whatever stands between costs at each of its awaits."""
        slot.arrival = arrival
        life = slot.life
        life.begun_ns = life.ended_ns = life.idle_ns = life.set_up_ns = 0
        self.started += 1
        self._recorder.counters.iterations_started += 1
        slot.ready_ns = perf_counter_ns()
        return life.iterate(arrival, pool_limited=slot.free_ns > (arrival.due_ns or slot.free_ns))

    def end(self, slot: Slot, arrival: Arrival) -> None:
        """HOT, once an iteration: record it. What the drain cut off is recorded by `cut_off`, not here."""
        life = slot.life
        end_ns = life.ended_ns or perf_counter_ns()
        if slot.arrival is None:  # it was cut off while it ran
            life.resisted()
            return
        slot.arrival = None
        self._done()
        due_ns = arrival.due_ns
        if due_ns is None:
            start_ns, wait_ns, lag_ns = slot.ready_ns, None, None
        else:
            start_ns = due_ns
            free_ns = slot.free_ns or due_ns
            begun_ns = life.begun_ns - life.set_up_ns if life.begun_ns else slot.ready_ns
            wait_ns, lag_ns = free_ns - due_ns, begun_ns - free_ns
        duration_ns = end_ns - start_ns
        response_ns = duration_ns - life.idle_ns
        self._recorder.iteration(
            self._journey(arrival),
            response_ns,
            duration_ns,
            wait_ns,
            lag_ns,
            life.outcome,
            life.censored,
            start_ns,
            arrival.n,
            self._load,
        )

    def _miss(self, arrival: Arrival, now_ns: int) -> None:
        due_ns = now_ns if arrival.due_ns is None else arrival.due_ns
        self.missed += 1
        self._recorder.missed(self._journey(arrival), now_ns - due_ns, due_ns)

    def _journey(self, arrival: Arrival) -> JourneySeries:
        return self._series[arrival.warmup][arrival.journey]

    def _done(self) -> None:
        self._busy -= 1
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self._busy == 0 and not self._waiting:
            self._idle.set()

    def in_flight_since(self, now_ns: int) -> Iterator[tuple[int, int, int]]:
        """(journey index, due or ready time, think time so far) of all that runs or waits and is measured.

        Cost: 0.3 µs a user; asked once an interval, where an objective over a window needs it.
        """
        for slot in self._slots:
            arrival = slot.arrival
            if arrival is None or arrival.warmup:
                continue
            start_ns = arrival.due_ns if arrival.due_ns is not None else slot.ready_ns
            yield arrival.journey, start_ns, slot.life.idle_until(now_ns)
        for arrival in self._waiting:
            if not arrival.warmup:
                yield arrival.journey, arrival.due_ns or now_ns, 0

    def oldest_ns(self) -> int | None:
        """Due or ready time of the oldest iteration that runs or waits; None while there is none."""
        starts = [
            arrival.due_ns if arrival.due_ns is not None else slot.ready_ns
            for slot in self._slots
            if (arrival := slot.arrival) is not None
        ]
        starts += [arrival.due_ns for arrival in self._waiting if arrival.due_ns is not None]
        return min(starts, default=None)

    # -- the end ------------------------------------------------------------------------------

    async def drained(self) -> None:
        """Return when nothing runs and nothing waits."""
        while self._busy or self._waiting:
            self._idle.clear()  # cleared here only: who drains waits, the hot path does not care
            await self._idle.wait()

    def give_up_waiting(self) -> None:
        """What waits for a user will never start: missed, censored at its lateness."""
        now_ns = perf_counter_ns()
        while self._waiting:
            self._miss(self._waiting.popleft(), now_ns)
        self._tell_idle()

    def cut_off(self) -> None:
        """Stop what runs: censored at what it has taken so far. A journey that resists is abandoned."""
        self.give_up_waiting()
        now_ns = perf_counter_ns()
        for slot in list(self._slots):
            arrival, life = slot.arrival, slot.life
            if arrival is None:
                continue
            slot.arrival = None
            begun_ns = life.begun_ns - life.set_up_ns if life.begun_ns else now_ns
            is_open = arrival.due_ns is not None
            start_ns = arrival.due_ns if arrival.due_ns is not None else begun_ns
            free_ns = slot.free_ns or start_ns
            self._recorder.cut_off(
                self._journey(arrival),
                max(0, now_ns - start_ns - life.idle_until(now_ns)),
                now_ns - start_ns,
                free_ns - start_ns if is_open else None,
                begun_ns - free_ns if is_open else None,
                start_ns,
                arrival.n,
                self._load,
            )
            self._done()
            if slot.task is not None:
                slot.task.cancel()

    async def close(self, patience_s: float = 2.0) -> None:
        """End the slots' tasks and lives; a journey that ignores its cancellation is left behind after `patience_s`."""
        tasks = [slot.task for slot in self._slots if slot.task is not None and not slot.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)
        for slot in list(self._slots):
            await slot.life.close()
