"""Makes one run and waits for it: on this machine, or at a controller, from which it then fetches the run folder.

It judges nothing: the callers read the summary.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from loadgen.allowlist import as_address
from loadgen.bundle import pack
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.errors import BundleError, Fault, ScenarioError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.sinks.live_outputs import Outputs
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.agents.local_processes import EmbeddedAgents
from loadgen_controller.api.remote import make_there
from loadgen_controller.console_output import Output
from loadgen_controller.control.control_request import ControlReply, ControlRequest
from loadgen_controller.control.request_handler import answer, asked
from loadgen_controller.control.signed_run_orders import signed
from loadgen_controller.core.events import Reason
from loadgen_controller.core.run_request import Order
from loadgen_controller.launch.event_loop import new_loop
from loadgen_controller.launch.run_location import Placement
from loadgen_controller.launch.signals import Stopping
from loadgen_controller.planning.git_commit import commit_of
from loadgen_controller.planning.probe_permission import check_probe_secrets, warn_of_probes
from loadgen_controller.planning.target_permission import check_allowed, resolve
from loadgen_controller.run.conductor import Conductor, Processes, Result
from loadgen_controller.screen.figures_builder import Watch
from loadgen_controller.screen.live import show
from loadgen_controller.ui.access import Access

if TYPE_CHECKING:
    from loadgen_controller.ui.server import UiServer

__all__ = ["Made", "conduct", "make_run", "order_of", "was_stopped"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """A run that is over. Its run folder is on this machine, wherever the run took place."""

    run_dir: Path
    result: str
    """The result in the summary: passed, failed, interrupted ..."""
    was_stopped: bool = False
    """Whether Ctrl-C, `loadgen stop` or `loadgen kill` ended it. The result need not show that: it may be "invalid"."""


def make_run(scenario: Scenario, placement: Placement, console: Console, *, is_quiet: bool = False) -> Made:
    """Make one run, here or at a controller, and wait for it. With `is_quiet`, there is no live view.

    Raises:
        KeyboardInterrupt: a second Ctrl-C left the run to itself at the controller.
    """
    order = order_of(scenario, placement)
    if placement.place is None:
        made = conduct(order, placement, None if is_quiet else console)
        return Made(made.run_dir, made.verdict.result, was_stopped(made.run_dir))
    run_dir = make_there(placement.place, order, placement.runs_dir, console, is_quiet=is_quiet)
    return Made(run_dir, str(RunDir(run_dir).read_summary().get("result")), was_stopped(run_dir))


def was_stopped(run_dir: Path) -> bool:
    """Return whether a person stopped or killed a finished run before its load had ended."""
    facts = [event["facts"] for event in RunDir(run_dir).read_events() if event.get("kind") == "facts"]
    ends = [end for one in facts if isinstance(one, dict) for end in one.get("ends", ())]
    return any(end.get("reason") in (Reason.STOPPED.value, Reason.KILLED.value) for end in ends)


def order_of(scenario: Scenario, placement: Placement) -> Order:
    """Return the order (plan, packed scenario and settings) by which a conductor, here or at a controller, makes a run.

    If the run takes place here, probes that cannot be read are printed as warnings.

    Raises:
        ScenarioError: a file of the scenario cannot be packed, or the secret of a probe is not set here.
        UsageError: the allow-list does not admit the plan.
    """
    if placement.place is None:
        check_probe_secrets(scenario.plan.probes)
        warn_of_probes(scenario.plan.probes)
    spec = msgspec.structs.replace(
        scenario.plan.spec(), commit=commit_of(scenario.path.parent), needs_sure=placement.needs_sure
    )
    try:
        bundle = pack(scenario)
    except BundleError as error:
        # pack() reports a bundle error, which is a fleet error (exit code 5). Here a scenario file is at fault (2).
        raise ScenarioError([Fault(str(scenario.path), 0, error.message, error.hint)]) from error
    order = Order(
        spec=spec,
        bundle=bundle.data,
        bundle_sha256=bundle.sha256,
        scenario=bundle.scenario,
        plan=scenario.plan.name,
        seed=secrets.randbelow(2**32) if spec.seed is None else spec.seed,
        agents=placement.wait or len(spec.regions) * (placement.per_region if placement.is_embedded else 1),
        placement="embedded" if placement.is_embedded else "fleet",
        overrides_json=scenario.plan.overrides.to_json(),
        allow=placement.allow,
        limits=Limits() if placement.allow is None else check_allowed(spec, scenario.plan.http, placement.allow),
        has_fuse=placement.has_fuse and not (placement.is_embedded and _has_only_local_targets(scenario)),
        aborts_on_loss=placement.aborts_on_loss,
    )
    return order if placement.signer is None else signed(order, placement.signer)


def _has_only_local_targets(scenario: Scenario) -> bool:
    """Return whether all targets are on this machine.

    Such a run has no error fuse: it harms no other machine, and people look for breaking points this way.
    """
    hosts = [urlsplit(url).hostname or "" for url in (scenario.plan.target, *scenario.plan.targets.values())]
    return all((found := resolve(host)) and all(as_address(one).is_loopback for one in found) for host in hosts)


def conduct(order: Order, placement: Placement, console: Console | None) -> Result:
    """Conduct the run in this process until it ends, and return its result. With a console, a live view is shown."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_conduct(order, placement, console))


