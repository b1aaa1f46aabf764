"""Brings a fleet up, and back to what it was where that does not come to a good end.

    look whose it is -> room in the account's quotas -> take the lock -> the end of its time, at AWS -> labels
      -> so many machines -> wait until they are registered at the controller -> all are here, or enough of them

The end of its time is set before the first machine starts: whatever becomes of this program,
AWS itself lowers each group to none then. Where it fails, is interrupted or too few come, the
machines that are new are ended again, and each group is as it was.

Everything blocks. Waiting goes by the site's clock, so that it is tested without sleeping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from loadgen.aws.account.fleet_context import Roll, Site
from loadgen.aws.account.locks import held
from loadgen.aws.account.names import TAG_EXPIRES_AT, TAG_RUN
from loadgen.aws.scale import groups as aws
from loadgen.aws.scale.groups import Group
from loadgen.aws.scale.machines import Registration, Stand, Standing, counts, join
from loadgen.aws.scale.quotas import Room, check_quotas
from loadgen.aws.scale.regions import in_each
from loadgen.aws.scale.scaling import Step, Upward, needed, plan_up
from loadgen.aws.scale.start_failures import Reason, main_reason
from loadgen.errors import FleetError, LoadgenError

__all__ = ["POLL_S", "Raised", "Terms", "bring_up", "planned", "rooms", "stamp"]

POLL_S: Final = 5.0
_LOCK_SPARE_S: Final = 120.0

Tell = Callable[[tuple[Stand, ...], Mapping[str, Reason]], None]
"""Called at each look that is not as the one before: where each machine stands, and why some did not start."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a fleet is to come up."""

    wish: Mapping[str, int]
    ttl_s: float | None = None
    """None: as the fleet's policy says."""
    least: int | None = None
    """Go on with so many where not all come in time; None: the policy's share."""
    wait_s: float = 600.0
    run: str = ""
    """What it is for: the value of a tag."""
    keeps: bool = False
    """To leave what has come where it fails, for who wants to look at it."""


@dataclass(frozen=True, slots=True)
class Raised:
    """A fleet that is up."""

    plan: Upward
    stands: tuple[Stand, ...]
    registered: Mapping[str, int]
    """By region."""
    missing: Mapping[str, str]
    """Why there are fewer than wished, by region."""
    new: frozenset[str]
    """Machines that were not there before."""


def planned(site: Site, terms: Terms) -> tuple[Upward, list[Group]]:
    """What would be done. Changes nothing.

    Raises:
        UsageError: it is not allowed, or not ours.
    """
    groups = site.groups()
    return plan_up(site.file, groups, terms.wish, site.now(), terms.ttl_s), groups


def rooms(site: Site, terms: Terms, plan: Upward, groups: Sequence[Group]) -> list[Room]:
    """What the account's quotas leave. Changes nothing.

    Raises:
        QuotaReached: not enough for those who have to come; a group where it is so in several regions.
    """
    return check_quotas(site, plan, groups, needed(plan.wanted, site.file.policy.min_share, terms.least))


def bring_up(site: Site, terms: Terms, roll: Roll, tell: Tell) -> Raised:
    """
    Raises:
        UsageError: it is not allowed, or not ours; nothing was done.
        FleetError: it did not come up, and why; what came is ended again.
        KeyboardInterrupt: so is it then.
    """
    roll()  # a controller that cannot be asked is found out before anything costs money
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
        plan, before = planned(site, terms)  # as it is now that nobody else changes it
        there = frozenset(machine.id for machine in site.machines())
        by_region = {group.region: group for group in before}
        try:
            in_each([step.region for step in plan.steps], lambda region: _raise(site, terms, plan, by_region[region]))
            return _await(site, terms, plan, by_region, there, roll, tell)
        except BaseException:
            if not terms.keeps:
                _undo(site, [by_region[step.region] for step in plan.steps], there)
            raise


