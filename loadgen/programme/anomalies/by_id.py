"""Looks up a find by its id, also one of an older page that later counts no longer flag. Pure.

An id is made from promise, first hour and kind, so it can be compared with those of all hours of the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from loadgen.programme.anomalies.blocks import search_back
from loadgen.programme.anomalies.find import Anomaly, Direction, What, anomaly_id, hourly
from loadgen.programme.ledger.exclusions import Exclusion
from loadgen.programme.ledger.ledger import Reading

__all__ = ["find_by_id", "is_id"]

_ID: Final = re.compile(r"A-[0-9a-f]{8}")
_KINDS: Final[tuple[tuple[What, Direction], ...]] = (
    ("requests", "more"),
    ("requests", "fewer"),
    ("bad requests", "more"),
)


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id, such as "A-5f0c1d2e"."""
    return _ID.fullmatch(text) is not None


def find_by_id(
    reading: Reading, id_: str, zone: str, exclusions: Sequence[Exclusion] = (), names: Sequence[str] = ()
) -> tuple[Anomaly | None, bool]:
    """Return (the find with an id, whether the present counts still flag it); None if no hour has this id.

    names: of the revisions of the reading, for `Anomaly.revisions`.

    Cost: about 4 µs for each hour of each promise, and a search of one promise.
    """
    for slo, counts in reading.by_slo.items():
        try:
            hours = hourly(counts, zone, counts.total)
        except ValueError:
            continue  # slices of days
        for start, end in zip(hours.start.tolist(), hours.end.tolist(), strict=True):
            for what, direction in _KINDS if end else ():
                if anomaly_id(slo, start, what, direction) != id_:
                    continue
                found = search_back(counts, slo, zone, exclusions, names, since=start, end=reading.end).found
                same = [one for one in found if (one.what, one.direction) == (what, direction)]
                for one in same:
                    if one.start < end and start < one.end:
                        return replace(one, id=id_), True
                inside = (counts.start >= start) & (counts.start < end)
                events = counts.total if what == "requests" else counts.total - counts.good
                observed = float(np.sum(events[inside]))
                return Anomaly(id_, slo, start, end, what, observed, observed, 0.0, direction), False
    return None, False
