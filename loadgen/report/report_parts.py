"""The parts of a printed report: `Table` and `Report`. Both are text only, and import nothing that measures."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Final

from loadgen.report.summary_reader import Figure

__all__ = ["PLACEHOLDER", "Report", "Table", "milliseconds"]

PLACEHOLDER: Final = "-"
"""The cell of a missing figure."""


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


def milliseconds(figure: Figure) -> str:
    """Return ms with three significant digits, and whole ms from 100 on.

    A lower bound ("> 1,234") is rounded down, because the value rounded up might not be a bound.
    """
    if figure is None:
        return PLACEHOLDER
    if isinstance(figure, str):
        sign, _, number = figure.partition(" ")
        try:
            bound = float(number)
        except ValueError:
            return figure
        scale = 10 ** _decimals(bound)
        return f"{sign} {_fixed(floor(bound * scale) / scale)}"
    return _fixed(figure)


def _fixed(ms: float) -> str:
    return f"{ms:,.{_decimals(ms)}f}"


def _decimals(ms: float) -> int:
    return 0 if ms >= 99.95 else 1 if ms >= 9.995 else 2
