"""A sample of whole sessions, for what needs more than counts: actions, kinds of sessions, fidelity.

The sample has the sessions with the smallest hashes of their content. So it is random, but any order of the lines gives
the same sample, and so does any key of the users' hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.splitmix import GOLDEN, mixed_each
from loadgen.traffic.sessions.second_pass import Visits
from loadgen.traffic.sessions.session_table import SessionTable, joined

__all__ = ["MOST_REQUESTS", "MOST_SESSIONS", "SampledSessions", "SessionSampler", "hashes_of", "mixed", "uniform_of"]

MOST_SESSIONS: Final = 20_000
MOST_REQUESTS: Final = 1_000_000


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the first output of SplitMix64 for each seed."""
    return mixed_each(values + np.uint64(GOLDEN))


def uniform_of(hashes: NDArray[np.uint64], purpose: int) -> NDArray[np.float64]:
    """Return a number from 0 to below 1 for each hash. purpose: other numbers for another purpose."""
    bits = mixed(hashes ^ mixed(np.full(1, purpose, np.uint64))) >> np.uint64(11)
    return np.ldexp(bits.astype(np.float64), -53)


def hashes_of(visits: Visits) -> NDArray[np.uint64]:
    """Return a hash of the content of each session in a partition, which has at least one."""
    status, size = (visits.rows[name].astype(np.uint64) for name in ("status", "size"))
    what = (visits.name.astype(np.uint64) << np.uint64(42)) ^ (status << np.uint64(32)) ^ size
    of_request = mixed(mixed(visits.start.astype(np.uint64)) ^ what)
    return mixed(np.add.reduceat(of_request, visits.sessions.first))


@dataclass(frozen=True)
class SampledSessions:
    """Sessions of the sample. hashes: of their content. is_all: whether these are all sessions of the logs."""

    table: SessionTable
    hashes: NDArray[np.uint64]
    is_all: bool


class SessionSampler:
    """Collects the sample from the partitions.

    sessions, requests: the most that the sample has. It has at least one session.
    """

    def __init__(self, sessions: int = MOST_SESSIONS, requests: int = MOST_REQUESTS) -> None:
        self._most = sessions, requests
        self._parts: list[tuple[NDArray[np.uint64], SessionTable]] = []
        self._waiting = 0
        self._highest: np.uint64 | None = None
        """A session with a higher hash cannot be in the sample; None: there is still room."""
        self._all = True

    def add(self, visits: Visits) -> None:
        """Add the sessions of a partition."""
        hashes = hashes_of(visits)
        counts = ~visits.is_shared
        wanted = np.flatnonzero(counts if self._highest is None else counts & (hashes <= self._highest))
        if not len(wanted):
            return
        table = _table_of(visits).chosen(wanted)
        self._parts.append((hashes[wanted], table))
        self._waiting += len(table.state)
        if self._waiting > 2 * self._most[1]:
            self._shrink()

    def sample(self) -> SampledSessions:
        """Return the sample of all sessions that were added: at least one."""
        self._shrink()
        ((hashes, table),) = self._parts
        order = np.lexsort((hashes, table.starts))
        return SampledSessions(table.chosen(order), hashes[order], self._all)

    def _shrink(self) -> None:
        hashes = np.concatenate([part for part, _ in self._parts])
        table = joined([part for _, part in self._parts])
        order = np.argsort(hashes, kind="stable")
        requests = np.cumsum(np.diff(table.bounds)[order])
        sessions, most_requests = self._most
        fit = max(1, min(sessions, int(np.searchsorted(requests, most_requests, side="right"))))
        if fit < len(order):
            self._all = False
            order = order[:fit]
            self._highest = hashes[order[-1]]
        self._parts = [(hashes[order], table.chosen(order))]
        self._waiting = int(requests[len(order) - 1])


def _table_of(visits: Visits) -> SessionTable:
    """Return all sessions of a partition. The state of a request is the number of its name; `states` has no meaning."""
    rows = visits.rows
    return SessionTable(
        bounds=np.append(visits.sessions.first, len(visits.start)),
        start=visits.start,
        end=visits.end,
        state=visits.name,
        states=0,
        is_main=np.ones(len(visits.start), bool),
        path=rows["path"].astype(np.int64),
        status=rows["status"].astype(np.int64),
        size=rows["size"].astype(np.int64),
        is_whole=~visits.is_cut,
    )
