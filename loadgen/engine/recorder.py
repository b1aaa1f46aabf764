"""Records what happened: ints appended to lists, folded into sparse histograms once an interval.

A request costs some 180 ns (20 of them for exemplars: two comparisons), and
folding 130 ns a value (one series) to 280 ns (300 series of 20 values each),
where `record_value` of the hdrhistogram package costs 790 ns a value and silently
drops what is out of range (bench/record.py).

A flip swaps the active lists for empty ones and folds the old: nothing is
copied while a value is recorded, and nothing is lost or counted twice. All
times are ns of `perf_counter_ns`; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from typing import Protocol

import numpy as np

from loadgen.engine.exemplars import MAX_KEPT, Exemplars, Picks
from loadgen.engine.failures import FailureBook
from loadgen.errors import UsageError
from loadgen.measure.custom import CustomStats
from loadgen.measure.delta import Counters, Delta, Health, SeriesStats
from loadgen.measure.due import DueCounts
from loadgen.measure.exemplar import Exemplar
from loadgen.measure.histogram import MAX_NS, SLOTS, slots_of_ns
from loadgen.measure.redact import Redactor
from loadgen.measure.series import CUT_OFF, MISSED, OK, OTHER, TIMEOUT, Metric, SeriesKey

__all__ = [
    "MAX_NAMES",
    "MAX_TAGGED",
    "CustomSource",
    "JourneySeries",
    "Place",
    "RawSink",
    "Recorder",
    "RequestSeries",
    "StepSeries",
    "TrendSeries",
    "Watch",
    "Watches",
]

MAX_NAMES = 500
"""Distinct request names of a journey's step; the rest go into `(other)`, and the run says so."""
MAX_TAGGED = 20
"""Distinct tags (values of response headers) of a request's series; the rest go into `(other)`, and the run says so."""
_TAG_LENGTH = 100

Tags = tuple[tuple[str, str], ...]


PART = 1_000
"""Values that are folded at once while the loop has other things to do: 0.1 ms."""
MOST_ALIKE = 16
"""Parts of one series that are kept before they are added up."""
MAX_OUTCOMES = 50
"""Of a series in one interval; the rest is `(other)`."""


class RawSink(Protocol):
    """Keeps every single value, for checking the histograms against (a debug switch)."""

    def keep(self, key: SeriesKey, values_ns: list[int]) -> None: ...


