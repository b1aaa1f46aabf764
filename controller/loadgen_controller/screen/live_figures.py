"""The figures of a running run at one time, as values. `figures_builder.py` computes them, `live.py` draws them.

"last" is the newest interval that all agents have reported. "run" is everything since the end of the warm-up, and
during the warm-up it is the warm-up itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.histograms.histogram import Value
from loadgen.report.report_tables import milliseconds
from loadgen.units import quantity

__all__ = ["QUANTILES", "AgentRow", "Cells", "Figures", "Row", "SloRow", "Streams", "value_text"]

QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Cells:
    """A count of values and their percentiles at `QUANTILES`; None where there are no values."""

    count: int = 0
    at: tuple[Value | None, ...] = (None,) * len(QUANTILES)

    def text(self) -> tuple[str, ...]:
        """Return the percentiles as texts, in ms."""
        return tuple(value_text(v) for v in self.at)


@dataclass(frozen=True, slots=True)
class Row:
    """The response times of a journey, region, step or request."""

    name: str
    """Indented by its depth."""
    last: Cells
    run: Cells
    is_unfit: bool = False
    """Whether an agent behind `last` was not fit to measure in that interval."""


@dataclass(frozen=True, slots=True)
class SloRow:
    """The present state of an objective."""

    objective: str
    verdict: str
    observed: str
    count: int
    margin: str
    """Distance from the limit: "62 % below", "8 % above"; empty if there are no data."""
    budget: str = ""
    """Used part of the error budget: "41 % of budget"; empty if it is unknown."""
    window: str = ""
    """For sliding objectives: the worst window, and how many windows broke the objective."""
    traces: str = ""
    """The number of traces of slow requests that can be read so far, for a broken objective in a plan with tracing."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """The present state of an agent."""

    id: str
    region: str
    state: str
    has_reported: bool
    """Whether it reported the last interval."""
    silent_s: float
    health: Health
    note: str
    unfit: int = 0
    """Number of its `intervals` so far in which it was not fit to measure."""
    intervals: int = 0


@dataclass(frozen=True, slots=True)
class Streams:
    """Requests to AI models in the last interval, by our convention (docs/llm-conventions.md)."""

    ttft: Cells
    """Time to first token."""
    itl: Cells
    """Gap before each token."""
    output_tokens_per_s: float
    """Output tokens of the requests that ended ok in the interval, a second."""
    in_flight: int
    """Requests of the whole plan that have begun and not ended."""
    goodput: str = ""
    """The observed value of the first goodput objective; empty: the plan has none, or it has no data."""


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a run at one time."""

    run_id: str
    plan: str
    phase: str
    clock_s: float
    duration_s: float | None
    is_warmup: bool
    offered_per_s: float | None
    """Planned iterations/s; None if a load has no planned rate (closed, counted)."""
    level: int | None
    """Planned users now; None for open loads."""
    last_s: float
    """Length of the last interval, seconds; 0 before the first interval."""
    last_n: int
    """Number of the last interval, from 0."""
    last: Counters
    """Counters of the last interval."""
    total: Counters
    """Counters of the whole run."""
    users: int
    in_flight: int
    waiting: int
    journeys: tuple[Row, ...]
    regions: tuple[Row, ...]
    parts: tuple[Row, ...]
    """Steps with their requests, in the order in which they first occurred."""
    errors: tuple[tuple[str, int], ...]
    """(outcome, count) of failed iterations, most frequent first; then outcomes that occurred only in requests."""
    slos: tuple[SloRow, ...]
    agents: tuple[AgentRow, ...]
    """Empty if the figures are only for lines of text."""
    registered: int
    reported: int
    agents_wanted: int
    notices: tuple[str, ...]
    unfit: tuple[str, ...] = ()
    """Agents that were not fit to measure in the last interval, each with its reasons."""
    counted: tuple[str, ...] = ()
    """The scenario's own metrics as text, checks first."""
    meeting: tuple[str, ...] = ()
    """Rate decisions of steered loads, and users that wait at a rendez-vous, as text."""
    streams: Streams | None = None
    """None: the run had no requests to AI models so far."""

    @property
    def pool_limited_share(self) -> float:
        """Return the share of the started requests whose iterations had waited for a free user, 0 to 1."""
        started = self.total.requests_started
        return self.total.requests_pool_limited / started if started else 0.0

    @property
    def achieved_per_s(self) -> float | None:
        """Return the started iterations/s in the last interval; None while there is no interval."""
        return self.last.iterations_started / self.last_s if self.last_s else None

    @property
    def requests_per_s(self) -> float | None:
        """Return the finished requests/s in the last interval; None while there is no interval."""
        return self.last.requests_finished / self.last_s if self.last_s else None

    @property
    def reported_text(self) -> str:
        """The number of agents that reported: "3 of 3 agents reported".

        Before the first interval, the number of registered agents.
        """
        if not self.last_s:
            return f"{self.registered} of {quantity(self.agents_wanted, 'agent')} registered"
        return f"{self.reported} of {quantity(max(len(self.agents), self.agents_wanted), 'agent')} reported"


def value_text(value: Value | None) -> str:
    """Return a percentile as text in ms. A bound, which the percentile exceeds, begins with ">"."""
    if value is None:
        return milliseconds(None)
    return milliseconds(f"> {value.ms}" if value.is_bound else value.ms)
