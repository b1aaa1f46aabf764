"""Store the figures of each interval other than histograms: counters, reporting agents, their health, the plan.

An interval is one row of a few dozen numbers; a day of 1 s intervals takes 26 MB, so
all rows are kept. A time slot's figure is the sum or the worst of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Health
from loadgen.measure.histograms.histogram import Counts
from loadgen.report.charts.series_to_chart_lines import ERRORS, TOKENS

__all__ = ["Intervals"]

_STATES: Final = (
    *("reported", "users", "in_flight", "waiting", "unfit"),
    *("http_connections", "websockets", "tcp_connections"),
    *("generator_lag_us", "loop_lag_us", "cpu_share", "read_lag_us"),
)
_ADDED: Final = 8
"""The first 8 states are sums over agents; the others are the worst agent's values."""
_UNFIT: Final = 2_000
"""The largest number of intervals for which the reason why an agent was invalid is kept as text."""


class Intervals:
    """The figures by number of the interval, from 0."""

    def __init__(self) -> None:
        self.count = 0
        self._counters: Counts = np.zeros((0, len(COUNTER_NAMES)), dtype=np.int64)
        self._errors: Counts = np.zeros((0, ERRORS + 1), dtype=np.int64)
        self._states = np.zeros((0, len(_STATES)))
        self._planned = np.zeros((0, 2))
        self._tokens: Counts = np.zeros((0, TOKENS), dtype=np.int64)
        """Sums of tokens; without rows while no request to an AI model has ended."""
        self._unfit: dict[int, tuple[int, str, str]] = {}
        """By interval, the invalid agent with the largest lag: its lag p99 in µs, its id, and why it was invalid."""
        self.spans: dict[str, list[int]] = {}
        """For each agent, the first and the last interval that it reported."""

    def put(
        self, k: int, counters: Counters, errors: Counts, health: Mapping[str, Health], tokens: Counts | None = None
    ) -> None:
        """Replace all figures of interval `k` except its plan. tokens: as in `Split`."""
        self._grow(k + 1)
        if tokens is not None or k < len(self._tokens):
            self._grow_tokens(k + 1)
            self._tokens[k] = 0 if tokens is None else tokens
        self._counters[k] = [getattr(counters, name) for name in COUNTER_NAMES]
        self._errors[k] = errors
        self._states[k] = 0.0
        self._unfit.pop(k, None)
        self.report(k, health)

    def add(self, k: int, counters: Sequence[int], errors: Counts | None = None, tokens: Counts | None = None) -> None:
        """Add counters, in the order of COUNTER_NAMES, error counts and sums of tokens to interval `k`."""
        self._grow(k + 1)
        if tokens is not None:
            self._grow_tokens(k + 1)
            self._tokens[k] += tokens
        self._counters[k] += np.array(counters, dtype=np.int64)
        if errors is not None:
            self._errors[k] += errors

    def report(self, k: int, health: Mapping[str, Health]) -> None:
        """Add the health of agents that reported interval `k`; call it once per agent and interval."""
        self._grow(k + 1)
        states = self._states[k]
        states[:_ADDED] += (
            len(health),
            sum(h.users for h in health.values()),
            sum(h.in_flight for h in health.values()),
            sum(h.waiting for h in health.values()),
            sum(bool(h.unfit) for h in health.values()),
            sum(h.http_connections for h in health.values()),
            sum(h.websockets for h in health.values()),
            sum(h.tcp_connections for h in health.values()),
        )
        for at, name in enumerate(("generator_lag_p99_us", "loop_lag_p99_us", "cpu_share"), _ADDED):
            states[at] = max(states[at], *(getattr(h, name) for h in health.values())) if health else states[at]
        read_lags = [h.reads.read_lag_p99_us for h in health.values() if h.reads is not None]
        if read_lags:
            states[-1] = max(states[-1], *read_lags)
        for agent in health:
            span = self.spans.setdefault(agent, [k, k])
            span[0], span[1] = min(span[0], k), max(span[1], k)
        unfit = [(_lag_us(h), agent, "; ".join(h.unfit)) for agent, h in health.items() if h.unfit]
        if unfit and (k in self._unfit or len(self._unfit) < _UNFIT):
            self._unfit[k] = max([*unfit, self._unfit[k]] if k in self._unfit else unfit)

    def plan(self, k: int, iterations: float | None, users: float | None) -> None:
        """Set the plan of interval `k`: due iterations, and users at its end. None: the load has no such plan."""
        self._grow(k + 1)
        self._planned[k] = [np.nan if value is None else value for value in (iterations, users)]

    @property
    def planned_to(self) -> int:
        """The number of the first interval after the last one with a plan."""
        known = np.flatnonzero(~np.isnan(self._planned[: self.count]).all(axis=1))
        return int(known[-1]) + 1 if len(known) else 0

    def totals(self) -> Counters:
        return Counters(*map(int, self._counters[: self.count].sum(axis=0)))

    def unfit(self, first: int, end: int, span: int) -> dict[int, str]:
        """Return, by slot, the invalid agent with the largest lag and its reason.

        If several intervals of a slot had an invalid agent, the last interval counts.
        """
        found = {}
        for k in sorted(k for k in self._unfit if first <= k // span < end):
            _, agent, why = self._unfit[k]
            more = int(self._states[k, _STATES.index("unfit")]) - 1
            found[k // span] = f"agent {agent}: {why}" + (f" (and {more} more)" if more > 0 else "")
        return found

    # -- by slot ----------------------------------------------------------------------------------

    def counts(self, name: str, first: int, end: int, span: int) -> list[int]:
        """Return the sums of one of `Counters` for slots [first, end) of `span` intervals each."""
        column = COUNTER_NAMES.index(name)
        return [int(n) for n in self._rows(self._counters[:, column], first, end, span, 0).sum(axis=1)]

    def errors(self, kind: int, first: int, end: int, span: int) -> list[int]:
        return [int(n) for n in self._rows(self._errors[:, kind], first, end, span, 0).sum(axis=1)]

    def tokens(self, first: int, end: int, span: int) -> tuple[list[int], list[int], list[int]]:
        """Return sums of tokens of the requests that ended in each slot: prompt, output, and output of failed ones."""
        self._grow_tokens(self.count)
        prompt, output, wasted = (
            [int(n) for n in self._rows(self._tokens[:, one], first, end, span, 0).sum(axis=1)] for one in range(TOKENS)
        )
        return prompt, output, wasted

    def error_totals(self) -> list[int]:
        return [int(n) for n in self._errors[: self.count].sum(axis=0)]

    def worst(self, name: str, first: int, end: int, span: int) -> list[float]:
        """Return the greatest value of a state in each slot."""
        return [float(n) for n in self._state(name, first, end, span).max(axis=1)]

    def at_end(self, name: str, first: int, end: int, span: int) -> list[int]:
        """Return a state at the end of each slot: of its last interval for which an agent reported."""
        values = self._state(name, first, end, span)
        has_report = self._state("reported", first, end, span) > 0
        last = np.where(has_report.any(axis=1), span - 1 - has_report[:, ::-1].argmax(axis=1), 0)
        return [int(n) for n in values[np.arange(end - first), last]]

    def reported(self, first: int, end: int, span: int, agents: Mapping[str, bool]) -> tuple[list[int], list[int]]:
        """Return (reported, expected) numbers of agents in the interval of each slot with the most missing agents.

        agents: the agents of the run, each with True if it is done. An agent is not expected before it joined or
            after it was done.
        """
        edges = np.zeros(self.count + 2, dtype=np.int64)
        for agent, is_done in agents.items():
            begin, last = self.spans.get(agent, (0, -1))
            edges[begin] += 1
            if is_done or last + 1 >= self.count:
                edges[last + 1] -= 1
        expected = self._rows(np.cumsum(edges)[: self.count], first, end, span, -1)
        reported = self._state("reported", first, end, span)
        expected = np.where(expected < 0, 0, np.maximum(expected, reported))
        at = np.arange(end - first), (expected - reported).argmax(axis=1)
        return [int(n) for n in reported[at]], [int(n) for n in expected[at]]

    def offered(self, first: int, end: int, span: int) -> list[float | None]:
        """Return the planned iterations of each slot; None if they are unknown."""
        planned = self._rows(self._planned[:, 0], first, end, span, 0.0).sum(axis=1)
        return [None if np.isnan(n) else float(n) for n in planned]

    def planned_users(self, first: int, end: int, span: int) -> list[int | None]:
        planned = self._rows(self._planned[:, 1], first, end, span, np.nan)
        here = ~np.isnan(planned)
        last = span - 1 - here[:, ::-1].argmax(axis=1)
        ends = planned[np.arange(end - first), last]
        return [None if np.isnan(n) else int(n) for n in ends]

    # -- within -----------------------------------------------------------------------------------

    def _state(self, name: str, first: int, end: int, span: int) -> np.ndarray:
        return self._rows(self._states[:, _STATES.index(name)], first, end, span, 0.0)

    def _rows(self, column: np.ndarray, first: int, end: int, span: int, fill: float) -> np.ndarray:
        """Return the column's values by slot: (slots, span), with `fill` after the last interval."""
        rows = column[first * span : min(end * span, self.count)]
        missing = (end - first) * span - len(rows)
        return np.concatenate((rows, np.full(missing, fill, dtype=rows.dtype))).reshape(end - first, span)

    def _grow(self, needed: int) -> None:
        self.count = max(self.count, needed)
        if needed > len(self._counters):
            size = max(needed, 2 * len(self._counters), 64)
            self._counters, self._errors, self._states, self._planned = (
                _grown(old, size, fill)
                for old, fill in ((self._counters, 0), (self._errors, 0), (self._states, 0.0), (self._planned, np.nan))
            )

    def _grow_tokens(self, needed: int) -> None:
        if needed > len(self._tokens):
            self._tokens = _grown(self._tokens, max(needed, len(self._counters)), 0)


def _grown(old: np.ndarray, size: int, fill: float) -> np.ndarray:
    grown = np.full((size, old.shape[1]), fill, dtype=old.dtype)
    grown[: len(old)] = old
    return grown


def _lag_us(health: Health) -> int:
    return health.lag_p99_us
