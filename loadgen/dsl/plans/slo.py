"""Objectives as a plan says them: `p(95) < "300ms"`, `error_ratio() < "0.1%"`.

    p(95) < "300ms"                        of what was due, at least 95 % ended ok within 300 ms; each journey by itself
    p(99, step="add to cart") < "800ms"    the same of a step; `request=`, `journey=` and `region=` narrow it further
    error_ratio() < "0.1%"                 per iteration
    p(95, window="1m") < "300ms"           in each minute: the windows slide by one interval, by when things were due
    error_ratio(window="30s", abort=True) < "5%"    the first window that breaks it stops the run

The comparison builds the objective. Nothing here raises: a comparison that makes
no sense is a fault at its line. How an objective is judged is in
`loadgen.measure.objectives.objective`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Never, TypedDict

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault
from loadgen.measure.objectives.objective import Objective
from loadgen.units import NS_PER_S, format_duration, parse_duration, parse_ratio

if TYPE_CHECKING:
    from loadgen.dsl.journey import Journey

__all__ = ["Slo", "error_ratio", "p"]

_LEAST_WINDOW_NS: Final = NS_PER_S
"""The interval in which agents count what was due."""


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective with its place. `objective` is None when `faults` say why there is none."""

    origin: Origin
    objective: Objective | None = None
    faults: tuple[Fault, ...] = ()

    def __bool__(self) -> bool:
        """False with faults, so that `"1ms" < p(95) < "2ms"` (an `and` to Python) keeps the first part's."""
        return not self.faults


class _Scope(TypedDict):
    journey: str | None
    step: str | None
    request: str | None
    region: str | None


@dataclass(frozen=True, slots=True)
class _Window:
    """Over what it is judged, and what comes of a break."""

    window_ns: int = 0
    abort: bool = False
    said: tuple[str, ...] = ()
    """As it stands in texts."""
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Measured:
    """What an objective is about, before it is compared with a limit."""

    origin: Origin
    kind: Literal["percentile", "error_ratio"]
    said: str
    """As it was written, for texts: `p(99, step="add to cart")`."""
    q: float
    scope: _Scope
    window: _Window
    faults: tuple[Fault, ...]

    def __repr__(self) -> str:
        """As it was written, for whoever forgot the limit."""
        return self.said

    def _below(self, limit: object) -> Slo:
        origin = here()
        try:
            value, text = self._limit(limit)
        except ValueError as error:
            return Slo(origin, faults=(*self.faults, origin.fault(f"{self.said} < {limit!r}: {error}", self._hint)))
        if self.faults:
            return Slo(origin, faults=self.faults)
        text = f"{self.said} < {text}"
        return Slo(
            origin,
            Objective(
                kind=self.kind,
                q=self.q,
                limit=value,
                text=text,
                window_ns=self.window.window_ns,
                abort=self.window.abort,
                **self.scope,
            ),
        )

    def _not_below(self, operator: str, limit: object) -> Slo:
        origin = here()
        return Slo(
            origin,
            faults=(
                *self.faults,
                origin.fault(f"{self.said} {operator} {limit!r}: an objective says what it stays below", self._hint),
            ),
        )

    def _limit(self, limit: object) -> tuple[float, str]:
        """ns of a percentile's limit, or the ratio of an error ratio's; and the limit in words."""
        if isinstance(limit, bool) or not isinstance(limit, str | int | float):
            raise ValueError("that is nothing to compare with")
        if self.kind == "error_ratio":
            ratio = parse_ratio(limit)
            if ratio == 0:
                raise ValueError("no ratio is below 0")
            return ratio, limit.strip() if isinstance(limit, str) else f"{ratio * 100:.6g}%"
        if not isinstance(limit, str):
            raise ValueError("a limit without a unit")
        duration_ns = parse_duration(limit)
        if duration_ns == 0:
            raise ValueError("no time is below 0")
        return float(duration_ns), limit.strip()

    @property
    def _hint(self) -> str:
        return f'write {self.said} < "{"0.1%" if self.kind == "error_ratio" else "300ms"}"'


class Percentile(_Measured):
    """`p(q)`, to be compared with a duration: `p(95) < "300ms"`."""

    __slots__ = ()

    def __lt__(self, limit: str) -> Slo:
        return self._below(limit)

    # Typed so that mypy refuses them where they are written; the loader does so for those without mypy.
    def __le__(self, limit: Never) -> Slo:
        return self._not_below("<=", limit)

    def __gt__(self, limit: Never) -> Slo:
        return self._not_below(">", limit)

    def __ge__(self, limit: Never) -> Slo:
        return self._not_below(">=", limit)


