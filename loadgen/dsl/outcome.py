"""What an exception that leaves a journey or step means as an outcome, and where it came from."""

from __future__ import annotations

import asyncio
import sysconfig
import traceback
from pathlib import Path
from typing import Final

from loadgen.errors import IterationEnded
from loadgen.measure.series import CUT_OFF, TIMEOUT

__all__ = ["fault_text", "is_bound", "outcome_of"]

_OURS: Final = ("loadgen", "loadgen_agent", "loadgen_controller")
_INSTALLED: Final = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


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


def fault_text(error: BaseException) -> str:
    """ "checkout.py:14 in checkout: KeyError: 'sku'": the innermost line of the user's own code, and what it raised.

    Frames are told apart by their module, not by their path: a project may well stand in a folder named loadgen.
    """
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        is_ours = frame.f_globals.get("__name__", "").partition(".")[0] in _OURS
        if not is_ours and not file.startswith(_INSTALLED):
            where = f"{Path(file).name}:{line} in {frame.f_code.co_name}: "
    return f"{where}{type(error).__name__}: {error}"
