"""The table of the goodput of each level of a load, and the sentence about the levels that keep its objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.report.summary_reader import Level, LevelGoodput, Summary
from loadgen.units import format_count, format_ratio, format_share, quantity

__all__ = ["goodput_line", "goodput_table"]

_FEW: Final = 3
"""The most levels that are not sure in the sentence."""
Kept = Literal["yes", "no", "not sure"]


def goodput_table(unit: str, levels: Sequence[Level]) -> Table:
    """Return the table of good requests by level, with the 95 % intervals. unit: the title of the levels' column."""
    known = [(one.level, one.goodput) for one in levels if one.goodput is not None]
    has_objective = any(of.above is not None for _, of in known)
    limits = next((of.limits for _, of in known if of.limits), "")
    note = "of: all offered requests, those that ended and one for each iteration that was missed or cut off."
    if without := [f"{level} ({of.interval})" for level, of in known if of.low is None and of.interval]:
        note += f" Without an interval: {', '.join(without)}."
    rows = ((one.level, *_cells(one.goodput), _objective(one.goodput)) for one in levels)
    columns = (unit, "good", "of", "goodput", "95 % interval", "objective")
    shown = len(columns) if has_objective else len(columns) - 1
    return Table(
        "Levels: goodput" + (f", {limits.replace(',', ', ')}" if limits else ""),
        columns[:shown],
        tuple(row[:shown] for row in rows),
        note=note,
    )


def goodput_line(summary: Summary) -> str:
    """Return which level surely keeps the objective on goodput, as a sentence; "" without such an objective.

    A level is sure if its 95 % interval is wholly above the objective. Levels from the first one on that surely misses
    it, or that is saturated, are left out, and so are levels that were not held to their end.
    """
    found = [one for one in summary.levels if one.measured_s is not None and _above(one) is not None]
    if not found:
        return ""
    if summary.result not in ("passed", "failed"):
        return f"Goodput by level: not judged, because the run is {summary.result}."
    rising = sorted(found, key=lambda one: float(one.level.removesuffix("/s")))
    missed = next((k for k, one in enumerate(rising) if one.saturated or _kept(one.goodput) == "no"), len(rising))
    below = rising[:missed]
    top = max((k for k, one in enumerate(below) if _kept(one.goodput) == "yes"), default=-1)
    unsure = below[top + 1 :]
    demanded = {_above(one) for one in rising}
    more = "enough" if len(demanded) > 1 else f"more than {format_share(_above(rising[0]) or 0.0)}"
    sentences = [
        f"Goodput: the highest level that surely has {more} good requests is {_named(below[top])}"
        if top >= 0
        else f"Goodput: no level surely has {more} good requests"
    ]
    if unsure:
        names = [_named(one) for one in unsure[:_FEW]]
        left = f"; and {quantity(len(unsure) - _FEW, 'level')} more" if len(unsure) > _FEW else ""
        sentences.append(f"Not sure: {'; '.join(names)}{left}. Measure each level longer to know")
    elif missed == len(rising):
        sentences.append("This is the highest level of the load: add higher ones")
    elif top < 0:
        sentences.append("Add lower levels")
    return ". ".join(sentences) + "."


def _above(one: Level) -> float | None:
    return None if one.goodput is None else one.goodput.above


def _kept(of: LevelGoodput | None) -> Kept:
    """Return whether the share of good requests is surely above the objective, surely not, or neither."""
    if of is None or of.above is None or of.low is None or of.high is None:
        return "not sure"
    return "yes" if of.low > of.above else "no" if of.high <= of.above else "not sure"


def _named(one: Level) -> str:
    """Return a level with its goodput: "4 users, with 97.2 % (95 % interval 95.1 % to 98.4 %, 972 of 1,000)"."""
    name = quantity(int(one.level), "user") if one.unit == "users" else one.level
    of = one.goodput
    if of is None:
        return name
    counts = f"{format_count(of.good)} of {format_count(of.of)}"
    interval = _interval(of)
    ends = f"no interval: {of.interval}" if interval == PLACEHOLDER else f"95 % interval {interval}"
    return f"{name}, with {format_ratio(of.share)} ({ends}; {counts})"


def _cells(of: LevelGoodput | None) -> Iterator[str]:
    if of is None:
        yield from [PLACEHOLDER] * 4
    else:
        yield from (format_count(of.good), format_count(of.of), format_ratio(of.share), _interval(of))


def _interval(of: LevelGoodput) -> str:
    if of.low is None or of.high is None:
        return PLACEHOLDER
    return f"{format_ratio(of.low)} to {format_ratio(of.high)}"


def _objective(of: LevelGoodput | None) -> str:
    return PLACEHOLDER if of is None or of.above is None else f"> {format_share(of.above)}: {_kept(of)}"
