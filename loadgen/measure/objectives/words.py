"""Results of objectives as texts for terminal, page and reasons."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log1p
from typing import Final, Protocol

import numpy as np

from loadgen.measure.deltas.series_key import PAGE_METRICS, STREAM_METRICS, TOKEN_METRICS, Metric
from loadgen.measure.objectives.terms import Objective, SloResult
from loadgen.units import NS_PER_MS, format_count, format_duration, format_ratio, quantity

__all__ = [
    "OWN_LIMITS_WORDS",
    "RUN_LONGER",
    "TWO_CLOCKS_WORDS",
    "bad_share_text",
    "count_for_sure",
    "describe",
    "events_text",
    "number_text",
    "plain_number",
    "span_text",
    "time_text",
    "unsure_text",
    "value_text",
    "without_bad_text",
]

RUN_LONGER: Final = "Run longer, or at a higher rate"
"""The remedy for a verdict that is not sure."""
OWN_LIMITS_WORDS: Final = "limits of their own"
"""In the detail of a goodput: some requests were judged by other limits (`slo=` of their call)."""
TWO_CLOCKS_WORDS: Final = "by two clocks with an unknown error"
"""In the detail of an objective on `message_age`: the age has the error of the target's clock, which has no bound."""
_NOUNS: Final = {"journey": ("iteration", "iterations"), "step": ("step", "steps"), "request": ("request", "requests")}
_NOUNS_OF: Final[Mapping[Metric, tuple[str, str]]] = {
    **dict.fromkeys(STREAM_METRICS, ("request to a model", "requests to models")),
    "itl": ("token", "tokens"),
    "icl": ("read with tokens", "reads with tokens"),
    "message_gap": ("message after the first", "messages after the first"),
    "answer": ("answered message", "answered messages"),
    "message_age": (
        f"message with a stamp ({TWO_CLOCKS_WORDS})",
        f"messages with a stamp ({TWO_CLOCKS_WORDS})",
    ),
    **dict.fromkeys(PAGE_METRICS, ("page", "pages")),
}
"""The nouns for the things that have the values of a metric: singular and plural."""
_THAT: Final[Mapping[Metric, str]] = {
    "service": "that were sent",
    "ttfb": "that failed or got a first byte",
    "blocked": "that waited for a connection",
    "dns": "that looked up a name",
    "connect": "that connected",
    "tls": "that began TLS",
    "send": "that were sent",
    "wait": "that were sent",
    "receive": "that got an answer",
    "user_wait": "that were due",
    "generator_lag": "that were started",
    "first_message": "that got a message",
    "lcp": "that failed or painted",
    "fcp": "that failed or painted",
    "cls": "that failed or painted",
    "inp": "that had an interaction",
    "ttft_due": "that had a due time",
    "ttfo": "that failed or got output",
    "stall": "that failed or got tokens in two reads",
    "tpot": "that failed or got tokens in two reads",
    **dict.fromkeys(TOKEN_METRICS, "whose tokens are known"),
}
"""Which iterations or requests have a value of the metric."""


def describe(result: SloResult) -> str:
    """Return a result as the end of a sentence for reports, such as "observed 212.0 ms of 1,200 that were due".

    For an inconclusive result it is the reason.
    """
    if result.verdict == "inconclusive":
        return result.reason
    if result.detail:
        return f"observed {result.detail}" if result.window_s is None else result.detail
    if result.window_s is None:
        return f"observed {_observed_text(result)} of {format_count(result.count)} that were due"
    if result.worst_window_s is None:
        return "no window has events"
    where = f"worst window {span_text(result.worst_window_s, result.window_s)}"
    bad = result.count - result.good
    if result.limit_ms is None:
        text = f"{where}: {format_ratio(bad / result.count)} of {format_count(result.count)} went wrong"
        text += f" (allowed: below {_percent(result.allowed)})"
    else:
        share, limit = format_ratio(result.good / result.count), format_duration(result.limit_ms * NS_PER_MS)
        text = f"{where}: {share} of {format_count(result.count)} ended ok within {limit}"
        text += f" (needs {_percent(1 - result.allowed)})"
    if result.windows_failed:
        text += f"; {format_count(result.windows_failed)} of {format_count(result.windows)} windows broke it"
    return text


def unsure_text(result: SloResult) -> str:
    """Return why the verdict of an objective is not sure, with the remedy, as the end of a sentence."""
    if result.unsure:
        return f"not surely: {result.unsure}"
    if result.bad_share_low is None or result.bad_share_high is None:
        return "not surely: the interval of its bad share is unknown"
    if result.good == result.count:
        return f"not surely: {without_bad_text(result)}. {RUN_LONGER}"
    return f"not surely: {bad_share_text(result.bad_share_low, result.bad_share_high, result.allowed)}"


