"""Decides whether the gate itself is healthy, from A/A controls: runs of the same code judged against each other. Pure.

    health = health_of(store.events())
    health.state, health.said()     # State.HEALTHY, "the gate is healthy: 1 of 24 A/A controls failed, 0.1 to 21 %"

By design, a gate fails 5 % of unchanged releases by chance. If controls fail more often, runs of the same code differ
more than the gate assumes: the level drifts within a day, machines are shared, or runs are not independent. People
soon ignore such a gate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from loadgen.analysis.proportion_interval import clopper_pearson
from loadgen.history.store.stored_run import Event

__all__ = ["CONTROL", "LEAST", "PROMISED", "Health", "State", "health_of"]

CONTROL: Final = "control"
"""The `Event.kind` of a control."""
PROMISED: Final = 0.05
"""Largest share of unchanged releases that the gate fails by chance."""
LEAST: Final = 10
"""Least number of controls for the statement that the gate is healthy."""
_NEWEST: Final = 100
_STALE_DAYS: Final = 21


class State(StrEnum):
    """The health of a gate."""

    UNKNOWN = "unknown"
    """Too few controls."""
    HEALTHY = "healthy"
    ILL = "ill"
    """Controls fail more often than by chance."""
    BLIND = "blind"
    """Most controls were inconclusive."""


@dataclass(frozen=True, slots=True)
class Health:
    """The results of the newest controls, at most 100."""

    controls: int
    """Controls without the invalid ones."""
    failed: int
    inconclusive: int
    invalid: int
    low: float
    high: float
    """The 95 % interval (Clopper and Pearson) of the share of controls that fail, 0 to 1."""
    newest: tuple[Event, ...]
    """The controls, invalid ones included, newest first."""

    @property
    def state(self) -> State:
        """Return whether the gate is healthy, ill, blind or unknown, as these counts show."""
        if self.low > PROMISED:
            return State.ILL
        if self.controls < LEAST:
            return State.UNKNOWN
        return State.BLIND if 2 * self.inconclusive > self.controls else State.HEALTHY

    def said(self) -> str:
        """Return a sentence (without a full stop) that describes the gate's health to the operator."""
        if not self.controls:
            return "the gate's health is unknown: there has been no A/A control (run loadgen history control)"
        share = f"{self.failed} of {self.controls} A/A controls failed, {self.low * 100:.2g} to {self.high * 100:.2g} %"
        match self.state:
            case State.ILL:
                return (
                    f"the gate is not healthy: {share}, but at most {PROMISED:.0%} should fail:"
                    " runs of the same code differ more than the gate assumes"
                )
            case State.UNKNOWN:
                return f"too few controls to say whether the gate is healthy: {share}; at least {LEAST} are needed"
            case State.BLIND:
                return (
                    f"the gate detects too little: {self.inconclusive} of {self.controls} A/A controls were"
                    f" inconclusive ({share})"
                )
            case State.HEALTHY:
                return f"the gate is healthy: {share}"

    def is_stale(self, now: datetime) -> bool:
        """Return whether the newest A/A control is more than three weeks old at `now`; False if there was none."""
        return bool(self.newest) and (now - datetime.fromisoformat(self.newest[0].at)).days > _STALE_DAYS


def health_of(events: Iterable[Event], key: str | None = None) -> Health:
    """Return the health that follows from the newest 100 A/A controls among `events`.

    A control judges runs of the same code against each other. key: hash of the key whose controls count; None: all
    keys.
    """
    controls = [one for one in events if one.kind == CONTROL and key in (None, one.details.get("key"))]
    newest = tuple(sorted(controls, key=lambda one: one.at, reverse=True)[:_NEWEST])
    outcomes = [one.details.get("outcome", "") for one in newest]
    counted = [one for one in outcomes if one in ("PASS", "FAIL", "INCONCLUSIVE")]
    failed = counted.count("FAIL")
    low, high = clopper_pearson(failed, len(counted))
    inconclusive = counted.count("INCONCLUSIVE")
    return Health(len(counted), failed, inconclusive, len(outcomes) - len(counted), low, high, newest)
