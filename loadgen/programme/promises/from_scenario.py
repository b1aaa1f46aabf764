"""Objectives of a load test and of production: the same formula, in both directions.

`p(99.5) < "300ms"` is the target 0.995 with the threshold 300 ms, and `error_ratio() < "0.1%"` is the target 0.999.
The share is exact in both directions. Objectives that production cannot have, such as a mean or a count, are left out
with their reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from loadgen.measure.objectives.terms import Objective as TestObjective
from loadgen.programme.promises.objectives import Objective, Threshold
from loadgen.units import NS_PER_MS

__all__ = ["LeftOut", "Promise", "as_expression", "promises_of"]

_MOST_NAME: Final = 63


@dataclass(frozen=True, slots=True)
class Promise:
    """The promise of an objective of a load test. threshold: None if it is about errors only. text: the objective."""

    name: str
    journey: str
    target: Decimal
    threshold: Threshold | None
    text: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An objective of a load test that is no promise of production, and why."""

    text: str
    reason: str


def promises_of(objectives: Iterable[TestObjective], journeys: Sequence[str]) -> Iterator[Promise | LeftOut]:
    """Yield the promises of a plan's objectives, one for each journey that an objective judges.

    journeys: those of the plan.
    """
    taken: set[str] = set()
    for one in objectives:
        reason = _why_not(one)
        target = Decimal(str(one.q)) / 100 if one.kind == "percentile" else 1 - Decimal(str(one.limit))
        if not reason and not 0 < target < 1:
            reason = f"its target is {target.normalize():f}, and a target is above 0 and below 1"
        if reason:
            yield LeftOut(one.text, reason)
            continue
        threshold = Threshold((Decimal(one.limit) / NS_PER_MS).normalize(), "ms") if one.kind == "percentile" else None
        for journey in (one.journey,) if one.journey else journeys:
            what = f"p{_digits(one.q)}" if one.kind == "percentile" else "errors"
            name = _free(_slug(f"{journey}-{one.request or one.step or ''}-{what}"), taken)
            yield Promise(name, journey, target.normalize(), threshold, one.text)


def as_expression(promise: Objective, *, tighten: Decimal = Decimal(1)) -> str:
    """Return the objective of a load test that tests a promise: `p(99.5, journey="checkout") < "300ms"`.

    tighten: factor on the threshold, such as 0.8, because a test should be stricter than the promise.

    Raises:
        ValueError: `tighten` is not above 0 and at most 1, or the threshold is not a time.
    """
    if not 0 < tighten <= 1:
        raise ValueError(f"tighten is {tighten}, and must be above 0 and at most 1")
    journey = f'journey="{promise.journey}"' if promise.journey else ""
    if promise.threshold is None:
        return f'error_ratio({journey}) < "{(promise.budget * 100).normalize():f}%"'
    seconds = promise.threshold.seconds
    if seconds is None:
        raise ValueError(f"the threshold {promise.threshold.text} is not a time")
    arguments = ", ".join(filter(None, (f"{(promise.target * 100).normalize():f}", journey)))
    return f'p({arguments}) < "{(seconds * tighten * 1000).normalize():f}ms"'


def _why_not(one: TestObjective) -> str:
    """Return why an objective is no promise of production; "" if it is one."""
    if one.kind not in ("percentile", "error_ratio"):
        return "it is not a share of requests, so it has no error budget"
    if not one.is_upper:
        return "its limit is a lower one"
    if one.kind == "percentile" and (one.metric not in ("response", "service") or one.of):
        return f"its metric is {one.of or one.metric}, and production measures response times"
    if one.outcome or one.of:
        return "it is about one outcome only"
    reasons = {
        "a window: our windows slide, and those of OpenSLO follow each other": one.window_ns,
        "tags": one.tags,
        "one region": one.region,
        "one load": one.load,
    }
    return next((f"it has {reason}" for reason, value in reasons.items() if value), "")


def _digits(q: float) -> str:
    return f"{Decimal(str(q)).normalize():f}".replace(".", "-")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_MOST_NAME].rstrip("-") or "objective"


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken yet, and take it."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name[: _MOST_NAME - 5].rstrip('-')}-{number}"
    taken.add(found)
    return found
