"""Counts what needs neither names nor sessions: requests by path, by status and by day, and when they start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.rows.rows import Rows

__all__ = ["RowFigures", "row_figures"]

_DAY_US: Final = 86_400_000_000
_MINUTE_US: Final = 60_000_000


@dataclass(frozen=True)
class RowFigures:
    """Figures of the rows of all partitions."""

    by_path: NDArray[np.int64]
    """Requests by number of the path."""
    by_status: dict[int, int]
    """Sorted by status."""
    by_day: Mapping[int, int]
    """By day since 1970."""
    minutes_of_hour: int
    """The number of different minutes of the hour in which requests start."""
    has_fractions: bool
    """Whether the stamps have fractions of a second."""
    first_us: int
    last_us: int
    """Earliest and latest start, µs since 1970."""
    with_duration: int
    """Requests whose duration is known."""


def row_figures(partitions: Iterable[Rows], paths: int) -> RowFigures:
    """Return the figures of at least one row. paths: how many numbers of paths there are."""
    by_path = np.zeros(paths, np.int64)
    by_status, by_day = Counter[int](), Counter[int]()
    by_minute = np.zeros(60, np.int64)
    has_fractions, with_duration = False, 0
    first_us, last_us = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for rows in partitions:
        start = rows["start"]
        by_path += np.bincount(rows["path"], minlength=paths)
        by_status.update(_counts(rows["status"]))
        by_day.update(_counts(start // _DAY_US))
        by_minute += np.bincount((start // _MINUTE_US) % 60, minlength=60)
        has_fractions = has_fractions or bool((start % 1_000_000).any())
        with_duration += int(np.count_nonzero(~np.isnan(rows["took"])))
        first_us, last_us = min(first_us, int(start.min())), max(last_us, int(start.max()))
    return RowFigures(
        by_path,
        dict(sorted(by_status.items())),
        by_day,
        int(np.count_nonzero(by_minute)),
        has_fractions,
        first_us,
        last_us,
        with_duration,
    )


def _counts(values: NDArray[np.integer]) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
