"""A section of RESULTS.md: what was measured, how, the figures, and from which run they are."""

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
    """One paragraph: what was run, on which core, how often, what is counted."""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    verdict: str = ""
    """Beside which budget, and whether it is held."""
    tools: Sequence[str] = ()
    """Other programs that had a part in it; their versions are told."""

    def markdown(self, stamp: str = "") -> str:
        """stamp: from which run it is."""
        table = [_row(self.head), _row(["---"] * len(self.head)), *map(_row, self.rows)] if self.head else []
        parts = [f"## {self.title}", stamp, self.how, "\n".join(table), self.verdict]
        return "\n\n".join(part for part in parts if part) + "\n"


def skipped(title: str, why: str) -> Section:
    return Section(title, f"Skipped: {why}.")


def held(is_held: bool) -> str:
    """As every verdict says it, so that it can be searched for."""
    return "held" if is_held else "NOT HELD"


def not_held(section: str) -> list[str]:
    """The sentences of a section that say so."""
    return [text for text in re.split(r"(?<=\.) (?=\S)|\n", section) if "NOT HELD" in text]


def replaced(results: str, section: str) -> str:
    """RESULTS.md with this section in the place of the one of the same title, or at the end."""
    title = section.partition("\n")[0]
    parts = re.split(r"^(?=## )", results, flags=re.M)
    there = [part.partition("\n")[0] for part in parts]
    if title not in there:
        return results.rstrip("\n") + "\n\n" + section
    at = there.index(title)
    is_last = at == len(parts) - 1
    return "".join([*parts[:at], section if is_last else section + "\n", *parts[at + 1 :]])


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
