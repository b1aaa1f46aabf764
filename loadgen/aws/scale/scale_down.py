"""Takes a fleet down: who does not work goes first, each machine is told before it ends, and all are seen to be gone.

A machine that is ended is told by its group first; its agent hands its share to the others, hands over
what it measured and leaves. Done again it does what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.aws.account.fleet_context import Roll, Site
from loadgen.aws.account.locks import held
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.machines import Machine, Registration, Stand, Standing, join
from loadgen.aws.scale.regions import in_each
from loadgen.aws.scale.scale_up import POLL_S, lower_to
from loadgen.errors import FleetError, UsageError

__all__ = ["Downward", "plan_down", "take_down"]

GONE_S: Final = 300.0
"""A machine may take the two minutes of its lifecycle hook to hand over, and some to end."""
_ORDER: Final = (Standing.MISSING, Standing.LAUNCHING, Standing.BOOTED, Standing.REGISTERED)


@dataclass(frozen=True, slots=True)
class Downward:
    """Who is to go, and how many stay by region."""

    leaving: tuple[Stand, ...]
    stays: Mapping[str, int]
    lowered: tuple[str, ...]
    """Regions whose group wishes for more than stay."""

    @property
    def runs(self) -> tuple[str, ...]:
        """That they work for."""
        return tuple(sorted({stand.run_id for stand in self.leaving if stand.run_id}))

    @property
    def is_nothing(self) -> bool:
        return not self.leaving and not self.lowered


def plan_down(
    groups: Sequence[Group], stands: Iterable[Stand], stays: Mapping[str, int], only: frozenset[str] | None = None
) -> Downward:
    """Who goes, so that no more than `stays` stay in each region that it names. Pure.

    Who is missing goes first, then who starts, then who is idle, and who works last; of these the youngest.

    only: these machines go, all of them and no others.
    """
    leaving: list[Stand] = []
    here = [stand for stand in stands if stand.standing is not Standing.LEAVING]
    for region, number in stays.items():
        ours = [stand for stand in here if stand.region == region]
        ours.sort(key=lambda one: (_ORDER.index(one.standing), bool(one.run_id), -one.machine.launched_at.timestamp()))
        goes = ours[: max(0, len(ours) - number)]
        leaving += goes if only is None else [one for one in ours if one.machine.id in only]
    lowered = tuple(group.region for group in groups if group.desired > stays.get(group.region, group.desired))
    return Downward(tuple(leaving), dict(stays), lowered)


def take_down(
    site: Site,
    stays: Mapping[str, int],
    roll: Roll,
    tell: Callable[[Sequence[Machine]], None] = lambda _: None,
    *,
    only: frozenset[str] | None = None,
    by_force: bool = False,
    wait_s: float = GONE_S,
    is_dry: bool = False,
) -> Downward:
    """
    Args:
        only: these machines, and no others.
        by_force: also where agents work for a run, a controller cannot be asked, or another has the lock.
        tell: called with who is still there, each time that changes.

    Raises:
        UsageError: agents work for a run.
        FleetError: the controller cannot be asked, another changes the fleet, or some are not gone in time.
    """
    groups = site.groups()
    plan = plan_down(groups, join(site.machines(), _asked(roll, by_force), site.now()), stays, only)
    if plan.runs and not by_force:
        raise UsageError(
            f"{sum(bool(one.run_id) for one in plan.leaving)} of these agents work for {', '.join(plan.runs)}",
            hint=f"wait for its end, or loadgen stop {plan.runs[0]}; --force has them leave in mid-run",
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
        _gone(site, plan, tell, wait_s)
    return plan


def _lower(site: Site, group: Group, plan: Downward) -> None:
    here = [stand.machine.id for stand in plan.leaving if stand.region == group.region]
    # One that no group has is not ours to end here; `reap` sees it.
    lower_to(site, group, plan.stays[group.region], [one for one in here if one in group.machines])


def _gone(site: Site, plan: Downward, tell: Callable[[Sequence[Machine]], None], wait_s: float) -> None:
    began, seen = site.now(), None
    leaving = {stand.machine.id for stand in plan.leaving}
    while True:
        left = [machine for machine in site.machines() if machine.id in leaving]
        if (ids := [(machine.id, machine.state) for machine in left]) != seen:
            seen = ids
            tell(left)
        if not left:
            return
        if (site.now() - began).total_seconds() >= wait_s:
            raise FleetError(
                f"{len(left)} machines are not gone after {wait_s:.0f} s: "
                + ", ".join(f"{one.id} in {one.region} ({one.state})" for one in left[:5]),
                hint="look again with loadgen fleet ls; loadgen fleet down may be given again",
            )
        site.sleep(POLL_S)


def _asked(roll: Roll, by_force: bool) -> Iterable[Registration]:
    try:
        return tuple(roll())
    except FleetError as error:
        if by_force:
            return ()
        raise FleetError(
            f"nobody can say whether a run goes on: {error.message}", hint="--force takes it down all the same"
        ) from error
