"""Records results as ints in lists, and once an interval makes a delta of all of them (`values_to_histogram.py`).

A request costs some 160 ns, 20 of them for exemplars: two comparisons (`python -m bench record`).

A flip swaps the lists in use for empty ones and folds the old ones: recording copies nothing, and no value
is lost or counted twice. All times are ns of `perf_counter_ns`; this module reads no clock.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Protocol, TypeVar

import msgspec

from loadgen.engine.recording.exemplars import MAX_KEPT, Exemplars
from loadgen.engine.recording.failure_samples import FailureBook
from loadgen.engine.recording.kept_streams import StreamKeeper
from loadgen.engine.recording.recorded_series import (
    About,
    JourneySeries,
    Noted,
    Place,
    RequestSeries,
    Series,
    Spans,
    StepSeries,
    TrendSeries,
    Watch,
    Watches,
)
from loadgen.engine.recording.stream_series import Goodput, StreamSeries
from loadgen.engine.recording.tagging import GivenTags, Tagging
from loadgen.engine.recording.values_to_histogram import Fold, p99
from loadgen.engine.tracing.sampled_and_others import SampledAndOthers
from loadgen.engine.tracing.sampling import Sampling
from loadgen.errors import UsageError
from loadgen.measure.convention_metrics import RecordedConvention
from loadgen.measure.deltas.custom import CustomStats, fitting_tags, without_tags
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.measure.deltas.exemplar import Exemplar
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.limits import SERIES_OF_AGENT, TAGGED_CUSTOM_OF_AGENT
from loadgen.measure.deltas.load_counts import FirstArrival, LoadCounts
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.sampling_counts import SamplingCounts
from loadgen.measure.deltas.series_key import CUT_OFF, MISSED, OK, OTHER, TIMEOUT, SeriesKey, Tags
from loadgen.measure.deltas.series_numbering import Numbering, tight_from
from loadgen.redact import Redactor

__all__ = ["MAX_NAMES", "CustomSource", "RawSink", "Recorder"]

MAX_NAMES = 500
"""Most distinct request names of a journey's step; the rest is counted in `(other)`, with a note."""


S = TypeVar("S", RequestSeries, StepSeries, JourneySeries)


class RawSink(Protocol):
    """Receives every single value, for checking the histograms (a debug switch)."""

    def keep(self, key: SeriesKey, values_ns: list[int]) -> None:
        """Store all values of one series in one interval."""


class CustomSource(Protocol):
    """A custom metric that adds up: counter, gauge or rate (dsl/metric.py)."""

    def take(self) -> CustomStats | None:
        """Return the custom metric's sums since the last call; None if nothing was recorded."""


