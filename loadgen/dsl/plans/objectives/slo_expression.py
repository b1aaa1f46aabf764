"""The values that objectives compare with a limit, such as `p(95)`, and the comparison itself.

`p(95)` is a `TimeValue`, `error_ratio()` a `ShareValue`, `throughput("requests")` a `PerSecondValue`,
`total("iterations")` a `CountValue`, `basket.mean()` a `NumberValue`, `mean(metric="output_tokens")` a `TokensValue`,
`p(75, request="page /", metric="cls")` a `ScoreValue`, `goodput(...)` a `GoodputValue`. Comparing one with a limit
makes an `Slo`.
Nothing here raises: an invalid argument or limit becomes an error at its line of the scenario, so that all errors of a
file are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Never, TypeVar

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError
from loadgen.measure.deltas.series_key import CLS_NS, TOKEN_NS
from loadgen.measure.objectives.terms import Objective, ObjectiveKind, Operator, TagSelector, exact
from loadgen.probes.limits.objective import ProbeObjective
from loadgen.units import NS_PER_S, format_duration, parse_duration, parse_rate, parse_ratio

if TYPE_CHECKING:
    from loadgen.dsl.journey import Journey

__all__ = [
    "Choice",
    "CountValue",
    "Expression",
    "GoodputValue",
    "NumberValue",
    "Over",
    "PerSecondValue",
    "Scope",
    "ScoreValue",
    "ShareValue",
    "Slo",
    "TagName",
    "TimeValue",
    "TokensValue",
    "any_of",
    "arguments",
    "none_of",
    "read_over",
    "read_percentile",
    "read_scope",
    "read_time_limit",
]

_LEAST_WINDOW_NS: Final = NS_PER_S
"""The shortest window: agents count due iterations per interval of this length."""
_OPERATORS: Final = ("=<", "=>", "<=", ">=", "<", ">", "=")
_L = TypeVar("_L")
TagName = Any
"""A declared tag, or the name of a tag."""
_NO_TRUTH: Final = (
    "an objective is neither true nor false: `and`, `or`, `not`, `if` and chains such as 1 < x < 2 "
    "would lose objectives"
)
_NO_TRUTH_HINT: Final = (
    'write each objective by itself, as in slos=[p(95) < "1s", error_ratio() < "1%"]; to leave out None, write '
    "`if x is not None`, and not `if x` or filter(None, ...)"
)


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective and its line in the scenario. Without `faults`, it has an `objective`, or it is on a `probe`."""

    origin: Origin
    objective: Objective | None = None
    faults: tuple[Fault, ...] = ()
    probe: ProbeObjective | None = None

    @property
    def text(self) -> str:
        """Return the objective as written; "" if it has faults."""
        judged = self.objective or self.probe
        return "" if judged is None else judged.text

    @property
    def window_ns(self) -> int:
        """Return the length of its windows, ns; 0 without windows."""
        judged = self.objective or self.probe
        return 0 if judged is None else judged.window_ns

    def __bool__(self) -> Never:
        """Refuse to be true or false, because every test of an objective's truth would lose an objective.

        Python reads `"1ms" < p(95) < "2ms"` as an `and`, and keeps only one part of an `and` or `or`.

        Raises:
            ScenarioError: always, with the line of the objective.
        """
        raise ScenarioError([*self.faults, self.origin.fault(_NO_TRUTH, _NO_TRUTH_HINT)])


@dataclass(frozen=True, slots=True)
class Choice:
    """Values of a tag, made by `any_of` or `none_of`."""

    values: tuple[str, ...]
    is_excluded: bool

    def __repr__(self) -> str:
        name = "none_of" if self.is_excluded else "any_of"
        return f"{name}({', '.join(map(_quoted, self.values))})"


def any_of(*values: str) -> Choice:
    """Return a selection of tag values for an objective: any of these, as in `tags={tenant: any_of("gold", "silver")}`.

    A request without the tag has the value "(none)".
    """
    return Choice(values, is_excluded=False)


def none_of(*values: str) -> Choice:
    """Return a selection of tag values for an objective: all except these. It covers requests without the tag, too."""
    return Choice(values, is_excluded=True)


# -- arguments -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scope:
    """Arguments that select what an objective judges: fields of `Objective`, the arguments as text, their errors."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Over:
    """The window in which an objective is judged, and whether exceeding the limit there stops the run."""

    window_ns: int = 0
    abort: bool = False
    texts: tuple[str, ...] = ()
    """The arguments as written in the scenario, for the objective's text."""
    faults: tuple[Fault, ...] = ()


