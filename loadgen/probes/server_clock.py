"""The offset of a server's clock as bounds, from exchanges in which the server's clock was read. Pure.

Each exchange encloses the reading: the server's clock was read between the request and the answer. So its offset to the
probe's clock lies between two bounds, and the exchanges around a time together give narrower bounds. Two clocks drift
apart by at most `MOST_DRIFT`, so the bounds of an exchange widen with the distance in time. If no offset fits all
exchanges, one of the clocks jumped: exchanges before the jump are never combined with exchanges after the jump.

All times are ns. Source: F. Cristian, "Probabilistic clock synchronization", 1989.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from loadgen.probes.reader import ServerTime

__all__ = ["MOST_DRIFT", "ServerClockOffset"]

MOST_DRIFT: Final = 100e-6
"""The most by which the rates of two clocks differ: two oscillators of 50 ppm."""


class ServerClockOffset:
    """The offset of a server's clock to the probe's. Add exchanges in the order of their times."""

    def __init__(self) -> None:
        self._segments: list[list[tuple[int, int, int]]] = []
        """Between two jumps: (time of the probe's clock, least offset, most offset)."""
        self._now: tuple[int, int, int] | None = None
        """The intersection of the last segment's bounds at the time of its last exchange."""
        self._narrow: list[tuple[list[int], list[int], list[int]]] | None = None

    def add(self, one: ServerTime) -> None:
        """Add an exchange."""
        at = (one.sent_ns + one.received_ns) // 2
        least, most = one.at_ns - one.received_ns, one.at_ns + one.resolution_ns - one.sent_ns
        self._narrow = None
        if self._now is not None:
            slack = _slack(at - self._now[0])
            low, high = max(least, self._now[1] - slack), min(most, self._now[2] + slack)
            if low <= high:
                self._segments[-1].append((at, least, most))
                self._now = at, low, high
                return
        self._segments.append([(at, least, most)])
        self._now = at, least, most

    @property
    def jumps(self) -> tuple[int, ...]:
        """Return the times, by the probe's clock, of the first exchanges after a jump."""
        return tuple(segment[0][0] for segment in self._segments[1:])

    @property
    def count(self) -> int:
        """Return the number of exchanges."""
        return sum(map(len, self._segments))

    def at(self, time_ns: int) -> tuple[int, int] | None:
        """Return (offset, error) at a time of the probe's clock; None without an exchange.

        The true offset is at most `error` away from `offset`.
        """
        if not self._segments:
            return None
        if self._narrow is None:
            self._narrow = [_narrowed(segment) for segment in self._segments]
        number = max(0, bisect_right([segment[0][0] for segment in self._segments], time_ns) - 1)
        times, least, most = self._narrow[number]
        index = bisect_right(times, time_ns)
        near = [place for place in (index - 1, index) if 0 <= place < len(times)]
        low = max(least[place] - _slack(times[place] - time_ns) for place in near)
        high = min(most[place] + _slack(times[place] - time_ns) for place in near)
        return (low + high) // 2, (high - low + 1) // 2

    def probe_time(self, server_ns: int) -> tuple[int, int] | None:
        """Return (time, error) of the probe's clock at a time of the server's clock; None without an exchange."""
        found = self.at(server_ns - self._segments[-1][-1][1]) if self._segments else None
        if found is None:
            return None
        found = self.at(server_ns - found[0]) or found
        return server_ns - found[0], found[1]


def _slack(distance_ns: int) -> int:
    return int(MOST_DRIFT * abs(distance_ns)) + 1


def _narrowed(segment: list[tuple[int, int, int]]) -> tuple[list[int], list[int], list[int]]:
    """Return times, least and most offsets of a segment, each narrowed by the exchanges before and after it."""
    times = [at for at, _, _ in segment]
    least = _swept(times, [low for _, low, _ in segment], max, -1)
    most = _swept(times, [high for _, _, high in segment], min, 1)
    return times, least, most


def _swept(times: list[int], bounds: list[int], narrower: Callable[[int, int], int], sign: int) -> list[int]:
    found = list(bounds)
    for step in (1, -1):
        order = range(len(times))[::step]
        for before, now in pairwise(order):
            found[now] = narrower(found[now], found[before] + sign * _slack(times[now] - times[before]))
    return found
