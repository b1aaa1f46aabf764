"""Counts of sessions that are compared: requests, steps, lengths, pauses, answers, keys.

A summary has no session, so that it can be kept in `traffic.json` and a later comparison needs no log. Sessions that
touch the ends of the log count with their requests only. If most sessions do, they
count completely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.fidelity.locality import lru_hit_ratio, top_share
from loadgen.traffic.model.gap_bins import BINS, bin_of
from loadgen.traffic.sessions.session_table import NO_PATH, SessionTable

__all__ = [
    "BYTES_MEDIAN",
    "BYTES_P95",
    "CACHED_REQUESTS",
    "LEAST_SAMPLE",
    "MOST_ACTIONS",
    "SIZE_QUANTILES",
    "STATUSES",
    "Keys",
    "SessionSummary",
    "moves_of",
    "summary_of",
]

MOST_ACTIONS: Final = 1_000
"""Longer sessions count as this long."""
STATUSES: Final = 1_000
SIZE_QUANTILES: Final = 21
"""0, 5 ... 100 %."""
BYTES_MEDIAN: Final = 10
BYTES_P95: Final = 19
LEAST_SAMPLE: Final = 50
"""Fewer pauses of an edge, or answers of a name, have no distribution of their own."""
_CACHES: Final = (0.01, 0.1)
_LEAST_CACHE: Final = 10
"""Keys. The order of requests within a page decides what a smaller cache holds."""
_SHORTEST_US: Final = 1_000_000
"""Shorter sessions are one page, and how long its requests take is the target's."""
_SESSION_BITS: Final = 43
_SIZE_BITS: Final = 40
CACHED_REQUESTS: Final = 20_000
"""Requests at the beginning of a table that the caches get."""


@dataclass(frozen=True)
class Keys:
    """How unevenly the paths of names are requested, among names that have several paths.

    top_keys: by state, the number of its most requested paths that are top keys: 1 % of its paths, at least 1; 0 for a
    name with one path. caches: two sizes, 1 % and 10 % of all these paths. top_share: share of the requests for the top
    keys. hit_ratios: of caches of these sizes, 0 to 1.
    """

    top_keys: NDArray[np.int64]
    caches: tuple[int, int]
    top_share: float
    hit_ratios: tuple[float, float] | None
    """None if they were left out."""


@dataclass(frozen=True)
class SessionSummary:
    """Counts of sessions. The number `states` stands for the outside, from which sessions come and to which they go."""

    sessions: int
    requests: NDArray[np.int64]
    """By state."""
    moves: NDArray[np.int64]
    """moves[a, b]: how often an action b followed an action a; row and column `states` are the outside."""
    triples: NDArray[np.int64]
    """triples[a, b, c]: how often action b followed a, and then c; the last number of each axis is the outside."""
    pairs: NDArray[np.int64]
    """pairs[a, b]: sessions with actions a and b; pairs[a, a]: those with an action a. Symmetric."""
    lengths: NDArray[np.int64]
    """lengths[n]: sessions with n actions."""
    durations: NDArray[np.int64]
    """Sessions by the time from the first start to the last end, in the bins of `gap_bins`."""
    edges: NDArray[np.int64]
    """Pairs of actions with enough pauses: from * states + to, increasing."""
    pauses: NDArray[np.int64]
    """Pauses by edge, in the bins of `gap_bins`; one more row has those of all other pairs."""
    statuses: NDArray[np.int64]
    """statuses[a, s]: requests of state a with status s."""
    sizes: NDArray[np.float64]
    """sizes[a, n]: the n-th of the `SIZE_QUANTILES` quantiles of bytes; NaN for states with few requests."""
    keys: Keys | None
    """None if no name has several paths."""

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.requests)

    def share_of_lengths(self, least: int, most: int = MOST_ACTIONS) -> float:
        """Return the share of sessions with `least` to `most` actions."""
        return float(self.lengths[least : most + 1].sum() / max(1, self.lengths.sum()))


def summary_of(table: SessionTable, like: SessionSummary | None = None, *, has_caches: bool = True) -> SessionSummary:
    """Return the summary of a table with at least one session.

    like: the summary with which it will be compared. It has the edges with pauses of their own, and the numbers of keys
    that are the top ones or fit a cache. has_caches: whether hit ratios are computed, which takes half of the time.
    """
    states = table.states
    counted = table.is_whole if 2 * np.count_nonzero(table.is_whole) >= table.count else np.ones(table.count, bool)
    first = table.bounds[:-1]
    last_end = np.maximum.reduceat(table.end, first)
    triples, lengths, edge, pause = _steps(table, counted)
    pair_counts = np.bincount(edge, minlength=states * states)
    edges = np.flatnonzero(pair_counts >= LEAST_SAMPLE) if like is None else like.edges
    return SessionSummary(
        sessions=table.count,
        requests=np.bincount(table.state, minlength=states),
        moves=moves_of(triples),
        triples=triples,
        pairs=_pairs(table, counted),
        lengths=lengths,
        durations=np.bincount(bin_of(np.maximum(last_end - table.starts, _SHORTEST_US)[counted]), minlength=BINS),
        edges=edges,
        pauses=_by_edge(edges, edge, pause),
        statuses=np.bincount(table.state * STATUSES + table.status, minlength=states * STATUSES).reshape(states, -1),
        sizes=_quantiles_of_sizes(table),
        keys=_keys(table, None if like is None else like.keys, has_caches=has_caches),
    )


