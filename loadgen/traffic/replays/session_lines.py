"""Turns the rows of a partition into the lines of a file of sessions, without their starts.

A session has steps, and a step has calls. A step begins when all calls of the step before it have ended, after a pause.
The calls of a step start at offsets from the start of the step, because in the log they overlap:

    "steps":[[pause, [[offset, method, url, name], ...]], ...]

With the timing of the clock, a session is a single step: all calls start at their offsets, whatever the target does.
A call with a status from 400 to 499 has a fifth member, [status], because that status is not a failure of the replay.

Times are seconds, rounded to 1 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.replays.target_urls import TargetUrls
from loadgen.traffic.rows.rows import METHODS, Rows
from loadgen.traffic.sessions.named_rows import NamedRows
from loadgen.traffic.sessions.second_pass import visits_of
from loadgen.traffic.sessions.sessions import latest_ends

__all__ = ["MOST_CALLS", "Recorded", "SessionLines", "Timing", "seconds_text"]

Timing = Literal["think", "clock"]
MOST_CALLS: Final = 1_000
"""The calls of a session in one row. A longer session continues in a further row, which has a start of its own."""


@dataclass(frozen=True, order=True)
class Recorded:
    """A row of the file. start_us: of its first call, µs since 1970. steps: JSON text. lasts_us: to its last call."""

    start_us: int
    steps: bytes
    lasts_us: int
    calls: int


class SessionLines:
    """Makes the rows of sessions. They do not depend on the order of the lines in the logs."""

    def __init__(self, read: NamedRows, urls: TargetUrls, timing: Timing) -> None:
        self._read, self._urls, self._timing = read, urls, timing
        self._fragments: dict[tuple[int, int], str] = {}
        self.sessions = 0
        """Sessions so far."""
        self.continued = 0
        """Rows so far that continue a session."""

    def of(self, rows: Rows) -> Iterator[Recorded]:
        """Yield the rows of the file for the requests of a partition, in no order. rows: at least one."""
        visits = visits_of(rows, self._read.template_of, self._read.rule)
        first = visits.sessions.first
        # Only requests of one user with the same start change places, so the sessions remain where they are.
        order = np.lexsort((self._keys(visits.rows), visits.start, visits.user))
        rows, start, user = visits.rows[order], visits.start[order], visits.user[order]
        end = start + np.rint(np.nan_to_num(rows["took"].astype(np.float64)) * 1e6).astype(np.int64)
        latest = latest_ends(user, end)
        texts = [
            self._fragment(path, method, status)
            for path, method, status in zip(
                rows["path"].tolist(), rows["method"].tolist(), rows["status"].tolist(), strict=True
            )
        ]
        starts, latests = start.tolist(), latest.tolist()
        for begin, length in zip(first.tolist(), visits.sessions.length.tolist(), strict=True):
            self.sessions += 1
            self.continued += (length - 1) // MOST_CALLS
            for at in range(begin, begin + length, MOST_CALLS):
                upto = min(at + MOST_CALLS, begin + length)
                yield self._row(starts[at:upto], latests[at:upto], texts[at:upto])

    def _keys(self, rows: Rows) -> np.ndarray:
        """Return a number of each row that sorts rows with the same start by their texts."""
        columns = (rows["path"], rows["method"], rows["status"], np.nan_to_num(rows["took"]))
        keys = [
            (self._fragment(path, method, status), took)
            for path, method, status, took in zip(*(column.tolist() for column in columns), strict=True)
        ]
        ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
        return np.array([ranks[key] for key in keys], np.int64)

    def _row(self, starts: list[int], latests: list[int], texts: list[str]) -> Recorded:
        steps: list[str] = []
        calls: list[str] = []
        begin, pause = starts[0], 0
        for at, (start, text) in enumerate(zip(starts, texts, strict=True)):
            if at and self._timing == "think" and start >= latests[at - 1]:
                steps.append(f"[{seconds_text(pause)},[{','.join(calls)}]]")
                calls = []
                begin, pause = start, start - latests[at - 1]
            calls.append(f"[{seconds_text(start - begin)},{text}]")
        steps.append(f"[{seconds_text(pause)},[{','.join(calls)}]]")
        return Recorded(starts[0], f'"steps":[{",".join(steps)}]'.encode(), starts[-1] - starts[0], len(texts))

    def _fragment(self, path: int, method: int, status: int) -> str:
        """Return the members of a call after its offset, as JSON."""
        accepted = status if 400 <= status < 500 else 0
        found = self._fragments.get((path, method * 1_000 + accepted))
        if found is None:
            names = self._read.names
            at = int(names.index[int(self._read.template_of[path]) * len(METHODS) + method])
            name = names.kept[at].name if at < len(names.kept) else OTHER
            members: list[str | list[int]] = [METHODS[method], self._urls.url(path), name]
            found = json.dumps(members + [[accepted]] * bool(accepted), separators=(",", ":"))[1:-1]
            self._fragments[path, method * 1_000 + accepted] = found
        return found


def seconds_text(us: int) -> str:
    """Return µs as seconds with at most three decimals, rounded: "0", "1.5", "0.004"."""
    whole, part = divmod((us + 500) // 1_000, 1_000)
    return f"{whole}.{part:03}".rstrip("0") if part else str(whole)
