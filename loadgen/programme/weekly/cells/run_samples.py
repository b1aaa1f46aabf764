"""The newest run of the page's time for each promise: its good share, as a sample, beside production's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isnan

from loadgen.history.store.stored_run import Accepted, SloCounts
from loadgen.outside_text import one_line
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.runs.sample_text import STRICTER, figure_text
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import percent
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Said

__all__ = ["samples_said"]


def samples_said(
    promises: Iterable[tuple[Promise, tuple[str, ...]]], gathered: Gathered, book: EvidenceBook
) -> Iterator[Said]:
    """Yield a sentence for each promise for which a run of the page's time has a sample.

    promises: each with the evidence of its attainment in production.
    """
    for promise, ids in promises:
        found = _newest(promise, gathered)
        if found is not None:
            id_, text = _added(promise, *found, book)
            yield Said(f"{text}.", "open" if found[1].state == "not kept" else "plain", (id_, *ids), "", "run sample")


def _newest(promise: Promise, gathered: Gathered) -> tuple[Accepted, SloCounts] | None:
    for run in reversed(gathered.runs):
        if time_of(run.started_at).timestamp() < gathered.period.start:
            return None
        for one in run.slos:
            if one.slo == promise.objective.name and one.total:
                return run, one
    return None


def _added(promise: Promise, run: Accepted, one: SloCounts, book: EvidenceBook) -> tuple[str, str]:
    objective = promise.objective
    interval = None if isnan(one.low) or isnan(one.high) else (one.low, one.high)
    text = f"{one_line(one.slo, 63)} in the run {one_line(run.run_id, 60)}, under a load that we chose:"
    text += f" {figure_text(one.bad, one.total, interval, objective.target)} against {percent(objective)};"
    text += f" production: {promise.state.figure or promise.state.word}; {STRICTER}"
    id_ = book.add(
        "runs",
        text,
        f"good = total - bad = {one.total} - {one.bad} = {one.total - one.bad}; the interval is that of 5 batches of"
        " whole seconds, with their design effect",
        (("promise", one.slo), ("bad", str(one.bad)), ("total", str(one.total)), ("state", one.state)),
        run_ids=(run.run_id,),
        see=f"loadgen slo status --run {run.run_id} --explain",
    )
    return id_, text
