"""The lines of the answer: candidates with kind, attributes and beginning, pairs, and paths that are no candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

import numpy as np

from loadgen.analysis.attribute_tests import differing
from loadgen.analysis.resample import interval
from loadgen.analysis.slow_requests.effects import Compared, percentile_without, without_both
from loadgen.analysis.slow_requests.figures import Figures
from loadgen.analysis.slow_requests.since_when import since
from loadgen.traces.causes import AttributeLine, Cause, Causes, Kind, Pair, PathLine
from loadgen.traces.model import Path
from loadgen.traces.own_times import OTHERS, Added
from loadgen.traces.pauses import Pauses
from loadgen.traces.timed import OUR_SIDE, WIRE
from loadgen.traces.trace_attributes import attributes_along

__all__ = ["candidate", "explained", "pairs", "unexplained"]

_UNEXPLAINED: Final = 5
_PAIRED: Final = 4
_MUCH_BETTER: Final = 0.5
_LEAST_SAVED: Final = 0.1
_MOSTLY: Final = 0.6
_ATTRIBUTES: Final = 8


def candidate(causes: Causes, answer: Figures, index: int, clear: Sequence[int], share: float, whole: float) -> Cause:
    compared, figures = answer.compared, answer.added
    column = answer.lowered.columns[index]
    line = answer.line(column)
    still = float(answer.still_over[index]) if np.isfinite(answer.still_over[index]) else 0.0
    low, high = interval(still, answer.draws.still_over[:, index], answer.blocks.count)
    pauses = _pauses_at(compared, line.path)
    has = compared.times.own_ns[:, column] > 0
    return Cause(
        path=line.path,
        kind=_kind(compared, figures, column),
        added_ns=line.added_ns,
        added_interval_ns=line.added_interval_ns,
        share=line.added_ns / whole if whole else 0.0,
        more_calls_ns=float(figures.more_calls_ns[column]),
        slower_calls_ns=float(figures.slower_calls_ns[column]),
        slow_calls=float(figures.slow_calls[column]),
        fast_calls=float(figures.fast_calls[column]),
        without_share_over=share * still,
        without_share_interval=(share * max(0.0, low), share * min(1.0, high)),
        without_percentile_ns=percentile_without(compared, (column,), causes.objective.percentile),
        stays_first=answer.stays_first(index, clear),
        n_slow=int((has & (compared.slow > 0)).sum()),
        n_fast=int((has & (compared.fast > 0)).sum()),
        pauses=len(pauses.periods_ns) if pauses else 0,
        pause_ns=pauses.median_ns if pauses else 0,
    )


def explained(
    answer: Figures, lines: Sequence[Cause], columns: Sequence[int]
) -> tuple[list[Cause], tuple[tuple[str, str], ...]]:
    """Return the lines with their attributes and the beginning of the rise, and keys that are nearly unique."""
    compared = answer.compared
    rows = np.flatnonzero((compared.slow > 0) | (compared.fast > 0)).tolist()
    weights = (compared.slow + compared.fast)[rows]
    of_series = compared.base > 0
    due = np.array([one.observed.at_s for one in compared.traces])
    explained, unique = [], set()
    for line, column in zip(lines, columns, strict=False):
        pauses = _pauses_at(compared, line.path)
        service = pauses.instance.service if pauses else ""
        traces = [attributes_along(compared.traces[n], compared.traces[n].timeline, line.path, service) for n in rows]
        found = differing(traces, compared.slow[rows] > 0, weights)
        unique |= set(found.unique)
        begin = since(due[of_series], compared.times.own_ns[of_series, column], compared.base[of_series])
        attributes = tuple(
            AttributeLine(
                where=one.key[0],
                key=one.key[1],
                value=one.value,
                slow=one.slow,
                fast=one.fast,
                n_slow=one.n_slow,
                n_fast=one.n_fast,
                q=one.q,
                together=tuple((key[0], key[1], value) for key, value in one.together),
            )
            for one in found.lines[:_ATTRIBUTES]
        )
        at_s, error_s = begin or (None, None)
        explained.append(replace(line, attributes=attributes, since_s=at_s, since_error_s=error_s))
    return explained, tuple(sorted(unique))


def unexplained(answer: Figures, explained: Sequence[int]) -> tuple[PathLine, ...]:
    """Return the paths that are no candidates: the largest ones, and the sum of the others as one line."""
    own = answer.added.own_ns
    rest = [int(n) for n in np.argsort(-np.abs(own), kind="stable") if n not in set(explained)]
    lines = [answer.line(n) for n in rest[:_UNEXPLAINED]]
    if others := rest[_UNEXPLAINED:]:
        added_ns = float(own[others].sum())
        ends = interval(added_ns, answer.draws.added_ns[:, others].sum(axis=1), answer.blocks.count)
        lines.append(PathLine(OTHERS, added_ns, ends))
    return tuple(lines)


def pairs(causes: Causes, answer: Figures, clear: Sequence[int], share: float) -> tuple[Pair, ...]:
    """Return pairs of paths that bring far more slow requests below the threshold than either path alone."""
    compared = answer.compared
    over = float(compared.base[compared.is_over].sum())
    found = []
    for one, other in combinations(clear[:_PAIRED], 2):
        alone = min(answer.still_over[one], answer.still_over[other])
        columns = answer.lowered.columns[one], answer.lowered.columns[other]
        responses = without_both(compared, *columns) if over else compared.responses_ns
        still = float(compared.base[responses > compared.threshold_ns].sum()) / over if over else 1.0
        if still <= _MUCH_BETTER * alone and alone - still >= _LEAST_SAVED:
            paths = compared.times.paths[columns[0]], compared.times.paths[columns[1]]
            at_most = percentile_without(compared, columns, causes.objective.percentile)
            found.append(Pair(paths, share * still, at_most))
    return tuple(sorted(found, key=lambda pair: pair.without_share_over)[:1])


def _kind(compared: Compared, figures: Added, column: int) -> Kind:
    path = compared.times.paths[column]
    if path == WIRE:
        return "between client and server"
    if path == OUR_SIDE:
        return "our side"
    if _pauses_at(compared, path):
        return "pause"
    whole = figures.own_ns[column]
    if _retries(compared, path):
        return "retries"
    if figures.more_calls_ns[column] >= _MOSTLY * whole:
        return "more calls"
    if not compared.times.has_children[column]:
        return "slower calls"
    before, between = figures.before_ns[column], figures.between_ns[column]
    if _is_call(compared, path):
        return "between services"
    if before >= _MOSTLY * whole:
        return "own time before children"
    return "own time between children" if before + between >= _MOSTLY * whole else "slower calls"


def _is_call(compared: Compared, path: Path) -> bool:
    """Return whether a path is that of a client whose server has a span: its own time is network and queue."""
    spans = next((facts for one in compared.traces if path in one.paths and (facts := one.timeline.facts_at(path))), [])
    return any(facts.is_client for facts in spans)


def _retries(compared: Compared, path: Path) -> bool:
    """Return whether slow traces have failed calls of a path that fast ones do not have, and more calls for it."""
    figures = []
    for weights in (compared.slow, compared.fast):
        failed = calls = 0.0
        for n in np.flatnonzero(weights).tolist():
            spans = compared.traces[n].timeline.facts_at(path)
            calls += float(weights[n]) * len(spans)
            failed += float(weights[n]) * sum(facts.is_error for facts in spans)
        figures.append((failed / weights.sum(), calls / weights.sum()))
    (slow_failed, slow_calls), (fast_failed, fast_calls) = figures
    more = slow_failed - fast_failed
    return bool(more >= 0.5 and slow_calls - fast_calls >= 0.5 * more)


def _pauses_at(compared: Compared, path: Path) -> Pauses | None:
    return next((one for one in compared.pauses if one.instance.path == path), None)