def read_scope(
    origin: Origin,
    what: str,
    *,
    journey: Journey[Any] | str | None = None,
    step: object = None,
    request: object = None,
    region: object = None,
    load: object = None,
    outcome: object = None,
    tags: object = None,
) -> Scope:
    """Return what an objective covers. what: the function's name, for messages."""
    given: dict[str, object] = {
        "journey": getattr(journey, "name", journey),  # a Journey, or its name
        "step": step,
        "request": request,
        "region": region,
        "load": getattr(load, "name", load),
        "outcome": outcome,
    }
    faults: list[Fault] = []
    fields: dict[str, Any] = {}
    texts: list[str] = []
    for key, value in given.items():
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            message = f"{what}({key}={value!r}): a {key} must be a non-empty text"
            faults.append(origin.fault(message, f'write {key}="..."'))
            continue
        if key == "outcome" and value.isdigit():
            faults.append(origin.fault(f"{what}(outcome={value!r}): unknown outcome", f'write outcome="http {value}"'))
        if key == "outcome" and value == "ok":
            message = f'{what}(outcome="ok"): "ok" is not an error'
            faults.append(origin.fault(message, 'name an error, such as outcome="timeout", or leave out outcome='))
        fields[key] = value
        texts.append(f'{key}="{value}"')
    if tags is not None:
        fields["tags"], text = _read_tags(origin, what, tags, faults)
        texts.append(f"tags={text}")
    return Scope(fields, tuple(texts), tuple(faults))


def _read_tags(origin: Origin, what: str, tags: object, faults: list[Fault]) -> tuple[tuple[TagSelector, ...], str]:
    hint = 'write tags={"tenant": "gold"}, or tags={"tenant": any_of("gold", "silver")}'
    if not isinstance(tags, Mapping) or not tags:
        faults.append(origin.fault(f"{what}(tags={tags!r}): not a dictionary of tags", hint))
        return (), "{}"
    found, texts = [], []
    for key, value in tags.items():
        name = getattr(key, "name", key)
        choice = value if isinstance(value, Choice) else Choice((value,), is_excluded=False)
        if not isinstance(name, str) or not name:
            faults.append(origin.fault(f"{what}(tags={{{name!r}: ...}}): not a tag or its name", hint))
        elif not choice.values or not all(isinstance(one, str) and one for one in choice.values):
            message = f'{what}(tags={{"{name}": {value!r}}}): a value must be a non-empty text'
            faults.append(origin.fault(message, hint))
        else:
            found.append(TagSelector(name=name, values=choice.values, is_excluded=choice.is_excluded))
            texts.append(f"{_quoted(name)}: {choice if isinstance(value, Choice) else _quoted(value)}")
    return tuple(found), "{" + ", ".join(texts) + "}"


def _quoted(text: object) -> str:
    return f'"{text}"' if isinstance(text, str) else repr(text)


def read_over(origin: Origin, what: str, window: object, abort: object) -> Over:
    """Return the window in which an objective is judged; if an argument is invalid, an empty one with the errors.

    what: the function's name, for messages.
    """
    if not isinstance(abort, bool):
        return Over(faults=(origin.fault(f"{what}(abort={abort!r}): abort must be True or False", "write abort=True"),))
    if window is None:
        if not abort:
            return Over()
        fault = origin.fault(
            f"{what}(abort=True) without a window: an objective over the whole run is decided only at its end",
            f'add the window to judge: {what}(..., window="1m", abort=True)',
        )
        return Over(faults=(fault,))
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
        return Over(faults=(origin.fault(f"{what}(window={window!r}): {error}", 'write window="1m"'),))
    text = window.strip() if isinstance(window, str) else f"{window:g}s"
    texts = (f'window="{text}"', *(("abort=True",) if abort else ()))
    return Over(window_ns, abort, texts)


def read_percentile(origin: Origin, what: str, q: object) -> Scope:
    """Return the percentile of an objective, in percent, as its field, its text and its errors.

    what: the function as written, such as "p" or "basket.p".
    """
    faults: tuple[Fault, ...] = ()
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 < q <= 100:
        message = f"{what}({q!r}): a percentile must be above 0 and at most 100"
        faults = (origin.fault(message, f"write {what}(95) or {what}(99.9)"),)
    elif q < 1:
        faults = (origin.fault(f"{what}({q:g}): percentiles are given in percent", f"write {what}({q * 100:g})"),)
    return Scope({"q": q}, (f"{q:g}" if isinstance(q, int | float) else repr(q),), faults)


# -- limits ---------------------------------------------------------------------------------------


