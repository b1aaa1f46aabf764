"""Asks the source of each promise once for its newest slices, and reports what it found. Nothing is stored.

Where a condition leaves load tests out, the source is asked again without it, if calls are left: the difference shows
whether the condition leaves anything out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from loadgen.programme.ledger.slices import DAY_S, sum_of
from loadgen.programme.load_tests.leave_out import ABSENT
from loadgen.programme.load_tests.said import load_tests_of
from loadgen.programme.promises.objectives import DataSource, Objective
from loadgen.programme.pulling.pull import Job, job_of, width_of
from loadgen.programme.pulling.source_kinds import KINDS
from loadgen.programme.pulling.source_settings import Source, source_of
from loadgen.programme.sources.asked import Asker
from loadgen.units import quantity

__all__ = ["SLICES", "Found", "asked_live", "jobs_with_load_tests", "live_jobs"]

SLICES: Final = 12
"""The newest slices that are asked for: an hour of 5 minutes each."""
_NO_CONDITION: Final = f"{ABSENT} asked without a condition"
_FILE_DAYS: Final = 366
"""Files are read as a whole; their counts may be older than an hour."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the source of one promise returned.

    source: its name, "" if there is none. is_reached: whether it answered without an error; None: it was not asked.
    slices: with counts, of `asked` slices. good, total: their sums. why: why it fails; () if it does not.
    """

    slo: str
    source: str = ""
    is_reached: bool | None = None
    slices: int = 0
    asked: int = 0
    good: int = 0
    total: int = 0
    estimated: bool = False
    calls: int = 0
    why: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: int | None = None
    """Requests that the condition on load tests leaves out; None: there is no condition, or it was not asked."""

    @property
    def text(self) -> str:
        """Return what was found as a sentence without a full stop."""
        if self.is_reached is None:
            return "was not asked"
        if not self.is_reached:
            return f"{self.source} did not answer"
        if not self.slices:
            return f"{self.source} answers, and has no counts"
        counts = f"{self.good:,} of {quantity(self.total, 'request')} {'was' if self.total == 1 else 'were'} good"
        of = f" of {self.asked}" if self.asked else ""
        return (
            f"{self.source} has {quantity(self.slices, 'slice')}{of}: {counts}{', estimated' if self.estimated else ''}"
        )

    def as_document(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return asdict(self) | {"why": list(self.why), "notes": list(self.notes)}


def live_jobs(
    objectives: Iterable[Objective], sources: Mapping[str, Source], data_sources: Sequence[DataSource], now: int
) -> list[Job]:
    """Return what is asked for each objective: its newest whole slices. now: Unix time, s."""
    found = []
    for one in objectives:
        source = source_of(one.sources[0], sources, data_sources) if len(one.sources) == 1 else ""
        width, start = width_of(one), now - _FILE_DAYS * DAY_S
        if isinstance(source, Source) and not (kind := KINDS[source.kind]).is_file:
            start = (now - kind.delay_s) // width * width - SLICES * width
        found.append(job_of(one, sources, data_sources, None, (start, now, now)))
    return found


def jobs_with_load_tests(
    objectives: Iterable[Objective], sources: Mapping[str, Source], data_sources: Sequence[DataSource], now: int
) -> dict[str, Job]:
    """Return the same requests without the condition on load tests, by the promises that have one."""
    known = load_tests_of(objectives, sources, data_sources)
    every = [replace(one, load_tests=_NO_CONDITION) for one in objectives if known[one.name].state == "left out"]
    return {one.slo: one for one in live_jobs(every, sources, data_sources, now) if not one.why}


def asked_live(
    jobs: Iterable[Job],
    open_source: Callable[[Source], Asker],
    calls_most: int,
    with_load_tests: Mapping[str, Job] | None = None,
) -> list[Found]:
    """Ask for all jobs, one after another, until `calls_most` calls were sent.

    with_load_tests: as of `jobs_with_load_tests`; they are asked last, as far as calls are left.

    Raises:
        UsageError: a source cannot be opened, or a package is missing.
    """
    askers: dict[str, Asker] = {}
    found: list[Found] = []
    for job in jobs:
        calls = sum(one.calls for one in found)
        name = "" if job.source is None else job.source.name
        if job.source is None or job.why:
            found.append(Found(job.slo, name, why=(job.why,)))
        elif calls + job.calls > calls_most:
            sent = f"{quantity(calls, 'call')} {'was' if calls == 1 else 'were'} sent"
            why = f"{sent}, and it needs {job.calls} more: raise the limit of {calls_most}"
            found.append(Found(job.slo, name, why=(why,)))
        else:
            if (asker := askers.get(name)) is None:
                asker = askers[name] = open_source(job.source)
            found.append(_found(job, name, asker))
    for n, one in enumerate(found):
        again = (with_load_tests or {}).get(one.slo)
        if again is None or one.why or sum(each.calls for each in found) + again.calls > calls_most:
            continue
        found[n] = _compared(one, _found(again, one.source, askers[one.source]))
    return found


def _compared(one: Found, every: Found) -> Found:
    """Return what was found with a note on what the condition leaves out. every: the same without the condition."""
    calls = one.calls + every.calls
    if every.why or every.total < one.total:
        return replace(one, calls=calls)
    left_out = every.total - one.total
    note = f"load_tests leaves {left_out:,} of {quantity(every.total, 'request')} out"
    if not left_out:
        note = "load_tests leaves nothing out: no load test ran in this time, or its requests do not have the mark"
    return replace(one, calls=calls, notes=(*one.notes, note), left_out=left_out)


def _found(job: Job, name: str, asker: Asker) -> Found:
    answers = [asker.pull(one) for one in job.asked]
    slices = [slice_ for one in answers for slice_ in one.slices if slice_.missing_s < slice_.width]
    counts = sum_of(slices)
    why = [str(fault) for one in answers for fault in one.faults]
    if not slices and not why:
        why.append("no slice has counts")
    return Found(
        job.slo,
        name,
        any(one.has_answered for one in answers),
        len(slices),
        0 if job.is_file else sum(len(one.edges) - 1 for one in job.asked),
        counts.good,
        counts.total,
        counts.estimated > 0,
        sum(one.calls for one in answers),
        tuple(dict.fromkeys(why)),
        tuple(dict.fromkeys(note for one in answers for note in one.notes)),
    )
