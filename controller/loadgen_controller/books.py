"""What the conductor knows of a run beside its phase: who does what, and what each has said.

A plain record; `intake.py` writes what agents say, `seal.py` and the view read it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from loadgen.wire.messages import Fin
from loadgen_controller.adjusting import Adjustment
from loadgen_controller.assign import Assignment
from loadgen_controller.troubles import plain

__all__ = ["Books"]


@dataclass(slots=True)
class Books:
    run_id: str
    assignment: Assignment | None = None
    epochs: dict[str, int] = field(default_factory=dict)
    """Of each agent with a share, the epoch that it got it in."""
    fins: dict[str, Fin] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    """Why an agent is lost; taken back when it returns."""
    durable: dict[str, int] = field(default_factory=dict)
    """Of each agent, the last seq that is on the disk."""
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

    def notice(self, text: str) -> None:
        """Said once each."""
        text = plain(text)
        if text not in self.noted and len(self.noted) < 1000:
            self.noted.add(text)
            self.notices.append(text)
