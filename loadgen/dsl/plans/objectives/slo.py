"""Objectives of a plan: `p(95) < "300ms"`, `error_ratio() < "0.1%"`, and of any other metric.

    p(95) < "300ms"                        of all due iterations, 95 % must end ok within 300 ms; judged per journey
    p(99, step="add to cart") < "800ms"    the same for a step; `request=`, `journey=` and `region=` narrow it further
    error_ratio() < "0.1%"                 per iteration
    p(95, window="1m") < "300ms"           in each minute of due times; the windows slide by one interval
    error_ratio(window="30s", abort=True) < "5%"    the first window that exceeds the limit stops the run
    mean(request="GET /", metric="service") < "80ms"    also `maximum`, `minimum`; metrics as in `METRICS`
    throughput("requests") > "20/s", total("iterations") > 100_000
    p(75, request="page /", metric="cls") < 0.1    of pages in a browser; `cls` is a score, so its limit is a number
    p(95, metric="ttft") < "500ms"         of requests to AI models; `goodput(...)` is in `goodput.py`
    throughput("output_tokens") > "2000/s"
    checks("has results") > "99.9%"        of `user.check`; `checks()` judges each check by itself
    hits.ratio() > "90%", basket.p(95) < 300, orders.total() > 100    custom metrics (`loadgen/dsl/metric.py`)
    p(99, load="spike", tags={"tenant": any_of("gold", "silver")}) < "300ms"

The comparison creates the objective. Nothing here raises: an invalid comparison becomes an error at its line of the
scenario. `loadgen.measure.objectives.objective` judges objectives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack, get_args, overload

from loadgen.dsl.plans.objectives.slo_expression import (
    Choice,
    CountValue,
    Expression,
    Over,
    PerSecondValue,
    Scope,
    ScoreValue,
    ShareValue,
    Slo,
    TagName,
    TimeValue,
    TokensValue,
    any_of,
    arguments,
    none_of,
    read_over,
    read_percentile,
    read_scope,
)
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault
from loadgen.measure.deltas.custom import CHECK
from loadgen.measure.deltas.series_key import (
    MESSAGE_METRICS,
    PAGE_METRICS,
    PHASES,
    STREAM_TIMES,
    TOKEN_METRICS,
    MessageMetric,
    PageTime,
    StreamTime,
    TokenMetric,
)
from loadgen.measure.objectives.terms import ALL_CHECKS, ObjectiveKind
from loadgen.similar_names import did_you_mean

if TYPE_CHECKING:
    from loadgen.dsl.journey import Journey

__all__ = [
    "Choice",
    "Expression",
    "Slo",
    "any_of",
    "checks",
    "error_ratio",
    "maximum",
    "mean",
    "minimum",
    "none_of",
    "p",
    "throughput",
    "total",
]

TimeMetric = Literal[
    "response",
    "service",
    "duration",
    "ttfb",
    "blocked",
    "dns",
    "connect",
    "tls",
    "send",
    "wait",
    "receive",
    "user_wait",
    "generator_lag",
    MessageMetric,
    PageTime,
    StreamTime,
]
ScoreMetric = Literal["cls"]
METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "response": ("journey", "step", "request"),
    "duration": ("journey", "step"),
    "service": ("request",),
    "ttfb": ("request",),
    **dict.fromkeys(PHASES, ("request",)),
    "user_wait": ("journey",),
    "generator_lag": ("journey",),
    **dict.fromkeys(MESSAGE_METRICS, ("request",)),
    **dict.fromkeys(PAGE_METRICS, ("request",)),
    **dict.fromkeys(STREAM_TIMES, ("request",)),
}
"""Metrics of times and scores, each with the kinds of series that have it. ttfb: from the call of a request to the
first byte of its answer. Only calls with messages have those of `MESSAGE_METRICS`, only pages in a browser those of
`PAGE_METRICS`, and only requests to AI models those of `STREAM_TIMES` (`loadgen.measure.deltas.series_key`).
"""
_IN_WINDOWS: Final = ("response", "service", "duration", "ttfb", *STREAM_TIMES)
"""Metrics that agents can count by due time."""
_NONE: Final = Scope()
Counted = Literal["requests", "iterations", "output_tokens", "prompt_tokens"]


class _Of(TypedDict, total=False):
    """Arguments of `p`, `mean`, `maximum` and `minimum`, but not `metric`, on which the kind of limit depends."""

    journey: Journey[Any] | str | None
    step: str | None
    request: str | None
    region: str | None
    load: str | None
    tags: Mapping[TagName, str | Choice] | None
    window: str | float | None
    abort: bool


@overload
def p(q: float, *, metric: TimeMetric = "response", **of: Unpack[_Of]) -> TimeValue: ...
@overload
def p(q: float, *, metric: ScoreMetric, **of: Unpack[_Of]) -> ScoreValue: ...
def p(
    q: float,
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    metric: TimeMetric | ScoreMetric = "response",
    window: str | float | None = None,
    abort: bool = False,
) -> TimeValue | ScoreValue:
    """Return the q-th percentile of response times. Compare it with a limit to make an objective: `p(95) < "300ms"`.

    The percentile is over all due iterations, including missed and failed ones, which count as slower than any limit.
    Without `step` and `request`, each journey is judged by itself.

    Args:
        q: in percent, above 0 and at most 100: `p(95)`, `p(99.9)`. Values below 1 are an error.
        journey: only this journey, given as function or name.
        step: the response times of this step. Nested steps are `outer/inner`.
        request: the response times of requests with this name, as in `GET /products/{sku}`.
        region: only measurements from this region.
        load: only this load of the plan, by its name.
        tags: only requests (or steps, iterations) with these tags: {tag: value}, or `any_of(...)`, `none_of(...)`.
        metric: another time: "ttfb" (from the call to the first byte), "service" (without the wait for a connection),
            "duration" (with think times), or a phase such as "wait" or "connect". In phases and in "service", a failed
            request counts with its time, and a request without the phase is not counted. Of requests to AI models:
            "ttft" (to the first token), "ttft_due" (from when it was due), "ttfo" (to the first token that is no
            reasoning), "itl" (before each token), "icl" (between reads with tokens), "stall" (the longest of these),
            "tpot" (the mean for each token after the first read). They need no `request`. Of pages in
            a browser: "lcp", "inp", "fcp", and "cls", a score that is compared with a number.
        window: the objective must hold in each window of this length ("1m"), counted by due times. A request in
            flight that is older than the limit already counts as bad. A window with too few due iterations (fewer
            than 20 for p(95), 100 for p(99)) cannot pass, and fails only with more than one bad iteration.
            None: over the whole run, without warm-up.
        abort: the first failed window stops the run, and the run fails. Needs `window`.
    """
    origin = here()
    scope = read_scope(origin, "p", journey=journey, step=step, request=request, region=region, load=load, tags=tags)
    over = read_over(origin, "p", window, abort)
    return _time(origin, "percentile", "p", scope, metric, over, read_percentile(origin, "p", q))


@overload
def mean(*, metric: TimeMetric = "response", **of: Unpack[_Of]) -> TimeValue: ...
@overload
def mean(*, metric: ScoreMetric, **of: Unpack[_Of]) -> ScoreValue: ...
@overload
def mean(*, metric: TokenMetric, **of: Unpack[_Of]) -> TokensValue: ...
def mean(
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    metric: TimeMetric | ScoreMetric | TokenMetric = "response",
    window: str | float | None = None,
    abort: bool = False,
) -> TimeValue | ScoreValue | TokensValue:
    """Return the mean of times. Compare it with a limit to make an objective: `mean(request="GET /") < "80ms"`.

    The mean includes all requests, steps or iterations that ended, failed ones with the time that they took. The time
    of a time-out is only a lower bound. With time-outs, the objective fails if the bounds alone break the limit, and is
    inconclusive otherwise. A mean number of tokens is compared with a number: `mean(metric="output_tokens") > 100`.

    Args:
        journey, step, request, region, load, tags, metric, window, abort: as in `p`.
    """
    origin = here()
    scope = read_scope(origin, "mean", journey=journey, step=step, request=request, region=region, load=load, tags=tags)
    over = read_over(origin, "mean", window, abort)
    if metric in TOKEN_METRICS:
        shown = f'metric="{metric}"'
        expression = f"mean({arguments(scope.texts, (shown,), over.texts)})"
        fields = {**scope.fields, "metric": metric}
        return TokensValue(origin, "mean", expression, over, fields, (*scope.faults, *over.faults), "100", ">")
    return _time(origin, "mean", "mean", scope, metric, over)


@overload
def maximum(*, metric: TimeMetric = "response", **of: Unpack[_Of]) -> TimeValue: ...
@overload
def maximum(*, metric: ScoreMetric, **of: Unpack[_Of]) -> ScoreValue: ...
def maximum(
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    metric: TimeMetric | ScoreMetric = "response",
    window: str | float | None = None,
    abort: bool = False,
) -> TimeValue | ScoreValue:
    """Return the longest of times. Compare it with a limit: `maximum(step="pay", window="1m") < "5s"`.

    It includes the same times as `mean`.

    Args:
        journey, step, request, region, load, tags, metric, window, abort: as in `p`.
    """
    origin = here()
    scope = read_scope(
        origin, "maximum", journey=journey, step=step, request=request, region=region, load=load, tags=tags
    )
    return _time(origin, "maximum", "maximum", scope, metric, read_over(origin, "maximum", window, abort))


@overload
def minimum(*, metric: TimeMetric = "response", **of: Unpack[_Of]) -> TimeValue: ...
@overload
def minimum(*, metric: ScoreMetric, **of: Unpack[_Of]) -> ScoreValue: ...
def minimum(
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    metric: TimeMetric | ScoreMetric = "response",
    window: str | float | None = None,
    abort: bool = False,
) -> TimeValue | ScoreValue:
    """Return the shortest of times. Compare it with a limit: `minimum(request="GET /") > "1ms"`.

    It includes the same times as `mean`.

    Args:
        journey, step, request, region, load, tags, metric, window, abort: as in `p`.
    """
    origin = here()
    scope = read_scope(
        origin, "minimum", journey=journey, step=step, request=request, region=region, load=load, tags=tags
    )
    return _time(origin, "minimum", "minimum", scope, metric, read_over(origin, "minimum", window, abort))


def error_ratio(
    *,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    outcome: str | None = None,
    window: str | float | None = None,
    abort: bool = False,
) -> ShareValue:
    """Return the share of iterations that did not end ok. Compare it with a limit: `error_ratio() < "0.1%"`.

    Iterations count as errors if they failed, timed out, were missed or were cut off. With `step` or `request`, the
    ratio is of this step or request instead.

    Args:
        journey, step, request, region, load, tags: what to judge, as in `p`.
        outcome: count only this outcome as an error: "http 503", "timeout". None: every outcome except ok.
        window, abort: judge in sliding windows, and stop the run at the first failed one, as in `p`.
    """
    origin = here()
    scope = read_scope(
        origin,
        "error_ratio",
        journey=journey,
        step=step,
        request=request,
        region=region,
        load=load,
        outcome=outcome,
        tags=tags,
    )
    over = read_over(origin, "error_ratio", window, abort)
    faults = (*scope.faults, *over.faults)
    expression = f"error_ratio({arguments(scope.texts, over.texts)})"
    return ShareValue(origin, "error_ratio", expression, over, scope.fields, faults, '"0.1%"')


def checks(
    name: str | None = None,
    *,
    region: str | None = None,
    window: str | float | None = None,
    abort: bool = False,
) -> ShareValue:
    """Return the share of `user.check(name, ...)` that was true. Compare it: `checks("has results") > "99.9%"`.

    It covers the checks made after the warm-up, by the time when they were made.

    Args:
        name: of the check. None: each check of the scenario is judged by itself.
        region: only checks in this region.
        window, abort: as in `p`, by the time of the check. Needs `name`.
    """
    origin = here()
    scope, over = read_scope(origin, "checks", region=region), read_over(origin, "checks", window, abort)
    faults = [*scope.faults, *over.faults]
    if name is not None and (not isinstance(name, str) or not name):
        message = f"checks({name!r}): the name of a check must be a non-empty text"
        faults.insert(0, origin.fault(message, 'write checks("has results"), or checks() for each check'))
    if name is None and over.window_ns:
        message = "checks(window=...) without a name: each check needs windows of its own"
        faults.append(origin.fault(message, 'name a check: checks("has results", window="1m")'))
    shown = () if name is None else (f'"{name}"',)
    expression = f"checks({arguments(shown, scope.texts, over.texts)})"
    fields = {**scope.fields, "of": ALL_CHECKS if name is None else f"{CHECK}{name}", "of_kind": "rate"}
    return ShareValue(origin, "ratio", expression, over, fields, tuple(faults), '"99.9%"', ">")


def throughput(
    of: Counted,
    *,
    journey: Journey[Any] | str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    window: str | float | None = None,
    abort: bool = False,
) -> PerSecondValue:
    """Return how many requests or iterations ended per second. Compare it: `throughput("requests") > "20/s"`.

    It counts all that ended after the warm-up, failed ones too, of all journeys together. Missed and cut-off iterations
    did not end. Tokens are those of requests to AI models that ended ok: `throughput("output_tokens") > "2000/s"`.

    Args:
        of: "requests", "iterations", "output_tokens" or "prompt_tokens".
        journey, request, region, load, tags: what to count, as in `p`.
        window, abort: as in `p`. A window counts what was due in it and has ended.
    """
    origin = here()
    scope = read_scope(origin, "throughput", journey=journey, request=request, region=region, load=load, tags=tags)
    over = read_over(origin, "throughput", window, abort)
    expression, fields, faults = _counted(origin, "throughput", of, scope, over)
    return PerSecondValue(origin, "throughput", expression, over, fields, faults, '"20/s"', ">")


def total(
    of: Counted,
    *,
    journey: Journey[Any] | str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    window: str | float | None = None,
    abort: bool = False,
) -> CountValue:
    """Return how many requests or iterations ended. Compare it with a number: `total("iterations") > 100_000`.

    It counts the same requests, iterations or tokens as `throughput`.

    Args:
        of: as in `throughput`.
        journey, request, region, load, tags, window, abort: as in `throughput`.
    """
    origin = here()
    scope = read_scope(origin, "total", journey=journey, request=request, region=region, load=load, tags=tags)
    over = read_over(origin, "total", window, abort)
    expression, fields, faults = _counted(origin, "total", of, scope, over)
    return CountValue(origin, "total", expression, over, fields, faults, "1_000", ">")


# -- parts -----------------------------------------------------------------------------------------


def _time(
    origin: Origin,
    kind: ObjectiveKind,
    what: str,
    scope: Scope,
    metric: object,
    over: Over,
    first: Scope = _NONE,
) -> TimeValue | ScoreValue:
    """Return the expression of a time or a score.

    what: the function's name. first: its first argument, a percentile.
    """
    faults = [*first.faults, *scope.faults, *over.faults]
    of = "request" if scope.fields.get("request") else "step" if scope.fields.get("step") else "journey"
    if metric in STREAM_TIMES:
        of = "request"  # all requests to AI models, or those of the step
    texts: tuple[str, ...] = ()
    if metric in TOKEN_METRICS:
        message = f'{what}(metric="{metric}"): numbers of tokens have a mean, a throughput and a total'
        faults.append(origin.fault(message, f'write mean(metric="{metric}") > 100'))
    elif not isinstance(metric, str) or metric not in METRICS:
        message = f"{what}(metric={metric!r}): unknown metric"
        hint = f"write one of {', '.join((*get_args(TimeMetric), *get_args(ScoreMetric)))}"
        near = did_you_mean(metric, METRICS) if isinstance(metric, str) else ""
        faults.append(origin.fault(message, near if near.startswith("did you mean") else hint))
    else:
        texts = (f'metric="{metric}"',) if metric != "response" else ()
        owners = METRICS[metric]
        if of not in owners:
            row = "page /" if metric in PAGE_METRICS else "GET /..."
            wanted = f'add request="{row}"' if owners == ("request",) else f"judge a {' or '.join(owners)} instead"
            noun = "score" if metric in get_args(ScoreMetric) else "time"
            message = f'{what}(metric="{metric}"): a {of} has no {metric}; it is a {noun} of a {owners[-1]}'
            faults.append(origin.fault(message, wanted))
        if over.window_ns and metric not in _IN_WINDOWS:
            message = f'{what}(metric="{metric}", window=...): {metric} is not counted by due time'
            faults.append(origin.fault(message, f"leave out window=, or judge {', '.join(_IN_WINDOWS)}"))
    expression = f"{what}({arguments(first.texts, scope.texts, texts, over.texts)})"
    known = metric if isinstance(metric, str) and metric in METRICS else "response"
    fields = {**first.fields, **scope.fields, "metric": known}
    if known in get_args(ScoreMetric):
        return ScoreValue(origin, kind, expression, over, fields, tuple(faults), "0.1")
    return TimeValue(origin, kind, expression, over, fields, tuple(faults))


def _counted(
    origin: Origin, what: str, of: object, scope: Scope, over: Over
) -> tuple[str, dict[str, Any], tuple[Fault, ...]]:
    """Return the expression, the fields and the errors of a count of requests or iterations."""
    faults = [*scope.faults, *over.faults]
    if of not in get_args(Counted):
        message = f"{what}({of!r}): unknown count"
        near = did_you_mean(of, get_args(Counted)) if isinstance(of, str) else ""
        hint = f'write {what}("requests"), {what}("iterations") or {what}("output_tokens")'
        faults.insert(0, origin.fault(message, near if near.startswith("did you mean") else hint))
    elif of == "iterations" and scope.fields.get("request"):
        message = f'{what}("iterations", request=...): a request is no part of an iteration count'
        faults.append(origin.fault(message, f'write {what}("requests", request=...)'))
    shown = f'"{of}"' if isinstance(of, str) else repr(of)
    expression = f"{what}({arguments((shown,), scope.texts, over.texts)})"
    fields = {**scope.fields, "of": str(of)}
    if of in TOKEN_METRICS:
        fields["metric"] = of
    return expression, fields, tuple(faults)