def bad_share_text(low: float, high: float, allowed: float, where: str = "") -> str:
    """Return the interval of a bad share beside the error budget `allowed`, with the remedy, as a part of a sentence.

    where: words that follow "with 95 % confidence", such as "in its worst window ".
    """
    interval = f"{where}{format_ratio(low)} to {format_ratio(high)}"
    return f"with 95 % confidence {interval} are bad, and {_percent(allowed)} is allowed. {RUN_LONGER}"


class Judged(Protocol):
    """The part of an objective's result that `without_bad_text` needs, of a running run or of a stored summary."""

    @property
    def step(self) -> str | None: ...
    @property
    def request(self) -> str | None: ...
    @property
    def count(self) -> int: ...
    @property
    def allowed(self) -> float: ...
    @property
    def limit_ms(self) -> float | None: ...
    @property
    def window_s(self) -> float | None: ...
    @property
    def bad_share_high(self) -> float | None: ...


def without_bad_text(result: Judged) -> str:
    """Return why a result without a bad iteration or request is not sure, with the number that would make it sure.

    An example: "none of 300 iterations failed, but a sure verdict needs 368 iterations, and none of them may fail". The
    text has no interval, because the table already shows the interval of the observed value, and the two would differ.
    """
    noun = "request" if result.request else "step" if result.step else "iteration"
    bad, be_bad = ("failed", "fail") if result.limit_ms is None else ("was late or failed", "be late or fail")
    where = " in its worst window" if result.window_s is not None else ""
    seen = f"none of {quantity(result.count, noun)}{where} {bad}"
    needed = count_for_sure(result.count, result.bad_share_high or 0.0, result.allowed)
    if not needed:
        return f"{seen}, and no number of them is enough, because none may be bad"
    a_window = " in each window" if where else ""
    return f"{seen}, but a sure verdict needs {quantity(needed, noun)}{a_window}, and none of them may {be_bad}"


def count_for_sure(count: int, high: float, allowed: float) -> int:
    """Return how many events without a bad one make an objective sure; 0 if no number does.

    The upper end of the interval after `count` events without a bad one is 1 - a ** (1 / count), where a contains the
    level and the dispersion (`statistics/bad_share_interval.py`). It must be below the error budget. `a` is
    computed from `count` and `high` of this run, so the result holds for a longer run with the same dispersion.

    high: the upper end of the interval, above 0, rounded to 9 digits; the result is never too small because of that.
    allowed: the error budget, a share; 0 and 1 give 0.
    """
    if not 0 < allowed < 1:
        return 0
    return floor(count * log1p(-min(high + 5e-10, 1 - 1e-9)) / log1p(-allowed)) + 1


def _observed_text(result: SloResult) -> str:
    if result.unit == "ratio" and isinstance(result.observed, float):
        return format_ratio(result.observed)
    if isinstance(result.observed, float):
        return format_duration(result.observed * NS_PER_MS)
    return f"{result.observed} {result.unit}"


def span_text(start_s: float, length_s: float) -> str:
    """Return a time span as a text such as "2:10 to 3:10", in minutes and seconds from T0."""
    return f"{time_text(start_s)} to {time_text(start_s + length_s)}"


def time_text(at_s: float) -> str:
    """Return a time from T0 as a text such as "2:10" or "1:02:10"; "0:02.5" with tenths if they are not 0."""
    tenths = round(at_s * 10)
    seconds, tenth = divmod(tenths, 10)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    text = f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
    return f"{text}.{tenth}" if tenth else text


def _percent(share: float) -> str:
    return f"{share * 100:.6g} %"


def number_text(ms: float) -> str:
    """Return a number of ms as text without exponent, with one to three decimals: "1234.5", "60000.0"."""
    return np.format_float_positional(round(ms, 3), trim="0")


def events_text(objective: Objective, count: int, of_count: int | None) -> str:
    """Return the denominator of a value, such as "9,812 of 10,000 requests that connected" or "1,200 iterations"."""
    if objective.kind == "goodput":
        return f"{format_count(count)} offered"
    nouns = _NOUNS_OF.get(objective.metric) or _NOUNS[objective.kind_of_series]
    noun = nouns[not (count == 1 and of_count is None)]
    text = f"{format_count(count)} of {format_count(of_count)}" if of_count is not None else format_count(count)
    that = _THAT.get(objective.metric)
    return f"{text} {noun}" + (f" {that}" if that and of_count is not None else "")


def value_text(value: float | str, unit: str) -> str:
    """Return a value with its unit: "12.0 ms", "99.5 %", "24.1/s", "1,200 orders". A text is a bound: "> 300.0"."""
    if unit == "ratio" and not isinstance(value, str):
        return format_ratio(value)
    if unit == "ms" and not isinstance(value, str):
        return format_duration(value * NS_PER_MS)
    text = value if isinstance(value, str) else plain_number(value)
    return f"{text}{unit}" if unit.startswith("/") else f"{text} {unit}".rstrip()


def plain_number(value: float) -> str:
    """Return a number with at most six digits, and commas: "1,200", "24.1"; whole numbers with all digits."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"
