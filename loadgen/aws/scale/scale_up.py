"""Brings a fleet up, and restores its former size if that fails.

    check that the fleet is ours -> check the account's quotas -> take the lock -> set the expiry at AWS -> set tags
      -> set the number of machines -> wait until all agents, or enough of them, are registered

The expiry is set before the first machine starts. So AWS ends the machines at that time even if this program dies.
If an error or an interrupt occurs or too few agents register, the new machines are ended and each group gets its
former number.

Everything blocks. The waiting uses the site's clock, so tests need no sleep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from loadgen.aws.account.fleet_context import ReadRegistry, Site
from loadgen.aws.account.locks import held
from loadgen.aws.account.names import TAG_EXPIRES_AT, TAG_RUN
from loadgen.aws.scale import groups as aws
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.in_each_region import in_each
from loadgen.aws.scale.machine_states import MachineState, Registration, Standing, counts, join
from loadgen.aws.scale.quotas import Room, check_quotas
from loadgen.aws.scale.scaling_plan import Step, Upward, needed, plan_up
from loadgen.aws.scale.start_failures import Reason, main_reason
from loadgen.errors import FleetError, LoadgenError

__all__ = ["POLL_S", "ScaleUpResult", "Terms", "bring_up", "planned", "rooms", "stamp"]

POLL_S: Final = 5.0
_LOCK_SPARE_S: Final = 120.0

Report = Callable[[tuple[MachineState, ...], Mapping[str, Reason]], None]
"""Called with the state of all machines and the start failures by region, whenever one of them has changed."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A request to bring a fleet up."""

    wish: Mapping[str, int]
    """Agents by region."""
    ttl_s: float | None = None
    """Lifetime of the fleet; None: the policy's."""
    least: int | None = None
    """Agents that are enough if not all register in time; None: the policy's share."""
    wait_s: float = 600.0
    """Seconds to wait for the agents to register."""
    run: str = ""
    """The value of the machines' tag loadgen:run, which names the purpose."""
    keeps: bool = False
    """After a failure, leave the new machines running, so that the operator can examine them."""


@dataclass(frozen=True, slots=True)
class ScaleUpResult:
    """The result of bringing a fleet up."""

    plan: Upward
    states: tuple[MachineState, ...]
    registered: Mapping[str, int]
    """Registered agents by region."""
    missing: Mapping[str, str]
    """Regions with fewer agents than requested, and the reason."""
    new: frozenset[str]
    """Ids of the machines that were started."""


def planned(site: Site, terms: Terms) -> tuple[Upward, list[Group]]:
    """Return the plan to bring the fleet up, and the fleet's groups. Changes nothing.

    Raises:
        UsageError: the policy forbids the plan, or a group is not this fleet's.
    """
    groups = site.groups()
    return plan_up(site.file, groups, terms.wish, site.now(), terms.ttl_s), groups


def rooms(site: Site, terms: Terms, plan: Upward, groups: Sequence[Group]) -> list[Room]:
    """Check the plan against the account's quotas. Changes nothing.

    Raises:
        QuotaReached: the quotas allow fewer agents than are needed.
        ExceptionGroup: the same, in several regions.
    """
    return check_quotas(site, plan, groups, needed(plan.wanted, site.file.policy.min_share, terms.least))


def bring_up(site: Site, terms: Terms, read_registry: ReadRegistry, report: Report) -> ScaleUpResult:
    """Grow the fleet to at least `terms.wish` machines in each region, and wait until their agents are registered.

    If the wait ends with fewer, but enough agents (`terms.least`, else the share in the policy), they are accepted, and
    the machines without a registered agent are ended.

    On every exception, including KeyboardInterrupt, the new machines are ended again unless `terms.keeps`.

    Raises:
        UsageError: the policy forbids it, or the fleet is not ours; nothing was changed.
        FleetError: too few agents registered, or a call to AWS failed.
    """
    read_registry()  # raises if the controller does not answer, before anything costs money
    rooms(site, terms, *planned(site, terms))
    doing = "up " + ",".join(f"{region}={number}" for region, number in terms.wish.items())
    with held(
        site.clients,
        site.file.bucket_region,
        site.file.bucket,
        by=site.audit.by,
        doing=doing,
        now=site.now(),
        lasts_s=terms.wait_s + _LOCK_SPARE_S,
    ):
        plan, before = planned(site, terms)  # plan again: the fleet may have changed until we got the lock
        there = frozenset(machine.id for machine in site.machines())
        by_region = {group.region: group for group in before}
        try:
            in_each([step.region for step in plan.steps], lambda region: _raise(site, terms, plan, by_region[region]))
            return _await(site, terms, plan, by_region, there, read_registry, report)
        except BaseException:
            if not terms.keeps:
                _undo(site, [by_region[step.region] for step in plan.steps], there)
            raise


