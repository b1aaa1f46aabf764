"""Makes the study of searches and their confirmation: tables, chart, facts and rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadgen.analysis.knees.combine_knees import LEVEL, CombinedKnee
from loadgen.capacity.find.finished_runs import HeldRun, MeasuredRate, SearchRun
from loadgen.capacity.find.found_capacity import LEAST_REPEATS, FoundCapacity
from loadgen.outside_text import one_line
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.studies.study import Drawing, Study
from loadgen.studies.xy_chart import Axis, Line, Mark, Points, Rule, xy_chart
from loadgen.units import NS_PER_S, format_duration, format_rate, format_ratio

__all__ = ["KIND", "Condition", "study_of_find"]

KIND: Final = "capacity find"
_ABOVE: Final = 2.5
"""Where the chart draws a percentile that is too far above its limit to be known, as a multiple of the limit."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The target as the searches met it, as the user describes it; None: not given."""

    release: str | None = None
    instance_type: str | None = None
    instances: int | None = None
    region: str | None = None
    autoscaler: str | None = None
    """"held", "free" or "none"."""
    restart: str | None = None
    """The command between the searches; None: the target was not restarted."""
    warmup_s: float = 0.0
    """The warm-up at the beginning of each search."""
    cool_down_s: float = 0.0

    @property
    def warm_state(self) -> str:
        """Return how warm the target was at the beginning of each search, as text."""
        begin = "restarted before each search but the first" if self.restart else "not restarted"
        wait = format_duration(self.cool_down_s * NS_PER_S)
        warmup = f", then {format_duration(self.warmup_s * NS_PER_S)} of warm-up" if self.warmup_s else ", no warm-up"
        return f"{begin}; {wait} without load{warmup}"

    @property
    def shown(self) -> str:
        """Return the given parts as text: "release 1.4, 4 x m6i.large, eu-west-1, autoscaler held"."""
        machine = self.instance_type or ("instances" if self.instances else "")
        parts = (
            f"release {self.release}" if self.release else "",
            f"{self.instances} x {machine}" if self.instances else machine,
            self.region or "",
            f"autoscaler {self.autoscaler}" if self.autoscaler and self.autoscaler != "none" else "",
            "no autoscaler" if self.autoscaler == "none" else "",
        )
        return ", ".join(part for part in parts if part)


def study_of_find(
    found: FoundCapacity,
    searches: Sequence[SearchRun],
    held: HeldRun | None,
    condition: Condition,
    title: str,
    foot: Sequence[str] = (),
) -> Study:
    """Return the study. title: the scenario and plan; foot: the next commands."""
    runs = [(one.run_id, one.folder) for one in searches]
    runs += [] if held is None else [(held.run_id, held.folder)]
    lines = (
        *found.reasons,
        *_share(found, condition),
        f"Target: {condition.shown or 'not described'}; {condition.warm_state}.",
    )
    return Study(
        kind=KIND,
        title=one_line(title),
        headline=found.headline,
        result=found.result,
        lines=lines,
        tables=tuple(_tables(found, searches, held)),
        drawings=tuple(_drawings(found, searches, held)),
        foot=(*foot, *(f"Run folder: {folder}" for _, folder in runs)),
        facts=_facts(found, searches, held, condition),
        rows=tuple(_rows(searches, held)),
        run_ids=tuple(run_id for run_id, _ in runs),
    )


def _share(found: FoundCapacity, condition: Condition) -> Iterator[str]:
    """Yield what one of several instances served, for `loadgen capacity size`."""
    if found.capacity is not None and condition.instances is not None and condition.instances > 1:
        share = format_rate(found.capacity.low_per_s / condition.instances)
        yield (
            f"That is {share} for each of the {condition.instances} instances, if they had equal shares of the load;"
            " `loadgen capacity fit` shows whether more instances serve as much each."
        )


# -- tables ---------------------------------------------------------------------------------------


