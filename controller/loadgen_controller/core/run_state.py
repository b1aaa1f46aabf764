"""The mutable state of a run in the controller, beside its phase: shares, totals, losses, notices.

A plain record without logic of its own. `run/agent_message_intake.py` and the conductor write it;
`run/finish.py` and the live view read it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from loadgen.wire.messages import Fin
from loadgen_controller.core.load_change_messages import Adjustment
from loadgen_controller.core.rejected_input_counter import plain
from loadgen_controller.core.shares import Assignment

__all__ = ["Former", "RunRecord"]


@dataclass(frozen=True, slots=True)
class Former:
    """An earlier process of an agent that has a share again."""

    epoch: int
    fin: Fin | None = None
    """The totals of this process; None if it never sent a Fin."""


@dataclass(slots=True)
class RunRecord:
    """All that the controller keeps of a run for its view, its summary and its verdict."""

    run_id: str
    assignment: Assignment | None = None
    epochs: dict[str, int] = field(default_factory=dict)
    """For each agent with a share: the epoch (number of its process) that received the share."""
    fins: dict[str, Fin] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    """For each lost agent: why it is lost. An agent that returns is removed."""
    former: dict[str, tuple[Former, ...]] = field(default_factory=dict)
    """For agents whose process was replaced: their earlier epochs, each of which had a share of its own."""
    durable: dict[tuple[str, int], int] = field(default_factory=dict)
    """For each agent and epoch: the sequence number of the last delta on disk."""
    asked_ns: int = 0
    """The interval that the controller requests from agents; 0 for the plan's interval."""
    clock_errors_ns: dict[str, int] = field(default_factory=dict)
    busy_waits_ns: dict[str, int] = field(default_factory=dict)
    """For each agent that reported one: the longest busy wait of its workers, as they measured it."""
    shared_json: bytes = b"null"
    """The JSON of the value that the plan's set-up returned."""
    adjustments: tuple[Adjustment, ...] = ()
    """The load changes so far."""
    steering: list[dict[str, Any]] = field(default_factory=list)
    """The results of steered loads, as rows of the summary."""
    outputs: list[dict[str, object]] = field(default_factory=list)
    """The delivery counts of the live outputs, as rows of the summary."""
    probes: list[dict[str, object]] = field(default_factory=list)
    """The figures of the probes, as rows of the summary."""
    load_ended_ns: int | None = None
    """When a stop ended the load early, in ns after T0; None otherwise."""
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    """Notices for the operator, newest last."""
    noted: set[str] = field(default_factory=set)
    """The texts of all notices so far, so that none is shown twice."""

    def begin_epoch(self, agent: str, epoch: int) -> None:
        """Record that a new process of the agent, with this epoch (number of its registration), has a share.

        The totals of its earlier process are kept.
        """
        known = self.epochs.get(agent)
        if known is not None and known != epoch:
            self.former[agent] = (*self.former.get(agent, ()), Former(known, self.fins.pop(agent, None)))
            self.lost.pop(agent, None)
        self.epochs[agent] = epoch

    def has_epoch(self, agent: str, epoch: int) -> bool:
        """Return whether the agent's process with this epoch (number of its registration) has, or had, a share."""
        return self.epochs.get(agent) == epoch or any(one.epoch == epoch for one in self.former.get(agent, ()))

    def notice(self, text: str) -> None:
        """Show a notice to the operator; a text that was shown before is ignored, and so is the 1,001st text."""
        text = plain(text)
        if text not in self.noted and len(self.noted) < 1000:
            self.noted.add(text)
            self.notices.append(text)
