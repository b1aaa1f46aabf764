"""Bounds of the offsets between the clocks of instances, from the calls between them.

A call encloses the server's span: it cannot begin before the client sent, nor end after the client was done. Each call
thus bounds the offset, which is the server's clock minus the client's; all calls together bound it closely. A bound
gets weaker by MOST_DRIFT with the distance in time, so a slow drift of a clock never makes the bounds wrong (decision
112). Calls that contradict the earlier ones for good mean that a clock jumped.

Method: K. Marzullo, S. Owicki, Maintaining the time in a distributed system (1983), with intersections over time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from loadgen.traces.model import Span, Trace
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = [
    "LATE_END_NS",
    "MOST_DRIFT",
    "Bounds",
    "ClockOffset",
    "ClockOffsets",
    "Exchange",
    "clock_offsets",
    "exchanges_of",
    "instance_of",
    "offset_sentence",
    "shift_of",
]

Bounds: TypeAlias = tuple[int, int]
"""The offset of a clock relative to another one, in ns: at least, at most. Above 0: ahead."""

MOST_DRIFT: Final = 100e-6
"""Largest difference of the rates of two clocks. Quartz without correction stays below 50e-6 each."""
LATE_END_NS: Final = NS_PER_MS
"""The server's span may end this much later than the client's. Instrumented clients end their span when the headers of
the answer arrive, servers when the body is sent: on loopback up to some 0.3 ms later."""
_JUMP: Final = 3
"""So many calls in a row that contradict the earlier ones, and not each other, mean that a clock jumped."""
_MOST_JUMPS: Final = 5
_MOST_CONTRADICTING: Final = 0.1
"""With more jumps, or a larger share of calls that contradict the others, a name stands for several machines: no offset
is given."""
_NOTHING: Final = 1 << 62
_INSTANCE_KEYS: Final = ("service.instance.id", "k8s.pod.name", "container.id", "host.name", "host.id")


def instance_of(span: Span) -> str:
    """Return the name of the process or machine of a span: the first known of five resource attributes, else the
    service."""
    resource = span.resource
    if resource:
        for key in _INSTANCE_KEYS:
            value = resource.get(key)
            if value:
                return str(value)
    return span.service


class Exchange(msgspec.Struct, frozen=True, gc=False):
    """A call from one instance to another one: sent and done by the client's clock, begin and end by the server's."""

    client: str
    server: str
    sent_ns: int
    done_ns: int
    begin_ns: int
    end_ns: int
    resolution_ns: int = 1

    def bounds(self) -> Bounds:
        """Return how far the server's clock is ahead of the client's. A server that outlives its client gives no
        lower bound."""
        most = self.begin_ns - self.sent_ns + self.resolution_ns
        if self.end_ns - self.begin_ns > self.done_ns - self.sent_ns + LATE_END_NS + self.resolution_ns:
            return -_NOTHING, most
        return min(self.end_ns - self.done_ns - LATE_END_NS - self.resolution_ns, most), most


class ClockOffset(msgspec.Struct, frozen=True):
    """The offset of an instance's clock relative to the reference's, in ns, in the middle of the run.

    exchanges: calls to and from the instance. contradicting: those among them that contradict the others.
    jumped_at_ns: when its clock jumped. bounds: None if the calls contradict each other too often.
    """

    instance: str
    reference: str
    bounds: Bounds | None
    exchanges: int
    contradicting: int = 0
    jumped_at_ns: tuple[int, ...] = ()


def exchanges_of(trace: Trace) -> list[Exchange]:
    """Return the calls between instances in a trace. Cost: 0.3 µs a span and 1 µs a call."""
    clients = {span.id: span for span in trace.spans if span.kind == "client" and span.end_ns is not None}
    found: list[Exchange] = []
    if not clients:
        return found
    for span in trace.spans:
        if span.kind != "server" or span.end_ns is None or span.end_ns < span.start_ns:
            continue
        client = clients.get(span.parent) or clients.get(span.id)
        if client is None or client.end_ns is None or client.end_ns < client.start_ns:
            continue
        names = instance_of(client), instance_of(span)
        if names[0] != names[1]:
            resolution = max(client.resolution_ns, span.resolution_ns)
            found.append(Exchange(*names, client.start_ns, client.end_ns, span.start_ns, span.end_ns, resolution))
    return found


class _Segment:
    """The bounds of two clocks between two jumps. times are sorted; most and least hold at each of them."""

    def __init__(self, calls: Sequence[tuple[int, int, int]]) -> None:
        self.times = [at for at, _, _ in calls]
        self.most = _narrowed(self.times, [most for _, _, most in calls])
        self.least = [-value for value in _narrowed(self.times, [-least for _, least, _ in calls])]

    def at(self, time_ns: int) -> Bounds:
        """Return the bounds at a time, from the calls before and after it."""
        index = bisect_right(self.times, time_ns)
        near = [place for place in (index - 1, index) if 0 <= place < len(self.times)]
        slack = [int(MOST_DRIFT * abs(self.times[place] - time_ns)) + 1 for place in near]
        least = max(self.least[place] - more for place, more in zip(near, slack, strict=True))
        most = min(self.most[place] + more for place, more in zip(near, slack, strict=True))
        return min(least, most), most


class _Pair:
    """All calls between two instances, first and second; offsets are those of second relative to first."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []
        self.segments: list[_Segment] = []
        self.contradicting = 0

    @property
    def is_one_clock(self) -> bool:
        """Tell whether the calls look like those of two clocks, and not of several machines under one name."""
        return len(self.jumps) <= _MOST_JUMPS and self.contradicting <= _MOST_CONTRADICTING * len(self.calls)

    @property
    def jumps(self) -> tuple[int, ...]:
        return tuple(segment.times[0] for segment in self.segments[1:])

    def close(self) -> None:
        """Split the calls at jumps, and leave out those that contradict all around them."""
        self.calls.sort()
        parts: list[list[tuple[int, int, int]]] = [[]]
        inside = _Window()
        rivals: list[tuple[int, int, int]] = []
        rival_window = _Window()
        for call in self.calls:
            if inside.take(call):
                parts[-1].append(call)
                self.contradicting += len(rivals)
                rivals, rival_window = [], _Window()
            elif rival_window.take(call):
                rivals.append(call)
            else:
                self.contradicting += len(rivals)
                rivals, rival_window = [call], _Window()
                rival_window.take(call)
            if len(rivals) >= _JUMP:
                parts.append(rivals)
                inside, rivals, rival_window = rival_window, [], _Window()
        self.contradicting += len(rivals)
        if len(parts) > 1 and len(parts[0]) < _JUMP:
            self.contradicting += len(parts.pop(0))
        self.segments = [_Segment(part) for part in parts]

    def at(self, time_ns: int) -> Bounds:
        chosen = self.segments[0]
        for segment in self.segments[1:]:
            if segment.times[0] <= time_ns:
                chosen = segment
        return chosen.at(time_ns)