def _tables(found: FoundCapacity, searches: Sequence[SearchRun], held: HeldRun | None) -> Iterator[Table]:
    if searches:
        rows = tuple(
            (
                str(n),
                one.end,
                _rate(one.rate_per_s),
                _pair(one.low_per_s, one.high_per_s),
                format_duration(round(one.duration_s) * NS_PER_S),
                format_ratio(one.unfit_share),
                one.run_id,
            )
            for n, one in enumerate(searches, 1)
        )
        note = "Not measured: share of the time in which the generator could not measure. A search leaves it out."
        columns = ("search", "end", "rate", "90 % interval", "time", "not measured", "run")
        yield Table("Searches", columns, (*rows, *_combined_row(found.combined)), 2, note)
    if held is not None:
        shown = {True: "met", False: "not met", None: "not decided"}[held.is_confirmed]
        minutes = format_duration(round(held.seconds) * NS_PER_S)
        observed = "; ".join(held.observed) or held.why
        cells = (shown, format_rate(held.rate_per_s), minutes, observed)
        yield Table("Confirmation", ("confirmation", "held", "time", "measured"), (cells,), 4)


def _combined_row(combined: CombinedKnee | None) -> Iterator[tuple[str, ...]]:
    if combined is not None and combined.repeats > 1:
        interval = _pair(combined.low_per_s, combined.high_per_s)
        yield ("together", "", format_rate(combined.rate_per_s), interval, "", "", "")


def _figure(one: MeasuredRate) -> str:
    if one.figure is None:
        return f"far above {one.limit:.3g} ms"
    return f"{one.figure:.3g} ms" if one.is_time else format_ratio(one.figure)


def _rate(rate: float | None) -> str:
    return PLACEHOLDER if rate is None else format_rate(rate)


def _pair(low: float | None, high: float | None) -> str:
    return PLACEHOLDER if low is None or high is None else f"{format_rate(low)} to {format_rate(high)}"


# -- chart ----------------------------------------------------------------------------------------


def _drawings(found: FoundCapacity, searches: Sequence[SearchRun], held: HeldRun | None) -> Iterator[Drawing]:
    tested = [(n, one) for n, search in enumerate(searches, 1) for one in search.tested]
    if not tested:
        return
    first = tested[0][1]
    scale = 1.0 if first.is_time else 100.0
    marks: list[Mark] = []
    for n, search in enumerate(searches, 1):
        points = [(one.rate_per_s, _drawn(one) * scale) for one in search.tested]
        tooltips = [f"{format_rate(one.rate_per_s)}: {_figure(one)}, {one.results} results" for one in search.tested]
        marks.append(Points(f"search {n}", points, (), tooltips))
    rates = [one.rate_per_s for _, one in tested]
    marks.append(Line("limit", [(min(rates), first.limit * scale), (max(rates), first.limit * scale)], is_dashed=True))
    for n, search in enumerate(searches, 1):
        if search.is_found and search.rate_per_s is not None:
            marks.append(Rule(f"knee of search {n}", search.rate_per_s, search.low_per_s, search.high_per_s, style=n))
    if found.combined is not None and found.combined.repeats > 1:
        together = found.combined
        marks.append(Rule("together", together.rate_per_s, together.low_per_s, together.high_per_s))
    if held is not None:
        marks.append(Rule(f"held: {'met' if held.is_confirmed else 'not met'}", held.rate_per_s))
    unit = "ms" if first.is_time else "% bad"
    title = f"{first.objective}: measured against rate"
    html = xy_chart(title, marks, x=Axis("iterations/s"), y=Axis(unit, is_log=first.is_time))
    yield Drawing(title, html, _chart_text(found, tested, held))


def _drawn(one: MeasuredRate) -> float:
    return one.limit * _ABOVE if one.figure is None else one.figure


def _chart_text(found: FoundCapacity, tested: Sequence[tuple[int, MeasuredRate]], held: HeldRun | None) -> str:
    met = [one.rate_per_s for _, one in tested if one.is_met]
    broken = [one.rate_per_s for _, one in tested if not one.is_met]
    parts = [f"{len(tested)} tested rates"]
    if met:
        parts.append(f"the highest that met the objective is {format_rate(max(met))}")
    if broken:
        parts.append(f"the lowest that broke it is {format_rate(min(broken))}")
    if found.combined is not None:
        parts.append(f"the knee is estimated at {format_rate(found.combined.rate_per_s)}")
    if held is not None:
        parts.append(f"{format_rate(held.rate_per_s)} was held")
    return f"{'; '.join(parts)}."


# -- for programs ---------------------------------------------------------------------------------