class ErrorRatio(_Measured):
    """`error_ratio()`, to be compared with a ratio: `error_ratio() < "0.1%"` or `< 0.001`."""

    __slots__ = ()

    def __lt__(self, limit: str | float) -> Slo:
        return self._below(limit)

    def __le__(self, limit: Never) -> Slo:
        return self._not_below("<=", limit)

    def __gt__(self, limit: Never) -> Slo:
        return self._not_below(">", limit)

    def __ge__(self, limit: Never) -> Slo:
        return self._not_below(">=", limit)


def p(
    q: float,
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    window: str | float | None = None,
    abort: bool = False,
) -> Percentile:
    """The q-th percentile (percent: `p(95)`, `p(99.9)`) of response times, over everything that was due.

    Without `step` and `request`: of each journey by itself. `request` is the request's name, as in
    `GET /products/{sku}`; nested steps are `outer/inner`.

    Args:
        window: it has to hold in each window of that length ("1m"), by when things were due; what is in flight and
            older than the limit is bad already. A window in which too little was due to tell (for p(95) fewer than
            20, for p(99) fewer than 100) keeps nothing and is broken only by more than one that was bad.
            None: over the whole run.
        abort: the first window that breaks it stops the run, which has then failed.
    """
    origin = here()
    faults = []
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 < q <= 100:
        faults.append(origin.fault(f"p({q!r}): a percentile is above 0 and at most 100", "write p(95) or p(99.9)"))
    elif q < 1:
        faults.append(origin.fault(f"p({q:g}): percentiles are in percent", f"write p({q * 100:g})"))
    scope, wrong = _scope(origin, "p", journey, step, request, region)
    over = _window(origin, "p", window, abort)
    said = f"p({', '.join([f'{q:g}' if isinstance(q, int | float) else repr(q), *_said(scope), *over.said])})"
    return Percentile(origin, "percentile", said, q, scope, over, (*faults, *wrong, *over.faults))


def error_ratio(
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    window: str | float | None = None,
    abort: bool = False,
) -> ErrorRatio:
    """The share of iterations that did not end ok: failed, timed out, missed, cut off. Or of a step, or request.

    `window` and `abort` are those of `p`.
    """
    origin = here()
    scope, wrong = _scope(origin, "error_ratio", journey, step, request, region)
    over = _window(origin, "error_ratio", window, abort)
    said = f"error_ratio({', '.join((*_said(scope), *over.said))})"
    return ErrorRatio(origin, "error_ratio", said, 0.0, scope, over, (*wrong, *over.faults))


def _scope(
    origin: Origin, what: str, journey: object, step: object, request: object, region: object
) -> tuple[_Scope, tuple[Fault, ...]]:
    name = getattr(journey, "name", journey)  # a Journey, or its name
    faults: list[Fault] = []

    def text(key: str, value: object) -> str | None:
        if value is None or (isinstance(value, str) and value):
            return value
        faults.append(origin.fault(f"{what}({key}={value!r}): a {key} is named by text", f'write {key}="..."'))
        return None

    scope = _Scope(
        journey=text("journey", name),
        step=text("step", step),
        request=text("request", request),
        region=text("region", region),
    )
    return scope, tuple(faults)


def _said(scope: _Scope) -> list[str]:
    return [f'{key}="{value}"' for key, value in scope.items() if value is not None]


def _window(origin: Origin, what: str, window: object, abort: object) -> _Window:
    """The window and what is wrong with it."""
    if not isinstance(abort, bool):
        return _Window(faults=(origin.fault(f"{what}(abort={abort!r}): abort is True or False", "write abort=True"),))
    if window is None:
        if not abort:
            return _Window()
        fault = origin.fault(
            f"{what}(abort=True) without a window: over the whole run it is decided only at its end",
            f'say over how long it has to be broken: window="1m", as in {what}(..., window="1m", abort=True)',
        )
        return _Window(faults=(fault,))
    try:
        if isinstance(window, bool) or not isinstance(window, str | int | float):
            raise ValueError(f"{window!r} is no duration")
        window_ns = parse_duration(window)
        if window_ns == 0:
            raise ValueError("nothing is due in no time")
        if window_ns < _LEAST_WINDOW_NS:
            least = format_duration(_LEAST_WINDOW_NS)
            raise ValueError(f"what is due is counted by intervals of {least}, so that is the shortest window")
    except (ValueError, OverflowError) as error:
        if isinstance(error, OverflowError):
            error = ValueError("no run is that long")
        return _Window(faults=(origin.fault(f"{what}(window={window!r}): {error}", 'write window="1m"'),))
    text = window.strip() if isinstance(window, str) else f"{window:g}s"
    said = (f'window="{text}"', *(("abort=True",) if abort else ()))
    return _Window(window_ns, abort, said)