def _steps(
    table: SessionTable, counted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the triples, the lengths of sessions, and of each pause its pair of actions and its length in µs."""
    outside = table.states
    latest = _latest_ends(table)
    main = np.flatnonzero(table.is_main & counted[table.session])
    session = table.session[main]
    state = table.state[main]
    is_first = np.append(True, session[1:] != session[:-1])[: len(main)]
    is_last = np.append(is_first[1:], True)[: len(main)]
    before = np.where(is_first, outside, np.append(outside, state[:-1])[: len(main)])
    size = outside + 1
    after = np.where(is_last, outside, np.append(state[1:], outside)[: len(main)])
    triples = np.bincount((before * size + state) * size + after, minlength=size**3)
    actions = np.bincount(session, minlength=table.count)[counted]
    later = main[~is_first]
    pause = np.maximum(table.start[later] - latest[later - 1], 0)
    edge = before[~is_first] * outside + state[~is_first]
    return triples.reshape(size, size, size), np.bincount(np.minimum(actions, MOST_ACTIONS)), edge, pause


def moves_of(triples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each action followed each other one; row and column of the last number are the outside."""
    found: NDArray[np.int64] = triples.sum(0)
    found[-1] = triples[-1].sum(1)
    return found


def _pairs(table: SessionTable, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
    main = np.flatnonzero(table.is_main & counted[table.session])
    there = np.zeros((table.count, table.states), np.float32)
    there[table.session[main], table.state[main]] = 1
    # A product of matrices of floats is faster than one of integers, and exact up to 2^24 sessions.
    found: NDArray[np.int64] = np.rint(there.T @ there).astype(np.int64)
    return found


def _latest_ends(table: SessionTable) -> NDArray[np.int64]:
    """Return for each request the latest end of its session's requests up to it.

    The same as `sessions.latest_ends`, without its sort, which would take a third of the time of a summary.
    """
    session = table.session
    end = table.end - table.starts[session]
    # Ends within a session are below 76 days, 2^43 us, so those of the next session are always higher.
    offset = session << _SESSION_BITS
    found: NDArray[np.int64] = np.maximum.accumulate(end + offset) - offset + table.starts[session]
    return found


def _by_edge(edges: NDArray[np.int64], edge: NDArray[np.int64], pause: NDArray[np.int64]) -> NDArray[np.int64]:
    row = np.minimum(np.searchsorted(edges, edge), max(0, len(edges) - 1))
    if len(edges):
        row = np.where(edges[row] == edge, row, len(edges))
    rows = len(edges) + 1
    return np.bincount(row * BINS + bin_of(pause), minlength=rows * BINS).reshape(rows, BINS)


def _quantiles_of_sizes(table: SessionTable) -> NDArray[np.float64]:
    found = np.full((table.states, SIZE_QUANTILES), np.nan)
    size = np.sort((table.state << _SIZE_BITS) + table.size) & ((1 << _SIZE_BITS) - 1)
    ends = np.cumsum(np.bincount(table.state, minlength=table.states))
    for state, (begin, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
        if end - begin >= LEAST_SAMPLE:
            found[state] = size[np.rint(np.linspace(begin, end - 1, SIZE_QUANTILES)).astype(np.int64)]
    return found


def _keys(table: SessionTable, like: Keys | None, *, has_caches: bool) -> Keys | None:
    is_known = table.path != NO_PATH
    state, path = table.state[is_known], table.path[is_known]
    most = int(path.max(initial=0)) + 1
    pairs, key, hits = np.unique(state * most + path, return_inverse=True, return_counts=True)
    state_of = pairs // most
    different = np.bincount(state_of, minlength=table.states)
    top_keys = np.where(different > 1, np.maximum(1, np.rint(different * _CACHES[0])), 0).astype(np.int64)
    if like is not None:
        top_keys = like.top_keys
    counts = (top_keys > 0)[state]
    if not counts.any():
        return None
    total = int(different[top_keys > 0].sum())
    small, large = (max(_LEAST_CACHE, round(total * share)) for share in _CACHES)
    caches = (small, large) if like is None else like.caches
    tops = requests = 0.0
    for one in np.flatnonzero(top_keys):
        own = hits[state_of == one]
        if len(own):
            tops += top_share(own, int(top_keys[one])) * own.sum()
            requests += own.sum()
    ratios = None
    if has_caches:
        in_order = key[np.argsort(table.start[is_known], kind="stable")]
        in_order = in_order[(top_keys > 0)[state_of[in_order]]][:CACHED_REQUESTS].tolist()
        ratios = lru_hit_ratio(in_order, caches[0]), lru_hit_ratio(in_order, caches[1])
    return Keys(top_keys=top_keys, caches=caches, top_share=float(tops / requests), hit_ratios=ratios)
