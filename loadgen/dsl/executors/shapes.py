"""The shapes that load tests are known by, in one line each: stress, spike, soak, break point.

Each is an `arrivals(...)` that could be written out, and can be gone on with:
`stress(to="500/s").poisson()`. What a shape is good for: docs/workload-models.md.

`break_point`, and not `breakpoint`: a scenario that imported that would lose Python's own.
"""

from __future__ import annotations

from loadgen.dsl.executors.standard import Arrivals, arrivals

__all__ = ["break_point", "soak", "spike", "stress"]


def stress(
    to: str | float, *, over: str | float = "5m", hold: str | float = "20m", down: str | float = "2m"
) -> Arrivals:
    """More than usual, for long enough to settle: from 0 to `to`, there for `hold`, and down to 0 again.

    Give it what is above the usual peak. Does it hold its objectives there, and does it come back?
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
    """Out of nothing: `base` for `before`, within `rise` at `peak` for `hold`, within `fall` at `base` for `after`.

    What is before is what to compare with; what is after tells how long it takes to recover.
    """
    return arrivals(base).hold(before).ramp(to=peak, over=rise).hold(hold).ramp(to=base, over=fall).hold(after)


def soak(rate: str | float, duration: str | float = "8h", *, over: str | float = "5m") -> Arrivals:
    """The usual load for very long: up to `rate` within `over`, there for `duration`. It finds what leaks."""
    return arrivals().ramp(to=rate, over=over).hold(duration)


def break_point(start: str | float, *, by: str | float, upto: str | float, every: str | float = "2m") -> Arrivals:
    """Ever more until it breaks: `start`, `start + by` ... up to `upto`, each for `every`.

    In steps and not as a ramp, so that each level is there long enough to be judged by itself. Let an objective with
    `abort=True` end it: `p(99, window="1m", abort=True) < "1s"`.
    """
    return arrivals().steps(start, by=by, every=every, upto=upto)
