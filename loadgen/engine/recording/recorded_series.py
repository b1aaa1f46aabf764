"""The place of a user in a journey, and its series: lists of values, each looked up once per name.

A `Place` is a journey or a step of one. It holds its own series and those of its requests. Each series has
a list of ints for each metric and outcome. The recorder appends to the lists and, once an interval, swaps
them for empty ones.

A name that a place has not seen yet is looked up by the `Resolver` (the recorder), which owns all series
and limits their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from loadgen.engine.recording.tagging import GivenTags
from loadgen.engine.tracing.over_limits import NEVER_NS
from loadgen.engine.tracing.reservoirs import SampledPicks
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import (
    MISSED,
    OK,
    OTHER,
    PHASES,
    SKIPPED,
    TIMEOUT,
    MessageMetric,
    Metric,
    PageMetric,
    Phase,
    SeriesKey,
    Tags,
)

__all__ = [
    "About",
    "JourneySeries",
    "MoreSeries",
    "Noted",
    "Picked",
    "Picks",
    "Place",
    "RequestSeries",
    "Resolver",
    "Series",
    "Spans",
    "StepSeries",
    "TrendSeries",
    "Watch",
    "Watches",
    "move_watch",
]

MAX_OUTCOMES: Final = 50
"""Most outcomes of a series in one interval; the rest is `(other)`."""
Noted = Mapping[str, object] | None
"""The fields that a journey noted of its iteration (`user.note`). A later note makes a new mapping."""


class About(msgspec.Struct, frozen=True, gc=False):
    """Further fields of exemplars in plans with tracing: the fields of the same name of `Exemplar`."""

    span: str = ""
    status: int = 0
    first_byte_ns: int = 0
    phases: tuple[int, ...] = ()
    reused: bool = False
    pool_limited: bool = False
    remote: str = ""
    tags: Tags = ()
    requests: tuple[str, ...] = ()
    probability: float = 0.0
    """With which it was sampled; 0: with the plan's. `Exemplar` has it in `stands_for`."""


Picked = tuple[str, int, int, int, int, int, str, Noted, About | None]
"""outcome, at_ns, response_ns, service_ns, n, load, trace, noted, about."""


class Spans(Protocol):
    """The traces of the requests of one sampled iteration (`loadgen/engine/tracing/spans.py`)."""

    trace: str
    """The trace of the whole iteration, if its requests are one trace; else ""."""
    probability: float
    """With which the iteration was sampled; 0: with the plan's."""

    def end(self, key: SeriesKey, begun_ns: int, ended_ns: int, outcome: str) -> None:
        """End the iteration."""

    def since(self, begun_ns: int) -> tuple[str, ...]:
        """Return "TRACE-SPAN" of each of the first requests that began at this time or later, in order."""


class Picks:
    """The exemplars of one series that were picked in one interval (`exemplars.py`)."""

    __slots__ = ("failed", "random", "slowest", "weight")

    def __init__(self) -> None:
        self.slowest: Picked | None = None
        self.failed: list[Picked] = []
        self.random: list[Picked] = []
        self.weight = 1.0
        """W of algorithm L."""


class Watch(Protocol):
    """Receives each value of a series that has an objective over a sliding window (`slo_windows.py`).

    Times are `perf_counter_ns`. A running one is identified by its begin, so two that began in the same ns count twice.
    """

    metrics: frozenset[Metric]
    """The metrics besides the response time whose values must be passed to `timed`."""

    def begun(self, at_ns: int, idle_ns: Callable[[int], int] | None = None) -> None:
        """Register that a step or request began at `at_ns`.

        `idle_ns` (now -> ns) returns its think time so far, which is no response time.
        """

    def ended(self, at_ns: int, response_ns: int, outcome: str) -> None:
        """Register that a step, request or iteration that began at `at_ns` ended with this outcome."""

    def timed(self, metric: Metric, at_ns: int, value_ns: int, outcome: str) -> None:
        """Register the value of another metric of a step, request or iteration that began at `at_ns` and ended."""

    def gone(self, at_ns: int) -> None:
        """Register that a step or request that began at `at_ns` was cancelled, and has no outcome."""


def move_watch(
    old: Watch | None, new: Watch | None, begun_ns: int, idle_ns: Callable[[int], int] | None = None
) -> None:
    """Let another watch count a step or request that has begun, because it belongs to another series since.

    The old watch counts it as neither good nor bad.
    """
    if old is not None:
        old.ended(begun_ns, 0, SKIPPED)
    if new is not None:
        new.begun(begun_ns, idle_ns)


