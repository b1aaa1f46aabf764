"""What a gate comes to: one of four words, and everything that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Final

from loadgen.analysis.gate import Effect, Judgement
from loadgen.analysis.ratios import RatioEffect
from loadgen.errors import ExitCode
from loadgen.history.gate.baseline_level import NEWEST
from loadgen.history.store.baseline_run import Accepted

__all__ = ["Begin", "Decision", "Family", "Settings", "Verdict"]


class Verdict(StrEnum):
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
    """See `loadgen.analysis.gate.judge` for the first three."""

    delta: float = 0.03
    tolerate: float = 0.10
    alpha: float = 0.05
    percentile: str = "p95"
    newest: int = NEWEST


@dataclass(frozen=True, slots=True)
class Begin:
    """A run was accepted in spite of a FAIL: these names have a new level from then on."""

    run_id: str
    at: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Family:
    """What is judged together, against one baseline."""

    against: str
    """"history", the name of a reference, or "A" of an interleaved comparison."""
    judgement: Judgement
    run_ids: tuple[str, ...] = ()
    """Of the baseline: all that any name is compared with."""
    is_wanted: bool = True
    """Where it cannot tell, the verdict is INCONCLUSIVE; else that is a warning."""


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why, in sentences without a full stop; empty of a PASS."""
    settings: Settings
    new: tuple[Accepted, ...]
    families: tuple[Family, ...] = ()
    """Of the deciding percentile."""
    secondary: tuple[Effect, ...] = ()
    """Of the other percentiles; names as "p99 of checkout"."""
    errors: tuple[RatioEffect, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What was left out, and where levels began."""
    is_suspect: bool = False
    """Something looks slower, and there are too few runs to say so."""
    more_runs: int = 0
    """With so many more it would be decided: it is suspect, or three runs would find what these could not."""
    failed_names: frozenset[str] = frozenset()
    """Names that fail, or are suspect."""

    @property
    def detectable(self) -> float:
        """The smallest slow-down that would have been found at every name that could be compared; nan without any."""
        return max((one.detectable for one in self.compared), default=nan)

    @property
    def compared(self) -> tuple[Effect, ...]:
        """Names with a figure on both sides, against the first baseline."""
        return tuple(one for family in self.families[:1] for one in family.judgement.names if one.history and one.new)
