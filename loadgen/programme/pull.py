"""Pulls counts of production into the ledger: plans which slices are needed, and asks their sources. No clock.

A pull is idempotent. Slices that the ledger has are not asked for again, except the newest ones, which may still change
(`Source.late_s`). So a pull that was interrupted goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Final, Protocol

from loadgen.outside_text import one_line
from loadgen.programme.ledger import Counts, Ledger
from loadgen.programme.ledger_file import Revision
from loadgen.programme.objectives import DataSource, Objective, Query, RatioIndicator
from loadgen.programme.slices import DEFAULT_WIDTH_S, Slice
from loadgen.programme.source_settings import Source, source_of
from loadgen.programme.sources.asked import Asked, NoCounts, selector_in
from loadgen.programme.sources.csv_counts import parse_csv
from loadgen.programme.sources.prometheus import CALLS_EACH, Pulled
from loadgen.programme.sources.prometheus_answers import POINTS_MOST

__all__ = ["Done", "Job", "Planned", "planned", "pulled", "width_of"]

_DELAY_S: Final = 30
"""The newest counts of a Prometheus server are not asked for: scrapes take a while."""
_CSV_BYTES_MOST: Final = 1 << 30
_COUNTERS: Final = ("_total", "_count", "_bucket", "_sum")


@dataclass(frozen=True, slots=True)
class Job:
    """The requests for one objective. why: not empty if nothing is asked, and the slices are missing.

    is_known: whether the ledger has all of it already.
    """

    slo: str
    source: Source | None = None
    asked: tuple[Asked, ...] = ()
    why: str = ""
    is_known: bool = False

    @property
    def calls(self) -> int:
        """Return the number of calls, without those for restarts and gaps."""
        return CALLS_EACH * len(self.asked) if self.source is not None and self.source.kind == "prometheus" else 0

    @property
    def points(self) -> int:
        """Return the points of each series in the answers."""
        return sum(len(one.edges) for one in self.asked)


@dataclass(frozen=True, slots=True)
class Planned:
    """A whole pull. start, end: Unix time, s."""

    start: int
    end: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a pull for one objective. slices: those that were read. faults: why counts are missing."""

    slo: str
    slices: int = 0
    partial: int = 0
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0


class Asker(Protocol):
    """A source with calls."""

    def pull(self, asked: Asked) -> Pulled:
        """Return the slices that were asked for."""


def width_of(objective: Objective) -> int:
    """Return the width of its slices, s: 5 minutes, or a part of its own slices."""
    return gcd(DEFAULT_WIDTH_S, objective.slice_s) if objective.slice_s else DEFAULT_WIDTH_S


def planned(
    objectives: Iterable[Objective],
    sources: Mapping[str, Source],
    data_sources: Sequence[DataSource],
    ledger: Ledger,
    start: int,
    end: int,
    now: int,
) -> Planned:
    """Return what has to be asked so that the ledger has all slices in [start, end). Reads the ledger, asks no source.

    now: Unix time, s.

    Raises:
        StorageError, CloudError: the ledger cannot be read.
    """
    found = list(objectives)
    known = ledger.read(start, end, slos=[one.name for one in found]).by_slo
    jobs = tuple(_job(one, sources, data_sources, known.get(one.name), (start, end, now)) for one in found)
    return Planned(start, end, jobs)


def pulled(
    plan: Planned, ledger: Ledger, open_source: Callable[[Source], Asker], because: str = ""
) -> tuple[list[Done], list[Revision]]:
    """Ask all sources, write what they answer, and return what was done and the new revisions.

    After an interrupt, the answers so far are written.

    Raises:
        UsageError, StorageError, CloudError: the ledger cannot be written, or a file cannot be read.
    """
    done: list[Done] = []
    revisions: list[Revision] = []
    read: dict[str, list[Slice]] = {}
    askers: dict[str, Asker] = {}
    try:
        for job in plan.jobs:
            if job.source is None or job.why:
                done.append(Done(job.slo, faults=(job.why,)))
            elif job.source.kind == "csv":
                done.append(Done(job.slo))
            else:
                asker = askers.setdefault(job.source.name, open_source(job.source))
                answers = [asker.pull(one) for one in job.asked]
                done.append(_done(job.slo, answers))
                read.setdefault(job.source.name, []).extend(s for one in answers for s in one.slices)
        for source in {job.source.name: job.source for job in plan.jobs if job.source is not None}.values():
            if source.kind == "csv":
                _read_csv(source, plan, done, read)
    finally:
        for name, slices in read.items():
            revisions += ledger.write(name, slices, because)
    return done, revisions


