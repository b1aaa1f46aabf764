"""Gathers what is known about journeys: from history, ledger, promises, `programme.toml`, a traffic.json and traces.

known = gather(place, objectives, file, Options(as_of=now))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import isfinite
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import ACCEPTED, IN_SPITE, STRUCK, Store
from loadgen.history.store.stored_run import Event
from loadgen.history.store.study_records import StudyRecord
from loadgen.history.store.write_once_storage import Place
from loadgen.outside_text import one_line
from loadgen.programme.board.facts import NO_DATA, Known, SeenCapacity, SeenPromise, SeenRun, SeenVerdict
from loadgen.programme.board.standard_file import StandardFile
from loadgen.programme.ledger.exclusions import exclusions
from loadgen.programme.ledger.ledger import Counts, Ledger
from loadgen.programme.ledger.slices import DAY_S
from loadgen.programme.promises.objectives import Objective, RatioIndicator
from loadgen.programme.recommending.facts import RunFact, run_fact_of, time_of
from loadgen.programme.status import PromiseState, states_of, window_s
from loadgen.traffic.coverage.endpoints import Endpoint, Index, endpoint_of_name
from loadgen.traffic.coverage.openapi_operations import Operations
from loadgen.traffic.coverage.traced_endpoints import TracedEndpoints
from loadgen.traffic.coverage.traffic_names import TrafficNames

__all__ = ["Inputs", "gather"]

T = TypeVar("T")

WEIGHED_S: Final = 28 * DAY_S
"""Requests of this time are the weights."""
_FIND: Final = "capacity find"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The content of all files. now: everything that happened later is ignored. until: only revisions of the ledger
    and exclusions that were written until then count, RFC 3339; "": all. weeks: how far back the trend goes.
    """

    now: datetime
    objectives: tuple[Objective, ...] = ()
    file: StandardFile = field(default_factory=StandardFile)
    owners: frozenset[str] | None = None
    traffic: TrafficNames | None = None
    operations: Operations | None = None
    traced: TracedEndpoints | None = None
    weeks: int = 13
    until: str = ""


def gather(place: Place, given: Inputs, store: Store | None = None) -> Known:
    """Return everything that a board needs. store: the history at the place, if it is open already.

    Raises:
        StorageError, CloudError: the history cannot be listed. Single files that cannot be read are in `troubles`.

    Cost: 2 ms for each accepted run of 60 names, and 2 ms for each revision of the ledger.
    """
    store, bad = store or Store(place), list[str]()
    runs, keys = _runs(store, given.now, bad)
    events = _dated(numbered_verdicts(store), lambda one: one[1].at, "a verdict of the gate", bad)
    verdicts = tuple(_verdict(id_, event, runs, keys) for id_, event in events if time_of(event.at) <= given.now)
    studies = _dated(store.studies(_FIND), lambda study: study.at, "a capacity", bad)
    capacities = tuple(_capacity(study, runs, given.file) for study in studies if time_of(study.at) <= given.now)
    promises, troubles = _promises(place, given)
    log_requests, no_journey, traced = _of_log(given)
    return Known(
        given.now,
        given.file.journeys,
        tuple(run for run, _ in runs.values()),
        verdicts,
        capacities,
        promises,
        log_requests,
        no_journey,
        given.owners,
        (*store.unreadable, *bad, *troubles),
        traced,
    )


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


# -- runs, verdicts, capacities -------------------------------------------------------------------


def _runs(store: Store, now: datetime, bad: list[str]) -> tuple[dict[str, tuple[SeenRun, RunFact]], dict[str, str]]:
    """Return the runs that were accepted until now by id, and the journeys of each key of the history."""
    accepted = _times(store.events(ACCEPTED, IN_SPITE))
    struck = _times(store.events(STRUCK))
    found = store.with_journeys(store.run_ids())
    seen: dict[str, tuple[SeenRun, RunFact]] = {}
    keys: dict[str, str] = {}
    for run in _dated(found, lambda one: one.started_at, "an accepted run", bad):
        fact = run_fact_of(run)
        one = SeenRun(
            run.run_id,
            fact.at,
            accepted.get(run.run_id, fact.at),
            fact.journeys,
            fact.condition == "valid",
            struck.get(run.run_id),
            fact.objectives,
            fact.file,
        )
        if one.counts_at(now):
            seen[run.run_id] = (one, fact)
            keys.setdefault(run.key.hash(), run.run_id)
    return seen, keys


def _times(events: Iterable[Event]) -> dict[str, datetime]:
    """Return the time of the first event of each run; events without a readable time are left out."""
    found: dict[str, datetime] = {}
    for event in events:
        try:
            at = time_of(event.at)
        except ValueError:
            continue
        for run_id in event.run_ids:
            found.setdefault(run_id, at)
    return found


def _verdict(
    id_: str, event: Event, runs: Mapping[str, tuple[SeenRun, RunFact]], keys: Mapping[str, str]
) -> SeenVerdict:
    """Return a verdict with the journeys of its runs. Runs that were not accepted have those of runs with their key."""
    ids = [run_id for run_id in event.run_ids if run_id in runs]
    if not ids and event.details.get("key", "") in keys:
        ids = [keys[event.details["key"]]]
    journeys = frozenset(name for run_id in ids for name in runs[run_id][0].journeys)
    return SeenVerdict(id_, time_of(event.at), one_line(event.details.get("outcome", ""), 40), journeys)


