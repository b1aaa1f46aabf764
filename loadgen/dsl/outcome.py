"""What an exception that leaves a journey or step means as an outcome."""

from __future__ import annotations

import asyncio

from loadgen.errors import IterationEnded

__all__ = ["CUT_OFF", "is_bound", "outcome_of"]

CUT_OFF = "cut off"
TIMEOUT = "timeout"


def outcome_of(error: BaseException) -> str:
    """The target's failures by their own names; anything else is a fault of the scenario: `script KeyError`."""
    if isinstance(error, IterationEnded):
        return error.outcome
    if isinstance(error, asyncio.CancelledError):
        return CUT_OFF
    return f"script {type(error).__name__}"


def is_bound(outcome: str) -> bool:
    """True when the time taken is only a lower bound of what it would have been."""
    return outcome in (CUT_OFF, TIMEOUT)
