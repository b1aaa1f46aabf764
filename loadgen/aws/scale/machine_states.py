"""Combines EC2's list of machines with the controller's registry into the state of each machine of a fleet.

    pending; or running and not registered for less than PATIENCE_S     launching
    running, tagged as ready, not registered yet                        booted
    registered at the controller                                        registered
    running for longer and not registered; its start failed; lost       missing
    shutting down or stopped                                            leaving

A running machine is not yet a usable agent: its software must start, its key must be admitted, and the network
between it and the controller must be open. Pure: no clock, no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from loadgen.aws.account.names import TAG_BOOT, TAG_EXPIRES_AT, TAG_FLEET, TAG_OWNER, TAG_RUN, Boot

__all__ = ["PATIENCE_S", "Machine", "MachineState", "Registration", "Standing", "counts", "join"]

PATIENCE_S: Final = 240.0
"""Seconds from launch to registration. A machine should need 90 s; a slow start must not count as missing."""


class Standing(StrEnum):
    """The state of a machine; the table in the module's docstring defines the values."""

    LAUNCHING = "launching"
    BOOTED = "booted"
    REGISTERED = "registered"
    MISSING = "missing"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Machine:
    """An EC2 instance with the tags of an agent."""

    id: str
    region: str
    kind: str
    """The instance type, for example c7i.xlarge."""
    state: str
    """EC2's name of the state: pending, running, shutting-down, stopping, stopped."""
    launched_at: datetime
    group: str = ""
    """The name of its Auto Scaling group; empty if it has none."""
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
    """An agent in the controller's registry."""

    agent: str
    """The machine's instance id; if the machine runs several agents, followed by "." and a suffix."""
    presence: str
    """"here", "suspected" or "lost"."""
    run_id: str = ""
    """The run in which it takes part; empty: idle."""
    note: str = ""

    @property
    def machine(self) -> str:
        return self.agent.partition(".")[0]


@dataclass(frozen=True, slots=True)
class MachineState:
    """One machine and its state.

    why: for missing and leaving machines, the reason. run_id: the run in which its agent takes part, or empty.
    """

    machine: Machine
    standing: Standing
    why: str = ""
    run_id: str = ""

    @property
    def region(self) -> str:
        return self.machine.region


def join(
    machines: Iterable[Machine], agents: Iterable[Registration], now: datetime, patience_s: float = PATIENCE_S
) -> tuple[MachineState, ...]:
    """Return the state of each machine, sorted by region and launch time.

    patience_s: seconds from launch after which an unregistered machine is missing.
    """
    by_machine: dict[str, Registration] = {}
    for agent in agents:
        known = by_machine.get(agent.machine)
        # Of several agents on one machine, one that is not lost counts.
        if known is None or known.presence == "lost":
            by_machine[agent.machine] = agent
    ordered = sorted(machines, key=lambda one: (one.region, one.launched_at, one.id))
    return tuple(_machine_state(one, by_machine.get(one.id), now, patience_s) for one in ordered)


def counts(states: Iterable[MachineState], standing: Standing = Standing.REGISTERED) -> dict[str, int]:
    """Count the machines in one state, by region."""
    return dict(Counter(one.region for one in states if one.standing is standing))


def _machine_state(machine: Machine, agent: Registration | None, now: datetime, patience_s: float) -> MachineState:
    run_id = "" if agent is None else agent.run_id
    if machine.is_going:
        return MachineState(machine, Standing.LEAVING, machine.state, run_id)
    if agent is not None and agent.presence != "lost":
        return MachineState(machine, Standing.REGISTERED, "", run_id)
    if machine.tags.get(TAG_BOOT) == Boot.FAILED:
        return MachineState(machine, Standing.MISSING, "its start failed")
    age_s = (now - machine.launched_at).total_seconds()
    if agent is not None:
        return MachineState(machine, Standing.MISSING, f"lost: {agent.note}" if agent.note else "lost")
    if age_s >= patience_s:
        return MachineState(machine, Standing.MISSING, f"not registered {age_s:.0f} s after its launch")
    if machine.tags.get(TAG_BOOT) == Boot.READY:
        return MachineState(machine, Standing.BOOTED)
    return MachineState(machine, Standing.LAUNCHING, machine.state)
