"""Judges objectives on probes from what the journal holds, at the end of a run or while it goes on. Pure.

Absence of evidence is never a pass: an objective is inconclusive if more than `MISSING_MOST` of the measured time has
no samples, unless missing samples cannot change the verdict: a maximum can only rise, and a minimum only fall. A window
that lacks samples for more than `MISSING_MOST` of its time is not judged. A percentile of a histogram is known only as
bounds. The objective passes if both bounds are within the limit, fails if both bounds are beyond the limit, and is
inconclusive otherwise. An upper bound that equals the limit is within it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

import msgspec

from loadgen.measure.objectives.terms import SloResult, SloVerdict
from loadgen.measure.objectives.words import span_text
from loadgen.outside_text import one_line
from loadgen.probes.limits.evidence import Piece, covered_ns, pieces_of
from loadgen.probes.limits.limit_text import number_text, with_unit
from loadgen.probes.limits.objective import ProbeObjective
from loadgen.probes.limits.row_names import keys_of
from loadgen.probes.points import bounds_of
from loadgen.probes.recorded import ProbeState, Recorded, between_text
from loadgen.probes.rows import Row
from loadgen.units import NS_PER_S, format_ratio, quantity

__all__ = ["MISSING_MOST", "Keeps", "judge_all", "judge_objective", "keeps_of", "not_read"]

MISSING_MOST: Final = 0.1
"""The most of the measured time, or of a window, that may be without samples."""
_STEPS: Final = 30
"""Windows begin at most this often in the length of one."""
_ROWS_MOST: Final = 50
"""The most rows that one objective judges, such as one for each instance."""


class Keeps(Protocol):
    """Returns whether the points of a row keep the buckets of their histograms."""

    def __call__(self, probe: str, key: str, /) -> bool: ...


def keeps_of(objectives: Iterable[ProbeObjective]) -> Keeps:
    """Return the `keeps` of `Recorded` for these objectives: rows of histograms whose percentile is judged."""
    judged = [(one.probe, one.row) for one in objectives if one.statistic == "percentile"]
    return lambda probe, key: any(probe == its and keys_of(row, [key]) for its, row in judged)


def judge_all(
    objectives: Iterable[ProbeObjective], recorded: Recorded, from_ns: int, end_ns: int, *, is_over: bool = True
) -> tuple[SloResult, ...]:
    """Judge all objectives over the measured time, in their order; see `judge_objective`."""
    return tuple(
        result for one in objectives for result in judge_objective(one, recorded, from_ns, end_ns, is_over=is_over)
    )


def judge_objective(
    objective: ProbeObjective,
    recorded: Recorded,
    from_ns: int,
    end_ns: int,
    *,
    is_over: bool = True,
    is_tail: bool = False,
) -> tuple[SloResult, ...]:
    """Judge one objective, and return a result for each row that it covers, such as one for each instance.

    Args:
        from_ns, end_ns: the measured time from T0, without the warm-up.
        is_over: False while the run goes on.
        is_tail: whether the time reaches to the newest samples, so that only these have to be looked at.
    """
    state = recorded.probes.get(objective.probe)
    if state is None or recorded.t0_ns is None or end_ns <= from_ns:
        return (not_read(objective, "the probe was not read"),)
    keys = keys_of(objective.row, (key for key, points in state.points.points.items() if points))
    if not keys:
        gaps = state.points.gaps
        why = f": {gaps[-1].why}" if gaps else ""
        return (not_read(objective, f"there are no samples of {objective.name}{why}"),)
    return tuple(
        _judge_row(
            objective,
            state,
            key,
            pieces_of(state, key, recorded.t0_ns, from_ns if is_tail else None),
            from_ns,
            end_ns,
            is_over,
        )
        for key in keys[:_ROWS_MOST]
    )


def not_read(objective: ProbeObjective, reason: str) -> SloResult:
    """Return the result of an objective without any data."""
    return SloResult(
        objective=objective.text,
        journey=None,
        observed=None,
        unit=_shown_unit(objective.bound.unit),
        count=0,
        good=0,
        verdict="inconclusive",
        probe=objective.name,
        reason=reason,
        detail=reason,
        window_s=objective.window_ns / NS_PER_S or None,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The judged value of a stretch of time, and the verdict that follows from it."""

    verdict: SloVerdict
    observed: float | str | None
    text: str
    """The value in words, such as "mean 41 % of 118 samples"."""
    away: float | None = None
    """(limit - value) / limit; negative on the wrong side."""
    reason: str = ""
    start_ns: int = 0


