"""The worker: a program that drives one share of a plan and streams deltas to its supervisor.

The worker has no keys and no connection to the controller. It receives messages over an inherited socketpair. When its
supervisor ends, the socketpair is closed and the worker ends at once; on Linux the kernel also kills it.

    python -m loadgen_agent.worker.worker --fd 5 --region eu-west-1
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import NoReturn

import uvloop

from loadgen.bundle import place_in
from loadgen.clients.libraries.fence import LibraryFence
from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.plans.spec import Overrides
from loadgen.dsl.secret import secret_values
from loadgen.dsl.users.exception_to_outcome import fault_text
from loadgen.engine.health.selfcheck import scenario_line
from loadgen.errors import LoadgenError, ScenarioError
from loadgen.huge_pages import collapse_heap_before
from loadgen.logs import log_to_stderr
from loadgen.measure.deltas.limits import SHARED_BYTES
from loadgen.measure.deltas.load_counts import Ending
from loadgen.redact import Redactor
from loadgen.units import NS_PER_S
from loadgen.wire.messages import (
    Adjust,
    Bye,
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
    Stop,
    TearDown,
    TornDown,
    Waiting,
    WaitingAt,
)
from loadgen.wire.worker_pipe import FrameStream
from loadgen_agent.masked_output import mask_output
from loadgen_agent.operating_system import die_with_parent, leave_no_core, widen_file_table
from loadgen_agent.shared_progress import progress_at
from loadgen_agent.worker.allowlist_check import fenced, wrong_change
from loadgen_agent.worker.steering_executor_runner import WorkerSteering
from loadgen_agent.worker.watchdog import Watchdog
from loadgen_agent.worker_lease import Leased, leased_at

__all__ = ["Worker", "main"]

log = logging.getLogger(__name__)

_HEARTBEAT_S = 1.0
_REDACTOR = Redactor(lambda: secret_values().values())
"""Removes the scenario's secrets from every text that leaves this process."""


