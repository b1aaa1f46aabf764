"""The decision of a gate: one of four verdicts, and everything on which it rests. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Final

from loadgen.analysis.error_ratio_gate import RatioEffect
from loadgen.analysis.gate import Effect, Judgement
from loadgen.errors import ExitCode
from loadgen.history.gate.baseline_selection import NEWEST
from loadgen.history.store.stored_run import Accepted

__all__ = ["Begin", "Decision", "Family", "Settings", "Verdict"]


class Verdict(StrEnum):
    """The four verdicts of a gate."""

    PASS = "PASS"  # noqa: S105  # no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"

    @property
    def exit_code(self) -> ExitCode:
        return _CODES[self]


_CODES: Final = {
    Verdict.PASS: ExitCode.PASSED,
    Verdict.FAIL: ExitCode.FAILED,
    Verdict.INCONCLUSIVE: ExitCode.INCOMPLETE,
    Verdict.INVALID: ExitCode.INVALID,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a gate. `loadgen.analysis.gate.judge` explains the first three."""

    delta: float = 0.03
    tolerate: float = 0.10
    alpha: float = 0.05
    percentile: str = "p95"
    """The percentile that decides; the others only warn."""
    newest: int = NEWEST
    """Most accepted runs with which new runs are compared."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A run that was accepted in spite of a FAIL: a new level of these names begins with it."""

    run_id: str
    at: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Family:
    """The names that are judged together against one baseline, with their results."""

    against: str
    """"history", the name of a reference, or "A" of an interleaved comparison."""
    judgement: Judgement
    run_ids: tuple[str, ...] = ()
    """The runs of the baseline with which any name is compared."""
    is_wanted: bool = True
    """Whether an undecided result makes the verdict INCONCLUSIVE. If False, it is only a warning."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of a gate, and everything on which it rests."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why, as sentences without a full stop; empty for a PASS."""
    settings: Settings
    new: tuple[Accepted, ...]
    families: tuple[Family, ...] = ()
    """Results at the deciding percentile: one family for each baseline."""
    secondary: tuple[Effect, ...] = ()
    """Results at the other percentiles; names such as "p99 of checkout"."""
    errors: tuple[RatioEffect, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Which runs and names were left out, and where levels began."""
    is_suspect: bool = False
    """Whether a name looks slower, but there are too few new runs to decide."""
    more_runs: int = 0
    """Number of further new runs that would decide the gate; 0 if more runs are not needed or would not help."""
    failed_names: frozenset[str] = frozenset()
    """Names that fail or are suspect."""

    @property
    def detectable(self) -> float:
        """Return the smallest slow-down (0.05 is 5 %) that the gate would have detected at every compared name.

        nan if no name was compared.
        """
        return max((one.detectable for one in self.compared), default=nan)

    @property
    def compared(self) -> tuple[Effect, ...]:
        """Return the results of all names that have figures on both sides, against the first baseline."""
        return tuple(one for family in self.families[:1] for one in family.judgement.names if one.history and one.new)