class Watches(Protocol):
    """All watched series of one worker."""

    def of(self, key: SeriesKey) -> Watch | None:
        """Return the watch that must receive the values of this series; None if none must.

        Called once for each new series.
        """

    def of_streams(self, key: SeriesKey) -> Watch | None:
        """Return the watch that must receive the stream metrics of a row of requests; None if none must.

        key: with the metric `ttft_due`, it is the watch for this metric, which counts from when a request was due.
        """

    def saw(self, start_ns: int, custom: Sequence[CustomStats], trends: Mapping[str, Sequence[int]]) -> None:
        """Count the custom metrics of one interval, before `take`.

        start_ns: when the interval began, ns from T0. trends: the values recorded in it by the trend's name, 1 µs for
        each step of its resolution.
        """

    def take(self, now_ns: int) -> tuple[DueCounts, ...]:
        """Return the counts since the last call for objectives over windows, by due interval.

        They contain the overdue and undecided iterations, requests and steps at `now_ns` (`perf_counter_ns`).
        """


class Series:
    """A series over all its outcomes: a list of values for each metric of its kind.

    The lists of outcome ok exist from the start; those of other outcomes are created when first used.
    """

    __slots__ = ("bar_ns", "key", "metrics", "ok", "others", "over_ns", "pick_at", "picks", "sampled", "watch")

    def __init__(self, key: SeriesKey, metrics: tuple[Metric, ...], watch: Watch | None = None) -> None:
        self.bar_ns = -1
        """A response time above it is the longest of this interval."""
        self.pick_at = 1
        """The number, from 1, of the next ok one of this interval that is picked at random."""
        self.picks: Picks | None = None
        self.sampled: SampledPicks[Picked] | None = None
        """The sampled ones that were kept in this interval; only in plans with tracing."""
        self.over_ns = NEVER_NS
        """A sampled ok one above it counts as slow; only in plans with tracing."""
        self.key, self.metrics, self.watch = key, metrics, watch
        self.ok: tuple[list[int], ...] = tuple([] for _ in metrics)
        """In the order of `metrics`. A flip replaces the lists, so do not keep a reference to them."""
        self.others: dict[tuple[str, bool], tuple[list[int], ...]] = {}

    def of(self, outcome: str, censored: bool) -> tuple[list[int], ...]:
        """Return the lists to which values with this outcome are appended, one for each metric.

        `censored`: response, service and duration are lower bounds.
        """
        if outcome == OK and not censored:
            return self.ok
        found = self.others.get((outcome, censored))
        if found is None:
            if len(self.others) >= MAX_OUTCOMES:  # e.g. a scenario that computes the paths of its picks
                outcome = OTHER
            found = self.others.setdefault((outcome, censored), tuple([] for _ in self.metrics))
        return found

    def swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        """Remove and yield the values in ns since the last swap: (key, values) for each outcome and metric."""
        full, self.ok = self.ok, tuple([] for _ in self.metrics)
        others, self.others = self.others, {}
        for (outcome, censored), lists in {(OK, False): full, **others}.items():
            for metric, values in zip(self.metrics, lists, strict=True):
                if values:
                    yield self._key(outcome, metric, censored), values

    def _key(self, outcome: str, metric: Metric, censored: bool) -> SeriesKey:
        k = self.key
        # The waits of a censored iteration are known exactly; only a missed one was still waiting when it was
        # counted.
        is_bound = censored and (metric in ("response", "service", "duration") or outcome == MISSED)
        return SeriesKey(k.kind, k.journey, k.step, k.request, outcome, metric, is_bound, k.warmup, k.tags)


class MoreSeries(Protocol):
    """Further metrics of a row, which are swapped with it: those of streams (`stream_series.py`)."""

    def swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        """Remove and yield the values since the last swap: (key, values) for each histogram."""


_Timed = Phase | Literal["ttfb"] | MessageMetric | PageMetric
_GAP: Final = ("message_gap", OK, False)