def _facts(
    found: FoundCapacity, searches: Sequence[SearchRun], held: HeldRun | None, condition: Condition
) -> dict[str, Any]:
    capacity, first = found.capacity, searches[0] if searches else None
    is_restarted = condition.restart is not None
    repeats = sum(one.is_found for one in searches)
    return {
        "objectives": [] if first is None else list(first.objectives),
        "objective": "" if first is None else " and ".join(first.objectives),
        "unit": "iterations/s",
        "low_per_s": None if capacity is None else capacity.low_per_s,
        "rate_per_s": None if capacity is None else capacity.rate_per_s,
        "high_per_s": None if capacity is None else capacity.high_per_s,
        "capacity": None if capacity is None else _of_one_instance(capacity, condition.instances or 1),
        "level": LEVEL,
        "repeats": repeats,
        "between_sd": None if found.combined is None else found.combined.between_sd,
        "within_sd": None if found.combined is None else found.combined.within_sd,
        "excess_sd": None if found.combined is None else found.combined.excess_sd,
        "at_least_per_s": found.at_least_per_s,
        "is_extrapolated": False,
        "is_confirmed": None if held is None else held.is_confirmed,
        "is_one_condition": repeats < 2 or not is_restarted,
        "is_enough_for_a_purchase": capacity is not None and repeats >= LEAST_REPEATS and is_restarted,
        "confirmation": None if held is None else _held_facts(held),
        "release": condition.release,
        "instance_type": condition.instance_type,
        "instances": condition.instances,
        "region": condition.region,
        "autoscaler": condition.autoscaler,
        "warm_state": condition.warm_state,
        "restart": condition.restart,
        "cool_down_s": condition.cool_down_s,
        "scenario": "" if first is None else first.scenario,
        "plan": "" if first is None else first.plan,
        "target": "" if first is None else first.target,
        "searches": [_search_facts(one) for one in searches],
    }


def _of_one_instance(capacity: CombinedKnee, instances: int) -> dict[str, Any]:
    """Return the capacity in the form that `loadgen capacity size` reads: of one instance, in 1/s."""
    return {
        "low": capacity.low_per_s / instances,
        "point": capacity.rate_per_s / instances,
        "high": capacity.high_per_s / instances,
        "is_extrapolated": False,
        "level": LEVEL,
    }


def _held_facts(held: HeldRun) -> dict[str, Any]:
    return {
        "run_id": held.run_id,
        "rate_per_s": held.rate_per_s,
        "seconds": held.seconds,
        "is_confirmed": held.is_confirmed,
        "why": held.why,
        "observed": list(held.observed),
    }


def _search_facts(search: SearchRun) -> dict[str, Any]:
    return {
        "run_id": search.run_id,
        "end": search.end,
        "why": search.why,
        "rate_per_s": search.rate_per_s,
        "low_per_s": search.low_per_s,
        "high_per_s": search.high_per_s,
        "start_per_s": search.start_per_s,
        "upto_per_s": search.upto_per_s,
        "duration_s": search.duration_s,
        "started_at": search.started_at,
        "unfit_share": search.unfit_share,
        "labels": dict(search.labels),
    }


def _rows(searches: Sequence[SearchRun], held: HeldRun | None) -> Iterator[dict[str, str | float | int | bool | None]]:
    """Yield one row for each tested rate, each search, and the confirmation."""
    for n, search in enumerate(searches, 1):
        for one in search.tested:
            unit = "ms" if one.is_time else "share"
            yield _row("tested", n, search.run_id, one.rate_per_s) | {
                "seconds": one.seconds,
                "results": one.results,
                "bad": one.bad,
                "figure": one.figure,
                "limit": one.limit,
                "unit": unit,
                "is_met": one.is_met,
            }
        yield _row("search", n, search.run_id, search.rate_per_s) | {
            "low_per_s": search.low_per_s,
            "high_per_s": search.high_per_s,
            "seconds": search.duration_s,
            "end": search.end,
        }
    if held is not None:
        yield _row("confirmation", None, held.run_id, held.rate_per_s) | {
            "seconds": held.seconds,
            "is_met": held.is_confirmed,
        }


def _row(of: str, n: int | None, run_id: str, rate_per_s: float | None) -> dict[str, str | float | int | bool | None]:
    names = ("low_per_s", "high_per_s", "seconds", "results", "bad", "figure", "limit", "unit", "is_met", "end")
    empty: dict[str, str | float | int | bool | None] = dict.fromkeys(names)
    return {"of": of, "search": n, "run_id": run_id, "rate_per_s": rate_per_s} | empty
