"""Queries of merged measurements, the same for a whole run and for one of its intervals.

Percentiles, counts and outcomes by row and region come from histograms that were added up. The
adding, each delta exactly once, is the job of `merge.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Health, WorkerHealth
from loadgen.measure.deltas.series_key import OK, PHASES, UNTAGGED, Kind, Metric, Phase, SeriesKey, Tags
from loadgen.measure.histograms.counts_of_all_series import Stats, Store, StoreState, joined
from loadgen.measure.histograms.histogram import Counts, Histogram
from loadgen.measure.merging.interval_sum import Sum, add_up

__all__ = ["ALL", "Catalogue", "Measured", "Row", "Window", "WindowState", "add_all"]

ALL: Final = "*"
"""As a region or an outcome: the sum over all of them."""


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One row of a table: a journey, a step or a request, over all outcomes and tags."""

    kind: Kind
    journey: str
    step: str | None = None
    """None: exactly the request outside steps, not "any step"."""
    request: str | None = None


_MOST_CACHED: Final = 20_000
"""Most cached results of `Catalogue.find`, 0.5 kB each. A screen makes at most 2,000 queries, again and again."""
_Group = tuple[Kind, str, str | None, str | None, Metric, bool]


class Catalogue:
    """Numbers of (region, series). A number is given once and never changes."""

    __slots__ = ("_cache", "_matching", "_requests", "groups", "names", "numbers")

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, SeriesKey], int] = {}
        self.names: list[tuple[str, SeriesKey]] = []
        self.groups: dict[_Group, list[int]] = {}
        """Numbers of the series that differ only in outcome, censoring, tags and region."""
        self._cache: dict[tuple[object, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._matching: dict[Hashable, tuple[int, list[int]]] = {}
        """By selection: how many names were tested, and the numbers of those that match."""
        self._requests: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    def matching(self, selection: Hashable, test: Callable[[str, SeriesKey], bool]) -> Sequence[int]:
        """Return the numbers of the series for which `test` is true. Each series is tested once for each selection.

        selection: stands for `test`, which must be a pure function. test: (region, key) -> whether it matches.
        """
        tested, found = self._matching.get(selection, (0, []))
        if tested < len(self.names):
            # A new list: another thread may extend the same one while a run is sealed.
            found = [*found, *(n for n in range(tested, len(self.names)) if test(*self.names[n]))]
            self._matching[selection] = len(self.names), found
        return found

    @property
    def requests(self) -> npt.NDArray[np.bool_]:
        """Return a bool for each series number: whether the series holds response times of requests.

        Each finished request has exactly one value in these series.
        """
        if len(self._requests) < len(self.names):
            self._requests = np.array([k.kind == "request" and k.metric == "response" for _, k in self.names])
        return self._requests

    def number(self, region: str, key: SeriesKey) -> int:
        """Return the number of (region, series); a new one gets the next number."""
        found = self.numbers.get((region, key))
        if found is None:
            found = self.numbers[region, key] = len(self.names)
            self.names.append((region, key))
            group = (key.kind, key.journey, key.step, key.request, key.metric, key.warmup)
            self.groups.setdefault(group, []).append(found)
            # Cached results do not contain the new series.
            self._cache.clear()
        return found

    def find(
        self,
        kind: Kind,
        journey: str | None,
        step: str | None,
        request: str | None,
        outcome: str,
        metric: Metric,
        region: str,
        warmup: bool,
        exact: bool,
        tags: Tags | None = None,
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (numbers of the matching observed series, numbers of the matching censored series).

        A censored value is known only as a lower bound. None for journey, step or request matches any.

        Args:
            exact: None for step or request matches only series without one.
            tags: the series must have these, perhaps among others; None: any tags. The value `UNTAGGED` selects series
                without the tag.
        """
        wanted = (kind, journey, step, request, outcome, metric, region, warmup, exact, tags)
        found = self._cache.get(wanted)
        if found is None:
            if exact:
                assert journey is not None
                numbers: Iterable[int] = self.groups.get((kind, journey, step, request, metric, warmup), ())
            else:
                numbers = (
                    number
                    for group, members in self.groups.items()
                    if group[0] == kind
                    and group[4] == metric
                    and group[5] == warmup
                    and journey in (None, group[1])
                    and step in (None, group[2])
                    and request in (None, group[3])
                    for number in members
                )
            observed: list[int] = []
            censored: list[int] = []
            for number in numbers:
                of_region, key = self.names[number]
                if tags is not None and not _has(key.tags, tags):
                    continue
                if region in (ALL, of_region) and outcome in (ALL, key.outcome):
                    (censored if key.censored else observed).append(number)
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            found = self._cache[wanted] = (tuple(observed), tuple(censored))
        return found


def _has(tags: Tags, wanted: Tags) -> bool:
    """Return whether a series with `tags` has all `wanted` ones. The value `UNTAGGED` means that it lacks the tag."""
    of = dict(tags)
    return all(of.get(name, UNTAGGED) == value for name, value in wanted)


class Measured:
    """Queries of measurements: the base of the whole run (`Merge`) and of one interval (`Window`)."""

    __slots__ = ("_by_region", "_catalogue", "_stores")

    def __init__(self, catalogue: Catalogue, stores: list[Store]) -> None:
        self._catalogue = catalogue
        self._stores = stores
        """Every query returns the sum over these stores."""
        self._by_region: dict[str, list[int]] = {}

    def regions(self) -> tuple[str, ...]:
        """Return the names of the regions whose agents have reported, sorted."""
        return tuple(sorted(self._by_region))

    def counters(self, region: str = ALL) -> Counters:
        """Return the exact counters of a region, or of all regions together."""
        return Counters(*add_all(v for name, v in self._by_region.items() if region in (ALL, name)))

    def keys(self, region: str = ALL) -> list[SeriesKey]:
        """Return the keys of all series of a region that have values, in the order in which they were first seen."""
        names = self._catalogue.names
        found = (names[n][1] for n in range(len(names)) if region in (ALL, names[n][0]) and self._values((n,)))
        return list(dict.fromkeys(found))

    def histogram(self, key: SeriesKey, region: str = ALL) -> Histogram | None:
        """Return the histogram of one series in a region, or summed over all regions; None if it has no values."""
        regions = self.regions() if region == ALL else (region,)
        numbers = [n for r in regions if (n := self._catalogue.numbers.get((r, key))) is not None]
        return self._histogram(numbers) if self._values(numbers) else None

    def count_of(self, numbers: Sequence[int]) -> int:
        """Return the number of values of several series together, given by their numbers (positions in `names`).

        Cost: about 1 µs.
        """
        return self._values(numbers)

    def sum_of(self, numbers: Sequence[int]) -> Histogram:
        """Return one histogram of several series together, given by their numbers (positions in `names`).

        The caller may change the returned histogram.
        """
        return self._histogram(numbers)

    def select(
        self,
        kind: Kind,
        journey: str | None = None,
        step: str | None = None,
        request: str | None = None,
        outcome: str = ALL,
        metric: Metric = "response",
        region: str = ALL,
        warmup: bool = False,
    ) -> tuple[Histogram, Histogram]:
        """Return two histograms (observed values, censored values) of all matching series together.

        None matches any journey, step or request. A censored value is known only as a lower bound.
        """
        observed, censored = self._catalogue.find(
            kind, journey, step, request, outcome, metric, region, warmup, exact=False
        )
        return self._histogram(observed), self._histogram(censored)

    def select_row(
        self,
        row: Row,
        outcome: str = ALL,
        metric: Metric = "response",
        region: str = ALL,
        warmup: bool = False,
        tags: Tags | None = None,
    ) -> tuple[Histogram, Histogram]:
        """Return two histograms (observed values, censored values) of exactly this row: a journey, a step or a request.

        In a row, None for the step means "outside steps". A censored value is known only as a lower bound.

        tags: only series that have these tags, e.g. (("x-cache", "hit"),).
        """
        observed, censored = self._find_row(row, outcome, metric, region, warmup, tags)
        return self._histogram(observed), self._histogram(censored)

    def select_rows(
        self, rows: Iterable[Row], metric: Metric = "response", region: str = ALL, warmup: bool = False
    ) -> tuple[Histogram, Histogram]:
        """Return two histograms (observed values, censored values) of all these rows together. Cost: 5 µs a series."""
        parts = [self._find_row(row, ALL, metric, region, warmup) for row in rows]
        observed, censored = ([number for part in parts for number in part[at]] for at in (0, 1))
        return self._histogram(observed), self._histogram(censored)

    def matching(self, selection: Hashable, test: Callable[[str, SeriesKey], bool]) -> list[tuple[int, SeriesKey]]:
        """Return (number, key) of each series with values for which `test` is true; see `Catalogue.matching`."""
        names = self._catalogue.names
        return [(n, names[n][1]) for n in self._catalogue.matching(selection, test) if self._values((n,))]

    def count(
        self,
        kind: Kind,
        journey: str | None = None,
        step: str | None = None,
        request: str | None = None,
        outcome: str = ALL,
        region: str = ALL,
        warmup: bool = False,
    ) -> int:
        """Return the number of response times of all matching series, censored ones included. None matches any name.

        The count is cheap, because no histogram is built.
        """
        observed, censored = self._catalogue.find(
            kind, journey, step, request, outcome, "response", region, warmup, exact=False
        )
        return self._values(observed) + self._values(censored)

    @property
    def names(self) -> Sequence[tuple[str, SeriesKey]]:
        """Return (region, key of the series) for each series number. Entries never change; new ones are appended."""
        return self._catalogue.names

    def sparse(self) -> tuple[Counts, Counts, Stats]:
        """Return all measurements as (index, counts, stats) in the form of `Store.add`.

        Series are numbered as in `names`.
        """
        return joined(self._stores).sparse()

    def rows(self, kind: Kind | None = None, region: str = ALL, warmup: bool = False) -> list[Row]:
        """Return the rows (journeys, steps, requests) that have response times, in the order of first use.

        kind: only rows of this kind; None: of all kinds.
        """
        found: list[Row] = []
        for (of_kind, journey, step, request, metric, is_warmup), numbers in self._catalogue.groups.items():
            if kind not in (None, of_kind) or metric != "response" or is_warmup != warmup:
                continue
            names = self._catalogue.names
            if self._values([n for n in numbers if region in (ALL, names[n][0])]):
                found.append(Row(of_kind, journey, step, request))
        return found

    def row_tags(
        self, row: Row, region: str = ALL, warmup: bool = False, metric: Metric = "response"
    ) -> dict[str, dict[str, int]]:
        """Return the tags of a row's requests as {tag name: {tag value: number of response times}}; often empty.

        metric: another one whose values are counted, such as "value" for a trend.
        """
        found: dict[str, dict[str, int]] = {}
        for number in (n for part in self._find_row(row, ALL, metric, region, warmup) for n in part):
            if values := self._values((number,)):
                for name, value in self._catalogue.names[number][1].tags:
                    by_value = found.setdefault(name, {})
                    by_value[value] = by_value.get(value, 0) + values
        return found

    def row_phases(self, row: Row, region: str = ALL, warmup: bool = False) -> list[Phase]:
        """Return the phases (such as connect or TLS) that the requests of this row had, in the order of a request."""
        return [
            phase
            for phase in PHASES
            if any(self._values(numbers) for numbers in self._find_row(row, ALL, phase, region, warmup))
        ]

    def row_outcomes(
        self, row: Row, region: str = ALL, warmup: bool = False, tags: Tags | None = None
    ) -> dict[str, int]:
        """Return {outcome: number of response times} of a row, `ok` first and then by falling count.

        tags: only series that have these tags.
        """
        return self._outcomes(self._find_row(row, ALL, "response", region, warmup, tags))

    def outcomes(
        self,
        kind: Kind,
        journey: str | None = None,
        step: str | None = None,
        request: str | None = None,
        region: str = ALL,
        warmup: bool = False,
    ) -> dict[str, int]:
        """Return {outcome: number of response times} of all matching series, `ok` first and then by falling count.

        None matches any journey, step or request.
        """
        return self._outcomes(
            self._catalogue.find(kind, journey, step, request, ALL, "response", region, warmup, exact=False)
        )

    def _find_row(
        self, row: Row, outcome: str, metric: Metric, region: str, warmup: bool, tags: Tags | None = None
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self._catalogue.find(
            row.kind, row.journey, row.step, row.request, outcome, metric, region, warmup, exact=True, tags=tags
        )

    def _outcomes(self, found: tuple[tuple[int, ...], tuple[int, ...]]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for number in (*found[0], *found[1]):
            if values := self._values((number,)):
                outcome = self._catalogue.names[number][1].outcome
                counts[outcome] = counts.get(outcome, 0) + values
        return dict(sorted(counts.items(), key=lambda item: (item[0] != OK, -item[1], item[0])))

    def _histogram(self, numbers: Sequence[int]) -> Histogram:
        made = Histogram()
        for store in self._stores:
            store.add_to(made, numbers)
        return made

    def _values(self, numbers: Sequence[int]) -> int:
        return sum(store.count(numbers) for store in self._stores)

    def _add(self, index: Counts, counts: Counts, stats: Stats) -> None:
        self._stores[0].add(index, counts, stats)

    def _count(self, region: str, counters: Iterable[int]) -> None:
        sums = self._by_region.get(region)
        self._by_region[region] = add_up(sums, counters) if sums is not None else list(counters)


class WindowState(msgspec.Struct, frozen=True, array_like=True):
    """A Window as values, for a checkpoint."""

    k: int
    by_region: dict[str, list[int]]
    store: StoreState
    health: dict[str, Health]
    workers: dict[str, tuple[WorkerHealth, ...]]


class Window(Measured):
    """The measurements of all agents in one interval. Mutable until all have reported it."""

    __slots__ = ("end_ns", "health", "k", "revision", "start_ns", "sums", "workers")

    def __init__(self, catalogue: Catalogue, k: int, interval_ns: int) -> None:
        super().__init__(catalogue, [])
        self.sums: list[Sum] = []
        """The interval sums whose stores this window queries."""
        self.k = k
        self.start_ns, self.end_ns = k * interval_ns, (k + 1) * interval_ns
        self.health: dict[str, Health] = {}
        """By agent that has reported the interval."""
        self.workers: dict[str, tuple[WorkerHealth, ...]] = {}
        """By agent; only for agents of several workers."""
        self.revision = 0
        """Grows with each addition; 0 while the window is empty."""

    def __repr__(self) -> str:
        return f"<Window {self.k}: {len(self.health)} agents reported>"

    def freeze(self) -> WindowState:
        """Return the contents of this window as a value for a checkpoint. Several sums of its interval become one."""
        return WindowState(self.k, self._by_region, joined(self._stores, np.uint32).state(), self.health, self.workers)

    @classmethod
    def thaw(cls, catalogue: Catalogue, state: WindowState, interval_ns: int) -> Window:
        """Return a new window with the contents that `freeze` returned.

        Later deltas of its interval begin a new sum.
        """
        made = cls(catalogue, state.k, interval_ns)
        shown = Sum(made.start_ns, made.end_ns, Store(np.uint32))
        shown.store.take_state(state.store)
        shown.values, shown.is_free = shown.store.total, True
        made.sums, made._stores = [shown], [shown.store]
        made._by_region, made.health, made.workers = state.by_region, state.health, state.workers
        made.revision = 1
        return made

    @property
    def agents(self) -> Collection[str]:
        """Return the names of the agents that have reported the interval."""
        return self.health.keys()

    @property
    def users(self) -> int:
        """Return the number of users of all agents at the end of the interval."""
        return sum(h.users for h in self.health.values())

    @property
    def in_flight(self) -> int:
        """Return the number of iterations of all agents that are running at the end of the interval."""
        return sum(h.in_flight for h in self.health.values())

    @property
    def waiting(self) -> int:
        """Return the number of due iterations of all agents that wait for a free user at the end of the interval."""
        return sum(h.waiting for h in self.health.values())


def add_all(rows: Iterable[Iterable[int]]) -> Iterator[int]:
    """Return the sums of several sequences of counters, element by element, in the order of COUNTER_NAMES."""
    total = [0] * len(COUNTER_NAMES)
    for row in rows:
        total = add_up(total, row)
    return iter(total)
