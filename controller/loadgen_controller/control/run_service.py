"""Conducts several runs at once on one agent hub, independently of the clients that started them.

API and page use this module, which does not depend on gRPC. A run is named by its id or by the beginning of its id; the
empty name is the only running run. A name is never a path, since the caller may be on another machine.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

import msgspec

from loadgen.allowlist import AllowList
from loadgen.clients.net.settings import Http
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import FleetError, LoadgenError, UsageError
from loadgen.measure.run_folder.rundir import RunDir, find_run, list_runs
from loadgen.measure.run_folder.transfer import pieces_of
from loadgen.notify.notifier import Notifier
from loadgen.signed.signatures import Signer
from loadgen.sinks.live_outputs import Outputs
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.control.control_request import ControlReply, ControlRequest
from loadgen_controller.control.request_handler import answer, asked
from loadgen_controller.control.signed_run_orders import check_signed, signed
from loadgen_controller.core.run_request import Order
from loadgen_controller.planning.probe_permission import check_probe
from loadgen_controller.planning.target_permission import check_allowed, check_proofs, check_target
from loadgen_controller.run.conductor import Conductor, Result
from loadgen_controller.run.recovery import restore
from loadgen_controller.screen.figures_builder import Watch

__all__ = ["LOOK_S", "AgentLine", "Look", "RunLine", "Service", "Watching", "aims_of"]

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25
MAX_RUNS: Final = 32
"""Most runs at once. Runs that wait for agents (up to two minutes) count, too."""
_NAMED: Final = re.compile(r"[A-Za-z0-9-]{0,128}")


def _what(order: Order) -> str:
    """Return the scenario, plan, target and load of a run for the log."""
    target = order.spec.target or ", ".join(order.spec.targets.values())
    return f"{order.scenario}, plan {order.plan}, target {target}, load {order.spec.load}"


@dataclass(frozen=True, slots=True)
class Look:
    """The state of a run at one time, for clients that watch it."""

    run_id: str
    phase: str
    clock_s: float = 0.0
    figures_json: bytes = b""
    is_over: bool = False
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class AgentLine:
    """An agent of the fleet, working or idle."""

    id: str
    region: str
    presence: str
    run_id: str
    silent_s: float
    host: str
    cpus: int
    workers: int
    epoch: int
    note: str


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list of runs."""

    run_id: str
    state: str
    is_going: bool
    agents: int = 0
    by: str = ""


class Watching(Protocol):
    """Is called when a run begins or ends here; the page implements it."""

    def begin(self, conductor: Conductor) -> None: ...

    async def end(self, run_id: str, summary: Mapping[str, object] | None) -> None:
        """Process the end of a run; the service calls this once for each run.

        summary: None if the run failed with a bug.
        """


@dataclass(slots=True)
class _Going:
    conductor: Conductor
    by: str
    watch: Watch
    task: asyncio.Task[Result | None] | None = None
    looked_s: float = field(default=0.0)
    look: Look | None = None


