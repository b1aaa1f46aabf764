"""Smooth curves as sequences of linear stages: a sine, a day.

All other modules handle linear stages only, because their areas and due times are exact. So a curve is cut into
pieces. Each piece is the chord between its ends, multiplied by a factor so that its area equals the curve's. Errors do
not add up from piece to piece: up to the end of each piece there are as many arrivals as the formula gives. (Rates are
cut to ten digits, which costs less than one arrival in 10^9.) Within a piece the rate differs by less than 0.1 % of the
curve's highest rate (tests/profiles/test_curve.py).

Rates are 1/s, times integer ns from the curve's beginning. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import cos, floor, log10, pi, sin
from typing import Final

from loadgen.profiles.stage import Stage

__all__ = ["MAX_PIECES", "PIECES", "day", "sine"]

PIECES: Final = 96
"""Pieces of one full period. The error of the rate falls with the square of this number: 64 pieces give 0.16 %."""
MAX_PIECES: Final = 20_000
"""Most pieces of one curve, about 200 periods. Each piece costs 20 µs to read a plan, and bytes to send it."""


def sine(mean: float, amplitude: float, period_ns: int, duration_ns: int, phase_ns: int = 0) -> tuple[Stage, ...]:
    """Return the stages of mean + amplitude · sin(2π (t + phase) / period) for `duration_ns`.

    Raises:
        ValueError: the period or duration is 0, there are more pieces than MAX_PIECES, or the amplitude exceeds the
            mean.
    """
    if period_ns <= 0 or duration_ns <= 0:
        raise ValueError(f"the {'period' if period_ns <= 0 else 'duration'} of a sine must be above 0")
    if amplitude > mean:
        raise ValueError(f"a sine of {mean:g}/s with an amplitude of {amplitude:g}/s goes below 0: lower the amplitude")
    if duration_ns * PIECES > MAX_PIECES * period_ns:
        raise ValueError(
            f"a sine of {duration_ns / period_ns:,.0f} periods is too long: at most {MAX_PIECES // PIECES}"
        )
    if not amplitude:
        return (Stage(mean, mean, duration_ns),)
    digits = _digits(mean + amplitude)
    edges_ns = [k * period_ns // PIECES for k in range(-(-duration_ns * PIECES // period_ns))] + [duration_ns]
    phase_ns %= period_ns
    begin = phase_ns / period_ns
    stages: list[Stage] = []
    for k, (start_ns, end_ns) in enumerate(pairwise(edges_ns)):
        # Computed from k and not from the time, so that all periods have exactly the same pieces.
        a = begin + k % PIECES / PIECES
        b = a + (1 / PIECES if k < len(edges_ns) - 2 else (end_ns - start_ns) / period_ns)
        if start_ns < end_ns:
            stages.append(_piece(mean, amplitude, 2 * pi * a, 2 * pi * b, end_ns - start_ns, digits))
    first, last = (
        mean + amplitude * sin(2 * pi * (at_ns % period_ns / period_ns)) for at_ns in (phase_ns, phase_ns + duration_ns)
    )
    return (_edge(first, digits), *stages, _edge(last, digits))


def day(low: float, high: float, peak_h: float, trough_h: float, duration_ns: int) -> tuple[Stage, ...]:
    """Return the stages of a day from midnight to midnight: a half cosine up to the peak and one down to the trough.

    With s from 0 to 1 on the way up: low + (high - low) · (1 - cos πs) / 2; on the way down with (1 + cos πs).

    Args:
        low, high: lowest and highest rate.
        peak_h, trough_h: hours, each 0 <= h < 24.
        duration_ns: time in which the whole day passes. It does not change the rates.
    Raises:
        ValueError: the duration or an hour is invalid, peak and trough are less than an hour apart, or low is above
            high.
    """
    if duration_ns <= 0:
        raise ValueError("the duration of a day must be above 0")
    if low > high:
        raise ValueError(f"a day's low of {low:g}/s is above its high of {high:g}/s: exchange them")
    for hour in (peak_h, trough_h):
        if not 0 <= hour < 24:
            raise ValueError(f"invalid hour {hour:g}: must be at least 0 and below 24")
    up_h = (peak_h - trough_h) % 24
    if not 1 <= up_h <= 23:
        raise ValueError("the peak and the trough of a day must be at least an hour apart")
    if low == high:
        return (Stage(low, low, duration_ns),)
    digits = _digits(high)
    mid, half = (low + high) / 2, (high - low) / 2
    knots = list(_hours(trough_h, up_h))
    edges_ns = [round(hour / 24 * duration_ns) for hour, _ in knots]
    pieces = (
        _piece(mid, half, a, b, end_ns - start_ns, digits)
        for (start_ns, end_ns), ((_, a), (_, b)) in zip(pairwise(edges_ns), pairwise(knots), strict=True)
        if start_ns < end_ns
    )
    first, last = (mid + half * sin(knots[k][1]) for k in (0, -1))
    return (_edge(first, digits), *pieces, _edge(last, digits))


def _hours(trough_h: float, up_h: float) -> Iterator[tuple[float, float]]:
    """Yield (hour, angle) of the ends of a day's pieces, for hours 0 to 24, where the sine of the angle gives the rate.

    sin(angle) is -1 at the trough and 1 at the peak.
    """
    steps = PIECES // 2
    whole: list[tuple[float, float]] = []
    for turn in (-1, 0, 1):  # begins with the trough of the day before
        at_h, angle = trough_h + 24 * turn, pi * (2 * turn - 0.5)
        whole += [(at_h + up_h * k / steps, angle + pi * k / steps) for k in range(steps)]
        whole += [(at_h + up_h + (24 - up_h) * k / steps, angle + pi * (1 + k / steps)) for k in range(steps)]
    for (before_h, a), (after_h, b) in pairwise(whole):
        for midnight in (0.0, 24.0):
            if before_h < midnight <= after_h:
                yield midnight, a + (b - a) * (midnight - before_h) / (after_h - before_h)
        if 0 < after_h < 24:
            yield after_h, b


def _piece(mid: float, half: float, a: float, b: float, duration_ns: int, digits: int) -> Stage:
    """Return a linear stage with the same area as mid + half · sin(x) from angle `a` to angle `b`."""
    centre, width = sin((a + b) / 2), (b - a) / 2
    chord = mid + half * centre * cos(width)
    area = mid + half * centre * (sin(width) / width if width else 1.0)
    factor = area / chord if chord > 0 else 1.0
    start, end = (max(0.0, mid + half * sin(angle)) * factor for angle in (a, b))
    return Stage(_cut(start, digits), _cut(end, digits), duration_ns)


def _edge(rate: float, digits: int) -> Stage:
    """Return a stage of no duration with the curve's exact rate at one of its ends.

    It separates the curve from a neighbouring ramp, and a following `hold` continues at its rate.
    """
    rate = max(0.0, round(rate, digits))
    return Stage(rate, rate, 0)


def _cut(rate: float, digits: int) -> float:
    """Return the rate rounded down to `digits` decimals.

    So an area which is a whole number does not become one more arrival.
    """
    return floor(rate * 10.0**digits + 1e-3) / 10.0**digits


def _digits(peak: float) -> int:
    """Return the number of decimals that gives rates up to `peak` ten digits in all.

    The fractions of such rates share a small denominator and add up fast.
    """
    return min(15, 9 - floor(log10(peak))) if peak > 0 else 0