def _capacity(study: StudyRecord, runs: Mapping[str, tuple[SeenRun, RunFact]], file: StandardFile) -> SeenCapacity:
    """Return a capacity with the journeys of its plan, and those that name the plan in `programme.toml`."""
    facts = study.study.get("facts")
    facts = facts if isinstance(facts, Mapping) else {}
    plan = f"{facts.get('scenario', '')}:{facts.get('plan', '')}"
    journeys = {name for run, _ in runs.values() if run.file and _is_same_plan(run.file, plan) for name in run.journeys}
    for name, table in file.journeys.items():
        if table.plan:
            # A plan of the file decides alone: its capacity counts, and no other.
            journeys.discard(name)
            journeys |= {name} if _is_same_plan(table.plan, plan) else set()
    low, high = _positive(facts.get("low_per_s")), _positive(facts.get("high_per_s"))
    is_sure = low is not None and high is not None and low <= high and facts.get("is_confirmed") is not False
    return SeenCapacity(
        study.id, time_of(study.at), frozenset(journeys), low if is_sure else None, high if is_sure else None, plan
    )


def _is_same_plan(one: str, other: str) -> bool:
    """Return whether two texts such as "shop.py:peak" name the same plan; folders before one of them are ignored."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


def _positive(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isfinite(value) and value > 0 else None


# -- promises -------------------------------------------------------------------------------------


def _promises(place: Place, given: Inputs) -> tuple[tuple[SeenPromise, ...], tuple[str, ...]]:
    at, until = int(given.now.timestamp()), given.until
    if not given.objectives:
        return (), ()
    back = max(window_s(given.objectives), WEIGHED_S, (given.weeks + 2) * 7 * DAY_S)
    ledger = Ledger(place)
    reading = ledger.read(at - back, at, until, [one.name for one in given.objectives])
    excluded, troubles = exclusions(place, until)
    states = {one.objective.name: one for one in states_of(given.objectives, reading, excluded, at)}
    found = tuple(
        _promise(one, states[one.name], reading.by_slo.get(one.name), at - WEIGHED_S) for one in given.objectives
    )
    ahead = "" if until else ledger.ahead(at)
    return found, (*filter(None, [ahead]), *reading.unreadable, *reading.clashes, *troubles)


def _promise(one: Objective, state: PromiseState, counts: Counts | None, weighed_from: int) -> SeenPromise:
    made = SeenPromise(
        one.name,
        one.journey,
        one.owner,
        dict(one.labels).get("team", ""),
        ", ".join(one.sources),
        state.word,
        state.figure,
        state.why,
    )
    if counts is None or not len(counts):
        return made
    is_observed = counts.missing_s < counts.width
    ends: NDArray[np.int64] = np.sort((counts.start + counts.width)[is_observed])
    requests = None
    # A thresholdMetric has points and not requests.
    recent = is_observed & (counts.start >= weighed_from)
    if isinstance(one.indicator, RatioIndicator) and recent.any():
        requests = int(counts.total[recent].sum())
    return replace(made, ends=ends if len(ends) else NO_DATA, requests=requests)


# -- endpoints ------------------------------------------------------------------------------------


def _of_log(given: Inputs) -> tuple[dict[str, int], tuple[tuple[str, int], ...], dict[str, int]]:
    """Return the requests of each journey in the log, the endpoints that belong to no journey, and the numbers of
    traces by endpoint.
    """
    counts: dict[Endpoint, int] = {}
    if given.traffic is not None:
        for one in given.traffic.names:
            counts[one.endpoint] = counts.get(one.endpoint, 0) + one.count
    index = Index(counts)
    for operation in given.operations.operations if given.operations is not None else ():
        if not any(index.find(end) for end in (operation.endpoint, *operation.others)):
            counts[operation.endpoint] = 0
    # Traces are sampled, so they show which endpoints there are, and never how many requests those have.
    index, traced = Index(counts), dict[str, int]()
    for endpoint, number in given.traced.traces.items() if given.traced is not None else ():
        for known_as in index.find(endpoint) or (endpoint,):
            counts.setdefault(known_as, 0)
            traced[str(known_as)] = traced.get(str(known_as), 0) + number
    if not counts:
        return {}, (), {}
    taken: dict[str, list[Endpoint]] = {
        name: [end for text in table.endpoints if (end := endpoint_of_name(text)) is not None]
        for name, table in given.file.journeys.items()
    }
    owner_of = {end: name for name, ends in taken.items() for end in ends}
    known, requests, left = Index(owner_of), dict[str, int](), list[tuple[str, int]]()
    for endpoint, count in counts.items():
        if journeys := _journeys(known.find(endpoint), owner_of):
            for name in journeys:
                requests[name] = requests.get(name, 0) + count
        else:
            left.append((str(endpoint), count))
    return requests if given.traffic is not None else {}, tuple(sorted(left)), traced


def _journeys(found: Sequence[Endpoint], owner_of: Mapping[Endpoint, str]) -> Sequence[str]:
    return sorted({owner_of[one] for one in found})