class Service:
    """Starts, controls and lists the runs of a controller. Create it in the running loop, and close it before the hub.

    Args:
        allowed: public hosts that runs may have as targets, as the controller's operator names them. Loopback and
            private hosts are always allowed.
        allow: the allow-list; if given, it replaces `allowed`.
        signer: signs orders that their clients did not sign.
        outputs: the outputs for the figures of all runs; the caller closes them.
        notifier: sends notifications about all runs; the caller closes it.
    """

    def __init__(
        self,
        hub: AgentHub,
        runs_dir: Path,
        allowed: Sequence[str] = (),
        *,
        allow: AllowList | None = None,
        signer: Signer | None = None,
        outputs: Outputs | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.watching: Watching | None = None
        self._outputs, self._notifier = outputs, notifier
        self._hub, self._runs_dir, self._allowed = hub, runs_dir, tuple(allowed)
        self._allow, self._signer = allow, signer
        self._going: dict[str, _Going] = {}
        self._is_closing = False

    # -- actions ----------------------------------------------------------------------------------

    async def start(self, order: Order, by: str) -> Conductor:
        """Start a run, which then waits for its agents. It continues when the client disconnects.

        Raises:
            UsageError: a target is not allowed, the signature does not fit, or too many runs are running.
            FleetError: the controller is being stopped.
            StorageError: the run's folder cannot be created.
        """
        order = await asyncio.to_thread(self._permitted, order)
        # Checked after the wait for DNS, during which the controller may have begun to stop.
        if self._is_closing:
            raise FleetError("the controller is being stopped", hint="start the run again when it is back")
        if len(self._going) >= MAX_RUNS:
            raise UsageError(
                f"{MAX_RUNS} runs are running already", hint="wait until one ends, or end one with: loadgen stop RUN"
            )
        conductor = Conductor(
            order, self._hub, runs_dir=self._runs_dir, by=by, outputs=self._outputs, notifier=self._notifier
        )
        self._begin(conductor, by)
        return conductor

    async def take_up(self, folder: Path) -> None:
        """Continue an unfinished run of an earlier controller from its folder. Call it before the hub is started.

        Raises:
            StorageError, UsageError: the run cannot be continued.
        """
        restored = await asyncio.to_thread(restore, folder)
        try:
            # Check it again: the allow-list may have changed since the run was started.
            order = await asyncio.to_thread(self._permitted, self._unsigned(restored.order))
        except LoadgenError:
            restored.folder.close()
            raise
        self._hub.fleet.restore(restored.members, self._hub.clock())
        conductor = Conductor(
            order,
            self._hub,
            runs_dir=self._runs_dir,
            by=restored.by,
            restored=restored,
            outputs=self._outputs,
            notifier=self._notifier,
        )
        self._begin(conductor, restored.by)

    def answer(self, ask: ControlRequest, by: str) -> ControlReply:
        """Carry out a control request for a running run. by: who sent it.

        Raises:
            UsageError, FleetError: there is no such run, or the request is invalid or impossible now.
        """
        return answer(self._named(ask.run_id).conductor, ask, by)

    def kill_all(self, by: str) -> ControlReply:
        """Kill all running runs, and return a reply with a line for each. by: who requested it."""
        lines: list[str] = []
        for going in tuple(self._going.values()):
            lines += answer(going.conductor, ControlRequest(run_id=going.conductor.run_id, do="kill"), by).lines
        return ControlReply(lines=tuple(lines) or ("no run is running",))

    # -- queries ----------------------------------------------------------------------------------

    async def watch(self, run: str) -> AsyncIterator[Look]:
        """Yield the state of a run four times a second until it has ended.

        The last state has `is_over` set, and the exit code.

        Raises:
            UsageError: there is no such run.
            StorageError: the summary cannot be read.
        """
        if not run or self._found(run):
            going = self._named(run)
            run = going.conductor.run_id
            assert going.task is not None
            while not going.task.done():
                yield _look(going)
                await asyncio.wait((going.task,), timeout=LOOK_S)
        run_id, summary = await self.summary(run)
        code = summary.get("exit_code")
        yield Look(run_id, "done", is_over=True, exit_code=code if isinstance(code, int) else 0)

    def agents(self) -> list[AgentLine]:
        """Return all registered agents, sorted by id."""
        now_ns = self._hub.clock()
        return [
            AgentLine(
                member.id,
                member.region,
                member.presence.value,
                self._hub.claimant(member.id),
                member.silent_s(now_ns),
                member.host,
                member.cpus,
                round(member.weight),
                member.epoch,
                member.lost_because,
            )
            for member in sorted(self._hub.fleet, key=lambda member: member.id)
        ]

    async def runs(self, limit: int) -> list[RunLine]:
        """Return at most `limit` runs (0: 50): running runs first, then ended ones, each newest first."""
        here = [
            RunLine(run_id, one.conductor.view().phase.value, True, len(one.conductor.run.members), one.by)
            for run_id, one in reversed(self._going.items())
        ]
        limit = limit or 50
        return [*here, *await asyncio.to_thread(_over, self._runs_dir, set(self._going), limit)][:limit]

    async def summary(self, run: str) -> tuple[str, dict[str, object]]:
        """Return (run id, content of summary.json) of a run that has ended.

        Raises:
            UsageError: there is no such run, it is still running, or it was killed and has no summary.
            StorageError: the summary cannot be read.
        """
        folder = self._over(run)
        return folder.name, await asyncio.to_thread(RunDir(folder).read_summary)

    async def files(self, run: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the files of an ended run that another machine needs, as (file name, piece), file after file.

        Raises:
            UsageError, StorageError: as for `summary`.
        """
        pieces = pieces_of(self._over(run))
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def _over(self, run: str) -> Path:
        folder = self.folder(run)
        if folder.name in self._going:
            raise UsageError(
                f"run {folder.name} is still running", hint=f"wait for its end with: loadgen watch {folder.name}"
            )
        if not (folder / "summary.json").exists():
            raise UsageError(f"run {folder.name} has no summary: it was killed", hint="run it again")
        return folder

    def folder(self, run: str) -> Path:
        """Return the folder of a run: its id, the beginning of its id, or "last".

        Raises:
            UsageError: there is no such run.
        """
        try:
            return find_run(_checked(run) or "last", self._runs_dir)
        except UsageError as error:
            hint = "loadgen runs list --controller HOST:PORT lists the runs of this controller"
            raise UsageError(error.message, hint=hint) from error

    # -- shutdown ---------------------------------------------------------------------------------

    @property
    def going(self) -> tuple[str, ...]:
        """Return the ids of the running runs."""
        return tuple(self._going)

    def stop_all(self, reason: str, now: bool = False) -> None:
        """Accept no more runs, and stop all running ones. They drain, or with `now` end at once."""
        self._is_closing = True
        for going in tuple(self._going.values()):
            going.conductor.request_stop(reason, now)

    async def until_over(self) -> None:
        """Wait until no run of this controller is running."""
        while tasks := [going.task for going in self._going.values() if going.task is not None]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Cancel all running runs and wait for their tasks. Stop them first, or they end without a verdict."""
        self._is_closing = True
        tasks = [going.task for going in self._going.values() if going.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, conductor: Conductor, by: str) -> None:
        going = _Going(conductor, by, Watch(conductor.view))
        self._going[conductor.run_id] = going
        if self.watching is not None:
            self.watching.begin(conductor)
        going.task = asyncio.create_task(self._conduct(going), name=conductor.run_id)

    async def _conduct(self, going: _Going) -> Result | None:
        conductor = going.conductor
        summary: Mapping[str, object] | None = None
        log.info("run %s begins: %s; started by %s", conductor.run_id, _what(conductor.order), going.by)
        try:
            async with asked(conductor):
                result = await conductor.conduct()
                summary = result.summary
        except Exception:  # a bug in one run must not end the others
            log.exception("run %s failed", conductor.run_id)
            return None
        finally:
            del self._going[conductor.run_id]
            await self._told(conductor.run_id, summary)
        log.info("run %s is over: %s", conductor.run_id, result.verdict.result)
        return result

    async def _told(self, run_id: str, summary: Mapping[str, object] | None) -> None:
        """Notify the page, if there is one, of the end of a run.

        A failure of the page is logged as a bug and does not harm the run.
        """
        if self.watching is None:
            return
        try:
            await self.watching.end(run_id, summary)
        except Exception:  # a bug of the page must not end the run
            log.exception("the page of run %s failed", run_id)

    # -- finding runs -----------------------------------------------------------------------------

    def _found(self, run: str) -> list[_Going]:
        going = list(self._going.values())
        if run in ("", "last"):
            return going[-1:] if run else going
        exact = [one for one in going if one.conductor.run_id == run]
        return exact or [one for one in going if one.conductor.run_id.startswith(_checked(run))]

    def _named(self, run: str) -> _Going:
        found = self._found(run)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(one.conductor.run_id for one in found)
            which = f" whose ids begin with {run}" if run else ""
            raise UsageError(f"{len(found)} runs are running{which}", hint=f"name one: {names}")
        if run in ("", "last"):
            raise UsageError(
                "no run is running",
                hint="start one with: loadgen run; see ended runs with: loadgen runs list --controller HOST:PORT",
            )
        folder = self.folder(run)
        raise UsageError(f"run {folder.name} is not running", hint=f"see its result with: loadgen watch {folder.name}")

    def _unsigned(self, order: Order) -> Order:
        """Return a restored order without its signature if that no longer fits and this controller can sign again."""
        if order.signature and self._signer is not None:
            try:
                check_signed(order, self._allow)
            except UsageError:
                return replace(order, signature=b"", statement=b"")
        return order

    def _permitted(self, order: Order) -> Order:
        """Return the order with this controller's allow-list, limits and signature, after a check that it may be run
        here.

        The client's own values for these three are ignored. Blocks: DNS.

        Raises:
            UsageError: the order may not be run here.
        """
        limits = Limits()
        if self._allow is None:
            for url in aims_of(order):
                check_target(url, self._allowed)
        else:
            overridden = Overrides.from_json(order.overrides_json).resolve
            limits = check_allowed(order.spec, Http(resolve=overridden), self._allow)
            check_proofs(order.spec, Http(resolve=overridden), self._allow)
        for probe in order.spec.probes:
            check_probe(probe, self._allowed, self._allow)
        order = replace(order, allow=self._allow, limits=limits)
        if order.signature:
            check_signed(order, self._allow)
        elif self._signer is not None:
            order = signed(order, self._signer)
        return order


def aims_of(order: Order) -> Iterator[str]:
    """Yield the URLs that a run puts under load: its targets, and addresses that its plan sets for host names."""
    yield from dict.fromkeys((order.spec.target, *order.spec.targets.values()))
    for addresses in Overrides.from_json(order.overrides_json).resolve.values():
        yield from (f"http://[{one}]" if ":" in one else f"http://{one}" for one in addresses)


def _over(runs_dir: Path, going: set[str], limit: int) -> list[RunLine]:
    """Return a line for each of the newest `limit` ended runs. going: ids of running runs, which are left out.

    Blocks: it reads the runs' folders.
    """
    found = []
    for path in [path for path in list_runs(runs_dir) if path.name not in going][:limit]:
        by = _by(path)
        try:
            summary = RunDir(path).read_summary()
        except LoadgenError:
            found.append(RunLine(path.name, "not ended", False, by=by))
            continue
        agents, result = summary.get("agents"), summary.get("result")
        found.append(RunLine(path.name, str(result), False, len(agents) if isinstance(agents, list) else 0, by))
    return found


def _by(path: Path) -> str:
    """Return who started a run, from its manifest; "" if it is not there or cannot be read."""
    try:
        by = RunDir(path).read_manifest().get("by")
    except LoadgenError:
        return ""
    return by if isinstance(by, str) else ""


def _checked(run: str) -> str:
    if not _NAMED.fullmatch(run):
        raise UsageError("invalid run id", hint="use an id that is listed by: loadgen runs list --controller HOST:PORT")
    return run


def _look(going: _Going) -> Look:
    """Return the present state of a run, which is computed once for all clients that watch the run."""
    now_s = time.monotonic()
    if going.look is None or now_s - going.looked_s >= LOOK_S / 2:
        figures = going.watch()
        data = msgspec.json.encode(figures)
        going.look = Look(figures.run_id, figures.phase, figures.clock_s, data)
        going.looked_s = now_s
    return going.look
