"""Gathers what is known about a release from a history, and from run folders that others read.

known = gather(store, "v412", ("checkout",), runs_of_folders, programme)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import TypeVar

from loadgen.history.gate.aa_test_health import CONTROL, Health, health_of
from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import ACCEPTED, IN_SPITE, Store
from loadgen.history.store.stored_run import Accepted, Event
from loadgen.outside_text import one_line
from loadgen.programme.gathering.pinned import mean_change, slow_down
from loadgen.programme.recommending.assess import Known
from loadgen.programme.recommending.facts import RunFact, run_fact_of, time_of
from loadgen.programme.recommending.performance import SlowDown
from loadgen.programme.recommending.programme_file import Programme
from loadgen.programme.recommending.rows import GateFact
from loadgen.units import quantity

__all__ = ["AUTHOR", "RELEASE", "gather"]

T = TypeVar("T")

RELEASE = "release"
"""The label that names the release of a run: `loadgen run --label release=v412`."""
AUTHOR = "author"
"""The label that names who made the release, and so cannot be its only signer where two people are asked for."""


def gather(
    store: Store,
    release: str,
    journeys: Sequence[str],
    of_folders: Iterable[RunFact],
    programme: Programme,
    troubles: Iterable[str] = (),
    others: Iterable[str] = (),
) -> Known:
    """Return what the history and the run folders know about a release.

    Args:
        of_folders: runs of the release in run folders, which include those that the history did not accept. Runs that
            were struck from the history do not count.
        troubles: sentences about what could not be read; together with the unreadable files of the history, they keep
            the recommendation from GO.
        others: the ids of all run folders, also of those of other releases.

    Raises:
        StorageError, CloudError: the history cannot be read.
    """
    bad: list[str] = []
    accepted = _dated(store.runs_with_label(RELEASE, release), lambda run: run.started_at, "an accepted run", bad)
    struck = store.struck()
    folders = list(of_folders)
    here = {run.run_id for run in folders}.union(others)
    runs = _merged(accepted, [run for run in folders if run.run_id not in struck], here)
    numbered = _dated(numbered_verdicts(store), lambda one: one[1].at, "a verdict of the gate", bad)
    controls = _dated(store.events(CONTROL), lambda event: event.at, "a control of the gate", bad)
    studies = _dated(store.studies("capacity find"), lambda study: study.at, "a capacity", bad)
    stored = set(store.run_ids())
    ours = {run.run_id for run in runs} | struck.keys()
    there = ours | stored | here
    verdicts = tuple(_gate_fact(id_, event, release, ours, there, struck) for id_, event in numbered)
    bad += _lost(store, stored, struck)
    keys = _keys_of(accepted, [event for _, event in numbered])
    slow_downs = {one: slow_down(store, accepted, runs, release, one, limit=programme.rules.slower) for one in journeys}
    means = {
        one: mean_change(store, accepted, one, found.reference)
        for one, found in slow_downs.items()
        if isinstance(found, SlowDown)
    }
    known = Known(
        release,
        tuple(dict.fromkeys(journeys)),
        runs,
        verdicts,
        tuple(sorted(studies, key=lambda study: time_of(study.at))),
        {one: _health(controls, keys, runs, one) for one in journeys},
        slow_downs,
        programme.journeys,
        authors=frozenset(filter(None, (run.labels.get(AUTHOR, "") for run in accepted))),
        changes={one: change for one, change in means.items() if change is not None},
    )
    return replace(known, troubles=(*troubles, *store.unreadable, *bad))


def _dated(found: Iterable[T], time: Callable[[T], str], what: str, bad: list[str]) -> list[T]:
    """Return those with a readable time, and add a sentence to `bad` for each other one."""
    kept = []
    for one in found:
        try:
            time_of(time(one))
        except ValueError:
            bad.append(f'{what} in the history has an invalid time "{one_line(time(one), 40)}"')
        else:
            kept.append(one)
    return kept


def _merged(accepted: Sequence[Accepted], of_folders: Sequence[RunFact], here: Container[str]) -> tuple[RunFact, ...]:
    """Return each run once, oldest first. The history knows more reasons against a run, a folder its objectives.

    here: the ids of all run folders.
    """
    found = {run.run_id: run for run in of_folders}
    for run in accepted:
        fact = replace(run_fact_of(run), has_folder=run.run_id in here)
        if fact.objectives is None and run.run_id in found:
            fact = replace(fact, objectives=found[run.run_id].objectives)
        found[run.run_id] = fact
    return tuple(sorted(found.values(), key=lambda run: (run.at, run.run_id)))


def _gate_fact(
    id_: str, event: Event, release: str, ours: Container[str], there: Container[str], struck: Container[str]
) -> GateFact:
    """Return a verdict. ours: the runs of the release, and struck ones. there: all runs that are not lost."""
    details = event.details
    is_fail = details.get("outcome") == "FAIL"
    # Since verdicts record the release, a run that got another release later is known, too.
    is_ours = is_fail and details.get(RELEASE) == release
    run_ids = tuple(one for one in event.run_ids if one not in struck) if is_fail else event.run_ids
    return GateFact(
        id_,
        time_of(event.at),
        details.get("outcome", ""),
        run_ids,
        _number(details.get("detectable", "")),
        int(_number(details.get("history", "0"), 0.0)),
        event.because,
        details.get("reasons", ""),
        tuple(one for one in run_ids if one not in (ours if is_ours else there)) if is_fail else (),
        _journeys_in(details.get("names", "")) if is_ours and run_ids else frozenset(),
    )


def _journeys_in(names: str) -> frozenset[str]:
    """Return the journeys in the names of a verdict, such as "checkout > pay"."""
    try:
        found = json.loads(names)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(str(one).split(" > ")[0] for one in found) if isinstance(found, list) else frozenset()


def _lost(store: Store, stored: Container[str], struck: Container[str]) -> list[str]:
    """Return a sentence about accepted runs whose files are gone, which may have been of the release; [] without."""
    ids = (one for event in store.events(ACCEPTED, IN_SPITE) for one in event.run_ids)
    gone = sorted({one for one in ids if one not in stored and one not in struck})
    if not gone:
        return []
    some = f"{', '.join(one_line(one, 60) for one in gone[:3])}{' ...' if len(gone) > 3 else ''}"
    return [f"{quantity(len(gone), 'accepted run')} not in the history any more: {some}; restore the files"]


def _number(text: str, other: float = nan) -> float:
    try:
        return float(text)
    except ValueError:
        return other


def _keys_of(accepted: Sequence[Accepted], verdicts: Sequence[Event]) -> dict[str, str]:
    """Return the hash of the key of each run that was accepted or judged."""
    judged = {run_id: one.details.get("key", "") for one in verdicts for run_id in one.run_ids}
    return judged | {run.run_id: run.key.hash() for run in accepted}


def _health(events: Sequence[Event], keys: Mapping[str, str], runs: Sequence[RunFact], journey: str) -> Health:
    """Return the health of the gate for the kind of runs that the newest run of the journey is."""
    key = next((keys[run.run_id] for run in reversed(runs) if journey in run.journeys and run.run_id in keys), None)
    return health_of(events if key is not None else (), key)
