"""The engine's side of users: runs their iterations and records the results.

A `Life` is the scenario's side of one user (cookies, connections, journeys). The engine decides when a life iterates,
measures the iteration, and records it. In an open load, lives are reused: the next user in a slot has the connections
that earlier users opened.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter_ns
from typing import Final, Protocol

import msgspec

from loadgen.engine.load.wake import Wake
from loadgen.engine.recording.recorded_series import JourneySeries, Noted, Spans
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.series_key import Tags

__all__ = ["OPENS_A_TURN", "PRECONNECTS", "Arrival", "Life", "Slot", "UserPool"]

OPENS_A_TURN: Final = 4
"""Most users of an open load that are added in one turn of the loop; each has a connection to open. If more arrivals
find no free user in one turn, the loop is behind: answers that wait to be read will free users. Opening a connection
for each arrival would put the loop further behind, and would end with thousands of connections.
"""


PRECONNECTS: Final = 8
"""Connections that are opened at the same time ahead of demand."""


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One iteration to run. A struct, since one is created for each: 0.1 µs."""

    due_ns: int | None
    """On `perf_counter_ns`; None in closed loads, whose iterations have no due time."""
    n: int
    journey: int
    warmup: bool
    row: int | None = None
    """In closed loads: the index of the user in the fleet."""

    @property
    def person(self) -> int:
        """Number that selects the data row: the arrival's number in the fleet, or in a closed load the user's."""
        return self.n if self.row is None else self.row


class Life(Protocol):
    """The scenario's side of one user. `iterate` sets the attributes, and raises nothing but CancelledError."""

    begun_ns: int
    """When the journey's first line ran; 0 until then."""
    ended_ns: int
    """When the journey's last line ended; 0 until then."""
    set_up_ns: int
    """Duration of the user's set-up before the first line. `idle_ns` includes it."""
    idle_ns: int
    """Time within the iteration that is not response time: think time, pace and set-up."""
    outcome: str
    """How the iteration ended: "ok", "timeout" ..."""
    censored: bool
    """True: the outcome came from a time-out, so the true time is longer."""

    @property
    def tags(self) -> Tags:
        """Tags of the iteration: the load's, and those that the journey has set. Read only if the plan has tags."""

    @property
    def noted(self) -> Noted:
        """The fields that the journey has noted of the iteration (`user.note`); None without any."""

    @property
    def spans(self) -> Spans | None:
        """The traces of the iteration's requests, if it is sampled. Read only if the plan has tracing."""

    def iterate(self, arrival: Arrival, *, pool_limited: bool) -> Awaitable[None]:
        """Run one iteration of the user's journey. `pool_limited`: the arrival had to wait for a free user."""

    def idle_until(self, now_ns: int) -> int:
        """Return the iteration's think time so far in ns: `idle_ns` plus the pause that is going on at `now_ns`."""

    def resisted(self) -> None:
        """Show a notice that the journey caught its cancellation and continued; once per journey and worker."""

    async def preconnect(self) -> None:
        """Open a connection to the target and keep it for the next iteration. Errors are ignored."""

    async def close(self) -> None: ...


class Slot:
    """A place for one user at a time: a life, a long-lived task, and the running iteration."""

    __slots__ = ("arrival", "free_ns", "life", "ready_ns", "task", "wake")

    def __init__(self, life: Life) -> None:
        self.life = life
        self.arrival: Arrival | None = None
        self.free_ns = 0
        """When the user was free for the arrival; 0: at its due time."""
        self.ready_ns = 0
        """When the iteration was begun; in closed loads response times start here."""
        self.wake: Wake | None = None
        self.task: asyncio.Task[None] | None = None


