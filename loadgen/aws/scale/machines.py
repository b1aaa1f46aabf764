"""Where each machine of a fleet stands: what EC2 says of it, joined with who is registered at the controller.

    pending; or running, not registered, for less than PATIENCE_S     launching
    running, says of itself that it is ready, not registered yet      booted
    registered at the controller                                      registered
    running for longer and not registered; its start failed; silent   missing
    told to go, or going                                              leaving

To run is not to be registered: between the two are the start, the enrolment, and all that
may be closed between machine and controller. Pure: no clock, no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from loadgen.aws.account.names import TAG_BOOT, TAG_EXPIRES_AT, TAG_FLEET, TAG_OWNER, TAG_RUN, Boot

__all__ = ["PATIENCE_S", "Machine", "Registration", "Stand", "Standing", "counts", "join"]

PATIENCE_S: Final = 240.0
"""From launch to registration. Ours are to be ready after 90 s; a slow start is no lost machine."""


class Standing(StrEnum):
    LAUNCHING = "launching"
    BOOTED = "booted"
    REGISTERED = "registered"
    MISSING = "missing"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance that carries our tags."""

    id: str
    region: str
    kind: str
    """c7i.xlarge"""
    state: str
    """As EC2 has it: pending, running, shutting-down, stopping, stopped."""
    launched_at: datetime
    group: str = ""
    """Of the Auto Scaling group that it belongs to."""
    zone: str = ""
    is_spot: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_going(self) -> bool:
        return self.state not in ("pending", "running")

    @property
    def fleet(self) -> str:
        return self.tags.get(TAG_FLEET, "")

    @property
    def owner(self) -> str:
        return self.tags.get(TAG_OWNER, "")

    @property
    def run(self) -> str:
        return self.tags.get(TAG_RUN, "")

    @property
    def expires_at(self) -> str:
        return self.tags.get(TAG_EXPIRES_AT, "")


@dataclass(frozen=True, slots=True)
class Registration:
    """An agent, as the controller lists it."""

    agent: str
    """The id of its machine, and where it has several processes ".more"."""
    presence: str
    """"here", "suspected" or "lost"."""
    run_id: str = ""
    """That it works for; empty: idle."""
    note: str = ""

    @property
    def machine(self) -> str:
        return self.agent.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Stand:
    """One machine and where it stands."""

    machine: Machine
    standing: Standing
    why: str = ""
    run_id: str = ""

    @property
    def region(self) -> str:
        return self.machine.region


def join(
    machines: Iterable[Machine], agents: Iterable[Registration], now: datetime, patience_s: float = PATIENCE_S
) -> tuple[Stand, ...]:
    """All machines, by region and age."""
    by_machine: dict[str, Registration] = {}
    for agent in agents:
        known = by_machine.get(agent.machine)
        if known is None or known.presence == "lost":
            by_machine[agent.machine] = agent
    ordered = sorted(machines, key=lambda one: (one.region, one.launched_at, one.id))
    return tuple(_stand(one, by_machine.get(one.id), now, patience_s) for one in ordered)


def counts(stands: Iterable[Stand], standing: Standing = Standing.REGISTERED) -> dict[str, int]:
    """How many stand so, by region."""
    return dict(Counter(one.region for one in stands if one.standing is standing))


def _stand(machine: Machine, agent: Registration | None, now: datetime, patience_s: float) -> Stand:
    run_id = "" if agent is None else agent.run_id
    if machine.is_going:
        return Stand(machine, Standing.LEAVING, machine.state, run_id)
    if agent is not None and agent.presence != "lost":
        return Stand(machine, Standing.REGISTERED, "", run_id)
    if machine.tags.get(TAG_BOOT) == Boot.FAILED:
        return Stand(machine, Standing.MISSING, "its start failed")
    age_s = (now - machine.launched_at).total_seconds()
    if agent is not None:
        return Stand(machine, Standing.MISSING, f"lost: {agent.note}" if agent.note else "lost")
    if age_s >= patience_s:
        return Stand(machine, Standing.MISSING, f"not registered {age_s:.0f} s after its launch")
    if machine.tags.get(TAG_BOOT) == Boot.READY:
        return Stand(machine, Standing.BOOTED)
    return Stand(machine, Standing.LAUNCHING, machine.state)