class Worker:
    """One worker process. It handles the supervisor's messages one by one, while the load runs in its own task.

    Args:
        marks: progress memory of the slot; None when the worker has none.
        leased: lease memory of the slot; None disables the dead-man switch.
    """

    def __init__(
        self,
        stream: FrameStream,
        region: str,
        marks: memoryview[int] | None = None,
        leased: Leased | None = None,
        own_list: Path | None = None,
    ) -> None:
        self._stream, self._marks, self._leased = stream, marks, leased
        self._own_list = own_list
        """The file of the agent's own allow-list."""
        self._reason = ""
        """Why the worker itself ended its load early: the lease or the longest duration was over."""
        self._region = region
        self._prepare: Prepare | None = None
        self._drive: Drive | None = None
        self._steering: WorkerSteering | None = None
        self._running: asyncio.Task[None] | None = None
        self._phase = "idle"
        self._adjusted = 0
        """Number of the last Adjust or Reassign that the drive follows."""
        self._most_ns: int | None = None
        """Longest duration that the allow-list admits, from T0; after it no iteration is started."""
        self._wrong_change: Callable[[Adjust], str] = lambda _: ""
        self._fence: LibraryFence | None = None
        """Checks the connections of client libraries; None: the run has no allow-list."""

    async def serve(self) -> None:
        """Handle messages from the supervisor until it sends Bye or its end of the stream is closed."""
        beating = asyncio.create_task(self._beat())
        try:
            while (message := await self._stream.read()) is not None:
                if isinstance(message, Bye):
                    return
                await self._answer(message)
        finally:
            beating.cancel()
            if self._running is not None:
                self._running.cancel()
            if self._fence is not None:
                self._fence.take_down()
            self._stream.close()

    async def _answer(self, message: Message) -> None:
        match message:
            case Prepare():
                self._stream.write(self._on_prepare(message))
            case SetUp():
                self._stream.write(await self._set_up(message))
            case StartAt():
                self._running = asyncio.create_task(self._run(message))
            case Adjust() if self._drive is not None and (why := self._wrong_change(message)):
                log.warning("ignored a change of the load, because %s", why)
                # Confirmed although it is ignored: late joiners wait until every agent has confirmed all changes.
                self._follows(message.number)
            case Adjust() if self._drive is not None:
                self._drive.adjust(message.load, message.at_ns, message.stages)
                self._follows(message.number)
            case Reassign() if self._drive is not None:
                self._drive.reassign(message.generation, message.at_ns, message.weights)
                self._follows(message.number)
            case Stop(at_ns=at_ns, now=False) if self._drive is not None and at_ns:
                self._drive.leave(at_ns)
            case Stop() if self._drive is not None:
                self._drive.stop(now=message.now)
            case ReleaseAt() if self._drive is not None:
                self._drive.release(message.load, message.point, message.upto, message.at_ns)
            case Steer() if self._steering is not None:
                self._steering.ask(message)
            case TearDown():
                self._stream.write(await self._tear_down(message))
            case _:
                log.warning("ignored %s: a supervisor does not send it now", type(message).__name__)

    def _on_prepare(self, prepare: Prepare) -> Message:
        """Load an order's plan and compute this worker's share; return Ready, or Refused with every error."""
        self._prepare = prepare
        try:
            overrides = Overrides.from_json(prepare.overrides_json)
            path = place_in(Path(prepare.bundle_dir), prepare.scenario)
            scenario = load(path, prepare.plan or None, overrides, check_secrets=True)
            scenario.plan.check_digests(prepare.digests)
            guarded = fenced(prepare, scenario.plan, self._own_list)
            self._most_ns = guarded.limits.max_duration_ns
            self._wrong_change = partial(wrong_change, scenario.plan.lanes, guarded.limits)
            self._drive = Drive(
                scenario,
                index=prepare.index,
                weights=prepare.weights,
                worker=prepare.worker,
                workers=max(1, prepare.workers),
                seed=prepare.seed,
                interval_ns=prepare.interval_ns,
                emit=self._stream.write,
                region=self._region,
                marks=self._marks,
                tell=self._tell_waiting,
                is_over=self._leased.is_over if self._leased is not None else None,
                allow=guarded.allow,
                also=guarded.also,
                own=guarded.own,
                cap_per_s=guarded.limits.max_requests_per_s,
                run=prepare.run_id,
            )
            self._raise_fence(self._drive, scenario.plan)
            self._steering = WorkerSteering(scenario.plan, self._stream.write, _REDACTOR.known)
            collapse_heap_before(scenario.plan.duration_ns)
        except ScenarioError as error:
            faults = tuple(replace(fault, message=_REDACTOR.known(fault.message)) for fault in error.faults)
            return Refused(prepare.run_id, "the scenario has faults on this agent", faults)
        except (LoadgenError, OSError, ValueError) as error:
            text = error.with_hint if isinstance(error, LoadgenError) else str(error)
            return Refused(prepare.run_id, _REDACTOR.known(f"{type(error).__name__}: {text}"))
        self._phase = "ready"
        left_out = self._drive.left_out if prepare.life else ""
        return Ready(
            prepare.run_id,
            prepare.generation,
            prepare.bundle_sha256,
            left_out=left_out,
            busy_wait_ns=self._drive.busy_wait_ns,
        )

    def _raise_fence(self, drive: Drive, plan: Plan) -> None:
        """Check the connections of client libraries from now on, if the run has an allow-list."""
        if self._fence is not None:
            self._fence.take_down()
            self._fence = None
        if drive.guards[0].lists:
            self._fence = LibraryFence(drive.guards, drive.note, plan.unchecked_libraries)
            self._fence.raise_around(asyncio.get_running_loop())
            if unchecked := ", ".join(sorted({*plan.libraries_in_c} & {*plan.unchecked_libraries})):
                drive.note(
                    f"the allow-list did not check connections of {unchecked}: see unchecked_libraries= of the plan"
                )

    async def _set_up(self, message: SetUp) -> Message:
        if self._drive is None:
            return SetUpDone(message.run_id, b"null", "set-up before the plan was prepared")
        try:
            value = json.dumps(await self._drive.set_up()).encode()
        except Exception as error:  # noqa: BLE001  # scenario code: sent to the controller, which aborts the run
            return SetUpDone(message.run_id, b"null", _REDACTOR.known(fault_text(error)))
        if len(value) > SHARED_BYTES:
            return SetUpDone(
                message.run_id,
                b"null",
                f"it returned {len(value):,} bytes of JSON: the limit is {SHARED_BYTES:,}. Return less",
            )
        return SetUpDone(message.run_id, value)

    async def _tear_down(self, message: TearDown) -> Message:
        try:
            if self._drive is not None:
                self._drive.shared = json.loads(message.shared_json)
                await self._drive.tear_down()
        except Exception as error:  # noqa: BLE001  # scenario code: sent to the controller
            return TornDown(message.run_id, _REDACTOR.known(fault_text(error)))
        return TornDown(message.run_id)

    async def _run(self, start: StartAt) -> None:
        if self._drive is None:
            return
        try:
            self._drive.shared = json.loads(start.shared_json)
        except (ValueError, RecursionError) as error:
            self._stream.write(Refused(start.run_id, f"the value of the plan's set-up cannot be read: {error}"))
            return
        self._phase = "running"
        watchdog = self._watchdog()
        if watchdog is not None:
            watchdog.start()
        ending = None
        if self._most_ns is not None:
            loop = asyncio.get_running_loop()
            left_s = (start.t0_ns + self._most_ns - perf_counter_ns()) / NS_PER_S
            at_limit = partial(self._drive.stop, ending=Ending.TIME_LIMIT)
            ending = loop.call_later(max(0.0, left_s), at_limit)
        try:
            totals = await self._drive.run(start.t0_ns, start.from_ns, start.since_ns)
        except Exception as error:  # a bug of ours: report it, or the supervisor would wait for ever
            log.exception("the drive failed")
            self._stream.write(Refused(start.run_id, _REDACTOR.known(f"worker failed: {fault_text(error)}")))
            return
        finally:
            if watchdog is not None:
                watchdog.stop()
            if ending is not None:
                ending.cancel()
        self._phase = "done"
        if totals.ending is Ending.LEASE:  # the drive may find the lapse before the watchdog
            self._lease_is_over(now=False)
        elif totals.ending is Ending.TIME_LIMIT:
            self._reason = "the load reached the longest duration that the allow-list admits"
        self._stream.write(
            Fin(
                start.run_id,
                0,
                totals.last_seq,
                totals.counters,
                totals.recorded,
                totals.start_skew_ns,
                # A lease that ended after the last iteration did not end the load early.
                self._reason if totals.ending is not Ending.DONE else "",
                totals.ending,
            )
        )

    def _watchdog(self) -> Watchdog | None:
        if self._leased is None or self._prepare is None:
            return None
        folder = str((Path(self._prepare.bundle_dir) / self._prepare.scenario).parent.resolve())
        return Watchdog(
            self._leased, lambda frame: scenario_line(folder, frame, through_ours=True), self._lease_is_over
        )

    def _lease_is_over(self, now: bool) -> None:
        if self._drive is not None and self._leased is not None:
            lease_s = self._leased.length_ns / NS_PER_S
            self._reason = (
                self._reason or f"the controller acknowledged nothing for longer than the lease of {lease_s:g} s"
            )
            self._drive.stop(now=now, ending=Ending.LEASE)

    def _tell_waiting(self, points: tuple[WaitingAt, ...]) -> None:
        if self._prepare is not None:
            self._stream.write(Waiting(self._prepare.run_id, points=points))

    def _follows(self, number: int) -> None:
        """Send the supervisor at once the number of the change that this worker follows now.

        Other agents wait for that before they take over our share.
        """
        self._adjusted = number
        self._say_alive()

    def _say_alive(self) -> None:
        run_id = self._prepare.run_id if self._prepare is not None else ""
        self._stream.write(Heartbeat(run_id, self._phase, adjusted=self._adjusted))

    async def _beat(self) -> None:
        """Send a heartbeat to the supervisor regularly, until cancelled.

        The loop that runs the scenario sends them, so a blocked loop is noticed by its silence.
        """
        while True:
            self._say_alive()
            await asyncio.sleep(_HEARTBEAT_S)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the worker program until its supervisor ends it. The supervisor starts it; it is not meant for users."""
    parser = argparse.ArgumentParser(prog="loadgen-worker", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--worker", type=int, help="number of the worker slot, for the log")
    parser.add_argument("--marks", type=int, help="descriptor of its progress memory, see progress.py")
    parser.add_argument("--lease", type=int, help="descriptor of its lease memory, see lease.py")
    parser.add_argument("--allow", type=Path, help="the agent's own allow-list")
    args = parser.parse_args(argv)
    die_with_parent()
    leave_no_core()
    widen_file_table()
    mask_output(_REDACTOR.known)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles a Ctrl-C
    name = "worker" if args.worker is None else f"worker {args.worker} of"
    log_to_stderr(logging.INFO, f"{name} {args.region}: %(message)s")

    async def serve() -> None:
        marks = progress_at(args.marks) if args.marks is not None else None
        leased = leased_at(args.lease) if args.lease is not None else None
        await Worker(await FrameStream.inherit(args.fd), args.region, marks, leased, args.allow).serve()

    uvloop.run(serve())
    sys.exit(0)


if __name__ == "__main__":
    main()
