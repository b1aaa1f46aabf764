"""The agent: the shell around `lifecycle.step` that performs its effects.

It holds the line to the controller and one worker process, and hands messages
from one to the other: deltas through the ledger, everything else through the
lifecycle. It runs none of the scenario's code, so it goes on breathing when that
blocks its loop: it is the supervisor that keeps the dead-man switch.

All times are ns of `perf_counter_ns`, which on one machine is one clock for all processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadgen.errors import BundleError, WireError
from loadgen.units import NS_PER_S
from loadgen.wire.keys import AgentKeys
from loadgen.wire.messages import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Ack,
    BundleChunk,
    Bye,
    ClockPing,
    Delta,
    Fin,
    Heartbeat,
    Hello,
    Message,
    Prepare,
    Ready,
    Refused,
    Rejected,
    SetUp,
    SetUpDone,
    StartAt,
    Stop,
    TearDown,
    TornDown,
    Welcome,
)
from loadgen_agent.bundles import Cache, Fetch
from loadgen_agent.child import WORKER, Child
from loadgen_agent.host import cpu_count, host_name
from loadgen_agent.ledger import Ledger
from loadgen_agent.lifecycle import (
    Agent,
    BundleFailed,
    BundleHere,
    CloseBooks,
    ControllerLost,
    Effect,
    EndWorker,
    Event,
    Exit,
    Forget,
    GaveUp,
    HandedOver,
    Phase,
    SendAgain,
    StartWorker,
    Tell,
    TellWorker,
    Terminated,
    WorkerDied,
    step,
)
from loadgen_agent.lifecycle import Fetch as FetchBundle
from loadgen_agent.link import Link

__all__ = ["Supervisor", "Terms"]

log = logging.getLogger(__name__)

TICK_S = 0.05
HEARTBEAT_NS = 1 * NS_PER_S
WORKER_SILENT_NS = 5 * NS_PER_S
"""A running worker's heartbeat comes from its scenario's loop; without one for so long, the loop is blocked."""
GRACE_NS = 5 * NS_PER_S
"""To drain, for a worker that is stopped by us and not by the controller."""
CUT_NS = 3 * NS_PER_S
"""For the Fin of a worker that was told to cut off; less than the controller waits after a stop at once."""
FAREWELL_NS = 2 * NS_PER_S
"""An agent that leaves by itself waits for so long for the Bye after its last word."""
LEAVING_S = 20.0
"""To hand over, for an agent that was told to leave."""
SAY_AGAIN_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Terms:
    """How an agent is to behave; the defaults are those of an agent in a fleet."""

    join_s: float | None = None
    """How long to try to be taken in; None: for ever."""
    hand_over_s: float = 1800.0
    """How long to try to hand over what was measured to a controller that is silent."""
    with_parent: bool = False
    """To leave when the process that started it is gone."""


class Supervisor:
    """One agent. Make it within the running loop, then await `run()`."""

    def __init__(
        self,
        controller: str,
        region: str,
        agent: str,
        keys: AgentKeys,
        terms: Terms = Terms(),  # a frozen value
        worker: Sequence[str] = WORKER,
    ) -> None:
        """
        Raises:
            UsageError: no such address, or no name for an agent.
        """
        self._region, self._id, self._terms, self._worker = region, agent, terms, worker
        self._parent = os.getppid()
        self._agent = Agent()
        self._lease_ns = 8 * NS_PER_S
        self._ledger: Ledger | None = None
        self._fetch: Fetch | None = None
        self._cache = Cache()
        self._child: Child | None = None
        self._kill_reason = ""
        """Why we killed the worker, where we did."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._working: asyncio.Task[None] | None = None
        self._unpacking: asyncio.Task[None] | None = None
        now_ns = time.perf_counter_ns()
        self._began_ns = now_ns
        self._hello_ns: int | None = None
        """When the last Hello was sent that is not answered; None: none is needed."""
        self._handed_ns = self._heartbeat_ns = self._said_ns = now_ns
        self._worker_heard_ns = now_ns
        self._stopping_ns: int | None = None
        """Since when the worker has been told to stop by us, not by the controller."""
        self._cut_ns: int | None = None
        """Since when it has been told to cut off."""
        self._done: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._link = Link(controller, keys, agent, self._on_message, self._say_hello)

    @property
    def phase(self) -> Phase:
        return self._agent.phase

    def terminate(self, reason: str) -> None:
        """Stop the load, hand over, leave. A second time: at once."""
        again = self._agent.is_leaving
        self._event(Terminated(reason, now=again))

    async def run(self) -> Exit:
        """Until the controller lets it go, or there is no sense in staying.

        Raises:
            BugError: an event that its phase has no row for.
        """
        lasting = [asyncio.create_task(self._link.serve()), asyncio.create_task(self._tick_for_ever())]
        try:
            ends: list[asyncio.Future[Any]] = [*lasting, self._done]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in lasting:
                if task.done():
                    task.result()
            return self._done.result()
        finally:
            self._end_worker()
            for task in (*lasting, *self._tasks):
                task.cancel()
            await asyncio.gather(*lasting, *self._tasks, *self._endings, return_exceptions=True)
            self._link.close()
            self._cache.clear()

    # -- what comes in -------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        match message:
            case Ack(run_id, epoch, seq):
                if self._ledger is not None and run_id == self._agent.run_id:
                    self._ledger.ack(epoch, seq, time.perf_counter_ns())
                    self._pump()
            case BundleChunk():
                self._on_chunk(message)
            case Welcome():
                self._hello_ns, self._lease_ns = None, round(message.lease_s * NS_PER_S)
                self._event(message)
            case Rejected() | Prepare() | SetUp() | StartAt() | Stop() | TearDown() | Bye():
                self._event(message)
            case _:
                log.warning("an agent has no use for %s", type(message).__name__)

    def _on_worker(self, message: Message) -> None:
        self._worker_heard_ns = time.perf_counter_ns()
        match message:
            case Delta():
                if self._ledger is not None:
                    self._ledger.keep(message)
                    self._pump()
            case Heartbeat():
                pass
            case Ready():
                self._event(replace(message, clock_error_ns=self._link.clock.error_ns))
            case Refused() | SetUpDone() | Fin() | TornDown():
                self._event(message)
            case _:
                log.warning("a supervisor has no use for %s", type(message).__name__)

    def _event(self, event: Event) -> None:
        before = self._agent
        self._agent, effects = step(before, event)
        if self._agent.phase is not before.phase:
            log.info("%s -> %s: %s", before.phase.value, self._agent.phase.value, type(event).__name__)
            self._heartbeat_ns -= HEARTBEAT_NS  # the controller hears of it at the next tick
        for effect in effects:
            self._perform(effect)

    # -- effects -------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendAgain():
                self._link.measure_clock()
                if self._ledger is not None:
                    self._ledger.send_again()
                    self._pump()
            case FetchBundle(prepare):
                self._begin_fetch(prepare)
            case StartWorker(prepare):
                self._ledger = Ledger(prepare.run_id, self._id, self._agent.epoch)
                self._working = self._task(self._work(prepare))
            case Tell(message):
                self._link.send(message)
            case TellWorker(message):
                self._tell_worker(message)
            case EndWorker():
                self._end_worker()
            case CloseBooks(fin, reason):
                self._stopping_ns = self._cut_ns = None
                if self._ledger is not None:
                    self._ledger.close(fin, reason)
                    self._pump()
            case Forget():
                self._ledger = self._fetch = self._stopping_ns = self._cut_ns = None
                if self._unpacking is not None:
                    self._unpacking.cancel()
            case Exit():
                if not self._done.done():
                    self._done.set_result(effect)

    def _tell_worker(self, message: Message) -> None:
        now_ns = time.perf_counter_ns()
        match message:
            case StartAt(t0_ns=t0_ns):
                self._worker_heard_ns = now_ns
                message = replace(message, t0_ns=self._link.clock.to_own_ns(t0_ns))
            case Stop(now=True) if self._cut_ns is None:
                self._cut_ns = now_ns
            case Stop() if self._agent.reason and self._stopping_ns is None:
                self._stopping_ns = now_ns
        if self._child is not None:
            self._child.write(message)

    def _begin_fetch(self, prepare: Prepare) -> None:
        if (folder := self._cache.get(prepare.bundle_sha256)) is not None:
            self._event(BundleHere(str(folder)))
            return
        try:
            self._fetch = Fetch(prepare.bundle_sha256, prepare.bundle_bytes)
        except BundleError as error:
            self._event(BundleFailed(error.message))
            return
        self._ask_for_chunks()

    def _ask_for_chunks(self) -> None:
        if self._fetch is not None:
            for request in self._fetch.requests(time.perf_counter_ns()):
                self._link.send(request)

    def _on_chunk(self, chunk: BundleChunk) -> None:
        fetch = self._fetch
        if fetch is None:
            return
        try:
            fetch.take(chunk)
        except BundleError as error:
            self._fetch = None
            self._event(BundleFailed(error.message))
            return
        if (data := fetch.data) is None:
            self._ask_for_chunks()
        else:
            self._fetch = None
            self._unpacking = self._task(self._unpack(fetch.sha256, data))

    async def _unpack(self, sha256: str, data: bytes) -> None:
        try:
            folder = await asyncio.to_thread(self._cache.put, sha256, data)
        except BundleError as error:
            self._event(BundleFailed(error.message))
        else:
            self._event(BundleHere(str(folder)))

    # -- the worker ----------------------------------------------------------------------------

    async def _work(self, prepare: Prepare) -> None:
        """One worker, from its start to its end. Once `_working` is another task, nobody listens to this one's."""
        this = asyncio.current_task()
        try:
            child = await Child.start(self._worker, self._region)
        except OSError as error:
            if self._working is this:
                self._event(WorkerDied(f"the worker cannot be started: {error.strerror}"))
            return
        if self._working is not this:
            await child.end()
            return
        self._child, self._kill_reason = child, ""
        log.info("worker is process %d", child.pid)
        child.write(prepare)
        try:
            while self._working is this and (message := await child.read()) is not None:
                if self._working is this:
                    self._on_worker(message)
            reason = await child.how_it_ended() if self._working is this else ""
        except WireError as error:
            reason = f"the worker said what cannot be read or sent: {error.message}"
        if self._working is this:
            self._event(WorkerDied(self._kill_reason or reason))

    def _end_worker(self) -> None:
        self._working = None
        if self._child is not None:
            child, self._child = self._child, None
            ending = asyncio.create_task(child.end())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    def _kill_worker(self, reason: str) -> None:
        if self._child is not None and not self._kill_reason:
            log.warning("killing the worker: %s", reason)
            self._kill_reason = reason
            self._child.kill()

    # -- what time brings ----------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            self._tick(time.perf_counter_ns())
            await asyncio.sleep(TICK_S)

    def _tick(self, now_ns: int) -> None:
        if self._hello_ns is not None and now_ns - self._hello_ns > NS_PER_S:
            self._say_hello()
        if self._agent.phase is not Phase.JOINING and now_ns - self._heartbeat_ns >= HEARTBEAT_NS:
            self._beat(now_ns)
        self._link.ping()
        self._ask_for_chunks()
        self._pump()
        if self._is_orphan and not self._agent.is_leaving:
            self.terminate("the process that started this agent is gone")
        if self._agent.phase.has_load:
            self._watch_load(now_ns)
        elif self._agent.phase in (Phase.JOINING, Phase.FINISHED):
            self._watch_waiting(now_ns)

    @property
    def _is_orphan(self) -> bool:
        return self._terms.with_parent and os.getppid() != self._parent

    def _say_hello(self) -> None:
        """Until it is answered: with each connection, then once a second."""
        self._hello_ns = time.perf_counter_ns()
        hello = Hello(
            agent=self._id,
            region=self._region,
            major=PROTOCOL_MAJOR,
            minor=PROTOCOL_MINOR,
            pid=os.getpid(),
            host=host_name(),
            cpus=cpu_count(),
            epoch=self._agent.epoch,
        )
        self._link.send(hello)

    def _beat(self, now_ns: int) -> None:
        self._heartbeat_ns = now_ns
        sent, acked = (self._ledger.sent, self._ledger.acked) if self._ledger is not None else (-1, -1)
        self._link.send(Heartbeat(self._agent.run_id, self._agent.phase.value, sent, acked, self._note(now_ns)))
        # A sign of life to be had while no delta is acknowledged, e.g. since the scenario blocks its loop.
        if self._agent.phase.has_load and now_ns - self._link.heard_ns > 2 * HEARTBEAT_NS:
            self._link.send(ClockPing(now_ns))

    def _note(self, now_ns: int) -> str:
        if not self._agent.phase.has_load or now_ns - self._worker_heard_ns < WORKER_SILENT_NS:
            return ""
        return (
            f"the worker has been silent for more than {WORKER_SILENT_NS // NS_PER_S} s: the scenario blocks its loop"
        )

    def _pump(self) -> None:
        """Send what is due, as far as the line takes it."""
        ledger = self._ledger
        if ledger is None or self._hello_ns is not None:
            return
        now_ns = time.perf_counter_ns()
        while (data := ledger.next_due(now_ns)) is not None and self._link.send_encoded(data):
            ledger.was_sent(now_ns)

    def _watch_load(self, now_ns: int) -> None:
        """The dead-man switch, and workers that do not stop."""
        silent_ns = now_ns - self._link.heard_ns
        is_told = self._stopping_ns is not None or self._cut_ns is not None
        if silent_ns > self._lease_ns and not is_told:
            self._event(ControllerLost(silent_ns / NS_PER_S))
        if self._stopping_ns is not None and self._cut_ns is None and now_ns - self._stopping_ns > GRACE_NS:
            self._tell_worker(Stop(self._agent.run_id, self._agent.reason, now=True))
        if self._cut_ns is not None and now_ns - self._cut_ns > CUT_NS:
            self._kill_worker("the worker did not stop when it was told to; its loop is blocked")
        if self._agent.phase is Phase.STOPPING and now_ns - self._worker_heard_ns > self._lease_ns:
            self._kill_worker("the worker was silent while it was to stop; its loop is blocked")

    def _watch_waiting(self, now_ns: int) -> None:
        """For a controller that takes us in, or takes what was measured."""
        if self._agent.phase is Phase.JOINING:
            why = self._link.trouble or "the controller does not answer"
            if now_ns - self._said_ns > SAY_AGAIN_NS:
                self._said_ns = now_ns
                log.warning("still waiting: %s", why)
            if self._terms.join_s is not None and now_ns - self._began_ns > self._terms.join_s * NS_PER_S:
                self._event(GaveUp(f"not taken in within {self._terms.join_s:.0f} s: {why}"))
            return
        is_leaving, ledger = self._agent.is_leaving, self._ledger
        if ledger is not None and not ledger.is_handed_over:
            self._handed_ns = now_ns
        if is_leaving and now_ns - self._handed_ns > FAREWELL_NS:
            self._event(HandedOver())
        limit_s = min(self._terms.hand_over_s, LEAVING_S) if is_leaving else self._terms.hand_over_s
        if self._is_orphan:
            limit_s = 0.0  # its controller was the process that is gone, keys and port with it
        silent_ns = now_ns - self._link.heard_ns
        if self._agent.phase is Phase.FINISHED and silent_ns > limit_s * NS_PER_S:
            lost = f"{ledger.last_seq - ledger.acked} deltas" if ledger is not None else "nothing"
            self._event(GaveUp(f"the controller was silent for {silent_ns / NS_PER_S:.0f} s: {lost} not handed over"))

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """One whose failure is the agent's."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._done.done():
            self._done.set_exception(error)
