"""The figures of each level of a load in `summary.json`: `levels` and `knee`.

The times and counts of a level are those of its iterations, which have the tag `level`. An iteration belongs to the
level in which it was due after the level had settled; in a closed load, in which its user was ready for it. Some
iterations end in a later level.

Rates count the requests that ended within the level, after it had settled. An overloaded target ends fewer requests
than were due, and the rest end in a later level. A request counts with all of its tokens when it ends.

`saturated` is true if the requests in flight and the time to the first token both grew while the level lasted
(`saturation.py`). Both signals follow from the times at which requests of the whole plan began and ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Protocol

import numpy as np

from loadgen.measure.deltas.delta import COUNTER_NAMES, Delta
from loadgen.measure.deltas.series_key import (
    CUT_OFF,
    GOODPUT_TAG,
    LEVEL_TAG,
    MISSED,
    OK,
    STREAM_TIMES,
    TOKEN_NS,
    Kind,
    Metric,
    SeriesKey,
)
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.queries import Measured
from loadgen.measure.merging.stored_interval import Cell
from loadgen.measure.results.figures import figures
from loadgen.measure.statistics.level_knee import LevelRate, find_level_knee, rate_of_parts
from loadgen.measure.statistics.saturation import POINT_S, Slope, is_saturated, means_of_parts, slope_of
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US, quantity

__all__ = ["EndedByInterval", "LevelFacts", "LevelSpan", "level_figures"]


class LevelSpan(Protocol):
    """A level of a load, and when it begins to count and ends; times from T0 (`loadgen/profiles/levels.py`)."""

    @property
    def text(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def settled_ns(self) -> int: ...
    @property
    def end_ns(self) -> int: ...


_STARTED, _FINISHED = COUNTER_NAMES.index("requests_started"), COUNTER_NAMES.index("requests_finished")


class EndedByInterval:
    """Counts of each interval (by its number) of a load with levels.

    requests, tokens: number of requests that ended ok, and of their output tokens. ttft_us, ttft_count: sum and number
    of their times to the first token. more_in_flight: growth of the number of requests in flight, of all loads.
    """

    __slots__ = ("_keys", "_names", "interval_ns", "more_in_flight", "requests", "tokens", "ttft_count", "ttft_us")

    def __init__(self, interval_ns: int = NS_PER_S) -> None:
        self.interval_ns = interval_ns
        self.requests: dict[int, int] = {}
        self.tokens: dict[int, int] = {}
        self.ttft_us: dict[int, int] = {}
        self.ttft_count: dict[int, int] = {}
        self.more_in_flight: dict[int, int] = {}
        self._keys: dict[tuple[str, int], list[SeriesKey]] = {}
        self._names: list[SeriesKey] = []

    def add(self, delta: Delta) -> None:
        """Add one delta. Call this in the order in which the deltas were merged."""
        keys = self._keys.setdefault((delta.agent, delta.epoch), [])
        keys.extend(delta.new_series)
        k = (delta.start_ns + delta.end_ns) // 2 // self.interval_ns
        for one in delta.stats:
            self._count(k, keys[one.series], one.n, one.sum_ns // TOKEN_NS)
        _add(self.more_in_flight, k, delta.counters.requests_started - delta.counters.requests_finished)

    def add_cell(self, cell: Cell) -> None:
        """Add one cell (a stored interval); call this in the order of the file."""
        self._names.extend(key for _, key in cell.names)
        k = (cell.start_ns + cell.end_ns) // 2 // self.interval_ns
        for series, n, sum_us in zip(
            *map(np.ndarray.tolist, (cell.stats.series, cell.stats.n, cell.stats.sum_us)), strict=True
        ):
            self._count(k, self._names[series], n, sum_us)
        for counters in cell.counters.values():
            _add(self.more_in_flight, k, counters[_STARTED] - counters[_FINISHED])

    def _count(self, k: int, key: SeriesKey, n: int, total: int) -> None:
        """Add n values of a series. total: their sum, in µs or in tokens."""
        if key.kind != "request" or key.outcome != OK or not any(name == LEVEL_TAG for name, _ in key.tags):
            return
        if key.metric == "response":
            _add(self.requests, k, n)
        elif key.metric == "output_tokens":
            _add(self.tokens, k, total)
        elif key.metric == "ttft" and not key.censored:
            _add(self.ttft_count, k, n)
            _add(self.ttft_us, k, total)

    def within(self, span: LevelSpan) -> tuple[list[int], list[int]]:
        """Return (requests, tokens) of each interval that lies wholly in a level after it has settled."""
        of = self._intervals(span)
        return [self.requests.get(k, 0) for k in of], [self.tokens.get(k, 0) for k in of]

    def slopes(self, span: LevelSpan) -> tuple[Slope | None, Slope | None]:
        """Return the slopes of the requests in flight and of ttft (ms) in a level after it has settled.

        Each is None if the level is too short. ttft is also None without requests to AI models.
        """
        of, interval_s = self._intervals(span), self.interval_ns / NS_PER_S
        before = sum(more for k, more in self.more_in_flight.items() if k < of.start)
        in_flight = list(accumulate((self.more_in_flight.get(k, 0) for k in of), initial=before))[1:]
        ttft_ms = [self.ttft_us.get(k, 0) * NS_PER_US / NS_PER_MS for k in of]
        counts = [self.ttft_count.get(k, 0) for k in of]
        step_s = max(1, round(POINT_S / interval_s)) * interval_s
        return (
            slope_of(means_of_parts(in_flight, [1] * len(of), interval_s), step_s),
            slope_of(means_of_parts(ttft_ms, counts, interval_s), step_s),
        )

    def _intervals(self, span: LevelSpan) -> range:
        return range(-(-span.settled_ns // self.interval_ns), span.end_ns // self.interval_ns)


def _add(to: dict[int, int], k: int, n: int) -> None:
    to[k] = to.get(k, 0) + n


@dataclass(frozen=True, slots=True)
class LevelFacts:
    """The levels of a run that the measurements do not contain.

    texts: the values of their tag, in order. unit: "users" or "/s". spans: the times of the levels that were held to
    their end; () if the load was changed during the run. ended: the counts of each interval; None: unknown.
    """

    texts: tuple[str, ...] = ()
    unit: str = "users"
    spans: tuple[LevelSpan, ...] = ()
    ended: EndedByInterval | None = field(default=None, compare=False)


_STREAM_SHOWN: Final = tuple(metric for metric in STREAM_TIMES if metric != "ttft_due")


def level_figures(merge: Measured, facts: LevelFacts) -> dict[str, object]:
    """Return {"levels": a dict of plain values for each level, "knee": ...} of the summary; [] and None without levels.

    The knee is of output tokens/s if there are tokens, otherwise of requests/s.
    """
    spans = {span.text: span for span in facts.spans} if facts.ended is not None else {}
    lines, requests_s, tokens_s = [], [], []
    for text in facts.texts:
        of = _Level(merge, text)
        span = spans.get(text)
        requests, tokens = ([], []) if span is None or facts.ended is None else facts.ended.within(span)
        interval_s = facts.ended.interval_ns / NS_PER_S if facts.ended is not None else 1.0
        value = 0.0 if span is None else span.value
        by_requests, by_tokens = rate_of_parts(value, requests, interval_s), rate_of_parts(value, tokens, interval_s)
        requests_s.append(by_requests)
        tokens_s.append(by_tokens)
        lines.append(
            {
                "level": text,
                "unit": facts.unit,
                "measured_s": None if span is None else round((span.end_ns - span.settled_ns) / NS_PER_S, 3),
                **of.counts(),
                "achieved_per_s": _rounded(by_requests),
                "response_ms": of.figures("request", "response"),
                **of.streams(),
                "output_tokens_per_s": _rounded(by_tokens) if any(tokens) else None,
                **_saturation(facts.ended, span),
            }
        )
    saturated = {str(line["level"]) for line in lines if line["saturated"]}
    return {"levels": lines, "knee": _knee(facts, requests_s, tokens_s, saturated) if lines else None}


def _saturation(ended: EndedByInterval | None, span: LevelSpan | None) -> dict[str, object]:
    """Return `saturated` and `slopes` of a level; both are None if they are unknown."""
    in_flight, ttft = (None, None) if ended is None or span is None else ended.slopes(span)
    slopes = {
        name: {"slope": _or_none(one.per_s), "low": _or_none(one.low), "high": _or_none(one.high)}
        for name, one in (("in_flight_per_s", in_flight), ("ttft_ms_per_s", ttft))
        if one is not None
    }
    return {"saturated": is_saturated(in_flight, ttft), "slopes": slopes if len(slopes) == 2 else None}


class _Level:
    """Queries of one level, after the warm-up, over all regions."""

    def __init__(self, merge: Measured, text: str) -> None:
        self._merge, self._tag = merge, (LEVEL_TAG, text)

    def counts(self) -> dict[str, object]:
        iterations = self._outcomes("journey", "response")
        due, missed = sum(iterations.values()), iterations.get(MISSED, 0)
        requests = self._outcomes("request", "response")
        ok = requests.get(OK, 0)
        return {
            "iterations": {"due": due, "started": due - missed, "cut_off": iterations.get(CUT_OFF, 0)},
            "requests": {"ok": ok, "failed": sum(requests.values()) - ok},
        }

    def streams(self) -> dict[str, object]:
        """Return the figures of requests to AI models; each is None for other requests."""
        times = {metric: found for metric in _STREAM_SHOWN if (found := self.figures("request", metric)) is not None}
        tpot = times.get("tpot", {}).get("p50")
        return {
            "stream_ms": times or None,
            "tokens_per_s_a_user": round(1_000 / tpot, 3) if isinstance(tpot, float | int) and tpot else None,
            "goodput": self._goodput(),
        }

    def figures(self, kind: Kind, metric: Metric) -> dict[str, float | str | None] | None:
        """Return the mean and percentiles, in ms, of the requests or iterations that ended ok."""
        found = list(self._series(kind, metric, lambda key: key.outcome == OK))
        observed, censored = (self._sum(found, is_bound) for is_bound in (False, True))
        return figures(observed, censored)

    def _goodput(self) -> dict[str, object] | None:
        """Return the numbers of good and of offered requests, by the first goodput objective; None without one."""
        found = list(self._series("goodput", "value", lambda _: True))
        limits = next((dict(key.tags).get(GOODPUT_TAG) for _, key in found), None)
        own = [(number, key) for number, key in found if (GOODPUT_TAG, limits) in key.tags]
        journeys = {key.journey for _, key in own}
        lost = self._series("journey", "response", lambda k: k.outcome in (MISSED, CUT_OFF) and k.journey in journeys)
        of = self._merge.count_of([number for number, _ in own]) + self._merge.count_of([number for number, _ in lost])
        good = self._merge.count_of([number for number, key in own if key.outcome == OK])
        return {"limits": limits, "good": good, "of": of, "share": round(good / of, 6)} if own and of else None

    def _outcomes(self, kind: Kind, metric: Metric) -> dict[str, int]:
        counts: dict[str, int] = {}
        for number, key in self._series(kind, metric, lambda _: True):
            counts[key.outcome] = counts.get(key.outcome, 0) + self._merge.count_of((number,))
        return counts

    def _series(self, kind: Kind, metric: Metric, test: Callable[[SeriesKey], bool]) -> Iterator[tuple[int, SeriesKey]]:
        tag = self._tag
        matching = self._merge.matching(
            (tag, kind, metric),
            lambda _, key: key.kind == kind and key.metric == metric and not key.warmup and tag in key.tags,
        )
        return ((number, key) for number, key in matching if test(key))

    def _sum(self, found: Iterable[tuple[int, SeriesKey]], is_bound: bool) -> Histogram:
        return self._merge.sum_of([number for number, key in found if key.censored is is_bound])


def _knee(
    facts: LevelFacts,
    requests: Sequence[LevelRate | None],
    tokens: Sequence[LevelRate | None],
    saturated: Collection[str],
) -> dict[str, object]:
    has_tokens = any(one is not None and one.per_s for one in tokens)
    rates = [one for one in (tokens if has_tokens else requests) if one is not None]
    of = "output tokens" if has_tokens else "requests"
    unit = " users" if facts.unit == "users" else "/s"
    if not facts.spans:
        found, text = None, "not decided: no level was held to its end, or the load was changed during the run"
    else:
        found = find_level_knee(rates)
        top = max(facts.spans, key=lambda span: span.value).text
        highest = top + (unit if facts.unit == "users" else "")
        match found.verdict:
            case "found":
                about, low, high = (f"{value:.3g}" for value in (found.value, found.low, found.high) if value)
                per_s = f"{found.per_s:,.4g} {of}/s"
                text = (
                    f"throughput grows up to about {about}{unit} (95 % interval {low} to {high}); there it is {per_s}"
                )
            case "still growing" if top in saturated:
                text = f"throughput ({of}/s) still grows at the highest level, {highest}, but this level is saturated"
                text += f": add levels between the highest level that is not saturated and {highest}"
            case "still growing":
                text = f"throughput ({of}/s) still grows at the highest level, {highest}: add higher levels"
            case "never grew":
                text = f"throughput ({of}/s) does not grow with the level: add lower levels"
            case _:
                text = f"not decided: {found.why}; measure each level longer, or add levels"
        if lost := len(facts.texts) - len(facts.spans):
            text += f"; left out: {quantity(lost, 'level')} not held to the end"
    return {
        "of": of,
        "verdict": "not decided" if found is None else found.verdict,
        "level": None if found is None else _or_none(found.value),
        "low": None if found is None else _or_none(found.low),
        "high": None if found is None else _or_none(found.high),
        "per_s": None if found is None else _or_none(found.per_s),
        "unit": facts.unit,
        "text": text,
    }


def _or_none(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _rounded(rate: LevelRate | None) -> float | None:
    return None if rate is None else round(rate.per_s, 3)
