"""Is a run fit to be compared, and to be compared with?"""

from __future__ import annotations

from typing import Final

from loadgen.history.record import Accepted

__all__ = ["LEAST_RATE", "unfit_of"]

LEAST_RATE: Final = 0.99
"""Of the planned rate. With less load a target is faster, and that is no improvement."""
_ENDS: Final = {
    "incomplete": "data are missing",
    "interrupted": "it was interrupted",
    "error": "it ended with an error",
    "invalid": "the generator was not fit to measure",
}


def unfit_of(run: Accepted) -> tuple[str, ...]:
    """Why the run can be neither judged nor a baseline, in words; empty where it can.

    A run whose objectives failed is as good as any: it is the target that was slow.
    """
    found = []
    reasons = ": " + "; ".join(run.reasons) if run.reasons else ""
    if run.result in _ENDS:
        found.append(f"{_ENDS[run.result]}{reasons}")
    elif run.validity == "invalid":
        found.append(f"{_ENDS['invalid']}{reasons}")
    if not run.limited_by and run.achieved_rate < LEAST_RATE * run.planned_rate:
        found.append(
            f"{run.achieved_rate:,.1f} iterations/s of {run.planned_rate:,.1f} were started,"
            f" which is less than {LEAST_RATE:.0%}"
        )
    return (*found, *run.faults)
