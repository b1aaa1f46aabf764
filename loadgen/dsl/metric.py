"""Custom metrics: what a scenario counts beside times. Declared at the top of a file, used in journeys.

    orders = counter("orders")                                      orders.add()
    stock = gauge("stock", unit="items")                            stock.set(reply.pick("$.left", int))
    basket = trend("basket", unit="EUR", resolution=0.01)           basket.add(41.90)
    hits = rate("cache hits")                                       hits.add(reply.headers["x-cache"] == "HIT")

They are merged over the fleet as exactly as latencies: counts are whole numbers, a
trend is a histogram of the same layout whose step is `resolution`, and of a gauge
only what can be merged is kept: least, greatest, the last of each agent. The same
name may be declared in several files and is one metric, if kind and unit are one too.

A use is what a journey does, so a value that makes no sense raises there, and is a
fault of the script. Nothing here knows of warm-up: custom metrics are over the
whole run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, UsageError
from loadgen.measure.deltas.custom import MAX_CUSTOM, CustomKind, CustomStats, MetricSpec
from loadgen.measure.deltas.limits import COUNT, CUSTOM_VALUE, NAME_BYTES

if TYPE_CHECKING:
    from loadgen.engine.recording.recorder import Recorder

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

_NS_PER_STEP = 1_000
"""1 µs of the histogram's layout stands for a trend's resolution."""
_MOST_NAME = 100


class Metric(ABC):
    """One custom metric, in one process. Not bound to a recorder (in a trial) it only counts."""

    kind: ClassVar[CustomKind]

    def __init__(self, spec: MetricSpec, origin: Origin) -> None:
        self.spec, self.origin = spec, origin

    @property
    def name(self) -> str:
        return self.spec.name

    @abstractmethod
    def bind(self, recorder: Recorder) -> None:
        """From now on what is recorded goes there; what was counted before is forgotten."""

    @property
    @abstractmethod
    def values(self) -> tuple[float, ...]:
        """What was recorded since it was bound, or since the last interval: for tests."""

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} at {self.origin}>"


class _Summed(Metric):
    """Kept as numbers, and taken once an interval: the recorder's `CustomSource`."""

    def __init__(self, spec: MetricSpec, origin: Origin) -> None:
        super().__init__(spec, origin)
        self._clear()

    def bind(self, recorder: Recorder) -> None:
        self._clear()
        if self not in recorder.customs:
            recorder.customs.append(self)

    def take(self) -> CustomStats | None:
        """Since the last call; None when nothing was recorded."""
        if not self._n:
            return None
        stats = CustomStats(self.name, self.kind, self._n, self._total, self._low, self._high, self._last)
        self._clear()
        return stats

    def _clear(self) -> None:
        self._n = self._total = 0
        self._low = self._high = self._last = 0.0


class Counter(_Summed):
    """How much of something there was."""

    kind = "counter"

    def add(self, n: int = 1) -> None:
        """
        Raises:
            UsageError: not a whole number, below 0, or more than 2^40 in one interval.
        """
        if not isinstance(n, int) or n < 0:
            raise UsageError(f'counter "{self.name}" cannot add {n!r}', hint="a whole number, 0 or more")
        if self._total + n > COUNT:
            raise UsageError(f'counter "{self.name}" cannot add {n!r}', hint=f"at most {COUNT:,} in one interval")
        self._n += 1
        self._total += n

    @property
    def values(self) -> tuple[float, ...]:
        """The sum."""
        return (float(self._total),)


class Gauge(_Summed):
    """Something's level: least, greatest and last value are kept."""

    kind = "gauge"

    def set(self, value: float) -> None:
        """
        Raises:
            UsageError: not a finite number, or beyond 1e300.
        """
        number = _number(self, value)
        if abs(number) > CUSTOM_VALUE:
            raise UsageError(f'gauge "{self.name}" cannot take {value!r}', hint=f"at most {CUSTOM_VALUE:g}")
        self._low = min(self._low, number) if self._n else number
        self._high = max(self._high, number) if self._n else number
        self._last = number
        self._n += 1

    @property
    def values(self) -> tuple[float, ...]:
        """Least, greatest, last; nothing when it was not set."""
        return (self._low, self._high, self._last) if self._n else ()


