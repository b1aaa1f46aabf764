"""Where a user is, and what is recorded there: series with their lists of values, resolved once a name.

A `Place` is a journey or a step of one. It holds its own series and those of its
requests; each series has a list of ints for each metric and outcome, which are
appended to and, once an interval, swapped for empty ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from loadgen.engine.recording.exemplars import Picks
from loadgen.errors import UsageError
from loadgen.measure.deltas.due_counts import DueCounts
from loadgen.measure.deltas.series import MISSED, OK, OTHER, PHASES, TIMEOUT, Metric, Phase, SeriesKey, Tags

if TYPE_CHECKING:
    from loadgen.engine.recording.recorder import Recorder

__all__ = [
    "JourneySeries",
    "Place",
    "RequestSeries",
    "Series",
    "StepSeries",
    "TrendSeries",
    "Watch",
    "Watches",
    "name_of",
]

MAX_OUTCOMES: Final = 50
"""Of a series in one interval; the rest is `(other)`."""
_TAG_LENGTH: Final = 100


class Watch(Protocol):
    """Gets each value of a series that has an objective over a sliding window (`slo_windows.py`).

    Times are `perf_counter_ns`. What has begun is told apart by when it did, so two of the same instant are two.
    """

    def begun(self, at_ns: int, idle_ns: Callable[[int], int] | None = None) -> None:
        """`idle_ns` (now -> ns): think time since then, which is no response time."""

    def ended(self, at_ns: int, response_ns: int, outcome: str) -> None: ...

    def gone(self, at_ns: int) -> None:
        """It was cancelled and has no outcome."""


class Watches(Protocol):
    """All that is watched by one worker."""

    def of(self, key: SeriesKey) -> Watch | None:
        """Asked once for each new series."""

    def take(self, now_ns: int) -> tuple[DueCounts, ...]:
        """What was seen since the last call, and what is overdue now (`perf_counter_ns`)."""


class Series:
    """A series over all its outcomes: a list of values for each metric of its kind.

    Those of the outcome ok are at hand; those of others come into being when first seen.
    """

    __slots__ = ("bar_ns", "key", "metrics", "ok", "others", "pick_at", "picks", "watch")

    def __init__(self, key: SeriesKey, metrics: tuple[Metric, ...], watch: Watch | None = None) -> None:
        self.bar_ns = -1
        """Above it a response time is the longest of this interval."""
        self.pick_at = 1
        """Which of the ok ones of this interval is picked at random next, from 1."""
        self.picks: Picks | None = None
        self.key, self.metrics, self.watch = key, metrics, watch
        self.ok: tuple[list[int], ...] = tuple([] for _ in metrics)
        """In the order of `metrics`; swapped for empty lists by a flip, so never kept."""
        self.others: dict[tuple[str, bool], tuple[list[int], ...]] = {}

    def of(self, outcome: str, censored: bool) -> tuple[list[int], ...]:
        """The lists of an outcome. censored: response, service and duration are lower bounds."""
        if outcome == OK and not censored:
            return self.ok
        found = self.others.get((outcome, censored))
        if found is None:
            if len(self.others) >= MAX_OUTCOMES:  # e.g. picks whose paths are computed
                outcome = OTHER
            found = self.others.setdefault((outcome, censored), tuple([] for _ in self.metrics))
        return found

    def swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        """What was recorded since the last swap, a list for each histogram."""
        full, self.ok = self.ok, tuple([] for _ in self.metrics)
        others, self.others = self.others, {}
        for (outcome, censored), lists in {(OK, False): full, **others}.items():
            for metric, values in zip(self.metrics, lists, strict=True):
                if values:
                    yield self._key(outcome, metric, censored), values

    def _key(self, outcome: str, metric: Metric, censored: bool) -> SeriesKey:
        k = self.key
        is_bound = censored and (metric in ("response", "service", "duration") or outcome == MISSED)
        return SeriesKey(k.kind, k.journey, k.step, k.request, outcome, metric, is_bound, k.warmup, k.tags)


class RequestSeries(Series):
    """What the client holds for each (journey, step, name): resolved once, then two appends a request."""

    __slots__ = ("phases", "place", "tagged")

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "service"), watch)
        self.phases: dict[tuple[Phase, str, bool], list[int]] = {}
        """By outcome, and whether they are lower bounds; those that were had since the last swap."""
        self.place: Place | None = None
        """Where it was resolved; None for one that was asked of the recorder itself."""
        self.tagged = 0
        """How many series it is split into by tags of responses."""

    def phase(self, phase: Phase, ns: int, outcome: str = OK, *, is_bound: bool = False) -> None:
        """A request had this phase, and it ended so. is_bound: it was under way when the time was over."""
        key = (phase, outcome, is_bound)
        values = self.phases.get(key)
        if values is None:
            if len(self.phases) >= len(PHASES) * MAX_OUTCOMES:
                key = (phase, OTHER, is_bound)
            values = self.phases.setdefault(key, [])
        values.append(ns)

    def opened(self, times: Mapping[Phase, int], failed: Phase | None = None, outcome: str = OK) -> None:
        """A connection was opened for a request, or was to be: it failed in this phase, with this outcome.

        What came before that phase is ok. What becomes of the request itself is not known here.
        """
        for phase, ns in times.items():
            if phase == failed:
                self.phase(phase, ns, outcome, is_bound=outcome == TIMEOUT)
            else:
                self.phase(phase, ns)

    def swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        yield from super().swap()
        k = self.key
        phases, self.phases = self.phases, {}
        for (phase, outcome, censored), values in phases.items():
            yield SeriesKey(k.kind, k.journey, k.step, k.request, outcome, phase, censored, k.warmup, k.tags), values

    def split(self, tags: Tags) -> RequestSeries:
        """Of the same request, the series of the responses with these tags: for a reply whose headers have come."""
        place, name = self.place, self.key.request
        return self if place is None or name is None else place.tagged(name, tags)


class StepSeries(Series):
    """response: without think; duration: with it."""

    __slots__ = ()

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "duration"), watch)


class JourneySeries(Series):
    """Metrics in the order of `Recorder.iteration`'s arguments."""

    __slots__ = ()

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "duration", "user_wait", "generator_lag"), watch)


