"""Sessions of known kinds as a `SessionTable`, and a plain model of such sessions, which tests can damage.

Written with numpy alone, so that models can be held against it. A kind is recognized by its first action: each has an
entry of its own. The model uses this, so it needs no search for kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from loadgen.traffic.sessions.session_table import NO_PATH, SessionTable

__all__ = ["KINDS", "Damage", "Kind", "Made", "bursty", "daily", "fit_of", "made", "uniform"]

Starts = Callable[[int, np.random.Generator], np.ndarray]
"""Returns sorted starts in µs."""

BEGIN_US = 1_763_632_800_000_000
"""2025-11-20 10:00:00 UTC."""


@dataclass(frozen=True)
class Kind:
    """A kind of sessions. rows[a]: what follows action a, with probabilities; the last column ends the session.

    pause: median in s by action, and the standard deviation of its logarithm.
    """

    weight: float
    entry: int
    rows: tuple[tuple[float, ...], ...]
    pause: tuple[float, ...]
    sigma: float = 0.7


KINDS = (
    # home, search, product, cart, checkout, feed, end
    Kind(  # looks
        0.5,
        0,
        (
            (0.0, 0.4, 0.2, 0.0, 0.0, 0.0, 0.4),
            (0.0, 0.1, 0.3, 0.0, 0.0, 0.0, 0.6),
            (0.0, 0.2, 0.1, 0.0, 0.0, 0.0, 0.7),
            *((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),) * 3,
        ),
        (3, 2, 6, 1, 1, 1),
    ),
    Kind(  # buys
        0.25,
        1,
        (
            (0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0),
            (0.0, 0.3, 0.7, 0.0, 0.0, 0.0, 0.0),
            (0.0, 0.4, 0.4, 0.2, 0.0, 0.0, 0.0),
            (0.0, 0.0, 0.5, 0.0, 0.5, 0.0, 0.0),
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        ),
        (2, 2, 4, 3, 8, 1),
    ),
    Kind(  # comes from a feed
        0.25,
        5,
        (
            *((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),) * 2,
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.95),
            *((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),) * 2,
            (0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.1),
        ),
        (1, 1, 1, 1, 1, 5),
    ),
)
STATES = 6
_CHILD = 1
"""Each home page loads one more request by itself: of the state `search`, as a child."""


@dataclass(frozen=True)
class Made:
    """How sessions are made. keys: paths of the states `product` and `search`, drawn by Zipf's law."""

    kinds: tuple[Kind, ...] = KINDS
    starts: Starts = field(default_factory=lambda: uniform(36_000))
    keys: int = 300
    not_found: float = 0.15
    took_us: int = 20_000


def uniform(over_s: float) -> Starts:
    """Return starts at random."""

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        found: np.ndarray = np.sort(BEGIN_US + (rng.uniform(0, over_s, n) * 1e6).astype(np.int64))
        return found

    return starts


def daily(over_s: float, swing: float = 0.8) -> Starts:
    """Return starts at random with one wave of the rate."""

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        at = np.linspace(0, 1, 10_001)
        area = at + swing * (1 - np.cos(2 * np.pi * at)) / (2 * np.pi)
        return np.sort(
            BEGIN_US + (np.interp(rng.uniform(0, 1, n), area / area[-1], at) * over_s * 1e6).astype(np.int64)
        )

    return starts


def bursty(over_s: float, cv: float) -> Starts:
    """Return starts of a renewal process with gamma gaps."""

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        at = np.cumsum(rng.gamma(1 / cv**2, cv**2, n))
        found: np.ndarray = BEGIN_US + (at / at[-1] * over_s * 1e6).astype(np.int64)
        return found

    return starts


def walked(
    kind_of: np.ndarray, entry: np.ndarray, rows: np.ndarray, rng: np.random.Generator, longest: int = 900
) -> tuple[np.ndarray, np.ndarray]:
    """Return the session and the state of each action. rows: (kinds, states, states + 1) probabilities."""
    below = np.cumsum(rows, 2)
    alive, at = np.arange(len(kind_of)), entry.copy()
    sessions, states = [alive], [at]
    for _ in range(longest):
        u = rng.uniform(0, 1, len(alive))
        at = (u[:, None] >= below[kind_of[alive], at]).sum(1)
        stays = at < rows.shape[1]
        alive, at = alive[stays], at[stays]
        if not len(alive):
            break
        sessions.append(alive)
        states.append(at)
    session, state = np.concatenate(sessions), np.concatenate(states)
    order = np.argsort(session, kind="stable")
    return session[order], state[order]


