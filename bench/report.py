"""Format a section of RESULTS.md: the subject, the method, the figures and the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

__all__ = ["Section", "cost_ns", "held", "not_held", "replaced", "skipped", "spread"]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    how: str
    """One paragraph on the method: the programs, their cores, the number of turns, the figures."""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    verdict: str = ""
    """The budgets, and whether they are met."""
    tools: Sequence[str] = ()
    """Other programs in this measurement, whose versions are listed."""

    def markdown(self, stamp: str = "") -> str:
        """Return the section as Markdown. `stamp` names the run."""
        table = [_row(self.head), _row(["---"] * len(self.head)), *map(_row, self.rows)] if self.head else []
        parts = [f"## {self.title}", stamp, self.how, "\n".join(table), self.verdict]
        return "\n\n".join(part for part in parts if part) + "\n"


def skipped(title: str, why: str) -> Section:
    return Section(title, f"Skipped: {why}.")


def held(is_held: bool) -> str:
    """Return "held" or "NOT HELD", the fixed words of all verdicts, so that missed budgets can be searched."""
    return "held" if is_held else "NOT HELD"


def not_held(section: str) -> list[str]:
    """Return the sentences of a section about missed budgets."""
    return [text for text in re.split(r"(?<=\.) (?=\S)|\n", section) if "NOT HELD" in text]


def replaced(results: str, section: str) -> str:
    """Return RESULTS.md with this section in place of the one with the same title, or at the end."""
    title = section.partition("\n")[0]
    parts = re.split(r"^(?=## )", results, flags=re.M)
    there = [part.partition("\n")[0] for part in parts]
    if title not in there:
        return results.rstrip("\n") + "\n\n" + section
    at = there.index(title)
    is_last = at == len(parts) - 1
    return "".join([*parts[:at], section if is_last else section + "\n", *parts[at + 1 :]])


def spread(values: Sequence[float], digits: int = 1) -> tuple[str, str]:
    """Return the least and the median value as texts."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return f"{ordered[0]:.{digits}f}", f"{median:.{digits}f}"


def cost_ns(work: Callable[[], object], items: int, repeats: int = 7) -> list[float]:
    """Return the ns per item in each of `repeats` calls of `work`, which handles `items` items. One call warms up."""
    work()
    costs = []
    for _ in range(repeats):
        began = perf_counter()
        work()
        costs.append((perf_counter() - began) * 1e9 / items)
    return costs


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
