"""The bounds of the offset of two clocks at any time, from all calls between their instances.

Sure and likely bounds of single calls (`exchanges`) are intersected. A bound gets weaker by MOST_DRIFT with the
distance in time, so a slow drift of a clock never makes the bounds wrong (decision 112). Calls that contradict the
earlier ones for good mean that a clock jumped.

Method: K. Marzullo, S. Owicki, Maintaining the time in a distributed system (1983), with intersections over time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from loadgen.traces.clocks.exchanges import LATE_END_NS, NOTHING, Bounds
from loadgen.units import NS_PER_S

__all__ = ["MOST_DRIFT", "Pair"]

MOST_DRIFT: Final = 100e-6
"""Largest difference of the rates of two clocks. Quartz without correction stays below 50e-6 each."""
_LATE: Final = 4
"""For likely bounds, one in this number of servers' spans may end later. In 96 real calls on loopback 4 did."""
_BLOCK: Final = 32
"""Likely bounds need at least this number of calls, so that chance makes the share of late ends no larger."""
_BLOCK_NS: Final = 10 * NS_PER_S
_JUMP: Final = 3
"""So many calls in a row that surely contradict the earlier ones, and not each other, mean that a clock jumped."""
_SMALL_JUMP: Final = 5
"""The same for likely bounds, which show jumps that are shorter than a call."""
_EARLIER: Final = 8
"""So many calls before a small jump must contradict those after it."""
_MOST_JUMPS: Final = 5
_MOST_CONTRADICTING: Final = 0.1
"""With more jumps, or a larger share of calls that contradict the others, a name stands for several machines: no offset
is given."""

_Call: TypeAlias = tuple[int, Bounds, Bounds]
"""When a call was sent, its sure and its likely bounds."""


class _Limits:
    """Bounds of two clocks at some times, from which they follow at any time. times are sorted."""

    def __init__(self, limits: Sequence[tuple[int, Bounds]]) -> None:
        self.times = [at for at, _ in limits]
        self.most = _narrowed(self.times, [most for _, (_, most) in limits])
        self.least = [-value for value in _narrowed(self.times, [-least for _, (least, _) in limits])]

    def at(self, time_ns: int) -> Bounds:
        """Return the bounds at a time, from the calls before and after it."""
        index = bisect_right(self.times, time_ns)
        near = [place for place in (index - 1, index) if 0 <= place < len(self.times)]
        slack = [int(MOST_DRIFT * abs(self.times[place] - time_ns)) + 1 for place in near]
        least = max(self.least[place] - more for place, more in zip(near, slack, strict=True))
        most = min(self.most[place] + more for place, more in zip(near, slack, strict=True))
        return min(least, most), most


class _Segment:
    """The bounds of two clocks between two jumps."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        self.begin_ns = calls[0][0]
        self._sure = _Limits([(at, sure) for at, sure, _ in calls])
        self._usual = _Limits([_usual(block) for block in _blocks(calls)])

    def at(self, time_ns: int) -> tuple[Bounds, Bounds]:
        """Return the sure and the likely bounds at a time. The sure ones take the place of likely ones that
        contradict them."""
        sure, usual = self._sure.at(time_ns), self._usual.at(time_ns)
        likely = max(sure[0], usual[0]), min(sure[1], usual[1])
        return sure, likely if likely[0] <= likely[1] else sure


def _blocks(calls: Sequence[_Call]) -> Iterator[Sequence[_Call]]:
    """Yield successive calls together, at least _BLOCK of them in at least _BLOCK_NS, if there are as many."""
    begin = 0
    for place in range(_BLOCK, len(calls)):
        if place - begin >= _BLOCK and calls[place][0] - calls[begin][0] >= _BLOCK_NS and len(calls) - place >= _BLOCK:
            yield calls[begin:place]
            begin = place
    yield calls[begin:]


def _usual(calls: Sequence[_Call]) -> tuple[int, Bounds]:
    """Return the middle of some calls in time, and their bounds there without the closest quarter on each side.

    If at most a quarter of the likely bounds is wrong on a side, the rest holds the offset: of the wrong ones, only
    those stay that are less close than a right one.
    """
    middle = (calls[0][0] + calls[-1][0]) // 2
    slack = [int(MOST_DRIFT * abs(at - middle)) + 1 for at, _, _ in calls]
    least = sorted((likely[0] - more for (_, _, likely), more in zip(calls, slack, strict=True)), reverse=True)
    most = sorted(likely[1] + more for (_, _, likely), more in zip(calls, slack, strict=True))
    skipped = -(-len(calls) // _LATE)
    return middle, (least[skipped], most[skipped]) if skipped < len(calls) else (-NOTHING, NOTHING)


class Pair:
    """All calls between two instances, first and second; offsets are those of second relative to first."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.segments: list[_Segment] = []
        self.contradicting = 0

    @property
    def is_one_clock(self) -> bool:
        """Tell whether the calls look like those of two clocks, and not of several machines under one name."""
        return len(self.jumps) <= _MOST_JUMPS and self.contradicting <= _MOST_CONTRADICTING * len(self.calls)

    @property
    def jumps(self) -> tuple[int, ...]:
        return tuple(segment.begin_ns for segment in self.segments[1:])

    def close(self) -> None:
        """Split the calls at jumps, and leave out those that contradict all around them."""
        self.calls.sort()
        parts, self.contradicting = _at_jumps(self.calls)
        self.segments = [_Segment(piece) for part in parts for piece in _at_small_jumps(part)]

    def at(self, time_ns: int) -> tuple[Bounds, Bounds]:
        """Return the sure and the likely bounds at a time."""
        chosen = self.segments[0]
        for segment in self.segments[1:]:
            if segment.begin_ns <= time_ns:
                chosen = segment
        return chosen.at(time_ns)


