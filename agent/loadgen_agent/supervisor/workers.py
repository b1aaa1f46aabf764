"""Manages the worker processes of one run: performs the effects of `worker_group_state.step`.

It starts and ends the processes and forwards their messages. Answers of the whole group go to `on_event`, which feeds
the agent's state machine. The workers' deltas are added up by `aggregate.py` and go to `on_delta`.

All times are ns of `perf_counter_ns`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.messages import (
    Adjust,
    Fin,
    Heartbeat,
    Message,
    Prepare,
    Ready,
    Reassign,
    Refused,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    Steer,
    Steered,
    Stop,
    TearDown,
    TornDown,
    Waiting,
)
from loadgen_agent.delivery.aggregate import AddUp
from loadgen_agent.operating_system import oom_kills
from loadgen_agent.shared_progress import Progress
from loadgen_agent.supervisor.leftover_processes import reap
from loadgen_agent.supervisor.output import Output
from loadgen_agent.supervisor.worker_group_state import (
    AllLost,
    Answer,
    Begin,
    Died,
    Drop,
    Effect,
    Ended,
    Event,
    Finished,
    Lost,
    Resume,
    SentByAgent,
    SentByWorker,
    Stage,
    TellOne,
    WorkerGroup,
    step,
)
from loadgen_agent.supervisor.worker_process import Child
from loadgen_agent.worker_lease import Lease

__all__ = ["MAX_WORKERS", "Answers", "WorkerPlacement", "Workers"]

log = logging.getLogger(__name__)

MAX_WORKERS = 256
"""Most workers of one agent; more than a machine that generates load has cores."""
BURY_NS = 1 * NS_PER_S
"""Time from the end of a process until its stream is closed, for the output that is still in the stream."""
RESUME_NS = 50 * NS_PER_MS
"""Notice that a replacement process gets before it takes over, so that its first arrivals start on time."""


@dataclass(frozen=True, slots=True)
class WorkerPlacement:
    """Number of an agent's workers and the CPUs to which they are pinned."""

    workers: int = 1
    cores: tuple[int, ...] = ()
    """CPUs to which the workers are pinned in turn. Empty: the operating system places them."""


Answers = Ready | Refused | SetUpDone | TornDown | Fin | AllLost
"""Answers of the whole group."""


class _SlotProcess:
    """A worker slot with its shared memory and its present process."""

    def __init__(self) -> None:
        self.marks: Progress | None = None
        self.lease: Lease | None = None
        self.child: Child | None = None
        self.task: asyncio.Task[None] | None = None
        self.heard_ns = time.perf_counter_ns()
        self.adjusted = 0
        """Number of the last change that its process follows."""
        self.gone_ns: int | None = None
        """Time at which its process was first seen to have ended."""
        self.oom_kills = 0
        """The machine's count of out-of-memory kills when its process was started."""
        self.kill_reason = ""
        """Why the supervisor killed it; empty if it did not."""