def _judge_row(
    objective: ProbeObjective,
    state: ProbeState,
    key: str,
    pieces: Sequence[Piece],
    from_ns: int,
    end_ns: int,
    is_over: bool,
) -> SloResult:
    row = state.points.rows[key]
    limit = objective.bound.in_unit(row.unit)
    if limit is None:
        bound = objective.bound.text
        return _result(objective, row, key, not_read(objective, f"{bound} is not in the unit of the row, {row.unit!r}"))
    if (row.kind == "histogram") != (objective.statistic == "percentile"):
        needed = "write .p(95)" if row.kind == "histogram" else "only a histogram has percentiles"
        why = f"the row is {'' if row.kind == 'histogram' else 'not '}a histogram: {needed}"
        return _result(objective, row, key, not_read(objective, why))
    if objective.window_ns:
        return _windowed(objective, row, key, limit, pieces, from_ns, end_ns, is_over)
    inside = [one for one in pieces if from_ns <= one.middle_ns < end_ns]
    missing = 1 - covered_ns((one for one in pieces if not _hides(objective, one)), from_ns, end_ns) / (
        end_ns - from_ns
    )
    found = _judged(objective, row, limit, inside, missing)
    values = [one.value for one in inside if one.value is not None]
    gap = f"; {format_ratio(missing)} of the time without samples" if missing > 0.005 else ""
    result = SloResult(
        objective=objective.text,
        journey=None,
        observed=found.observed,
        unit=_shown_unit(row.unit),
        count=len(inside),
        good=sum(objective.meets(value, limit) for value in values) if values else 0,
        verdict=found.verdict,
        margin=None if found.away is None else round(found.away, 4),
        limit=limit,
        reason=found.reason,
        detail=found.text + gap if found.text else found.reason,
    )
    return _result(objective, row, key, _with_sureness(objective, result))


def _hides(objective: ProbeObjective, piece: Piece) -> bool:
    """Return whether a piece does not show what the objective needs: the extremes within a long one are unknown."""
    return objective.is_extreme and piece.is_long


def _judged(objective: ProbeObjective, row: Row, limit: float, pieces: Sequence[Piece], missing: float) -> _Found:
    """Judge one stretch of time. missing: the share of it without samples."""
    if objective.statistic == "percentile":
        found = _percentile(objective, row, limit, pieces)
    elif objective.is_extreme:
        found = _extreme(objective, row, limit, pieces)
    else:
        found = _mean(objective, row, limit, pieces)
    if found.verdict == "inconclusive" or missing <= MISSING_MOST or _is_decided(objective, found):
        return found
    reason = (
        f"{format_ratio(missing)} of the time has no samples, and at most {format_ratio(MISSING_MOST)} may have none"
    )
    return _Found("inconclusive", found.observed, found.text, None, reason, found.start_ns)


def _is_decided(objective: ProbeObjective, found: _Found) -> bool:
    """Return whether missing samples cannot change the verdict: a maximum can only rise, and a minimum only fall."""
    if not objective.is_extreme:
        return False
    is_upper = objective.operator == "<"
    return found.verdict == ("failed" if is_upper == objective.takes_highest else "passed")


