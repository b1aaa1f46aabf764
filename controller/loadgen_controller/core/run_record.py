"""What the conductor knows of a run beside its phase: who does what, and what each has said.

A plain record; `intake.py` writes what agents say, `seal.py` and the view read it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from loadgen.wire.messages import Fin
from loadgen_controller.core.adjustments import Adjustment
from loadgen_controller.core.rejected_input import plain
from loadgen_controller.core.shares import Assignment

__all__ = ["Former", "RunRecord"]


@dataclass(frozen=True, slots=True)
class Former:
    """An earlier process of an agent that has a share again."""

    epoch: int
    fin: Fin | None = None
    """None: it never finished."""


@dataclass(slots=True)
class RunRecord:
    run_id: str
    assignment: Assignment | None = None
    epochs: dict[str, int] = field(default_factory=dict)
    """Of each agent with a share, the epoch that it got it in."""
    fins: dict[str, Fin] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    """Why an agent is lost; taken back when it returns."""
    former: dict[str, tuple[Former, ...]] = field(default_factory=dict)
    """Of agents that were restarted under their name, the epochs before: each had a share of its own."""
    durable: dict[tuple[str, int], int] = field(default_factory=dict)
    """Of each agent and epoch, the last seq that is on the disk."""
    asked_ns: int = 0
    """The interval that agents are asked for now; 0: the plan's."""
    clock_errors_ns: dict[str, int] = field(default_factory=dict)
    shared_json: bytes = b"null"
    """What the plan's set-up returned."""
    adjustments: tuple[Adjustment, ...] = ()
    """What was asked of the load while it went on."""
    steering: list[dict[str, Any]] = field(default_factory=list)
    """What steered loads came to, as rows of the summary."""
    outputs: list[dict[str, object]] = field(default_factory=list)
    """What became of what was told to live outputs, as rows of the summary."""
    load_ended_ns: int | None = None
    """When a stop ended the load early, since T0."""
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    """For the person who watches, newest last."""
    noted: set[str] = field(default_factory=set)

    def begin_epoch(self, agent: str, epoch: int) -> None:
        """The agent has a share as another process; what the one before it did stays accounted for."""
        known = self.epochs.get(agent)
        if known is not None and known != epoch:
            self.former[agent] = (*self.former.get(agent, ()), Former(known, self.fins.pop(agent, None)))
            self.lost.pop(agent, None)
        self.epochs[agent] = epoch

    def has_epoch(self, agent: str, epoch: int) -> bool:
        """Whether the agent has, or had, a share in this epoch."""
        return self.epochs.get(agent) == epoch or any(one.epoch == epoch for one in self.former.get(agent, ()))

    def notice(self, text: str) -> None:
        """Said once each."""
        text = plain(text)
        if text not in self.noted and len(self.noted) < 1000:
            self.noted.add(text)
            self.notices.append(text)
