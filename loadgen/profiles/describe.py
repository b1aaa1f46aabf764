"""Describes stages in words, for plans, reports and the terminal. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Literal

from loadgen.profiles.stage import Stage, exact
from loadgen.units import NS_PER_S, format_duration, format_rate

__all__ = ["Kind", "pieces_of", "stage_text", "texts", "time_text", "value_text"]

Kind = Literal["rate", "users", "speed", "gate"]
"""Meaning of a stage's values: iterations/s, users, speed of recorded times, or 1 and 0 for "may start" and "not"."""

_CURVE = 10
"""From this number of consecutive ramps on, they are described together as a curve."""


def texts(stages: Sequence[Stage], unit: str) -> Iterator[str]:
    """Yield a description of each stage in words. A staircase of three or more steps, or a curve, gets a single one."""
    i = 0
    while i < len(stages):
        stairs = _staircase(stages, i)
        pieces = _ramps(stages, i)
        stage = stages[i]
        if len(pieces) >= _CURVE:
            values = [value for piece in pieces for value in (piece.start, piece.end)]
            low, high = (_number(float(f"{value:.3g}"), unit) for value in (min(values), max(values)))
            took = time_text(sum(piece.duration_ns for piece in pieces))
            yield f"curve between {low} and {high} for {took} ({len(pieces):,} pieces)"
            i += len(pieces)
            continue
        if stairs >= 3:
            first, last = _number(stage.start, unit), _number(stages[i + stairs - 1].start, unit)
            yield f"{stairs} steps {first} to {last}, each {time_text(stage.duration_ns)}"
            i += stairs
            continue
        if stage.start == stage.end:
            if stage.duration_ns:
                yield f"hold {_number(stage.start, unit)} for {time_text(stage.duration_ns)}"
        elif stage.duration_ns:
            yield f"ramp {_number(stage.start, '')} to {_number(stage.end, unit)} in {time_text(stage.duration_ns)}"
        else:
            yield f"jump to {_number(stage.end, unit)}"
        i += 1


def pieces_of(stages: Sequence[Stage]) -> int:
    """Return the number of stages in the first part of a load: all pieces of a curve, otherwise 1, or 0."""
    pieces = len(_ramps(stages, 0))
    return pieces if pieces >= _CURVE else min(1, len(stages))


def _staircase(stages: Sequence[Stage], i: int) -> int:
    """Return how many stages from index `i` on form a staircase: holds of equal length at evenly spaced levels."""
    end = i
    while end < len(stages):
        stage = stages[end]
        if stage.start != stage.end or stage.duration_ns != stages[i].duration_ns:
            break
        rise = [exact(stages[k].start) - exact(stages[k - 1].start) for k in (i + 1, end) if i < k <= end]
        if rise and (rise[0] != rise[-1] or not rise[0]):
            break
        end += 1
    return end - i


def _ramps(stages: Sequence[Stage], i: int) -> Sequence[Stage]:
    """Return the ramps from index `i` on, up to the next hold or jump.

    A curve may have a single level piece at its top.
    """
    last = i - 1
    for k in range(i, len(stages)):
        stage = stages[k]
        if stage.duration_ns and stage.start != stage.end:
            last = k
        elif k == i or abs(stage.duration_ns - stages[k - 1].duration_ns) > 1 or last < k - 1:
            break
    return stages[i : last + 1]


def _number(value: float, unit: str) -> str:
    return f"{value:,.10g}{unit if value or not unit else ''}"


def time_text(ns: int) -> str:
    """Return a duration as text, such as "10m" or "1.5s"."""
    return format_duration(ns) if ns >= 60 * NS_PER_S or ns < NS_PER_S else f"{ns / NS_PER_S:g}s"


def stage_text(stage: Stage, kind: Kind) -> str:
    """Return one stage in words, e.g. "hold 200/s for 10m" or "ramp 0 to 50 users in 30s"."""
    lasting = format_duration(stage.duration_ns)
    if stage.start == stage.end:
        return f"hold {value_text(stage.start, kind)} for {lasting}"
    return f"ramp {value_text(stage.start, kind)} to {value_text(stage.end, kind)} in {lasting}"


def value_text(value: float, kind: Kind) -> str:
    """Return a stage's value with its unit: "200/s", "50 users" or "2x"."""
    match kind:
        case "rate":
            return format_rate(value) if value != int(value) else f"{int(value):,}/s"
        case "users":
            users = ceil(value)
            return f"{users:,} user{'s' * (users != 1)}"
    return f"{value:g}x"