def _extreme(objective: ProbeObjective, row: Row, limit: float, pieces: Sequence[Piece]) -> _Found:
    values = [one.value for one in pieces if one.value is not None]
    if not values:
        return _nothing()
    value = max(values) if objective.takes_highest else min(values)
    word = "maximum" if objective.takes_highest else "minimum"
    return _of_value(objective, row, limit, value, f"{word} {{}} of {quantity(len(values), 'sample')}")


def _mean(objective: ProbeObjective, row: Row, limit: float, pieces: Sequence[Piece]) -> _Found:
    """Judge the mean. Values are weighted by time; shares by the increase of their denominator."""
    known = [(one.value, _weight(row, one)) for one in pieces if one.value is not None]
    total = sum(weight for _, weight in known)
    if not total:
        return _nothing()
    value = sum(value * weight for value, weight in known) / total
    return _of_value(objective, row, limit, value, f"mean {{}} of {quantity(len(known), 'sample')}")


def _weight(row: Row, piece: Piece) -> float:
    return float(piece.point.count or 0) if row.kind == "share" else float(piece.length_ns)


def _of_value(objective: ProbeObjective, row: Row, limit: float, value: float, text: str) -> _Found:
    verdict: SloVerdict = "passed" if objective.meets(value, limit) else "failed"
    away = None
    if limit:
        away = (limit - value) / abs(limit) * (1 if objective.operator == "<" else -1)
    shown = with_unit(number_text(value), row.unit)
    return _Found(verdict, float(f"{value:.6g}"), text.format(shown), away)


def _percentile(objective: ProbeObjective, row: Row, limit: float, pieces: Sequence[Piece]) -> _Found:
    kept = [one.point.buckets for one in pieces if one.point.buckets]
    if not kept:
        return _nothing()
    common = set.intersection(*(set(one) for one in kept))
    summed = {bound: sum(one[bound] for one in kept) for bound in sorted(common)}
    bounds = bounds_of(summed, objective.q) if inf in summed else None
    if bounds is None:
        return _nothing()
    low, high = bounds[0] * row.scale, bounds[1] * row.scale
    shown = between_text(low, high, row.unit)
    text = f"p{objective.q:g} {shown} of {quantity(round(summed[inf]), 'value')}"
    is_within = high <= limit if objective.operator == "<" else low >= limit
    is_beyond = low >= limit if objective.operator == "<" else high <= limit
    if is_within == is_beyond:
        reason = f"p{objective.q:g} is {shown}: the limit lies between the bounds of its bucket"
        return _Found("inconclusive", shown, text, None, reason)
    worst = high if objective.operator == "<" else low
    away = (
        (limit - worst) / abs(limit) * (1 if objective.operator == "<" else -1) if limit and abs(worst) < inf else None
    )
    return _Found("passed" if is_within else "failed", between_text(low, high, ""), text, away)


def _nothing() -> _Found:
    return _Found("inconclusive", None, "", None, "there are no values in the measured time")


# -- windows ---------------------------------------------------------------------------------------


def _windows(
    objective: ProbeObjective, row: Row, limit: float, pieces: Sequence[Piece], from_ns: int, end_ns: int
) -> Iterator[_Found | None]:
    """Yield what is found in each full window; None for one with too much missing time.

    A window begins every piece, but at most `_STEPS` times in the length of a window.
    """
    width_ns = objective.window_ns
    least_ns, first, before_ns = width_ns // _STEPS, 0, None
    for begin_ns in dict.fromkeys((from_ns, *(max(from_ns, one.start_ns) for one in pieces if one.end_ns > from_ns))):
        until_ns = begin_ns + width_ns
        if until_ns > end_ns:
            return
        if before_ns is not None and begin_ns - before_ns < least_ns:
            continue
        before_ns = begin_ns
        while first < len(pieces) and pieces[first].end_ns <= begin_ns:
            first += 1
        touching = []
        for one in pieces[first:]:
            if one.start_ns >= until_ns:
                break
            touching.append(one)
        missing = 1 - covered_ns(touching, begin_ns, until_ns) / width_ns
        if missing > MISSING_MOST:
            yield None
            continue
        inside = [one for one in touching if begin_ns <= one.middle_ns < until_ns]
        found = _judged(objective, row, limit, inside, missing)
        yield _Found(found.verdict, found.observed, found.text, found.away, found.reason, begin_ns)


