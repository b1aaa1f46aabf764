"""What a histogram is a histogram of.

A *series* is (kind, journey, step, request, outcome, tags); each has one
histogram for each metric of its kind. The region is not in the key: an agent
has one region, so the merge adds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = [
    "CUT_OFF",
    "MISSED",
    "OK",
    "OTHER",
    "PHASES",
    "SKIPPED",
    "TIMEOUT",
    "Kind",
    "Metric",
    "Phase",
    "SeriesKey",
    "Tags",
]

Kind = Literal["journey", "step", "request", "trend"]
Phase = Literal["blocked", "dns", "connect", "tls", "send", "wait", "receive"]
"""Of a request, in their order. blocked: until a shared pool had a connection for it. wait: from its last byte
written to the first of its answer."""
Metric = Literal["response", "service", "duration", "user_wait", "generator_lag", "value", Phase]
"""journey: response, duration, user_wait, generator_lag; step: response, duration; request: response, service and the
phases that it had; trend (a custom metric, its name in `request`): value, where 1 µs stands for the trend's
resolution."""

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

OK: Final = "ok"
"""The outcome of what went right; every other outcome names what went wrong."""
TIMEOUT: Final = "timeout"
"""Waited for in vain: censored at its deadline, since the truth is longer."""
CUT_OFF: Final = "cut off"
"""Stopped by the drain: censored, too."""
MISSED: Final = "missed"
"""Due and never started: censored at how late it was."""
SKIPPED: Final = "skipped"
"""The journey chose not to go on (`user.skip`): neither good nor bad, shown with its count."""
OTHER: Final = "(other)"
"""Stands for all names beyond the cap on distinct names."""


Tags = tuple[tuple[str, str], ...]
"""(name, value) of each."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """One histogram's name, the same on agent, wire, controller and in files."""

    kind: Kind
    journey: str
    step: str | None
    """Nested steps are `a/b`; None for a journey and for a request outside of steps."""
    request: str | None
    """`GET /products` by default, or the `name=` of the call; None for journeys and steps."""
    outcome: str
    metric: Metric
    censored: bool = False
    """True: each value is only a lower bound (time-out, missed, cut off): the truth is greater."""
    warmup: bool = False
    """True: due within the warm-up, so kept out of series and SLOs."""
    tags: Tags = ()
