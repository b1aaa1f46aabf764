"""Sentences on whether the counts of a promise contain load tests. Pure.

A setting changes only queries that are sent from then on. So counts that the ledger had before are looked at by their
evidence, which has the query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from loadgen.outside_text import one_line
from loadgen.programme.ledger.ledger import Counts
from loadgen.programme.load_tests.leave_out import condition_of, marks_of, reason_of
from loadgen.programme.promises.objectives import DataSource, Objective
from loadgen.programme.pulling.source_settings import Source, source_of
from loadgen.units import quantity

__all__ = ["LoadTests", "load_tests_of", "older_slices", "older_text"]

_CUT: Final = 395
"""Evidence of this length may have been cut off, so that a missing condition shows nothing."""


@dataclass(frozen=True, slots=True)
class LoadTests:
    """How load tests are left out of the counts of a promise.

    state: "left out": loadgen adds `text`, a condition, to each query. "absent": the team states it, with `text` as the
    reason, and loadgen adds nothing. "unknown": nothing is set, and `text` is what to do.
    marks: texts that are in the stored query of a slice (its evidence) if that query had the condition.
    """

    state: Literal["left out", "absent", "unknown"]
    text: str
    marks: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """Return the state and its text as one sentence without a full stop."""
        if self.state == "left out":
            return f"load tests are left out: each query has {self.text}"
        if self.state == "absent":
            return f"no load tests are in the counts, as the team states: {self.text}"
        return f"load tests are not known to be left out, so they may spend this error budget; {self.text}"


def load_tests_of(
    objectives: Iterable[Objective], sources: Mapping[str, Source], data_sources: Iterable[DataSource]
) -> dict[str, LoadTests]:
    """Return how load tests are left out, by the name of a promise. Its annotation goes before that of its source."""
    known = list(data_sources)
    return {one.name: _of(one, sources, known) for one in objectives}


def older_slices(one: LoadTests, counts: Counts | None, start: float, end: float) -> int:
    """Return how many slices in [start, end) were counted by a query without the condition. Times are Unix times, s."""
    if not one.marks or counts is None:
        return 0
    codes, texts = counts.evidence
    without = [n for n, text in enumerate(texts) if len(text) < _CUT and not all(mark in text for mark in one.marks)]
    inside = (counts.start >= start) & (counts.start < end)
    return int((inside & np.isin(codes, without)).sum())


def _of(one: Objective, sources: Mapping[str, Source], data_sources: list[DataSource]) -> LoadTests:
    names = one.sources
    source = source_of(names[0], sources, data_sources) if len(names) == 1 else "it names no source, or several"
    given = one.load_tests or ("" if isinstance(source, str) else source.load_tests)
    if reason := reason_of(given):
        return LoadTests("absent", one_line(reason, 200))
    condition = condition_of(given)
    if isinstance(source, str):
        return LoadTests("unknown", "name its source, and write load_tests there")
    if not condition:
        name = one_line(source.name, 60)
        return LoadTests("unknown", f"write load_tests into [sources.{name}] of programme.toml")
    try:
        marks = marks_of(source.kind, condition)
    except ValueError as error:
        return LoadTests("unknown", one_line(str(error), 200))
    if source.kind in ("csv", "parquet"):
        return LoadTests("unknown", "a file has counts already: write absent: REASON if it has none")
    return LoadTests("left out", one_line(condition, 120), marks)


def older_text(count: int) -> str:
    """Return a note on slices that were counted before a condition was set; "" if there are none."""
    if not count:
        return ""
    were = "was" if count == 1 else "were"
    return f"{quantity(count, 'slice')} of the window {were} counted before this was set"
