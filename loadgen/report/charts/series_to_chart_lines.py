"""Assign each series to a line of a chart, a row of the table and a kind of error.

Names beyond a limit go into "(other)", so the size of a page is bounded for any
number of names in a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from loadgen.measure.deltas.series_key import CUT_OFF, OK, OTHER, PHASES, STREAM_TIMES, TIMEOUT, TOKEN_NS, SeriesKey
from loadgen.measure.histograms.counts_of_all_series import Stats
from loadgen.measure.histograms.histogram import MAX_NS, SLOTS, Counts
from loadgen.measure.merging.queries import Row
from loadgen.report.charts.bulk_percentiles import COARSE, coarse
from loadgen.report.charts.time_slots import Sums, sums_of

__all__ = ["ERRORS", "ROWS", "TOKENS", "Chart", "Lines", "Split"]

Chart = Literal["iterations", "requests", "service", "regions", "phases", "streams"]

_NAMES: Final = 50
"""The largest number of journeys, and of regions, with a line of their own."""
ERRORS: Final = 12
"""The largest number of error kinds with a line of their own: the first that occurred."""
ROWS: Final = 300
"""The largest number of rows of their own: the first that occurred."""
TOKENS: Final = 3
"""Sums of tokens: of the prompt and the answer of requests that ended ok, and of the answer of failed ones."""


@dataclass(frozen=True, slots=True)
class Split:
    """The counts of some histograms, split by line, row and kind of error."""

    sums: Sums
    """By line: key 2 * number for observed values, and + 1 for censored values."""
    rows: Sums
    """By row with the same keys, in coarse cells."""
    errors: Counts
    """(ERRORS + 1,) failed requests by kind; the last number counts all other kinds."""
    tokens: Counts | None = None
    """(TOKENS,) sums of tokens; None: no series of the run counts tokens."""


class Lines:
    """The numbers of lines, rows and error kinds. A number, once given, never changes."""

    def __init__(self) -> None:
        self.lines: dict[tuple[Chart, str], int] = {}
        """By chart and name; the name is "" if the chart has only one line."""
        self.rows: dict[Row, int] = {}
        self.errors: list[str] = []
        self.members: dict[Row, set[Row]] = {}
        """For each "(other)" row, the rows in it."""
        self._chart, self._region, self._row, self._error, self._tokens = (
            np.zeros(0, dtype=np.int64) for _ in range(5)
        )
        """By series number, the key to which the series adds its values; -1 if it adds to none."""
        self._has_tokens = False

    def learn(self, names: Sequence[tuple[str, SeriesKey]]) -> None:
        """Assign new series. `names` has all series by number: the known ones first, then new ones."""
        known = len(self._chart)
        if len(names) == known:
            return
        found = np.array([self._keys(region, key) for region, key in names[known:]], dtype=np.int64)
        self._chart, self._region, self._row, self._error, self._tokens = (
            np.concatenate((old, found[:, n]))
            for n, old in enumerate((self._chart, self._region, self._row, self._error, self._tokens))
        )
        self._has_tokens = self._has_tokens or bool((found[:, 4] >= 0).any())

    def split(self, index: Counts, counts: Counts, stats: Stats) -> Split:
        """Return the counts by line, row and error kind. The arguments are as for `Store.add`. Cost: 30 ns a pair."""
        series, slots = np.divmod(index, SLOTS)
        pairs, own = [], []
        for table in (self._chart, self._region):
            keys = table[series]
            is_in = keys >= 0
            pairs.append(keys[is_in] * SLOTS + slots[is_in])
            own.append(counts[is_in])
        sums = sums_of(pairs, own, *_ends((self._chart, self._region), stats, 2 * len(self.lines)))
        keys = self._row[series]
        is_in = keys >= 0
        cells = keys[is_in] * COARSE.width + coarse(slots[is_in])
        rows = sums_of([cells], [counts[is_in]], *_ends((self._row,), stats, 2 * len(self.rows)))
        errors = np.zeros(ERRORS + 1, dtype=np.int64)
        kinds = self._error[stats.series]
        np.add.at(errors, kinds[kinds >= 0], stats.n[kinds >= 0])
        return Split(sums, rows, errors, self._token_sums(stats) if self._has_tokens else None)

    def _token_sums(self, stats: Stats) -> Counts:
        tokens = np.zeros(TOKENS, dtype=np.int64)
        of = self._tokens[stats.series]
        is_in = of >= 0
        sums_ns = stats.sum_us[is_in] * 1_000 + stats.sum_rest_ns[is_in]
        np.add.at(tokens, of[is_in], sums_ns // TOKEN_NS)
        return tokens

    def row_of(self, row: Row) -> Row:
        """Return `row` itself, or the "(other)" row that contains it."""
        return row if row in self.rows else _other(row)

    # -- within -----------------------------------------------------------------------------------

    def _keys(self, region: str, key: SeriesKey) -> tuple[int, int, int, int, int]:
        chart: tuple[Chart, str] | None = None
        in_region = error = row = tokens = -1
        if key.metric == "response" and key.kind != "trend":
            row = self._row_number(Row(key.kind, key.journey, key.step, key.request))
            if key.kind == "journey":
                chart = "iterations", key.journey
            elif key.kind == "request":
                chart, in_region = ("requests", ""), self._line("regions", region)
                error = self._kind(key.outcome) if key.outcome != OK else -1
        elif key.kind == "request" and key.metric == "service":
            chart = "service", ""
        elif key.kind == "request" and key.metric in PHASES:
            chart = "phases", key.metric
        elif key.metric in STREAM_TIMES:
            # A request that failed before its first token has a bound, which says something only if it waited for it.
            if not key.censored or key.outcome in (TIMEOUT, CUT_OFF):
                chart = "streams", key.metric
        elif key.metric == "prompt_tokens" and key.outcome == OK:
            tokens = 0
        elif key.metric == "output_tokens":
            tokens = 1 if key.outcome == OK else 2
        numbers = (-1 if chart is None else self._line(*chart)), in_region, row
        found = [number if number < 0 else 2 * number + key.censored for number in numbers]
        return found[0], found[1], found[2], error, tokens

    def _line(self, chart: Chart, name: str) -> int:
        if (chart, name) not in self.lines and sum(of == chart for of, _ in self.lines) >= _NAMES:
            name = OTHER
        return self.lines.setdefault((chart, name), len(self.lines))

    def _kind(self, outcome: str) -> int:
        if outcome not in self.errors:
            if len(self.errors) >= ERRORS:
                return ERRORS
            self.errors.append(outcome)
        return self.errors.index(outcome)

    def _row_number(self, row: Row) -> int:
        if row not in self.rows and len(self.rows) - len(self.members) >= ROWS:
            other = _other(row)
            self.members.setdefault(other, set()).add(row)
            row = other
        return self.rows.setdefault(row, len(self.rows))


def _other(row: Row) -> Row:
    return Row(row.kind, OTHER, OTHER if row.kind == "step" else None, OTHER if row.kind == "request" else None)


def _ends(tables: Sequence[Counts], stats: Stats, keys: int) -> tuple[Counts, Counts]:
    """Return the least and the greatest value of each key, in ns."""
    least, most = np.full(keys, MAX_NS), np.zeros(keys, dtype=np.int64)
    for table in tables:
        of = table[stats.series]
        is_in = of >= 0
        np.minimum.at(least, of[is_in], stats.min_ns[is_in])
        np.maximum.at(most, of[is_in], stats.max_ns[is_in])
    return least, most
