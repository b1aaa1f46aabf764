"""Single requests and iterations that are stored, to show why something is slow or fails.

An `Exemplar` is one line: which arrival, when, how long, which trace. For each series and interval
an agent sends the slowest, some failed ones and some random ones. In plans with tracing they are drawn
from the sampled ones, with some that took longer than an objective allows, and each has the number of
requests that it stands for: `loadgen/engine/tracing`. A `Failure` is a whole exchange,
redacted by the agent: the first few of each request and outcome. Both travel in the deltas, so they
are exactly as complete as the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappush, heapreplace
from random import Random
from typing import Final, Literal, get_args

import msgspec

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import COUNT, SAME_VERSION
from loadgen.measure.deltas.series_key import OK, PHASES, Tags

__all__ = [
    "MAX_EXEMPLARS",
    "MAX_FAILURES",
    "MAX_FAILURE_BYTES",
    "MAX_REQUESTS",
    "CheckedExemplars",
    "Exemplar",
    "ExemplarRow",
    "ExemplarState",
    "ExemplarTable",
    "Failure",
    "KeptExemplar",
    "KeptFailure",
    "Why",
    "check_exemplars",
]

Why = Literal["slowest", "failed", "random", "over"]
_WHYS: Final = frozenset(get_args(Why))
MAX_EXEMPLARS: Final = 500
"""Most exemplars in one delta."""
MAX_FAILURES: Final = 50
"""Most failures in one delta; the next delta carries the rest."""
MAX_REQUESTS: Final = 50
"""Most requests of an iteration that its exemplar lists."""
MAX_FAILURE_BYTES: Final = 64 * 1024
"""Largest size of one failure: heads and 4 KiB of body in both directions, data row and traceback."""


class Exemplar(msgspec.Struct, frozen=True, gc=False):
    """One request, one step, or one iteration of a journey, with its times.

    journey, step, request: where; "" if it has none. A step has no request, an iteration neither step nor request.
    load: index of the plan's load. n: number of the arrival within the load, as in `check --arrival`.
    at_ns: when it was sent (request), entered (step) or due (iteration), from T0. service_ns: 0 if nothing was sent.
    trace: its trace id, 32 hex digits, or "". note: what the journey noted (`user.note`), as JSON, or "". A controller
    decodes 10,000 of these a second. A frozen dataclass takes 1.2 µs to build, a Struct 0.2 µs.

    In plans with tracing also, else empty:
    span: the id of our span, 16 hex digits: the parent of the target's first span. "" if the scenario traced it.
    sampled: the target's tracing keeps the trace. stands_for: the number of requests, steps or iterations of this
    journey, step and request that it stands for, itself included; their sum over a run is an unbiased estimate of all
    that ended. 0: none, so leave it out of statistics (it was not sampled, or not chosen by chance).
    status: HTTP status, or 0. first_byte_ns: from sent to the first byte of the answer, or 0.
    phases: ns of each of `PHASES`, in their order. send is part of wait, unless the plan measures phases.
    reused: sent on a connection that was open already. pool_limited: its iteration waited for a free user.
    unfit: it ended in an interval in which the generator was unfit. remote: address and port of the other side; of a
    proxy if there is one. tags: those of its series. active_loads: indices of the loads that had users or starts then.
    requests: of a step or an iteration: "TRACE-SPAN" of each of its first `MAX_REQUESTS` requests.
    """

    journey: str
    step: str
    request: str
    outcome: str
    why: Why
    load: int
    n: int
    at_ns: int
    response_ns: int
    service_ns: int = 0
    trace: str = ""
    warmup: bool = False
    note: str = ""
    span: str = ""
    sampled: bool = False
    stands_for: float = 0.0
    status: int = 0
    first_byte_ns: int = 0
    phases: tuple[int, ...] = ()
    reused: bool = False
    pool_limited: bool = False
    unfit: bool = False
    remote: str = ""
    tags: Tags = ()
    active_loads: tuple[int, ...] = ()
    requests: tuple[str, ...] = ()

    @property
    def may_be_read(self) -> bool:
        """Return whether a tracing system may have its trace, so that a link leads somewhere.

        True for traces of the scenario's own and of runs before there was a decision, because theirs is unknown.
        """
        return self.sampled or (self.trace != "" and not self.span)


ExemplarRow = tuple[str, str, str, str, Why, int, int, int, int, int, str, bool, str]
"""An exemplar of a plan without tracing, as the values of its first fields: `Exemplar(*row)` is the exemplar."""


class CheckedExemplars(tuple[Exemplar, ...]):
    """Exemplars of one delta that their decoder has checked, so that nobody checks their texts and numbers again."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed request or iteration with all that is known of it. The agent redacts every text before it sends it.

    detail: the expected and the actual result. where: line of the scenario, such as "checkout.py:14 in checkout".
    traceback: the frames of the scenario. row: the data row as JSON. note: what the journey noted, as JSON.
    sent, received: head and body as text; a body over 4 KiB is cut, with a mark. "" if nothing was sent or received.
    """

    journey: str
    step: str
    request: str
    outcome: str
    load: int
    n: int
    at_ns: int
    response_ns: int
    detail: str = ""
    where: str = ""
    traceback: str = ""
    row: str = ""
    sent: str = ""
    received: str = ""
    trace: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class KeptExemplar:
    """An exemplar with the region and the agent that it came from."""

    region: str
    agent: str
    exemplar: Exemplar


@dataclass(frozen=True, slots=True)
class KeptFailure:
    """A failure as the run stores it. number: within the run, from 1, in order of arrival at the controller."""

    number: int
    region: str
    agent: str
    failure: Failure


class _Kept:
    """The exemplars of one series: a heap of the slowest, and reservoirs of failed, random and slow ones (`over`)."""

    __slots__ = (
        "failed",
        "failed_seen",
        "least_ns",
        "over",
        "over_seen",
        "random",
        "random_seen",
        "readable",
        "slowest",
    )

    def __init__(self) -> None:
        self.slowest: list[tuple[int, int, KeptExemplar]] = []
        self.least_ns = -1
        """The least response time in `slowest` if that is full, else -1: only longer ones are added to it."""
        self.failed: list[KeptExemplar] = []
        self.random: list[KeptExemplar] = []
        self.over: list[KeptExemplar] = []
        self.failed_seen = self.random_seen = self.over_seen = 0
        self.readable: dict[int, int] = {}
        """Number of slow sampled ones that were sent, by `_octave` of their response time."""


class _KeptState(msgspec.Struct, frozen=True, array_like=True):
    key: tuple[str, str, str]
    slowest: list[tuple[int, int, KeptExemplar]]
    failed: list[KeptExemplar]
    random: list[KeptExemplar]
    failed_seen: int
    random_seen: int
    over: list[KeptExemplar] = []
    over_seen: int = 0
    readable: dict[int, int] = {}


class ExemplarState(msgspec.Struct, frozen=True, array_like=True):
    """The contents of an ExemplarTable, for a checkpoint."""

    series: list[_KeptState]
    count: int
    left_out: int


class ExemplarTable:
    """A run's exemplars: for each series the slowest 10, up to 20 failed, 20 random and 60 slow ones (`over`).

    The slowest are exact as far as agents sent them. The others are drawn with equal chance from all that were sent. So
    an agent or interval with few requests is over-represented. For statistics take all exemplars of the deltas with
    `stands_for` above 0 (`Run.exemplars`). Exemplars of the warm-up are left out. Memory is bounded: at most 1,000
    series, some 90 kB each when full.
    """

    SLOWEST: Final = 10
    FAILED: Final = 20
    RANDOM: Final = 20
    OVER: Final = 60
    """`loadgen trace` needs at least 30 slow traces."""
    MAX_SERIES: Final = 1_000

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()  # noqa: S311  # no secret depends on it
        self._series: dict[tuple[str, str, str], _Kept] = {}
        self._count = 0
        self.left_out = 0
        """Exemplars that were dropped because their series were beyond the cap."""

    def add(self, region: str, agent: str, exemplars: Iterable[Exemplar]) -> None:
        """HOT on the controller, once per delta: add the exemplars that one agent sent for one interval.

        Cost: 0.3 µs for each exemplar of a full series. None that is dropped may stay in memory: 1,000 agents have more
        of them than a processor's cache holds, and to free an old one takes longer than to decode a new one.
        """
        series = self._series
        for one in exemplars:
            kept = series.get((one.journey, one.step, one.request))
            if kept is not None and one.why == "slowest" and one.outcome == OK:
                if one.sampled and not one.warmup:
                    _count(kept, one)
                if one.response_ns <= kept.least_ns:
                    continue  # most exemplars of a full series end here
            if not one.warmup:
                self._add(region, agent, one)

    def add_rows(self, region: str, agent: str, rows: Iterable[ExemplarRow]) -> None:
        """HOT on the controller, once per delta: the same as `add` of `Exemplar(*row)` for each row.

        An Exemplar is made only of a row that is kept. Cost: 0.2 µs for each row of a full series.
        """
        series = self._series
        for row in rows:
            kept = series.get(row[:3])
            # (3: outcome, 4: why, 8: response_ns, 11: warmup)
            if kept is None or row[3] != OK or row[8] > kept.least_ns or row[4] == "over":
                if not row[11]:
                    self._add(region, agent, Exemplar(*row))
            elif row[4] == "random" and not row[11]:
                kept.random_seen += 1
                if (at := self._place(kept.random, self.RANDOM, kept.random_seen)) is not None:
                    kept.random[at : at + 1] = [KeptExemplar(region, agent, Exemplar(*row))]

    def _add(self, region: str, agent: str, one: Exemplar) -> None:
        key = (one.journey, one.step, one.request)
        kept = self._series.get(key)
        if kept is None:
            if len(self._series) >= self.MAX_SERIES:
                self.left_out += 1
                return
            kept = self._series[key] = _Kept()
            if one.sampled and one.why == "slowest" and one.outcome == OK:
                _count(kept, one)
        if one.outcome != OK:
            kept.failed_seen += 1
            self._into(kept.failed, self.FAILED, kept.failed_seen, region, agent, one)
            return
        heap = kept.slowest
        if len(heap) < self.SLOWEST or one.response_ns > heap[0][0]:
            self._count += 1  # a unique tie-breaker, so that the heap never compares two exemplars
            entry = (one.response_ns, -self._count, KeptExemplar(region, agent, one))
            if len(heap) < self.SLOWEST:
                heappush(heap, entry)
            else:
                heapreplace(heap, entry)
            if len(heap) == self.SLOWEST:
                kept.least_ns = heap[0][0]
        if one.why == "random":
            kept.random_seen += 1
            self._into(kept.random, self.RANDOM, kept.random_seen, region, agent, one)
        elif one.why == "over":
            kept.over_seen += 1
            _count(kept, one)
            self._into(kept.over, self.OVER, kept.over_seen, region, agent, one)

    def _into(self, kept: list[KeptExemplar], most: int, seen: int, region: str, agent: str, one: Exemplar) -> None:
        """Add one exemplar to `kept`, or drop it: see `_place`."""
        if (at := self._place(kept, most, seen)) is not None:
            kept[at : at + 1] = [KeptExemplar(region, agent, one)]

    def _place(self, kept: list[KeptExemplar], most: int, seen: int) -> int | None:
        """Return the position of a new exemplar in `kept`, a random selection of at most `most` exemplars.

        The selection is reservoir sampling (algorithm R). seen: number of exemplars that were offered to `kept` so far,
        with this one. When `kept` is full, the new exemplar replaces a random one with the probability `most` / `seen`.
        None: it is dropped.
        """
        if len(kept) < most:
            return len(kept)
        at = int(self._random.random() * seen)
        return at if at < most else None

    def state(self) -> ExemplarState:
        """Return the contents of the table as a value, to be stored in a checkpoint."""
        series = [
            _KeptState(
                key,
                one.slowest,
                one.failed,
                one.random,
                one.failed_seen,
                one.random_seen,
                one.over,
                one.over_seen,
                one.readable,
            )
            for key, one in self._series.items()
        ]
        return ExemplarState(series, self._count, self.left_out)

    def take_state(self, state: ExemplarState) -> None:
        """Replace the contents of the table with a value that `state()` returned, after a restart of the controller."""
        self._count, self.left_out = state.count, state.left_out
        for one in state.series:
            kept = self._series[one.key] = _Kept()
            kept.slowest, kept.failed, kept.random = one.slowest, one.failed, one.random
            kept.least_ns = one.slowest[0][0] if len(one.slowest) == self.SLOWEST else -1
            kept.failed_seen, kept.random_seen = one.failed_seen, one.random_seen
            kept.over, kept.over_seen, kept.readable = one.over, one.over_seen, one.readable

    def series(self) -> list[tuple[str, str, str]]:
        """Return (journey, step, request) of each series that has exemplars; "" stands for a missing part."""
        return list(self._series)

    def of(self, journey: str, step: str = "", request: str = "") -> list[KeptExemplar]:
        """Return the stored exemplars of one series, each once: the slowest, then failed, slow and random ones.

        The list is empty for an unknown series.
        """
        kept = self._series.get((journey, step, request))
        if kept is None:
            return []
        slowest = [one for _, _, one in sorted(kept.slowest, reverse=True)]
        return list(dict.fromkeys((*slowest, *kept.failed, *kept.over, *kept.random)))

    def readable(self, limit_ns: float, is_wanted: Callable[[str, str, str], bool]) -> int:
        """Return the number of sampled ok ones above the limit that agents sent so far: their traces can be read.

        Not the number of all that were sampled, because agents send a few of each interval. One that is less than 1 %
        above the limit may be missing.

        is_wanted: of (journey, step, request), with "" for a missing part.
        """
        least = _octave(int(limit_ns))
        return sum(
            count
            for key, kept in self._series.items()
            if is_wanted(*key)
            for octave, count in kept.readable.items()
            if octave > least
        )

    def __iter__(self) -> Iterator[KeptExemplar]:
        """Yield all stored exemplars of the run, one series after another."""
        for key in self._series:
            yield from self.of(*key)

    def __len__(self) -> int:
        return sum(len(self.of(*key)) for key in self._series)


def _count(kept: _Kept, one: Exemplar) -> None:
    octave = _octave(one.response_ns)
    kept.readable[octave] = kept.readable.get(octave, 0) + 1


def _octave(ns: int) -> int:
    """Return a number that grows with `ns` in steps of less than 1 %: at most 8,000 up to the longest response time."""
    exponent = max(0, ns.bit_length() - 8)
    return (exponent << 8) + (ns >> exponent)


def check_exemplars(name: str, exemplars: tuple[Exemplar, ...], failures: tuple[Failure, ...]) -> None:
    """HOT: check the exemplars and failures of one delta, and raise WireError if one is impossible or over a limit.

    `name` names the delta in the error message.
    """
    if len(exemplars) > MAX_EXEMPLARS or len(failures) > MAX_FAILURES:
        raise WireError(
            f"{name} has {len(exemplars):,} exemplars and {len(failures):,} failures, "
            f"more than {MAX_EXEMPLARS:,} and {MAX_FAILURES:,}",
            hint=SAME_VERSION,
        )
    for one in () if isinstance(exemplars, CheckedExemplars) else exemplars:
        if one.why not in _WHYS:
            raise WireError(f"{name} has an exemplar of an unknown kind: {one.why}", hint=SAME_VERSION)
        # Without calls of `min` and `max`, which take twice as long. A stands_for that is not a number is rejected too,
        # because every comparison with it is False.
        if (
            one.response_ns < 0
            or one.service_ns < 0
            or one.first_byte_ns < 0
            or one.status < 0
            or len(one.trace) > 64
            or len(one.span) > 64
            or not 0 <= one.stands_for <= COUNT
            or (one.phases and (min(one.phases) < 0 or len(one.phases) > len(PHASES)))
        ):
            raise WireError(f"{name} has an impossible exemplar: {one}", hint=SAME_VERSION)
    for failure in failures:
        texts = (failure.detail, failure.where, failure.traceback, failure.row, failure.sent, failure.received)
        if sum(map(len, texts)) > MAX_FAILURE_BYTES:
            raise WireError(f"{name} has a failure of more than {MAX_FAILURE_BYTES:,} bytes", hint=SAME_VERSION)
