"""Checks the allow-list of an order in the worker, independently of the controller's check."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from loadgen.allowlist import Address, AllowList
from loadgen.clients.net.target_guard import place_of
from loadgen.dsl.plans.allowlist_check import Limits, check
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.engine.health.process_health import addresses_of
from loadgen.errors import UsageError
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
    limits: Limits
    own: frozenset[tuple[Address, int]]
    """Addresses and ports of the control plane, which are never targets."""


def fenced(prepare: Prepare, plan: Plan) -> TargetLimits:
    """Check the plan against the order's allow-list and signed statement, and return the limits.

    Raises:
        UsageError: the allow-list does not admit the plan (the message lists every reason), or the plan's targets
            differ from those of the signed statement.
        BundleError: the statement is invalid.
        ValueError: the allow-list is invalid.
    """
    own = places_of(prepare.control_plane)
    signed = Limits()
    if prepare.statement:  # its signature was checked by the supervisor
        statement = Statement.read(prepare.statement)
        signed = statement.limits
        if why := statement.other_targets(plan.spec()):
            raise UsageError(why, hint="start the run again; if this repeats, do not trust the controller")
    if not prepare.allow_json:
        return TargetLimits(None, signed, own)
    allow = AllowList.from_json(prepare.allow_json)
    limits, refused = check(plan.spec(), plan.http, allow, datetime.now(UTC), addresses_of)
    if refused:
        raise UsageError("; ".join(refused), hint="change the plan, or ask the owner of the allow-list for an entry")
    return TargetLimits(allow, limits.stricter(signed), own)


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
