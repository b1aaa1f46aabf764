"""Compares a release with the pinned one, and collects the changes that people accepted since it was pinned.

    slow_down(store, accepted, runs, "v412", "checkout", limit=0.1)

The newest pin of the runs' key counts. But a pin without a reason does not replace a pinned release whose performance
budget was spent then, by decisions or by measurement. So nobody gets a new budget by accident.

An *accepted change* is one that somebody accepted with a reason (`loadgen gate accept --because`). It counts if the
gate failed this journey, or if its 95 % interval excludes 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, isfinite, log1p
from typing import Any, Final

from loadgen.analysis.gate import LEAST_HISTORY, Effect, judge, judge_reference
from loadgen.history.gate.evaluate_gate import decide
from loadgen.history.gate.gate_result import Begin
from loadgen.history.gate.hypothesis_families import HISTORY
from loadgen.history.store.store import PINNED, Store
from loadgen.history.store.stored_run import Accepted as AcceptedRun
from loadgen.history.store.stored_run import Event
from loadgen.outside_text import one_line
from loadgen.programme.recommending.facts import RunFact, time_of
from loadgen.programme.recommending.performance import (
    Accepted,
    MeanChange,
    Newly,
    NoSlowDown,
    SlowDown,
    is_spent_in_a_quarter,
)
from loadgen.programme.recommending.recommendation import Missing
from loadgen.units import quantity

__all__ = ["mean_change", "slow_down"]

_NEWEST: Final = 40
_OLDEST_LOOKED_AT: Final = 400
_PERCENTILE: Final = "p95"
_KINDS: Final = ("new level", "verdict")
"""The kinds of events with which the gate records that runs were accepted."""


@dataclass(frozen=True, slots=True)
class _Pin:
    name: str
    run_ids: tuple[str, ...]
    at: str
    because: str


def slow_down(
    store: Store,
    accepted: Sequence[AcceptedRun],
    runs: Sequence[RunFact],
    release: str,
    journey: str,
    *,
    limit: float,
) -> SlowDown | NoSlowDown:
    """Return the slow-down of a journey against the pinned release, with what was accepted since; or why it is unknown.

    Args:
        accepted: the runs of the release in the history, oldest first. runs: all runs of the release.
        limit: the performance budget, 0.1 is 10 %.

    Raises:
        StorageError, CloudError: the history cannot be read.
    """
    has = [run for run in accepted if journey in run.log_values(_PERCENTILE)]
    if not has:
        ids = " ".join(run.run_id for run in runs if journey in run.journeys)
        fix = Missing(f"loadgen history add {ids}", 1, f"accept the runs of {release}") if ids else None
        return NoSlowDown(f"no accepted run of {release} has a {_PERCENTILE} of this journey", fix)
    ours = {run.run_id for run in accepted}
    fresh = [run for run in has if run.key == has[-1].key]
    decided = list(_decisions(store, fresh, journey))
    pin, why_pinned = _pin_in_force(store, fresh, ours, decided, journey, limit)
    if pin is None:
        fix = Missing("loadgen history pin RUN... --name NAME", 2, "pin the release to compare with")
        return NoSlowDown("no other release is pinned to compare with", fix)
    effect = _against(store, fresh, ours, pin, journey, _PERCENTILE)
    if isinstance(effect, NoSlowDown):
        return effect
    since = tuple(one for one in decided if one.at > time_of(pin.at))
    found = SlowDown(pin.name, effect.change, effect.low, effect.high, _PERCENTILE, since, None, why_pinned)
    if found.is_known and found.is_spent(limit):
        return replace(found, newly=_newly(store, fresh, ours, journey))
    return found


def mean_change(store: Store, accepted: Sequence[AcceptedRun], journey: str, reference: str) -> MeanChange | None:
    """Return the change of the mean response time against a pinned release, in ms; None if it is not known.

    The mean counts each request once, so volume x change is what all users wait.
    """
    has = [run for run in accepted if journey in run.log_values("mean")]
    if not has:
        return None
    fresh = [run for run in has if run.key == has[-1].key]
    pins = [one for one in _pins(store, fresh, {run.run_id for run in accepted}) if one.name == reference]
    if not pins:
        return None
    effect = _against(store, fresh, {run.run_id for run in accepted}, pins[-1], journey, "mean")
    if isinstance(effect, NoSlowDown) or not all(map(isfinite, (effect.change, effect.low, effect.high))):
        return None
    logs = [run.log_values("mean")[journey] for run in fresh]
    before = exp(sum(logs) / len(logs)) / (1 + effect.change)
    return MeanChange(reference, before * effect.change, before * effect.low, before * effect.high)


def _against(
    store: Store, fresh: Sequence[AcceptedRun], ours: set[str], pin: _Pin, journey: str, statistic: str
) -> Effect | NoSlowDown:
    before = store.get(pin.run_ids, is_whole=False)
    past = [run for run in store.runs(fresh[-1].key, newest=_NEWEST + len(ours)) if run.run_id not in ours]
    old, new, noise = (_values(some, journey, statistic) for some in (before, fresh, past))
    if len(noise) < LEAST_HISTORY:
        add = Missing("loadgen history add RUN...", 10, "accept runs of earlier releases")
        few = quantity(len(noise), "accepted run")
        return NoSlowDown(f"only {few} to know the noise from, and {LEAST_HISTORY} are needed", add)
    if not old:
        fix = Missing("loadgen history pin RUN... --name NAME", 2, "pin the release to compare with")
        return NoSlowDown(f"the pinned release {pin.name} has no {statistic} of this journey", fix)
    return judge_reference({journey: old}, {journey: new}, {journey: noise}).names[0]


def _pins(store: Store, fresh: Sequence[AcceptedRun], ours: set[str]) -> list[_Pin]:
    """Return the pins of a key whose runs are not those of the release, oldest first; struck runs are left out."""
    struck, key = store.struck(), fresh[-1].key.hash()
    found = []
    for event in store.events(PINNED):
        run_ids = tuple(one for one in event.run_ids if one not in struck)
        if event.details.get("key") == key and run_ids and not ours & set(run_ids) and _is_time(event.at):
            found.append(_Pin(event.details.get("name", ""), run_ids, event.at, event.because.strip()))
    return found


def _pin_in_force(
    store: Store,
    fresh: Sequence[AcceptedRun],
    ours: set[str],
    decided: Sequence[Accepted],
    journey: str,
    limit: float,
) -> tuple[_Pin | None, str]:
    """Return the pin that counts, and why a later one does not."""
    pins = _pins(store, fresh, ours)
    if not pins:
        return None, ""
    pin, why = pins[0], ""
    for later in pins[1:]:
        between = [one for one in decided if time_of(pin.at) < one.at <= time_of(later.at)]
        is_spent = is_spent_in_a_quarter(between, limit)
        if not is_spent and not later.because:
            is_spent = _is_slower(store, pin, later, journey, limit)
        if is_spent and not later.because:
            why = f"the later pin {one_line(later.name, 60)} has no reason, and the budget was spent then"
        else:
            pin, why = later, ""
    return pin, why


def _is_slower(store: Store, pin: _Pin, later: _Pin, journey: str, limit: float) -> bool:
    old, new = (_values(store.get(one.run_ids, is_whole=False), journey, _PERCENTILE) for one in (pin, later))
    return bool(old and new) and sum(new) / len(new) - sum(old) / len(old) >= log1p(limit)


def _decisions(store: Store, fresh: Sequence[AcceptedRun], journey: str) -> Iterator[Accepted]:
    """Yield the accepted changes of a journey, oldest first."""
    key, struck = fresh[-1].key, store.struck()
    kept = [
        event
        for event in store.events(*_KINDS)
        if event.because.strip()
        and event.details.get("key") == key.hash()
        and _is_time(event.at)
        and not set(event.run_ids) <= set(struck)
    ]
    past: list[AcceptedRun] | None = None
    for n, event in enumerate(kept):
        is_failed = journey in _list(event.details.get("names", ""))
        change = _recorded(event, journey)
        if change is None:
            past = store.runs(key, newest=_OLDEST_LOOKED_AT) if past is None else past
            earlier = {one for other in kept[:n] for one in other.run_ids}
            change = _computed(past, event, earlier, journey)
        if change is None:
            continue
        point, low, high = change
        if is_failed or low > 0 or high < 0:
            yield Accepted(time_of(event.at), 1 + point, one_line(event.because, 200))


def _recorded(event: Event, journey: str) -> tuple[float, float, float] | None:
    try:
        found: Any = json.loads(event.details.get("changes", ""))
    except (ValueError, RecursionError):
        return None
    given = found.get(journey) if isinstance(found, dict) else None
    if not isinstance(given, list) or len(given) != 3:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in given):
        return None
    point, low, high = map(float, given)
    return (point, low, high) if -1 < low <= point <= high and isfinite(high) else None


def _computed(
    past: Sequence[AcceptedRun], event: Event, earlier: set[str], journey: str
) -> tuple[float, float, float] | None:
    """Return the change of an event whose writer did not record it, from the runs before it; None if it is unknown."""
    first = min(event.run_ids)
    begin = max((one for one in earlier if one < first), default="")
    before = [run for run in past if begin <= run.run_id < first][-_NEWEST:]
    old = _values(before, journey, _PERCENTILE)
    new = _values([run for run in past if run.run_id in event.run_ids], journey, _PERCENTILE)
    if len(old) < 2 or not new:
        return None
    effect = judge({journey: old}, {journey: new}).names[0]
    change = (effect.change, effect.low, effect.high)
    return change if all(map(isfinite, change)) and effect.low > -1 else None


def _newly(store: Store, fresh: Sequence[AcceptedRun], ours: set[str], journey: str) -> Newly | None:
    """Return the slow-down of the release against the accepted runs of the same level, as the gate computes it."""
    key = fresh[-1].key
    past = [run for run in store.runs(key, newest=_NEWEST + len(ours)) if run.run_id not in ours]
    begins = [
        Begin(min(event.run_ids), event.at, frozenset(_list(event.details.get("names", ""))))
        for event in store.events("new level")
        if event.details.get("key") == key.hash() and event.run_ids and not ours & set(event.run_ids)
    ]
    if not past:
        return None
    families = decide(past, fresh, begins=begins).families
    effects = (one for family in families if family.against == HISTORY for one in family.judgement.names)
    effect = next((one for one in effects if one.name == journey and one.history and one.new), None)
    if effect is None or not all(map(isfinite, (effect.change, effect.low, effect.high))):
        return None
    return Newly(effect.change, effect.low, effect.high)


def _values(runs: Sequence[AcceptedRun], journey: str, statistic: str) -> list[float]:
    found = (run.log_values(statistic).get(journey) for run in runs)
    return [value for value in found if value is not None]


def _list(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [str(one) for one in found] if isinstance(found, list) else []


def _is_time(text: str) -> bool:
    try:
        time_of(text)
    except ValueError:
        return False
    return True