def _done(slo: str, answers: Sequence[Pulled]) -> Done:
    return Done(
        slo,
        sum(len(one.slices) for one in answers),
        sum(not each.is_whole for one in answers for each in one.slices),
        tuple(str(fault) for one in answers for fault in one.faults),
        tuple(dict.fromkeys(note for one in answers for note in one.notes)),
        sum(one.calls for one in answers),
    )


def _job(
    objective: Objective,
    sources: Mapping[str, Source],
    data_sources: Sequence[DataSource],
    known: Counts | None,
    times: tuple[int, int, int],
) -> Job:
    name = objective.name
    if objective.why_not_judged:
        return Job(name, why=f"not judged: {objective.why_not_judged}")
    if len(objective.sources) != 1:
        count = len(objective.sources)
        return Job(name, why=f"it names {count} sources: write the annotation loadgen.dev/source with one of them")
    source = source_of(objective.sources[0], sources, data_sources)
    if isinstance(source, str):
        return Job(name, why=source)
    if source.kind == "csv":
        return Job(name, source)
    indicator = objective.indicator
    if not isinstance(indicator, RatioIndicator):
        return Job(name, why="its indicator has no counts of good and all requests: write a ratioMetric")
    try:
        total = _selector(indicator.total, is_counter=indicator.counter)
        good, bad = (
            "" if one is None else _selector(one, is_counter=indicator.counter)
            for one in (indicator.good, indicator.bad)
        )
    except ValueError as error:
        return Job(name, source, why=str(error))
    width = width_of(objective)
    start, end, now = times
    first, last = _needed(known, width, start, min(end, now - _DELAY_S), now - source.late_s)
    if first >= last:
        return Job(name, source, is_known=True)
    longest = (POINTS_MOST - 1) * width
    asked = tuple(
        Asked(name, total, good, bad, at, min(last, at + longest), width) for at in range(first, last, longest)
    )
    return Job(name, source, asked)


def _selector(query: Query, *, is_counter: bool) -> str:
    found = selector_in(query.text)
    is_rated = any(word in query.text for word in ("rate(", "increase(", "rate (", "increase ("))
    if not (is_counter or is_rated or found.partition("{")[0].endswith(_COUNTERS)):
        raise ValueError(
            f"{one_line(found, 120)} is not known to be a counter: write counter: true in the ratioMetric, if it is"
        )
    return found


def _needed(known: Counts | None, width: int, start: int, end: int, settled: int) -> tuple[int, int]:
    """Return the time that is asked for, from the first slice that the ledger lacks; empty if it lacks none.

    settled: slices that end until then do not change any more.
    """
    edges = range(-(-start // width) * width, end - width + 1, width)
    if not edges:
        return 0, 0
    have = set() if known is None else set(known.start[known.width == width].tolist())
    lacking = [at for at in edges if at not in have or at + width > settled]
    return (lacking[0], lacking[-1] + width) if lacking else (0, 0)


def _read_csv(source: Source, plan: Planned, done: list[Done], read: dict[str, list[Slice]]) -> None:
    """Read the file of a source, and keep the slices of its objectives in the time of the plan."""
    names = {job.slo for job in plan.jobs if job.source == source}
    path = Path(source.file)
    shown = one_line(str(path), 120)
    faults: tuple[NoCounts, ...] = ()
    notes: tuple[str, ...] = ()
    slices: list[Slice] = []
    try:
        if path.stat().st_size > _CSV_BYTES_MOST:
            faults = (NoCounts(f"{shown}: more than {_CSV_BYTES_MOST >> 30} GiB; split the file by time"),)
        else:
            found = parse_csv(path.read_bytes(), DEFAULT_WIDTH_S, shown, takes_gaps=source.takes_gaps)
            faults, notes = found.faults, found.gaps
            if found.rows is not None:
                wanted = found.rows.within(plan.start, plan.end)
                slices = [one for one in wanted.slices() if one.slo in names]
    except OSError as exc:
        faults = (NoCounts(f"{shown}: cannot be read: {exc.strerror}"),)
    read.setdefault(source.name, []).extend(slices)
    for n, one in enumerate(done):
        if one.slo in names:
            count = sum(each.slo == one.slo for each in slices)
            why = tuple(str(fault) for fault in faults)
            if not why and not count:
                why = (f"{shown} has no rows of it in this time",)
            mine = tuple(note for note in notes if note.startswith(f"{one_line(one.slo, 80)}: "))
            done[n] = Done(one.slo, count, 0, why, mine)
