"""The data of a run that the history stores. Values only.

A run folder contains everything about a run. The history stores only what later runs are compared with: some figures
for each name, the error of each figure within the run, and the conditions that must be equal for a comparison (`Key`).

    accepted.log_values("p95")        # {"checkout > login": 4.61, ...}: input of gate and scan

A *name* is "checkout" for a journey, "checkout > login" for a step of it, and "checkout > login > POST /login" for a
request in that step. Names are unique within a run.

Times are in ms, rates in iterations/s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf, log, nan
from typing import Final

__all__ = [
    "ALL",
    "PERCENTILES",
    "STATISTICS",
    "Accepted",
    "Errors",
    "Event",
    "Figure",
    "Key",
    "ObjectiveVerdict",
    "Reference",
    "SloCounts",
]

PERCENTILES: Final = ("p50", "p95", "p99")
STATISTICS: Final = (*PERCENTILES, "mean")
"""The possible values of `Figure.percentile`."""
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
    """The conditions of a run. Runs with equal keys can be compared: they differ only in code and by chance."""

    plan: str
    """The settings of the plan, one on each line ("name: value"). Not the file's hash: a comment changes no load."""
    target: str
    """"host:port" of each target, or the name of the environment if one was given."""
    placement: str
    """"embedded" or "fleet"."""
    regions: str
    """"eu-west-1=0.4,us-east-1=0.6"."""
    instances: str
    """The agents' machines: "x86_64, 2 cpus", or a fleet's instance types if they are known."""
    rate: str
    """The highest rate or number of users in the plan: "200/s", "64 users"."""

    def hash(self) -> str:
        """Return 16 hexadecimal digits that identify the key, the same on every machine.

        The hash is part of the file names in the store.
        """
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: Key) -> list[str]:
        """Return the differences between this key ("here") and `other` ("there") as texts; empty if they are equal."""
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
    """Return the differences between two plans (lines of "name: value") as texts, one for each name that differs."""
    here, there = (
        {line.partition(": ")[0]: line.partition(": ")[2] for line in t.splitlines()} for t in (mine, others)
    )
    names = [*here, *(name for name in there if name not in here)]
    return [
        f"plan: {name}: {here.get(name) or 'none'} here, {there.get(name) or 'none'} there"
        for name in names
        if here.get(name) != there.get(name)
    ] or ["plan: the same lines in a different order"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One statistic of one name in one run."""

    name: str
    kind: str
    """"journey", "step" or "request"."""
    percentile: str
    """One of `STATISTICS`."""
    value_ms: float
    """Response time of successes, without the warm-up, since fast failures must not look like an improvement.
    inf if the percentile falls among values of which only a bound is known."""
    error: float
    """Standard error of the natural logarithm of the value, estimated from 5 batches of the run; 0.02 is 2 %.
    It does not include the run-to-run variation. nan if there is none."""
    why: str = ""
    """Why there is no `error`: "too short", "too few samples", "censored"."""
    count: int = 0
    """Number of values behind it."""
    region: str = ALL
    agent: str = ALL
    """A gate uses figures with `ALL` in both. Those of one region or of one agent are for comparisons."""

    @property
    def log_value(self) -> float | None:
        """Return the natural logarithm of the value in ms, as comparisons use it; None if only a bound is known."""
        return log(self.value_ms) if 0 < self.value_ms < inf else None


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of one name in one run."""

    name: str
    kind: str
    total: int
    """All that were judged: neither number includes skipped iterations or faults of the scenario."""
    errors: int
    error: float
    """Standard error of the ratio errors / total, from the ratios of 5 batches. Errors come in clusters, so a binomial
    error would be far too small. nan if there is none."""
    region: str = ALL

    @property
    def ratio(self) -> float:
        """Return the share of errors among all judged iterations or requests, 0 to 1; 0 if none were judged."""
        return self.errors / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class SloCounts:
    """The sample of a run for a promise of production that was known when the run was stored.

    The load was chosen by us, so a run neither keeps nor breaks the promise. The owner is not in the run's key.
    """

    slo: str
    """Name of the promise."""
    journey: str
    owner: str
    target: float
    """The good share that was promised, above 0 and below 1."""
    threshold_ms: float
    """The response time up to which a success is good; nan: each success is."""
    total: int
    bad: int
    state: str = ""
    """"kept", "not kept", "undecided", "too short", "no traffic": of the interval against the target."""
    low: float = nan
    high: float = nan
    """low, high: the 95 % interval of the good share by 5 batches; nan if the run is too short or has no traffic."""


@dataclass(frozen=True, slots=True)
class ObjectiveVerdict:
    """The verdict of one objective of a run."""

    objective: str
    verdict: str
    """passed, failed, inconclusive, not judged."""
    journey: str | None = None
    """None: of all journeys."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One run, as the history stores it. It need not be accepted yet."""

    run_id: str
    key: Key
    started_at: str
    """RFC 3339, UTC."""
    duration_s: float
    commit: str = ""
    """Git commit of the scenario's folder; with "+" at its end if there were uncommitted changes; "" if unknown."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels from `loadgen run --label name=value`."""
    result: str = "passed"
    """As in the summary: passed, failed, incomplete, invalid, interrupted, error."""
    validity: str = "valid"
    """valid, suspect, invalid."""
    reasons: tuple[str, ...] = ()
    """Reasons for the result and the validity."""
    planned_rate: float = nan
    """Mean planned iterations/s over the run; nan for loads that plan no rate (users, iterations)."""
    achieved_rate: float = nan
    """Mean started iterations/s."""
    figures: tuple[Figure, ...] = ()
    errors: tuple[Errors, ...] = ()
    limited_by: str = ""
    """Why fewer iterations started than planned: "target" if a slow target kept all users busy; or ""."""
    faults: tuple[str, ...] = ()
    """Other reasons why its figures are misleading, such as a warm-up that was left in."""
    objectives: tuple[ObjectiveVerdict, ...] | None = None
    """The verdicts of its objectives; empty: it had none. None: unknown, in files of older versions."""
    python: str = ""
    """The builds of Python that its agents ran, such as "CPython 3.13.5 with PGO and LTO"; "" if unknown.
    It is not in the key: docs/decisions/147-the-build-of-the-interpreter.md."""
    slos: tuple[SloCounts, ...] = ()
    """Its samples for the promises that were known; empty in files of older versions."""

    def log_values(self, percentile: str) -> dict[str, float]:
        """Return {name: natural logarithm of ms} for one percentile, over all regions and agents.

        Names of which only a lower bound is known are left out.
        """
        return {
            one.name: value
            for one in self.figures
            if one.percentile == percentile and one.region == ALL and one.agent == ALL
            if (value := one.log_value) is not None
        }

    def figure(self, name: str, percentile: str, *, region: str = ALL, agent: str = ALL) -> Figure | None:
        """Return the figure of a name at a percentile; None if the run does not have it.

        region, agent: `ALL`, or the one that the figure is about.
        """
        wanted = (name, percentile, region, agent)
        return next((o for o in self.figures if (o.name, o.percentile, o.region, o.agent) == wanted), None)

    def errors_of(self, name: str, *, region: str = ALL) -> Errors | None:
        """Return the error counts of a name, over all regions or of one; None if the run does not have them."""
        return next((one for one in self.errors if (one.name, one.region) == (name, region)), None)


@dataclass(frozen=True, slots=True)
class Reference:
    """A pinned release with its runs. Later runs are also compared with it, which reveals many small slow-downs."""

    name: str
    run_ids: tuple[str, ...]
    pinned_at: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A decision about runs, with its author: an entry of the store's audit trail."""

    kind: str
    """"accepted", "accepted in spite of", "pinned", "struck", "verdict", "control" (A/A)."""
    at: str
    """RFC 3339, UTC."""
    by: str = ""
    run_ids: tuple[str, ...] = ()
    because: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    """Further values by name, such as "outcome", "key" or "name"."""
