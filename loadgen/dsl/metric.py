"""Custom metrics: values that a scenario records itself. Declared at the top of a file, used in journeys.

    orders = counter("orders")                                      orders.add()
    stock = gauge("stock", unit="items")                            stock.set(reply.pick("$.left", int))
    basket = trend("basket", unit="EUR", resolution=0.01)           basket.add(41.90)
    hits = rate("cache hits")                                       hits.add(reply.headers["x-cache"] == "HIT")

Tags of the plan split a metric, with the limits that requests have: orders.add(tags={tenant: "gold"}). A value has only
the tags of its own call, and a metric is the sum of its parts.

Custom metrics are merged over the fleet as exactly as response times. Counts are whole numbers. A
trend is a histogram of the same layout with `resolution` as its step. A gauge keeps only
what can be merged: lowest, highest, and the last value of each agent. Several files may
declare the same metric; then kind and unit must be the same.

An invalid value raises in the journey, and counts as a script error. Reports show custom
metrics over the whole run, including the warm-up. Objectives leave the warm-up out:

    Plan(..., slos=[hits.ratio() > "90%", basket.p(95) < 300, orders.total() > 10_000, stock.minimum() > 0])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from loadgen.dsl.plans.objectives.slo_expression import (
    Choice,
    CountValue,
    Expression,
    NumberValue,
    Scope,
    ShareValue,
    Slo,
    TagName,
    arguments,
    read_over,
    read_percentile,
    read_scope,
)
from loadgen.dsl.source_location import Origin, here
from loadgen.engine.recording.tagging import GivenTags, items_of
from loadgen.errors import Fault, UsageError
from loadgen.measure.deltas.custom import MAX_CUSTOM, CustomKind, CustomStats, MetricSpec, sum_custom
from loadgen.measure.deltas.limits import COUNT, CUSTOM_VALUE, NAME_BYTES
from loadgen.measure.deltas.series_key import Tags
from loadgen.measure.objectives.terms import ObjectiveKind, Operator

if TYPE_CHECKING:
    from loadgen.engine.recording.recorded_series import TrendSeries
    from loadgen.engine.recording.recorder import Recorder

_E = TypeVar("_E", bound=Expression)

__all__ = [
    "Counter",
    "Declared",
    "Gauge",
    "Metric",
    "Rate",
    "Trend",
    "counter",
    "gauge",
    "metrics_declared",
    "rate",
    "trend",
]

_JUDGED = {
    "p": "percentile",
    "mean": "mean",
    "minimum": "minimum",
    "maximum": "maximum",
    "last": "last value",
    "total": "total",
    "ratio": "ratio",
}
"""Methods of metrics that return a value for an objective, and what they return."""
_NS_PER_STEP = 1_000
"""A trend's resolution is recorded as 1 µs in the histogram's layout."""
_MOST_NAME = 100


class Metric(ABC):
    """One custom metric in one process. Without a recorder (in a trial) it only keeps values."""

    kind: ClassVar[CustomKind]

    def __init__(self, spec: MetricSpec, origin: Origin) -> None:
        self.spec, self.origin = spec, origin

    @property
    def name(self) -> str:
        return self.spec.name

    @abstractmethod
    def bind(self, recorder: Recorder) -> None:
        """Record to this recorder from now on, and forget values recorded before."""

    @property
    @abstractmethod
    def values(self) -> tuple[float, ...]:
        """Return what was recorded, for tests of a scenario; the form depends on the kind of metric.

        Counters, gauges and rates start again with each interval. A trend has values only while no recorder is bound.
        """

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} at {self.origin}>"

    def _limited(
        self,
        made: type[_E],
        kind: ObjectiveKind,
        what: str,
        region: object,
        tags: object,
        window: object,
        abort: object,
        example: str,
        usual: Operator = "<",
        q: float = 0.0,
    ) -> _E:
        """Return a value of this metric that an objective can limit. what: the method's name."""
        origin = here()
        name = f'{self.kind}("{self.name}").{what}'
        scope, over = read_scope(origin, name, region=region, tags=tags), read_over(origin, name, window, abort)
        first = read_percentile(origin, name, q) if kind == "percentile" else Scope()
        faults = [*first.faults, *scope.faults, *over.faults]
        if over.window_ns and scope.fields.get("tags"):
            message = f"{name}(tags=..., window=...): agents do not count windows of custom metrics by tag"
            faults.append(origin.fault(message, "leave out window= or tags="))
        if kind == "last" and over.window_ns:
            message = f"{name}(window=...): only the last value of the run is known"
            faults.append(origin.fault(message, "leave out window=, or judge .minimum() or .maximum()"))
        fields = {
            **first.fields,
            **scope.fields,
            "of": self.name,
            "of_kind": self.kind,
            "unit": self.spec.unit,
            "resolution": self.spec.resolution if self.kind == "trend" else 0.0,
        }
        expression = f"{name}({arguments(first.texts, scope.texts, over.texts)})"
        return made(origin, kind, expression, over, fields, tuple(faults), example, usual)

    if not TYPE_CHECKING:
        # Not for type checkers, which then report that a counter has no percentile. At run time the error must wait for
        # the comparison, so that all errors of a scenario are reported at once.

        def __getattr__(self, name: str) -> Any:
            if name not in _JUDGED:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return lambda *_given, **_more: _Lacking(self, name)


