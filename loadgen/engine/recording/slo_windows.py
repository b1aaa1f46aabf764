"""Counts by due interval, made by the agents for objectives over sliding windows.

A watched series appends ints, as the recorder does. Once an interval they are folded with numpy into
counts by objective, journey and due interval: good (ended ok within T), bad (ended otherwise, or
later), and for iterations and requests that still run, overdue (already older than T) and undecided. T
is compared in ns. Faults of the script and skipped iterations are in none of these counts. For an error ratio T is
infinite: nothing is overdue, and every `ok` is good. `watched_values.py` counts means, extremes, other metrics
and custom metrics.

Requests to AI models have further watches: of their stream metrics, of `ttft_due` alone (it counts from when they were
due, and not all have it), and of each goodput. Of these, T is the limit of the first token. A stream without a token
that is older than T is overdue; with its first token, its age becomes 0. All other limits are decided at its end.

An objective may select by tags. An ended request, step or iteration counts under the tags with which it ended. A
running event may still get other tags: an iteration or step from `user.tag`, a request from the headers of its
response. If such a tag decides whether the event belongs to the objective, the running event is undecided, however old
it is. So it cannot break a window.

Running iterations are read from the pool of users. Running steps and requests are those that have begun
and neither ended nor gone; they are identified by when they began. A cancelled one is "gone" and has no
outcome: it is bad if it had taken longer than T by then, and otherwise it does not count. (Otherwise a stop
at the end would make overdue requests disappear.)

All times are `perf_counter_ns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from time import perf_counter_ns
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen.engine.recording.tagging import TagSpec
from loadgen.engine.recording.watched_values import Rule, Value, custom_row, rule_of, value_rows
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.outcomes_by_due_interval import MAX_DUE_ROWS, DueCounts
from loadgen.measure.deltas.series_key import LOAD_TAG, OK, Metric, SeriesKey, Tags
from loadgen.measure.objectives.terms import Objective, is_judged

__all__ = ["Series", "Watches", "within_limit"]

Ints = npt.NDArray[np.int64]
Idle = Callable[[int], int] | None
_Limits = tuple[tuple[int, int], ...]
"""(index of the objective, limit in ns)."""

_NEVER: Final = 1 << 62
_FAR: Final = 1 << 17
_NONE: Final = np.zeros(0, dtype=np.int64)


class _Ended(NamedTuple):
    """Begin times of ended steps, requests and iterations, by result.

    ok_ns: their response times; gone_ns: their times until they were cancelled.
    """

    ok: Ints
    ok_ns: Ints
    bad: Ints
    gone: Ints
    gone_ns: Ints


class Series:
    """All series of one journey that the same objectives watch; a `loadgen.engine.recording.recorded_series.Watch`.

    HOT, once a watched value: budget 0.5 µs. It costs 0.25 µs: `begun` 45 ns, `ended` 55 ns (140 ns if it did not end
    ok), folding 115 to 165 ns. Measured on one core by `python -m timeit -n 100000 -r 7` of each call with OK, the
    least of the repetitions less an empty loop; folding: `Watches.take` after 5,000 and 50,000 requests under two
    objectives, by value.
    """

    __slots__ = (
        "_bad",
        "_begun",
        "_clock",
        "_gone",
        "_gone_ns",
        "_idle",
        "_ok",
        "_ok_ns",
        "_values",
        "_void",
        "journey",
        "limits",
        "metrics",
        "open",
        "open_idle",
        "rules",
        "running",
    )

    def __init__(
        self,
        journey: str,
        limits: tuple[tuple[int, int], ...],
        clock: Callable[[], int],
        rules: tuple[Rule, ...] = (),
        running: tuple[tuple[int, int], ...] | None = None,
    ) -> None:
        self._clock = clock
        self.rules = rules
        """Objectives that need the values themselves; `limits` has them, too, for events that still run."""
        self._values: dict[Metric, list[Value]] | None = {} if rules else None
        self.metrics: frozenset[Metric] = frozenset(rule.metric for rule in rules) - {"response"}
        self.journey = journey
        self.limits = limits
        """(index of the objective, T in ns)."""
        self.running = limits if running is None else running
        """The same for events that still run. The limit is `_NEVER` if a tag that may still change decides."""
        self._ok: list[int] = []
        self._ok_ns: list[int] = []
        self._bad: list[int] = []
        self._gone: list[int] = []
        self._gone_ns: list[int] = []
        self._void: list[int] = []
        self._begun: list[int] = []
        self._idle: list[Idle] = []
        self.open: Ints = _NONE
        """Begin times of running steps and requests; `open_idle` holds the think time of each."""
        self.open_idle: list[Idle] = []

    def begun(self, at_ns: int, idle_ns: Idle = None) -> None:
        """HOT. Register that a step or request began at `at_ns`; `idle_ns` returns its think time at a given time."""
        self._begun.append(at_ns)
        self._idle.append(idle_ns)

    def ended(self, at_ns: int, response_ns: int, outcome: str) -> None:
        """HOT. Register that a step, request or iteration that began at `at_ns` ended."""
        if self._values is not None:
            self.timed("response", at_ns, response_ns, outcome)
        if outcome is OK or outcome == OK:
            self._ok.append(at_ns)
            self._ok_ns.append(response_ns)
        elif is_judged(outcome):
            self._bad.append(at_ns)
        else:
            self._void.append(at_ns)

    def timed(self, metric: Metric, at_ns: int, value_ns: int, outcome: str) -> None:
        """Register the value of a metric of a step, request or iteration that began at `at_ns` and ended."""
        if self._values is not None and is_judged(outcome):
            self._values.setdefault(metric, []).append((at_ns, value_ns, outcome))

    def take_values(self) -> dict[Metric, list[Value]]:
        """Remove and return the values since the last call, by metric; empty if no objective needs them."""
        if not self._values:
            return {}
        taken, self._values = self._values, {}
        return taken

    def gone(self, at_ns: int) -> None:
        """Register that a step or request that began at `at_ns` was cancelled."""
        self._gone.append(at_ns)
        self._gone_ns.append(self._clock() - at_ns)

    def take(self) -> _Ended:
        """Remove and return the steps, requests and iterations that ended since the last call.

        Those that are still running are stored in `open`.
        """
        ended = _Ended(_ints(self._ok), _ints(self._ok_ns), _ints(self._bad), _ints(self._gone), _ints(self._gone_ns))
        begun, idle, void = self._begun, self._idle, self._void
        self._ok, self._ok_ns, self._bad, self._gone, self._gone_ns, self._void = [], [], [], [], [], []
        if begun or len(self.open):
            self._begun, self._idle = [], []
            # Faults of the script and skipped ones (`void`) have ended, although they count neither as good nor as
            # bad.
            closed = np.concatenate((ended.ok, ended.bad, ended.gone, _ints(void)))
            self._remain(np.concatenate((self.open, _ints(begun))), self.open_idle + idle, closed)
        return ended

    def _remain(self, begun: Ints, idle: list[Idle], ended: Ints) -> None:
        """Set `open` to the iterations that have begun and not ended.

        Among those that began in the same ns, the later remain.
        """
        order = np.argsort(begun, kind="stable")
        begun, ended = begun[order], np.sort(ended)
        # Of `nth` equal begin times, the first `done` have ended: equal ones cannot be distinguished, so they end in
        # order.
        nth = np.arange(len(begun)) - np.searchsorted(begun, begun)
        done = np.searchsorted(ended, begun, "right") - np.searchsorted(ended, begun)
        left = nth >= done
        self.open = begun[left]
        self.open_idle = [idle[at] for at in order[left].tolist()]

    def idle(self, now_ns: int) -> Ints:
        """Return the think time so far of each running step or request at `now_ns`, in ns."""
        return _ints([0 if idle is None else idle(now_ns) for idle in self.open_idle])


class Watches:
    """All watched series of one worker; a `loadgen.engine.recording.recorded_series.Watches`.

    Args:
        objectives: the plan's `slos`, in order; those over the whole run are not watched.
        journeys: the names, by journey index.
        interval_ns: L; interval k is [k L, (k + 1) L) from T0.
        region: the agent's.
        in_flight: now -> (place, due or ready time, think time so far) of each measured iteration that runs or waits.
            The place is the load's index times the number of journeys, plus the journey's index.
        loads: names of the plan's loads; "" for one without a name.
        constants: by load, the tags that the plan gives it. (): no load has any.
        tags: the tags that the plan declares.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        journeys: Sequence[str],
        interval_ns: int,
        region: str,
        in_flight: Callable[[int], Iterable[tuple[int, int, int]]] | None = None,
        clock: Callable[[], int] = perf_counter_ns,
        loads: Sequence[str] = ("",),
        constants: Sequence[Tags] = (),
        tags: Iterable[TagSpec] = (),
    ) -> None:
        self.t0_ns = 0
        """T0; the drive sets it."""
        self._interval_ns, self._in_flight, self._clock = interval_ns, in_flight, clock
        self._objectives = [
            (index, one) for index, one in enumerate(objectives) if one.window_ns and one.region in (None, region)
        ]
        self._headers, self._values = set[str](), set[str]()
        for spec in tags:
            (self._headers if spec.header else self._values).add(spec.name)
        self._series: dict[tuple[str, _Limits, _Limits], Series] = {}
        self._iterations = [
            (load * len(journeys) + at, name, limits)
            for load, load_name in enumerate(loads)
            for at, name in enumerate(journeys)
            if (
                limits := self._running(
                    _journey_key(name, load_name, constants[load] if constants else ()), self._objectives
                )
            )
        ]
        self._customs = [one for one in self._objectives if one[1].of_kind is not None]
        self._recorded: list[DueCounts] = []
        self._carried: tuple[DueCounts, ...] = ()

    def of(self, key: SeriesKey) -> Series | None:
        """Return the series that counts values with this key; None if no objective over a window covers them."""
        return self._of(key, [pair for pair in self._objectives if not pair[1].is_of_streams])

    def of_streams(self, key: SeriesKey) -> Series | None:
        """Return the series that counts the stream metrics of a row of requests; None if no objective needs them.

        key: with the metric `ttft_due`, it is the series for objectives on this metric; else that for all others.
        """
        of_due = key.metric == "ttft_due"
        streams = [pair for pair in self._objectives if pair[1].is_of_streams]
        return self._of(key, [pair for pair in streams if (pair[1].metric == "ttft_due") == of_due])

    def _of(self, key: SeriesKey, objectives: Sequence[tuple[int, Objective]]) -> Series | None:
        if key.warmup:
            return None
        limits, running = self._limits(key, objectives), self._running(key, objectives)
        if not limits and not running:
            return None
        found = self._series.get((key.journey, limits, running))
        if found is None:
            rules = []
            for index, one in objectives:
                if one.covers_lost(key):
                    rules.append(Rule(index, one, "response"))
                elif (rule := rule_of(index, one)) is not None and one.covers(key):
                    rules.append(rule)
            found = Series(key.journey, limits, self._clock, tuple(rules), running)
            self._series[key.journey, limits, running] = found
        return found

    def saw(self, start_ns: int, custom: Sequence[CustomStats], trends: Mapping[str, Sequence[int]]) -> None:
        """Count the custom metrics of the interval that began at `start_ns`, from T0. They appear in the next `take`.

        trends: values by the trend's name, in ns; 1 µs stands for its resolution.
        """
        if self._customs and start_ns >= 0:
            k = (start_ns + self._interval_ns // 2) // self._interval_ns
            for index, one in self._customs:
                row = custom_row(index, one, k, custom, trends)
                if row is not None:
                    self._recorded.append(row)

    def _limits(self, key: SeriesKey, objectives: Iterable[tuple[int, Objective]]) -> _Limits:
        return tuple(
            (index, _limit_ns(one))
            for index, one in objectives
            if one.of_kind is None and (one.covers(key) or one.covers_lost(key))
        )

    def _running(self, key: SeriesKey, objectives: Iterable[tuple[int, Objective]]) -> _Limits:
        """Return the objectives to which a running event of this series may belong when it ends, with its limit in ns.

        The limit is `_NEVER` if a tag that may still change decides whether the event belongs to the objective.
        """
        found = []
        for index, one in objectives:
            changing = self._changing(key) & {selector.name for selector in one.tags}
            if one.of_kind is None and one.covers(key, changing):
                found.append((index, _NEVER if changing else _limit_ns(one)))
        return tuple(found)

    def _changing(self, key: SeriesKey) -> set[str]:
        """Return the names of the tags that a running event of this series may still get, or whose value may change."""
        if key.kind in ("request", "goodput"):
            return self._headers - {name for name, _ in key.tags}
        return self._values

    def take(self, now_ns: int) -> tuple[DueCounts, ...]:
        """Return the counts of steps, requests and iterations that ended since the last call, or run at `now_ns`.

        Call it once an interval. Cost: 0.17 µs a value that ended (see `Series`), and 0.1 µs an iteration in flight,
        plus the time of reading those (0.9 ms for 10,000, timed the same way).
        """
        counts = _Counts(self.t0_ns, self._interval_ns)
        counts.add((*self._carried, *self._recorded))
        self._recorded = []
        for series in self._series.values():
            valued = {rule.index for rule in series.rules}
            limits = tuple(one for one in series.limits if one[0] not in valued) if valued else series.limits
            ended = series.take()
            counts.add_ended(series.journey, limits, ended)
            if valued:
                # A cancelled stream has no values, but it stays bad if it was overdue.
                gone = _Ended(_NONE, _NONE, _NONE, ended.gone, ended.gone_ns)
                counts.add_ended(series.journey, tuple(one for one in series.limits if one[0] in valued), gone)
                counts.add(
                    value_rows(series.journey, series.rules, series.take_values(), self.t0_ns, self._interval_ns)
                )
            if len(series.open):
                age_ns = now_ns - series.open - series.idle(now_ns)
                counts.add_open(series.journey, series.running, series.open, age_ns)
        if self._iterations and self._in_flight is not None:
            flying = np.fromiter(chain.from_iterable(self._in_flight(now_ns)), dtype=np.int64).reshape(-1, 3)
            for at, name, limits in self._iterations:
                start = flying[flying[:, 0] == at]
                counts.add_open(name, limits, start[:, 1], now_ns - start[:, 1] - start[:, 2])
        rows, self._carried = within_limit(list(counts))
        return rows


class _Counts:
    """Sums by objective, journey and due interval."""

    __slots__ = ("_interval_ns", "_sums", "_t0_ns")

    def __init__(self, t0_ns: int, interval_ns: int) -> None:
        self._t0_ns, self._interval_ns = t0_ns, interval_ns
        self._sums: dict[tuple[int, str, int], list[int]] = {}

    def add_ended(self, journey: str, limits: tuple[tuple[int, int], ...], ended: _Ended) -> None:
        """Count ended steps, requests or iterations as good or bad, for each objective by its own limit.

        `limits` has (index of the objective, limit in ns).
        """
        if len(ended.ok) + len(ended.bad) + len(ended.gone) == 0:
            return
        ok, bad, gone = self._intervals(ended.ok), self._intervals(ended.bad), self._intervals(ended.gone)
        all_ok, all_bad = dict(_counted(ok)), dict(_counted(bad))
        for objective, limit_ns in limits:
            late = dict(_counted(ok[ended.ok_ns > limit_ns]))
            overdue = dict(_counted(gone[ended.gone_ns > limit_ns])) if len(gone) else {}
            for k in all_ok.keys() | all_bad.keys() | overdue.keys():
                slow = late.get(k, 0)
                good = all_ok.get(k, 0) - slow
                self._add(objective, journey, k, good, all_bad.get(k, 0) + slow + overdue.get(k, 0), 0, 0)

    def add_open(self, journey: str, limits: tuple[tuple[int, int], ...], start: Ints, age_ns: Ints) -> None:
        """Count running steps, requests or iterations as overdue or undecided, for each objective by its own limit.

        `limits` has (index of the objective, limit in ns), `age_ns` their times so far without think time.
        """
        if not len(start):
            return
        of = self._intervals(start)
        for objective, limit_ns in limits:
            is_late = age_ns > limit_ns
            for k, count in _counted(of[is_late]):
                self._add(objective, journey, k, 0, 0, count, 0)
            for k, count in _counted(of[~is_late]):
                self._add(objective, journey, k, 0, 0, 0, count)

    def add(self, counts: Iterable[DueCounts]) -> None:
        """Add the counts of good and bad ones, and sums, of other rows; those without room in the last delta, too."""
        for one in counts:
            self._add(one.objective, one.journey, one.k, one.good, one.bad, 0, 0, one.total, one.bounds)

    def __iter__(self) -> Iterator[DueCounts]:
        for (objective, journey, k), sums in sorted(self._sums.items()):
            yield DueCounts(objective, journey, k, *sums)

    def _add(self, objective: int, journey: str, k: int, *counts: int) -> None:
        found = self._sums.setdefault((objective, journey, k), [0] * 6)
        for at, count in enumerate(counts):
            found[at] += count

    def _intervals(self, at_ns: Ints) -> Ints:
        """Return the number of the due interval of each time. Times before T0 belong to the first interval."""
        return np.maximum((at_ns - self._t0_ns) // self._interval_ns, 0)


def within_limit(rows: list[DueCounts]) -> tuple[tuple[DueCounts, ...], tuple[DueCounts, ...]]:
    """Return the rows of counts that fit into a delta, and those that must wait for the next one.

    Rows of good and bad counts must not be lost, so they go first; then rows of running requests, the newest first. A
    row of running requests without room is left out: the requests are counted when they have ended.
    """
    if len(rows) <= MAX_DUE_ROWS:
        return tuple(rows), ()
    rows.sort(key=lambda row: (row.good + row.bad == 0, -row.k))
    return tuple(rows[:MAX_DUE_ROWS]), tuple(row for row in rows[MAX_DUE_ROWS:] if row.good or row.bad)


def _counted(of: Ints) -> Iterator[tuple[int, int]]:
    """Yield (interval, how often it occurs) for each interval number in `of`. The numbers are seldom far apart."""
    if not len(of):
        return
    first = int(of.min())
    if int(of.max()) - first > _FAR:
        values, counts = np.unique(of, return_counts=True)
    else:
        counts = np.bincount(of - first)
        values = np.flatnonzero(counts)
        counts, values = counts[values], values + first
    yield from zip(values.tolist(), counts.tolist(), strict=True)


def _limit_ns(objective: Objective) -> int:
    """Return the age in ns at which a running event is bad, whatever becomes of it."""
    if objective.kind == "goodput":
        # Whoever waits for the first token also waits for the last.
        return min((limit_ns for name, limit_ns in objective.limits if name in ("ttft", "e2e")), default=_NEVER)
    is_shown_by_age = objective.kind == "percentile" and objective.metric in ("response", "ttft", "ttft_due")
    return int(objective.limit) if is_shown_by_age else _NEVER


def _journey_key(name: str, load: str, constants: Tags) -> SeriesKey:
    tags = ((LOAD_TAG, load),) if load else ()
    return SeriesKey("journey", name, None, None, OK, "response", tags=tags + constants)


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)