def table_of(
    session: np.ndarray,
    state: np.ndarray,
    pause_us: np.ndarray,
    starts: np.ndarray,
    answers: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    took_us: int,
) -> SessionTable:
    """Return the table of actions, with the child of each home page. answers: path, status and size by state."""
    has_child = state == 0
    lasts = took_us * (1 + has_child)
    is_first = np.append(True, session[1:] != session[:-1])
    gone = np.cumsum(np.where(is_first, 0, pause_us) + np.append(0, lasts[:-1]))
    begin = starts[session] + gone - np.repeat(gone[is_first], np.bincount(session))
    at = np.repeat(np.arange(len(state)), 1 + has_child)
    is_main = np.append(True, at[1:] != at[:-1])
    all_states = np.where(is_main, state[at], _CHILD)
    start = begin[at] + np.where(is_main, 0, took_us)
    path, status, size = answers(all_states)
    return SessionTable(
        bounds=np.append(0, np.cumsum(np.bincount(session[at]))),
        start=start,
        end=start + took_us,
        state=all_states,
        states=STATES,
        is_main=is_main,
        path=path,
        status=status,
        size=size,
        is_whole=np.ones(len(starts), bool),
    )


def made(sessions: int, seed: int, how: Made | None = None) -> SessionTable:
    """Return sessions of known kinds."""
    how, rng = how or Made(), np.random.default_rng(seed)
    weights = np.array([kind.weight for kind in how.kinds])
    kind_of = rng.choice(len(how.kinds), sessions, p=weights / weights.sum())
    entry = np.array([kind.entry for kind in how.kinds])[kind_of]
    session, state = walked(kind_of, entry, np.array([kind.rows for kind in how.kinds]), rng)
    median = np.array([kind.pause for kind in how.kinds])[kind_of[session], np.append(0, state[:-1])]
    sigma = np.array([kind.sigma for kind in how.kinds])[kind_of[session]]
    pause_us = (median * np.exp(sigma * rng.standard_normal(len(state))) * 1e6).astype(np.int64)
    ranks = 1 / np.arange(1, how.keys + 1)

    def answers(states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(states)
        key = rng.choice(how.keys, count, p=ranks / ranks.sum())
        path = np.where(np.isin(states, (1, 2)), states * 1_000_000 + key, states)
        status = np.where((states == 2) & (rng.uniform(0, 1, count) < how.not_found), 404, 200)
        size = (np.exp(6 + 0.3 * states + 0.5 * rng.standard_normal(count))).astype(np.int64)
        return path, status, np.where(status == 404, 150, size)

    return table_of(session, state, pause_us, how.starts(sessions, rng), answers, how.took_us)


@dataclass(frozen=True)
class Damage:
    """What is wrong with a model."""

    swaps: tuple[int, int] = (0, 0)
    shuffles: bool = False
    one_kind: bool = False
    mean_pauses: bool = False
    pause_factor: float = 1.0
    flat: bool = False
    poisson: bool = False
    uniform_keys: bool = False
    no_404: bool = False


class _Model:
    """Counts of sessions by kind, with the pauses and answers themselves."""

    def __init__(self, table: SessionTable, damage: Damage) -> None:
        self._damage, self._table = damage, table
        main = np.flatnonzero(table.is_main)
        self._session, self._state = table.session[main], table.state[main]
        is_first = np.append(True, self._session[1:] != self._session[:-1])
        self._first = np.flatnonzero(is_first)
        kind = self._state[self._first]
        if damage.one_kind:
            kind = np.zeros_like(kind)
        self._kinds, self._kind_of = np.unique(kind, return_inverse=True)
        kinds, states = len(self._kinds), table.states
        nexts = np.append(self._state[1:], 0)
        nexts[np.append(is_first[1:], True)] = states
        counts = np.zeros((kinds, states, states + 1))
        np.add.at(counts, (self._kind_of[self._session], self._state, nexts), 1)
        totals = counts.sum(2, keepdims=True)
        self._rows = np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(states + 1)[-1])
        later = np.flatnonzero(~is_first)
        # In these tables nothing overlaps, so the pause is the time since the end of the request before.
        pause = table.start[main[later]] - table.end[main[later] - 1]
        edge = (self._kind_of[self._session[later]] * states + self._state[later - 1]) * states + self._state[later]
        order = np.argsort(edge, kind="stable")
        self._pauses, self._edge = pause[order], edge[order]

    def _pauses_of(self, edge: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low, high = (np.searchsorted(self._edge, edge, side=side) for side in ("left", "right"))
        if self._damage.mean_pauses:
            sums = np.append(0, np.cumsum(self._pauses))
            means: np.ndarray = (sums[high] - sums[low]) / np.maximum(high - low, 1)
            return means.astype(np.int64)
        at = np.minimum(low + (rng.uniform(0, 1, len(edge)) * (high - low)).astype(np.int64), len(self._pauses) - 1)
        drawn: np.ndarray = self._pauses[at] * self._damage.pause_factor
        return drawn.astype(np.int64)

    def simulate(self, sessions: int, rng: np.random.Generator) -> SessionTable:
        damage, table, states = self._damage, self._table, self._table.states
        chosen = rng.integers(0, len(self._first), sessions)
        kind_of = self._kind_of[chosen]
        session, state = walked(kind_of, self._state[self._first[chosen]], self._rows, rng)
        edge = (kind_of[session] * states + np.append(0, state[:-1])) * states + state
        is_first = np.append(True, session[1:] != session[:-1])
        pause = np.zeros(len(state), np.int64)
        pause[~is_first] = self._pauses_of(edge[~is_first], rng)
        if damage.shuffles:
            state = state[np.lexsort((rng.uniform(0, 1, len(state)), session))]
        took_us = int(table.end[0] - table.start[0])
        found = table_of(session, state, pause, self._starts(sessions, rng), self._answers(rng), took_us)
        if damage.swaps != (0, 0):
            names = np.arange(states)
            names[list(damage.swaps)] = names[list(reversed(damage.swaps))]
            found = replace(found, state=names[found.state])
        return found

    def _answers(self, rng: np.random.Generator) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        table, damage = self._table, self._damage
        kept = np.flatnonzero(table.status != 404) if damage.no_404 else np.arange(len(table.state))
        order = kept[np.argsort(table.state[kept], kind="stable")]
        counts = np.bincount(table.state[kept], minlength=table.states)
        begin = np.cumsum(counts) - counts

        def answers(states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            at = order[begin[states] + (rng.uniform(0, 1, len(states)) * counts[states]).astype(np.int64)]
            path = table.path[at]
            if damage.uniform_keys:
                for state in np.unique(states):
                    own = np.unique(table.path[table.state == state])
                    is_own = states == state
                    path[is_own] = rng.choice(own, int(is_own.sum()))
            return path, table.status[at], table.size[at]

        return answers

    def _starts(self, sessions: int, rng: np.random.Generator) -> np.ndarray:
        starts = self._table.starts
        begin, span = starts[0], starts[-1] - starts[0]
        if self._damage.flat:
            return np.sort(begin + rng.integers(0, span + 1, sessions))
        if self._damage.poisson:
            # As many as in the log in each minute, at random times.
            window = (starts - begin) // 60_000_000
        else:
            # Starts of the log, moved by up to 0.1 ms: bursts and the curve stay.
            moved = np.sort(starts[:sessions] if sessions <= len(starts) else rng.choice(starts, sessions))
            found: np.ndarray = np.sort(moved + rng.integers(-100, 101, len(moved)))
            return found
        window = window[np.sort(rng.permutation(len(starts))[:sessions])]
        times: np.ndarray = begin + window * 60_000_000 + rng.integers(0, 60_000_000, sessions)
        return np.sort(times)


def fit_of(
    damage: Damage | None = None,
) -> Callable[[SessionTable], Callable[[int, np.random.Generator], SessionTable]]:
    """Return a way to make a model from sessions."""
    return lambda table: _Model(table, damage or Damage()).simulate


def without_paths(table: SessionTable) -> SessionTable:
    """Return the table with no path known."""
    return replace(table, path=np.full(len(table.path), NO_PATH))
