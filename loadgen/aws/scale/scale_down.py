"""Shrinks a fleet or takes it down, and waits until the machines have ended.

Machines whose agents are idle end first. AWS notifies a machine before it ends: its agent then hands its share to the
other agents, delivers its measurements and leaves. The command can be repeated; it then does only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.aws.account.fleet_context import ReadRegistry, Site
from loadgen.aws.account.locks import held
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.in_each_region import in_each
from loadgen.aws.scale.machine_states import Machine, MachineState, Registration, Standing, join
from loadgen.aws.scale.scale_up import POLL_S, lower_to
from loadgen.errors import FleetError, UsageError

__all__ = ["Downward", "plan_down", "take_down"]

GONE_S: Final = 300.0
"""Seconds to wait for the end of the machines: 2 minutes for the lifecycle hook, the rest for the shutdown."""
_ORDER: Final = (Standing.MISSING, Standing.LAUNCHING, Standing.BOOTED, Standing.REGISTERED)


@dataclass(frozen=True, slots=True)
class Downward:
    """A plan to shrink a fleet."""

    leaving: tuple[MachineState, ...]
    """The machines to end."""
    stays: Mapping[str, int]
    """The number of machines that stay, by region."""
    lowered: tuple[str, ...]
    """Regions whose group's desired capacity must be lowered."""

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of the runs in which leaving agents take part, sorted."""
        return tuple(sorted({one.run_id for one in self.leaving if one.run_id}))

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not self.leaving and not self.lowered


def plan_down(
    groups: Sequence[Group],
    states: Iterable[MachineState],
    stays: Mapping[str, int],
    only: frozenset[str] | None = None,
) -> Downward:
    """Choose the machines to end, so that at most `stays` machines stay in each region of `stays`. Pure.

    Missing machines end first, then starting ones, idle agents, and agents in a run last; among equals, the youngest
    first.

    only: end exactly these machines instead, as far as they are in the regions of `stays`.
    """
    leaving: list[MachineState] = []
    here = [one for one in states if one.standing is not Standing.LEAVING]
    for region, number in stays.items():
        ours = [one for one in here if one.region == region]
        ours.sort(key=lambda one: (_ORDER.index(one.standing), bool(one.run_id), -one.machine.launched_at.timestamp()))
        goes = ours[: max(0, len(ours) - number)]
        leaving += goes if only is None else [one for one in ours if one.machine.id in only]
    lowered = tuple(group.region for group in groups if group.desired > stays.get(group.region, group.desired))
    return Downward(tuple(leaving), dict(stays), lowered)


def take_down(
    site: Site,
    stays: Mapping[str, int],
    read_registry: ReadRegistry,
    report: Callable[[Sequence[Machine]], None] = lambda _: None,
    *,
    only: frozenset[str] | None = None,
    by_force: bool = False,
    wait_s: float = GONE_S,
    is_dry: bool = False,
) -> Downward:
    """Shrink the fleet to `stays` machines by region, and wait until the other machines have ended.

    Args:
        report: called with the machines that are left, each time they change.
        only: end exactly these machines.
        by_force: go on even if agents take part in a run, the controller does not answer, or another process holds
            the fleet's lock.
        is_dry: return the plan and change nothing.

    Raises:
        UsageError: agents take part in a run.
        FleetError: the controller does not answer, another process is changing the fleet, or machines have not ended
            within `wait_s`.
    """
    groups = site.groups()
    plan = plan_down(groups, join(site.machines(), _registrations(read_registry, by_force), site.now()), stays, only)
    if plan.runs and not by_force:
        raise UsageError(
            f"{sum(bool(one.run_id) for one in plan.leaving)} of these agents take part in {', '.join(plan.runs)}",
            hint=f"wait for the end of the run, or use loadgen stop {plan.runs[0]};"
            " with --force the agents leave during the run",
        )
    if is_dry or plan.is_nothing:
        return plan
    with held(
        site.clients,
        site.file.bucket_region,
        site.file.bucket,
        by=site.audit.by,
        doing="down",
        now=site.now(),
        lasts_s=wait_s + 60,
        by_force=by_force,
    ):
        by_region = {group.region: group for group in groups}
        in_each(stays, lambda region: _lower(site, by_region[region], plan))
        _await_end(site, plan, report, wait_s)
    return plan


def _lower(site: Site, group: Group, plan: Downward) -> None:
    here = [one.machine.id for one in plan.leaving if one.region == group.region]
    # A machine outside the group cannot be ended through it; `reap` ends such machines.
    lower_to(site, group, plan.stays[group.region], [one for one in here if one in group.machines])


def _await_end(site: Site, plan: Downward, report: Callable[[Sequence[Machine]], None], wait_s: float) -> None:
    began, seen = site.now(), None
    leaving = {one.machine.id for one in plan.leaving}
    while True:
        left = [machine for machine in site.machines() if machine.id in leaving]
        if (ids := [(machine.id, machine.state) for machine in left]) != seen:
            seen = ids
            report(left)
        if not left:
            return
        if (site.now() - began).total_seconds() >= wait_s:
            raise FleetError(
                f"{len(left)} machines have not ended after {wait_s:.0f} s: "
                + ", ".join(f"{one.id} in {one.region} ({one.state})" for one in left[:5]),
                hint="check them with loadgen fleet ls, and repeat loadgen fleet down",
            )
        site.sleep(POLL_S)


def _registrations(read_registry: ReadRegistry, by_force: bool) -> Iterable[Registration]:
    try:
        return tuple(read_registry())
    except FleetError as error:
        if by_force:
            return ()
        raise FleetError(
            f"cannot check whether the fleet is in a run: {error.message}",
            hint="start the controller, or use --force to take the fleet down without the check",
        ) from error
