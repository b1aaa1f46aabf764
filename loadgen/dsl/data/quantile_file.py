"""Distributions that are given by their quantiles in a file: think times as they were measured.

    quantiles("data/think.csv", row="search to product")

The file has a column `name` and 41 columns `q0`, `q1` ... `q40`: the values below which 0, 2.5, 5 ... 100 % of the
measured values are, in seconds for think times. Between two of them the distribution is uniform. `empirical` draws only
the values that it is given; this draws everything between them, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import fsum
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.dsl.data.named_files import name_file
from loadgen.dsl.data.rowfile import FileFaults, closest, read_table
from loadgen.dsl.distributions import Distribution
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError

__all__ = ["QUANTILES", "quantile_columns", "quantiles"]

QUANTILES: Final = 41
"""Values of a distribution: every 2.5 % from the smallest to the largest."""


def quantile_columns() -> tuple[str, ...]:
    """Return the header of the file."""
    return ("name", *(f"q{n}" for n in range(QUANTILES)))


@dataclass(frozen=True)
class _Quantiles(Distribution):
    path: Path
    row: str
    values: tuple[float, ...] = ()
    wrong: tuple[Fault, ...] = ()
    """Errors in the file."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        return super().faults or self.wrong

    @property
    def mean(self) -> float:
        return fsum((low + high) / 2 for low, high in pairwise(self.values)) / (QUANTILES - 1)

    def _at(self, u: float) -> float:
        place = u * (QUANTILES - 1)
        low = min(int(place), QUANTILES - 2)
        return self.values[low] + (place - low) * (self.values[low + 1] - self.values[low])

    def _refuse(self) -> None:
        if self.wrong:
            raise ScenarioError(self.wrong)
        super()._refuse()


def quantiles(path: str | PathLike[str], *, row: str) -> Distribution:
    """Return a distribution that is given by its quantiles: `quantiles("data/think.csv", row="search to product")`.

    Args:
        path: a CSV file with the columns `name`, `q0` ... `q40`, in the scenario's folder or below; relative to the
            calling file.
        row: the text in the column `name` that selects the row.
    """
    origin = here()
    place = origin.beside(path)
    if place is None:
        problem = f'quantiles: {path!r} is not a path of a file | write quantiles("think.csv", row="home")'
        return _Quantiles(Path(), str(row), origin=origin, problem=problem)
    values: tuple[float, ...] = ()
    wrong: tuple[Fault, ...] = ()
    try:
        values = _row(place, row, origin)
    except ScenarioError as error:
        wrong = tuple(error.faults)
    made = _Quantiles(place, row, values, wrong, origin=origin)
    name_file(made)
    return made


def _row(path: Path, row: str, origin: Origin) -> tuple[float, ...]:
    rows = _rows(path, origin)
    if row not in rows:
        raise ScenarioError([origin.fault(f"{path.name} has no row {row!r}", closest(row, rows) or "correct the name")])
    return rows[row]


_Rows = dict[str, tuple[float, ...]]
_MOST_FILES: Final = 16
_known: dict[Path, tuple[tuple[int, int], _Rows]] = {}
"""By file: its time and size, and its rows. Each edge of a graph may name another row of one file."""


def _rows(path: Path, origin: Origin) -> _Rows:
    """Return the rows of a file, which is read again only if it has changed."""
    try:
        state = path.stat()
        key = (state.st_mtime_ns, state.st_size)
    except OSError:
        key = (0, 0)
    known = _known.get(path)
    if known is None or known[0] != key:
        read = _read(path, origin)
        if len(_known) >= _MOST_FILES:
            _known.clear()
        known = _known[path] = (key, read)
    return known[1]


def _read(path: Path, origin: Origin) -> _Rows:
    names = quantile_columns()
    fields: Any = [(names[0], str), *((name, float) for name in names[1:])]
    schema: Any = msgspec.defstruct("Quantiles", fields)
    table: Any = read_table(path, schema, "csv", ",", origin)
    faults, found = FileFaults(path), _Rows()
    for n in range(len(table)):
        one = msgspec.structs.astuple(table.at(n))
        name, values = one[0], one[1:]
        if name in found:
            faults.add(n + 2, f"the name {name!r} is there twice", "give each row a name of its own")
        if any(not low <= high for low, high in pairwise(values)):
            faults.add(n + 2, "the values do not increase", "write the quantiles from q0 to q40 in order")
        found[name] = values
    faults.refuse()
    return found
