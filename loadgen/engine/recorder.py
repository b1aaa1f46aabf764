"""Records what happened: ints appended to lists, folded into sparse histograms once an interval.

Appending costs 35 ns a value and folding with numpy 16 (bench/record.py), where
`record_value` of the hdrhistogram package costs 600 to 1,800 ns and silently
drops what is out of range.

A flip swaps the active lists for empty ones and folds the old: nothing is
copied while a value is recorded, and nothing is lost or counted twice. All
times are ns of `perf_counter_ns`; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np

from loadgen.measure.delta import Counters, Delta, Health, SeriesStats
from loadgen.measure.histogram import MAX_NS, SLOTS, slots_of_ns
from loadgen.measure.series import OK, OTHER, Metric, SeriesKey

__all__ = ["MAX_NAMES", "JourneySeries", "Place", "RawSink", "Recorder", "RequestSeries", "StepSeries"]

MAX_NAMES = 500
"""Distinct request names of a journey's step; the rest go into `(other)`, and the run says so."""

TIMEOUT: Final = "timeout"
"""The one outcome of a request that is censored: the truth is longer than what was waited."""
CUT_OFF: Final = "cut off"
MISSED: Final = "missed"


class RawSink(Protocol):
    """Keeps every single value, for checking the histograms against (a debug switch)."""

    def keep(self, key: SeriesKey, values_ns: np.ndarray) -> None: ...


class Series:
    """A series over all its outcomes: a list of values for each metric of its kind.

    Those of the outcome ok are at hand; those of others come into being when first seen.
    """

    __slots__ = ("key", "metrics", "ok", "others")

    def __init__(self, key: SeriesKey, metrics: tuple[Metric, ...]) -> None:
        self.key, self.metrics = key, metrics
        self.ok: tuple[list[int], ...] = tuple([] for _ in metrics)
        """In the order of `metrics`; swapped for empty lists by a flip, so never kept."""
        self.others: dict[tuple[str, bool], tuple[list[int], ...]] = {}

    def of(self, outcome: str, censored: bool) -> tuple[list[int], ...]:
        """The lists of an outcome. censored: response, service and duration are lower bounds."""
        if outcome == OK and not censored:
            return self.ok
        found = self.others.get((outcome, censored))
        if found is None:
            found = self.others[outcome, censored] = tuple([] for _ in self.metrics)
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

    __slots__ = ()

    def __init__(self, key: SeriesKey) -> None:
        super().__init__(key, ("response", "service"))


class StepSeries(Series):
    """response: without think; duration: with it."""

    __slots__ = ()

    def __init__(self, key: SeriesKey) -> None:
        super().__init__(key, ("response", "duration"))


class JourneySeries(Series):
    """Metrics in the order of `Recorder.iteration`'s arguments."""

    __slots__ = ()

    def __init__(self, key: SeriesKey) -> None:
        super().__init__(key, ("response", "duration", "user_wait", "generator_lag"))


class Place:
    """A journey, or a step of one: its own series, and its request series by name."""

    __slots__ = ("journey", "names", "recorder", "series", "step", "warmup")

    def __init__(self, recorder: Recorder, journey: str, step: str | None, warmup: bool) -> None:
        self.recorder, self.journey, self.step, self.warmup = recorder, journey, step, warmup
        self.names: dict[str, RequestSeries] = {}
        self.series = None if step is None else recorder.step_series(journey, step, warmup)

    def resolve(self, name: str) -> RequestSeries:
        """The series of a name that is not in `names` yet."""
        series = self.recorder.request_series(self.journey, self.step, name, self.warmup)
        if series.key.request == name:  # names beyond the cap are not kept: there may be millions
            self.names[name] = series
        return series


