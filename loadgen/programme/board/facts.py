"""What is known about journeys: runs, verdicts, capacities, promises, requests, and the facts of a file. Values only.

All times have a zone. Everything has the time at which it was recorded, so a board can be made for any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_DATA", "JourneyTable", "Known", "SeenCapacity", "SeenPromise", "SeenRun", "SeenVerdict"]

NO_DATA: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class JourneyTable:
    """The facts of `[journeys.NAME]` that the board reads. Empty: not given.

    scenario: a file, or FILE:PLAN. endpoints: such as "POST /checkout". value: of one request, in `currency`.
    plan: FILE:PLAN whose capacity counts. forecast_high: the upper end of the expected peak, 1/s.
    has_scenario: whether the file of `scenario` exists.
    """

    team: str = ""
    product: str = ""
    owner: str = ""
    scenario: str = ""
    endpoints: tuple[str, ...] = ()
    value: float | None = None
    currency: str = ""
    is_live: bool = True
    plan: str = ""
    forecast_high: float | None = None
    forecast_until: datetime | None = None
    has_scenario: bool = False


@dataclass(frozen=True, slots=True)
class SeenRun:
    """An accepted run. known: when it was accepted. struck: when it was struck; None: it counts.

    objectives: (journey, verdict), where the journey None means all journeys. None: unknown, in old files.
    file: "shop.py:peak", for commands.
    """

    run_id: str
    at: datetime
    known: datetime
    journeys: frozenset[str]
    is_valid: bool = True
    struck: datetime | None = None
    objectives: tuple[tuple[str | None, str], ...] | None = ()
    file: str = ""

    def counts_at(self, when: datetime) -> bool:
        """Return whether the run was accepted, and not struck, at a time."""
        return self.known <= when and self.at <= when and (self.struck is None or self.struck > when)

    def verdicts(self, journey: str) -> tuple[str, ...] | None:
        """Return the verdicts of the judged objectives of a journey; None if they are unknown."""
        if self.objectives is None:
            return None
        return tuple(verdict for of, verdict in self.objectives if of in (None, journey) and verdict != "not judged")


@dataclass(frozen=True, slots=True)
class SeenVerdict:
    """A verdict of the gate. outcome: "PASS", "FAIL", "INCONCLUSIVE", "INVALID"."""

    id: str
    at: datetime
    outcome: str
    journeys: frozenset[str]


@dataclass(frozen=True, slots=True)
class SeenCapacity:
    """A measured capacity of a plan, with its interval in 1/s; None: it has no interval."""

    id: str
    at: datetime
    journeys: frozenset[str]
    low: float | None = None
    high: float | None = None
    plan: str = ""


@dataclass(frozen=True, slots=True)
class SeenPromise:
    """A promise of production. ends: the ends of its slices with counts, Unix time in s, ascending.

    word, attainment: its state, as `loadgen slo status` shows it. why: of "no data" and "not judged".
    requests: all requests of the last 28 days; None: the ledger has none, or its indicator does not count requests.
    """

    slo: str
    journey: str
    owner: str = ""
    team: str = ""
    source: str = ""
    word: str = "no data"
    attainment: str = ""
    why: str = ""
    requests: int | None = None
    ends: NDArray[np.int64] = field(default_factory=lambda: NO_DATA, compare=False)

    def last_data(self, when: datetime) -> int | None:
        """Return the end of the newest slice with counts that had ended at a time, Unix time in s; None without one."""
        at = int(np.searchsorted(self.ends, int(when.timestamp()), side="right"))
        return int(self.ends[at - 1]) if at else None


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that a board is made of.

    log_requests: requests of each journey in a traffic.json; {} without one. no_journey: (endpoint, requests) of
    requests that belong to no journey. present_owners: who is still there; None: no list was given.
    troubles: sentences about what could not be read. traced: endpoints with the number of traces that enter by them.
    """

    now: datetime
    journeys: Mapping[str, JourneyTable] = field(default_factory=dict)
    runs: tuple[SeenRun, ...] = ()
    verdicts: tuple[SeenVerdict, ...] = ()
    capacities: tuple[SeenCapacity, ...] = ()
    promises: tuple[SeenPromise, ...] = ()
    log_requests: Mapping[str, int] = field(default_factory=dict)
    no_journey: tuple[tuple[str, int], ...] = ()
    present_owners: frozenset[str] | None = None
    troubles: tuple[str, ...] = ()
    traced: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all journeys that are known from any source, sorted."""
        found = {*self.journeys, *(one.journey for one in self.promises if one.journey)}
        found |= {name for run in self.runs if run.counts_at(self.now) for name in run.journeys}
        return tuple(sorted(found))