class _Lacking(Expression):
    """A value that a kind of metric does not have, such as the percentile of a counter. It always has an error."""

    __slots__ = ()

    def __init__(self, metric: Metric, what: str) -> None:
        origin = here()
        has = [name for name in _JUDGED if name in type(metric).__dict__]
        name = f'{metric.kind}("{metric.name}")'
        fault = origin.fault(
            f"{name}.{what}(...): a {metric.kind} has no {_JUDGED[what]}",
            f"write {' or '.join(f'.{one}()' for one in has)}"
            + (", or declare a trend, which keeps a distribution" if "p" not in has else ""),
        )
        super().__init__(origin, "total", f"{name}.{what}(...)", read_over(origin, name, None, False), {}, (fault,))

    def __lt__(self, limit: object) -> Slo:
        return Slo(self.origin, faults=self.faults)

    __le__ = __gt__ = __ge__ = __lt__


class _Summed(Metric):
    """Base of metrics kept as a few numbers and read once per interval; implements the recorder's `CustomSource`."""

    def __init__(self, spec: MetricSpec, origin: Origin, tags: Tags = ()) -> None:
        super().__init__(spec, origin)
        self._tags = tags
        self._recorder: Recorder | None = None
        self._parts: dict[Tags, Self] = {}
        """The parts of this metric that count values with tags, by their tags."""
        self._given: dict[object, Self] = {}
        """Parts by the items of `tags=` as they were written, to find them quickly."""
        self._clear()

    def bind(self, recorder: Recorder) -> None:
        for one in self._parts.values():
            one._clear()
        if recorder is not self._recorder:
            self._recorder, self._parts, self._given = recorder, {}, {}
        self._clear()
        if self not in recorder.customs:
            recorder.customs.append(self)

    def take(self) -> CustomStats | None:
        """Return the values since the last call, and reset them; None if nothing was recorded."""
        if not self._n:
            return None
        stats = CustomStats(
            self.name, self.kind, self._n, self._total, self._low, self._high, self._last, tags=self._tags
        )
        self._clear()
        return stats

    def _clear(self) -> None:
        self._n = self._total = 0
        self._low = self._high = self._last = 0.0

    def _part(self, tags: GivenTags) -> Self:
        """HOT, once for each value with `tags=`. Return the part that counts it; the metric itself without a recorder.

        Raises:
            UsageError: an unknown name of a tag, or a value that is not a text.
        """
        try:
            return self._given[items_of(tags)]
        except (AttributeError, KeyError, TypeError):
            # The first value with these tags. If `tags` is no mapping or has an unhashable value, `custom_tags` raises
            # an error that names the fault.
            pass
        if self._recorder is None:
            return self
        own, is_known = self._recorder.custom_tags(self.name, tags)
        found = self
        if own and (found := self._parts.get(own, self)) is self:
            found = self._parts[own] = type(self)(self.spec, self.origin, own)
            self._recorder.tagged_customs.append(found)
        if is_known:  # undeclared values are not stored: there may be millions
            self._given[items_of(tags)] = found
        return found

    def _whole(self) -> CustomStats:
        """Return the values since the last call of `take`, those with tags included."""
        found = CustomStats(self.name, self.kind, self._n, self._total, self._low, self._high, self._last)
        for one in self._parts.values():
            found = sum_custom(found, one._whole(), last=found.last + one._last)
        return found