class Watch(Protocol):
    """Sees each single value of a series that an objective over a sliding window is about (engine/watch.py).

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


class CustomSource(Protocol):
    """A custom metric that adds up by itself: counter, gauge, rate (dsl/metric.py)."""

    def take(self) -> CustomStats | None:
        """Since the last call; None when nothing was recorded."""


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

    __slots__ = ("place", "tagged")

    def __init__(self, key: SeriesKey, watch: Watch | None = None) -> None:
        super().__init__(key, ("response", "service"), watch)
        self.place: Place | None = None
        """Where it was resolved; None for one that was asked of the recorder itself."""
        self.tagged = 0
        """How many series it is split into by tags of responses."""

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

    __slots__ = ("_tagged", "journey", "names", "recorder", "series", "step", "tags", "warmup")

    def __init__(self, recorder: Recorder, journey: str, step: str | None, warmup: bool, tags: Tags = ()) -> None:
        self.recorder, self.journey, self.step, self.warmup, self.tags = recorder, journey, step, warmup, tags
        self.names: dict[str, RequestSeries] = {}
        self._tagged: dict[tuple[RequestSeries, Tags], RequestSeries] = {}
        self.series = None if step is None else recorder.step_series(journey, step, warmup, tags)

    def resolve(self, name: str) -> RequestSeries:
        """The series of a name that is not in `names` yet."""
        known = self.recorder.redactor.known(_name(name, "request"))
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


class Recorder:
    """All series of one worker. Not thread-safe: one event loop records and flips.

    max_exemplars: of one delta; 0: none. redactor: what takes secrets out of names and failures.
    """

    def __init__(
        self,
        *,
        max_names: int = MAX_NAMES,
        raw: RawSink | None = None,
        watches: Watches | None = None,
        max_exemplars: int = MAX_KEPT,
        redactor: Redactor | None = None,
    ) -> None:
        self.counters = Counters()
        self._max_names = max_names
        self._raw = raw
        self._series: dict[SeriesKey, Series] = {}
        self._names: dict[tuple[str, str, str | None, Tags, bool], int] = {}
        self._places: dict[tuple[str, str | None, bool, Tags], Place] = {}
        self._ids: dict[SeriesKey, int] = {}
        self._flipped = Counters()
        self._seq = 0
        self._notes: dict[str, None] = {}
        self._watches = watches
        self.customs: list[CustomSource] = []
        self.exemplars = Exemplars(max_exemplars)
        self.redactor = redactor or Redactor()
        self.failures = FailureBook(self.redactor)
        self._said: dict[str, int] = {}
        self.t0_ns = 0
        """T0 on `perf_counter_ns`; the drive sets it."""

    def note(self, text: str) -> None:
        """Say something about this interval to the person who watches; said once each."""
        self._notes[text] = None

    # -- resolving series: once a name, not once a request -----------------------------------

    def place(self, journey: str, step: str | None, warmup: bool, tags: Tags = ()) -> Place:
        """HOT, twice a step: where a user is, with the series that are already resolved there. Shared by all users.

        tags: the load's.
        """
        return self._places.get((journey, step, warmup, tags)) or self._new_place(journey, step, warmup, tags)

    def _new_place(self, journey: str, step: str | None, warmup: bool, tags: Tags) -> Place:
        known = step
        if step is not None:
            known = self.redactor.known(_name(step, "step"))
            if known != OTHER and self._is_full((journey, None, tags, warmup), "step", journey):
                return self.place(journey, OTHER, warmup, tags)  # not kept by its own name: there may be millions
        found = self._places[journey, step, warmup, tags] = Place(self, journey, known, warmup, tags)
        return found

    def _is_full(self, where: tuple[str, str | None, Tags, bool], what: str, shown: str) -> bool:
        """Counts one more name there, unless there are too many already."""
        used = self._names.get((what, *where), 0)
        if used >= self._max_names:
            self.note(f"more than {self._max_names} {what} names in {shown}: the rest is in {OTHER}")
            return True
        self._names[what, *where] = used + 1
        return False

    def request_series(
        self, journey: str, step: str | None, name: str, warmup: bool = False, tags: Tags = ()
    ) -> RequestSeries:
        key = SeriesKey("request", journey, step, name, OK, "response", warmup=warmup, tags=tags)
        found = self._series.get(key)
        if found is None:
            if name != OTHER and self._is_full((journey, step, tags, warmup), "request", step or journey):
                return self.request_series(journey, step, OTHER, warmup, tags)
            found = self._series[key] = RequestSeries(key, self._watch(key))
        assert isinstance(found, RequestSeries)
        return found

    def tagged_series(self, series: RequestSeries, tags: Tags) -> RequestSeries:
        """A part of a request's series: its responses with these tags. All parts are watched as the one that they are.

        The whole is the sum of its parts, so a report has to add them up; `series` itself counts what had no response.
        """
        key = replace(series.key, tags=(*series.key.tags, *tags))
        found = self._series.get(key)
        if found is None:
            if series.tagged >= MAX_TAGGED and any(value != OTHER for _, value in tags):
                names = ", ".join(name for name, _ in tags)
                self.note(f"more than {MAX_TAGGED} values of {names} for {series.key.request}: the rest is in {OTHER}")
                return self.tagged_series(series, tuple((name, OTHER) for name, _ in tags))
            series.tagged += 1
            found = self._series[key] = RequestSeries(key, series.watch)
            found.place = series.place
        assert isinstance(found, RequestSeries)
        return found

    def step_series(self, journey: str, step: str, warmup: bool = False, tags: Tags = ()) -> StepSeries:
        key = SeriesKey("step", journey, step, None, OK, "response", warmup=warmup, tags=tags)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = StepSeries(key, self._watch(key))
        assert isinstance(found, StepSeries)
        return found

    def journey_series(self, journey: str, warmup: bool = False, tags: Tags = ()) -> JourneySeries:
        key = SeriesKey("journey", journey, None, None, OK, "response", warmup=warmup, tags=tags)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = JourneySeries(key, self._watch(key))
        assert isinstance(found, JourneySeries)
        return found

    def trend_series(self, name: str) -> TrendSeries:
        key = SeriesKey("trend", "", None, name, OK, "value")
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = TrendSeries(key)
        assert isinstance(found, TrendSeries)
        return found

    def _watch(self, key: SeriesKey) -> Watch | None:
        return self._watches.of(key) if self._watches is not None and not key.warmup else None

    # -- recording --------------------------------------------------------------------------

    def request(
        self,
        series: RequestSeries,
        asked_ns: int,
        sent_ns: int,
        first_byte_ns: int,
        done_ns: int,
        outcome: str,
        size_bytes: int,
        trace: str | None = None,
    ) -> bool:
        """HOT, once a request: budget 0.3 µs (bench/record.py). Every client ends here.

        response = done - asked, service = done - sent. A request that never was sent
        has sent_ns 0 and no service time. `first_byte_ns` and `trace` are taken now for reports to come.

        Returns:
            True: it failed, is the slowest of the interval so far, or was picked at random: worth an exemplar, which
            the meter then hands to `exemplars`. For the many that are not, that costs two comparisons of ints.
        """
        counters = self.counters
        counters.requests_finished += 1
        counters.bytes_received += size_bytes
        response_ns = done_ns - asked_ns
        if outcome is OK:
            response, service = series.ok
            response.append(response_ns)
            is_notable = response_ns > series.bar_ns or len(response) == series.pick_at
        else:
            if outcome != OK:
                counters.requests_errors += 1
            response, service = series.of(outcome, outcome == TIMEOUT)
            response.append(response_ns)
            is_notable = True
        if sent_ns:
            service.append(done_ns - sent_ns)
        if series.watch is not None:
            series.watch.ended(asked_ns, response_ns, outcome)
        return is_notable

    def step(
        self,
        series: StepSeries,
        response_ns: int,
        duration_ns: int,
        outcome: str,
        censored: bool,
        entered_ns: int = 0,
    ) -> None:
        """HOT, once a step. `censored`: it was stopped, or ended by a time-out, so the truth is longer."""
        response, duration = series.ok if outcome is OK else series.of(outcome, censored)
        response.append(response_ns)
        duration.append(duration_ns)
        if series.watch is not None:
            series.watch.ended(entered_ns, response_ns, outcome)

    def iteration(
        self,
        series: JourneySeries,
        response_ns: int,
        duration_ns: int,
        user_wait_ns: int | None,
        generator_lag_ns: int | None,
        outcome: str,
        censored: bool,
        due_ns: int = 0,
        n: int = 0,
        load: int = 0,
    ) -> None:
        """HOT, once an iteration; counts it as finished. The waits are None in closed loads, which have no due.

        due_ns: its intended start, or in closed loads when its user was ready (`perf_counter_ns`).
        n, load: which arrival of which load.
        """
        self.counters.iterations_finished += 1
        if outcome != OK:
            self.counters.iterations_errors += 1
        self._iteration(
            series, response_ns, duration_ns, user_wait_ns, generator_lag_ns, outcome, censored, due_ns, n, load
        )

    def cut_off(
        self,
        series: JourneySeries,
        response_ns: int,
        duration_ns: int,
        user_wait_ns: int | None,
        generator_lag_ns: int | None,
        due_ns: int = 0,
        n: int = 0,
        load: int = 0,
    ) -> None:
        """An iteration that the drain stopped: censored at what it had taken by then."""
        self.counters.iterations_cut_off += 1
        self._iteration(
            series, response_ns, duration_ns, user_wait_ns, generator_lag_ns, CUT_OFF, True, due_ns, n, load
        )

    def missed(self, series: JourneySeries, late_ns: int, due_ns: int = 0) -> None:
        """An iteration that was due and never started: censored at how late it was when given up."""
        self.counters.iterations_missed += 1
        self._iteration(series, late_ns, late_ns, late_ns, None, MISSED, True, due_ns, 0, 0)

    def _iteration(
        self,
        series: JourneySeries,
        response_ns: int,
        duration_ns: int,
        user_wait_ns: int | None,
        generator_lag_ns: int | None,
        outcome: str,
        censored: bool,
        due_ns: int,
        n: int,
        load: int,
    ) -> None:
        response, duration, user_wait, generator_lag = series.of(outcome, censored)
        response.append(response_ns)
        duration.append(duration_ns)
        if user_wait_ns is not None:
            user_wait.append(user_wait_ns)
        if generator_lag_ns is not None:
            generator_lag.append(generator_lag_ns)
        if series.watch is not None:
            series.watch.ended(due_ns, response_ns, outcome)
        if outcome != OK or response_ns > series.bar_ns or len(response) == series.pick_at:
            self.exemplars.saw(series, outcome, due_ns, response_ns, 0, n, load, "")

    # -- once an interval -------------------------------------------------------------------

    def flip(self, start_ns: int, end_ns: int, health: Callable[[int | None, int], Health] | None = None) -> Delta:
        """All of `flip_in_parts` at once."""
        parts = self.flip_in_parts(start_ns, end_ns, health)
        while True:
            try:
                next(parts)
            except StopIteration as done:
                delta: Delta = done.value
                return delta

    def flip_in_parts(
        self, start_ns: int, end_ns: int, health: Callable[[int | None, int], Health] | None = None
    ) -> Generator[None, None, Delta]:
        """Fold what was recorded since the last flip into a delta; `seq` counts up from 0.

        What belongs to the interval is taken at once, when the first part is asked for. Then it is folded, `PART`
        values at a time: a loop that turns between the parts reads its answers in time, where one that
        folds 32,000 values at once is late for 3 ms. Agent and epoch are the supervisor's to fill in. Whoever begins
        a flip has to end it.

        Args:
            health: called at the end with the p99 of generator lag (None: no open load) and of the
                journeys' response times in this interval, ns.

        Cost: see bench/record.py.
        """
        new: list[SeriesKey] = []
        lists: list[tuple[int, list[int]]] = []
        lags: dict[int, list[np.ndarray]] = {}
        responses: dict[int, list[np.ndarray]] = {}
        for series in self._series.values():
            for key, values in series.swap():
                if self._raw is not None:
                    self._raw.keep(key, values)
                number = self._id(key, new)
                if key.kind == "journey" and key.metric in ("generator_lag", "response"):
                    (lags if key.metric == "generator_lag" else responses)[number] = []
                lists.append((number, values))
        counters = self.counters - self._flipped
        self._flipped = self.counters.copy()
        seq, self._seq = self._seq, self._seq + 1
        due = self._watches.take(self.t0_ns + end_ns) if self._watches is not None else ()
        custom = tuple(taken for source in self.customs if (taken := source.take()) is not None)
        exemplars = self._take_exemplars()  # before health, which takes the notes
        failures = self.failures.take(self.t0_ns, self.t0_ns + end_ns)
        yield
        lists.sort(key=itemgetter(0))
        folded: list[Folded] = []
        alike: list[Folded] = []
        """Parts that have series in common."""
        for part in _parts(lists):
            of, values_ns = _arrays(part)
            for number in {number for number, _ in part}:
                if (kept := lags.get(number, responses.get(number))) is not None:
                    kept.append(values_ns[of == number])
            one = _fold(*self._censor_overflow(of, values_ns, new))
            if alike and max(part[0][-1] for part in alike) // SLOTS < one[0][0] // SLOTS:
                folded.append(_together(alike))
                alike = []
            elif len(alike) == MOST_ALIKE:
                alike = [_together(alike)]
            alike.append(one)
            yield
        if alike:
            folded.append(_together(alike))
        index, count, stats = _joined(folded)
        yield
        lag_ns = _p99(lags)
        response_ns = _p99(responses) or 0
        yield
        return Delta(
            agent="",
            epoch=0,
            seq=seq,
            start_ns=start_ns,
            end_ns=end_ns,
            new_series=tuple(new),
            index=index.astype("<u4").tobytes(),
            count=count.astype("<u4").tobytes(),
            stats=stats,
            counters=counters,
            health=health(lag_ns, response_ns) if health else Health(),
            due=due,
            custom=custom,
            exemplars=exemplars,
            failures=failures,
        )

    def _take_exemplars(self) -> tuple[Exemplar, ...]:
        taken = self.exemplars.take(self.t0_ns)
        for what, left_out in (("exemplars", self.exemplars.left_out), ("failures", self.failures.left_out)):
            power = len(str(left_out)) if left_out else 0
            if power > self._said.get(what, 0):  # at 1, 10, 100, ...: not each second
                self._said[what] = power
                self.note(f"{left_out:,} {what} left out: there were too many at a time to keep")
        return taken

    def _id(self, key: SeriesKey, new: list[SeriesKey]) -> int:
        """The id of a series; one that has none yet gets the next, and goes to `new`."""
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self._ids)
            new.append(key)
        return found

    def _censor_overflow(
        self, of: np.ndarray, values_ns: np.ndarray, new: list[SeriesKey]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is longer than the histogram's hour is censored there: counted apart, never dropped."""
        over = np.flatnonzero(values_ns > MAX_NS)
        if not len(over):
            return of, values_ns
        keys = list(self._ids)  # in the order of their ids
        for at in over.tolist():
            of[at] = self._id(replace(keys[of[at]], censored=True), new)
        values_ns[over] = MAX_NS
        by_series = np.argsort(of, kind="stable")
        return of[by_series], values_ns[by_series]

    def take_notes(self) -> tuple[str, ...]:
        """What was noted since the last call."""
        notes, self._notes = tuple(self._notes), {}
        return notes