def _windowed(
    objective: ProbeObjective,
    row: Row,
    key: str,
    limit: float,
    pieces: Sequence[Piece],
    from_ns: int,
    end_ns: int,
    is_over: bool,
) -> SloResult:
    seen = list(_windows(objective, row, limit, pieces, from_ns, end_ns))
    judged = [one for one in seen if one is not None]
    failed = [one for one in judged if one.verdict == "failed"]
    unclear = [one for one in judged if one.verdict == "inconclusive"]
    without = len(seen) - len(judged)
    passed = len(judged) - len(failed) - len(unclear)
    worst = min((one for one in judged), key=_rank, default=None)
    verdict: SloVerdict = "failed" if failed else "passed"
    reason = ""
    if not failed and not seen:
        verdict, reason = "inconclusive", "no window is full yet" if not is_over else "no window is full"
    elif not failed and (without > MISSING_MOST * len(seen) or not passed):
        verdict = "inconclusive"
        reason = f"{without:,} of {len(seen):,} windows have too few samples" if without else "no window has values"
    elif not failed and unclear:
        verdict, reason = "inconclusive", unclear[0].reason
    where = (
        "" if worst is None else f"worst window {span_text(worst.start_ns / NS_PER_S, objective.window_ns / NS_PER_S)}"
    )
    text = f"{where}: {worst.text}" if worst is not None and worst.text else reason
    if failed:
        text += f"; {len(failed):,} of {len(judged):,} windows broke it"
    elif without:
        text += f"; {without:,} of {len(seen):,} windows have too few samples"
    result = SloResult(
        objective=objective.text,
        journey=None,
        observed=None if worst is None else worst.observed,
        unit=_shown_unit(row.unit),
        count=sum(from_ns <= one.middle_ns < end_ns for one in pieces),
        good=0,
        verdict=verdict,
        margin=None if worst is None or worst.away is None else round(worst.away, 4),
        limit=limit,
        window_s=objective.window_ns / NS_PER_S,
        windows=len(judged),
        windows_failed=len(failed),
        worst_window_s=None if worst is None else worst.start_ns / NS_PER_S,
        reason=reason,
        detail=text,
    )
    return _result(objective, row, key, _with_sureness(objective, result))


def _rank(found: _Found) -> tuple[int, float]:
    order = ("failed", "inconclusive", "passed").index(found.verdict)
    return order, found.away if found.away is not None else (-inf if found.verdict == "failed" else inf)


# -- the result ------------------------------------------------------------------------------------


def _result(objective: ProbeObjective, row: Row, key: str, result: SloResult) -> SloResult:
    """Return the result with its row. A row with labels of its own is named in the text of the objective."""
    shown = one_line(key, 120)
    text = objective.text if key == objective.row else f"{objective.text}, row {shown}"
    return msgspec.structs.replace(result, objective=text, probe=f"{objective.probe}.{shown}")


def _with_sureness(objective: ProbeObjective, result: SloResult) -> SloResult:
    """Return the result with its sureness: a fact that was seen is sure. Of all others it is unknown."""
    is_seen = objective.is_extreme and result.verdict != "inconclusive" and _is_fact(objective, result.verdict)
    unsure = ""
    if not is_seen and result.verdict != "inconclusive":
        unsure = "a longer run may have a more extreme sample" if objective.is_extreme else "no interval of it is known"
    return msgspec.structs.replace(result, sure=is_seen or None, unsure=unsure)


def _is_fact(objective: ProbeObjective, verdict: SloVerdict) -> bool:
    return verdict == ("failed" if (objective.operator == "<") == objective.takes_highest else "passed")


def _shown_unit(unit: str) -> str:
    return "/s" if unit == "1/s" else unit
