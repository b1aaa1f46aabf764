"""A fleet for one run, or for the runs of a gate: up before them, down after them, however they end.

    loadgen run checkout.py --fleet fleet.json --scale eu-west-1=3,us-east-1=6

The run belongs to the fleet's controller, as any run does. Its agents are this command's: when it ends, is
interrupted, or fails, the run is stopped if it still goes on, and they go. Where the command itself is gone
(a laptop that is closed), the run goes on to its end, and AWS ends the agents when their time is over: some
minutes after the planned end, where the plan has one.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.aws.account.audit import Audit, audit_beside
from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.account.fleet_context import Roll, Site, open_site
from loadgen.aws.account.fleetfile import FleetFile, read
from loadgen.aws.scale.machines import Registration, Stand
from loadgen.aws.scale.scale_down import take_down
from loadgen.aws.scale.scale_up import Raised, Terms, bring_up
from loadgen.aws.scale.scaling import parse_scale, spread
from loadgen.aws.scale.start_failures import Reason
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import LoadgenError
from loadgen.units import NS_PER_S, format_duration
from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import call
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.control.unix_socket import ControlRequest
from loadgen_controller.terminal import echo

__all__ = ["FleetOption", "Hire", "ScaleOption", "hired", "hired_for", "read_hire", "roll_of", "told_stands"]

SPARE_S: Final = 30 * 60.0
"""After the planned end of the load: for agents to come, to drain and to hand over."""
BETWEEN_S: Final = 60.0
"""Beside the drain, from the end of one load to the begin of the next."""
STOP_S: Final = 90.0
"""For a run that is stopped to let its agents go."""
_LOOK_S: Final = 1.0

FleetOption = Annotated[
    Path | None,
    typer.Option("--fleet", metavar="FILE", help="A fleet on AWS (fleet.json): the run is its controller's."),
]
ScaleOption = Annotated[
    str | None,
    typer.Option("--scale", metavar="SCALE", help="Bring up so many agents of --fleet, and take them down again."),
]


@dataclass(frozen=True, slots=True)
class Hire:
    """What of a fleet is wanted for a run."""

    file: FleetFile
    path: Path
    scale: int | Mapping[str, int] | None
    """None: the agents that are there."""

    def terms(self, wrongs: CollectedErrors, spec: PlanSpec, runs: int = 1) -> Terms | None:
        """For so many runs of this plan, one after another; what does not fit is among `wrongs`.

        None: nothing is to be brought up.
        """
        if self.scale is None:
            return None
        wish = spread(self.scale, spec.regions) if isinstance(self.scale, int) else dict(self.scale)
        for region in spec.regions:
            if not wish.get(region):
                wrongs.add(f"the plan loads from {region}, where --scale has no agent", f"--scale {region}=1,...")
        for region in [one for one, number in wish.items() if number and one not in spec.regions]:
            wrongs.add(
                f"agents in {region} would have nothing to do: the plan does not load from there",
                f"the plan has {', '.join(spec.regions)}; --regions replaces them",
            )
        ttl_s = None
        if spec.duration_ns is not None:
            between_s = spec.drain_ns / NS_PER_S + BETWEEN_S
            needed_s = runs * spec.duration_ns / NS_PER_S + (runs - 1) * between_s
            most_s = self.file.policy.ttl_s
            if runs > 1 and needed_s > most_s:
                wrongs.add(
                    f"{runs} runs need the agents for {format_duration(round(needed_s) * NS_PER_S)},"
                    f" and the fleet keeps them for {format_duration(round(most_s) * NS_PER_S)}",
                    "make fewer or shorter runs, or raise ttl_s of its policy",
                )
            ttl_s = min(most_s, needed_s + SPARE_S)
        return Terms(wish, ttl_s=ttl_s)

    def open(self) -> Site:
        """
        Raises:
            LoadgenError: AWS refuses, or it is not ours.
        """
        audit = Audit(audit_beside(self.path))
        return open_site(self.file, Clients(), audit, lambda text: echo(f"note: {text}", err=True))


def read_hire(wrongs: CollectedErrors, fleet: Path | None, scale: str | None, wait: int | None) -> Hire | None:
    """What the options say of a fleet; None where they name none."""
    parsed = wrongs.parse("--scale", scale, parse_scale)
    if scale is not None and fleet is None:
        wrongs.add("--scale is for a fleet on AWS", "add --fleet FILE")
    if scale is not None and wait is not None:
        wrongs.add("--wait beside --scale: all agents that it brings are waited for", "leave it out")
    if fleet is None:
        return None
    try:
        file = read(fleet)
    except (LoadgenError, ExceptionGroup) as error:
        found = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        wrongs.found.extend(one for one in found if isinstance(one, LoadgenError))
        return None
    return Hire(file, fleet, parsed)


@contextmanager
def hired_for(
    wrongs: CollectedErrors, hire: Hire | None, spec: PlanSpec, place: Place | None, *, is_quiet: bool, runs: int = 1
) -> Iterator[int | None]:
    """The agents that --scale brings are up within: how many a run may wait for. None: it brings none."""
    terms = None if hire is None else hire.terms(wrongs, spec, runs)
    wrongs.check()
    if hire is None or terms is None or place is None:
        yield None
        return

    def say(text: str) -> None:
        if not is_quiet:
            echo(text, err=True)

    with hired(hire.open(), terms, place, say) as raised:
        yield sum(raised.registered.get(region, 0) for region in terms.wish)


@contextmanager
def hired(site: Site, terms: Terms, place: Place, say: Callable[[str], None]) -> Iterator[Raised]:
    """A fleet that is up within.

    Raises:
        LoadgenError: it does not come up; what came is ended again.
    """
    with _as_interrupts():
        raised = bring_up(site, terms, roll_of(place), told_stands)
        say(f"up: {sum(raised.registered.values())} agents are registered")
        try:
            yield raised
        finally:
            _let_go(site, raised, place, say)


def _let_go(site: Site, raised: Raised, place: Place, say: Callable[[str], None]) -> None:
    """The fleet as it was before. Interrupted it is left to its end at AWS, which is told."""
    say(f"taking down {len(raised.new)} machines")
    try:
        with suppress(LoadgenError):  # a controller that is gone has no run to stop
            _stop_runs(site, raised, place, say)
        stays = {step.region: step.there for step in raised.plan.steps}
        done = take_down(site, stays, roll_of(place), only=raised.new, by_force=True)
    except (LoadgenError, ExceptionGroup, KeyboardInterrupt):
        site.warn(
            f"the fleet is not down; AWS ends it at {raised.plan.expires:%H:%M UTC}, and loadgen fleet down before that"
        )
        raise
    say(f"down: {len(done.leaving)} machines are gone")


def _stop_runs(site: Site, raised: Raised, place: Place, say: Callable[[str], None]) -> None:
    """Those that still work on our machines: drained first, for as long as that takes a sound run."""
    roll, deadline_s = roll_of(place), time.monotonic() + STOP_S
    asked: set[str] = set()
    while runs := {one.run_id for one in roll() if one.machine in raised.new and one.run_id and one.presence != "lost"}:
        for run in runs - asked:
            say(f"stopping {run}, which still goes on")
            asked.add(run)
            call(place, lambda client, run=run: client.ask(ControlRequest(run_id=run, do="stop")))  # type: ignore[misc]
        if time.monotonic() >= deadline_s:
            return
        site.sleep(_LOOK_S)


@contextmanager
def _as_interrupts() -> Iterator[None]:
    """A terminal that is closed and a `kill` are as Ctrl-C within: what is up is taken down."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def roll_of(place: Place) -> Roll:
    """Asks the controller there. Blocking; not within a running loop."""

    def roll() -> list[Registration]:
        agents = call(place, lambda client: client.agents())
        return [Registration(one.id, one.presence, one.run_id, one.note) for one in agents]

    return roll


def told_stands(stands: tuple[Stand, ...], reasons: Mapping[str, Reason]) -> None:
    """A line for each region: "eu-west-1: 2 registered, 1 launching"."""
    for line in _lines(stands, reasons):
        echo(line)


def _lines(stands: tuple[Stand, ...], reasons: Mapping[str, Reason]) -> Iterator[str]:
    for region in sorted({stand.region for stand in stands} | set(reasons)):
        counted = Counter(stand.standing.value for stand in stands if stand.region == region)
        parts = [f"{number} {standing}" for standing, number in sorted(counted.items(), reverse=True)]
        if region in reasons:
            parts.append(reasons[region].text)
        yield f"{region}: {', '.join(parts)}"
