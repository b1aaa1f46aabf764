"""No more requests than are allowed, whatever the plan or the controller says.

Each worker holds its own whole-numbered share of the fleet's cap (`loadgen.allow.split_cap`), and counts what it
starts in any second: not by a clock's seconds but over the last one, so there is no edge at which two bursts meet. The
shares add up to no more than the cap and 1 %, with no message between workers. What would be more is not started. It
is no wait either: a queue at the generator would be told as the target's slowness.

Where more comes than may start, starts are also kept apart, by half of what they would be if they were even: else
each second's all come at once, and of two bursts a second apart a target may see both within one.

It is asked where a request is counted (`Meter.ask`), by a meter of another class: where no list has a cap, nothing of
this is on the way of a request. With one, a request costs 0.2 µs more (timeit of `take`, the least of 7).
What goes again on a fresh connection because the target had closed the kept one is the same request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from loadgen.allow import Entry
from loadgen.engine.meter import Meter
from loadgen.engine.places import RequestSeries
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S

__all__ = ["OVER_THE_CAP", "Cap", "OverTheCap", "capped"]

OVER_THE_CAP: Final = "over the cap"


class OverTheCap(RequestFailed):
    """The request was not started. until_s: when the next may be, at the latest."""

    def __init__(self, detail: str, until_s: float) -> None:
        super().__init__(OVER_THE_CAP, detail)
        self.until_s = until_s


class Cap:
    """One worker's. refused: requests that were not started so far.

    Args:
        share: (requests/s of the whole fleet) -> how many this worker may start in any second.
        per_s: of the fleet; None: no limit until an entry that has one admits a connection.
        refuses: is told of each request that is not started, with the text that says why.
    """

    def __init__(
        self,
        share: Callable[[float], int],
        per_s: float | None = None,
        *,
        refuses: Callable[[str], None] = lambda _: None,
        clock: Callable[[], int] = perf_counter_ns,
    ) -> None:
        self._share, self._refuses, self._clock = share, refuses, clock
        self.per_s = per_s
        self.refused = 0
        self._most = 0
        self._apart_ns = 0
        self._apart_until_ns = 0
        """So long starts are kept apart, since more came than may start."""
        self._started: deque[int] = deque()
        """When, of those in the last second and some before."""
        self._text = ""
        self._set(per_s)

    def admit(self, entry: Entry) -> None:
        """A connection is made that this entry admits: its cap holds for all, if it is lower."""
        if entry.max_requests_per_s is not None and (self.per_s is None or entry.max_requests_per_s < self.per_s):
            self._set(entry.max_requests_per_s)

    def reshare(self, share: Callable[[float], int]) -> None:
        """The shares of the fleet have changed."""
        self._share = share
        self._set(self.per_s)

    def lower(self, share: Callable[[float], int]) -> None:
        """The shares of the fleet are about to change: of ours what becomes less is so at once."""
        if self.per_s is not None:
            self._most = min(self._most, share(self.per_s))

    def take(self) -> bool:
        """HOT, where there is a cap: once a request. Whether it may start, which it then has."""
        if self.per_s is None:
            return True
        now_ns, started = self._clock(), self._started
        last_ns = now_ns - NS_PER_S
        while started and started[0] <= last_ns:
            started.popleft()
        if len(started) < self._most and (now_ns >= self._apart_until_ns or self._is_apart(now_ns)):
            started.append(now_ns)
            return True
        self._apart_until_ns = now_ns + 2 * NS_PER_S
        self.refused += 1
        self._refuses(self._text)
        return False

    def refusal(self) -> OverTheCap:
        """What to raise after `take` has said no."""
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
        if per_s is not None:
            self._most = self._share(per_s)
            self._apart_ns = NS_PER_S // (2 * self._most) if self._most else NS_PER_S
            self._text = f"the allow-list admits {per_s:,.12g} requests/s of all agents together, here {self._most:,}"

    def __repr__(self) -> str:
        return f"<Cap {self.per_s} requests/s of the fleet, {self._most} here, {self.refused} refused>"


def capped(base: type[Meter], cap: Cap) -> type[Meter]:
    """A meter that starts nothing above the cap."""

    class CappedMeter(base):  # type: ignore[valid-type, misc]
        __slots__ = ()

        def ask(self, name: str) -> RequestSeries:
            """HOT. Raises OverTheCap, and has counted nothing then but that."""
            if not cap.take():
                self.settle()
                raise cap.refusal()
            series: RequestSeries = super().ask(name)
            return series

    return CappedMeter
