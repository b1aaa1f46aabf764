"""One table of error rates, as the page and the tests of `make slow` use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

__all__ = ["Table", "share_text"]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of simulated error rates. The first column names the cell, the others are texts such as "0.041 (0.004)"."""

    title: str
    note: str
    """What a trial is, what counts as wrong, and how the data were made."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return the table as Markdown, with its title as a heading of level 3."""
        lines = [f"### {self.title}", "", self.note, ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines)


def share_text(cases: int, trials: int) -> str:
    """Return a share with its standard error in brackets, such as "0.041 (0.004)"; "-" without trials."""
    if not trials:
        return "-"
    share = cases / trials
    return f"{share:.3f} ({sqrt(share * (1 - share) / trials):.3f})"