def _name(name: object, what: str) -> str:
    """
    Raises:
        UsageError: no text.
    """
    if not isinstance(name, str):
        raise UsageError(f"{name!r} is no name of a {what}", hint='a name is text: "login"')
    return name


Folded = tuple[np.ndarray, np.ndarray, tuple[SeriesStats, ...]]
"""Index and count as in `Delta`, int64, and one SeriesStats for each series, by id."""


def _parts(lists: list[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    """At most `PART` values each, in their order; a series that is longer is in several."""
    part: list[tuple[int, list[int]]] = []
    room = PART
    for series, values in lists:
        at = 0
        while at < len(values):
            taken = values[at : at + room] if at or len(values) > room else values
            part.append((series, taken))
            at, room = at + len(taken), room - len(taken)
            if not room:
                yield part
                part, room = [], PART
    if part:
        yield part


def _arrays(part: list[tuple[int, list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    """Series ids and times of all values of a part, in its order."""
    flat: list[int] = []
    for _, values in part:
        flat += values
    of = np.repeat([series for series, _ in part], [len(values) for _, values in part])
    return of, np.array(flat, dtype=np.int64)


def _fold(of: np.ndarray, values_ns: np.ndarray) -> Folded:
    """Sparse counts and statistics. of, values_ns: (values,) int64, series id (in order) and time of each value.

    Series are folded together, since numpy's overhead is paid by the call and not by the value.
    """
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    columns = (
        of[starts],
        np.diff(starts, append=len(of)),
        np.add.reduceat(values_ns, starts),
        np.minimum.reduceat(values_ns, starts),
        np.maximum.reduceat(values_ns, starts),
    )
    stats = tuple(map(SeriesStats, *(column.tolist() for column in columns)))
    index, count = np.unique(of * SLOTS + slots_of_ns(values_ns), return_counts=True)
    return index, count, stats


def _together(parts: list[Folded]) -> Folded:
    """Parts that have series in common, added up."""
    if len(parts) == 1:
        return parts[0]
    index, place = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    count = np.bincount(place, np.concatenate([part[1] for part in parts]), len(index)).astype(np.int64)
    by_series: dict[int, SeriesStats] = {}
    for s in chain.from_iterable(part[2] for part in parts):
        had = by_series.get(s.series)
        if had is not None:
            least, most = min(had.min_ns, s.min_ns), max(had.max_ns, s.max_ns)
            s = SeriesStats(s.series, had.n + s.n, had.sum_ns + s.sum_ns, least, most)
        by_series[s.series] = s
    return index, count, tuple(by_series[series] for series in sorted(by_series))


def _joined(folded: list[Folded]) -> Folded:
    """Parts of different series, one behind the other."""
    if not folded:
        none = np.zeros(0, dtype=np.int64)
        return none, none, ()
    return (
        np.concatenate([part[0] for part in folded]),
        np.concatenate([part[1] for part in folded]),
        tuple(chain.from_iterable(part[2] for part in folded)),
    )


def _p99(by_series: dict[int, list[np.ndarray]]) -> int | None:
    """What 1 % of the values exceed, and at least one of them: of a few values the worst is chance and no p99."""
    values_ns = [array for arrays in by_series.values() for array in arrays]
    if not values_ns:
        return None
    whole = np.concatenate(values_ns)
    rank = max(0, len(whole) - 1 - max(1, len(whole) // 100))
    return int(np.partition(whole, rank)[rank])
