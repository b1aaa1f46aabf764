"""When an error budget will be spent, if the burn of the last hours or days goes on.

In a rolling window, bad requests leave it while new ones come. So the time that
is left is not remaining / burn, which is right for a calendar window only. The
ledger is replayed forward: the future has the traffic of the last week again,
and a constant burn. The answer is a range, from the burn of the last 6 h and
that of the last 3 d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.attainment.slices import Slices
from loadgen.analysis.burn.firing import burn_series
from loadgen.analysis.burn.rules import DAY_S, HOUR_S
from loadgen.analysis.values_to_float_array import Array

__all__ = ["Exhaustion", "exhaustion", "seconds_until_spent"]

_WEEK_S: Final = 7 * DAY_S
_STEP_S: Final = 300.0
_RECENT: Final = (6 * HOUR_S, 3 * DAY_S)


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """The range of times until a budget is spent. s from now; None: not at this rate; 0: spent already."""

    soonest_s: float | None
    latest_s: float | None
    burn_6h: float | None
    burn_3d: float | None
    """The burns that were assumed; None without traffic in that time."""

    @property
    def text(self) -> str:
        """Return the range for people: "in 2 to 9 days, if it goes on", or "not at this rate"."""
        if self.burn_6h is None and self.burn_3d is None:
            return "no traffic"
        if self.soonest_s is None:
            return "not at this rate"
        if self.soonest_s <= 0:
            return "spent"
        soonest = _days(self.soonest_s)
        if self.latest_s is None:
            return f"in {soonest} days at the higher of the recent burns, not at the lower"
        latest = _days(self.latest_s)
        return (
            f"in {soonest} days, if it goes on"
            if soonest == latest
            else f"in {soonest} to {latest} days, if it goes on"
        )


def exhaustion(
    units: Slices,
    target: object,
    *,
    now: float,
    rolling_s: float | None = None,
    calendar: tuple[float, float] | None = None,
) -> Exhaustion:
    """Return when the budget will be spent, at the burn of the last 6 h and at that of the last 3 d.

    Args:
        units: slices of at least the window, in the units of the method (`counted`).
        now: the end of the known slices, s since the epoch.
        rolling_s: the length of a rolling window, s.
        calendar: or else start and end of a calendar window, s since the epoch.

    Raises:
        ValueError: neither or both windows, or an invalid target.
    """
    burns = [float(burn_series(units, target, length, np.array([now]))[0]) for length in _RECENT]
    known = [burn for burn in burns if not np.isnan(burn)]
    times = [
        seconds_until_spent(units, target, burn, now=now, rolling_s=rolling_s, calendar=calendar) for burn in known
    ]
    ends = [time for time in times if time is not None]
    short, long = (None if np.isnan(burn) else burn for burn in burns)
    return Exhaustion(min(ends) if ends else None, max(ends) if ends and len(ends) == len(times) else None, short, long)


def seconds_until_spent(
    units: Slices,
    target: object,
    burn: float,
    *,
    now: float,
    rolling_s: float | None = None,
    calendar: tuple[float, float] | None = None,
) -> float | None:
    """Return the time from now until the budget is spent at a constant burn, s; 0 if it is spent; None: never.

    "Never" is within one rolling window, after which the window has nothing but the assumed burn, or until the
    calendar window ends. Arguments: as `exhaustion`.

    Raises:
        ValueError: neither or both windows, a negative burn, or an invalid target.
    """
    if (rolling_s is None) == (calendar is None):
        raise ValueError("give either rolling_s or calendar")
    if not burn >= 0:
        raise ValueError(f"burn is {burn:g}, but must be at least 0")
    share = float(1 - exact_share(target))
    known = units.take(units.start < now)
    begin = now - rolling_s if rolling_s is not None else calendar[0] if calendar else now
    until = now + rolling_s if rolling_s is not None else calendar[1] if calendar else now
    if until <= now:
        return None
    times, total = _future(known, now, until)
    bad = np.concatenate(([0.0], np.cumsum(known.bad)))
    requests = np.concatenate(([0.0], np.cumsum(known.total)))
    edges = np.concatenate((known.start[:1] if len(known) else [now], known.end))
    to_come = np.concatenate(([0.0], np.cumsum(total)))
    bad_then = bad[-1] + burn * share * to_come
    requests_then = requests[-1] + to_come
    if rolling_s is not None:
        left = times - rolling_s
        spent = bad_then - np.interp(left, edges, bad)
        allowed = share * (requests_then - np.interp(left, edges, requests))
    else:
        spent = bad_then - np.interp(begin, edges, bad)
        # The budget of a calendar window is that of all of its requests, also of those to come.
        allowed = np.full(len(times), share * (requests_then[-1] - np.interp(begin, edges, requests)))
    over = spent - allowed
    if not allowed.any():
        return None
    # 1e-9 of the budget: sums of many slices are not exact, and a burn of exactly 1 spends exactly all.
    reached = np.flatnonzero(over >= -1e-9 * allowed)
    if not len(reached):
        return None
    first = int(reached[0])
    if not first:
        return 0.0
    part = -over[first - 1] / (over[first] - over[first - 1]) if over[first] > over[first - 1] else 1.0
    return float(times[first - 1] - now + min(part, 1.0) * (times[first] - times[first - 1]))


def _future(known: Slices, now: float, until: float) -> tuple[Array, Array]:
    """Return moments from now on, and the requests between them: those of the same time of the last week, again.

    A ledger of less than a week is repeated as a whole. Shapes (n + 1,) and (n,).
    """
    steps = max(int(np.ceil((until - now) / _STEP_S)), 1)
    times = np.minimum(now + _STEP_S * np.arange(steps + 1), until)
    if not len(known):
        return times, np.zeros(steps)
    edges = np.concatenate((known.start[:1], known.end))
    requests = np.concatenate(([0.0], np.cumsum(known.total)))
    period = min(float(_WEEK_S), now - float(edges[0]))
    if period <= 0:
        return times, np.zeros(steps)
    before = float(np.interp(now - period, edges, requests))
    rounds, rest = np.divmod(times - now, period)
    sums = rounds * (requests[-1] - before) + np.interp(now - period + rest, edges, requests) - before
    return times, np.diff(sums)


def _days(seconds: float) -> str:
    days = seconds / DAY_S
    return f"{days:.1f}" if days < 2 else f"{days:.0f}"
