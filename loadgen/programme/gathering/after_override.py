"""What happened after an override: whether the promises of its journeys were kept from then on.

    after_overrides(place, objectives, events, now)

Each promise is judged over its own window from the override on; until that window is over, so far. The counts are those
of the ledger. Only the newest overrides are looked at, since each needs a reading of its time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import Place
from loadgen.outside_text import one_line
from loadgen.programme.ledger.exclusions import Exclusion, exclusions
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.promises.objectives import Objective, RollingWindow
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.recommending.overrides import OVERRIDDEN
from loadgen.programme.recommending.record import RECOMMENDED
from loadgen.programme.status import PromiseState, state_of
from loadgen.units import quantity

__all__ = ["After", "after_overrides", "record_said"]

_NEWEST: Final = 5
_LEAST_S: Final = 3_600
"""Promises are judged from an hour after the override on."""


@dataclass(frozen=True, slots=True)
class After:
    """What happened after one override. key: (id of the recommendation, time of the override).

    kept: whether all promises were kept; None: not known yet. says: without a full stop; "" without counts.
    """

    key: tuple[str, str]
    kept: bool | None
    says: str


def after_overrides(
    place: Place,
    objectives: Iterable[Objective],
    events: Iterable[Event],
    journeys: Sequence[str],
    now: datetime,
    as_of: str = "",
) -> tuple[After, ...]:
    """Return what happened after the newest overrides that are about any of these journeys, oldest first.

    events: recommendations and overrides, oldest first. as_of: only counts and exclusions that were recorded until
    then, RFC 3339; "": all.

    Raises:
        StorageError, CloudError: the place cannot be read.
    """
    every, objectives = list(events), list(objectives)
    about = {one.details.get("id", ""): _journeys(one) for one in every if one.kind == RECOMMENDED}
    found = []
    for event in every:
        of = about.get(event.details.get("id", ""), ()) if event.kind == OVERRIDDEN else ()
        if set(of) & set(journeys):
            found.append((event, [one for one in objectives if one.journey in of]))
    excluded, _ = exclusions(place, as_of) if found else ((), ())
    return tuple(_after(place, event, some, excluded, now, as_of) for event, some in found[-_NEWEST:])


def record_said(found: Sequence[After]) -> str:
    """Return how overrides of these journeys ended, in a sentence; "" if none is known to have ended."""
    known = [one for one in found if one.kept is not None]
    if not known:
        return ""
    kept = sum(bool(one.kept) for one in known)
    return f"after {kept} of {quantity(len(known), 'override')} of these journeys, all promises were kept"


def _after(
    place: Place,
    event: Event,
    objectives: Sequence[Objective],
    excluded: Sequence[Exclusion],
    now: datetime,
    as_of: str,
) -> After:
    key = (event.details.get("id", ""), event.at)
    try:
        start = int(time_of(event.at).timestamp())
    except ValueError:
        return After(key, None, "")
    states = list(_states(place, start, objectives, excluded, int(now.timestamp()), as_of))
    said = [text for _, _, text in states]
    words = [state.word for state, _, _ in states]
    is_over = all(over for _, over, _ in states)
    kept = None
    if "not kept" in words and any(over and state.word == "not kept" for state, over, _ in states):
        kept = False
    elif words and is_over and set(words) == {"kept"}:
        kept = True
    return After(key, kept, "; ".join(said))


def _states(
    place: Place, start: int, objectives: Sequence[Objective], excluded: Sequence[Exclusion], now: int, as_of: str
) -> Iterator[tuple[PromiseState, bool, str]]:
    """Yield the state of each promise since the override, whether its window is over, and a sentence."""
    if not objectives:
        return
    last = min(now, start + max(one.window.nominal_s for one in objectives))
    reading = Ledger(place).read(start, last + 1, as_of, slos=[one.name for one in objectives])
    for one in objectives:
        counts = reading.by_slo.get(one.name)
        end = min(now, start + one.window.nominal_s)
        counts = None if counts is None else counts.chosen(counts.start + counts.width <= end)
        if counts is None or not len(counts):
            continue
        begin, seen = int(counts.start.min()), int((counts.start + counts.width).max())
        length = (seen - begin) // 60 * 60
        if length < _LEAST_S:
            continue
        state = state_of(replace(one, window=RollingWindow(length)), counts, excluded, seen)
        if state.judgement is None:
            continue
        is_over = start + one.window.nominal_s <= now
        period = f"in the {one.window.text} after it" if is_over else "after it, so far"
        target = f"{(one.target * 100).normalize():f} %"
        day = datetime.fromtimestamp(seen, UTC).strftime("%Y-%m-%d")
        said = f"{period}, {one_line(one.name, 80)}: {state.word}: {state.figure} against {target}, to {day}"
        yield state, is_over, said


def _journeys(event: Event) -> tuple[str, ...]:
    try:
        found = json.loads(event.details.get("journeys", ""))
    except (ValueError, RecursionError):
        return ()
    return tuple(str(one) for one in found) if isinstance(found, list) else ()
