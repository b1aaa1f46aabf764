"""Bounds of the offsets between the clocks of instances, from the calls between them.

The bounds between two instances (`clocks.pair`) add up along chains of calls. Sure bounds always hold, and
reports show them. Likely bounds are narrower, and spans are shifted by them (decision 118).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from loadgen.traces.clocks.exchanges import LATE_END_NS, NOTHING, Bounds, Exchange, instance_of
from loadgen.traces.clocks.pair import Pair
from loadgen.traces.model import Span
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["ClockOffset", "ClockOffsets", "clock_offsets", "offset_sentence", "shift_of"]

_WORTH_MS: Final = 0.1
"""Likely bounds are shown if they are closer than the sure ones by this."""


class ClockOffset(msgspec.Struct, frozen=True):
    """The offset of an instance's clock relative to the reference's, in ns, in the middle of the run.

    exchanges: calls to and from the instance. contradicting: those among them that contradict the others.
    jumped_at_ns: when its clock jumped. bounds: sure ones; None if the calls contradict each other too often. likely:
    bounds within the sure ones, which hold if at least three of four servers' spans end at most LATE_END_NS late.
    """

    instance: str
    reference: str
    bounds: Bounds | None
    exchanges: int
    contradicting: int = 0
    jumped_at_ns: tuple[int, ...] = ()
    likely: Bounds | None = None

    @property
    def is_off(self) -> bool:
        """Return whether the clocks differ, as far as the likely bounds show."""
        bounds = self.likely or self.bounds
        return bounds is not None and not bounds[0] <= 0 <= bounds[1]


class ClockOffsets:
    """The offsets of all instances that call each other, at any time of a run."""

    def __init__(self, pairs: dict[tuple[str, str], Pair], calls: dict[str, int], served: dict[str, int]) -> None:
        self._pairs = {names: pair for names, pair in pairs.items() if pair.is_one_clock}
        self._calls = calls
        self._served = served
        self._of_second: dict[int, tuple[dict[str, Bounds], dict[str, Bounds]]] = {}
        self._neighbours: dict[str, set[str]] = {name: set() for name in calls}
        for first, second in self._pairs:
            self._neighbours[first].add(second)
            self._neighbours[second].add(first)
        self._groups = self._reachable()
        self._all_pairs = pairs

    def at(self, time_ns: int) -> dict[str, Bounds]:
        """Return by instance how far its clock is likely ahead of the reference, in the second of a time.

        Only the largest group of instances that call each other is in the result. Its reference, the instance with the
        most calls, has (0, 0). Bounds along chains of calls add up.
        """
        return self._of_largest_group(self._at(time_ns)[1])

    def surely_at(self, time_ns: int) -> dict[str, Bounds]:
        """Return the same with bounds that hold in any case: half as wide as the shortest call, or narrower."""
        return self._of_largest_group(self._at(time_ns)[0])

    def _of_largest_group(self, bounds: Mapping[str, Bounds]) -> dict[str, Bounds]:
        group = self._groups[0] if self._groups else []
        return {name: bounds[name] for name in group if name in bounds} if len(group) > 1 else {}

    def _at(self, time_ns: int) -> tuple[dict[str, Bounds], dict[str, Bounds]]:
        """Return the sure and the likely bounds of all groups, each relative to its own reference."""
        second = time_ns // NS_PER_S
        if second not in self._of_second:
            if len(self._of_second) > 10_000:
                self._of_second.clear()
            self._of_second[second] = self._bounds(second * NS_PER_S + NS_PER_S // 2)
        return self._of_second[second]

    def told(self) -> list[ClockOffset]:
        """Return the offset of each instance but the references, those with the largest offsets first."""
        times = [call[0] for pair in self._all_pairs.values() for call in (pair.calls[0], pair.calls[-1])]
        sure, likely = self._at((min(times) + max(times)) // 2) if times else ({}, {})
        jumps = self._jumps()
        found = []
        for group in self._groups:
            for name in group[1:] or self._doubtful(group[0]):
                wrong = sum(pair.contradicting for names, pair in self._all_pairs.items() if name in names)
                known, close = (sure.get(name), likely.get(name)) if len(group) > 1 else (None, None)
                found.append(ClockOffset(name, group[0], known, self._calls[name], wrong, jumps.get(name, ()), close))
        return sorted(found, key=lambda one: (-abs(sum(one.bounds)) if one.bounds else 0, one.instance))

    def _doubtful(self, name: str) -> list[str]:
        """Return the name of an instance that can be compared with no other one, unless another one is to blame: of two
        the one that served more calls stands for several machines."""
        others = [other for names in self._all_pairs if name in names for other in names if other != name]
        served = self._served
        to_blame = [other for other in others if (served.get(other, 0), other) > (served.get(name, 0), name)]
        return [] if len(to_blame) == len(others) else [name]

    def _reachable(self) -> list[list[str]]:
        """Return the groups of instances that call each other, each with its reference first."""
        groups = []
        left = sorted(self._calls, key=lambda name: (-self._calls[name], name))
        seen: set[str] = set()
        for name in left:
            if name in seen:
                continue
            group = [name]
            seen.add(name)
            for member in group:
                for other in sorted(self._neighbours[member] - seen):
                    seen.add(other)
                    group.append(other)
            groups.append(group)
        return groups

    def _bounds(self, time_ns: int) -> tuple[dict[str, Bounds], dict[str, Bounds]]:
        """Return the closest sure and likely bounds of all instances at a time."""
        at = {names: pair.at(time_ns) for names, pair in self._pairs.items()}
        sure = self._along_chains({names: bounds for names, (bounds, _) in at.items()})
        likely = self._along_chains({names: bounds for names, (_, bounds) in at.items()})
        for name, (least, most) in sure.items():
            close = likely.get(name, (least, most))
            close = max(least, close[0]), min(most, close[1])
            likely[name] = close if close[0] <= close[1] else (least, most)
        return sure, likely

    def _along_chains(self, of_pairs: Mapping[tuple[str, str], Bounds]) -> dict[str, Bounds]:
        """Return the closest bounds of all instances: shortest ways over the pairs (Bellman, Ford)."""
        steps: list[tuple[str, str, int]] = []
        for (first, second), (least, most) in of_pairs.items():
            if most < NOTHING // 2:
                steps.append((first, second, most))
            if least > -NOTHING // 2:
                steps.append((second, first, -least))
        back = [(end, begin, length) for begin, end, length in steps]
        found: dict[str, Bounds] = {}
        for group in self._groups:
            most_of = _shortest(group, steps)
            least_of = _shortest(group, back)
            for name in group:
                if name in most_of and name in least_of:
                    least, most = -least_of[name], most_of[name]
                    found[name] = (least, most) if least <= most else ((least + most) // 2,) * 2
            found[group[0]] = (0, 0)
        return found

    def _jumps(self) -> dict[str, tuple[int, ...]]:
        """Blame each jump on the instance of the pair most of whose pairs have jumps."""
        shares: dict[str, tuple[int, int]] = {}
        for names, pair in self._pairs.items():
            for name in names:
                jumped, pairs = shares.get(name, (0, 0))
                shares[name] = jumped + bool(pair.jumps), pairs + 1
        references = {group[0] for group in self._groups}
        found: dict[str, tuple[int, ...]] = {}
        for names, pair in self._pairs.items():
            if pair.jumps:
                blamed = max(names, key=lambda name: (shares[name][0] / shares[name][1], name not in references, name))
                if len(pair.jumps) > len(found.get(blamed, ())):
                    found[blamed] = pair.jumps
        return found


def clock_offsets(exchanges: Iterable[Exchange]) -> ClockOffsets:
    """Return the offsets of the clocks from all calls of a run. Cost: about 6 µs a call."""
    pairs: dict[tuple[str, str], Pair] = {}
    calls: dict[str, int] = {}
    served: dict[str, int] = {}
    for exchange in exchanges:
        sure, likely = exchange.bounds(), exchange.likely_bounds()
        first, second = exchange.client, exchange.server
        if first > second:
            first, second = second, first
            sure, likely = (-sure[1], -sure[0]), (-likely[1], -likely[0])
        pair = pairs.get((first, second))
        if pair is None:
            pair = pairs[first, second] = Pair()
        pair.calls.append((exchange.sent_ns, sure, likely))
        served[exchange.server] = served.get(exchange.server, 0) + 1
        calls[first] = calls.get(first, 0) + 1
        calls[second] = calls.get(second, 0) + 1
    for pair in pairs.values():
        pair.close()
    return ClockOffsets(pairs, calls, served)


def shift_of(
    parent: Span,
    child: Span,
    parent_shift: int = 0,
    root: str = "",
    offsets: Mapping[str, Bounds] | None = None,
    may_guess: bool = True,
) -> int:
    """Return the correction of a child's clock, ns: how far it is ahead of the root's clock; 0 if none is needed.

    With offsets of the root and the child: 0 if the offsets and this call allow 0. Otherwise the value nearest to the
    middle of the offsets that puts the server's span inside its client's.
    Without offsets: 0 if the server's span lies inside its client's without a correction. Otherwise the value that
    centres the server's span in its client's, as Jaeger does; only with may_guess.

    root: the instance of the root. parent_shift: the value that this function returned for the parent. Both spans have
    an end.
    """
    if child.service == parent.service and child.resource is parent.resource:
        return parent_shift
    mine, theirs = instance_of(parent), instance_of(child)
    if mine == theirs:
        return parent_shift
    call = strict = sure = None
    if child.kind == "server" and parent.kind == "client":
        strict, call, sure = _limits(parent, child, parent_shift)
    known = _difference(offsets, root, theirs) if offsets else None
    if known is None:
        if call is None or strict is None or not may_guess or call[0] <= parent_shift <= call[1]:
            return parent_shift
        return 0 if call[0] <= 0 <= call[1] else (strict[0] + strict[1]) // 2
    wanted = 0 if known[0] <= 0 <= known[1] else (known[0] + known[1]) // 2
    if call is None or strict is None or sure is None or (wanted == 0 and sure[0] <= 0 <= sure[1]):
        return wanted
    for least, most in (strict, call):
        if max(least, known[0]) <= min(most, known[1]):
            return min(max(wanted, least, known[0]), most, known[1])
    return wanted


def _limits(client: Span, server: Span, shift: int) -> tuple[Bounds | None, Bounds | None, Bounds | None]:
    """Return the shifts that put a server's span into its client's: without and with a late end of the server, and its
    beginning only.

    All are None if the server's span is longer.
    """
    assert client.end_ns is not None
    assert server.end_ns is not None
    least, most = server.end_ns - client.end_ns + shift, server.start_ns - client.start_ns + shift
    if least > most:
        return None, None, None
    resolution = max(client.resolution_ns, server.resolution_ns)
    sure = server.start_ns - client.end_ns + shift - resolution, most + resolution
    return (least, most), (least - LATE_END_NS - resolution, most + resolution), sure


def offset_sentence(offset: ClockOffset, start_ns: int) -> str:
    """Return one sentence on the clock of an instance. start_ns: T0 of the run, since 1970."""
    name = offset.instance
    calls = f"{offset.exchanges:,} exchange{'' if offset.exchanges == 1 else 's'}"
    if offset.bounds is None:
        return f"{name}: its clock cannot be compared, because its {calls} contradict each other"
    text = f"{name} is {_place(offset.bounds)}"
    if offset.likely is not None and _half_ms(offset.likely) <= _half_ms(offset.bounds) - _WORTH_MS:
        text += f", likely {_place(offset.likely)}"
    text += f" ({calls})"
    if offset.jumped_at_ns:
        text += "; its clock jumped at " + ", ".join(
            f"{(at - start_ns) / NS_PER_S:.0f} s" for at in offset.jumped_at_ns
        )
    return text


def _place(bounds: Bounds) -> str:
    middle = sum(bounds) / 2 / NS_PER_MS
    where: Literal["ahead", "behind"] = "ahead" if middle >= 0 else "behind"
    return f"{abs(middle):.1f} ± {_half_ms(bounds):.1f} ms {where}"


def _half_ms(bounds: Bounds) -> float:
    return (bounds[1] - bounds[0]) / 2 / NS_PER_MS


def _shortest(group: Sequence[str], steps: Sequence[tuple[str, str, int]]) -> dict[str, int]:
    """Return the length of the shortest way from the first of a group to each. Stops early if lengths contradict."""
    length = {group[0]: 0}
    for _ in range(len(group)):
        changed = False
        for begin, end, more in steps:
            if begin in length and length[begin] + more < length.get(end, NOTHING):
                if end == group[0]:
                    continue
                length[end] = length[begin] + more
                changed = True
        if not changed:
            break
    return length


def _difference(offsets: Mapping[str, Bounds], mine: str, theirs: str) -> Bounds | None:
    first, second = offsets.get(mine), offsets.get(theirs)
    if first is None or second is None:
        return None
    return (0, 0) if mine == theirs else (second[0] - first[1], second[1] - first[0])
