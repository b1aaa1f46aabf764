"""Counts by due interval: how many due iterations or requests ended well, ended badly, or still run.

A histogram holds what *ended* in an interval. An objective over a sliding window needs what was
*due* in the window. Agents therefore count by objective, journey and due interval:

    good       ended `ok` within the limit
    bad        ended otherwise, or later
    overdue    still running and already older than the limit: bad, however it will end
    undecided  still running and younger than the limit: it can still become good

Good and bad add up. Overdue and undecided are a snapshot: an agent's newest snapshot replaces its
earlier one. The last snapshot of a lost agent is kept: overdue iterations were bad already, and
undecided iterations may have become good.

Objectives on a mean, maximum or minimum also need `total`, the sum of the values, and `bounds`, the number
of values of which only a lower bound is known. Both add up. Objectives on custom metrics count by the interval
in which a value was recorded, since such values have no due time.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import SAME_VERSION

__all__ = [
    "BAD",
    "BOUNDS",
    "GOOD",
    "MAX_DUE_ROWS",
    "OVERDUE",
    "TOTAL",
    "UNDECIDED",
    "DueCounts",
    "DueState",
    "DueTable",
    "check_due",
]

MAX_DUE_ROWS: Final = 20_000
"""Most rows in one delta. After 60 s without an answer, a plan of 50 objectives needs 3,000."""
_MAX_K: Final = 1 << 32
_MAX_COUNT: Final = 1 << 40
"""Largest count in one row; 2^23 such rows of one interval still add up within 64 bits."""
_MAX_TOTAL: Final = 1 << 50
"""Largest sum in one row, µs: 32,000 values of 1 h have 2^47. 2^13 such rows still add up within 64 bits."""

GOOD, BAD, OVERDUE, UNDECIDED = range(4)
"""Row indices of the array that `DueTable.counts` returns."""
TOTAL, BOUNDS = 4, 5
"""Further row indices of the array that `DueTable.sums` returns."""
_COLUMNS: Final = 6

_CHUNK: Final = 256


@dataclass(frozen=True, slots=True)
class DueCounts:
    """Counts of one objective and journey for everything that was due in interval `k`.

    objective: index in the plan's `slos`. journey: its name; "" if the objective is not limited to one journey.
    k: number of the due interval, [k L, (k + 1) L) from T0. good, bad: ended since the last delta.
    overdue: running at the end of the delta's interval, older than the limit. undecided: running, not older.
    total: for a mean, the sum of the values, in µs or in steps of the trend's resolution. bounds: how many of the
    values are lower bounds.
    """

    objective: int
    journey: str
    k: int
    good: int = 0
    bad: int = 0
    overdue: int = 0
    undecided: int = 0
    total: int = 0
    bounds: int = 0


class DueState(msgspec.Struct, frozen=True, array_like=True):
    """The contents of a DueTable, for a checkpoint. rows: (objective, journey, end, chunks by number)."""

    rows: list[tuple[int, str, int, dict[int, bytes]]]
    snapshots: dict[str, tuple[DueCounts, ...]]


class _Row:
    """Counts of one objective and journey by interval, stored in chunks: a far-off interval costs one chunk only."""

    __slots__ = ("_chunks", "end")

    def __init__(self) -> None:
        self._chunks: dict[int, array[int]] = {}
        self.end = 0
        """The number after the last interval that has counts."""

    def add(self, k: int, good: int, bad: int, overdue: int, undecided: int, total: int = 0, bounds: int = 0) -> None:
        """Add counts to those of due interval `k`. Negative counts remove counts that were added before."""
        of, at = divmod(k, _CHUNK)
        chunk = self._chunks.get(of)
        if chunk is None:
            chunk = self._chunks[of] = array("q", bytes(8 * 4 * _CHUNK))
        if total or bounds:
            # Few objectives have sums, so only their chunks are longer.
            if len(chunk) < _COLUMNS * _CHUNK:
                chunk.extend([0] * (_COLUMNS * _CHUNK - len(chunk)))
            chunk[TOTAL * _CHUNK + at] += total
            chunk[BOUNDS * _CHUNK + at] += bounds
        if good:
            chunk[at] += good
        if bad:
            chunk[BAD * _CHUNK + at] += bad
        if overdue:
            chunk[OVERDUE * _CHUNK + at] += overdue
        if undecided:
            chunk[UNDECIDED * _CHUNK + at] += undecided
        if k >= self.end:
            self.end = k + 1

    def since(self, k: int) -> _Row:
        """Return a copy of this row in which all intervals before number `k` have no counts."""
        made = _Row()
        made.end = self.end
        for of, chunk in self._chunks.items():
            if (of + 1) * _CHUNK <= k:
                continue
            copy = made._chunks[of] = array("q", chunk)
            for row in range(len(copy) // _CHUNK if of * _CHUNK < k else 0):
                for at in range(k - of * _CHUNK):
                    copy[row * _CHUNK + at] = 0
        return made

    def counts(self, first: int, end: int) -> npt.NDArray[np.int64]:
        """Return the counts of the intervals from `first` to `end` - 1 as an array of shape (4, end - first).

        Its rows are GOOD, BAD, OVERDUE and UNDECIDED; intervals without counts have zeros.
        """
        return self.sums(first, end)[:TOTAL]

    def sums(self, first: int, end: int) -> npt.NDArray[np.int64]:
        """Return the same as `counts` with two further rows, TOTAL and BOUNDS: shape (6, end - first)."""
        found = np.zeros((_COLUMNS, max(0, end - first)), dtype=np.int64)
        for of, chunk in self._chunks.items():
            start, stop = max(first, of * _CHUNK), min(end, (of + 1) * _CHUNK)
            if start < stop:
                columns = np.frombuffer(chunk, dtype=np.int64).reshape(-1, _CHUNK)
                rows = len(columns)
                found[:rows, start - first : stop - first] = columns[:, start - of * _CHUNK : stop - of * _CHUNK]
        return found


class DueTable:
    """The due counts of a whole run, by (objective, journey) and due interval.

    Cost: 8 KiB for each objective, journey and 256 intervals: 115 KiB an hour at intervals of 1 s.
    """

    __slots__ = ("_rows", "_snapshots")

    def __init__(self) -> None:
        self._rows: dict[tuple[int, str], _Row] = {}
        self._snapshots: dict[str, tuple[DueCounts, ...]] = {}
        """Each agent's newest counts of running iterations."""

    def add(self, agent: str, counts: Iterable[DueCounts]) -> None:
        """Add the counts of one delta of an agent to the table.

        Good and bad counts add up. Overdue and undecided counts replace those of the agent's previous delta, since they
        are a snapshot of the iterations that are still running.
        """
        # The old snapshot is taken back, even if the new one is empty.
        for old in self._snapshots.pop(agent, ()):
            self._row(old).add(old.k, 0, 0, -old.overdue, -old.undecided)
        snapshot = []
        for one in counts:
            self._row(one).add(one.k, one.good, one.bad, one.overdue, one.undecided, one.total, one.bounds)
            if one.overdue or one.undecided:
                snapshot.append(one)
        if snapshot:
            self._snapshots[agent] = tuple(snapshot)

    def since(self, k: int) -> DueTable:
        """Return a copy of the table in which all intervals before number `k` have no counts."""
        made = DueTable()
        made._rows = {name: row.since(k) for name, row in self._rows.items() if row.end > k}
        made._snapshots = {
            agent: tuple(one for one in counts if one.k >= k) for agent, counts in self._snapshots.items()
        }
        return made

    def state(self) -> DueState:
        """Return the contents of the table as a value, to be stored in a checkpoint."""
        rows = [
            (objective, journey, row.end, {of: chunk.tobytes() for of, chunk in row._chunks.items()})
            for (objective, journey), row in self._rows.items()
        ]
        return DueState(rows, self._snapshots)

    def take_state(self, state: DueState) -> None:
        """Replace the contents of the table with a value that `state()` returned, after a restart of the controller."""
        self._snapshots = state.snapshots
        for objective, journey, end, chunks in state.rows:
            row = self._rows[objective, journey] = _Row()
            row.end = end
            row._chunks = {of: array("q", chunk) for of, chunk in chunks.items()}

    def journeys(self, objective: int) -> list[str]:
        """Return the journeys for which an objective has counts, in the order in which they were first seen.

        objective: its index in the plan's `slos`. A name is "" for an objective that is not limited to one journey.
        """
        return [journey for of, journey in self._rows if of == objective]

    def end(self, objective: int) -> int:
        """Return 1 + the number of the last interval in which an objective has counts; 0 if it has none.

        objective: its index in the plan's `slos`.
        """
        return max((row.end for (of, _), row in self._rows.items() if of == objective), default=0)

    def counts(self, objective: int, journey: str, first: int, end: int) -> npt.NDArray[np.int64]:
        """Return the counts of one objective and journey in the intervals from `first` to `end` - 1.

        The result is an array of shape (4, end - first) with the rows GOOD, BAD, OVERDUE and UNDECIDED.

        objective: its index in the plan's `slos`. journey: "" if the objective is not limited to one journey.
        """
        row = self._rows.get((objective, journey))
        return row.counts(first, end) if row is not None else np.zeros((4, max(0, end - first)), dtype=np.int64)

    def sums(self, objective: int, journey: str, first: int, end: int) -> npt.NDArray[np.int64]:
        """Return the same as `counts` with two further rows, TOTAL and BOUNDS: shape (6, end - first)."""
        row = self._rows.get((objective, journey))
        return row.sums(first, end) if row is not None else np.zeros((_COLUMNS, max(0, end - first)), dtype=np.int64)

    def _row(self, one: DueCounts) -> _Row:
        found = self._rows.get((one.objective, one.journey))
        if found is None:
            found = self._rows[one.objective, one.journey] = _Row()
        return found


def check_due(name: str, counts: tuple[DueCounts, ...]) -> None:
    """Check the due counts of one delta, and raise WireError if there are too many rows or a row is impossible.

    `name` names the delta in the error message.
    """
    if len(counts) > MAX_DUE_ROWS:
        raise WireError(f"{name} has {len(counts):,} rows of due counts, more than {MAX_DUE_ROWS:,}", hint=SAME_VERSION)
    for one in counts:
        values = (one.good, one.bad, one.overdue, one.undecided, one.bounds)
        if (
            not 0 <= one.k < _MAX_K
            or one.objective < 0
            or min(*values, one.total) < 0
            or max(values) > _MAX_COUNT
            or one.total > _MAX_TOTAL
        ):
            raise WireError(f"{name} has impossible due counts: {one}", hint=SAME_VERSION)
