"""Checks a plan in the worker against allow-lists, independently of the controller's check.

There may be two: the list of the order, and one of the agent itself (`loadgen-agent --allow`), which its administrator
keeps. Both must admit each target, also targets to which only client libraries connect (`user.target("cache")`):
the connections of libraries are not checked in the run. Decision page 164 has the reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadgen.allowlist import Address, AllowList, read
from loadgen.clients.net.target_guard import place_of
from loadgen.dsl.plans.allowlist_check import Limits, check
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.engine.health.process_health import addresses_of
from loadgen.errors import ScenarioError, TargetNotAllowed, UsageError
from loadgen.hostport import host_port
from loadgen.profiles.profile import ArrivalProfile, UserProfile
from loadgen.profiles.stage import MAX_USERS
from loadgen.signed.launch_statement import Statement
from loadgen.wire.messages import Adjust, Prepare

__all__ = ["TargetLimits", "fenced", "places_of", "wrong_change"]


@dataclass(frozen=True, slots=True)
class TargetLimits:
    """The limits that the allow-list and the signed statement set for a worker."""

    allow: AllowList | None
    """None: the order has no allow-list."""
    also: AllowList | None
    """The allow-list of the agent itself; None: it has none."""
    limits: Limits
    own: frozenset[tuple[Address, int]]
    """Addresses and ports of the control plane, which are never targets."""


def fenced(prepare: Prepare, plan: Plan, own_list: Path | None = None) -> TargetLimits:
    """Check the plan against the order's allow-list, the agent's own, and the signed statement; return the limits.

    own_list: the file of the agent's own allow-list, which is read now; None: it has none.

    Raises:
        TargetNotAllowed: an allow-list does not admit the plan; the message lists every reason.
        UsageError: the plan's targets differ from those of the signed statement, or the agent's own list is invalid.
        BundleError: the statement is invalid.
        ValueError: the order's allow-list is invalid.
    """
    own = places_of(prepare.control_plane)
    signed = Limits()
    if prepare.statement:  # its signature was checked by the supervisor
        statement = Statement.read(prepare.statement)
        signed = statement.limits
        if why := statement.other_targets(plan.spec()):
            raise UsageError(why, hint="start the run again; if this repeats, do not trust the controller")
    allow = AllowList.from_json(prepare.allow_json) if prepare.allow_json else None
    limits = signed
    if allow is not None:
        hint = "change the plan, or ask the owner of the allow-list for an entry"
        limits = limits.stricter(_admitted(plan, allow, "", hint))
    also = None
    if own_list is not None:
        also = _own(own_list)
        hint = "change the plan, or ask the administrator of this agent for an entry"
        limits = limits.stricter(_admitted(plan, also, f" (the agent's own allow-list, {own_list.name})", hint))
    return TargetLimits(allow, also, limits, own)


def _admitted(plan: Plan, allow: AllowList, whose: str, hint: str) -> Limits:
    """Return the limits of a list that admits the plan.

    Raises:
        TargetNotAllowed: it does not.
    """
    limits, refused = check(plan.spec(), plan.http, allow, datetime.now(UTC), addresses_of)
    if refused:
        raise TargetNotAllowed([f"{one}{whose}" for one in refused], hint=hint)
    return limits


def _own(path: Path) -> AllowList:
    """Read the agent's own list.

    Raises:
        UsageError: it is invalid. Not ScenarioError, because the scenario is not at fault.
    """
    try:
        return read(path)
    except ScenarioError as error:
        raise UsageError(
            f"the agent's own allow-list is invalid: {error}", hint=f"correct {path.name} on this agent"
        ) from None


def wrong_change(lanes: Sequence[DrivenLoad], limits: Limits, adjust: Adjust) -> str:
    """Return why a worker must not follow a change of its load; empty if the change is within its limits.

    A controller checks the same. A worker never follows a change that exceeds the limits of its allow-list.
    """
    if adjust.load >= len(lanes):
        return f"load {adjust.load} is unknown: the plan has {len(lanes)}"
    most = max((max(stage.start, stage.end) for stage in adjust.stages), default=0.0)
    match lanes[adjust.load].profile:
        case UserProfile():
            return f"{most:g} users are too many" if most > MAX_USERS else limits.too_many(most)
        case ArrivalProfile():
            return limits.too_fast(most)
    return ""


def places_of(texts: Collection[str]) -> frozenset[tuple[Address, int]]:
    """Return the (address, port) pairs of texts like "10.0.0.7:5557" and "[::1]:5557". Other texts are left out."""
    found = set()
    for text in texts:
        try:
            found.add(place_of(*host_port(text)))
        except ValueError:
            continue
    return frozenset(found)