def stamp(at: datetime) -> str:
    """Format a time as in tags: 2026-11-26T14:00:00Z. at: UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _raise(site: Site, terms: Terms, plan: Upward, group: Group) -> None:
    """Set one group's expiry and tags, then its number of machines."""
    step = _step_of(plan, group.region)
    where = {"region": group.region, "group": group.name}
    if group.is_protecting:
        with site.audit.of("unprotect", **where):
            aws.unprotect(site.clients, group)
    with site.audit.of("set expiry", ends_at=stamp(plan.expires), **where):
        aws.set_expiry(site.clients, group, plan.expires)
    tags = {TAG_EXPIRES_AT: stamp(plan.expires), **({TAG_RUN: terms.run} if terms.run else {})}
    with site.audit.of("label", tags=tags, **where):
        aws.label(site.clients, group, tags)
    if step.more > 0:
        with site.audit.of("set desired", before=step.there, after=step.wanted, **where):
            aws.set_desired(site.clients, group, step.wanted)


def _await(
    site: Site,
    terms: Terms,
    plan: Upward,
    groups: Mapping[str, Group],
    there: frozenset[str],
    read_registry: ReadRegistry,
    report: Report,
) -> ScaleUpResult:
    began, seen = site.now(), None
    wanted = {step.region: step.wanted for step in plan.steps}
    while True:
        states = join(site.machines(), _registrations(read_registry), site.now())
        registered = counts(states)
        short = [region for region, number in wanted.items() if registered.get(region, 0) < number]
        reasons = _reasons(site, [groups[region] for region in short], began)
        if (look := (_shape(states), tuple(reasons.items()))) != seen:
            seen = look
            report(states, reasons)
        if not short:
            return ScaleUpResult(plan, states, registered, {}, _new(states, there))
        is_hopeless = all(region in reasons and reasons[region].is_lasting for region in short)
        if is_hopeless or (site.now() - began).total_seconds() >= terms.wait_s:
            return _accept_partial(site, terms, plan, groups, there, states, reasons)
        site.sleep(POLL_S)


def _accept_partial(
    site: Site,
    terms: Terms,
    plan: Upward,
    groups: Mapping[str, Group],
    there: frozenset[str],
    states: tuple[MachineState, ...],
    reasons: Mapping[str, Reason],
) -> ScaleUpResult:
    """Go on with the registered agents if they are enough, and end the machines that did not register.

    Raises:
        FleetError: fewer agents than needed are registered.
    """
    registered = counts(states)
    missing = {step.region: _why(step, states, reasons) for step in plan.steps if _is_short(step, registered)}
    came = sum(min(registered.get(step.region, 0), step.wanted) for step in plan.steps)
    least = needed(plan.wanted, site.file.policy.min_share, terms.least)
    if came < least or not came:
        main = main_reason(reasons.values())
        kind = FleetError if main is None else main.kind
        reasons_text = "; ".join(f"{region}: {why}" for region, why in missing.items())
        raise kind(
            f"{came} of {plan.wanted} agents registered, but {least} are needed: {reasons_text}",
            hint="see docs/fleet.md; --min N accepts fewer agents, --keep leaves the machines up for examination",
        )
    here = {one.machine.id for one in states if one.standing is Standing.REGISTERED}
    gone = [one for one in states if one.machine.id not in here | there and one.standing is not Standing.LEAVING]
    for region in missing:
        ends = [one.machine.id for one in gone if one.region == region]
        lower_to(site, groups[region], registered.get(region, 0), ends)
    return ScaleUpResult(plan, states, registered, missing, _new(states, there) & here)


