"""Times that are excluded from attainment, such as maintenance: audited events of the history, each with its reason.

Nothing is removed from the ledger. Pages show attainment with and without the excluded times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.history.store.audit_trail import put_event, read_kind, time_in, time_text
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import one_line

__all__ = ["EXCLUDED", "Exclusion", "exclude", "exclusions", "is_excluded"]

EXCLUDED: Final = "excluded"
"""The kind of the events."""
_LONGEST_S: Final = 31 * 86_400


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An excluded time [start, end), Unix time in s. slos: names of objectives; empty: all. at: when it was decided."""

    start: int
    end: int
    because: str
    slos: tuple[str, ...] = ()
    by: str = ""
    at: str = ""


def exclude(place: Place, one: Exclusion) -> Exclusion:
    """Record an exclusion, and return it as it was written.

    Raises:
        UsageError: the reason is empty, or the time is empty or longer than 31 days.
        StorageError, CloudError: it cannot be written.
    """
    if not one.because.strip():
        raise UsageError("excluding a time needs a reason", hint="give --because TEXT, which is recorded")
    if not 0 < one.end - one.start <= _LONGEST_S:
        raise UsageError(
            "the excluded time must be longer than 0 and at most 31 days", hint="give --from and --to, such as --to 2h"
        )
    details = {"from": time_text(one.start), "to": time_text(one.end)}
    # Names of objectives have no commas.
    details |= {"slos": ",".join(one.slos)} if one.slos else {}
    event = Event(EXCLUDED, one.at or utc_text(datetime.now(UTC)), one.by, (), one.because.strip(), details)
    put_event(place, event)
    return Exclusion(one.start, one.end, event.because, one.slos, event.by, event.at)


def exclusions(place: Place, as_of: str = "") -> tuple[tuple[Exclusion, ...], tuple[str, ...]]:
    """Return (the exclusions in the order in which they were decided, a sentence for each event that is not readable).

    as_of: only those that were decided until then, RFC 3339; "": all.
    """
    return read_kind(place, EXCLUDED, _exclusion_in, as_of)


def is_excluded(
    slo: str, start: NDArray[np.int64], width: NDArray[np.int64], found: Iterable[Exclusion]
) -> NDArray[np.bool_]:
    """Return for each slice of an objective whether a part of it is excluded, shape (slices,)."""
    chosen: Sequence[Exclusion] = [one for one in found if not one.slos or slo in one.slos]
    mask = np.zeros(len(start), np.bool_)
    for one in chosen:
        mask |= (start < one.end) & (start + width > one.start)
    return mask


def _exclusion_in(event: Event) -> Exclusion:
    """Raises ValueError or KeyError if a part is missing or invalid."""
    start, end = (round(time_in(event.details[key]).timestamp()) for key in ("from", "to"))
    slos = tuple(filter(None, event.details.get("slos", "").split(",")))
    return Exclusion(start, end, one_line(event.because, 300), slos, one_line(event.by, 100), event.at)