class Workers:
    """The workers of one run. Create it within the running loop, call `begin`, and at the end `end` and `gone`."""

    def __init__(
        self,
        prepare: Prepare,
        crews: WorkerPlacement,
        command: Sequence[str],
        region: str,
        *,
        on_delta: Callable[[Delta], None],
        on_event: Callable[[Answers], None],
        on_waiting: Callable[[Waiting], None],
        on_steered: Callable[[Steered], None],
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._prepare, self._crews, self._command, self._region = prepare, crews, command, region
        self._on_delta, self._on_event, self._on_waiting, self._spawn = on_delta, on_event, on_waiting, spawn
        self._on_steered = on_steered
        self._crew = WorkerGroup.of(crews.workers)
        self._places = [_SlotProcess() for _ in range(crews.workers)]
        self._add_up = AddUp(crews.workers)
        self._output = Output()
        self._losses: dict[int, Loss] = {}
        """Losses of slots whose process is not replaced yet."""
        self._waiters: set[int] = set()
        """Workers that have reported users at a rendez-vous."""
        self._start: StartAt | None = None
        self._is_over = False
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> tuple[int | None, ...]:
        """Process ids by worker slot; None for a slot without a process."""
        return tuple(place.child.pid if place.child is not None else None for place in self._places)

    @property
    def adjusted(self) -> int:
        """Number of the last change (Adjust or Reassign) that all running workers have applied; 0 for none.

        A worker whose loop is blocked starts all due arrivals before it reads a change. If the supervisor confirmed the
        change for it, a late joiner would start some of these arrivals, too.
        """
        places = zip(self._places, self._crew.hands, strict=True)
        followed = [place.adjusted for place, hand in places if hand.stage is Stage.RUNNING]
        return min([len(self._crew.adjusts), *followed])

    @property
    def changed_ns(self) -> int:
        """Time in ns after T0 at which the newest change that was received takes effect; 0 if there was none."""
        return max((change.at_ns for change in self._crew.adjusts), default=0)

    def begin(self) -> None:
        """Start the first process of each worker slot."""
        for worker in range(self._crews.workers):
            self._begin(worker, 0)

    def tell(self, message: SetUp | StartAt | Adjust | Reassign | ReleaseAt | Steer | Stop | TearDown) -> None:
        """Send a message to all workers, or to the one that it names. Times in it must be of the agent's clock."""
        if isinstance(message, StartAt) and self._start is None:
            self._start = message
            for worker, place in enumerate(self._places):
                self._add_up.begin(worker, self._interval_begin_ns(message.from_ns))
                place.heard_ns = time.perf_counter_ns()
        self._step(SentByAgent(message))

    def silent(self, now_ns: int, for_ns: int) -> list[int]:
        """Return the running workers that sent nothing for more than `for_ns`: the scenario blocks their loop."""
        return [worker for worker, silent_ns in self.silences(now_ns) if silent_ns > for_ns]

    def silences(self, now_ns: int) -> list[tuple[int, int]]:
        """Return (worker, ns since its last message) of each running worker."""
        return [
            (worker, now_ns - place.heard_ns)
            for worker, (place, hand) in enumerate(zip(self._places, self._crew.hands, strict=True))
            if hand.stage is Stage.RUNNING
        ]

    def grant(self, until_ns: int, length_ns: int) -> None:
        """Set the lease of all workers: its end on `perf_counter_ns`, and its length.

        An end of 0 means that there is no load.
        """
        for place in self._places:
            if place.lease is not None:
                place.lease.grant(until_ns, length_ns)

    @property
    def lapsed_ns(self) -> int:
        """End of the lease that any worker found over; 0 if none did.

        All workers have the same controller and lease.
        """
        return max((place.lease.lapsed_ns for place in self._places if place.lease is not None), default=0)

    def excuse(self, pause_ns: int) -> None:
        """Move the workers' last signs of life by `pause_ns`, in which the supervisor itself did not run."""
        for place in self._places:
            place.heard_ns += pause_ns

    def owing(self) -> list[int]:
        """Return the worker slots from which a Fin is still expected."""
        return [worker for worker, hand in enumerate(self._crew.hands) if hand.stage.owes]

    def kill(self, worker: int, why: str) -> None:
        """Kill a worker's process now. Its death is reported as "worker 1 <why>"."""
        place = self._places[worker]
        if place.child is not None and not place.kill_reason:
            place.kill_reason = f"{self.name(worker)} {why}"
            log.warning("killing it: %s", place.kill_reason)
            place.child.kill()

    def bury(self, now_ns: int) -> None:
        """Close the message streams of ended processes whose other end is still held by a process that they forked.

        It also waits for adopted orphans that have ended. Call this at every tick.
        """
        reap()
        for place in self._places:
            if place.child is None or place.child.is_alive:
                place.gone_ns = None
            elif place.gone_ns is None:
                place.gone_ns = now_ns
            elif now_ns - place.gone_ns > BURY_NS:  # by now everything that it wrote is read
                place.child.hang_up()

    def where(self, worker: int) -> str:
        """Return which scenario line blocks the worker's loop, and for how long; empty if none does."""
        lease = self._places[worker].lease
        return lease.said if lease is not None else ""

    def name(self, worker: int) -> str:
        """Return the worker's name for texts: "worker 1", or "the worker" if the agent has only one."""
        return f"worker {worker}" if self._crews.workers > 1 else "the worker"

    def end(self) -> None:
        """End all worker processes and ignore their further messages. Await `gone` to wait until they have ended."""
        self._is_over = True
        for worker, place in enumerate(self._places):
            self._drop(worker)
            if place.marks is not None:
                place.marks.close()
            if place.lease is not None:
                place.lease.close()
                place.lease = None

    async def gone(self) -> None:
        """Wait until all processes have ended, then close their output pipes."""
        await asyncio.gather(*self._endings, return_exceptions=True)
        self._output.close()

    # -- processes ------------------------------------------------------------------------------

    def _begin(self, worker: int, life: int) -> None:
        place = self._places[worker]
        place.kill_reason, place.heard_ns, place.oom_kills = "", time.perf_counter_ns(), oom_kills()
        place.adjusted = 0
        place.task = self._spawn(self._work(worker, life))

    async def _work(self, worker: int, life: int) -> None:
        """Start one process of a worker slot, and handle its messages until it ends.

        `life` is the number of the process within the slot. Its messages are ignored once the slot has another task.
        """
        place, this = self._places[worker], asyncio.current_task()
        if place.task is not this:  # ended before it began
            return
        several, cores = self._crews.workers > 1, self._crews.cores
        core = cores[worker % len(cores)] if cores else None
        try:
            # Progress is kept for the slot's next process, which continues counted loads there. A lapse is not: it
            # ended the load of the process before.
            place.marks, place.lease = place.marks or Progress(), place.lease or Lease()
            place.lease.clear()
            number = worker if several else None
            fds = place.marks.fd, place.lease.fd
            child = await Child.start(self._command, self._region, number, core, fds, self._output)
        except OSError as error:
            if place.task is this:
                self._step(Died(worker, f"{self.name(worker)} cannot be started: {error.strerror}"))
            return
        if place.task is not this:
            await child.end()
            return
        place.child = child
        log.info("%s is process %d", self.name(worker), child.pid)
        child.write(replace(self._prepare, worker=worker, workers=self._crews.workers, life=life))
        reason = ""
        try:
            while place.task is this and (message := await child.read()) is not None:
                if place.task is this:
                    self._on_message(worker, message)
        except WireError as error:
            reason = f"{self.name(worker)} sent an invalid message: {error.message}"
        if place.task is this:
            # Taken now, because `how_it_ended` may wait some seconds for the process.
            died_ns = time.perf_counter_ns()
            reason = reason or f"{self.name(worker)} {await child.how_it_ended()}"
            # The kernel counts these kills for the whole machine, so this names the likely cause and proves nothing.
            if reason.endswith("SIGKILL") and oom_kills() > place.oom_kills:
                reason += ": memory ran out"
            if place.lease is not None and place.lease.said:  # the blocking line that its watchdog stored
                reason = f"{place.kill_reason or reason}: {place.lease.said}"
                place.kill_reason = ""
            if place.task is this:
                self._step(Died(worker, place.kill_reason or reason), died_ns)

    def _drop(self, worker: int) -> None:
        place = self._places[worker]
        place.task = None
        if place.child is not None:
            child, place.child = place.child, None
            ending = asyncio.create_task(child.end())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    # -- what comes in --------------------------------------------------------------------------

    def _on_message(self, worker: int, message: Message) -> None:
        self._places[worker].heard_ns = time.perf_counter_ns()
        match message:
            case Delta():
                self._give(self._add_up.take(worker, message))
            case Waiting():
                self._waiters.add(worker)
                life = self._crew.hands[worker].life
                self._on_waiting(replace(message, worker=worker, life=life))
            case Steered():
                self._on_steered(message)
            case Heartbeat(adjusted=adjusted):
                self._places[worker].adjusted = adjusted
            case Ready() | Refused() | SetUpDone() | Fin() | TornDown():
                self._step(SentByWorker(worker, message))
            case _:
                log.warning("ignored %s from %s: a worker does not send it", type(message).__name__, self.name(worker))

    def _give(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            self._on_delta(delta)

    def _step(self, event: Event, died_ns: int | None = None) -> None:
        self._crew, effects = step(self._crew, event)
        for effect in effects:
            # An effect before this one may have ended the group: an answer can make the agent drop the run.
            if self._is_over:
                return
            self._perform(effect, time.perf_counter_ns() if died_ns is None else died_ns)

    def _perform(self, effect: Effect, at_ns: int) -> None:
        match effect:
            case Begin(worker, life):
                self._begin(worker, life)
            case TellOne(worker, message):
                if (child := self._places[worker].child) is not None:
                    child.write(message)
            case Drop(worker):
                if (child := self._places[worker].child) is not None:
                    child.kill()  # now, because its replacement must not run beside it
                self._drop(worker)
            case Ended(worker, fin):
                self._give(self._add_up.end(worker, fin))
            case Lost(worker, reason, is_replaced):
                self._lose(worker, reason, at_ns, is_replaced)
            case Resume(worker, left_out):
                self._resume(worker, left_out)
            case Answer(message):
                self._on_event(message)
            case Finished():
                self._give(self._add_up.rest())
                self._on_event(self._add_up.fin(self._prepare.run_id))
            case AllLost():
                self._give(self._add_up.rest())
                self._on_event(effect)

    # -- one that died --------------------------------------------------------------------------

    def _lose(self, worker: int, reason: str, at_ns: int, is_replaced: bool) -> None:
        """Report the death of a worker's process to the controller at once.

        The report goes with the deltas that the worker had sent, or else with a delta that covers no time.
        """
        log.warning("%s%s", reason, "; another process takes its place" if is_replaced else "")
        if self._start is None:
            return
        died_ns = max(0, at_ns - self._start.t0_ns)  # 0: it died before T0, when it had done nothing
        told_ns, in_flight = self._add_up.told_ns(worker), self._add_up.in_flight(worker)
        if (known := self._losses.get(worker)) is not None:  # the replacement died before it took over
            self._losses[worker] = replace(known, cause=f"{known.cause}, then {reason}"[:2_000])
        else:
            workers = self._crews.workers
            self._losses[worker] = Loss(worker, workers, died_ns, min(told_ns, died_ns), NOBODY, in_flight, reason)
        self._add_up.lose(self._losses[worker])
        self._give([*self._add_up.end(worker), *self._add_up.tell()])
        if worker in self._waiters:  # its users are gone, so none of them waits any more
            self._waiters.discard(worker)
            life = self._crew.hands[worker].life + (0 if is_replaced else 1)
            self._on_waiting(Waiting(self._prepare.run_id, worker, life))

    def _interval_begin_ns(self, at_ns: int) -> int:
        return at_ns // self._prepare.interval_ns * self._prepare.interval_ns

    def _resume(self, worker: int, left_out: str) -> None:
        """Let a replacement process drive the worker's share from now on, and not from the time of the death.

        An earlier start would cause a burst of due arrivals. `left_out` names the part of the share that it cannot
        continue.
        """
        start, child = self._start, self._places[worker].child
        if start is None or child is None:
            return
        from_ns = max(0, time.perf_counter_ns() - start.t0_ns + RESUME_NS)
        self._add_up.begin(worker, self._interval_begin_ns(from_ns))
        child.write(replace(start, from_ns=from_ns))
        log.info("%s resumes %.1f s after the start of the load", self.name(worker), from_ns / NS_PER_S)
        if (loss := self._losses.pop(worker, None)) is not None:
            self._add_up.lose(replace(loss, resumed_ns=from_ns, left_out=left_out))
