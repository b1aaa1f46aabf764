"""What is kept of a run in the history.

A run folder has everything; the history has of each run what a later one is compared
with: a few figures by name, how sure the run itself is of each, and what has to be
equal for two runs to be comparable at all (`Key`).

    accepted.log_values("p95")        # {"checkout > login": 4.61, ...}: what gate and scan take

A *name* is written as people read it: "checkout" is a journey, "checkout > login" its step,
"checkout > login > POST /login" a request in that step. Names are unique within a run.

Plain values: no files, no clocks, no arithmetic but the logarithm. Times in ms, rates in iterations/s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf, log, nan
from typing import Final

__all__ = ["ALL", "PERCENTILES", "STATISTICS", "Accepted", "Errors", "Event", "Figure", "Key", "Reference"]

PERCENTILES: Final = ("p50", "p95", "p99")
STATISTICS: Final = (*PERCENTILES, "mean")
"""What a figure may be of: `Figure.percentile`."""
ALL: Final = "*"
"""All regions, or all agents."""

_WORDS: Final = {
    "plan": "plan",
    "target": "target",
    "placement": "placement",
    "regions": "regions",
    "instances": "machines",
    "rate": "rate",
}


@dataclass(frozen=True, slots=True)
class Key:
    """What has to be equal for runs to be compared. Two runs with one key may differ in nothing but code and luck."""

    plan: str
    """What the plan says, one value a line ("name: value"). Not the file's hash: a comment changes no load."""
    target: str
    """"host:port" of each target; or the name of the environment, where one was given."""
    placement: str
    """"embedded" or "fleet"."""
    regions: str
    """"eu-west-1=0.4,us-east-1=0.6"."""
    instances: str
    """What the agents run on: "x86_64, 2 cpus", or a fleet's instance types where they are known."""
    rate: str
    """The plan's highest: "200/s", "64 users"."""

    def hash(self) -> str:
        """16 hexadecimal digits, the same on every machine: how the store names this key."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: Key) -> list[str]:
        """In words, what is different about `other`; empty where the keys are equal."""
        found = []
        for one in fields(self):
            mine, others = str(getattr(self, one.name)), str(getattr(other, one.name))
            if mine == others:
                continue
            if one.name == "plan":
                found += _lines_that_differ(mine, others)
            else:
                found.append(f"{_WORDS[one.name]}: {mine or 'none'} here, {others or 'none'} there")
        return found


def _lines_that_differ(mine: str, others: str) -> list[str]:
    """By the name in front of the colon, where both have it."""
    here, there = (
        {line.partition(": ")[0]: line.partition(": ")[2] for line in t.splitlines()} for t in (mine, others)
    )
    names = [*here, *(name for name in there if name not in here)]
    return [
        f"plan: {name} is {here.get(name) or 'not there'} here, {there.get(name) or 'not there'} there"
        for name in names
        if here.get(name) != there.get(name)
    ] or ["plan: the same lines in another order"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one run."""

    name: str
    kind: str
    """"journey", "step" or "request"."""
    percentile: str
    """One of `STATISTICS`."""
    value_ms: float
    """Response time of what ended ok, without warm-up: failures that come fast must not look like an improvement.
    inf where the percentile falls among values of which only a bound is known."""
    error: float
    """Standard error of the natural logarithm of the value, from what went on within the run: 5 batches. 0.02 is 2 %.
    It says nothing of how much runs differ from each other. nan where there is none."""
    why: str = ""
    """Why there is no `error`: "too short", "too few samples", "censored"."""
    count: int = 0
    """Values that it is of."""
    region: str = ALL
    agent: str = ALL
    """A gate uses rows with `ALL` in both; those of one region (agent `ALL`) and of one agent are for comparing."""

    @property
    def log_value(self) -> float | None:
        """Natural logarithm of the value, which is what is compared; None where only a bound is known."""
        return log(self.value_ms) if 0 < self.value_ms < inf else None


@dataclass(frozen=True, slots=True)
class Errors:
    """How many of one name went wrong in one run."""

    name: str
    kind: str
    total: int
    """All that are judged: what was skipped, and faults of the scenario, are in neither number."""
    errors: int
    error: float
    """Standard error of the ratio errors / total, from the ratios of 5 batches: errors come in clusters, so that a
    binomial's would be far too small. nan where there is none."""
    region: str = ALL

    @property
    def ratio(self) -> float:
        """0 to 1; 0 where there is nothing."""
        return self.errors / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """One run, as the history knows it."""

    run_id: str
    key: Key
    started_at: str
    """RFC 3339, UTC."""
    duration_s: float
    commit: str = ""
    """Of the scenario's folder; "" where none is known, and with "+" behind it where there were changes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of `loadgen run --label name=value`."""
    result: str = "passed"
    """As in the summary: passed, failed, incomplete, invalid, interrupted, error."""
    validity: str = "valid"
    """valid, suspect, invalid."""
    reasons: tuple[str, ...] = ()
    """Of the result and the validity."""
    planned_rate: float = nan
    """Iterations/s over the run, on average. nan of a load that plans none (users, iterations)."""
    achieved_rate: float = nan
    """Iterations/s that started."""
    figures: tuple[Figure, ...] = ()
    errors: tuple[Errors, ...] = ()
    limited_by: str = ""
    """Why fewer iterations were started than planned: "target", where they waited for users that it kept; or ""."""
    faults: tuple[str, ...] = ()
    """What else speaks against its figures and stands in none of them: a warm-up that was left in."""

    def log_values(self, percentile: str) -> dict[str, float]:
        """Name -> natural logarithm of ms, of all regions and agents; names without a finite value are left out."""
        return {
            one.name: value
            for one in self.figures
            if one.percentile == percentile and one.region == ALL and one.agent == ALL
            if (value := one.log_value) is not None
        }

    def figure(self, name: str, percentile: str, *, region: str = ALL, agent: str = ALL) -> Figure | None:
        wanted = (name, percentile, region, agent)
        return next((o for o in self.figures if (o.name, o.percentile, o.region, o.agent) == wanted), None)

    def errors_of(self, name: str, *, region: str = ALL) -> Errors | None:
        return next((one for one in self.errors if (one.name, one.region) == (name, region)), None)


@dataclass(frozen=True, slots=True)
class Reference:
    """Runs of a release that was pinned: later ones are compared with it, too, so that slow creep is seen."""

    name: str
    run_ids: tuple[str, ...]
    pinned_at: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was decided about runs, and by whom: the store's audit trail."""

    kind: str
    """"accepted", "accepted in spite of", "pinned", "struck", "verdict", "control" (A/A)."""
    at: str
    """RFC 3339, UTC."""
    by: str = ""
    run_ids: tuple[str, ...] = ()
    because: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else belongs to it, by name: "outcome", "key", "name" and the like."""
