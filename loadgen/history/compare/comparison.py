"""What a comparison of two releases found: rows of figures and of errors, and what beside the code may be why.

Plain values: `comparing.py` works them out, `comparison_words.py` says them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from loadgen.analysis.compare import Between, RatioShift, Shift
from loadgen.history.store.baseline_run import ALL, Accepted

__all__ = ["PRIMARY", "Comparison", "ErrorRow", "Odd", "Outcome", "Row", "Side", "Verdict"]

PRIMARY: Final = "p95"
"""What a headline counts, and what is looked at for one region or agent that differs alone."""


class Verdict(StrEnum):
    """Of one row."""

    SLOWER = "slower"
    FASTER = "faster"
    NO_CLEAR = "no clear difference"
    UNKNOWN = "inconclusive"
    """Nobody knows how much runs differ, or of a side only a bound is known."""
    MORE_ERRORS = "more errors"
    """Also of a latency that is lower while errors are up: that is no improvement."""
    FEWER_ERRORS = "fewer errors"


class Outcome(StrEnum):
    """Of the comparison. It does not say that something is slower: that is the gate's."""

    COMPARED = "compared"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Side:
    label: str
    """As it was asked for."""
    runs: tuple[Accepted, ...]
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One percentile of one name, of all regions and agents ("*") or of one."""

    name: str
    kind: str
    percentile: str
    region: str
    agent: str
    base_ms: float
    new_ms: float
    """Geometric mean of the runs; inf where only a bound is known."""
    base_count: int
    new_count: int
    """Values, of all runs of the side."""
    shift: Shift | None
    """None where there is nothing to compare."""
    p_adjusted: float
    verdict: Verdict
    why: str = ""
    """Why it is inconclusive, or what the interval leaves out."""
    between: Between | None = None
    """How much runs differ, where a history or somebody says so."""

    @property
    def is_clear(self) -> bool:
        return self.verdict in (Verdict.SLOWER, Verdict.FASTER)

    @property
    def is_whole(self) -> bool:
        """Of all regions and agents."""
        return self.region == ALL and self.agent == ALL


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """How many of one name went wrong. Ratios are 0 to 1."""

    name: str
    kind: str
    region: str
    shift: RatioShift
    p_adjusted: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Odd:
    """One region or agent makes a difference alone."""

    kind: str
    """"region" or "agent"."""
    place: str
    side: str
    """Label of the side whose agent it is; "" for a region."""
    name: str
    change: float
    rest: float
    """Without it. Both relative, of the p95."""


@dataclass(frozen=True, slots=True)
class Comparison:
    base: Side
    new: Side
    outcome: Outcome
    reasons: tuple[str, ...]
    """Why it is inconclusive or invalid."""
    differences: tuple[str, ...]
    """What beside the code differs between the sides, in words."""
    missing: tuple[str, ...]
    """Names that only one side has, in words."""
    rows: tuple[Row, ...]
    """By name as the base has them, then percentile, then region and agent; whole ones first."""
    errors: tuple[ErrorRow, ...]
    odd: tuple[Odd, ...]
    faster_by_failing: tuple[str, ...]
    """Names of which latencies are lower while errors are up."""

    @property
    def whole(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.is_whole)
