"""The agent's main process: performs the effects of its state machine (`lifecycle.step`).

It connects the controller (`link.py`) with the workers (`workers.py`). Deltas go through the delivery, counts of users
at a rendez-vous are forwarded unchanged, and all other messages go through the state machine. The supervisor runs no
scenario code, so a scenario that blocks its loop does not block the supervisor. It keeps the dead-man switch.

All times are ns of `perf_counter_ns`, which on one machine is one clock for all processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadgen.allowlist import as_address
from loadgen.engine.health.interpreter import this_build
from loadgen.engine.health.process_health import addresses_of
from loadgen.errors import BundleError, UsageError
from loadgen.signed.signatures import Verifier
from loadgen.units import NS_PER_S
from loadgen.wire.codec import plain_delta, with_beat
from loadgen.wire.curve_keys import AgentKeys
from loadgen.wire.messages import (
    BEATS_MINOR,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    ROWS_MINOR,
    Ack,
    Adjust,
    BundleChunk,
    Bye,
    Delta,
    Heartbeat,
    Hello,
    Message,
    Nack,
    Prepare,
    Ready,
    Reassign,
    Rejected,
    ReleaseAt,
    SetUp,
    StartAt,
    Steer,
    Steered,
    Stop,
    TearDown,
    Waiting,
    Welcome,
)
from loadgen.wire.sockets import parse_address
from loadgen_agent.delivery.delivery import Delivery
from loadgen_agent.operating_system import cpu_count, host_name
from loadgen_agent.supervisor.bundles import Cache, Fetch
from loadgen_agent.supervisor.controller_bounds import Gate
from loadgen_agent.supervisor.heartbeat_times import HeartbeatTimes
from loadgen_agent.supervisor.lifecycle import (
    Agent,
    Beat,
    BundleFailed,
    BundleHere,
    CloseBooks,
    Effect,
    EndWorkers,
    Event,
    Exit,
    Forget,
    KillWorkers,
    Phase,
    RenewLease,
    SendAgain,
    StartWorkers,
    Tell,
    TellWorkers,
    Terminated,
    Tick,
    TickState,
    WorkersLost,
    step,
)
from loadgen_agent.supervisor.lifecycle import Fetch as FetchBundle
from loadgen_agent.supervisor.link import Link
from loadgen_agent.supervisor.order_authorization import Trust
from loadgen_agent.supervisor.phase_log import phase_text
from loadgen_agent.supervisor.worker_group_state import AllLost
from loadgen_agent.supervisor.worker_process import WORKER
from loadgen_agent.supervisor.workers import Answers, WorkerPlacement, Workers

__all__ = ["Supervisor", "Terms"]

log = logging.getLogger(__name__)

TICK_S = 0.05
WORKER_SILENT_NS = 5 * NS_PER_S
"""Silence after which a running worker counts as blocked, because its heartbeat comes from the scenario's loop."""
OWN_PAUSE_NS = 1 * NS_PER_S
"""Two ticks further apart than this show that the supervisor itself was frozen, and worker messages are unread."""
SAY_AGAIN_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Terms:
    """Options of an agent; the defaults are those of an agent in a fleet."""

    join_s: float | None = None
    """Time limit for joining the controller; None: no limit."""
    hand_over_s: float = 1800.0
    """Longest silence of the controller while measurements are undelivered; then the agent exits."""
    with_parent: bool = False
    """Whether to leave when the parent process has ended."""
    verifier: Verifier | None = None
    """Checks the signatures of runs; None accepts any run of the controller."""
    spool: Path | None = None
    """Folder for undelivered measurements on disk; None keeps them in memory only."""
    allow: Path | None = None
    """The file of the agent's own allow-list, which its workers read at each run; None: it has none."""