async def _conduct(order: Order, placement: Placement, console: Console | None) -> Result:
    keys, listen = placement.keys, placement.listen
    processes: Processes | None = None
    if keys is None:
        agents = EmbeddedAgents(order.spec.regions, placement.per_region, placement.workers)
        processes, keys = agents, agents.keys
    page = _Page(placement, lambda ask, by: answer(conductor, ask, by))
    try:
        hub = AgentHub(keys, listen or "127.0.0.1:0")
        async with hub:
            outputs = placement.outputs
            conductor = Conductor(
                order,
                hub,
                runs_dir=placement.runs_dir,
                processes=processes,
                outputs=outputs,
                notifier=placement.notifier,
            )
            if console is not None and listen is not None:
                console.print(f"listening on {hub.address} for {order.agents} agents", soft_wrap=True)
            stop = Stopping(conductor.request_stop)
            with stop.on_signals(asyncio.get_running_loop()):
                async with asked(conductor), page.of(conductor, console), _shown(conductor, stop, console, page):
                    result = await conductor.conduct()
                    await page.end(conductor, result)
            await _linger(outputs, conductor.run_id, console)
            return result
    finally:
        # `conduct` has ended them. This is for an error before it, e.g. a hub that cannot listen.
        if processes is not None:
            await processes.end(0)


async def _linger(outputs: Outputs, run_id: str, console: Console | None) -> None:
    """Wait until the scrapers of the live outputs have read the last figures, or until Ctrl-C."""
    is_over = asyncio.Event()
    with Stopping(lambda _reason, _now: is_over.set()).on_signals(asyncio.get_running_loop()):
        await outputs.linger(run_id, is_over, console.print if console is not None else lambda _: None)


class _Page:
    """The web page of one run; without `placement.ui`, an object that does nothing.

    Create it before the run, so that a page that cannot listen keeps the run from starting.

    Raises:
        UsageError, PortBusy: the page cannot listen at its address.
    """

    def __init__(self, placement: Placement, answer: Callable[[ControlRequest, str], ControlReply]) -> None:
        self._server: UiServer | None = None
        if placement.ui is not None:
            from loadgen_controller.ui.run_catalog import PageRuns
            from loadgen_controller.ui.server import UiServer  # imported here, as most runs have no page

            self._shown = PageRuns(placement.runs_dir, answer)
            self._server = UiServer(self._shown, placement.ui, Access.of(placement.keys_dir))

    @contextlib.asynccontextmanager
    async def of(self, conductor: Conductor, console: Console | None) -> AsyncIterator[None]:
        """Serve the page of the run inside the `async with` block, and print its address."""
        if self._server is None:
            yield
            return
        self._shown.begin(conductor)
        self._server.start()
        (console or Output(stderr=True)).print(f"page: {self.address(conductor)}", soft_wrap=True)
        try:
            yield
        finally:
            await self._server.close()

    def address(self, conductor: Conductor) -> str:
        """Return the URL of the run's page; empty if it has none."""
        return "" if self._server is None else self._server.page_of(conductor.run_id)

    async def end(self, conductor: Conductor, result: Result) -> None:
        """Show the final result on the page. A failure is logged, because a page must never end a run."""
        if self._server is None:
            return
        try:
            await self._shown.end(conductor.run_id, result.summary)
        except Exception:  # whatever fails in the page, the run continues
            log.exception("the web page failed; the run is not affected")


@contextlib.asynccontextmanager
async def _shown(conductor: Conductor, stop: Stopping, console: Console | None, page: _Page) -> AsyncIterator[None]:
    """Show the live view inside the `async with` block, if there is a console.

    A failure of the view never ends the run.
    """
    if console is None:
        yield
        return
    view = partial(conductor.view, with_agents=console.is_terminal)
    figures = Watch(view, lambda: stop.notices, is_for_lines=not console.is_terminal)
    showing = asyncio.create_task(show(figures, console, page.address(conductor)), name="live view")
    try:
        yield
    finally:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing
