"""Production of one week against the week before, from the ledger, by matching hours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from loadgen.analysis.anomalies.hours import HOUR_S
from loadgen.analysis.week_on_week.change import WeekChange, change_of_share, change_of_volume, days_of
from loadgen.programme.anomalies.find import hourly, offsets_of
from loadgen.programme.ledger.exclusions import Exclusion, is_excluded
from loadgen.programme.ledger.ledger import Counts

__all__ = ["ProductionChange", "production_change"]


@dataclass(frozen=True, slots=True)
class ProductionChange:
    """volume: requests. bad_share: bad requests / requests."""

    volume: WeekChange
    bad_share: WeekChange


def production_change(
    counts: Counts | None, slo: str, zone: str, start: int, exclusions: Sequence[Exclusion] = ()
) -> ProductionChange:
    """Return how the week that begins at `start` (Unix time in s, 0 h of the wall clock) differs from the one before.

    Excluded times and missing times of either week are left out of both.
    """
    if counts is None or not len(counts):
        return _none("the ledger has no counts of it")
    kept = ~is_excluded(slo, counts.start, counts.width, exclusions)
    try:
        total, bad = (hourly(counts, zone, one, kept) for one in (counts.total, counts.total - counts.good))
    except ValueError as error:
        return _none(str(error))
    first = (start + int(offsets_of(np.array([start], np.int64), zone)[0])) // HOUR_S
    before, after = (days_of(total, first - back) for back in (168, 0))
    bad_before, bad_after = (days_of(bad, first - back) for back in (168, 0))
    return ProductionChange(change_of_volume(before, after), change_of_share(bad_before, before, bad_after, after))


def _none(why: str) -> ProductionChange:
    nothing = WeekChange(nan, nan, nan, 0, 0, why=why)
    return ProductionChange(nothing, nothing)