class RequestSeries(Series):
    """The series of a request, held by the client for each (journey, step, name): two appends per request."""

    __slots__ = ("_marked", "phases", "place", "sampled_n", "sampled_sum_ns", "streams")

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "service"), watch)
        self.phases: dict[tuple[_Timed, str, bool], list[int]] = {}
        """Times of phases, messages and pages since the last swap, by (name, outcome, are they lower bounds)."""
        self.streams: MoreSeries | None = None
        """The metrics of streams, if this is a row of requests to AI models (`Recorder.streams_of`)."""
        self.place: Place | None = None
        """The place that it belongs to; None if it was requested from the recorder directly."""
        self.sampled_n = self.sampled_sum_ns = 0
        """Number and response times of the ok sampled ones of this interval; only in plans with tracing."""
        self._marked: dict[object, RequestSeries] = {}
        """Its parts for requests with `tags=` of their own, by these: by the pair if it is one, else by all pairs."""

    def phase(self, phase: _Timed, ns: int, outcome: str = OK, *, is_bound: bool = False) -> None:
        """Record the time of one phase of a request, such as connecting, the time to its first byte, or of a message.

        `is_bound`: the phase had not ended when the time was over, so `ns` is a lower bound.
        """
        key = (phase, outcome, is_bound)
        values = self.phases.get(key)
        if values is None:
            if len(self.phases) >= len(PHASES) * MAX_OUTCOMES:
                key = (phase, OTHER, is_bound)
            values = self.phases.setdefault(key, [])
        values.append(ns)

    def message_gap(self, ns: int) -> None:
        """HOT, once for a message that arrived alone. Record the time since the message before, as `phase` does."""
        found = self.phases.get(_GAP)
        if found is None:
            self.phase("message_gap", ns)
        else:
            found.append(ns)

    def phase_many(self, phase: _Timed, values: Sequence[int]) -> None:
        """HOT, once for messages that arrived together. Record the times of several phases or messages, all ok."""
        found = self.phases.get((phase, OK, False))
        if found is None:
            for ns in values:
                self.phase(phase, ns)
        else:
            found.extend(values)

    def opened(self, times: Mapping[Phase, int], failed: Phase | None = None, outcome: str = OK) -> None:
        """Record the phases of opening a connection. If it failed, `failed` is the phase, and `outcome` its outcome.

        The earlier phases are ok. The outcome of the request itself is recorded elsewhere.
        """
        for phase, ns in times.items():
            if phase == failed:
                self.phase(phase, ns, outcome, is_bound=outcome == TIMEOUT)
            else:
                self.phase(phase, ns)

    def swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        """Remove and yield all values since the last swap, those of phases too, as (key, values) for each histogram."""
        yield from super().swap()
        k = self.key
        phases, self.phases = self.phases, {}
        for (phase, outcome, censored), values in phases.items():
            yield SeriesKey(k.kind, k.journey, k.step, k.request, outcome, phase, censored, k.warmup, k.tags), values
        if self.streams is not None:
            yield from self.streams.swap()

    def split(self, headers: Tags, begun_ns: int) -> RequestSeries:
        """Return the part of this series for responses with these (header, value) pairs.

        Call it once the headers of a reply are known. `begun_ns`: when the request began. Without a place, the part is
        this series itself.
        """
        if self.place is None:
            return self
        part = self.place.split(self, headers)
        if part.watch is not self.watch:
            move_watch(self.watch, part.watch, begun_ns)
        return part

    def marked(self, tags: GivenTags) -> RequestSeries:
        """HOT, once for each request with `tags=`: budget 0.4 µs (bench/tags.py).

        Return the part of this series for requests with these tags of their own. Without a place, it is this series.

        Raises:
            UsageError: an unknown name of a tag, or a value that is not a text.
        """
        key: object
        try:
            if len(tags) == 1:  # nearly always, and half as dear as a tuple of pairs
                (key,) = tags.items()
            else:
                key = (*tags.items(),)
            return self._marked[key]
        except (AttributeError, KeyError, TypeError):  # a new one; or no mapping, or an unhashable value
            return self if self.place is None else self._mark(self.place, tags)

    def retagged(self, tags: GivenTags, begun_ns: int) -> RequestSeries:
        """Return the part of this series for a request with these tags that is under way, or has ended.

        begun_ns: when the request began.
        """
        part = self.marked(tags)
        if part.watch is not self.watch:
            move_watch(self.watch, part.watch, begun_ns)
        return part

    def _mark(self, place: Place, tags: GivenTags) -> RequestSeries:
        found, is_known = place.resolver.marked_series(self, tags)
        if is_known:  # undeclared values are not stored: there may be millions
            items = (*tags.items(),)
            self._marked[items[0] if len(items) == 1 else items] = found
        return found


class StepSeries(Series):
    """A step's series. response: without think time; duration: with it."""

    __slots__ = ()

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "duration"), watch)


class JourneySeries(Series):
    """A journey's series, with metrics in the order of `Recorder.iteration`'s arguments."""

    __slots__ = ()

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "duration", "user_wait", "generator_lag"), watch)


class TrendSeries(Series):
    """A custom metric that is a distribution. 1 µs of a value stands for the trend's resolution."""

    __slots__ = ()

    def __init__(self, key: SeriesKey) -> None:
        super().__init__(key, ("value",))

    def add(self, value_ns: int) -> None:
        """Record a value of the trend, 0 or more. A value above the histogram's hour counts as the hour (censored)."""
        self.ok[0].append(value_ns)


