"""The incident behind a promise that was not kept: the longest stretch of bad slices. Pure.

    incident_of(units, 0.995)      # Incident(start, end, bad=5_210, share=0.81)

A slice is bad if its bad share is at least 10 times the budget. Good slices shorter than a quarter of an hour between
bad ones do not end a stretch. Slow, even losses have no such stretch, so they have no incident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.attainment.slices import Slices

__all__ = ["Incident", "incident_of"]

_FACTOR: Final = 10.0
_PAUSE_S: Final = 900.0
_LEAST_SHARE: Final = 0.25
_LEAST_BAD: Final = 5.0


@dataclass(frozen=True, slots=True)
class Incident:
    """start, end: s since the epoch. bad: bad requests (or slices) in it. share: of all bad ones, 0 to 1."""

    start: float
    end: float
    bad: float
    share: float


def incident_of(units: Slices, target: object) -> Incident | None:
    """Return the longest stretch of bad slices; None if there is none that counts.

    A stretch counts if it has at least 5 bad requests, and a quarter of all bad ones. Of equally long stretches, the
    one with the most bad requests is returned.

    Args:
        units: slices in the units of the method, in order of time.

    Raises:
        ValueError: the target is not above 0 and below 1.
    """
    every = float(units.bad.sum())
    limit = min(_FACTOR * float(1 - exact_share(target)), 0.5)
    ratio = np.divide(units.bad, units.total, out=np.zeros(len(units)), where=units.total > 0)
    at = np.flatnonzero((ratio >= limit) & (units.total > 0))
    if not len(at) or not every:
        return None
    end = units.end
    breaks = np.flatnonzero(units.start[at[1:]] - end[at[:-1]] >= _PAUSE_S) + 1
    found = []
    for part in np.split(at, breaks):
        bad = float(units.bad[part[0] : part[-1] + 1].sum())
        one = Incident(float(units.start[part[0]]), float(end[part[-1]]), bad, bad / every)
        if one.bad >= _LEAST_BAD and one.share >= _LEAST_SHARE:
            found.append(one)
    return max(found, key=lambda one: (one.end - one.start, one.bad), default=None)
