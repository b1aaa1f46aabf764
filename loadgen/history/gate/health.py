"""Is the gate itself healthy? Told from A/A controls: the same thing judged against itself, which should not fail.

    health = health_of(store.events())
    health.state, health.said()     # State.HEALTHY, "the gate is healthy: 1 of 24 A/A controls failed, 0.1 to 21 %"

A gate lets 5 % of releases FAIL by chance. If controls fail more often, then runs differ by more than what the gate
knows of: the level drifts within a day, machines are shared with others, runs are not independent. A gate of that kind
is soon ignored. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from loadgen.analysis.proportions import clopper_pearson
from loadgen.history.store.baseline_run import Event

__all__ = ["CONTROL", "LEAST", "PROMISED", "Health", "State", "health_of"]

CONTROL: Final = "control"
"""The `Event.kind`."""
PROMISED: Final = 0.05
"""Of releases in which nothing changed fail, at most."""
LEAST: Final = 10
"""Controls, with fewer of which nothing is said."""
_NEWEST: Final = 100
_STALE_DAYS: Final = 21


class State(StrEnum):
    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    ILL = "ill"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Health:
    """Of the newest controls, at most 100; invalid ones do not count."""

    controls: int
    failed: int
    inconclusive: int
    invalid: int
    low: float
    high: float
    """The 95 % interval of the share that fails, of Clopper and Pearson."""
    newest: tuple[Event, ...]
    """All of them, newest first, also invalid ones."""

    @property
    def state(self) -> State:
        if self.low > PROMISED:
            return State.ILL
        if self.controls < LEAST:
            return State.UNKNOWN
        return State.BLIND if 2 * self.inconclusive > self.controls else State.HEALTHY

    def said(self) -> str:
        """In one sentence without a full stop."""
        if not self.controls:
            return "nothing is known of the gate's health: there has been no A/A control (loadgen history control)"
        share = f"{self.failed} of {self.controls} A/A controls failed, {self.low * 100:.2g} to {self.high * 100:.2g} %"
        match self.state:
            case State.ILL:
                return (
                    f"the gate is not healthy: {share}, and {PROMISED:.0%} is what it promises:"
                    " runs of the same thing differ by more than it knows of"
                )
            case State.UNKNOWN:
                return f"too few controls to say whether the gate is healthy: {share}; {LEAST} are the least"
            case State.BLIND:
                return (
                    f"the gate sees too little: {self.inconclusive} of {self.controls} A/A controls were inconclusive"
                    f" ({share})"
                )
            case State.HEALTHY:
                return f"the gate is healthy: {share}"

    def is_stale(self, now: datetime) -> bool:
        """The last control is more than three weeks old."""
        return bool(self.newest) and (now - datetime.fromisoformat(self.newest[0].at)).days > _STALE_DAYS


def health_of(events: Iterable[Event], key: str | None = None) -> Health:
    """Of all events those that are controls, of one key (its hash) or of all."""
    controls = [one for one in events if one.kind == CONTROL and key in (None, one.details.get("key"))]
    newest = tuple(sorted(controls, key=lambda one: one.at, reverse=True)[:_NEWEST])
    outcomes = [one.details.get("outcome", "") for one in newest]
    counted = [one for one in outcomes if one in ("PASS", "FAIL", "INCONCLUSIVE")]
    failed = counted.count("FAIL")
    low, high = clopper_pearson(failed, len(counted))
    inconclusive = counted.count("INCONCLUSIVE")
    return Health(len(counted), failed, inconclusive, len(outcomes) - len(counted), low, high, newest)