class Resolver(Protocol):
    """Looks up what a place has not seen yet; the recorder. Called once for each new name, never per request.

    With this protocol a place does not depend on the recorder's module, which imports this one.
    """

    def place(self, journey: str, step: str | None, warmup: bool, tags: Tags = (), scope: Tags = ()) -> Place:
        """Return the place of a journey or step, with its series; the one of `(other)` if there are too many steps."""

    def merged(self, tags: Tags, more: Tags) -> Tags:
        """Return `tags` with the pairs of `more`, which replace those of the same name."""

    def request_series(
        self, journey: str, step: str | None, name: str, warmup: bool = False, tags: Tags = ()
    ) -> RequestSeries:
        """Return the series of a request; the one of `(other)` if there are too many names."""

    def tagged_series(self, series: RequestSeries, headers: Tags) -> RequestSeries:
        """Return the part of a request's series that counts responses with these (header, value) pairs."""

    def marked_series(self, series: RequestSeries, tags: GivenTags) -> tuple[RequestSeries, bool]:
        """Return the part of a request's series for requests with these tags, and whether all values are declared."""

    def step_series(self, journey: str, step: str, warmup: bool = False, tags: Tags = ()) -> StepSeries:
        """Return the series of a step."""

    def public_name(self, name: object, what: str) -> str:
        """Return the name of a step or request (`what`) without secrets. Raises UsageError unless it is text."""


class Place:
    """A journey, or a step of one, in one load: its own series, and its request series by name.

    Users with different tags are in different places, so a request of a tagged user costs no more than another one.

    resolver: looks up names that this place has not seen yet.
    base: tags of the load and of the user. scope: tags of the steps around it, which hold until those steps end.
    """

    __slots__ = (
        "_headers",
        "_moved",
        "base",
        "journey",
        "names",
        "resolver",
        "scope",
        "series",
        "step",
        "steps",
        "tags",
        "warmup",
    )

    def __init__(
        self, resolver: Resolver, journey: str, step: str | None, warmup: bool, base: Tags = (), scope: Tags = ()
    ) -> None:
        self.resolver, self.journey, self.step, self.warmup = resolver, journey, step, warmup
        self.base, self.scope = base, scope
        self.tags = resolver.merged(base, scope) if scope else base
        """Part of every key that is recorded here."""
        self.names: dict[str, RequestSeries] = {}
        self.steps: dict[str, Place] = {}
        """The steps inside it, by name."""
        self._headers: dict[tuple[RequestSeries, Tags], RequestSeries] = {}
        self._moved: dict[tuple[Tags, Tags] | tuple[str, str], Place] = {}
        """The same place for users with other tags: by these, and by one more tag."""
        self.series = None if step is None else resolver.step_series(journey, step, warmup, self.tags)

    def inner(self, name: str) -> Place:
        """Return the place of step `name` inside this place. The full name of a nested step is `a/b`."""
        full = name if self.step is None else f"{self.step}/{name}"
        found = (
            self if self.step == OTHER else self.resolver.place(self.journey, full, self.warmup, self.base, self.scope)
        )
        if found.step == full:  # names beyond the limit are not stored: there may be millions
            self.steps[name] = found
        return found

    def moved(self, base: Tags, scope: Tags) -> Place:
        """Return the same journey or step for a user with other tags. Equal arguments return the same place.

        There are few, because the values of tags are declared.
        """
        found = self._moved.get((base, scope))
        if found is None:
            if base == self.base and scope == self.scope:
                return self
            found = self.resolver.place(self.journey, self.step, self.warmup, base, scope)
            self._moved[base, scope] = found
        return found

    def tagged(self, pair: tuple[str, str]) -> Place:
        """HOT, once for each tag of a user. Return the same journey or step for a user that gets one more tag."""
        found = self._moved.get(pair)
        if found is None:
            found = self._moved[pair] = self.moved(self.resolver.merged(self.base, (pair,)), self.scope)
        return found

    def resolve(self, name: str) -> RequestSeries:
        """Return the series of a request that this place has not seen yet, and store it in `names`.

        A name beyond the limit gets the series of `(other)`, and is not stored.
        """
        known = self.resolver.public_name(name, "request")
        series = self.resolver.request_series(self.journey, self.step, known, self.warmup, self.tags)
        series.place = self
        if series.key.request == name:  # names beyond the limit are not stored: there may be millions
            self.names[name] = series
        return series

    def split(self, series: RequestSeries, headers: Tags) -> RequestSeries:
        """HOT if the plan has tags of response headers, once a request.

        Return the part of a series of this place for responses with these (header, value) pairs.
        """
        return self._headers.get((series, headers)) or self._split(series, headers)

    def _split(self, series: RequestSeries, headers: Tags) -> RequestSeries:
        found = self.resolver.tagged_series(series, headers)
        values = [value for _, value in found.key.tags]
        if all(value in values for _, value in headers):  # values beyond the limit are not stored
            self._headers[series, headers] = found
        return found