def stamp(at: datetime) -> str:
    """As in tags."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _raise(site: Site, terms: Terms, plan: Upward, group: Group) -> None:
    """One group: first its end, then its machines."""
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
    roll: Roll,
    tell: Tell,
) -> Raised:
    began, seen = site.now(), None
    wanted = {step.region: step.wanted for step in plan.steps}
    while True:
        stands = join(site.machines(), _asked(roll), site.now())
        registered = counts(stands)
        short = [region for region, number in wanted.items() if registered.get(region, 0) < number]
        reasons = _reasons(site, [groups[region] for region in short], began)
        if (look := (_shape(stands), tuple(reasons.items()))) != seen:
            seen = look
            tell(stands, reasons)
        if not short:
            return Raised(plan, stands, registered, {}, _new(stands, there))
        is_hopeless = all(region in reasons and reasons[region].is_lasting for region in short)
        if is_hopeless or (site.now() - began).total_seconds() >= terms.wait_s:
            return _partial(site, terms, plan, groups, there, stands, reasons)
        site.sleep(POLL_S)


def _partial(
    site: Site,
    terms: Terms,
    plan: Upward,
    groups: Mapping[str, Group],
    there: frozenset[str],
    stands: tuple[Stand, ...],
    reasons: Mapping[str, Reason],
) -> Raised:
    """Not all have come. Enough: those who are here, and the others are not waited for any more."""
    registered = counts(stands)
    missing = {step.region: _why(step, stands, reasons) for step in plan.steps if _is_short(step, registered)}
    came = sum(min(registered.get(step.region, 0), step.wanted) for step in plan.steps)
    least = needed(plan.wanted, site.file.policy.min_share, terms.least)
    if came < least or not came:
        main = main_reason(reasons.values())
        kind = FleetError if main is None else main.kind
        told = "; ".join(f"{region}: {why}" for region, why in missing.items())
        raise kind(
            f"{came} of {plan.wanted} agents came, and {least} are needed: {told}",
            hint="--min N goes on with fewer; --keep leaves them to look at; docs/fleet.md says what to look for",
        )
    here = {stand.machine.id for stand in stands if stand.standing is Standing.REGISTERED}
    gone = [
        stand for stand in stands if stand.machine.id not in here | there and stand.standing is not Standing.LEAVING
    ]
    for region in missing:
        ends = [stand.machine.id for stand in gone if stand.region == region]
        lower_to(site, groups[region], registered.get(region, 0), ends)
    return Raised(plan, stands, registered, missing, _new(stands, there) & here)


def _undo(site: Site, before: Iterable[Group], there: frozenset[str]) -> None:
    """Each group as it was. What cannot be undone ends with its time, and that is told."""
    for group in before:
        try:
            now = aws.read_group(site.clients, group.region, group.name) or group
            lower_to(site, group, group.desired, [one for one in now.machines if one not in there])
        except LoadgenError as error:
            site.warn(
                f"{group.region} could not be put back ({error.message}); AWS ends its machines when their time is"
                " over, and loadgen fleet down does it before"
            )


def lower_to(site: Site, group: Group, number: int, ends: Iterable[str] = ()) -> None:
    """A group is to have so many: these machines are ended, then what it wishes for is lowered.

    It is not lowered below the machines that are left, but to none: AWS would choose which of them go.

    Raises:
        LoadgenError: not all could be ended; all were tried.
    """
    failed: list[LoadgenError] = []
    for machine in ends:
        try:
            end_machine(site, group.region, machine)
        except LoadgenError as error:
            failed.append(error)
    now = aws.read_group(site.clients, group.region, group.name) or group
    least = max(number, len(now.machines)) if number else 0
    if now.desired > least:
        with site.audit.of("set desired", region=group.region, group=group.name, before=now.desired, after=least):
            aws.set_desired(site.clients, group, least)
    if failed:
        raise failed[0]
    if number == 0:
        with site.audit.of("clear expiry", region=group.region, group=group.name):
            aws.unset_expiry(site.clients, group)


def end_machine(site: Site, region: str, machine: str) -> None:
    with site.audit.of("terminate", region=region, machine=machine):
        aws.terminate(site.clients, region, machine)


def _asked(roll: Roll) -> Iterable[Registration]:
    """While machines start a controller may be away for a moment: then nobody is registered."""
    try:
        return tuple(roll())
    except FleetError:
        return ()


def _reasons(site: Site, groups: Iterable[Group], since: datetime) -> dict[str, Reason]:
    found = in_each(
        (by_region := {group.region: group for group in groups}),
        lambda region: main_reason(aws.failures_since(site.clients, by_region[region], since)),
    )
    return {region: reason for region, reason in found.items() if reason is not None}


def _why(step: Step, stands: Iterable[Stand], reasons: Mapping[str, Reason]) -> str:
    """Of one region: "2 of 3, AWS has no such machines there just now, i-0abc launching"."""
    here = [stand for stand in stands if stand.region == step.region]
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


def _new(stands: Iterable[Stand], there: frozenset[str]) -> frozenset[str]:
    return frozenset(stand.machine.id for stand in stands) - there


def _shape(stands: Iterable[Stand]) -> tuple[tuple[str, str], ...]:
    """What of a look is worth telling."""
    return tuple((stand.machine.id, stand.standing.value) for stand in stands)


def _step_of(plan: Upward, region: str) -> Step:
    return next(step for step in plan.steps if step.region == region)
