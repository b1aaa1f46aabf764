"""Objectives of a plan: `p(95) < "300ms"`, `error_ratio() < "0.1%"`.

    p(95) < "300ms"                        of all due iterations, 95 % must end ok within 300 ms; judged per journey
    p(99, step="add to cart") < "800ms"    the same for a step; `request=`, `journey=` and `region=` narrow it further
    error_ratio() < "0.1%"                 per iteration
    p(95, window="1m") < "300ms"           in each minute of due times; the windows slide by one interval
    error_ratio(window="30s", abort=True) < "5%"    the first window that exceeds the limit stops the run

The comparison creates the objective. Nothing here raises: an invalid comparison
becomes an error at its line of the scenario. `loadgen.measure.objectives.objective`
judges objectives.
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
"""The shortest window: agents count due iterations per interval of this length."""


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective and its line in the scenario. `objective` is None if there are `faults`."""

    origin: Origin
    objective: Objective | None = None
    faults: tuple[Fault, ...] = ()

    def __bool__(self) -> bool:
        """Return True if the objective has no errors.

        Python reads `"1ms" < p(95) < "2ms"` as an `and`, which returns the first false part. So the error of the first
        comparison is kept.
        """
        return not self.faults


class _Scope(TypedDict):
    journey: str | None
    step: str | None
    request: str | None
    region: str | None


@dataclass(frozen=True, slots=True)
class _Window:
    """The window in which an objective is judged, and whether exceeding the limit there stops the run."""

    window_ns: int = 0
    abort: bool = False
    texts: tuple[str, ...] = ()
    """The arguments as written in the scenario, for the objective's text."""
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Measured:
    """The measured quantity of an objective, before it is compared with a limit."""

    origin: Origin
    kind: Literal["percentile", "error_ratio"]
    expression: str
    """As written in the scenario: `p(99, step="add to cart")`."""
    q: float
    scope: _Scope
    window: _Window
    faults: tuple[Fault, ...]

    def __repr__(self) -> str:
        """Return the expression as written, such as `p(95)`. It is shown in the error for a missing limit."""
        return self.expression

    def _below(self, limit: object) -> Slo:
        origin = here()
        try:
            value, text = self._limit(limit)
        except ValueError as error:
            return Slo(
                origin, faults=(*self.faults, origin.fault(f"{self.expression} < {limit!r}: {error}", self._hint))
            )
        if self.faults:
            return Slo(origin, faults=self.faults)
        text = f"{self.expression} < {text}"
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
                origin.fault(f"{self.expression} {operator} {limit!r}: an objective must use <", self._hint),
            ),
        )

    def _limit(self, limit: object) -> tuple[float, str]:
        """Return the limit as a number (ns for a percentile, else a ratio) and as text.

        Raises:
            ValueError: the limit has the wrong type or unit, or is 0.
        """
        if isinstance(limit, bool) or not isinstance(limit, str | int | float):
            raise ValueError("the limit must be a number or a text")
        if self.kind == "error_ratio":
            ratio = parse_ratio(limit)
            if ratio == 0:
                raise ValueError("the limit must be above 0, since no ratio is below 0")
            return ratio, limit.strip() if isinstance(limit, str) else f"{ratio * 100:.6g}%"
        if not isinstance(limit, str):
            raise ValueError("the limit has no unit")
        duration_ns = parse_duration(limit)
        if duration_ns == 0:
            raise ValueError("the limit must be above 0, since no time is below 0")
        return float(duration_ns), limit.strip()

    @property
    def _hint(self) -> str:
        return f'write {self.expression} < "{"0.1%" if self.kind == "error_ratio" else "300ms"}"'


class Percentile(_Measured):
    """A percentile, made by `p(q)`. Compare it with a duration to make an objective: `p(95) < "300ms"`."""

    __slots__ = ()

    def __lt__(self, limit: str) -> Slo:
        return self._below(limit)

    # `Never` makes mypy reject these operators; the loader rejects them for scenarios that mypy has not checked.
    def __le__(self, limit: Never) -> Slo:
        return self._not_below("<=", limit)

    def __gt__(self, limit: Never) -> Slo:
        return self._not_below(">", limit)

    def __ge__(self, limit: Never) -> Slo:
        return self._not_below(">=", limit)


