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

from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import MISSED, OK, OTHER, PHASES, TIMEOUT, Metric, Phase, SeriesKey, Tags

__all__ = [
    "JourneySeries",
    "Picked",
    "Picks",
    "Place",
    "RequestSeries",
    "Resolver",
    "Series",
    "StepSeries",
    "TrendSeries",
    "Watch",
    "Watches",
]

MAX_OUTCOMES: Final = 50
"""Most outcomes of a series in one interval; the rest is `(other)`."""
_TAG_LENGTH: Final = 100

Picked = tuple[str, int, int, int, int, int, str]
"""outcome, at_ns, response_ns, service_ns, n, load, trace."""


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


class Watches(Protocol):
    """All watched series of one worker."""

    def of(self, key: SeriesKey) -> Watch | None:
        """Return the watch that must receive the values of this series; None if none must.

        Called once for each new series.
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

    __slots__ = ("bar_ns", "key", "metrics", "ok", "others", "pick_at", "picks", "watch")

    def __init__(self, key: SeriesKey, metrics: tuple[Metric, ...], watch: Watch | None = None) -> None:
        self.bar_ns = -1
        """A response time above it is the longest of this interval."""
        self.pick_at = 1
        """The number, from 1, of the next ok one of this interval that is picked at random."""
        self.picks: Picks | None = None
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


class RequestSeries(Series):
    """The series of a request, held by the client for each (journey, step, name): two appends per request."""

    __slots__ = ("phases", "place", "tagged")

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "service"), watch)
        self.phases: dict[tuple[Phase | Literal["ttfb"], str, bool], list[int]] = {}
        """Times of phases since the last swap, by phase, outcome, and whether they are lower bounds."""
        self.place: Place | None = None
        """The place that it belongs to; None if it was requested from the recorder directly."""
        self.tagged = 0
        """Number of series into which it is split by tags of responses."""

    def phase(self, phase: Phase | Literal["ttfb"], ns: int, outcome: str = OK, *, is_bound: bool = False) -> None:
        """Record the time of one phase of a request, such as connecting, or the time to its first byte.

        `is_bound`: the phase had not ended when the time was over, so `ns` is a lower bound.
        """
        key = (phase, outcome, is_bound)
        values = self.phases.get(key)
        if values is None:
            if len(self.phases) >= len(PHASES) * MAX_OUTCOMES:
                key = (phase, OTHER, is_bound)
            values = self.phases.setdefault(key, [])
        values.append(ns)

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

    def split(self, tags: Tags) -> RequestSeries:
        """Return the part of this series for responses with these tags. Call it once the headers of a reply are known.

        Without a place or a name, it is this series itself.
        """
        place, name = self.place, self.key.request
        return self if place is None or name is None else place.tagged(name, tags)


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

    def place(self, journey: str, step: str | None, warmup: bool, tags: Tags = ()) -> Place:
        """Return the place of a journey or step, with its series; the one of `(other)` if there are too many steps."""

    def request_series(
        self, journey: str, step: str | None, name: str, warmup: bool = False, tags: Tags = ()
    ) -> RequestSeries:
        """Return the series of a request; the one of `(other)` if there are too many names."""

    def tagged_series(self, series: RequestSeries, tags: Tags) -> RequestSeries:
        """Return the part of a request's series that counts responses with these tags."""

    def step_series(self, journey: str, step: str, warmup: bool = False, tags: Tags = ()) -> StepSeries:
        """Return the series of a step."""

    def public_name(self, name: object, what: str) -> str:
        """Return the name of a step or request (`what`) without secrets. Raises UsageError unless it is text."""


class Place:
    """A journey, or a step of one, in one load: its own series, and its request series by name.

    resolver: looks up names that this place has not seen yet.
    tags: of the load, part of every key that is recorded here.
    """

    __slots__ = ("_tagged", "journey", "names", "resolver", "series", "step", "steps", "tags", "warmup")

    def __init__(self, resolver: Resolver, journey: str, step: str | None, warmup: bool, tags: Tags = ()) -> None:
        self.resolver, self.journey, self.step, self.warmup, self.tags = resolver, journey, step, warmup, tags
        self.names: dict[str, RequestSeries] = {}
        self.steps: dict[str, Place] = {}
        """The steps inside it, by name."""
        self._tagged: dict[tuple[RequestSeries, Tags], RequestSeries] = {}
        self.series = None if step is None else resolver.step_series(journey, step, warmup, tags)

    def inner(self, name: str) -> Place:
        """Return the place of step `name` inside this place. The full name of a nested step is `a/b`."""
        full = name if self.step is None else f"{self.step}/{name}"
        found = self if self.step == OTHER else self.resolver.place(self.journey, full, self.warmup, self.tags)
        if found.step == full:  # names beyond the limit are not stored: there may be millions
            self.steps[name] = found
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

    def tagged(self, name: str, tags: Tags) -> RequestSeries:
        """HOT if the plan has tags, once a request.

        Return the series of request `name` for responses with these tags.
        """
        series = self.names.get(name) or self.resolve(name)
        return self._tagged.get((series, tags)) or self._split(series, tags)

    def _split(self, series: RequestSeries, tags: Tags) -> RequestSeries:
        known = tuple((name, value[:_TAG_LENGTH]) for name, value in tags)
        found = self.resolver.tagged_series(series, known)
        if found.key.tags[len(self.tags) :] == tags:  # values beyond the limit are not stored
            self._tagged[series, tags] = found
        return found
