"""Pulls counts of production into the ledger: plans which slices are needed, and asks their sources. No clock.

A pull is idempotent. Slices that the ledger has are not asked for again, except the newest ones, which may still change
(`Source.late_s`). So a pull that was interrupted goes on where it ended. Nothing is written for a time that the ledger
has from another source (`docs/decisions/168-a-renamed-source-fills-only-gaps.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.outside_text import one_line
from loadgen.programme.estimates.stated_error import lacks_error, with_stated_error
from loadgen.programme.ledger.ledger import Counts, Ledger
from loadgen.programme.ledger.ledger_file import Revision
from loadgen.programme.ledger.slices import DAY_S, DEFAULT_WIDTH_S, Slice
from loadgen.programme.programme_toml import FILE_NAME
from loadgen.programme.promises.objectives import DataSource, Objective
from loadgen.programme.pulling.source_kinds import KINDS, Kind
from loadgen.programme.pulling.source_settings import Source, source_of
from loadgen.programme.sources.asked import Asked, Asker, Pulled
from loadgen.units import quantity

__all__ = ["Done", "Job", "Planned", "Taken", "job_of", "more_calls", "planned", "pulled", "width_of"]

_MARGIN_S: Final = 3_600
"""Points that will be gone within an hour are not asked for."""
_STATE_IT: Final = 'write sampled = "10 %" or error = "0.2 %"'
_MOST_NAMED: Final = 5
"""Sources that a message names."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Slices that the ledger has from other sources, as after a source got another name. Unix times in s, sorted.

    Slices of two sources at the same time would count twice, and the promise could not be judged.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    sources: tuple[str, ...]

    @classmethod
    def of(cls, known: Counts | None, revisions: Sequence[Revision], source: Source | None) -> Taken | None:
        """Return the known slices of other sources than this one; None without any."""
        if known is None or source is None:
            return None
        sources = [one.source for one in revisions]
        is_other = np.array([one != source.name for one in sources], np.bool_)[known.revision]
        if not is_other.any():
            return None
        names = {sources[n] for n in np.unique(known.revision[is_other]).tolist()}
        start, width = known.start[is_other], known.width[is_other]
        return cls(start, np.maximum.accumulate(start + width), tuple(sorted(names)))

    def left_out(self, answer: Pulled) -> Pulled:
        """Return an answer without the slices at these times, and with a note about them."""
        starts = np.array([one.start for one in answer.slices], np.int64)
        ends = np.array([one.end for one in answer.slices], np.int64)
        before = np.searchsorted(self.start, ends) - 1
        is_taken = (before >= 0) & (self.end[before] > starts)
        count = int(is_taken.sum())
        if not count:
            return answer
        names = " and ".join(self.sources)
        note = f"{quantity(count, 'slice')} left out: the ledger has this time from the source {names}"
        kept = tuple(one for one, taken in zip(answer.slices, is_taken.tolist(), strict=True) if not taken)
        return replace(answer, slices=kept, notes=(*answer.notes, note))


@dataclass(frozen=True, slots=True)
class Job:
    """The requests for one objective. why: not empty if nothing is asked, and the slices are missing.

    is_known: whether the ledger has all of it already. gone: why the oldest slices cannot be asked for any more.
    wanted: slices in the time of the pull, of which the ledger has `stored`, and of these `unsettled` may still change.
    """

    slo: str
    source: Source | None = None
    asked: tuple[Asked, ...] = ()
    why: str = ""
    is_known: bool = False
    gone: str = ""
    wanted: int = 0
    stored: int = 0
    unsettled: int = 0
    taken: Taken | None = None
    """Slices that the ledger has from other sources, and that this source must not write again."""

    @property
    def calls(self) -> int:
        """Return the number of calls, without those for restarts, gaps and further pages."""
        return 0 if self.source is None else KINDS[self.source.kind].calls_each * len(self.asked)

    @property
    def points(self) -> int:
        """Return the points of each series in the answers."""
        return 0 if self.is_file else sum(len(one.edges) for one in self.asked)

    @property
    def is_file(self) -> bool:
        """Return whether its source is a file, which is read as a whole."""
        return self.source is not None and KINDS[self.source.kind].is_file


