"""What rows are made from: runs of a release, and what the programme's file says about a journey. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from loadgen.history.store.extract import unfit_of
from loadgen.history.store.stored_run import Accepted

__all__ = ["Condition", "Forecast", "JourneyFacts", "Rules", "RunFact", "run_fact_of", "time_of"]

Condition = Literal["valid", "suspect", "invalid", "incomplete"]
_INCOMPLETE = frozenset({"incomplete", "interrupted", "error"})


@dataclass(frozen=True, slots=True)
class RunFact:
    """One run of a release, with what `loadgen decide` needs of it."""

    run_id: str
    at: datetime
    release: str
    condition: Condition
    journeys: frozenset[str]
    objectives: tuple[tuple[str | None, str], ...] | None
    """(journey, verdict) of each objective; journey None: of all. None: unknown, as in older files of the history."""
    why: str = ""
    """Why it is not valid."""
    file: str = ""
    """"shop.py:peak", for commands."""
    minutes: float = 1.0
    names: int = 1
    """How many names the gate compares."""
    has_folder: bool = True
    """Whether its run folder is here. The history keeps only figures, and `loadgen gate RUN` reads folders."""

    def verdicts(self, journey: str) -> tuple[str, ...] | None:
        """Return the verdicts of the objectives of a journey; None if they are unknown."""
        if self.objectives is None:
            return None
        return tuple(verdict for of, verdict in self.objectives if of in (None, journey))


@dataclass(frozen=True, slots=True)
class Forecast:
    """The peak that is expected, 1/s, with its 95 % range, and how long the forecast holds."""

    low: float
    high: float
    until: datetime


@dataclass(frozen=True, slots=True)
class JourneyFacts:
    """What the programme's file says about one journey."""

    is_live: bool = True
    """Whether users use it, so that its promise counts. True unless the file says otherwise."""
    plan: str = ""
    """"shop.py:peak": whose capacity counts; empty: of the only plan with a capacity."""
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The thresholds of the table, as the programme's file may set them."""

    least_runs: int = 3
    detectable: float = 0.05
    """The gate's PASS counts only if it would have found this slow-down: 0.05 is 5 %."""
    slower: float = 0.10
    """The performance budget: how much slower than the pinned release the journey may be."""
    headroom: float = 1.25
    """The least capacity, as a multiple of the forecast."""
    ages: Mapping[str, timedelta] = field(default_factory=dict)
    """How old evidence of a kind may be, where it is not the default."""
    budget_left: float = 0.0
    """The least error budget that a kept promise must have left: 0.2 is a fifth of it."""


def run_fact_of(run: Accepted) -> RunFact:
    """Return what counts of an accepted run."""
    unfit = unfit_of(run)
    condition: Condition = "valid"
    if run.result in _INCOMPLETE:
        condition = "incomplete"
    elif unfit:
        condition = "invalid"
    elif run.validity != "valid":
        condition = "suspect"
    named = {one.name: one.kind for one in run.figures} | {one.name: one.kind for one in run.errors}
    lines = dict(line.split(": ", 1) for line in run.key.plan.splitlines() if ": " in line)
    return RunFact(
        run.run_id,
        time_of(run.started_at),
        run.labels.get("release", ""),
        condition,
        frozenset(name for name, kind in named.items() if kind == "journey"),
        None if run.objectives is None else tuple((one.journey, one.verdict) for one in run.objectives),
        "; ".join(unfit or run.reasons) if condition != "valid" else "",
        ":".join(filter(None, (lines.get("scenario", ""), lines.get("plan", "")))),
        run.duration_s / 60,
        max(len(named), 1),
    )


def time_of(text: str) -> datetime:
    """Return a time of the history.

    Raises:
        ValueError: it is not RFC 3339 with a zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f'the time "{text}" has no zone')
    return at
