"""Chooses which sessions of a log are played, how often, and when. Pure functions.

The scale draws whole sessions: 2 plays each session twice, 0.5 plays about half of them. A further copy of a session
starts at random within the minute of the session, so the load of each minute grows and its curve stays. The choice
follows from a hash of the session, so it is the same each time, and for any order of the lines in the log.

If the log has stamps of whole seconds, each session starts at random within its second. Otherwise all sessions of a
second would start together, which is a burst that the log does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from itertools import groupby
from typing import Final

from loadgen.splitmix import GOLDEN, mixed
from loadgen.traffic.replays.session_lines import Recorded

__all__ = ["MOST_SCALE", "played"]

MOST_SCALE: Final = 1_000.0
_MINUTE_US: Final = 60_000_000
_SECOND_US: Final = 1_000_000


def played(rows: Iterable[Recorded], scale: float, *, whole_seconds: bool) -> Iterator[Recorded]:
    """Yield the rows that are played, sorted by start. rows: sorted. The rows of a minute are in memory together.

    scale: mean number of times that a row is played, above 0. whole_seconds: the stamps of the log have no fractions.
    """
    if scale == 1 and not whole_seconds:
        yield from rows
        return
    for minute, some in groupby(rows, lambda row: row.start_us // _MINUTE_US):
        yield from sorted(_copies(some, minute * _MINUTE_US, scale, whole_seconds=whole_seconds))


def _copies(rows: Iterable[Recorded], minute_us: int, scale: float, *, whole_seconds: bool) -> Iterator[Recorded]:
    for (start_us, steps), alike in groupby(rows, lambda row: (row.start_us, row.steps)):
        for nth, row in enumerate(alike):  # sessions that are alike differ by their number
            key = b"%d %d %b" % (start_us, nth, steps)
            seed = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
            whole = int(scale)
            for copy in range(whole + (_share(seed) < scale - whole)):
                if copy:
                    start_us = minute_us + int(_share(seed + (copy + 1) * GOLDEN) * _MINUTE_US)
                elif whole_seconds:
                    start_us = row.start_us + int(_share(seed + GOLDEN) * _SECOND_US)
                else:
                    start_us = row.start_us
                yield replace(row, start_us=start_us)


def _share(seed: int) -> float:
    """Return a number from 0 to 1 that follows from the seed."""
    return (mixed(seed) >> 11) / 2**53
