"""Texts that are drawn at random by weight: hot products, frequent searches.

    SKUS = choices("data/skus.csv", value="sku", weight="hits")
    sku = user.draw(SKUS)

A feed gives one row to each iteration, and gives all rows equally often. From `choices`, an iteration can draw any
number of texts, and a text with twice the weight is drawn twice as often.

The texts of an iteration follow from the run's seed and the iteration's number, so they are the same on any number of
agents. A draw takes one random number and about 1 µs for any number of texts: the alias method of Walker (1977), with
the tables of Vose (1991).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from loadgen.dsl.data.named_files import faults_of, name_file
from loadgen.dsl.data.rowfile import FileFaults, read_table
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError

__all__ = ["MOST_CHOICES", "Choices", "choices"]

MOST_CHOICES = 1_000_000
"""Rows of a file: 4.6 s of CPU time and about 160 MB in each worker."""


@dataclass(frozen=True)
class Choices:
    """Texts with weights. Made by `choices`."""

    path: Path
    value: str
    weight: str
    origin: Origin = field(compare=False, repr=False)
    wrong: tuple[Fault, ...] = field(default=(), compare=False, repr=False)
    """Errors in the arguments."""

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in the arguments and in the file."""
        return faults_of(lambda: self._table)

    def draw(self, random: Random) -> str:
        """Return a text, with a probability in proportion to its weight. Each call uses one number of `random`.

        The first call reads the file.

        Raises:
            ScenarioError: the arguments of `choices` or the file have errors.
        """
        texts, keep, other = self._table
        at, rest = divmod(random.random() * len(texts), 1.0)
        index = int(at)
        return texts[index if rest < keep[index] else other[index]]

    def indexes(self, u: np.ndarray) -> np.ndarray:
        """Return the indexes of the texts that random numbers select, as `draw` does: int64 of the same shape.

        u: float64, 0 <= u < 1.

        Raises:
            ScenarioError: the arguments of `choices` or the file have errors.
        """
        texts, keep, other = self._table
        rest, at = np.modf(u * len(texts))
        index = at.astype(np.int64)
        found: np.ndarray = np.where(rest < np.array(keep)[index], index, np.array(other)[index])
        return found

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._table[0])

    @cached_property
    def _table(self) -> tuple[list[str], list[float], list[int]]:
        """The texts; for each the share of its column that it keeps, and the index of the text that has the rest."""
        if self.wrong:
            raise ScenarioError(self.wrong)
        names = [(self.value, str), *([(self.weight, float)] if self.weight else [])]
        fields = [(f"f{n}", kind, msgspec.field(name=name)) for n, (name, kind) in enumerate(names)]
        schema: Any = msgspec.defstruct("Choice", fields)
        table: Any = read_table(self.path, schema, "csv", ",", self.origin)
        faults = FileFaults(self.path)
        if len(table) > MOST_CHOICES:
            faults.add(0, f"{len(table):,} rows are more than {MOST_CHOICES:,}", "keep the rows with the most weight")
            faults.refuse()
        rows = [table.at(n) for n in range(len(table))]
        weights = np.array([row.f1 if self.weight else 1.0 for row in rows])
        for n in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))):
            faults.add(int(n) + 2, f"{self.weight} is {weights[n]:g}", "write a finite weight of at least 0")
        if not faults and not weights.sum():
            faults.add(0, f"all weights in the column {self.weight} are 0", "write a weight above 0")
        faults.refuse()
        keep, other = _alias(weights)
        return [row.f0 for row in rows], keep, other


def choices(path: str | PathLike[str], *, value: str, weight: str = "") -> Choices:
    """Return the texts of a CSV file, from which `user.draw` takes one at random: `choices("skus.csv", value="sku")`.

    Args:
        path: a CSV file (UTF-8, with a header), in the scenario's folder or below; relative to the calling file. An
            archive whose name ends in .gz or .zst is unpacked once.
        value: the column of the texts.
        weight: the column of weights: finite numbers of at least 0, such as counts. Empty: all texts are equally
            likely.
    """
    origin = here()
    wrong: list[Fault] = []
    place = origin.beside(path)
    if place is None:
        wrong.append(
            origin.fault(f"choices: {path!r} is not a path of a file", 'write choices("skus.csv", value="sku")')
        )
    for argument, column in (("value", value), ("weight", weight)):
        if not isinstance(column, str) or (argument == "value" and not column):
            wrong.append(origin.fault(f"choices: {argument}={column!r} is not a column", f'write {argument}="hits"'))
    made = Choices(place or Path(), str(value), str(weight), origin, tuple(wrong))
    name_file(made)
    return made


def _alias(weights: np.ndarray) -> tuple[list[float], list[int]]:
    """Return Vose's tables: in column n, a share `keep[n]` belongs to text n, and the rest to text `other[n]`."""
    count = len(weights)
    # Divided by the largest first, so that the sum cannot overflow.
    scaled = weights / weights.max()
    scaled = (scaled * (count / scaled.sum())).tolist()
    assert all(map(isfinite, scaled))
    keep, other = [1.0] * count, list(range(count))
    small = [n for n in range(count) if scaled[n] < 1]
    large = [n for n in range(count) if scaled[n] >= 1]
    while small and large:
        less, more = small.pop(), large[-1]
        keep[less], other[less] = scaled[less], more
        scaled[more] -= 1 - scaled[less]
        if scaled[more] < 1:
            small.append(large.pop())
    for n in small:
        # Only rounding leaves these; but a weight of 0 must never be drawn.
        if not weights[n]:
            keep[n], other[n] = 0.0, int(weights.argmax())
    return keep, other