class _Window:
    """The intersection of the bounds of calls so far, which widens with time."""

    def __init__(self) -> None:
        self.at = 0
        self.least = -_NOTHING
        self.most = _NOTHING

    def take(self, call: tuple[int, int, int]) -> bool:
        """Intersect with a later call. Return False, and change nothing, if nothing would be left."""
        at, least, most = call
        slack = int(MOST_DRIFT * (at - self.at)) if self.at else 0
        least, most = max(least, self.least - slack), min(most, self.most + slack)
        if least > most:
            return False
        self.at, self.least, self.most = at, least, most
        return True


class ClockOffsets:
    """The offsets of all instances that call each other, at any time of a run."""

    def __init__(self, pairs: dict[tuple[str, str], _Pair], calls: dict[str, int], served: dict[str, int]) -> None:
        self._pairs = {names: pair for names, pair in pairs.items() if pair.is_one_clock}
        self._calls = calls
        self._served = served
        self._of_second: dict[int, dict[str, Bounds]] = {}
        self._neighbours: dict[str, set[str]] = {name: set() for name in calls}
        for first, second in self._pairs:
            self._neighbours[first].add(second)
            self._neighbours[second].add(first)
        self._groups = self._reachable()
        self._all_pairs = pairs

    def at(self, time_ns: int) -> dict[str, Bounds]:
        """Return by instance how far its clock is ahead of the reference, in the second of a time.

        Only the largest group of instances that call each other is in the result. Its reference, the instance with the
        most calls, has (0, 0). Bounds along chains of calls add up.
        """
        bounds = self._at(time_ns)
        group = self._groups[0] if self._groups else []
        return {name: bounds[name] for name in group if name in bounds} if len(group) > 1 else {}

    def _at(self, time_ns: int) -> dict[str, Bounds]:
        """Return the bounds of all groups, each relative to its own reference."""
        second = time_ns // NS_PER_S
        if second not in self._of_second:
            if len(self._of_second) > 10_000:
                self._of_second.clear()
            self._of_second[second] = self._bounds(second * NS_PER_S + NS_PER_S // 2)
        return self._of_second[second]

    def told(self) -> list[ClockOffset]:
        """Return the offset of each instance but the references, those with the largest offsets first."""
        times = [call[0] for pair in self._all_pairs.values() for call in (pair.calls[0], pair.calls[-1])]
        bounds = self._at((min(times) + max(times)) // 2) if times else {}
        jumps = self._jumps()
        found = []
        for group in self._groups:
            for name in group[1:] or self._doubtful(group[0]):
                wrong = sum(pair.contradicting for names, pair in self._all_pairs.items() if name in names)
                known = bounds.get(name) if len(group) > 1 else None
                found.append(ClockOffset(name, group[0], known, self._calls[name], wrong, jumps.get(name, ())))
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

    def _bounds(self, time_ns: int) -> dict[str, Bounds]:
        """Return the tightest bounds of all instances at a time: shortest ways over the pairs (Bellman, Ford)."""
        steps: list[tuple[str, str, int]] = []
        for (first, second), pair in self._pairs.items():
            least, most = pair.at(time_ns)
            if most < _NOTHING // 2:
                steps.append((first, second, most))
            if least > -_NOTHING // 2:
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
    """Return the offsets of the clocks from all calls of a run. Cost: about 3 µs a call."""
    pairs: dict[tuple[str, str], _Pair] = {}
    calls: dict[str, int] = {}
    served: dict[str, int] = {}
    for exchange in exchanges:
        least, most = exchange.bounds()
        first, second = exchange.client, exchange.server
        if first > second:
            first, second, least, most = second, first, -most, -least
        pair = pairs.get((first, second))
        if pair is None:
            pair = pairs[first, second] = _Pair()
        pair.calls.append((exchange.sent_ns, least, most))
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
    """Return how far the clock of a child is ahead of the root's, in ns, as far as it must be corrected.

    root: the instance of the root. parent_shift: what this function returned for the parent. With offsets of the root
    and the child it is 0 if the offsets and this call allow 0; else the middle of the offsets, or what is nearest to it
    and puts the server's span into its client's. Without them, a server's span that does not lie within its client's is
    centred in it, as Jaeger does (may_guess), unless the root's clock fits. Both spans have an end.
    """
    if child.service == parent.service and child.resource is parent.resource:
        return parent_shift
    mine, theirs = instance_of(parent), instance_of(child)
    if mine == theirs:
        return parent_shift
    call = strict = None
    if child.kind == "server" and parent.kind == "client":
        strict, call = _limits(parent, child, parent_shift)
    known = _difference(offsets, root, theirs) if offsets else None
    if known is None:
        if call is None or strict is None or not may_guess or call[0] <= parent_shift <= call[1]:
            return parent_shift
        return 0 if call[0] <= 0 <= call[1] else (strict[0] + strict[1]) // 2
    wanted = 0 if known[0] <= 0 <= known[1] else (known[0] + known[1]) // 2
    if call is None or strict is None or (wanted == 0 and call[0] <= 0 <= call[1]):
        return wanted
    for least, most in (strict, call):
        if max(least, known[0]) <= min(most, known[1]):
            return min(max(wanted, least, known[0]), most, known[1])
    return wanted


def _limits(client: Span, server: Span, shift: int) -> tuple[Bounds | None, Bounds | None]:
    """Return the shifts that put a server's span into its client's, without and with a late end of the server.

    Both are None if the server's span is longer.
    """
    assert client.end_ns is not None
    assert server.end_ns is not None
    least, most = server.end_ns - client.end_ns + shift, server.start_ns - client.start_ns + shift
    if least > most:
        return None, None
    resolution = max(client.resolution_ns, server.resolution_ns)
    return (least, most), (least - LATE_END_NS - resolution, most + resolution)


def offset_sentence(offset: ClockOffset, start_ns: int) -> str:
    """Return one sentence on the clock of an instance. start_ns: T0 of the run, since 1970."""
    name = offset.instance
    calls = f"{offset.exchanges:,} exchange{'' if offset.exchanges == 1 else 's'}"
    if offset.bounds is None:
        return f"{name}: its clock cannot be compared, because its {calls} contradict each other"
    least, most = offset.bounds
    middle, half = (least + most) / 2 / NS_PER_MS, (most - least) / 2 / NS_PER_MS
    where: Literal["ahead", "behind"] = "ahead" if middle >= 0 else "behind"
    text = f"{name} is {abs(middle):.1f} ± {half:.1f} ms {where} ({calls})"
    if offset.jumped_at_ns:
        text += "; its clock jumped at " + ", ".join(
            f"{(at - start_ns) / NS_PER_S:.0f} s" for at in offset.jumped_at_ns
        )
    return text


def _narrowed(times: Sequence[int], limits: Sequence[int]) -> list[int]:
    """Return for each time the smallest upper limit that all limits give, weaker with the distance in time."""
    result = list(limits)
    for order in (range(1, len(times)), range(len(times) - 2, -1, -1)):
        step = -1 if order.step > 0 else 1
        for place in order:
            slack = int(MOST_DRIFT * abs(times[place] - times[place + step])) + 1
            result[place] = min(result[place], result[place + step] + slack)
    return result


def _shortest(group: Sequence[str], steps: Sequence[tuple[str, str, int]]) -> dict[str, int]:
    """Return the length of the shortest way from the first of a group to each. Stops early if lengths contradict."""
    length = {group[0]: 0}
    for _ in range(len(group)):
        changed = False
        for begin, end, more in steps:
            if begin in length and length[begin] + more < length.get(end, _NOTHING):
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