@dataclass(frozen=True, slots=True)
class Planned:
    """A whole pull. start, end: Unix time, s.

    unreadable: a sentence for each file of the ledger in this time that is left out. Its slices are asked for again.
    """

    start: int
    end: int
    jobs: tuple[Job, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a pull for one objective. slices: those that were read. faults: why counts are missing."""

    slo: str
    slices: int = 0
    partial: int = 0
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0


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
    reading = ledger.read(start, end, slos=[one.name for one in found])
    known = reading.by_slo
    jobs = tuple(job_of(one, sources, data_sources, known.get(one.name), (start, end, now)) for one in found)
    jobs = tuple(replace(job, taken=Taken.of(known.get(job.slo), reading.revisions, job.source)) for job in jobs)
    return Planned(start, end, jobs, reading.unreadable)


def more_calls(plan: Planned) -> str:
    """Return which calls a pull may need beyond its plan, for people; "" if none."""
    kinds = dict.fromkeys(job.source.kind for job in plan.jobs if job.source is not None and job.asked)
    return ", and ".join(KINDS[kind].more for kind in kinds if KINDS[kind].more)


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
                continue
            asker = askers.get(job.source.name)
            if asker is None:
                asker = askers[job.source.name] = open_source(job.source)
            answers = [_with_error(asker.pull(one), job.source) for one in job.asked]
            if job.taken is not None:
                answers = [job.taken.left_out(one) for one in answers]
            done.append(_done(job, answers))
            read.setdefault(job.source.name, []).extend(s for one in answers for s in one.slices)
    finally:
        for name, slices in read.items():
            revisions += ledger.write(name, slices, because)
    return done, revisions


def _with_error(answer: Pulled, source: Source) -> Pulled:
    slices = tuple(with_stated_error(answer.slices, source))
    notes = answer.notes
    if vague := sum(one.estimated and one.bounds is None and one.total > 0 for one in slices):
        notes += (f"{quantity(vague, 'slice')} estimated with an unknown error: {_STATE_IT} at the source",)
    return replace(answer, slices=slices, notes=notes)


def _done(job: Job, answers: Sequence[Pulled]) -> Done:
    gone = (job.gone,) if job.gone else ()
    return Done(
        job.slo,
        sum(len(one.slices) for one in answers),
        sum(not each.is_whole for one in answers for each in one.slices),
        (*gone, *dict.fromkeys(str(fault) for one in answers for fault in one.faults)),
        tuple(dict.fromkeys(note for one in answers for note in one.notes)),
        sum(one.calls for one in answers),
    )


def job_of(
    objective: Objective,
    sources: Mapping[str, Source],
    data_sources: Sequence[DataSource],
    known: Counts | None,
    times: tuple[int, int, int],
) -> Job:
    """Return the requests for one objective. times: start, end and now, Unix time in s. known: what the ledger has."""
    name = objective.name
    if objective.why_not_judged:
        return Job(name, why=f"not judged: {objective.why_not_judged}")
    if len(objective.sources) != 1:
        return Job(name, why=_not_one_source(objective, [*sources, *(one.name for one in data_sources)]))
    source = source_of(objective.sources[0], sources, data_sources)
    if isinstance(source, str):
        return Job(name, why=source)
    kind, width = KINDS[source.kind], width_of(objective)
    try:
        queries = kind.queries(objective, source, width)
    except ValueError as error:
        return Job(name, source, why=str(error))
    start, end, now = times
    if kind.is_file:
        return Job(name, source, (Asked(name, "", "", "", start, end, width),))
    is_bracketed = kind.is_bracketed(queries.good or queries.bad)
    vague = frozenset(known.start[lacks_error(known, source, is_bracketed=is_bracketed)].tolist() if known else ())
    first, last, figures = _needed(known, width, start, min(end, now - kind.delay_s), now - source.late_s, vague)
    first, gone = _still_kept(kind, first, last, width, now)
    if first >= last:
        return Job(name, source, (), gone, not gone, "", *figures)
    longest = kind.slices_each * width
    asked = tuple(
        Asked(name, queries.total, queries.good, queries.bad, at, min(last, at + longest), width, queries.theirs)
        for at in range(first, last, longest)
    )
    return Job(name, source, asked, "", False, gone, *figures)


def _not_one_source(objective: Objective, known: Iterable[str]) -> str:
    """Return why no source is asked for an objective that names none or several. known: the sources that there are."""
    if named := objective.sources:
        names = ", ".join(one_line(one, 60) for one in named[:_MOST_NAMED])
        return f"it names {len(named)} sources ({names}): write the annotation loadgen.dev/source with one of them"
    if any(query.type.lower() == "any" for query in objective.queries):
        return "its metricSource has the type Any, so no source can be asked: name one"
    names = ", ".join(sorted({one_line(one, 60) for one in known})[:_MOST_NAMED])
    which = f"NAME is one of {names}" if names else f"write [sources.NAME] in {FILE_NAME}"
    return f"it names no source: write the annotation loadgen.dev/source: NAME; {which}"


def _still_kept(kind: Kind, first: int, last: int, width: int, now: int) -> tuple[int, str]:
    """Return the first slice that the source still has, and why older ones are missing."""
    kept = kind.keeps_s(width)
    oldest = -(-(now - kept + _MARGIN_S) // width) * width
    if not kept or first >= min(oldest, last):
        return first, ""
    days = quantity(kept // DAY_S, "day") if kept >= DAY_S else quantity(kept // 3_600, "hour")
    count = (min(oldest, last) - first) // width
    return oldest, f"{quantity(count, 'slice')} too old: the source keeps slices of {width} s for {days}"


def _needed(
    known: Counts | None, width: int, start: int, end: int, settled: int, vague: Set[int]
) -> tuple[int, int, tuple[int, int, int]]:
    """Return the time that is asked for, from the first slice that the ledger lacks; empty if it lacks none.

    Third, the numbers of slices that are wanted, that the ledger has, and that it has and may still change.

    settled: slices that end until then do not change any more. vague: the starts of known slices to read again.
    """
    edges = range(-(-start // width) * width, end - width + 1, width)
    if not edges:
        return 0, 0, (0, 0, 0)
    have = set() if known is None else set(known.start[known.width == width].tolist())
    stored = [at for at in edges if at in have]
    may_change = {at for at in stored if at + width > settled or at in vague}
    figures = len(edges), len(stored), len(may_change)
    lacking = [at for at in edges if at not in have or at in may_change]
    return (lacking[0], lacking[-1] + width, figures) if lacking else (0, 0, figures)
