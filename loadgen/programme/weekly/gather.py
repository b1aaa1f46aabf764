"""Gathers what a weekly page needs from the ledger and the history, as both were known at one time.

    gathered = gather(place, slos, period, as_of, settings, programme)

Everything that was recorded after `as_of` is ignored: revisions of the ledger, exclusions, runs by the time of their
acceptance, decisions, studies. Decisions and A/A controls count until a week after the end of the page's time, so a
page of last year does not quote the launch of today. Of the runs, only those of the last 13 weeks are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.attainment.slices import Slices
from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import ACCEPTED, IN_SPITE, PINNED, STRUCK, Store
from loadgen.history.store.stored_run import ALL, Accepted, Event, Reference
from loadgen.history.store.study_records import StudyRecord
from loadgen.history.store.write_once_storage import Place
from loadgen.outside_text import one_line
from loadgen.programme.anomalies.blocks import first_of
from loadgen.programme.composites.composite import Composite
from loadgen.programme.ledger.exclusions import Exclusion, exclusions, is_excluded
from loadgen.programme.ledger.ledger import Counts, Ledger, Reading
from loadgen.programme.load_tests.said import LoadTests
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.recommending.overrides import OVERRIDDEN, SIGNED
from loadgen.programme.recommending.programme_file import Programme
from loadgen.programme.recommending.record import RECOMMENDED
from loadgen.programme.status import PromiseState, judged_units, state_of, window_s
from loadgen.programme.weekly.programme_table import PageSettings
from loadgen.programme.weekly.week_of import Period

__all__ = ["PERCENTILE", "RUN_WEEKS", "Gathered", "Promise", "Verdict", "gather", "journey_of"]

T = TypeVar("T")
PERCENTILE: Final = "p95"
RUN_WEEKS: Final = 13
"""How many weeks of runs are read: those of the chart, and of the search for changes."""
_WEEK_S: Final = 7 * 86_400
_CHART_S: Final = 28 * 86_400
_TIME: Final = re.compile(r"(\d{8})-(\d{6})-")


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise with its state at the end of the page's time.

    units: its slices in the units of the method, without excluded times; None: there are none that can be read.
    counts: its slices in the ledger, for 28 days more than the window. excluded: which of them are excluded.
    names: of the revisions, which `counts.revision` numbers.
    """

    state: PromiseState
    units: Slices | None = None
    counts: Counts | None = None
    excluded: NDArray[np.bool_] | None = None
    names: tuple[str, ...] = ()

    def revisions(self, start: float, end: float) -> tuple[str, ...]:
        """Return the names of the revisions of the slices that begin in [start, end), Unix time in s."""
        if self.counts is None:
            return ()
        inside = (self.counts.start >= start) & (self.counts.start < end)
        return self.counts.revision_names(inside, self.names)

    @property
    def objective(self) -> Objective:
        """Return the promise itself."""
        return self.state.objective

    @property
    def journey(self) -> str:
        """Return the name of its journey."""
        return journey_of(self.state.objective)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict of the gate. id: "G-88", its number in the history. at: Unix time, s."""

    id: str
    at: int
    event: Event


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that a page is made from. at: when the promises are judged, Unix time, s. as_of: RFC 3339, UTC."""

    period: Period
    settings: PageSettings
    at: int
    as_of: str
    promises: tuple[Promise, ...]
    sources: Mapping[str, int] = field(default_factory=dict)
    """The end of the newest slice of each source, Unix time, s."""
    revisions: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    runs: tuple[Accepted, ...] = ()
    """Accepted runs that are not struck, oldest first, with p95 of journeys only."""
    references: tuple[tuple[Reference, tuple[Accepted, ...]], ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    """Oldest first."""
    controls: tuple[Event, ...] = ()
    studies: tuple[StudyRecord, ...] = ()
    """Capacities, oldest first."""
    decisions: tuple[Event, ...] = ()
    """Recommendations, overrides and signatures, oldest first."""
    programme: Programme = field(default_factory=Programme)
    troubles: tuple[str, ...] = ()
    """What could not be read, as sentences without a full stop."""
    load_tests: Mapping[str, LoadTests] = field(default_factory=dict)
    """How load tests are left out of the counts, by promise; empty: the caller does not read the sources."""
    composites: tuple[Composite, ...] = ()
    """Those of the files. One with a promise that is not here is left out of the page."""
    later: tuple[str, ...] = ()
    """Revisions of the ledger that were written after `as_of`, and are ignored."""

    @property
    def now(self) -> datetime:
        """Return until when decisions count: the time of `as_of`, or a week after the end of the page's time."""
        return _until_when(self.at, time_of(self.as_of))


def _until_when(at: int, as_of: datetime) -> datetime:
    return min(as_of, datetime.fromtimestamp(at + _WEEK_S, UTC))


def journey_of(objective: Objective) -> str:
    """Return the journey of a promise: the one that it names, or else its service."""
    return objective.journey or objective.service


def gather(
    place: Place,
    objectives: Sequence[Objective],
    period: Period,
    as_of: datetime,
    settings: PageSettings,
    programme: Programme | None = None,
    *,
    is_part: bool = False,
    store: Store | None = None,
    load_tests: Mapping[str, LoadTests] | None = None,
    composites: Iterable[Composite] = (),
) -> Gathered:
    """Read the ledger and the history at a place, as they were at `as_of`.

    is_part: the page is of one team. Recommendations of journeys without an objective here are left out.

    Raises:
        StorageError, CloudError: the place cannot be read.
        UsageError: pyarrow is not installed.
    """
    at = min(period.end, int(as_of.timestamp()))
    end, decided = datetime.fromtimestamp(at, UTC), _until_when(at, as_of)
    until = as_of.astimezone(UTC).isoformat()
    back = max(_CHART_S, period.end - period.start) + window_s(objectives)
    back = max(back, at - first_of(period.start, at))
    reading = Ledger(place).read(at - back, at, until, [one.name for one in objectives])
    excluded, troubles = exclusions(place, until)
    store = store or Store(place)
    bad: list[str] = []
    promises = tuple(_promise(one, reading, excluded, at, window_s(objectives)) for one in objectives)
    runs, references = _runs_of(store, period, at, as_of, bad)
    decisions = _until(
        store.events(RECOMMENDED, OVERRIDDEN, SIGNED), lambda one: one.at, decided, "a recommendation", bad
    )
    found = _until(numbered_verdicts(store), lambda one: one[1].at, as_of, "a verdict of the gate", bad)
    return Gathered(
        period,
        settings,
        at,
        until,
        promises,
        _sources_in(reading),
        tuple(sorted(one.name for one in reading.revisions)),
        tuple(one for one in excluded if one.end > at - back and one.start < at and _concerns(one, objectives)),
        runs,
        references,
        tuple(Verdict(id_, int(time_of(event.at).timestamp()), event) for id_, event in found),
        tuple(_until(store.events(CONTROL), lambda one: one.at, decided, "an A/A control", bad)),
        tuple(_until(store.studies("capacity find"), lambda one: one.at, end, "a capacity", bad)),
        tuple(decisions if not is_part else _of_journeys(decisions, {one.journey for one in promises})),
        programme or Programme(),
        tuple(
            one_line(text, 300) for text in (*reading.unreadable, *reading.clashes, *troubles, *store.unreadable, *bad)
        ),
        load_tests or {},
        tuple(composites),
        reading.later,
    )


def _concerns(one: Exclusion, objectives: Sequence[Objective]) -> bool:
    return not one.slos or any(objective.name in one.slos for objective in objectives)


def _of_journeys(decisions: Sequence[Event], journeys: set[str]) -> list[Event]:
    """Return the recommendations of some journeys, with the answers to them."""
    ids = set()
    for one in decisions:
        try:
            named = json.loads(one.details.get("journeys", "[]"))
        except (ValueError, RecursionError):
            continue
        if isinstance(named, list) and journeys.intersection(map(str, named)):
            ids.add(one.details.get("id", ""))
    return [one for one in decisions if one.details.get("id", "") in ids]


def _promise(objective: Objective, reading: Reading, excluded: Sequence[Exclusion], at: int, window: int) -> Promise:
    counts = reading.by_slo.get(objective.name)
    if counts is None:
        return Promise(state_of(objective, None, excluded, at))
    # The same time as in `loadgen slo status`, so that both have the same usual volume of missing hours.
    state = state_of(objective, counts.chosen(counts.start >= at - window), excluded, at)
    mask = is_excluded(objective.name, counts.start, counts.width, excluded)
    try:
        units = None if objective.why_not_judged else judged_units(objective, counts, excluded)
    except ValueError:
        units = None  # the state has the reason
    return Promise(state, units, counts, mask, tuple(one.name for one in reading.revisions))


def _sources_in(reading: Reading) -> dict[str, int]:
    found: dict[str, int] = {}
    for counts in reading.by_slo.values():
        end = counts.start + counts.width
        for number in np.unique(counts.revision).tolist():
            source = reading.revisions[number].source
            found[source] = max(found.get(source, 0), int(end[counts.revision == number].max()))
    return dict(sorted(found.items()))


def _until(found: Iterable[T], time: Callable[[T], str], as_of: datetime, what: str, bad: list[str]) -> list[T]:
    """Return those that were recorded until a time. One without a readable time is left out, with a sentence."""
    kept = []
    for one in found:
        try:
            if time_of(time(one)) <= as_of:
                kept.append(one)
        except ValueError:
            bad.append(f'{what} in the history has an invalid time "{one_line(time(one), 40)}"')
    return kept


# -- runs -----------------------------------------------------------------------------------------


def _runs_of(
    store: Store, period: Period, at: int, as_of: datetime, bad: list[str]
) -> tuple[tuple[Accepted, ...], tuple[tuple[Reference, tuple[Accepted, ...]], ...]]:
    """Return the runs until the end of the page's time, and the pinned releases with theirs."""
    acceptances = store.events(ACCEPTED, IN_SPITE)
    events = _until(acceptances, lambda one: one.at, as_of, "an acceptance", bad)
    # A run without an event, whose writer stopped in between, counts from its start on.
    later = {run_id for event in acceptances for run_id in event.run_ids}
    later -= {run_id for event in events for run_id in event.run_ids}
    struck = {
        run_id
        for event in _until(store.events(STRUCK), lambda one: one.at, as_of, "a struck run", bad)
        for run_id in event.run_ids
    }
    pinned: dict[tuple[str, str], Event] = {}
    for event in _until(store.events(PINNED), lambda one: one.at, as_of, "a pinned release", bad):
        name = (event.details.get("key", ""), event.details.get("name", ""))
        pinned.pop(name, None)
        pinned[name] = event
    known = store.referred()
    since = datetime.fromtimestamp(min(period.start, period.end - RUN_WEEKS * _WEEK_S) - 86_400, UTC)
    first = since.strftime("%Y%m%d-%H%M%S")
    recent = [one for one in known if (found := _TIME.match(one)) is None or found[0] >= first]
    of_references = {run_id for event in pinned.values() for run_id in event.run_ids if run_id in known}
    ids = [one for one in sorted({*recent, *of_references}) if one not in later and one not in struck]
    runs = {run.run_id: run for run in _read(store, ids, bad)}
    start = min(period.start, period.end - RUN_WEEKS * _WEEK_S)
    inside = [run for run in _dated(runs.values(), bad) if start <= _started(run) < at]
    references = [
        (Reference(name, event.run_ids, event.at, event.by), tuple(runs[one] for one in event.run_ids if one in runs))
        for (_, name), event in pinned.items()
    ]
    return tuple(sorted(inside, key=lambda run: (run.started_at, run.run_id))), tuple(references)


def _read(store: Store, ids: Sequence[str], bad: list[str]) -> Iterator[Accepted]:
    there = set(store.run_ids())
    # A pinned run whose file somebody removed must not hide the others.
    bad += [f"the run {one_line(one, 60)} is pinned, but its file is missing" for one in ids if one not in there]
    yield from map(_slim, store.with_journeys(ids))


def _slim(run: Accepted) -> Accepted:
    """Return a run with p95 of its journeys only: a page shows nothing else, and 1,000 whole runs take 100 MB."""
    kept = tuple(
        one
        for one in run.figures
        if one.kind == "journey" and one.percentile == PERCENTILE and one.region == ALL and one.agent == ALL
    )
    return replace(run, figures=kept, errors=())


def _dated(runs: Iterable[Accepted], bad: list[str]) -> list[Accepted]:
    kept = []
    for run in runs:
        try:
            time_of(run.started_at)
        except ValueError:
            bad.append(f'the run {one_line(run.run_id, 60)} has an invalid time "{one_line(run.started_at, 40)}"')
        else:
            kept.append(run)
    return kept


def _started(run: Accepted) -> float:
    return time_of(run.started_at).timestamp()
