"""The figures of each level of a load in `summary.json`: `levels` and `knee`.

The times and counts of a level are those of its iterations, which have the tag `level`. An iteration belongs to the
level in which it was due after the level had settled; in a closed load, in which its user was ready for it. Some
iterations end in a later level.

Rates count the requests that ended within the level, after it had settled. An overloaded target ends fewer requests
than were due, and the rest end in a later level. A request counts with all of its tokens when it ends.

`tokens` are those of all requests of the level that ended, failed ones too: what the level has cost.

`goodput` has the numbers of good and of offered requests, by the limits of the first goodput objective, and the 95 %
interval of their share (`level_goodput.py`). `above` is what an objective on these limits demands of the level.

`in_flight` is the mean number of requests in flight between the end of settling and the end of the level, of the whole
plan. `queued` is the mean number of requests that waited at the server in this time, by a probe.

`saturated` is true if the requests in flight and the time to the first token both grew while the level lasted
(`saturation.py`). Both signals follow from the times at which requests of the whole plan began and ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

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
from loadgen.measure.objectives.terms import Objective
from loadgen.measure.results.figures import figures
from loadgen.measure.results.level_goodput import NOT_KEPT, GoodShare
from loadgen.measure.results.level_intervals import EndedByInterval, LevelSpan
from loadgen.measure.results.stream_figures import TOKEN_COUNTS
from loadgen.measure.statistics.level_knee import LevelRate, find_level_knee, rate_of_parts
from loadgen.measure.statistics.saturation import is_saturated
from loadgen.units import NS_PER_S, quantity

__all__ = ["LevelFacts", "level_figures"]


@dataclass(frozen=True, slots=True)
class LevelFacts:
    """The levels of a run that the measurements do not contain.

    texts: the values of their tag, in order. unit: "users" or "/s". spans: the times of the levels that were held to
    their end; () if the load was changed during the run. ended: the counts of each interval; None: unknown. queued: by
    level, the mean number of requests that waited at the server, and the number of samples; {} without a probe that
    shows it. objectives: the plan's `slos`.
    """

    texts: tuple[str, ...] = ()
    unit: str = "users"
    spans: tuple[LevelSpan, ...] = ()
    ended: EndedByInterval | None = field(default=None, compare=False)
    queued: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = ()


_STREAM_SHOWN: Final = tuple(metric for metric in STREAM_TIMES if metric != "ttft_due")


def level_figures(merge: Measured, facts: LevelFacts) -> dict[str, object]:
    """Return {"levels": a dict of plain values for each level, "knee": ...} of the summary; [] and None without levels.

    The knee is of output tokens/s if there are tokens, otherwise of requests/s.
    """
    spans = {span.text: span for span in facts.spans} if facts.ended is not None else {}
    lines, requests_s, tokens_s = [], [], []
    for text in facts.texts:
        of = _Level(merge, text, facts)
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
                "tokens": of.tokens(),
                "in_flight": None if span is None or facts.ended is None else _mean(*facts.ended.in_flight(span)),
                "queued": _mean(*facts.queued.get(text, (0.0, 0))),
                **_saturation(facts.ended, span),
            }
        )
    saturated = {str(line["level"]) for line in lines if line["saturated"]}
    return {"levels": lines, "knee": _knee(facts, requests_s, tokens_s, saturated) if lines else None}


def _mean(mean: float, count: int) -> dict[str, object] | None:
    """Return a mean and the number of its values; None without values."""
    return {"mean": round(mean, 3), "count": count} if count else None


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

    def __init__(self, merge: Measured, text: str, facts: LevelFacts) -> None:
        self._merge, self._tag, self._facts = merge, (LEVEL_TAG, text), facts

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

    def tokens(self) -> dict[str, int] | None:
        """Return the tokens of all requests that ended, failed ones too; None for other requests."""
        found = {
            name: self._sum(list(self._series("request", TOKEN_COUNTS[name], lambda _: True)), is_bound=False)
            for name in ("prompt", "output")
        }
        has_some = any(histogram.total for histogram in found.values())
        return {name: one.sum_ns // TOKEN_NS for name, one in found.items()} if has_some else None

    def figures(self, kind: Kind, metric: Metric) -> dict[str, float | str | None] | None:
        """Return the mean and percentiles, in ms, of the requests or iterations that ended ok."""
        found = list(self._series(kind, metric, lambda key: key.outcome == OK))
        observed, censored = (self._sum(found, is_bound) for is_bound in (False, True))
        return figures(observed, censored)

    def _goodput(self) -> dict[str, object] | None:
        """Return the numbers of good and of offered requests, by the first goodput objective; None without one.

        The 95 % interval of the share is with it, and the share that the level must exceed.
        """
        found = list(self._series("goodput", "value", lambda _: True))
        limits = next((dict(key.tags).get(GOODPUT_TAG, "") for _, key in found), "")
        own = [(number, key) for number, key in found if (GOODPUT_TAG, limits) in key.tags]
        journeys = {key.journey for _, key in own}
        lost = self._series("journey", "response", lambda k: k.outcome in (MISSED, CUT_OFF) and k.journey in journeys)
        of = self._merge.count_of([number for number, _ in own]) + self._merge.count_of([number for number, _ in lost])
        good = self._merge.count_of([number for number, key in own if key.outcome == OK])
        if not (own and of):
            return None
        ended, level = self._facts.ended, self._tag[1]
        share = GoodShare(None, None, NOT_KEPT) if ended is None else ended.offered.share(level, limits, good, of)
        return {
            "limits": limits,
            "good": good,
            "of": of,
            "share": round(good / of, 6),
            "low": share.low,
            "high": share.high,
            "interval": share.text,
            # An objective judges each journey by itself.
            "above": _demanded(self._facts.objectives, self._tag, limits) if len(journeys) == 1 else None,
        }

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


def _demanded(objectives: Iterable[Objective], level: tuple[str, str], limits: str) -> float | None:
    """Return the share of good requests that a level must exceed: that of its first objective; None without one.

    Objectives over windows, or on a part of the requests of the level, do not count: they do not cover all requests.
    """
    return next(
        (
            one.limit
            for one in objectives
            if one.kind == "goodput"
            and one.goodput_text == limits
            and not one.window_ns
            and {one.journey, one.step, one.request, one.region, one.load} == {None}
            and all(tag.name == LEVEL_TAG for tag in one.tags)
            and one.has_tags((level,))
        ),
        None,
    )


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
