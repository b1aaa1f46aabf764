"""The result of a comparison of two releases: rows of figures and errors, and possible causes other than the code.

Values only: `compare.py` computes them, `text.py` describes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from loadgen.analysis.compare import Between, RatioShift, Shift
from loadgen.history.store.stored_run import ALL, Accepted

__all__ = ["PRIMARY", "Comparison", "ErrorRow", "Odd", "Outcome", "Row", "Side", "Verdict"]

PRIMARY: Final = "p95"
"""The percentile that the headline counts, and at which regions and agents that differ alone are searched."""


class Verdict(StrEnum):
    """The verdict on one row."""

    SLOWER = "slower"
    FASTER = "faster"
    NO_CLEAR = "no clear difference"
    UNKNOWN = "inconclusive"
    """The run-to-run variation is unknown, or only a bound of a side's value is known."""
    MORE_ERRORS = "more errors"
    """Also for a row of response times that are lower while errors have increased: that is no improvement."""
    FEWER_ERRORS = "fewer errors"


class Outcome(StrEnum):
    """The outcome of a whole comparison. It does not judge slower names: that is the task of the gate."""

    COMPARED = "compared"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: the runs of one release."""

    label: str
    """The side as the operator named it."""
    runs: tuple[Accepted, ...]
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One percentile of one name, over all regions and agents ("*") or for one of them."""

    name: str
    kind: str
    percentile: str
    region: str
    agent: str
    base_ms: float
    new_ms: float
    """Geometric mean of the runs; inf if only a bound is known."""
    base_count: int
    new_count: int
    """Number of values in all runs of the side."""
    shift: Shift | None
    """The change from base to new; None if there is nothing to compare."""
    p_adjusted: float
    verdict: Verdict
    why: str = ""
    """Why it is inconclusive, or what the interval leaves out."""
    between: Between | None = None
    """The run-to-run variation, if a history or the operator gives it."""

    @property
    def is_clear(self) -> bool:
        """Return whether the row has the verdict slower or faster."""
        return self.verdict in (Verdict.SLOWER, Verdict.FASTER)

    @property
    def is_whole(self) -> bool:
        """Return whether the row covers all regions and all agents together, and not a single one."""
        return self.region == ALL and self.agent == ALL


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """The error ratio of one name, 0 to 1."""

    name: str
    kind: str
    region: str
    shift: RatioShift
    p_adjusted: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Odd:
    """A region or agent that differs alone."""

    kind: str
    """"region" or "agent"."""
    place: str
    side: str
    """Label of the side whose agent it is; "" for a region."""
    name: str
    change: float
    rest: float
    """`change` is the relative change of its p95, `rest` that of the others."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The complete result of a comparison."""

    base: Side
    new: Side
    outcome: Outcome
    reasons: tuple[str, ...]
    """Why it is inconclusive or invalid."""
    differences: tuple[str, ...]
    """Differences between the sides other than the code, as text."""
    missing: tuple[str, ...]
    """Names that a side or some of its runs lack, as text."""
    rows: tuple[Row, ...]
    """Sorted by name in the order of the base, then by percentile, region and agent; whole rows come first."""
    errors: tuple[ErrorRow, ...]
    odd: tuple[Odd, ...]
    faster_by_failing: tuple[str, ...]
    """Names whose response times are lower while their errors have increased."""

    @property
    def whole(self) -> tuple[Row, ...]:
        """Return the rows that cover all regions and all agents together."""
        return tuple(row for row in self.rows if row.is_whole)