class Counter(_Summed):
    """A sum of whole numbers. Created by `counter`."""

    kind = "counter"

    def add(self, n: int = 1, *, tags: GivenTags | None = None) -> None:
        """Add a whole number of at least 0 to the sum.

        tags: tags of the plan, by which reports split the sum: {tenant: "gold"}.

        Raises:
            UsageError: not a whole number, below 0, a sum above 2^40 in one interval, or an invalid tag.
        """
        if tags is not None:
            self._part(tags).add(n)
            return
        if not isinstance(n, int) or n < 0:
            raise UsageError(f'counter "{self.name}" cannot add {n!r}', hint="add a whole number of at least 0")
        if self._total + n > COUNT:
            raise UsageError(f'counter "{self.name}" cannot add {n!r}', hint=f"add at most {COUNT:,} in one interval")
        self._n += 1
        self._total += n

    def total(
        self,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> CountValue:
        """Return the sum after the warm-up, for an objective: `orders.total() > 10_000`.

        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(CountValue, "total", "total", region, tags, window, abort, "1_000", ">")

    @property
    def values(self) -> tuple[float, ...]:
        """Return the sum, as the only element of the tuple."""
        return (float(self._whole().total),)


class Gauge(_Summed):
    """A level: its lowest, highest and last value are kept. Created by `gauge`."""

    kind = "gauge"

    def set(self, value: float, *, tags: GivenTags | None = None) -> None:
        """Record the current level.

        tags: tags of the plan, by which reports split the levels: {depot: "north"}. Each has its own last value.

        Raises:
            UsageError: not a finite number, beyond ±1e300, or an invalid tag.
        """
        if tags is not None:
            self._part(tags).set(value)
            return
        number = _number(self, value)
        if abs(number) > CUSTOM_VALUE:
            raise UsageError(
                f'gauge "{self.name}" cannot be set to {value!r}', hint=f"use values up to ±{CUSTOM_VALUE:g}"
            )
        self._low = min(self._low, number) if self._n else number
        self._high = max(self._high, number) if self._n else number
        self._last = number
        self._n += 1

    def minimum(
        self,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> NumberValue:
        """Return the lowest value after the warm-up, for an objective: `stock.minimum() > 0`.

        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(NumberValue, "minimum", "minimum", region, tags, window, abort, "0", ">")

    def maximum(
        self,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> NumberValue:
        """Return the highest value after the warm-up, for an objective: `queue.maximum() < 100`.

        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(NumberValue, "maximum", "maximum", region, tags, window, abort, "100")

    def last(self, *, region: str | None = None, tags: Mapping[TagName, str | Choice] | None = None) -> NumberValue:
        """Return the last value of each worker, summed, for an objective: `sessions.last() < 10`.

        A worker has a last value for each combination of tags.

        region: only the agents of this region. tags: as in `loadgen.p`.
        """
        return self._limited(NumberValue, "last", "last", region, tags, None, False, "100")

    @property
    def values(self) -> tuple[float, ...]:
        """Return the lowest, highest and last value; () if no value was set."""
        whole = self._whole()
        return (whole.low, whole.high, whole.last) if whole.n else ()


class Rate(_Summed):
    """A share: how often something was true. Created by `rate`."""

    kind = "rate"

    def add(self, is_hit: bool, *, tags: GivenTags | None = None) -> None:
        """Count one try, and one hit if `is_hit` is true.

        tags: tags of the plan, by which reports split the tries: {zone: "a"}.

        Raises:
            UsageError: an invalid tag.
        """
        if tags is not None:
            self._part(tags).add(is_hit)
            return
        self._n += 1
        self._total += bool(is_hit)

    def ratio(
        self,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> ShareValue:
        """Return the share of hits after the warm-up, for an objective: `hits.ratio() > "90%"`.

        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(ShareValue, "ratio", "ratio", region, tags, window, abort, '"90%"', ">")

    @property
    def values(self) -> tuple[float, ...]:
        """Return two numbers: hits and tries."""
        whole = self._whole()
        return float(whole.total), float(whole.n)


class Trend(Metric):
    """A distribution of values, for percentiles. Exact to 0.1 % or to the resolution. Created by `trend`."""

    kind = "trend"

    def __init__(self, spec: MetricSpec, origin: Origin) -> None:
        super().__init__(spec, origin)
        self._steps = _NS_PER_STEP / spec.resolution
        self._kept: list[float] = []
        self._keep = self._kept.append
        self._record: Any = None
        self._recorder: Recorder | None = None
        self._given: dict[object, TrendSeries] = {}
        """Series by the items of `tags=` as they were written, to find them quickly."""

    def bind(self, recorder: Recorder) -> None:
        self._recorder, self._record = recorder, recorder.trend_series(self.name).add
        self._kept.clear()
        self._given.clear()

    def add(self, value: float, *, tags: GivenTags | None = None) -> None:
        """Add one value to the distribution.

        tags: tags of the plan, by which reports split the distribution: {tenant: "gold"}.

        Raises:
            UsageError: not a finite number, below 0, or an invalid tag.
        """
        number = _number(self, value)
        if number < 0:
            raise UsageError(f'trend "{self.name}" cannot add {value!r}', hint="add numbers of at least 0")
        if self._record is None:
            self._keep(number)
        elif tags is None:
            self._record(round(number * self._steps))
        else:
            self._part(tags).add(round(number * self._steps))

    def _part(self, tags: GivenTags) -> TrendSeries:
        """HOT, once for each value with `tags=`. Return the series that counts it."""
        try:
            return self._given[items_of(tags)]
        except (AttributeError, KeyError, TypeError):
            # The first value with these tags. If `tags` is no mapping or has an unhashable value, `custom_tags` raises
            # an error that names the fault.
            pass
        assert self._recorder is not None
        own, is_known = self._recorder.custom_tags(self.name, tags)
        found = self._recorder.trend_series(self.name, own)
        if is_known:  # undeclared values are not stored: there may be millions
            self._given[items_of(tags)] = found
        return found

    def p(
        self,
        q: float,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> NumberValue:
        """Return the q-th percentile after the warm-up, for an objective: `basket.p(95) < 300`. The limit has no unit.

        q: in percent.
        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(NumberValue, "percentile", "p", region, tags, window, abort, "300", q=q)

    def mean(
        self,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> NumberValue:
        """Return the mean after the warm-up, for an objective: `basket.mean() > 20`.

        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(NumberValue, "mean", "mean", region, tags, window, abort, "300")

    def minimum(
        self,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> NumberValue:
        """Return the lowest value after the warm-up, for an objective: `basket.minimum() > 0`.

        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(NumberValue, "minimum", "minimum", region, tags, window, abort, "0", ">")

    def maximum(
        self,
        *,
        region: str | None = None,
        tags: Mapping[TagName, str | Choice] | None = None,
        window: str | float | None = None,
        abort: bool = False,
    ) -> NumberValue:
        """Return the highest value after the warm-up, for an objective: `basket.maximum() < 1_000`.

        region, tags, window, abort: as in `loadgen.p`; window and tags cannot be combined. A window has the values
            that were recorded in it.
        """
        return self._limited(NumberValue, "maximum", "maximum", region, tags, window, abort, "300")

    @property
    def values(self) -> tuple[float, ...]:
        """Return all values added while no recorder was bound, as in tests."""
        return tuple(self._kept)


def counter(name: str, *, unit: str = "") -> Counter:
    """Declare and return a counter, which sums whole numbers: `orders.add()`. Call it at the top of the file.

    name: the name in reports. unit: shown with it.
    """
    return _declare(Counter, name, unit, origin=here())


def gauge(name: str, *, unit: str = "") -> Gauge:
    """Declare and return a gauge, which keeps the lowest, highest and last value: `stock.set(3)`.

    Call it at the top of the file. name: the name in reports. unit: shown with it.
    """
    return _declare(Gauge, name, unit, origin=here())


def rate(name: str) -> Rate:
    """Declare and return a rate, which counts how often something was true: `hits.add(is_hit)`.

    Call it at the top of the file. name: the name in reports.
    """
    return _declare(Rate, name, "", origin=here())


def trend(name: str, *, unit: str = "", resolution: float = 0.001) -> Trend:
    """Declare and return a trend, a distribution with percentiles: `basket.add(41.90)`. Call it at the top of the file.

    Args:
        name: the name in reports.
        unit: of values and resolution, shown in reports.
        resolution: the smallest difference to keep. Values may be up to 3.6e9 times as large.
    """
    return _declare(Trend, name, unit, resolution, origin=here())


# -- declaring ------------------------------------------------------------------------------------


class Declared:
    """The metrics of one scenario, in the order of their declarations, and the errors in them."""

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}
        self.faults: list[Fault] = []
        self._is_full = False

    def declare(self, metric: _M) -> _M:
        """Register a metric and return it; if an equal metric was declared before, return that one instead.

        Add an error if another metric has the name, or if there are too many metrics.
        """
        before = self.metrics.get(metric.name)
        if before is not None:
            if type(before) is type(metric) and before.spec == metric.spec:
                return before
            message = (
                f'metric "{metric.name}" is a {_described(metric)} here and a {_described(before)} at {before.origin}'
            )
            self.faults.append(metric.origin.fault(message, "rename one of them"))
        elif len(self.metrics) < MAX_CUSTOM:
            self.metrics[metric.name] = metric
        elif not self._is_full:
            self._is_full = True
            message = f'metric "{metric.name}": more than {MAX_CUSTOM} custom metrics'
            self.faults.append(metric.origin.fault(message, "do not put values into names; use a trend"))
        return metric


_M = TypeVar("_M", bound=Metric)
_declared: ContextVar[Declared | None] = ContextVar("loadgen_metrics", default=None)


@contextmanager
def metrics_declared() -> Iterator[Declared]:
    """Collect all metrics that are declared within this `with` block, in the returned `Declared`."""
    declared = Declared()
    token = _declared.set(declared)
    try:
        yield declared
    finally:
        _declared.reset(token)


def _declare(kind: type[_M], name: object, unit: object, resolution: object = 0.001, *, origin: Origin) -> _M:
    faults: list[Fault] = []
    what = kind.kind
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or _is_long(name):
        faults.append(origin.fault(f"{name!r} is not a valid name of a {what}", f'write {what}("orders")'))
        name = str(name)[:_MOST_NAME]
    if not isinstance(unit, str):
        faults.append(origin.fault(f'{what} "{name}": {unit!r} is not a unit', 'write unit="items"'))
        unit = ""
    if (
        isinstance(resolution, bool)
        or not isinstance(resolution, int | float)
        or not isfinite(resolution)
        or not 1e-12 <= resolution <= 1e12
    ):
        message = f'{what} "{name}": {resolution!r} is not a valid resolution'
        faults.append(
            origin.fault(message, "write the smallest relevant difference in the metric's unit, such as 0.01")
        )
        resolution = 0.001
    metric = kind(MetricSpec(name=name, kind=what, unit=unit, resolution=float(resolution)), origin)
    declared = _declared.get()
    if declared is None:
        return metric
    declared.faults += faults
    return metric if faults else declared.declare(metric)


def _is_long(name: str) -> bool:
    return len(name) > _MOST_NAME or len(name.encode()) > NAME_BYTES


def _number(metric: Metric, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise UsageError(f'{metric.kind} "{metric.name}" cannot record {value!r}', hint="use a finite number")
    return float(value)


def _described(metric: Metric) -> str:
    spec = metric.spec
    unit = f" in {spec.unit}" if spec.unit else ""
    return f"{spec.kind}{unit}" + (f" with a resolution of {spec.resolution:g}" if spec.kind == "trend" else "")