class Rate(_Summed):
    """How often something was so, of how many times."""

    kind = "rate"

    def add(self, is_hit: bool) -> None:
        """Anything true is a hit."""
        self._n += 1
        self._total += bool(is_hit)

    @property
    def values(self) -> tuple[float, ...]:
        """Hits and tries."""
        return float(self._total), float(self._n)


class Trend(Metric):
    """A distribution: percentiles, within 0.1 % or the resolution, whichever is more."""

    kind = "trend"

    def __init__(self, spec: MetricSpec, origin: Origin) -> None:
        super().__init__(spec, origin)
        self._steps = _NS_PER_STEP / spec.resolution
        self._kept: list[float] = []
        self._keep = self._kept.append
        self._record: Any = None

    def bind(self, recorder: Recorder) -> None:
        self._record = recorder.trend_series(self.name).add
        self._kept.clear()

    def add(self, value: float) -> None:
        """
        Raises:
            UsageError: not a finite number, or below 0.
        """
        number = _number(self, value)
        if number < 0:
            raise UsageError(f'trend "{self.name}" cannot add {value!r}', hint="0 or more")
        if self._record is None:
            self._keep(number)
        else:
            self._record(round(number * self._steps))

    @property
    def values(self) -> tuple[float, ...]:
        """All that was added while it was not bound."""
        return tuple(self._kept)


def counter(name: str, *, unit: str = "") -> Counter:
    """Adds up whole numbers."""
    return _declare(Counter, name, unit, origin=here())


def gauge(name: str, *, unit: str = "") -> Gauge:
    """Keeps the least, greatest and last value."""
    return _declare(Gauge, name, unit, origin=here())


def rate(name: str) -> Rate:
    """Counts how often something was true."""
    return _declare(Rate, name, "", origin=here())


def trend(name: str, *, unit: str = "", resolution: float = 0.001) -> Trend:
    """Keeps a histogram of values from `resolution` to 3.6e9 times it, in `unit`."""
    return _declare(Trend, name, unit, resolution, origin=here())


# -- declaring ------------------------------------------------------------------------------------


class Declared:
    """The metrics of one scenario, in the order of their declarations, and what is wrong with them."""

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}
        self.faults: list[Fault] = []
        self._is_full = False

    def declare(self, metric: _M) -> _M:
        """The metric, or the one that was declared by this name before."""
        before = self.metrics.get(metric.name)
        if before is not None:
            if type(before) is type(metric) and before.spec == metric.spec:
                return before
            message = f'metric "{metric.name}" is a {_told(metric)} here and a {_told(before)} at {before.origin}'
            self.faults.append(metric.origin.fault(message, "one name is one metric: rename one of them"))
        elif len(self.metrics) < MAX_CUSTOM:
            self.metrics[metric.name] = metric
        elif not self._is_full:
            self._is_full = True
            message = f'metric "{metric.name}": more than {MAX_CUSTOM} custom metrics'
            self.faults.append(metric.origin.fault(message, "a metric's name is no place for values: use a trend"))
        return metric


_M = TypeVar("_M", bound=Metric)
_declared: ContextVar[Declared | None] = ContextVar("loadgen_metrics", default=None)


@contextmanager
def metrics_declared() -> Iterator[Declared]:
    """Within it, metrics that are declared are collected."""
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
        faults.append(origin.fault(f"{name!r} is no name of a {what}", f'write {what}("orders")'))
        name = str(name)[:_MOST_NAME]
    if not isinstance(unit, str):
        faults.append(origin.fault(f'{what} "{name}": {unit!r} is no unit', 'write unit="items"'))
        unit = ""
    if (
        isinstance(resolution, bool)
        or not isinstance(resolution, int | float)
        or not isfinite(resolution)
        or not 1e-12 <= resolution <= 1e12
    ):
        message = f'{what} "{name}": {resolution!r} is no resolution'
        faults.append(origin.fault(message, "the smallest difference that matters, in its unit, as in 0.01"))
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
        raise UsageError(f'{metric.kind} "{metric.name}" cannot take {value!r}', hint="a finite number")
    return float(value)


def _told(metric: Metric) -> str:
    spec = metric.spec
    unit = f" in {spec.unit}" if spec.unit else ""
    return f"{spec.kind}{unit}" + (f" with a resolution of {spec.resolution:g}" if spec.kind == "trend" else "")