def _at_jumps(calls: Sequence[_Call]) -> tuple[list[list[_Call]], int]:
    """Split calls where their sure bounds contradict the earlier ones for good. Calls that contradict all around them
    are left out; return their number, too."""
    parts: list[list[_Call]] = [[]]
    contradicting = 0
    inside = _Window()
    rivals: list[_Call] = []
    rival_window = _Window()
    for call in calls:
        if inside.take(call[0], call[1]):
            parts[-1].append(call)
            contradicting += len(rivals)
            rivals, rival_window = [], _Window()
        elif rival_window.take(call[0], call[1]):
            rivals.append(call)
        else:
            contradicting += len(rivals)
            rivals, rival_window = [call], _Window()
            rival_window.take(call[0], call[1])
        if len(rivals) >= _JUMP:
            parts.append(rivals)
            inside, rivals, rival_window = rival_window, [], _Window()
    contradicting += len(rivals)
    if len(parts) > 1 and len(parts[0]) < _JUMP:
        contradicting += len(parts.pop(0))
    return parts, contradicting


def _at_small_jumps(calls: Sequence[_Call]) -> list[Sequence[_Call]]:
    """Split calls where the clock jumped by some ms, less than the calls last. Only likely bounds show that.

    Late ends of spans can look like a jump, so the calls around it must show it without their closest quarter, too.
    """
    pieces: list[Sequence[_Call]] = []
    begin = first_rival = 0
    inside, rival_window = _Window(), _Window()
    rivals = 0
    for place, (at, _, likely) in enumerate(calls):
        wide = likely[0] - LATE_END_NS, likely[1] + LATE_END_NS
        if inside.take(at, wide):
            rivals = 0
            continue
        if not rivals or not rival_window.take(at, wide):
            first_rival, rivals, rival_window = place, 0, _Window()
            rival_window.take(at, wide)
        rivals += 1
        if rivals < _SMALL_JUMP:
            continue
        if first_rival - begin >= _SMALL_JUMP and _differ(
            calls[max(begin, first_rival - _EARLIER) : first_rival], calls[first_rival : place + 1]
        ):
            pieces.append(calls[begin:first_rival])
            begin = first_rival
        inside, rival_window, rivals = rival_window, _Window(), 0
    return [*pieces, calls[begin:]]


def _differ(earlier: Sequence[_Call], later: Sequence[_Call]) -> bool:
    """Return whether the usual bounds of some calls contradict those of later ones."""
    (at, (least, most)), (later_at, (later_least, later_most)) = _usual(earlier), _usual(later)
    slack = 2 * LATE_END_NS + int(MOST_DRIFT * (later_at - at))
    return later_least - most > slack or least - later_most > slack


class _Window:
    """The intersection of the bounds of calls so far, which widens with time."""

    def __init__(self) -> None:
        self.at = 0
        self.least = -NOTHING
        self.most = NOTHING

    def take(self, at: int, bounds: Bounds) -> bool:
        """Intersect with a later call. Return False, and change nothing, if nothing would be left."""
        least, most = bounds
        slack = int(MOST_DRIFT * (at - self.at)) if self.at else 0
        least, most = max(least, self.least - slack), min(most, self.most + slack)
        if least > most:
            return False
        self.at, self.least, self.most = at, least, most
        return True


def _narrowed(times: Sequence[int], limits: Sequence[int]) -> list[int]:
    """Return for each time the smallest upper limit that all limits give, weaker with the distance in time."""
    result = list(limits)
    for order in (range(1, len(times)), range(len(times) - 2, -1, -1)):
        step = -1 if order.step > 0 else 1
        for place in order:
            slack = int(MOST_DRIFT * abs(times[place] - times[place + step])) + 1
            result[place] = min(result[place], result[place + step] + slack)
    return result