def read_time_limit(limit: object) -> tuple[float, str]:
    """Return a limit of a time in ns, and as written.

    Raises:
        ValueError, OverflowError: it is no time.
    """
    if isinstance(limit, bool) or not isinstance(limit, str | int | float):
        raise ValueError("the limit must be a number or a text")
    if not isinstance(limit, str):
        raise ValueError("the limit has no unit")
    if limit.strip().endswith(("%", "/s")):
        raise ValueError("the limit has the unit of another metric: a time is compared with a duration")
    return float(parse_duration(limit)), limit.strip()


def _ratio(limit: object) -> tuple[float, str]:
    if isinstance(limit, bool) or not isinstance(limit, str | int | float):
        raise ValueError("the limit must be a number or a text")
    ratio = parse_ratio(limit)
    return ratio, limit.strip() if isinstance(limit, str) else f"{ratio * 100:.6g}%"


def _rate(limit: object) -> tuple[float, str]:
    if not isinstance(limit, str):
        raise ValueError("the limit has no unit")
    per_s = parse_rate(limit)
    return per_s, limit.strip()


def _number(limit: object) -> tuple[float, str]:
    if isinstance(limit, str):
        raise ValueError("the limit has the unit of another metric: it must be a number, without quotes")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not isfinite(limit):
        raise ValueError("the limit must be a finite number")
    return float(limit), f"{limit:,}".replace(",", "_") if isinstance(limit, int) else f"{limit:g}"


# -- comparing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Expression:
    """The measured quantity of an objective, before it is compared with a limit."""

    origin: Origin
    kind: ObjectiveKind
    expression: str
    """As written in the scenario: `p(99, step="add to cart")`."""
    over: Over
    fields: Mapping[str, Any]
    """Further fields of the objective."""
    faults: tuple[Fault, ...]
    example: str = '"300ms"'
    """A limit for hints."""
    usual: Operator = "<"
    """The operator for hints."""

    def __bool__(self) -> Never:
        """Refuse to be true or false, as an objective does: `p(95) and p(99) < "1s"` would lose its first part.

        Raises:
            ScenarioError: always, with the line of the expression.
        """
        raise ScenarioError([*self.faults, self.origin.fault(_NO_TRUTH, _NO_TRUTH_HINT)])

    def __repr__(self) -> str:
        """Return the expression as written, such as `p(95)`. The error for a missing limit shows it."""
        return self.expression

    @property
    def hint(self) -> str:
        """Return what to write: the expression with an example of a limit."""
        return f"write {self.expression} {self.usual} {self.example}"

    def _compared(self, operator: Operator, limit: object, read: Callable[[object], tuple[float, str]]) -> Slo:
        origin = here()
        try:
            if isinstance(limit, str) and limit.strip().startswith(_OPERATORS):
                raise ValueError("the limit begins with an operator, which stands outside of the text")
            value, text = read(limit)
            self._check_edge(operator, value)
        except (ValueError, OverflowError) as error:
            why = "too large" if isinstance(error, OverflowError) else error
            message = f"{self.expression} {operator} {limit!r}: {why}"
            return Slo(origin, faults=(*self.faults, origin.fault(message, self.hint)))
        faults = (*self.faults, *self._window_faults(origin, operator))
        if faults:
            return Slo(origin, faults=faults)
        objective = Objective(
            kind=self.kind,
            limit=value,
            text=f"{self.expression} {operator} {text}",
            operator=operator,
            window_ns=self.over.window_ns,
            abort=self.over.abort,
            **self.fields,
        )
        return Slo(origin, objective)

    def _check_edge(self, operator: Operator, value: float) -> None:
        """Raise ValueError for a limit that nothing, or everything, can meet."""

    def _window_faults(self, origin: Origin, operator: Operator) -> list[Fault]:
        """Return the error of a window in which this comparison cannot be judged."""
        if not self.over.window_ns or self.kind not in ("maximum", "minimum"):
            return []
        wanted = "<" if self.kind == "maximum" else ">"
        if operator == wanted:
            return []
        message = f"{self.expression} {operator} ...: in windows, {self.kind}() must use {wanted}"
        return [origin.fault(message, "leave out window=, or turn the comparison around")]

    def _refused(self, operator: str, limit: object, allowed: str) -> Slo:
        origin = here()
        message = f"{self.expression} {operator} {limit!r}: an objective must use {allowed}"
        return Slo(origin, faults=(*self.faults, origin.fault(message, self.hint)))


