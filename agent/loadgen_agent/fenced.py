"""What the allow-list of a Prepare means for one worker: it is checked here again, whatever the controller found."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from loadgen.allow import Address, AllowList
from loadgen.clients import place_of
from loadgen.dsl.allowed import Limits, check
from loadgen.dsl.plan import Plan
from loadgen.engine.probe import addresses_of
from loadgen.errors import UsageError
from loadgen.hostport import host_port
from loadgen.wire.messages import Prepare

__all__ = ["Fenced", "fenced", "places_of"]


@dataclass(frozen=True, slots=True)
class Fenced:
    """allow: None: no list holds. own: the control plane's places."""

    allow: AllowList | None
    limits: Limits
    own: frozenset[tuple[Address, int]]


def fenced(prepare: Prepare, plan: Plan) -> Fenced:
    """
    Raises:
        UsageError: the list does not admit the plan; says all that it does not.
        ValueError: the list is none.
    """
    own = places_of(prepare.control_plane)
    if not prepare.allow_json:
        return Fenced(None, Limits(), own)
    allow = AllowList.from_json(prepare.allow_json)
    limits, refused = check(plan.spec(), plan.http, allow, datetime.now(UTC), addresses_of)
    if refused:
        raise UsageError("; ".join(refused))
    return Fenced(allow, limits, own)


def places_of(texts: Collection[str]) -> frozenset[tuple[Address, int]]:
    """Of "10.0.0.7:5557" and "[::1]:5557"; texts of another form are left out."""
    found = set()
    for text in texts:
        try:
            found.add(place_of(*host_port(text)))
        except ValueError:
            continue
    return frozenset(found)
