"""Builds the points of a probe whose values have times of their server's clock, such as those of Prometheus. Pure.

Values that were read together, such as those of one scrape of one instance, are one page. A scrape that is missing is
a gap. Values may arrive in any order and more than once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from loadgen.probes.points import Gap, KeepsBuckets, ProbeSeries
from loadgen.probes.rows import Row, Series
from loadgen.probes.server_clock import ServerClockOffset

__all__ = ["Spacing", "TimedPoints"]

_GAP: Final = 1.6
"""A distance above this many intervals is a gap. Scrapes come a little early or late."""
_GAPS_MOST: Final = 10_000
_VALUES_MOST: Final = 5_000_000
"""The most values of a probe in memory: some 500 MB. Later ones are counted."""
_MS: Final = 1_000_000
_NO_SAMPLE: Final = "the server has no sample of this time"


@dataclass(frozen=True, slots=True)
class Spacing:
    """The usual distance of the samples of a row, and the samples that are missing."""

    interval_ns: int
    gaps: tuple[Gap, ...] = ()


class TimedPoints:
    """The values of one probe, by group and time."""

    def __init__(self) -> None:
        self._pages: dict[str, dict[int, dict[Series, float | None]]] = {}
        self._count = 0
        self.left_out = 0
        """The values that were dropped because of the limit."""

    def __bool__(self) -> bool:
        return bool(self._pages)

    def add(self, group: str, series: Series, at_ms: Iterable[int], values: Iterable[float | None]) -> None:
        """Add values of one series. A value that is there already is replaced."""
        pages = self._pages.setdefault(group, {})
        for at, value in zip(at_ms, values, strict=True):
            if self._count >= _VALUES_MOST:
                self.left_out += 1
                continue
            page = pages.setdefault(at, {})
            self._count += series not in page
            page[series] = value

    def build(
        self,
        rows: Iterable[Row],
        clock: ServerClockOffset,
        every_ns: int,
        t0_ns: int | None,
        keeps: KeepsBuckets = lambda _: False,
    ) -> tuple[ProbeSeries, dict[str, Spacing]]:
        """Return the points of all groups, and the spacing of each row, by key.

        every_ns: the interval that a group with only one page has. t0_ns: T0 by the probe's clock.
        keeps: as in `ProbeSeries`.
        """
        by_key = {row.key: row for row in rows}
        whole = ProbeSeries(every_ns)
        spacings: dict[str, Spacing] = {}
        for pages in self._pages.values():
            order = sorted(pages)
            interval_ns = _interval_ns(order) or every_ns
            part = ProbeSeries(interval_ns, keeps)
            if t0_ns is not None:
                part.set_t0(t0_ns)
            keys = dict.fromkeys(series.row for page in pages.values() for series in page)
            part.add_rows(by_key[key] for key in keys if key in by_key)
            before_ms: int | None = None
            for at_ms in order:
                found = clock.probe_time(at_ms * _MS)
                if found is None:
                    continue
                at_ns, error_ns = found
                if before_ms is not None and at_ms - before_ms > _GAP * interval_ns / _MS:
                    missing = round((at_ms - before_ms) * _MS / interval_ns) - 1
                    for n in range(min(missing, _GAPS_MOST - len(whole.gaps) - len(part.gaps))):
                        gap_ns = at_ns - (missing - n) * interval_ns
                        part.add_gap(gap_ns - error_ns, gap_ns + error_ns, _NO_SAMPLE)
                part.add(at_ns - error_ns, at_ns + error_ns, pages[at_ms])
                before_ms = at_ms
            spacings.update(dict.fromkeys(part.rows, Spacing(interval_ns, tuple(part.gaps))))
            whole.join(part)
        return whole, spacings


def _interval_ns(order: list[int]) -> int:
    """Return the typical distance of times in ms, in ns; 0 for fewer than 2 times."""
    return round(median(b - a for a, b in pairwise(order)) * _MS) if len(order) > 1 else 0
