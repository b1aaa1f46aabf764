"""Tables of sessions whose chains are known, made without loadgen's own counts; and what loadgen counts in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from loadgen.traffic.model.walks import WalkCounter, Walks
from loadgen.traffic.sessions.session_steps import SessionSteps
from loadgen.traffic.sessions.session_table import NO_PATH, SessionTable

__all__ = ["PAGE", "MarkovKinds", "sessions_of", "walks_of"]

PAGE: Final = 8
S: Final = 1_000_000


def sessions_of(sessions: Sequence[Sequence[tuple[int, int]]], *, states: int, took_us: int = 20_000) -> SessionTable:
    """Return the table of sessions, each a list of (state, start in µs). Requests are main ones with status 200."""
    rows = [row for one in sessions for row in one]
    state, start = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    size = len(rows)
    return SessionTable(
        bounds=np.append(0, np.cumsum([len(one) for one in sessions])),
        start=start,
        end=start + took_us,
        state=state,
        states=states,
        is_main=np.ones(size, bool),
        path=np.full(size, NO_PATH),
        status=np.full(size, 200),
        size=np.full(size, 512),
        is_whole=np.ones(len(sessions), bool),
    )


class MarkovKinds:
    """Kinds of sessions with chains drawn at random. states: without that of all other names.

    spread: of the rows, as the parameter of a Dirichlet distribution. Small: few successors, kinds differ much.
    """

    def __init__(self, mix: Sequence[float], *, states: int = 15, spread: float = 0.2, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        self.mix, self.states = tuple(mix), states
        self.starts = [rng.dirichlet(np.full(states, spread)) for _ in mix]
        self.rows = [rng.dirichlet(np.full(states + 1, spread), size=states) for _ in mix]
        for rows in self.rows:
            rows[:, -1] += 0.15
            rows /= rows.sum(1, keepdims=True)

    def sessions(
        self, count: int, seed: int, *, over_s: float = 36_000, think: tuple[float, float] = (1.2, 0.5)
    ) -> tuple[SessionTable, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Return sessions that start at random, and the kind of each."""
        rng = np.random.default_rng(seed)
        kinds = rng.choice(len(self.mix), size=count, p=self.mix)
        cumulated = [np.cumsum(rows, axis=1) for rows in self.rows]
        begin = np.sort(rng.uniform(0, over_s * S, count)).astype(np.int64)
        sessions = []
        for kind, at in zip(kinds.tolist(), begin.tolist(), strict=True):
            state = int(rng.choice(self.states, p=self.starts[kind]))
            one = []
            while state < self.states:
                one.append((state, at))
                at += 20_000 + int(rng.lognormal(*think) * S)
                state = int(np.searchsorted(cumulated[kind][state], rng.random(), side="right"))
            sessions.append(one)
        return sessions_of(sessions, states=self.states + 1), kinds


def walks_of(steps: SessionSteps) -> Walks:
    """Return the counts of these sessions."""
    counter = WalkCounter(steps.states)
    counter.add(steps)
    return counter.walks()
