"""Rows whose requests have names: the input of each pass after the names are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.names.naming import Names
from loadgen.traffic.names.path_table import PathTable
from loadgen.traffic.rows.rows import Rows
from loadgen.traffic.sessions.second_pass import SessionRule, Visits, visits_of

__all__ = ["NamedRows"]


@dataclass(frozen=True)
class NamedRows:
    """The rows of logs with their names. They are valid only while `read_logs` runs, which deletes them at its end."""

    partitions: Iterable[Rows]
    """Can be iterated several times."""
    paths: PathTable
    templates: list[str]
    """Sorted."""
    template_of: NDArray[np.int64]
    """Index of the template by number of the path."""
    names: Names
    rule: SessionRule

    def visits(self) -> Iterator[Visits]:
        """Yield the rows of each partition in order, with their sessions."""
        for rows in self.partitions:
            yield visits_of(rows, self.template_of, self.rule)
