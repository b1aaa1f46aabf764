"""The error fuse stops a run that only fails, since such a run burdens its target and measures nothing. Pure.

The fuse blows in three cases:

- more than half of the requests failed in each second of the last 30 s;
- no agent got a connection for 10 s;
- the allow-list ended every iteration for 2 s. More time would not change that, so this case has no opt-out.

Seconds without a request neither blow nor reset the fuse.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from loadgen.clients.net.target_guard import is_not_allowed
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Window
from loadgen.measure.objectives.objective import time_text
from loadgen.units import NS_PER_S, format_count
from loadgen_controller.core.events import Reason

__all__ = ["Blown", "Fuse", "FuseWatch", "Interval", "step"]

ERRORS_NS: Final = 30 * NS_PER_S
UNREACHED_NS: Final = 10 * NS_PER_S
NOT_ALLOWED_NS: Final = 2 * NS_PER_S
SHARE: Final = 0.5
_NO_CONNECTION: Final = frozenset({"refused", "unreachable", "dns"})


@dataclass(frozen=True, slots=True)
class Interval:
    """The counts of one interval, over all agents. Times are ns from T0."""

    start_ns: int
    end_ns: int
    requests: int
    """Requests that ended."""
    errors: int
    """Those that failed."""
    unreached: int
    """Those that got no connection: refused, unreachable, or no DNS answer."""
    iterations: int
    """Iterations that ended."""
    not_allowed: int
    """Those that the allow-list ended."""
    rule: str = ""
    """The outcome of most of these, which names the rule of the allow-list."""

    @classmethod
    def of(cls, window: Window) -> Interval:
        requests, iterations = _outcomes(window, "request"), _outcomes(window, "journey")
        counters = window.counters()
        refused = {outcome: count for outcome, count in iterations.items() if is_not_allowed(outcome)}
        return cls(
            window.start_ns,
            window.end_ns,
            counters.requests_finished,
            counters.requests_errors,
            sum(n for outcome, n in requests.items() if outcome.removeprefix("proxy ") in _NO_CONNECTION),
            sum(iterations.values()),
            sum(refused.values()),
            max(refused, key=lambda outcome: refused[outcome], default=""),
        )


@dataclass(frozen=True, slots=True)
class Blown:
    """The fuse has blown: the run must stop for this reason."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Fuse:
    """Since when each case has lasted without a break, ns from T0; None: it does not apply now."""

    failing_ns: int | None = None
    unreached_ns: int | None = None
    not_allowed_ns: int | None = None


def step(fuse: Fuse, interval: Interval) -> tuple[Fuse, Blown | None]:
    """Add an interval; return the new state of the fuse, and why the fuse stops the run, or None.

    Intervals come in order, each once.

    case        | reset by an interval in which           | blows after
    failing     | at least half of the requests succeeded | 30 s
    unreached   | a request got a connection              | 10 s
    not allowed | an iteration ended for any other reason |  2 s
    """
    # An interval in which no request ended shows nothing: it neither begins nor resets a case.
    if interval.requests:
        failing = interval.errors > SHARE * interval.requests
        unreached = interval.unreached == interval.requests
        fuse = replace(
            fuse,
            failing_ns=_since(fuse.failing_ns, failing, interval),
            unreached_ns=_since(fuse.unreached_ns, unreached, interval),
        )
    if interval.iterations:
        only = interval.not_allowed == interval.iterations
        fuse = replace(fuse, not_allowed_ns=_since(fuse.not_allowed_ns, only, interval))
    end_ns, at = interval.end_ns, time_text(interval.end_ns / NS_PER_S)
    if fuse.not_allowed_ns is not None and end_ns - fuse.not_allowed_ns >= NOT_ALLOWED_NS:
        return fuse, Blown(
            Reason.NOT_ALLOWED,
            f"stopped at {at}: every iteration ended with `{interval.rule}`, and more load would not change that."
            " Find the address with loadgen failures, and see docs/guard.md",
        )
    if fuse.unreached_ns is not None and end_ns - fuse.unreached_ns >= UNREACHED_NS:
        return fuse, Blown(
            Reason.ERROR_FUSE,
            f"stopped at {at} by the error fuse: no agent got a connection for {UNREACHED_NS // NS_PER_S} s"
            " (--no-error-fuse continues in spite of it)",
        )
    if fuse.failing_ns is not None and end_ns - fuse.failing_ns >= ERRORS_NS:
        return fuse, Blown(
            Reason.ERROR_FUSE,
            f"stopped at {at} by the error fuse: more than half of the requests failed in each second of the last"
            f" {ERRORS_NS // NS_PER_S} s; in the last one {format_count(interval.errors)} of"
            f" {format_count(interval.requests)}"
            " (--no-error-fuse continues in spite of it)",
        )
    return fuse, None


def _since(known_ns: int | None, holds: bool, interval: Interval) -> int | None:
    if not holds:
        return None
    return interval.start_ns if known_ns is None else known_ns


def _outcomes(window: Window, kind: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for warmup in (False, True):
        for outcome, count in window.outcomes(kind, warmup=warmup).items():  # type: ignore[arg-type]
            found[outcome] = found.get(outcome, 0) + count
    return found


class FuseWatch:
    """Feeds the intervals of a run to its fuse, each once it is complete.

    Args:
        is_on: False with --no-error-fuse: then only iterations that the allow-list ends can blow the fuse.
    """

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on
        self._fuse = Fuse()
        self._next = 0

    def check(self, merge: Merge, live: Collection[str], finished: Collection[str], clock_ns: int) -> Blown | None:
        """Add all new complete intervals to the fuse; return why it stops the run, or None.

        Args:
            live: agents that take part and are not lost.
            finished: agents that will report no more intervals.
            clock_ns: now, ns from T0.
        """
        if clock_ns < (self._next + 1) * merge.interval_ns:  # the next interval goes on
            return None
        latest = merge.latest_window(frozenset(live).difference(finished) or None, clock_ns)
        if latest is None or latest.k < self._next:
            return None
        for k in range(self._next, latest.k + 1):
            self._next = k + 1
            window = merge.window(k)
            if window is None:
                continue
            self._fuse, blown = step(self._fuse, Interval.of(window))
            if blown is not None and (self._is_on or blown.reason is Reason.NOT_ALLOWED):
                return blown
        return None
