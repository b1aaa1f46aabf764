"""The figures of one look at a run that is going on, as values. `watch` computes them, `live` draws them.

"last" is the newest interval that all agents have reported, "run" is everything
since the end of the warm-up (during the warm-up: the warm-up itself).
"""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.histograms.histogram import Value
from loadgen.report.report_tables import milliseconds

__all__ = ["QUANTILES", "AgentRow", "Cells", "Figures", "Row", "SloRow", "value_text"]

QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Cells:
    """A count and the percentiles of `QUANTILES` that it is of; None where there is nothing."""

    count: int = 0
    at: tuple[Value | None, ...] = (None,) * len(QUANTILES)

    def text(self) -> tuple[str, ...]:
        return tuple(value_text(v) for v in self.at)


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    """Set in by its depth."""
    last: Cells
    run: Cells
    is_unfit: bool = False
    """An agent that is in `last` was not fit to measure then."""


@dataclass(frozen=True, slots=True)
class SloRow:
    objective: str
    verdict: str
    observed: str
    count: int
    margin: str
    """How far from the limit: "62 % below", "8 % above"; empty where there are no data."""
    budget: str = ""
    """How much of the error budget is used: "41 % of budget"; empty where that is not known."""
    window: str = ""
    """Over windows: which is the worst, and how many broke it."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    id: str
    region: str
    state: str
    has_reported: bool
    """In the last window."""
    silent_s: float
    health: Health
    note: str
    unfit: int = 0
    """Of its `intervals` so far, how many cannot be trusted."""
    intervals: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at a run."""

    run_id: str
    plan: str
    phase: str
    clock_s: float
    duration_s: float | None
    is_warmup: bool
    offered_per_s: float | None
    """None where the load has no rate of its own (closed, counted)."""
    level: int | None
    """Users that the plan wants now; None for open loads."""
    last_s: float
    """Length of the last window; 0 while there is none."""
    last_n: int
    """Its number, from 0."""
    last: Counters
    """What was counted in the last window."""
    total: Counters
    users: int
    in_flight: int
    waiting: int
    journeys: tuple[Row, ...]
    regions: tuple[Row, ...]
    parts: tuple[Row, ...]
    """Steps and the requests in them, in the order in which they came up."""
    errors: tuple[tuple[str, int], ...]
    """Outcome of iterations and how many, most frequent first; then of requests where no iteration failed of it."""
    slos: tuple[SloRow, ...]
    agents: tuple[AgentRow, ...]
    reported: int
    agents_wanted: int
    notices: tuple[str, ...]
    unfit: tuple[str, ...] = ()
    """Agents that were not fit to measure in the last window, each with its reasons."""
    counted: tuple[str, ...] = ()
    """The scenario's own metrics, each as one part of a line: checks first."""
    meeting: tuple[str, ...] = ()
    """How loads are steered, and who waits at a rendez-vous, each as one part of a line."""

    @property
    def pool_limited_share(self) -> float:
        """Of the requests of the run that were started, those of iterations that had waited for a free user."""
        started = self.total.requests_started
        return self.total.requests_pool_limited / started if started else 0.0

    @property
    def achieved_per_s(self) -> float | None:
        return self.last.iterations_started / self.last_s if self.last_s else None

    @property
    def requests_per_s(self) -> float | None:
        return self.last.requests_finished / self.last_s if self.last_s else None

    @property
    def reported_text(self) -> str:
        """ "3 of 3 agents reported", or how many have registered while there is nothing to report."""
        if not self.last_s:
            return f"{sum(a.state != 'lost' for a in self.agents)} of {self.agents_wanted} agents registered"
        return f"{self.reported} of {max(len(self.agents), self.agents_wanted)} agents reported"


def value_text(value: Value | None) -> str:
    if value is None:
        return milliseconds(None)
    return milliseconds(f"> {value.ms}" if value.is_bound else value.ms)