class Supervisor:
    """One agent process. Create it within the running loop, then await `run()`."""

    def __init__(
        self,
        controller: str,
        region: str,
        agent: str,
        keys: AgentKeys,
        terms: Terms = Terms(),  # a frozen value
        worker: Sequence[str] = WORKER,
        placement: WorkerPlacement = WorkerPlacement(),  # noqa: B008  # a frozen value
        instance_type: str = "",
    ) -> None:
        """Prepare an agent. `run` starts it.

        Args:
            controller: address of the controller, HOST:PORT.
            region: region label of the agent.
            agent: name of the agent.
            worker: command that starts a worker process.
            instance_type: EC2 instance type; empty outside of EC2.
        Raises:
            UsageError: the address or the agent's name is invalid.
        """
        self._region, self._id, self._terms = region, agent, terms
        self._instance_type = instance_type
        host, port = parse_address(controller)
        addresses = addresses_of(host.strip("[]"))
        self._controller = tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in addresses)
        """Addresses of the controller, which are never targets."""
        self._is_near = bool(addresses) and all(as_address(one).is_loopback for one in addresses)
        """Whether the controller is on this machine."""
        self._placement = placement
        self._command = worker if terms.allow is None else (*worker, "--allow", str(terms.allow.resolve()))
        self._parent = os.getppid()
        now_ns = time.perf_counter_ns()
        self._agent = Agent(
            now_ns=now_ns,
            began_ns=now_ns,
            handed_ns=now_ns,
            join_s=terms.join_s,
            hand_over_s=terms.hand_over_s,
        )
        self._delivery = Delivery(agent, terms.spool)
        self._fetch: Fetch | None = None
        self._cache = Cache()
        self._workers: Workers | None = None
        self._waiting: dict[int, Waiting] = {}
        """The newest counts of users at rendez-vous, by worker."""
        self._untold: set[int] = set()
        """Workers whose newest counts may not have reached the controller."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._unpacking: asyncio.Task[None] | None = None
        self._hello_ns: int | None = None
        """Time of the last unanswered Hello; None once the controller has answered."""
        self._said_ns = now_ns
        self._beats = HeartbeatTimes(now_ns)
        self._may_send_rows = True
        """Whether the controller reads deltas as rows."""
        self._done: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._link = Link(controller, keys, agent, self._on_message, self._say_hello)
        self._trust = Trust(terms.verifier)
        self._gate = Gate(lambda controller_ns: self._link.clock.to_own_ns(controller_ns))

    @property
    def phase(self) -> Phase:
        """Present phase of the agent, such as ready or running."""
        return self._agent.phase

    def terminate(self, reason: str) -> None:
        """Leave the fleet as planned: stop the load, deliver the measurements, then exit.

        A second call interrupts the load, and a third one exits without delivery.
        """
        again = self._agent.is_leaving
        self._event(Terminated(reason, again, self._changed_ns))

    def cut_off(self, reason: str) -> None:
        """Interrupt the load at once, deliver the measurements, then exit."""
        self._event(Terminated(reason, self._agent.phase.has_load, self._changed_ns))

    async def run(self) -> Exit:
        """Run the agent until the controller releases it or it gives up; return its exit code and reason.

        Raises:
            BugError: an event was illegal in its phase.
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
            self._end_workers()
            for task in (*lasting, *self._tasks):
                task.cancel()
            await asyncio.gather(*lasting, *self._tasks, *self._endings, return_exceptions=True)
            self._link.close()
            # Only now, because the workers run files of the unpacked bundles until they have ended.
            self._cache.clear()
            self._delivery.close()

    # -- messages of the controller ------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        if (admitted := self._gate.admit(message)) is None:
            return
        message = admitted
        match message:
            case Ack():
                self._delivery.ack(message)
                self._pump()
            case BundleChunk():
                self._on_chunk(message)
            case Welcome():
                self._hello_ns = None
                self._beats.may_ride = message.minor >= BEATS_MINOR
                self._may_send_rows = message.minor >= ROWS_MINOR
                self._event(message)
            case StartAt(t0_ns=t0_ns):
                self._event(replace(message, t0_ns=self._link.clock.to_own_ns(t0_ns)))
            case ReleaseAt(at_ns=at_ns):
                self._event(replace(message, at_ns=self._link.clock.to_own_ns(at_ns)))
            case Rejected() | Prepare() | SetUp() | Stop() | TearDown() | Bye():
                self._event(message)
            case Adjust() | Reassign() | Steer():
                self._event(message)
                if isinstance(message, Reassign):
                    self._beats.soon()  # a late joiner waits until all agents confirm
            case Nack(reason):
                log.warning("the controller rejected a message of this agent: %s", reason)
            case _:
                log.warning("ignored %s: a controller does not send it to agents", type(message).__name__)

    def _event(self, event: Event) -> None:
        before = self._agent
        if not isinstance(event, Tick):  # so that deadlines count from the event, not from the last tick
            before, _ = step(before, Tick(time.perf_counter_ns()))
        # The state is stored before the effects are performed: an effect may raise the next event at once, e.g. a
        # bundle that is already in the cache.
        self._agent, effects = step(before, event)
        if self._agent.phase is not before.phase:
            log.info("%s", phase_text(before, self._agent))
            self._beats.soon()  # so that the next tick sends the new phase to the controller
        for effect in effects:
            self._perform(effect)

    # -- effects -------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendAgain():
                self._link.measure_clock()
                self._untold |= self._waiting.keys()
                self._tell_waiting()
                self._delivery.send_again()
                self._pump()
            case FetchBundle(prepare):
                self._begin_fetch(prepare)
            case StartWorkers(prepare):
                self._begin_work(prepare)
            case Tell(message):
                self._link.send(message)
            case TellWorkers(message):
                if self._workers is not None:
                    self._workers.tell(message)
            case Beat():
                self._beat(self._agent.now_ns)
            case RenewLease(until_ns, length_ns):
                if self._workers is not None:
                    self._workers.grant(until_ns, length_ns)
            case KillWorkers(workers, why):
                self._kill(workers, why)
            case EndWorkers():
                self._end_workers()
            case CloseBooks(fin, reason):
                if self._workers is not None:
                    self._workers.grant(0, 0)
                self._delivery.end(fin, reason)
                self._pump()
            case Forget():
                self._fetch = None
                self._delivery.forget()
                self._waiting.clear()
                self._untold.clear()
                # Its BundleHere would be illegal in the phase that follows.
                if self._unpacking is not None:
                    self._unpacking.cancel()
            case Exit():
                if not self._done.done():
                    self._done.set_result(effect)

    def _begin_fetch(self, prepare: Prepare) -> None:
        try:
            self._check_trust(prepare)
        except (BundleError, UsageError) as error:
            self._event(BundleFailed(error.with_hint))
            return
        if (folder := self._cache.get(prepare.bundle_sha256)) is not None:
            self._event(BundleHere(str(folder)))
            return
        try:
            self._fetch = Fetch(prepare.bundle_sha256, prepare.bundle_bytes)
        except BundleError as error:
            self._event(BundleFailed(error.with_hint))
            return
        self._ask_for_chunks()

    def _check_trust(self, prepare: Prepare) -> None:
        """Check that this agent may accept the controller's order for a run. It returns nothing if it may.

        Raises:
            BundleError: the order is out of bounds, or has no valid signature although this agent requires one.
            UsageError: a controller on another host sent no allow-list.
        """
        if not prepare.allow_json and not self._is_near:
            raise UsageError(
                "the controller is on another host and sent no allow-list: this agent needs one. Pass --allow FILE"
            )
        self._trust.check(prepare)

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
            self._event(BundleFailed(error.with_hint))
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
            self._event(BundleFailed(error.with_hint))
        else:
            self._event(BundleHere(str(folder)))

    # -- the workers ---------------------------------------------------------------------------

    def _begin_work(self, prepare: Prepare) -> None:
        prepare = replace(prepare, control_plane=(*prepare.control_plane, *self._controller))
        prepare = replace(prepare, statement=self._trust.verified(prepare))
        self._delivery.begin(prepare.run_id, self._agent.epoch)
        self._workers = Workers(
            prepare,
            self._placement,
            self._command,
            self._region,
            on_delta=self._on_delta,
            on_event=self._on_crew,
            on_waiting=self._on_waiting,
            on_steered=self._on_steered,
            spawn=self._task,
        )
        self._workers.begin()

    def _on_delta(self, delta: Delta) -> None:
        self._delivery.keep(delta)
        self._pump()

    def _on_steered(self, message: Steered) -> None:
        """Send a worker's rate decision to the controller, once.

        If it is lost, the controller asks again in the next interval.
        """
        self._link.send(message)

    def _on_waiting(self, message: Waiting) -> None:
        self._waiting[message.worker] = message
        self._untold.add(message.worker)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Send the controller the counts of users waiting at rendez-vous, if a worker has newer ones.

        Newer counts include all earlier ones.
        """
        if self._hello_ns is None:
            self._untold = {worker for worker in self._untold if not self._link.send(self._waiting[worker])}

    def _on_crew(self, message: Answers) -> None:
        match message:
            case Ready():
                self._event(replace(message, clock_error_ns=self._link.clock.error_ns, left_out=""))
            case AllLost(reason):
                self._event(WorkersLost(reason))
            case _:
                self._event(message)

    def _end_workers(self) -> None:
        if self._workers is not None:
            workers, self._workers = self._workers, None
            workers.end()
            ending = asyncio.create_task(workers.gone())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    # -- ticks -----------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        before_ns = time.perf_counter_ns()
        while True:
            now_ns = time.perf_counter_ns()
            if now_ns - before_ns > OWN_PAUSE_NS and self._workers is not None:
                self._workers.excuse(now_ns - before_ns)
            before_ns = now_ns
            self._tick(now_ns)
            await asyncio.sleep(TICK_S)

    def _tick(self, now_ns: int) -> None:
        if self._hello_ns is not None and now_ns - self._hello_ns > NS_PER_S:
            self._say_hello()
        if self._agent.phase is not Phase.JOINING and self._beats.is_due(now_ns):
            self._beat(now_ns)
        if self._agent.phase is not Phase.JOINING:  # a controller does not answer agents that have not joined
            self._link.ping()
        self._ask_for_chunks()
        self._pump()
        self._tell_waiting()
        if self._workers is not None:
            self._workers.bury(now_ns)
        if self._agent.phase is Phase.JOINING and now_ns - self._said_ns > SAY_AGAIN_NS:
            self._said_ns = now_ns
            log.warning("still waiting: %s", self._link.trouble or "the controller does not answer")
        self._event(Tick(now_ns, self._sight(now_ns)))

    def _sight(self, now_ns: int) -> TickState:
        workers = self._workers
        return TickState(
            acked_ns=self._link.acked_ns,
            heard_ns=self._link.heard_ns,
            trouble=self._link.trouble,
            is_orphan=self._is_orphan,
            is_lapsed=workers is not None and workers.lapsed_ns != 0,
            changed_ns=self._changed_ns,
            owing=() if workers is None else tuple(workers.owing()),
            silent=() if workers is None else tuple(workers.silences(now_ns)),
            unacked=self._delivery.unacked,
            is_delivered=self._delivery.owes_nothing,
        )

    @property
    def _changed_ns(self) -> int:
        return self._workers.changed_ns if self._workers is not None else 0

    @property
    def _is_orphan(self) -> bool:
        return self._terms.with_parent and os.getppid() != self._parent

    def _say_hello(self) -> None:
        """Send Hello to the controller, by which the agent asks to join.

        It is called for each new connection, then once a second until the controller answers.
        """
        self._hello_ns = time.perf_counter_ns()
        hello = Hello(
            agent=self._id,
            region=self._region,
            major=PROTOCOL_MAJOR,
            minor=PROTOCOL_MINOR,
            pid=os.getpid(),
            host=host_name(),
            cpus=cpu_count(),
            weight=float(self._placement.workers),
            epoch=self._agent.epoch,
            instance_type=self._instance_type,
            python=str(this_build()),
        )
        self._link.send(hello)

    def _beat(self, now_ns: int) -> None:
        self._beats.sent(now_ns)
        self._link.send(self._heartbeat(now_ns))

    def _heartbeat(self, now_ns: int) -> Heartbeat:
        return Heartbeat(
            self._agent.run_id,
            self._agent.phase.value,
            self._delivery.sent,
            self._delivery.acked,
            self._note(now_ns),
            self._workers.adjusted if self._workers is not None else 0,
            sent_ns=now_ns,
            leaves_ns=self._agent.leaves_ns,
        )

    def _send_kept(self, data: bytes) -> bool:
        """Send an encoded delta or Fin; return False if the connection does not accept it now.

        If the next heartbeat is near, it travels within the message.
        """
        now_ns = time.perf_counter_ns()
        if not self._may_send_rows:
            data = plain_delta(data)
        if rides := self._beats.rides(now_ns):
            data = with_beat(data, self._heartbeat(now_ns))
        if not self._link.send_encoded(data):
            return False
        self._beats.delta_sent(now_ns, with_beat=rides, every_ns=self._delivery.asked_ns)
        return True

    def _note(self, now_ns: int) -> str:
        workers = self._workers
        if workers is None or not self._agent.phase.has_load:
            return ""
        silent = workers.silent(now_ns, WORKER_SILENT_NS)
        names = [workers.name(worker) for worker in silent]
        if not names:
            return ""
        if (where := next(filter(None, map(workers.where, silent)), "")) != "":
            return f"{', '.join(names)}: {where}"
        have = f"{', '.join(names)} {'has' if len(names) == 1 else 'have'}"
        return f"{have} been silent for more than {WORKER_SILENT_NS // NS_PER_S} s: the scenario blocks its loop"

    def _pump(self) -> None:
        """Send the controller all deltas and the Fin that may be sent now, as many as the connection accepts."""
        # Until it has sent Welcome, the controller does not know this connection and drops what arrives on it.
        if self._hello_ns is None:
            self._delivery.pump(self._send_kept)

    def _kill(self, late: Sequence[int], why: str) -> None:
        if self._workers is not None:
            for worker in late:
                self._workers.kill(worker, why)

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Start `work` as a task, and return it. If it fails, the agent ends with its error."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._done.done():
            self._done.set_exception(error)
