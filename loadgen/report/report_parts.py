"""The parts of a printed report: `Table` and `Report`. They are text only, and import nothing that measures."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Report", "Table"]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of strings. The first `words` columns are text; the others are numbers, to be aligned right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The printed result of a run, from the most important part to the least."""

    headline: str
    result: str
    """The shown result, such as `passed` or `suspect`; it decides the colour of the headline."""
    lines: tuple[str, ...]
    tables: tuple[Table, ...]
    foot: tuple[str, ...]