class ErrorRatio(_Measured):
    """An error ratio, made by `error_ratio()`. Compare it with a ratio: `error_ratio() < "0.1%"` or `< 0.001`."""

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
    """Return the q-th percentile of response times. Compare it with a limit to make an objective: `p(95) < "300ms"`.

    The percentile is over all due iterations, including missed and failed ones, which count as slower than any limit.
    Without `step` and `request`, each journey is judged by itself.

    Args:
        q: in percent, above 0 and at most 100: `p(95)`, `p(99.9)`. Values below 1 are an error.
        journey: only this journey, given as function or name.
        step: the response times of this step. Nested steps are `outer/inner`.
        request: the response times of requests with this name, as in `GET /products/{sku}`.
        region: only measurements from this region.
        window: the objective must hold in each window of this length ("1m"), counted by due times. A request in
            flight that is older than the limit already counts as bad. A window with too few due iterations (fewer
            than 20 for p(95), 100 for p(99)) cannot pass, and fails only with more than one bad iteration.
            None: over the whole run, without warm-up.
        abort: the first failed window stops the run, and the run fails. Needs `window`.
    """
    origin = here()
    faults = []
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 < q <= 100:
        faults.append(origin.fault(f"p({q!r}): a percentile must be above 0 and at most 100", "write p(95) or p(99.9)"))
    elif q < 1:
        faults.append(origin.fault(f"p({q:g}): percentiles are given in percent", f"write p({q * 100:g})"))
    scope, wrong = _scope(origin, "p", journey, step, request, region)
    over = _window(origin, "p", window, abort)
    expression = (
        f"p({', '.join([f'{q:g}' if isinstance(q, int | float) else repr(q), *_arguments(scope), *over.texts])})"
    )
    return Percentile(origin, "percentile", expression, q, scope, over, (*faults, *wrong, *over.faults))


def error_ratio(
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    window: str | float | None = None,
    abort: bool = False,
) -> ErrorRatio:
    """Return the share of iterations that did not end ok. Compare it with a limit: `error_ratio() < "0.1%"`.

    Iterations count as errors if they failed, timed out, were missed or were cut off. With `step` or `request`, the
    ratio is of this step or request instead.

    Args:
        journey, step, request, region: what to judge, as in `p`.
        window, abort: judge in sliding windows, and stop the run at the first failed one, as in `p`.
    """
    origin = here()
    scope, wrong = _scope(origin, "error_ratio", journey, step, request, region)
    over = _window(origin, "error_ratio", window, abort)
    expression = f"error_ratio({', '.join((*_arguments(scope), *over.texts))})"
    return ErrorRatio(origin, "error_ratio", expression, 0.0, scope, over, (*wrong, *over.faults))


def _scope(
    origin: Origin, what: str, journey: object, step: object, request: object, region: object
) -> tuple[_Scope, tuple[Fault, ...]]:
    name = getattr(journey, "name", journey)  # a Journey, or its name
    faults: list[Fault] = []

    def text(key: str, value: object) -> str | None:
        if value is None or (isinstance(value, str) and value):
            return value
        faults.append(origin.fault(f"{what}({key}={value!r}): a {key} must be a non-empty text", f'write {key}="..."'))
        return None

    scope = _Scope(
        journey=text("journey", name),
        step=text("step", step),
        request=text("request", request),
        region=text("region", region),
    )
    return scope, tuple(faults)


def _arguments(scope: _Scope) -> list[str]:
    return [f'{key}="{value}"' for key, value in scope.items() if value is not None]


def _window(origin: Origin, what: str, window: object, abort: object) -> _Window:
    """Return the window in which an objective is judged; if an argument is invalid, an empty one with the errors.

    what: the function's name, for messages.
    """
    if not isinstance(abort, bool):
        return _Window(
            faults=(origin.fault(f"{what}(abort={abort!r}): abort must be True or False", "write abort=True"),)
        )
    if window is None:
        if not abort:
            return _Window()
        fault = origin.fault(
            f"{what}(abort=True) without a window: an objective over the whole run is decided only at its end",
            f'add the window to judge: {what}(..., window="1m", abort=True)',
        )
        return _Window(faults=(fault,))
    try:
        if isinstance(window, bool) or not isinstance(window, str | int | float):
            raise ValueError(f"{window!r} is not a duration")
        window_ns = parse_duration(window)
        if window_ns == 0:
            raise ValueError("a window must be longer than 0")
        if window_ns < _LEAST_WINDOW_NS:
            least = format_duration(_LEAST_WINDOW_NS)
            raise ValueError(f"the shortest window is {least}, the interval of measurements")
    except (ValueError, OverflowError) as error:
        if isinstance(error, OverflowError):
            error = ValueError("longer than any run can be")
        return _Window(faults=(origin.fault(f"{what}(window={window!r}): {error}", 'write window="1m"'),))
    text = window.strip() if isinstance(window, str) else f"{window:g}s"
    texts = (f'window="{text}"', *(("abort=True",) if abort else ()))
    return _Window(window_ns, abort, texts)
