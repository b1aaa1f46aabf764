"""Starts agents of an AWS fleet for one run, or for the runs of a gate, and ends them afterwards.

    loadgen run checkout.py --fleet fleet.json --scale eu-west-1=3,us-east-1=6

The run belongs to the fleet's controller, as any run does, but its agents belong to this command. When the command
ends, is interrupted or fails, it stops the run if it still goes on, and ends the agents. If the command itself dies
(a closed laptop), the run continues to its end. AWS ends the agents at their expiry time, some minutes after the
planned end of the run if the plan has one.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.account.fleet_change_log import Audit, audit_beside
from loadgen.aws.account.fleet_context import ReadRegistry, Site, open_site
from loadgen.aws.account.fleetfile import FleetFile, read
from loadgen.aws.scale.machine_states import MachineState, Registration
from loadgen.aws.scale.scale_down import take_down
from loadgen.aws.scale.scale_up import ScaleUpResult, Terms, bring_up
from loadgen.aws.scale.scaling_plan import parse_scale, spread
from loadgen.aws.scale.start_failures import Reason
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import LoadgenError
from loadgen.units import NS_PER_S, format_duration
from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import call
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo
from loadgen_controller.control.control_request import ControlRequest

__all__ = ["HireRequest", "hired", "hired_for", "print_states", "read_hire", "registry_reader"]

SPARE_S: Final = 30 * 60.0
"""Time beyond the planned load after which AWS ends the agents: they need it to start, to drain and to deliver."""
BETWEEN_S: Final = 60.0
"""Time from the end of one run of a gate to the start of the next, in addition to the drain."""
STOP_S: Final = 90.0
"""Longest wait for a run that is stopped so that its agents can leave."""
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class HireRequest:
    """The agents of an AWS fleet that a run asks for."""

    file: FleetFile
    path: Path
    scale: int | Mapping[str, int] | None
    """Agents to start, in all or by region; None: start none, use the agents that are running."""

    def terms(self, errors: CollectedErrors, spec: PlanSpec, runs: int = 1) -> Terms | None:
        """Return the terms on which agents are started for `runs` runs of this plan: how many where, and for how long.

        Returns None if no agents are to be started. Conflicts with the plan are added to `errors`.
        """
        if self.scale is None:
            return None
        wish = spread(self.scale, spec.regions) if isinstance(self.scale, int) else dict(self.scale)
        for region in spec.regions:
            if not wish.get(region):
                errors.add(
                    f"the plan needs agents in {region}, and --scale has none there", f"add {region}=1 to --scale"
                )
        for region in [one for one, number in wish.items() if number and one not in spec.regions]:
            errors.add(
                f"--scale {region}: the plan does not use this region, so its agents would be idle",
                f"the plan uses {', '.join(spec.regions)}; remove {region}, or change the plan with --regions",
            )
        ttl_s = None
        if spec.duration_ns is not None:
            between_s = spec.drain_ns / NS_PER_S + BETWEEN_S
            needed_s = runs * spec.duration_ns / NS_PER_S + (runs - 1) * between_s
            most_s = self.file.policy.ttl_s
            if runs > 1 and needed_s > most_s:
                errors.add(
                    f"{runs} runs need the agents for {format_duration(round(needed_s) * NS_PER_S)},"
                    f" but the policy of the fleet ends them after {format_duration(round(most_s) * NS_PER_S)}",
                    "make fewer or shorter runs, or raise ttl_s in the policy of the fleet",
                )
            ttl_s = min(most_s, needed_s + SPARE_S)
        return Terms(wish, ttl_s=ttl_s)

    def open(self) -> Site:
        """Return the fleet on AWS, opened with the credentials of this machine.

        Raises:
            LoadgenError: AWS refuses access, or the fleet belongs to another account.
        """
        audit = Audit(audit_beside(self.path))
        return open_site(self.file, Clients(), audit, lambda text: echo(f"note: {text}", err=True))


def read_hire(errors: CollectedErrors, fleet: Path | None, scale: str | None, wait: int | None) -> HireRequest | None:
    """Read the options --fleet and --scale; return None if no fleet was named. Failures are added to `errors`."""
    parsed = errors.parse("--scale", scale, parse_scale)
    if scale is not None and fleet is None:
        errors.add("--scale needs --fleet", "add --fleet FILE, the fleet.json of a fleet on AWS")
    if scale is not None and wait is not None:
        errors.add(
            "--wait cannot be used with --scale: the run waits for all agents that it starts", "leave --wait out"
        )
    if fleet is None:
        return None
    file = errors.catch(lambda: read(fleet))
    return None if file is None else HireRequest(file, fleet, parsed)


@contextmanager
def hired_for(
    errors: CollectedErrors,
    hire: HireRequest | None,
    spec: PlanSpec,
    place: Place | None,
    *,
    is_quiet: bool,
    runs: int = 1,
) -> Iterator[int | None]:
    """Keep the agents of --scale running inside the `with` block, and yield their number, or None without --scale."""
    terms = None if hire is None else hire.terms(errors, spec, runs)
    errors.check()
    if hire is None or terms is None or place is None:
        yield None
        return

    def say(text: str) -> None:
        if not is_quiet:
            echo(text, err=True)

    with hired(hire.open(), terms, place, say) as raised:
        yield sum(raised.registered.get(region, 0) for region in terms.wish)


@contextmanager
def hired(site: Site, terms: Terms, place: Place, say: Callable[[str], None]) -> Iterator[ScaleUpResult]:
    """Start the agents of a fleet, keep them running inside the `with` block, and end them afterwards.

    Raises:
        LoadgenError: not enough agents came up; those that did are ended again.
    """
    with _as_interrupts():
        raised = bring_up(site, terms, registry_reader(place), print_states)
        say(f"up: {sum(raised.registered.values())} agents are registered")
        try:
            yield raised
        finally:
            _take_fleet_down(site, raised, place, say)


def _take_fleet_down(site: Site, raised: ScaleUpResult, place: Place, say: Callable[[str], None]) -> None:
    """Bring the fleet back to its earlier size. If that is interrupted, warn that AWS ends it later."""
    say(f"taking down {len(raised.new)} machines")
    try:
        with suppress(LoadgenError):  # an unreachable controller must not keep the machines running
            _stop_runs(site, raised, place, say)
        stays = {step.region: step.there for step in raised.plan.steps}
        done = take_down(site, stays, registry_reader(place), only=raised.new, by_force=True)
    except (LoadgenError, ExceptionGroup, KeyboardInterrupt):
        site.warn(
            f"the fleet is still running: AWS ends it at {raised.plan.expires:%H:%M UTC};"
            " `loadgen fleet down` ends it now"
        )
        raise
    say(f"down: {len(done.leaving)} machines are gone")


def _stop_runs(site: Site, raised: ScaleUpResult, place: Place, say: Callable[[str], None]) -> None:
    """Ask the runs that still use our machines to drain, and wait for them, for up to `STOP_S`."""
    read_registry, deadline_s = registry_reader(place), time.monotonic() + STOP_S
    asked: set[str] = set()
    while runs := {
        one.run_id for one in read_registry() if one.machine in raised.new and one.run_id and one.presence != "lost"
    }:
        for run in runs - asked:
            say(f"stopping {run}, which is still going on")
            asked.add(run)
            call(place, lambda client, run=run: client.ask(ControlRequest(run_id=run, do="stop")))  # type: ignore[misc]
        if time.monotonic() >= deadline_s:
            return
        site.sleep(_LOOK_S)


@contextmanager
def _as_interrupts() -> Iterator[None]:
    """Treat SIGTERM and a closed terminal (SIGHUP) like Ctrl-C inside the `with` block.

    So the fleet is taken down in these cases too.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def registry_reader(place: Place) -> ReadRegistry:
    """Return a function that lists the agents registered at the controller.

    The function blocks, and must not be called within a running event loop.
    """

    def read_registry() -> list[Registration]:
        agents = call(place, lambda client: client.agents())
        return [Registration(one.id, one.presence, one.run_id, one.note) for one in agents]

    return read_registry


def print_states(states: tuple[MachineState, ...], reasons: Mapping[str, Reason]) -> None:
    """Print a line for each region: "eu-west-1: 2 registered, 1 launching"."""
    for line in _lines(states, reasons):
        echo(line)


def _lines(states: tuple[MachineState, ...], reasons: Mapping[str, Reason]) -> Iterator[str]:
    for region in sorted({one.region for one in states} | set(reasons)):
        counted = Counter(one.standing.value for one in states if one.region == region)
        parts = [f"{number} {standing}" for standing, number in sorted(counted.items(), reverse=True)]
        if region in reasons:
            parts.append(reasons[region].text)
        yield f"{region}: {', '.join(parts)}"
