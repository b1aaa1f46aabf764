"""The usual shapes of load tests as one-line functions: stress, spike, soak, break point.

Each returns `arrivals(...)` with certain stages, which can be extended:
`stress(to="500/s").poisson()`. docs/workload-models.md explains when to use which.

The name is `break_point`, because importing `breakpoint` would hide Python's own.
"""

from __future__ import annotations

from loadgen.dsl.executors.standard import Arrivals, arrivals

__all__ = ["break_point", "soak", "spike", "stress"]


def stress(
    to: str | float, *, over: str | float = "5m", hold: str | float = "20m", down: str | float = "2m"
) -> Arrivals:
    """Return an open load above the usual peak: ramp from 0 to `to`, hold it, and ramp down to 0.

    Use it to check whether the target meets its objectives there, and whether it recovers.

    Args:
        to: the highest rate: "500/s".
        over, hold, down: durations of the ramp up, of the highest rate, and of the ramp down.
    """
    return arrivals().ramp(to=to, over=over).hold(hold).ramp(to=0, over=down)


def spike(
    base: str | float,
    peak: str | float,
    *,
    before: str | float = "2m",
    rise: str | float = "10s",
    hold: str | float = "1m",
    fall: str | float = "10s",
    after: str | float = "5m",
) -> Arrivals:
    """Return an open load with a sudden peak: `base`, then `peak` for a short time, then `base` again.

    The part before the peak is for comparison; the part after it shows how long the target takes to recover.

    Args:
        base, peak: rates: "50/s".
        before, rise, hold, fall, after: durations of the five parts, in this order.
    """
    return arrivals(base).hold(before).ramp(to=peak, over=rise).hold(hold).ramp(to=base, over=fall).hold(after)


def soak(rate: str | float, duration: str | float = "8h", *, over: str | float = "5m") -> Arrivals:
    """Return an open load for many hours: ramp to the usual `rate`, then hold it. It finds leaks.

    Args:
        rate: the usual rate: "50/s".
        duration: how long the rate is held.
        over: duration of the ramp before it.
    """
    return arrivals().ramp(to=rate, over=over).hold(duration)


def break_point(start: str | float, *, by: str | float, upto: str | float, every: str | float = "2m") -> Arrivals:
    """Return an open load that rises in steps: `start`, `start + by` ... up to `upto`, each held for `every`.

    It shows the rate at which the target fails. Each step is long enough to be judged by itself, unlike a ramp. Let an
    objective with `abort=True` end the run: `p(99, window="1m", abort=True) < "1s"`.
    """
    return arrivals().steps(start, by=by, every=every, upto=upto)
