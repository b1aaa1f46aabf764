"""Reads slices from a file of counts, CSV or Parquet: once for all objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.outside_text import one_line
from loadgen.programme.ledger.ledger_file import Rows
from loadgen.programme.sources.asked import Asked, NoCounts, Pulled
from loadgen.programme.sources.csv_counts import CsvCounts

__all__ = ["FileSource"]

_BYTES_MOST: Final = 1 << 30


@dataclass(slots=True)
class FileSource:
    """A file of counts.

    parse: returns the counts in the bytes of a file with this name. Each call of `pull` after the first one costs only
    its own slices.
    """

    path: Path
    parse: Callable[[bytes, str], CsvCounts]
    _found: CsvCounts | None = field(default=None, init=False)
    _rows: dict[str, NDArray[np.int64]] = field(default_factory=dict, init=False)

    def pull(self, asked: Asked) -> Pulled:
        """Return the slices of one objective that begin in the time that was asked for."""
        if self._found is None:
            self._found = self._read()
            if self._found.rows is not None:
                self._rows = _rows_by_slo(self._found.rows)
        found, shown = self._found, one_line(str(self.path), 120)
        if found.rows is None:
            return Pulled(faults=found.faults)
        index = self._rows.get(asked.slo, np.zeros(0, np.int64))
        slices = tuple(found.rows.chosen(index).within(asked.start, asked.end).slices())
        notes = tuple(note for note in found.gaps if note.startswith(f"{one_line(asked.slo, 80)}: "))
        faults = () if slices else (NoCounts(f"{shown} has no rows of it in this time"),)
        return Pulled(slices, faults, notes, 0, True)

    def close(self) -> None:
        """Close nothing: the file was read at once."""

    def _read(self) -> CsvCounts:
        shown = one_line(str(self.path), 120)
        try:
            if self.path.stat().st_size > _BYTES_MOST:
                text = f"{shown}: more than {_BYTES_MOST >> 30} GiB; split the file by time"
                return CsvCounts(faults=(NoCounts(text),))
            return self.parse(self.path.read_bytes(), shown)
        except OSError as exc:
            return CsvCounts(faults=(NoCounts(f"{shown}: cannot be read: {exc.strerror}"),))


def _rows_by_slo(rows: Rows) -> dict[str, NDArray[np.int64]]:
    codes, texts = rows.slo
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(texts) + 1))
    return {text: order[edges[n] : edges[n + 1]] for n, text in enumerate(texts)}