class Recorder:
    """All series of one worker. Not thread-safe: one event loop records and flips."""

    def __init__(self, *, max_names: int = MAX_NAMES, raw: RawSink | None = None) -> None:
        self.counters = Counters()
        self._max_names = max_names
        self._raw = raw
        self._series: dict[SeriesKey, Series] = {}
        self._names: dict[tuple[str, str | None], int] = {}
        self._places: dict[tuple[str, str | None, bool], Place] = {}
        self._ids: dict[SeriesKey, int] = {}
        self._flipped = Counters()
        self._seq = 0
        self._notes: dict[str, None] = {}

    def note(self, text: str) -> None:
        """Say something about this interval to the person who watches; said once each."""
        self._notes[text] = None

    # -- resolving series: once a name, not once a request -----------------------------------

    def place(self, journey: str, step: str | None, warmup: bool) -> Place:
        """HOT, twice a step: where a user is, with the series that are already resolved there. Shared by all users."""
        found = self._places.get((journey, step, warmup))
        if found is None:
            found = self._places[journey, step, warmup] = Place(self, journey, step, warmup)
        return found

    def request_series(self, journey: str, step: str | None, name: str, warmup: bool = False) -> RequestSeries:
        key = SeriesKey("request", journey, step, name, OK, "response", warmup=warmup)
        found = self._series.get(key)
        if found is None:
            if not warmup:
                used = self._names.get((journey, step), 0)
                if used >= self._max_names and name != OTHER:
                    self.note(f"more than {self._max_names} request names in {step or journey}: the rest is in {OTHER}")
                    return self.request_series(journey, step, OTHER)
                self._names[journey, step] = used + 1
            found = self._series[key] = RequestSeries(key)
        assert isinstance(found, RequestSeries)
        return found

    def step_series(self, journey: str, step: str, warmup: bool = False) -> StepSeries:
        key = SeriesKey("step", journey, step, None, OK, "response", warmup=warmup)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = StepSeries(key)
        assert isinstance(found, StepSeries)
        return found

    def journey_series(self, journey: str, warmup: bool = False) -> JourneySeries:
        key = SeriesKey("journey", journey, None, None, OK, "response", warmup=warmup)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = JourneySeries(key)
        assert isinstance(found, JourneySeries)
        return found

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
    ) -> None:
        """HOT, once a request: budget 0.3 µs (bench/record.py). Every client ends here.

        response = done - asked, service = done - sent. A request that never was sent
        has sent_ns 0 and no service time. `first_byte_ns` and `trace` are taken now and used by exemplars later.
        """
        counters = self.counters
        counters.requests_finished += 1
        counters.bytes_received += size_bytes
        if outcome is OK:
            response, service = series.ok
        else:
            if outcome != OK:
                counters.requests_errors += 1
            response, service = series.of(outcome, outcome == TIMEOUT)
        response.append(done_ns - asked_ns)
        if sent_ns:
            service.append(done_ns - sent_ns)

    def step(self, series: StepSeries, response_ns: int, duration_ns: int, outcome: str, censored: bool) -> None:
        """HOT, once a step. `censored`: it was stopped, or ended by a time-out, so the truth is longer."""
        response, duration = series.ok if outcome is OK else series.of(outcome, censored)
        response.append(response_ns)
        duration.append(duration_ns)

    def iteration(
        self,
        series: JourneySeries,
        response_ns: int,
        duration_ns: int,
        user_wait_ns: int | None,
        generator_lag_ns: int | None,
        outcome: str,
        censored: bool,
    ) -> None:
        """HOT, once an iteration; counts it as finished. The waits are None in closed loads, which have no due."""
        self.counters.iterations_finished += 1
        if outcome != OK:
            self.counters.iterations_errors += 1
        self._iteration(series, response_ns, duration_ns, user_wait_ns, generator_lag_ns, outcome, censored)

    def cut_off(
        self,
        series: JourneySeries,
        response_ns: int,
        duration_ns: int,
        user_wait_ns: int | None,
        generator_lag_ns: int | None,
    ) -> None:
        """An iteration that the drain stopped: censored at what it had taken by then."""
        self.counters.iterations_cut_off += 1
        self._iteration(series, response_ns, duration_ns, user_wait_ns, generator_lag_ns, CUT_OFF, True)

    def missed(self, series: JourneySeries, late_ns: int) -> None:
        """An iteration that was due and never started: censored at how late it was when given up."""
        self.counters.iterations_missed += 1
        self._iteration(series, late_ns, late_ns, late_ns, None, MISSED, True)

    def _iteration(
        self,
        series: JourneySeries,
        response_ns: int,
        duration_ns: int,
        user_wait_ns: int | None,
        generator_lag_ns: int | None,
        outcome: str,
        censored: bool,
    ) -> None:
        response, duration, user_wait, generator_lag = series.of(outcome, censored)
        response.append(response_ns)
        duration.append(duration_ns)
        if user_wait_ns is not None:
            user_wait.append(user_wait_ns)
        if generator_lag_ns is not None:
            generator_lag.append(generator_lag_ns)

    # -- once an interval -------------------------------------------------------------------

    def flip(self, start_ns: int, end_ns: int, health: Callable[[int | None, int], Health] | None = None) -> Delta:
        """Fold what was recorded since the last flip into a delta; `seq` counts up from 0.

        Args:
            health: called with the p99 of generator lag (None: no open load) and of the
                journeys' response times in this interval, ns.

        Cost: 16 ns a value and about 20 µs a series that has values.
        Agent and epoch are the supervisor's to fill in.
        """
        lags_ns: list[np.ndarray] = []
        responses_ns: list[np.ndarray] = []
        by_key: dict[SeriesKey, list[np.ndarray]] = {}
        new: list[SeriesKey] = []
        parts: list[tuple[int, np.ndarray, np.ndarray]] = []
        stats: list[SeriesStats] = []
        for key, values in self._swap():
            values_ns = np.array(values, dtype=np.int64)
            if self._raw is not None:
                self._raw.keep(key, values_ns)
            if key.kind == "journey" and key.metric in ("generator_lag", "response"):
                (lags_ns if key.metric == "generator_lag" else responses_ns).append(values_ns)
            for part_key, part_ns in _split_overflow(key, values_ns):
                by_key.setdefault(part_key, []).append(part_ns)
        # What overflowed joins what was censored anyway: a series stands once in a delta.
        for part_key, arrays in by_key.items():
            part_ns = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
            series = self._ids.get(part_key)
            if series is None:
                series = self._ids[part_key] = len(self._ids)
                new.append(part_key)
            slots, counts = np.unique(slots_of_ns(part_ns), return_counts=True)
            parts.append((series, slots, counts))
            low, high = int(part_ns.min()), int(part_ns.max())
            stats.append(SeriesStats(series, len(part_ns), int(part_ns.sum()), low, high))
        parts.sort(key=lambda part: part[0])
        stats.sort(key=lambda s: s.series)
        index = [slots.astype("<u4") + np.uint32(series * SLOTS) for series, slots, _ in parts]
        count = [counts.astype("<u4") for _, _, counts in parts]
        counters = self.counters - self._flipped
        self._flipped = self.counters.copy()
        seq, self._seq = self._seq, self._seq + 1
        return Delta(
            agent="",
            epoch=0,
            seq=seq,
            start_ns=start_ns,
            end_ns=end_ns,
            new_series=tuple(new),
            index=b"".join(i.tobytes() for i in index),
            count=b"".join(c.tobytes() for c in count),
            stats=tuple(stats),
            counters=counters,
            health=health(_p99(lags_ns), _p99(responses_ns) or 0) if health else Health(),
        )

    def take_notes(self) -> tuple[str, ...]:
        """What was noted since the last call."""
        notes, self._notes = tuple(self._notes), {}
        return notes

    def _swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        for series in self._series.values():
            yield from series.swap()


def _p99(values: list[np.ndarray]) -> int | None:
    """What 1 % of the values exceed, and at least one of them: of a few values the worst is chance and no p99."""
    if not values:
        return None
    together = np.concatenate(values)
    rank = max(0, len(together) - 1 - max(1, len(together) // 100))
    return int(np.partition(together, rank)[rank])


def _split_overflow(key: SeriesKey, values_ns: np.ndarray) -> Iterator[tuple[SeriesKey, np.ndarray]]:
    """What is longer than the histogram's hour is censored there: counted apart, never dropped."""
    over = values_ns > MAX_NS
    if not over.any():
        yield key, values_ns
        return
    if not over.all():
        yield key, values_ns[~over]
    bound = SeriesKey(key.kind, key.journey, key.step, key.request, key.outcome, key.metric, True, key.warmup, key.tags)
    yield bound, np.full(int(over.sum()), MAX_NS, dtype=np.int64)
