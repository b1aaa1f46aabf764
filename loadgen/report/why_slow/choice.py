"""Chooses the requests whose slowness is explained: those of a broken objective, or of the request with the most time.

Only objectives on response times can be explained, because a cohort of slow requests needs a limit in ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

import msgspec
from msgspec.structs import replace

from loadgen.errors import IncompleteError, UsageError
from loadgen.measure.objectives.terms import Objective, TagSelector
from loadgen.report.summary_reader import Figure, Series, Slo, Summary
from loadgen.units import NS_PER_MS

__all__ = ["Chosen", "Wanted", "chosen_of", "name_of", "narrowed"]

_SHOWN: Final = 8
"""Most names in a hint."""
_SLOWEST: Final = 0.05
"""Without a broken objective, this share of the requests is slow."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that a user chose; "" for a part that was not chosen."""

    request: str = ""
    step: str = ""
    journey: str = ""
    region: str = ""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The requests whose slowness is explained.

    journey, step, request: the series; "" for each part that it lacks. region: "" for all regions together.
    limit_ns: requests above it are slow. text: the objective as the plan has it; "" if none was chosen.
    why: how the series was chosen. observed_ms: the observed percentile, or "> 300.0" if only a bound is known.
    above: the share of requests above the limit, 0 to 1, with failed ones; low, high: its 95 % interval, or None.
    count: requests of the whole run in this series. load, tags: of the objective; "" and () for all.
    """

    journey: str
    step: str
    request: str
    region: str
    limit_ns: int
    why: str
    text: str = ""
    percentile: str = "p99"
    observed_ms: Figure = None
    above: float | None = None
    above_low: float | None = None
    above_high: float | None = None
    allowed: float = 0.0
    count: int = 0
    load: str = ""
    tags: tuple[TagSelector, ...] = ()

    @property
    def name(self) -> str:
        """The series in words: "checkout > pay > POST /cart"."""
        return name_of(self.journey, self.step, self.request)

    @property
    def is_broken(self) -> bool:
        """Whether a broken objective was chosen."""
        return bool(self.text)


def name_of(journey: str, step: str, request: str) -> str:
    """Return the name of a series: "checkout > pay > POST /cart"."""
    return " > ".join(part for part in (journey, step, request) if part) or "all requests"


def chosen_of(summary: Summary, wanted: Wanted, objectives: Iterable[Objective] = ()) -> Chosen:
    """Return the requests to explain: the broken objective that used the most of its error budget, if there is one.

    Without a broken objective, it is the slowest 5 % of the request on which most response time was spent.

    objectives: those of the plan, whose loads and tags the summary does not have.

    Raises:
        UsageError: the run has no such request, step, journey or region.
        IncompleteError: the run has no request with a response time.
    """
    _check(summary, wanted)
    planned = {one.text: one for one in objectives}
    usable = [slo for slo in summary.slos if _is_usable(slo, planned.get(slo.objective))]
    broken = [slo for slo in usable if slo.verdict == "failed" and _fits(slo, wanted)]
    if broken:
        slo = max(broken, key=_excess)
        return _of_objective(slo, planned.get(slo.objective), wanted, len(broken))
    rows = [row for row in _rows(summary, wanted.region or "*") if _is_wanted(row, wanted)]
    timed = [row for row in rows if _total_ms(row) > 0]
    if not timed:
        raise IncompleteError(
            f"run {summary.run_id} has no request with a response time", hint="choose another run, or another --request"
        )
    return _of_row(max(timed, key=_total_ms), wanted, is_given=bool(wanted.request))


def narrowed(summary: Summary, chosen: Chosen) -> Chosen | None:
    """Return the request with the most total response time of a step or journey, and its slowest 5 %.

    None if a request was chosen already, or if no request has a response time.
    """
    wanted = Wanted(step=chosen.step, journey=chosen.journey, region=chosen.region)
    rows = [row for row in _rows(summary, chosen.region or "*") if _is_wanted(row, wanted) and _total_ms(row) > 0]
    if chosen.request or not rows:
        return None
    one = _of_row(max(rows, key=_total_ms), wanted, is_given=True)
    why = (
        f"the slowest 5 % of {one.name}, the request with the most total response time; "
        f"not {chosen.name} ({f'{chosen.why} {chosen.text}'.strip()}): no complete trace of it can be read"
    )
    return replace(one, why=why)


def _is_usable(slo: Slo, planned: Objective | None) -> bool:
    """Return whether the objective is an upper limit of a percentile of response times.

    Without the plan: others have a `detail`, or no limit in ms.
    """
    if planned is not None:
        return planned.kind == "percentile" and planned.metric == "response" and planned.is_upper and not planned.of
    return slo.limit_ms is not None and not slo.detail


def _fits(slo: Slo, wanted: Wanted) -> bool:
    """Return whether the objective is about the chosen requests, and about nothing more."""
    pairs = ((wanted.request, slo.request), (wanted.step, slo.step), (wanted.journey, slo.journey))
    return all(not chosen or chosen == (own or "") for chosen, own in pairs) and (
        not wanted.region or slo.region in (None, wanted.region)
    )


def _excess(slo: Slo) -> tuple[float, float]:
    """Return a key by which objectives are compared: the used share of the error budget, then the distance."""
    return (inf if slo.budget is None else slo.budget, inf if slo.margin is None else -slo.margin)


def _of_objective(slo: Slo, planned: Objective | None, wanted: Wanted, broken: int) -> Chosen:
    limit_ns = (slo.limit_ms or 0.0) * NS_PER_MS if planned is None else planned.limit
    is_known = slo.window_s is None and wanted.region in ("", slo.region)
    why = "the broken objective" if broken == 1 else f"of {broken} broken objectives, the one with the largest excess"
    return Chosen(
        journey=slo.journey or wanted.journey,
        step=slo.step or wanted.step,
        request=slo.request or "",
        region=wanted.region or slo.region or "",
        limit_ns=round(limit_ns),
        why=why,
        text=slo.objective,
        percentile=_percentile(slo.allowed),
        observed_ms=slo.observed if is_known and slo.unit == "ms" else None,
        above=None if slo.budget is None or not is_known else slo.budget * slo.allowed,
        above_low=slo.bad_share_low if is_known else None,
        above_high=slo.bad_share_high if is_known else None,
        allowed=slo.allowed,
        count=slo.count if is_known else 0,
        load="" if planned is None else planned.load or "",
        tags=() if planned is None else planned.tags,
    )


def _percentile(allowed: float) -> str:
    return f"p{round(100 * (1 - allowed), 6):g}"


def _of_row(row: Series, wanted: Wanted, *, is_given: bool) -> Chosen:
    assert row.response_ms is not None
    limit = _bound(row.response_ms.p95)
    why = "the slowest 5 % of the request, because no objective on its response time is broken"
    return Chosen(
        journey=row.journey,
        step=row.step or "",
        request=row.request or "",
        region=wanted.region,
        limit_ns=round(limit * NS_PER_MS),
        why=why if is_given else f"{why}; this request has the most total response time",
        percentile="p95",
        observed_ms=row.response_ms.p95,
        allowed=_SLOWEST,
        count=row.count,
    )


def _rows(summary: Summary, region: str) -> Iterator[Series]:
    """Yield the series of requests over all outcomes, without those of single tags."""
    for row in summary.series:
        if row.kind == "request" and row.outcome == "*" and row.region == region and not row.tags:
            yield row


def _is_wanted(row: Series, wanted: Wanted) -> bool:
    pairs = ((wanted.request, row.request), (wanted.step, row.step), (wanted.journey, row.journey))
    return all(not chosen or chosen == (own or "") for chosen, own in pairs)


def _total_ms(row: Series) -> float:
    return 0.0 if row.response_ms is None else row.count * _bound(row.response_ms.mean)


def _bound(figure: Figure) -> float:
    """Return a figure as a number; of a lower bound ("> 300"), the bound; 0 without data."""
    if isinstance(figure, str):
        return float(figure.lstrip("> ").replace(",", "") or 0)
    return figure or 0.0


def _check(summary: Summary, wanted: Wanted) -> None:
    rows = [row for row in summary.series if row.kind == "request"]
    for option, value, known in (
        ("request", wanted.request, {row.request or "" for row in rows}),
        ("step", wanted.step, {row.step or "" for row in rows}),
        ("journey", wanted.journey, {row.journey for row in rows}),
        ("region", wanted.region, {agent.region for agent in summary.agents}),
    ):
        if value and value not in known:
            raise UsageError(f'--{option}: run {summary.run_id} has no {option} "{value}"', hint=_names(option, known))


def _names(noun: str, known: set[str]) -> str:
    names = sorted(name for name in known if name)
    if not names:
        return f"leave out --{noun}: the run has no {noun}s"
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"choose one of: {', '.join(names[:_SHOWN])}{more}"
