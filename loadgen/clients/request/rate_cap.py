"""The cap on requests per second that an allow-list sets, whatever the plan or the controller requests.

Each worker holds its own integer share of the fleet's cap (`loadgen.allowlist.split_cap`), and counts the requests
that it started within the last second. This is a sliding second, so there is no edge at which two bursts can meet. The
shares add up to the cap plus at most 1 %, without messages between workers. A request above the share is not started.
It is not delayed either: a queue in the generator would look like a slow target.

When more requests arrive than may start, starts are also spaced, by half of the even distance. Otherwise all starts of
a second would come together, and a target might see two bursts within one of its seconds.

The cap is checked where a request is counted (`Meter.ask`), by a separate meter class. Plans without a cap pay nothing.
With a cap, a request costs 0.2 µs more (timeit of `take`, the least of 7).

A request that is repeated because the target had closed the kept connection counts once.

What counts: each row that begins with sending something (`Meter.ask`), and each message that a journey sends on an
open connection or call without a row of its own (`Cap.spend`). Rows that send nothing do not count
(`Meter.ask_unsent`). docs/guard.md has the table of all protocols.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from loadgen.allowlist import CapShare, Entry
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = ["OVER_THE_CAP", "Cap", "OverTheCap", "capped"]

OVER_THE_CAP: Final = "over the cap"
_ALWAYS: Final = -(1 << 62)
_NEVER: Final = 1 << 62
_UNEVEN: Final = 8
_UNEVEN_PART: Final = 0.1
"""How unevenly a worker's arrivals may be spread after a share change: _UNEVEN requests, plus this part of its share if
an agent has several workers. Simulated with 3 agents of 1, 2 and 4 workers at 60 to 1,000/s: without this tolerance, 20
to 1,900 of 12,000 arrivals of a plan at its cap were refused after an agent had left or joined."""


class OverTheCap(RequestFailed):
    """A request was not started, because of the cap. until_s: seconds until the next may start, at most."""

    def __init__(self, detail: str, until_s: float) -> None:
        super().__init__(OVER_THE_CAP, detail)
        self.until_s = until_s


class Cap:
    """The cap of one worker. refused: the number of requests that were not started so far.

    Args:
        share: (requests/s of the whole fleet) -> how many of them this worker may start in any second, until `reshare`.
        per_s: the cap of the fleet; None: no limit until an entry with a limit admits a connection.
        refuses: is called for each request that is not started, with the reason.
    """

    def __init__(
        self,
        share: Callable[[float], CapShare],
        per_s: float | None = None,
        *,
        refuses: Callable[[str], None] = lambda _: None,
        clock: Callable[[], int] = perf_counter_ns,
    ) -> None:
        self._refuses, self._clock = refuses, clock
        self.per_s = per_s
        self.refused = 0
        self._most = 0
        self._apart_ns = 0
        self._apart_until_ns = 0
        """Until then starts are spaced, because more requests arrived than may start."""
        self._started: deque[int] = deque()
        """Times of the starts in the last second, and of some before."""
        self._level, self._level_ns = 0.0, 0
        """A leaky bucket: the starts in excess of the share, and the time of its last update."""
        self._strict_until_ns = _NEVER
        """Until then the limit holds in any second. As long as no share has changed, that is always."""
        self._text = ""
        self._shares: list[tuple[int, Callable[[float], CapShare]]] = [(_ALWAYS, share)]
        """(start time, share), in order: the share of a second ago, and all later changes, also future ones."""
        self._settle_ns = _ALWAYS
        """The time from which the limit has to be computed again."""
        self._set(per_s)

    def admit(self, entry: Entry) -> None:
        """Apply the limit of requests per second of an allow-list entry that admitted a connection, if it is lower than
        the present limit. The limit then holds for all requests.
        """
        if entry.max_requests_per_s is not None and (self.per_s is None or entry.max_requests_per_s < self.per_s):
            self._set(entry.max_requests_per_s)

    def reshare(self, share: Callable[[float], CapShare], at_ns: int) -> None:
        """Use another share of the fleet's cap from `at_ns` on (`perf_counter_ns`), the instant from which the arrivals
        change, too.

        In the second after `at_ns`, the limit is the average of the share over the last second. So an evenly spread
        load loses nothing, and the limits of all workers add up to the cap at any time. Call this in the order of the
        times.
        """
        self._shares.append((max(at_ns, self._shares[-1][0]), share))
        self._settle_ns = _ALWAYS
        if self._strict_until_ns == _NEVER:
            self._strict_until_ns = _ALWAYS

    def take(self) -> bool:
        """HOT, once a request, if there is a cap. Return True and count a started request, or return False if the
        request would exceed the cap and must not start.
        """
        if self.per_s is None:
            return True
        now_ns, started = self._clock(), self._started
        if now_ns >= self._settle_ns:
            self._settle(now_ns)
        last_ns = now_ns - NS_PER_S
        while started and started[0] <= last_ns:
            started.popleft()
        if self._strict_until_ns != _NEVER and self._is_even(now_ns):
            started.append(now_ns)
            return True
        if len(started) < self._most and (now_ns >= self._apart_until_ns or self._is_apart(now_ns)):
            started.append(now_ns)
            return True
        self._apart_until_ns = now_ns + 2 * NS_PER_S
        self.refused += 1
        self._refuses(self._text)
        return False

    def _is_even(self, now_ns: int) -> bool:
        """Return True if requests have recently started no faster than the share of the cap plus a tolerance, so that
        `take` need not apply the strict limit. Only asked after a share change.

        Once requests start faster, the limit is strict for two seconds, and earlier starts count.
        """
        shares = [share for at_ns, share in self._shares if at_ns <= now_ns] or [self._shares[0][1]]
        per_s = shares[-1](self.per_s or 0.0).exact
        uneven = _UNEVEN + _UNEVEN_PART * per_s
        leaked = per_s * (now_ns - self._level_ns) / NS_PER_S
        self._level, self._level_ns = min(max(0.0, self._level - leaked) + 1.0, uneven + 1.0), now_ns
        if self._level > uneven:
            self._strict_until_ns = now_ns + 2 * NS_PER_S
        return now_ns >= self._strict_until_ns

    def spend(self) -> None:
        """HOT, once a message without a row, if there is a cap. Count a message that is about to be sent.

        Raises:
            OverTheCap: it would exceed the cap and must not be sent.
        """
        if not self.take():
            raise self.refusal()

    def refusal(self) -> OverTheCap:
        """Return the exception that the caller raises after `take` has returned False."""
        started = self._started
        if len(started) < self._most:
            next_ns = started[-1] + self._apart_ns
        else:
            next_ns = started[0] + NS_PER_S if started else self._clock() + NS_PER_S
        return OverTheCap(self._text, max(0, next_ns - self._clock()) / NS_PER_S)

    def _is_apart(self, now_ns: int) -> bool:
        return not self._started or now_ns - self._started[-1] >= self._apart_ns

    def _set(self, per_s: float | None) -> None:
        self.per_s = per_s
        self._settle_ns = _ALWAYS
        if per_s is not None:
            self._settle(self._clock())

    def _settle(self, now_ns: int) -> None:
        """Compute how many requests may start in the second that ends at `now_ns`: the average of the worker's share of
        the cap over this second, rounded up.

        It is rounded up because arrivals are whole: while shares change, each worker may start less than one extra.
        """
        since_ns, shares = now_ns - NS_PER_S, self._shares
        while len(shares) > 1 and shares[1][0] <= since_ns:
            del shares[0]
        if self.per_s is None:
            return
        area = 0
        ends = [at_ns for at_ns, _ in shares[1:]] + [now_ns]
        for (at_ns, share), end_ns in zip(shares, ends, strict=True):
            if (length_ns := min(end_ns, now_ns) - max(at_ns, since_ns)) > 0:
                area += share(self.per_s).whole * length_ns
        self._most = -(-area // NS_PER_S)
        self._apart_ns = NS_PER_S // (2 * self._most) if self._most else NS_PER_S
        here = f"{self._most:,} for this worker"
        self._text = f"the allow-list's cap is {self.per_s:,.12g} requests/s for all agents, {here}"
        coming_ns = shares[1][0] if len(shares) > 1 else _NEVER
        # While a change is less than a second old, the average moves, so the next request computes it again.
        self._settle_ns = max(now_ns, coming_ns)

    def __repr__(self) -> str:
        return f"<Cap {self.per_s} requests/s of the fleet, {self._most} here, {self.refused} refused>"


def capped(base: type[Meter], cap: Cap) -> type[Meter]:
    """Return a subclass of the meter class `base` whose method `ask` refuses to start requests above the cap."""

    class CappedMeter(base):  # type: ignore[valid-type, misc]
        __slots__ = ()
        message_cap = cap

        def ask(self, name: str) -> RequestSeries:
            """HOT. Raises OverTheCap; then only the refusal has been counted."""
            if not cap.take():
                self.settle()
                raise cap.refusal()
            series: RequestSeries = super().ask(name)
            return series

        def ask_unsent(self, name: str) -> RequestSeries:
            series: RequestSeries = super().ask(name)
            return series

    return CappedMeter