class UserPool:
    """Runs iterations in slots: takes a free slot, creates one, or queues the arrival in due order.

    Args:
        new_life: creates the scenario's side of one more user.
        series: the journey series by journey index, for (measured, warm-up).
        max_users: limit; an arrival that finds all users busy waits, and its response time runs from its due time.
        max_lateness_ns: an arrival that waited longer is missed; None: it is started however late.
        load: index of the plan's load.
        reserve: number of users with an open connection that are added ahead of demand; 0: each arrival that finds no
            free user opens its own connection.
        tags_at: returns the tags of an iteration that is due at a time of `perf_counter_ns`, for missed iterations;
            None: they have the tags of `series`.
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
        reserve: int = 0,
        tags_at: Callable[[int], Tags] | None = None,
    ) -> None:
        self._load, self._reserve = load, reserve
        self._tags_at = tags_at
        self._is_tagged = recorder.tagging.is_declared
        self._new_life = new_life
        self._recorder = recorder
        self._series = series
        self._max_users = max_users
        self._max_lateness_ns = max_lateness_ns
        self._free: list[Slot] = []
        self._waiting: deque[Arrival] = deque()
        self._held = 0
        """Number of arrivals at the head of `_waiting` that do not wait for the target, but until the loop has read
        answers (see `OPENS_A_TURN`). Their wait is generator lag."""
        self._opens = 0
        """Users that were added since the loop's last turn."""
        self._is_turning = False
        self._slots: dict[Slot, None] = {}
        self._busy = 0
        self.due = self.started = self.missed = 0
        """Iterations so far: due (in a closed load: begun), started, and missed. An arrival that is due and neither
        started nor missed waits for a user.
        """
        self._idle: asyncio.Event | None = None
        """Set when no iteration runs or waits; None until the drain waits for that."""
        self._beside: set[asyncio.Task[None]] = set()
        """Tasks that close users or connect them ahead of demand; the loop keeps only weak references."""
        self._preconnecting: asyncio.Task[None] | None = None

    @property
    def users(self) -> int:
        """Number of users, busy or free."""
        return len(self._slots)

    @property
    def in_flight(self) -> int:
        """Number of iterations that are running now."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Number of due arrivals that wait for a free user."""
        return len(self._waiting)

    @property
    def interval_ends_ns(self) -> int:
        """When the present interval ends, on `perf_counter_ns`."""
        return self._recorder.interval_ends_ns

    def arrive(self, arrival: Arrival, *, is_at_once: bool = False) -> None:
        """HOT, once an iteration of an open load: start an arrival that is due now, or let it wait for a user.

        is_at_once: true: a free user runs up to its first wait within this call; false: at the next turn of the loop.
        """
        self.due += 1
        self._recorder.counters.iterations_due += 1
        if self._free:  # `_start`, inlined
            slot = self._free.pop()
            slot.arrival, slot.free_ns = arrival, 0
            self._busy += 1
            if (wake := slot.wake) is not None:
                if is_at_once:
                    wake.wake()
                else:
                    wake.wake_soon()
        elif len(self._slots) >= self._max_users or len(self._waiting) > self._held:
            self._waiting.append(arrival)
        elif self._opens < OPENS_A_TURN:
            self._start(self._add_counted(), arrival, 0)
        else:
            self._waiting.append(arrival)
            self._held += 1

    def preconnect(self) -> bool:
        """Start a task that adds `reserve` free users, each with an open connection.

        Call it before the load begins. The pool calls it again when it runs out of free users. Return False if it did
        nothing, because `reserve` is 0 or such a task is running.
        """
        if not self._reserve or (self._preconnecting is not None and not self._preconnecting.done()):
            return False
        left = iter(range(self._reserve))

        async def connect() -> None:
            for _ in left:
                if len(self._slots) >= self._max_users:
                    return
                slot = self._add_slot()
                await slot.life.preconnect()
                if slot in self._slots:
                    self._next_of(slot)

        async def connect_all() -> None:
            await asyncio.gather(*[connect() for _ in range(PRECONNECTS)])

        self._preconnecting = asyncio.get_running_loop().create_task(connect_all())
        return True

    def _add_counted(self) -> Slot:
        """Add a user, and count it until the loop has turned."""
        self._opens += 1
        self.preconnect()
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turned)
        return self._add_slot()

    def _turned(self) -> None:
        self._opens, self._is_turning = 0, False
        self._add_for_waiting()

    def _add_for_waiting(self) -> None:
        """Add users for waiting arrivals, a few in each turn of the loop (see `OPENS_A_TURN`).

        If the limit of users is reached, held arrivals wait for a free user. From then on, their wait counts as user
        wait and not as generator lag.
        """
        while self._waiting:
            if len(self._slots) >= self._max_users:
                self._held = 0
                return
            if self._opens >= OPENS_A_TURN or (late := self._next_waiting()) is None:
                return
            self._start(self._add_counted(), *late)

    def cap(self, max_users: int) -> None:
        """Change the most users that may exist.

        A higher limit starts waiting arrivals, a few in each turn of the loop; a lower one removes free users.
        """
        self._max_users = max_users
        while self._free and len(self._slots) > max_users:
            slot = self._free.pop()
            del self._slots[slot]
            if slot.task is not None:
                slot.task.cancel()
            closing = asyncio.get_running_loop().create_task(slot.life.close())
            self._beside.add(closing)
            closing.add_done_callback(self._beside.discard)
        self._add_for_waiting()

    def miss(self, arrival: Arrival) -> None:
        """Count an arrival as missed: it was due and will not be started.

        The reason is a share change that reached this worker too late, or the end of the load.
        """
        self.due += 1
        self._recorder.counters.iterations_due += 1
        self._miss(arrival, perf_counter_ns())

    # -- closed loads: users that live in tasks of their own -------------------------------------

    def join(self, life: Life) -> Slot:
        """Add a user of a closed load, whose iterations run in the current task, and return its slot."""
        slot = Slot(life)
        slot.task = asyncio.current_task()
        self._slots[slot] = None
        return slot

    async def leave(self, slot: Slot) -> None:
        """Remove a user of a closed load, and close its connections."""
        del self._slots[slot]
        await slot.life.close()

    def begin(self, slot: Slot, arrival: Arrival) -> Awaitable[None]:
        """HOT, once an iteration of a closed load: begin one. Await the result, and then call `end`."""
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
        if slot.wake is not None:
            slot.wake.wake_soon()

    async def _live(self, slot: Slot) -> None:
        wake = slot.wake = Wake(asyncio.get_running_loop())
        while True:
            arrival = slot.arrival
            if arrival is None:
                await wake
                continue
            await self._begin(slot, arrival)
            self.end(slot, arrival)
            if len(self._slots) > self._max_users:
                await self.leave(slot)
                self._notify_idle()
                return
            self._next_of(slot)

    def _next_of(self, slot: Slot) -> None:
        """Let a user that is free run the next waiting arrival, if there is one."""
        if self._waiting and (late := self._next_waiting()) is not None:
            self._start(slot, *late)
            return
        self._free.append(slot)
        if self._idle is not None:
            self._notify_idle()

    def _next_waiting(self) -> tuple[Arrival, int] | None:
        """Return (next waiting arrival that is not too late, time at which a user was free for it; 0: at its due time).

        Arrivals that are too late are counted as missed.
        """
        while self._waiting:
            arrival = self._waiting.popleft()
            is_held = self._held > 0
            if is_held:
                self._held -= 1
            if self._max_lateness_ns is None and is_held:
                return arrival, 0
            now_ns = perf_counter_ns()
            if self._max_lateness_ns is None or now_ns - (arrival.due_ns or 0) <= self._max_lateness_ns:
                return arrival, 0 if is_held else now_ns
            self._miss(arrival, now_ns)
        return None

    # -- one iteration ------------------------------------------------------------------------

    def _begin(self, slot: Slot, arrival: Arrival) -> Awaitable[None]:
        """HOT, once an iteration: begin it, and return an awaitable that ends with it.

        This method is not a coroutine, because an extra frame would cost time at each await of the iteration.
        """
        slot.arrival = arrival
        life = slot.life
        life.begun_ns = life.ended_ns = life.idle_ns = life.set_up_ns = 0
        self.started += 1
        self._recorder.counters.iterations_started += 1
        slot.ready_ns = perf_counter_ns()
        return life.iterate(arrival, pool_limited=slot.free_ns > (arrival.due_ns or slot.free_ns))

    def end(self, slot: Slot, arrival: Arrival) -> None:
        """HOT, once an iteration: record the iteration that ended.

        If the drain cut it off while it ran, `cut_off` has recorded it already.
        """
        life = slot.life
        end_ns = life.ended_ns or perf_counter_ns()
        if slot.arrival is None:  # it was cut off while it ran
            life.resisted()
            return
        slot.arrival = None
        self._busy -= 1
        if self._idle is not None:
            self._notify_idle()
        due_ns = arrival.due_ns
        if due_ns is None:
            start_ns, wait_ns, lag_ns = slot.ready_ns, None, None
        else:
            start_ns = due_ns
            free_ns = slot.free_ns or due_ns
            # A set-up is work of the scenario, and no delay of the generator.
            begun_ns = life.begun_ns - life.set_up_ns if life.begun_ns else slot.ready_ns
            wait_ns, lag_ns = free_ns - due_ns, begun_ns - free_ns
        duration_ns = end_ns - start_ns
        response_ns = duration_ns - life.idle_ns
        self._recorder.iteration(
            self._journey_of(life, arrival) if self._is_tagged else self._series[arrival.warmup][arrival.journey],
            response_ns,
            duration_ns,
            wait_ns,
            lag_ns,
            life.outcome,
            life.censored,
            start_ns,
            arrival.n,
            self._load,
            life.noted,
            life.spans if self._recorder.is_traced else None,
        )

    def _miss(self, arrival: Arrival, now_ns: int) -> None:
        due_ns = now_ns if arrival.due_ns is None else arrival.due_ns
        self.missed += 1
        series = self._journey(arrival)
        if self._tags_at is not None:
            series = self._recorder.journey_series(series.key.journey, arrival.warmup, self._tags_at(due_ns))
        self._recorder.missed(series, now_ns - due_ns, due_ns)

    def _journey(self, arrival: Arrival) -> JourneySeries:
        return self._series[arrival.warmup][arrival.journey]

    def _journey_of(self, life: Life, arrival: Arrival) -> JourneySeries:
        """Return the series of an iteration that began, by the tags that its journey has set."""
        series, tags = self._journey(arrival), life.tags
        if tags == series.key.tags:
            return series
        return self._recorder.journey_series(series.key.journey, arrival.warmup, tags)

    def _notify_idle(self) -> None:
        if self._idle is not None and self._busy == 0 and not self._waiting:
            self._idle.set()

    def in_flight_since(self, now_ns: int) -> Iterator[tuple[int, int, int]]:
        """Yield (journey index, start, think time so far) of each iteration that runs or waits for a user.

        Iterations of the warm-up are left out. The start is the due time, or in a closed load the real start, on
        `perf_counter_ns`. Cost: 0.3 µs a user; called once an interval if an objective over a window needs it.
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
        """Return the start of the oldest iteration that runs or waits, on `perf_counter_ns`; None without one.

        The start is the due time, or in a closed load the real start.
        """
        starts = [
            arrival.due_ns if arrival.due_ns is not None else slot.ready_ns
            for slot in self._slots
            if (arrival := slot.arrival) is not None
        ]
        starts += [arrival.due_ns for arrival in self._waiting if arrival.due_ns is not None]
        return min(starts, default=None)

    # -- the end ------------------------------------------------------------------------------

    async def drained(self) -> None:
        """Wait until no iteration runs or waits for a user."""
        if self._idle is None:
            self._idle = asyncio.Event()
        while self._busy or self._waiting:
            self._idle.clear()  # cleared only here: the drain can wait, the hot path must not pay for it
            await self._idle.wait()

    def give_up_waiting(self) -> None:
        """Count all arrivals that wait for a user as missed, with their lateness so far as a lower bound."""
        now_ns = perf_counter_ns()
        self._held = 0
        while self._waiting:
            self._miss(self._waiting.popleft(), now_ns)
        self._notify_idle()

    def cut_off(self) -> None:
        """Interrupt all running iterations, and count all waiting arrivals as missed.

        The interrupted iterations are recorded with their time so far as a lower bound. A journey that ignores its
        cancellation is abandoned.
        """
        self.give_up_waiting()
        now_ns = perf_counter_ns()
        for slot in list(self._slots):
            arrival, life = slot.arrival, slot.life
            if arrival is None:
                continue
            # Cleared before the cancellation, so that `end` does not record the iteration once more.
            slot.arrival = None
            begun_ns = life.begun_ns - life.set_up_ns if life.begun_ns else now_ns
            is_open = arrival.due_ns is not None
            start_ns = arrival.due_ns if arrival.due_ns is not None else begun_ns
            free_ns = slot.free_ns or start_ns
            self._recorder.cut_off(
                self._journey_of(life, arrival) if self._is_tagged else self._journey(arrival),
                max(0, now_ns - start_ns - life.idle_until(now_ns)),
                now_ns - start_ns,
                free_ns - start_ns if is_open else None,
                begun_ns - free_ns if is_open else None,
                start_ns,
                arrival.n,
                self._load,
                life.noted,
                life.spans if self._recorder.is_traced else None,
            )
            self._busy -= 1
            self._notify_idle()
            if slot.task is not None:
                slot.task.cancel()

    async def close(self, patience_s: float = 2.0) -> None:
        """End all users and their tasks. A journey that ignores its cancellation is abandoned after `patience_s`."""
        if self._preconnecting is not None:
            self._preconnecting.cancel()
        tasks = [slot.task for slot in self._slots if slot.task is not None and not slot.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)
        for slot in list(self._slots):
            await slot.life.close()