def _undo(site: Site, before: Iterable[Group], there: frozenset[str]) -> None:
    """Give each group its former size, and end the new machines. Print a warning for a region where that fails."""
    for group in before:
        try:
            now = aws.read_group(site.clients, group.region, group.name) or group
            lower_to(site, group, group.desired, [one for one in now.machines if one not in there])
        except LoadgenError as error:
            site.warn(
                f"cannot restore {group.region} ({error.message}); AWS ends its machines when the fleet expires:"
                " use loadgen fleet down to end them now"
            )


def lower_to(site: Site, group: Group, number: int, ends: Iterable[str] = ()) -> None:
    """End the machines `ends` of a group, then lower its desired number to `number`.

    If more machines than `number` are left, the desired number stays at their count, because AWS would choose itself
    which of them to end. If `number` is 0, it is set to 0 and the group's expiry is removed.

    Raises:
        LoadgenError: a machine could not be ended. All others were ended before this is raised.
    """
    failed: list[LoadgenError] = []
    for machine in ends:
        try:
            end_machine(site, group.region, machine)
        except LoadgenError as error:
            failed.append(error)
    # Read again, because each termination has lowered the desired number by one.
    now = aws.read_group(site.clients, group.region, group.name) or group
    least = max(number, len(now.machines)) if number else 0
    if now.desired > least:
        with site.audit.of("set desired", region=group.region, group=group.name, before=now.desired, after=least):
            aws.set_desired(site.clients, group, least)
    # Before the expiry is removed, because it still has to end the machines that are left.
    if failed:
        raise failed[0]
    if number == 0:
        with site.audit.of("clear expiry", region=group.region, group=group.name):
            aws.unset_expiry(site.clients, group)


def end_machine(site: Site, region: str, machine: str) -> None:
    """End one machine of a group, with an entry in the audit log."""
    with site.audit.of("terminate", region=region, machine=machine):
        aws.terminate(site.clients, region, machine)


def _registrations(read_registry: ReadRegistry) -> Iterable[Registration]:
    """Read the registry; empty if the controller does not answer, as it may restart while machines start."""
    try:
        return tuple(read_registry())
    except FleetError:
        return ()


def _reasons(site: Site, groups: Iterable[Group], since: datetime) -> dict[str, Reason]:
    found = in_each(
        (by_region := {group.region: group for group in groups}),
        lambda region: main_reason(aws.failures_since(site.clients, by_region[region], since)),
    )
    return {region: reason for region, reason in found.items() if reason is not None}


def _why(step: Step, states: Iterable[MachineState], reasons: Mapping[str, Reason]) -> str:
    """Describe a region's shortage: "2 of 3, AWS has no capacity for these machines now, i-0abc launching"."""
    here = [one for one in states if one.region == step.region]
    parts = [f"{sum(one.standing is Standing.REGISTERED for one in here)} of {step.wanted}"]
    if step.region in reasons:
        parts.append(reasons[step.region].text)
    late = [one for one in here if one.standing in (Standing.LAUNCHING, Standing.BOOTED, Standing.MISSING)]
    parts += [f"{one.machine.id} {one.why or one.standing}" for one in late[:3]]
    if len(late) > 3:
        parts.append(f"and {len(late) - 3} more machines that are not registered")
    return ", ".join(parts)


def _is_short(step: Step, registered: Mapping[str, int]) -> bool:
    return registered.get(step.region, 0) < step.wanted


def _new(states: Iterable[MachineState], there: frozenset[str]) -> frozenset[str]:
    return frozenset(one.machine.id for one in states) - there


def _shape(states: Iterable[MachineState]) -> tuple[tuple[str, str], ...]:
    """Return the part of the states that is compared to decide whether to report again."""
    return tuple((one.machine.id, one.standing.value) for one in states)


def _step_of(plan: Upward, region: str) -> Step:
    return next(step for step in plan.steps if step.region == region)
