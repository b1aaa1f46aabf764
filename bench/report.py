"""A section of RESULTS.md: what was measured, how, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

__all__ = ["Section", "cost_ns", "spread"]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    how: str
    """One paragraph: what was run, on which core, how often, what is counted."""
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: str = ""
    """Beside which budget, and whether it is held."""

    def markdown(self) -> str:
        table = [_row(self.head), _row(["---"] * len(self.head)), *map(_row, self.rows)]
        return "\n".join(
            [f"## {self.title}", "", self.how, "", *table, "", *([self.verdict, ""] if self.verdict else [])]
        )


def spread(values: Sequence[float], digits: int = 1) -> tuple[str, str]:
    """(least, median) as text."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return f"{ordered[0]:.{digits}f}", f"{median:.{digits}f}"


def cost_ns(work: Callable[[], object], items: int, repeats: int = 7) -> list[float]:
    """ns an item of `work`, which handles `items` of them, in each of `repeats` runs after one to warm up."""
    work()
    costs = []
    for _ in range(repeats):
        began = perf_counter()
        work()
        costs.append((perf_counter() - began) * 1e9 / items)
    return costs


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