class _Measured(Expression, Generic[_L]):
    """Base of values that are not whole numbers, so a limit that is reached exactly decides nothing: `<` and `>` only.

    _L: the type of the limit.
    """

    __slots__ = ()
    _read: ClassVar[staticmethod[[object], tuple[float, str]]]
    """Return a limit as number and text. It raises ValueError for an invalid one."""
    _never_below_0: ClassVar[str] = ""
    """The word for the value in messages, if the value cannot be below 0; else empty."""

    def __lt__(self, limit: _L) -> Slo:
        return self._compared("<", limit, self._read)

    def __gt__(self, limit: _L) -> Slo:
        return self._compared(">", limit, self._read)

    # `Never` makes mypy reject these operators; the loader rejects them for scenarios that mypy has not checked.
    def __le__(self, limit: Never) -> Slo:
        return self._refused("<=", limit, "< or >")

    def __ge__(self, limit: Never) -> Slo:
        return self._refused(">=", limit, "< or >")

    def _check_edge(self, operator: Operator, value: float) -> None:
        if self._never_below_0 and operator == "<" and value == 0:
            raise ValueError(f"the limit must be above 0, since no {self._never_below_0} is below 0")


class TimeValue(_Measured[str]):
    """A time, such as a percentile of response times. Compare it with a duration: `p(95) < "300ms"`."""

    __slots__ = ()
    _read = staticmethod(read_time_limit)
    _never_below_0 = "time"


class ShareValue(_Measured[str | float]):
    """A share, such as an error ratio. Compare it with a ratio: `error_ratio() < "0.1%"` or `< 0.001`."""

    __slots__ = ()
    _read = staticmethod(_ratio)
    _never_below_0 = "ratio"

    def _check_edge(self, operator: Operator, value: float) -> None:
        super()._check_edge(operator, value)
        if operator == ">" and value == 1:
            raise ValueError("the limit must be below 100 %, since no ratio is above it")


class PerSecondValue(_Measured[str]):
    """A number per second, made by `throughput`. Compare it with a rate: `throughput("requests") > "20/s"`."""

    __slots__ = ()
    _read = staticmethod(_rate)
    _never_below_0 = "rate"


class NumberValue(_Measured[float]):
    """A value of a custom metric in its own unit. Compare it with a number: `basket.mean() > 20`."""

    __slots__ = ()
    _read = staticmethod(_number)


def _tokens(limit: object) -> tuple[float, str]:
    number, text = _number(limit)
    return number * TOKEN_NS, text


class TokensValue(_Measured[float]):
    """A number of tokens of a request to a model. Compare it with a number: `mean(metric="output_tokens") > 100`."""

    __slots__ = ()
    _read = staticmethod(_tokens)
    _never_below_0 = "number of tokens"


def _score(limit: object) -> tuple[float, str]:
    if isinstance(limit, str):
        raise ValueError("cls is a score without a unit, so its limit must be a number, without quotes")
    number, text = _number(limit)
    return float(exact(number) * CLS_NS), text


class ScoreValue(_Measured[float]):
    """A score of pages in a browser. Compare it with a number: `p(75, request="page /", metric="cls") < 0.1`."""

    __slots__ = ()
    _read = staticmethod(_score)
    _never_below_0 = "score"


class GoodputValue(Expression):
    """The share of requests to AI models that were good. Compare it with a ratio: `goodput(ttft="500ms") > "95%"`."""

    __slots__ = ()

    def __gt__(self, limit: str | float) -> Slo:
        return self._compared(">", limit, _ratio)

    # `Never` makes mypy reject these operators, as for `_Measured`.
    def __lt__(self, limit: Never) -> Slo:
        return self._refused("<", limit, ">, because it is a share of good requests")

    def __le__(self, limit: Never) -> Slo:
        return self._refused("<=", limit, ">, because it is a share of good requests")

    def __ge__(self, limit: Never) -> Slo:
        return self._refused(">=", limit, ">")

    def _check_edge(self, operator: Operator, value: float) -> None:
        if value == 1:
            raise ValueError("the limit must be below 100 %, since no share is above it")


class CountValue(Expression):
    """A count. Compare it with a number by `<`, `<=`, `>` or `>=`: `total("iterations") > 100_000`."""

    __slots__ = ()

    def __lt__(self, limit: float) -> Slo:
        return self._compared("<", limit, _number)

    def __le__(self, limit: float) -> Slo:
        return self._compared("<=", limit, _number)

    def __gt__(self, limit: float) -> Slo:
        return self._compared(">", limit, _number)

    def __ge__(self, limit: float) -> Slo:
        return self._compared(">=", limit, _number)

    def _check_edge(self, operator: Operator, value: float) -> None:
        if value < 0 or (operator == "<" and value == 0):
            raise ValueError("no count is below 0")


def arguments(*parts: Sequence[str]) -> str:
    """Return arguments as written in a call: "95, step=\"pay\"". parts: groups of texts, in order."""
    return ", ".join(text for part in parts for text in part)