class TrendSeries(Series):
    """A custom metric that is a distribution. 1 µs of a value stands for the trend's resolution."""

    __slots__ = ()

    def __init__(self, key: SeriesKey) -> None:
        super().__init__(key, ("value",))

    def add(self, value_ns: int) -> None:
        """0 or more; what is beyond the histogram's hour is censored there."""
        self.ok[0].append(value_ns)


class Place:
    """A journey, or a step of one, in one load: its own series, and its request series by name.

    tags: those of the load, part of every key that is recorded here.
    """

    __slots__ = ("_tagged", "journey", "names", "recorder", "series", "step", "steps", "tags", "warmup")

    def __init__(self, recorder: Recorder, journey: str, step: str | None, warmup: bool, tags: Tags = ()) -> None:
        self.recorder, self.journey, self.step, self.warmup, self.tags = recorder, journey, step, warmup, tags
        self.names: dict[str, RequestSeries] = {}
        self.steps: dict[str, Place] = {}
        """The steps in it, by name."""
        self._tagged: dict[tuple[RequestSeries, Tags], RequestSeries] = {}
        self.series = None if step is None else recorder.step_series(journey, step, warmup, tags)

    def inner(self, name: str) -> Place:
        """The step `name` in it; full names of nested ones are `a/b`."""
        full = name if self.step is None else f"{self.step}/{name}"
        found = self if self.step == OTHER else self.recorder.place(self.journey, full, self.warmup, self.tags)
        if found.step == full:  # names beyond the cap are not kept
            self.steps[name] = found
        return found

    def resolve(self, name: str) -> RequestSeries:
        """The series of a name that is not in `names` yet."""
        known = self.recorder.redactor.known(name_of(name, "request"))
        series = self.recorder.request_series(self.journey, self.step, known, self.warmup, self.tags)
        series.place = self
        if series.key.request == name:  # names beyond the cap are not kept: there may be millions
            self.names[name] = series
        return series

    def tagged(self, name: str, tags: Tags) -> RequestSeries:
        """HOT where the plan has tags, once a request. The series of a name, split by response headers `tags`."""
        series = self.names.get(name) or self.resolve(name)
        return self._tagged.get((series, tags)) or self._split(series, tags)

    def _split(self, series: RequestSeries, tags: Tags) -> RequestSeries:
        known = tuple((name, value[:_TAG_LENGTH]) for name, value in tags)
        found = self.recorder.tagged_series(series, known)
        if found.key.tags[len(self.tags) :] == tags:  # values beyond the cap are not kept
            self._tagged[series, tags] = found
        return found


def name_of(name: object, what: str) -> str:
    """
    Raises:
        UsageError: no text.
    """
    if not isinstance(name, str):
        raise UsageError(f"{name!r} is no name of a {what}", hint='a name is text: "login"')
    return name