class Recorder:
    """All series of one worker. Not thread-safe: one event loop records and flips.

    max_exemplars: most exemplars of one delta; 0: none. redactor: removes secrets from names and failures.
    tagging: the plan's tags and their limits. sampling: of a plan with tracing.
    """

    def __init__(
        self,
        *,
        max_names: int = MAX_NAMES,
        raw: RawSink | None = None,
        watches: Watches | None = None,
        max_exemplars: int = MAX_KEPT,
        redactor: Redactor | None = None,
        tagging: Tagging | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.counters = Counters()
        self._max_names = max_names
        self._raw = raw
        self._series: dict[SeriesKey, Series] = {}
        self._names: dict[tuple[str, str, str | None, Tags, bool], set[str]] = {}
        self._places: dict[tuple[str, str | None, bool, Tags, Tags], Place] = {}
        self._ids = Numbering()
        self._flipped = Counters()
        self._seq = 0
        self._notes: dict[str, None] = {}
        self._watches = watches
        self.customs: list[CustomSource] = []
        self.tagged_customs: list[CustomSource] = []
        """The parts of `customs` with tags; `MAX_CUSTOM` does not count them."""
        self.of_worker: dict[type, object] = {}
        """Counters that all users of the worker share: one object of each class (`worker_counter.py`)."""
        self._custom_rows: set[tuple[str, Tags]] = set()
        """(name, tags) of the custom metrics with tags."""
        self.redactor = redactor or Redactor()
        self.failures = FailureBook(self.redactor)
        self.keeper: StreamKeeper | None = None
        """Keeps event lists of streams; the drive sets it. None: none are kept."""
        self.is_traced = sampling is not None
        self._sampling = sampling
        self._undecided: set[tuple[str, str | None, str | None]] = set()
        """Journey, step and name of rows with requests about whose trace we did not decide."""
        self._learning: list[Series] = []
        """Series without an objective on their tail, in plans with tracing: their limit of slow ones is learned."""
        self._limited: list[Series] = []
        """Those with one, without the warm-up's: by them a worker knows that an objective is breached."""
        self.exemplars = Exemplars(
            max_exemplars,
            note_text=self.failures.note_text,
            probability=None if sampling is None else sampling.probability,
        )
        self.tagging = tagging or Tagging()
        self.tagging.bind(self.note, self.redactor.known)
        self.merged = self.tagging.merged
        self._noted_powers: dict[str, int] = {}
        self._is_full_noted = False
        self._told_left_out = 0
        """Chosen event lists that were not kept, up to the last flip."""
        self.t0_ns = 0
        """T0 on `perf_counter_ns`; the drive sets it."""
        self.interval_ends_ns = sys.maxsize
        """When the present interval ends, on `perf_counter_ns`; the drive sets it. Arrivals due then wait for that."""
        self.warmup_ns = 0
        """End of the warm-up, ns from T0; the drive sets it. Custom metrics of intervals that begin before it belong to
        the warm-up: their values have no due time.
        """
        self.goodputs: tuple[Goodput, ...] = ()
        """The limits of the plan's goodput objectives; the drive sets them."""
        self.exported_limits: Mapping[RecordedConvention, Mapping[str, int]] = {}
        """The limits by which requests are also good or not for another tool; the drive sets them."""
        self.watches_streams = False
        """Whether an objective over windows needs running requests to AI models; the drive sets it."""
        self.take_loads: Callable[[], tuple[LoadCounts, ...]] = tuple
        """Returns the counts of each load since the last call. The drive sets it; a flip calls it once."""
        self.first_arrivals: list[FirstArrival] = []
        """First arrivals of the share changes since the last flip."""

    def note(self, text: str) -> None:
        """Add a remark for the operator to the delta of this interval. Equal remarks appear once."""
        self._notes[text] = None

    # -- resolving series: once a name, not once a request -----------------------------------

    def place(self, journey: str, step: str | None, warmup: bool, tags: Tags = (), scope: Tags = ()) -> Place:
        """Return the place (a journey, or a step of one) with its series, created on first use. All users share it.

        `tags` are the load's and the user's, `scope` those of the steps around it.
        """
        found = self._places.get((journey, step, warmup, tags, scope))
        return found or self._new_place(journey, step, warmup, tags, scope)

    def _new_place(self, journey: str, step: str | None, warmup: bool, tags: Tags, scope: Tags) -> Place:
        known = step
        if step is not None:
            known = self.public_name(step, "step")
            if known != OTHER and self._is_full((journey, None, tags, warmup), "step", known, journey):
                # Not stored by its own name: there may be millions.
                return self.place(journey, OTHER, warmup, tags, scope)
        found = Place(self, journey, known, warmup, tags, scope)
        self._places[journey, step, warmup, tags, scope] = found
        return found

    def public_name(self, name: object, what: str) -> str:
        """Return the name of a step or request without secrets.

        Raises:
            UsageError: the name is not text.
        """
        if not isinstance(name, str):
            raise UsageError(f"invalid {what} name {name!r}", hint='a name must be text, such as "login"')
        return self.redactor.known(name)

    def _is_full(self, where: tuple[str, str | None, Tags, bool], what: str, name: str, shown: str) -> bool:
        """Register one more name at a place. If there are too many already, add a note and return True.

        The users of a load share the names, whatever their tags. `what` is the kind of name, "step" or "request";
        `shown` names the place in the note.
        """
        journey, step, tags, warmup = where
        names = self._names.setdefault((what, journey, step, tags[: self.tagging.own(tags)], warmup), set())
        if name in names:
            return False
        if len(names) >= self._max_names:
            self.note(f"more than {self._max_names} {what} names in {shown}: the rest is in {OTHER}")
            return True
        names.add(name)
        return False

    def request_series(
        self, journey: str, step: str | None, name: str, warmup: bool = False, tags: Tags = ()
    ) -> RequestSeries:
        """Return the series of a request, created on first use; that of `(other)` if there are too many names."""
        key = SeriesKey("request", journey, step, name, OK, "response", warmup=warmup, tags=tags)
        found = self._series.get(key)
        if found is None:
            # `(other)` itself always has room; otherwise the next line would call this method for ever.
            if name != OTHER and self._is_full((journey, step, tags, warmup), "request", name, step or journey):
                return self.request_series(journey, step, OTHER, warmup, tags)
            found = self._new(key, RequestSeries)
        assert isinstance(found, RequestSeries)
        return found

    def tagged_series(self, series: RequestSeries, headers: Tags) -> RequestSeries:
        """Return the part of a request's series that counts responses with these (header, value) pairs.

        The whole is the sum of its parts, so a report must add them up. `series` itself counts requests without a
        response.
        """
        return self._part(series, self.tagging.of_headers(series.key, headers))

    def marked_series(self, series: RequestSeries, tags: GivenTags) -> tuple[RequestSeries, bool]:
        """Return the part of a request's series for requests with these tags, and whether all values are declared.

        Raises:
            UsageError: an unknown name of a tag, or a value that is not a text.
        """
        pairs = self.tagging.pairs(tags)
        return self._part(series, pairs), all(value != OTHER for _, value in pairs)

    def _part(self, series: RequestSeries, tags: Tags) -> RequestSeries:
        key = replace(series.key, tags=self.merged(series.key.tags, tags))
        found = self._series.get(key)
        if found is None:
            found = self._new(key, RequestSeries)
            found.place = series.place
        assert isinstance(found, RequestSeries)
        return found

    def _new(self, key: SeriesKey, kind: type[S]) -> S:
        """Create a series and return it; if there are too many tagged series, return that of `(other)` tags instead."""
        fitting = self.tagging.fitting(key)
        if fitting is not key and (found := self._series.get(fitting)) is not None:
            assert isinstance(found, kind)
            return found
        made = kind(fitting, self._watch(fitting))
        self._series[fitting] = made
        if self._sampling is not None:
            limit_ns = self._sampling.over.of_objectives(fitting)
            if limit_ns is None:
                self._learning.append(made)
            else:
                made.over_ns = limit_ns
                if not fitting.warmup:
                    self._limited.append(made)
        return made

    def streams_of(self, series: RequestSeries) -> StreamSeries:
        """Return the stream metrics of a row of requests to AI models, created on first use."""
        found = series.streams
        if found is None:
            watches, key = self._watches, series.key
            is_watched = watches is not None and not key.warmup
            watch = watches.of_streams(key) if watches is not None and is_watched else None
            due = watches.of_streams(replace(key, metric="ttft_due")) if watches is not None and is_watched else None
            found = series.streams = StreamSeries(key, watch, self.goodputs, self._watch, due)
        assert isinstance(found, StreamSeries)
        return found

    def step_series(self, journey: str, step: str, warmup: bool = False, tags: Tags = ()) -> StepSeries:
        """Return the series of a step, created on first use."""
        key = SeriesKey("step", journey, step, None, OK, "response", warmup=warmup, tags=tags)
        found = self._series.get(key)
        if found is None:
            found = self._new(key, StepSeries)
        assert isinstance(found, StepSeries)
        return found

    def journey_series(self, journey: str, warmup: bool = False, tags: Tags = ()) -> JourneySeries:
        """Return the series of a journey, created on first use."""
        key = SeriesKey("journey", journey, None, None, OK, "response", warmup=warmup, tags=tags)
        found = self._series.get(key)
        if found is None:
            found = self._new(key, JourneySeries)
        assert isinstance(found, JourneySeries)
        return found

    def custom_tags(self, name: str, tags: GivenTags) -> tuple[Tags, bool]:
        """Return the tags under which values of a custom metric are counted, and whether all values are declared.

        The limits are those of requests; see `tagging.py`.

        Raises:
            UsageError: an unknown name of a tag, or a value that is not a text.
        """
        found = given = self.merged((), self.tagging.pairs(tags))
        rows = self._custom_rows
        if given and (name, given) not in rows:
            found = self.tagging.fitting(_trend_key(name, given)).tags
            found = fitting_tags(name, found, lambda *row: row in rows, len(rows), TAGGED_CUSTOM_OF_AGENT)
            rows.add((name, found))
        return found, all(value != OTHER for _, value in given)

    def trend_series(self, name: str, tags: Tags = (), *, warmup: bool = False) -> TrendSeries:
        """Return the series of a trend (a custom metric that is a distribution), created on first use.

        tags: those that `custom_tags` returned. warmup: its values are of requests that were due within the warm-up.
        """
        key = _trend_key(name, tags)
        if warmup:
            key = replace(key, warmup=True)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = TrendSeries(key)
        assert isinstance(found, TrendSeries)
        return found

    def undecided(self, key: SeriesKey) -> None:
        """Send no sums of sampled and of other requests of this row, because some of its requests are neither.

        That is so if the scenario gave one a trace header, or if a request was not sent by us.
        """
        self._undecided.add((key.journey, key.step, key.request))

    def _watch(self, key: SeriesKey) -> Watch | None:
        return self._watches.of(key) if self._watches is not None and not key.warmup else None

    # -- recording --------------------------------------------------------------------------

    def request(
        self,
        series: RequestSeries,
        asked_ns: int,
        sent_ns: int,
        done_ns: int,
        outcome: str,
        size_bytes: int,
    ) -> bool:
        """HOT, once a request: budget 0.3 µs (bench/record.py). Record a request; every client ends here.

        response = done - asked, service = done - sent. A request that was never sent has sent_ns 0 and no service time.

        Returns:
            True: worth an exemplar, because it failed, is the slowest of the interval so far, or was picked at random.
            The meter then passes it to `exemplars`. For all others that costs two comparisons of ints.
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
            # `is` is the quick test for nearly all requests. An "ok" that is another string object comes here and is
            # no error.
            if outcome != OK:
                counters.requests_errors += 1
            response, service = series.of(outcome, outcome == TIMEOUT)
            response.append(response_ns)
            is_notable = True
        if sent_ns:
            service.append(done_ns - sent_ns)
        if series.watch is not None:
            series.watch.ended(asked_ns, response_ns, outcome)
            if sent_ns and "service" in series.watch.metrics:
                series.watch.timed("service", asked_ns, done_ns - sent_ns, outcome)
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
        """HOT, once a step: record a step. `censored`: it was stopped or timed out, so the true time is longer."""
        response, duration = series.ok if outcome is OK else series.of(outcome, censored)
        response.append(response_ns)
        duration.append(duration_ns)
        if series.watch is not None:
            series.watch.ended(entered_ns, response_ns, outcome)
            if "duration" in series.watch.metrics:
                series.watch.timed("duration", entered_ns, duration_ns, outcome)

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
        noted: Noted = None,
        spans: Spans | None = None,
    ) -> None:
        """HOT, once an iteration: record it as finished. The waits are None in closed loads, which have no due times.

        due_ns: its intended start, or in closed loads when its user was ready (`perf_counter_ns`).
        n, load: number of the arrival, and index of the load. noted: what its journey noted. spans: the traces of its
        requests, if it is sampled.
        """
        self.counters.iterations_finished += 1
        if outcome != OK:
            self.counters.iterations_errors += 1
        self._iteration(
            series,
            response_ns,
            duration_ns,
            user_wait_ns,
            generator_lag_ns,
            outcome,
            censored,
            due_ns,
            n,
            load,
            noted,
            spans,
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
        noted: Noted = None,
        spans: Spans | None = None,
    ) -> None:
        """Record an iteration that the drain interrupted, with its time so far as a lower bound (censored)."""
        self.counters.iterations_cut_off += 1
        self._iteration(
            series,
            response_ns,
            duration_ns,
            user_wait_ns,
            generator_lag_ns,
            CUT_OFF,
            True,
            due_ns,
            n,
            load,
            noted,
            spans,
        )

    def missed(self, series: JourneySeries, late_ns: int, due_ns: int = 0) -> None:
        """Record an iteration that was due and never started; its lateness is a lower bound of its time."""
        self.counters.iterations_missed += 1
        self._iteration(series, late_ns, late_ns, late_ns, None, MISSED, True, due_ns, 0, 0, None)

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
        noted: Noted,
        spans: Spans | None = None,
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
            if "duration" in series.watch.metrics:
                series.watch.timed("duration", due_ns, duration_ns, outcome)
        if spans is not None:
            about = About(tags=series.key.tags, requests=spans.since(0), probability=spans.probability)
            spans.end(series.key, due_ns, due_ns + duration_ns, outcome)
            picked = outcome, due_ns, response_ns, 0, n, load, spans.trace, noted, about
            self.exemplars.saw_sampled(series, outcome, response_ns, lambda: picked)
        elif outcome != OK or response_ns > series.bar_ns or len(response) == series.pick_at:
            self.exemplars.saw(series, outcome, due_ns, response_ns, 0, n, load, "", noted)

    # -- once an interval -------------------------------------------------------------------

    def flip(self, start_ns: int, end_ns: int, health: Callable[[int | None, int], Health] | None = None) -> Delta:
        """Return a delta of everything recorded since the last flip, computed without a break. See `flip_in_parts`."""
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
        """Fold everything recorded since the last flip into a delta, which the generator returns.

        The values of the interval are taken at the first part, at once. Then they are folded in parts of at least
        `PART` values. A loop that turns between the parts reads its replies in time, while folding 32,000 values at
        once would delay them by 3 ms. `seq` counts up from 0. The supervisor fills in agent and epoch. The caller must
        run the generator to its end.

        Args:
            health: called at the end with the p99 of generator lag (None: no open load) and of the
                journeys' response times in this interval, ns.

        Cost: see bench/record.py.
        """
        new: list[SeriesKey] = []
        values: list[tuple[int, list[int]]] = []
        lags: list[int] = []
        responses: list[int] = []
        trends: dict[str, list[int]] = {}
        is_warmup = start_ns < self.warmup_ns
        both = SampledAndOthers()
        sampling: tuple[SamplingCounts, ...] = ()
        if self._sampling is not None:
            sampling = self._turn(self._sampling, end_ns - start_ns)
            self._learn(self._sampling)
            self._take_sampled(both, new)
        for series in self._series.values():
            for key, taken in series.swap():
                if key.kind == "trend":
                    name = key.request or ""
                    trends[name] = trends[name] + taken if name in trends else taken
                    if is_warmup:
                        key = replace(key, warmup=True)
                if self._raw is not None:
                    self._raw.keep(key, taken)
                number = self._id(key, new)
                if key.kind == "journey" and key.metric in ("generator_lag", "response"):
                    (lags if key.metric == "generator_lag" else responses).append(number)
                values.append((number, taken))
        counters = self.counters - self._flipped
        self._flipped = self.counters.copy()
        seq, self._seq = self._seq, self._seq + 1
        sources = chain(self.customs, self.tagged_customs)
        custom = tuple(stats for source in sources if (stats := source.take()) is not None)
        if is_warmup:
            custom = tuple(replace(stats, warmup=True) for stats in custom)
        due: tuple[DueCounts, ...] = ()
        if self._watches is not None:
            self._watches.saw(start_ns, without_tags(custom), trends)
            due = self._watches.take(self.t0_ns + end_ns)
        loads, first_arrivals, self.first_arrivals = self.take_loads(), tuple(self.first_arrivals), []
        left_out = 0
        making: Iterator[list[KeptStream]] = iter(())
        streams: list[KeptStream] = []
        if self.keeper is not None:
            left_out, self._told_left_out = self.keeper.left_out - self._told_left_out, self.keeper.left_out
            making = self.keeper.take(self.t0_ns)
            streams += next(making, ())
        exemplars = self._take_exemplars()  # before health, which takes the notes
        failures = self.failures.take(self.t0_ns, self.t0_ns + end_ns)
        # No break before this one: the controller compares values with counters, so both must be of the same instant.
        yield
        fold = Fold(values, keep=[*lags, *responses], censored=lambda number: self._censored(number, new))
        for _ in fold.parts():
            yield
        for part in making:
            streams += part
            yield
        lag_ns, response_ns = p99(fold.kept(lags)), p99(fold.kept(responses)) or 0
        yield
        found = health(lag_ns, response_ns) if health else Health()
        if exemplars and self.is_traced:
            active, is_unfit = tuple(one.load for one in loads if one.started or one.users), bool(found.unfit)
            exemplars = tuple(msgspec.structs.replace(one, active_loads=active, unfit=is_unfit) for one in exemplars)
        return Delta(
            agent="",
            epoch=0,
            seq=seq,
            start_ns=start_ns,
            end_ns=end_ns,
            new_series=tuple(new),
            index=fold.index.astype("<u4").tobytes(),
            count=fold.count.astype("<u4").tobytes(),
            stats=fold.stats,
            counters=counters,
            health=found,
            due=due,
            custom=custom,
            exemplars=exemplars,
            failures=failures,
            sampling=sampling,
            loads=loads,
            first_arrivals=first_arrivals,
            streams=tuple(streams),
            streams_left_out=left_out,
            sampled=tuple(both.rows(fold.stats)) if self.is_traced else (),
        )

    def _take_sampled(self, into: SampledAndOthers, new: list[SeriesKey]) -> None:
        """Remove the sums of sampled requests from all series, and add them. Those of the warm-up are dropped."""
        for one in self._series.values():
            if not isinstance(one, RequestSeries):
                continue
            n, sum_ns, one.sampled_n, one.sampled_sum_ns = one.sampled_n, one.sampled_sum_ns, 0, 0
            key = one.key
            if not key.warmup and one.ok[0]:
                number = self._id(key, new)
                into.add(number, n, sum_ns)
                if (key.journey, key.step, key.request) in self._undecided:
                    into.leave_out(number)

    def _turn(self, sampling: Sampling, elapsed_ns: int) -> tuple[SamplingCounts, ...]:
        """Set the threshold of the next interval, if the plan's share changes, and return the decisions of this one."""
        if text := sampling.note():
            self.note(text)
        if sampling.adaptive is None:
            return ()
        is_breached = False
        if sampling.breaches is not None:
            is_breached = sampling.breaches.learn([(one.key, one.ok[0]) for one in self._limited])
        return sampling.adaptive.turn(elapsed_ns, is_breached=is_breached)

    def _learn(self, sampling: Sampling) -> None:
        """Learn from the response times of this interval above which time a request counts as slow."""
        series = {one.key: one for one in self._learning if one.ok[0]}
        for key, limit_ns in sampling.over.learn([(key, one.ok[0]) for key, one in series.items()]).items():
            series[key].over_ns = limit_ns

    def _take_exemplars(self) -> tuple[Exemplar, ...]:
        taken = self.exemplars.take(self.t0_ns)
        streams_left_out = 0 if self.keeper is None else self.keeper.left_out
        for what, left_out in (
            ("exemplars", self.exemplars.left_out),
            ("failures", self.failures.left_out),
            ("event lists", streams_left_out),
        ):
            power = len(str(left_out)) if left_out else 0
            if power > self._noted_powers.get(what, 0):  # at 1, 10, 100, ...: not each second
                self._noted_powers[what] = power
                self.note(f"{left_out:,} {what} left out, because a limit was reached")
        return taken

    def _id(self, key: SeriesKey, new: list[SeriesKey]) -> int:
        """Return the number of a series. A new series gets the next number and is appended to `new`."""
        known = len(self._ids)
        found = self._ids.number(key)
        if found == known:
            new.append(self._ids.keys[found])
        if self._ids.is_full and not self._is_full_noted:
            self._is_full_noted = True
            self.note(f"more than {tight_from(SERIES_OF_AGENT):,} series: new series are in {OTHER}")
        return found

    def _censored(self, number: int, new: list[SeriesKey]) -> int:
        """Return the number of the series for those values of series `number` that exceed the histogram's hour. Rare.

        A new series is appended to `new`.
        """
        return self._id(replace(self._ids.keys[number], censored=True), new)

    def take_notes(self) -> tuple[str, ...]:
        """Remove and return the remarks for the operator since the last call."""
        notes, self._notes = tuple(self._notes), {}
        return notes


def _trend_key(name: str, tags: Tags) -> SeriesKey:
    return SeriesKey("trend", "", None, name, OK, "value", tags=tags)
