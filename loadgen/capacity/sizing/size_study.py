"""Makes the study of a sizing: headline, sentences, tables, charts, and the facts for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen.capacity.sizing.estimate import Inputs, Limit, Sizing, estimate
from loadgen.capacity.sizing.forecast import Crossing, Forecast, Week, crossing, weeks_missing
from loadgen.capacity.sizing.need import left_after_zone_loss
from loadgen.capacity.sizing.prices import Price
from loadgen.capacity.sizing.ranges import Range
from loadgen.capacity.sizing.tornado import Bar, tornado
from loadgen.report.report_parts import Table
from loadgen.studies.study import Drawing, Study
from loadgen.studies.xy_chart import Axis, Band, Line, Mark, Rule, xy_chart
from loadgen.units import format_count, format_rate, format_ratio, quantity

__all__ = ["Question", "size_study"]

_PLACES: Final = 12


@dataclass(frozen=True, slots=True)
class Question:
    """The inputs of a sizing, and the texts that its result shows."""

    inputs: Inputs
    capacity_source: str
    """Where the capacity comes from: "--capacity", "C-12", "find.json"."""
    forecast: Forecast | None = None
    """Its highest week is the peak."""
    instances: int | None = None
    """The instances that run today, to compare with the forecast."""
    price: Price | None = None
    """The list that the price comes from; None: an option."""
    warnings: tuple[str, ...] = ()
    draws: int = 10_000
    seed: int = 1

    @property
    def currency(self) -> str:
        """Return the currency of the price."""
        return self.price.currency if self.price else "USD"


def size_study(question: Question) -> Study:
    """Return the study of a checked question. Cost: some 10 ms for 10,000 draws, and 0.2 ms more for each week."""
    found = estimate(question.inputs, draws=question.draws, seed=question.seed)
    held = _held(question, found)
    cross = None
    if question.forecast is not None:
        carries = _carries(question.inputs, held)
        cross = crossing(
            question.forecast.weeks, carries, question.inputs.capacity, draws=question.draws, seed=question.seed
        )
    is_short = found.limit is not None and found.limit.is_below_peak
    return Study(
        kind="capacity size",
        title=_title(question, found),
        headline=_headline(found),
        result="failed" if is_short else "decided",
        lines=tuple(_lines(question, found, held, cross)),
        tables=tuple(_tables(question, found)),
        drawings=tuple(_drawings(question, found, held)),
        foot=(
            *([f"prices: {question.price.source}, {question.price.as_of}"] if question.price else []),
            f"{question.draws:,} draws with seed {question.seed}; the same options give the same figures",
            "the formula: instances = peak * (1 + growth) * headroom / capacity at its low end, rounded up;"
            " with the loss of a zone: instances / (zones - 1), rounded up, times zones",
        ),
        facts=_facts(question, found, held, cross),
        rows=tuple(_rows(question, found)),
    )


def _held(question: Question, found: Sizing) -> int:
    """Return the number of instances that is compared with the forecast: today's, or the planned one."""
    return question.instances if question.instances is not None else found.total


def _carries(inputs: Inputs, instances: int) -> Any:
    """Return a function from the capacity of one instance to what all carry: with headroom, after a lost zone."""
    has_zones = inputs.zones is not None and inputs.zones > 1
    left = left_after_zone_loss(instances, inputs.zones) if has_zones and inputs.zones else instances
    most = min((limit.low for limit in inputs.limits.values()), default=float("inf"))

    def carried(capacity: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        result: npt.NDArray[np.float64] = np.minimum(left * capacity / inputs.headroom.point, most)
        return result

    return carried


def _title(question: Question, found: Sizing) -> str:
    when = f" of {question.forecast.highest.name}" if question.forecast else ""
    return f"instances for a peak{when} of {format_rate(found.demand)}"


def _headline(found: Sizing) -> str:
    zones = found.inputs.zones
    with_loss = zones is not None and zones > 1
    if found.limit is not None and found.limit.is_below_peak:
        return (
            f"no number of instances serves {format_rate(found.demand)}: {found.limit.name} serves at most"
            f" {format_rate(found.limit.rate)}, which {quantity(found.limit.instances, 'instance')} already"
            f" {'serves' if found.limit.instances == 1 else 'serve'}"
        )
    if not with_loss:
        return f"{quantity(found.need, 'instance')} for {format_rate(found.demand)}, without the loss of a zone"
    return (
        f"{quantity(found.total, 'instance')} in {zones} zones for {format_rate(found.demand)}:"
        f" {format_count(found.need)} are needed, and the loss of one zone leaves {format_count(found.left)}"
    )


def _lines(question: Question, found: Sizing, held: int, cross: Crossing | None) -> Iterator[str]:
    inputs, (low, middle, high) = found.inputs, found.range
    if found.limit is not None and found.limit.is_below_peak:
        yield (
            f"without this limit, {quantity(found.total, 'instance')} would be needed; raise the limit of"
            f" {found.limit.name} first, or send it fewer requests"
        )
    elif found.limit is not None:
        with_headroom = found.demand * inputs.headroom.point
        room = "with" if found.limit.rate >= with_headroom else "but without all of the headroom"
        yield f"{found.limit.name} serves at most {format_rate(found.limit.rate)}: enough for the peak, {room}" + (
            " headroom" if room == "with" else ""
        )
    if not _has_ranges(inputs):
        yield "no input has a range, so the answer has no range; write inputs as low..high to get one"
    else:
        yield (
            f"over all inputs, {format_count(low)} to {format_count(high)} instances (95 % of the draws),"
            f" {format_count(middle)} in the middle; the plan takes the low end of the capacity"
        )
        if found.limit is None or not found.limit.is_below_peak:
            after = " after the loss of a zone" if found.left != found.total else ""
            yield (
                f"the planned {format_count(found.total)} carry the peak without headroom in"
                f" {format_ratio(found.carries)} of the draws{after}"
            )
    if found.moves:
        first = found.moves[0]
        yield (
            f"what moves the answer most: the {first.name}, with {first.low:,} instances at its low and"
            f" {first.high:,} at its high"
        )
    if inputs.zones is None:
        yield "no --zones: the loss of a zone is not planned for"
    elif inputs.zones == 1:
        yield "one zone: nothing is left after its loss, with any number of instances; use at least 2 zones"
    elif (left := left_after_zone_loss(found.need + 1, inputs.zones)) < found.need:
        yield (
            f"one instance more than needed ({found.need + 1:,}) would leave {left:,} after the loss of a zone,"
            f" and {found.need:,} are needed"
        )
    if found.cost is not None:
        yield _cost_line(question, found)
    if cross is not None and question.forecast is not None:
        yield _crossing_line(question, held, cross, found.limit)
    if question.forecast is not None and (missing := weeks_missing(question.forecast.weeks)):
        yield f"warning: the forecast has no row for {quantity(missing, 'week')} between its first and its last"
    for warning in question.warnings:
        yield f"warning: {warning}"


def _cost_line(question: Question, found: Sizing) -> str:
    cost, money = found.cost, question.currency
    assert cost is not None
    where = "at the planned peak, the least that a request can cost" if cost.is_at_peak else "at the mean rate"
    return (
        f"{_money(cost.month, money)} a month of 730 hours, and {_money(cost.per_1000, money)} per 1,000 requests at"
        f" {format_rate(cost.rate)} ({where})"
    )


def _crossing_line(question: Question, held: int, cross: Crossing, limit: Limit | None) -> str:
    assert question.forecast is not None
    last = question.forecast.weeks[-1].name
    what = f"{quantity(held, 'instance')} ({'today' if question.instances is not None else 'planned'})"
    if cross.plan is None and cross.earliest is None:
        return f"{what} carry the forecast to its end, {last}"
    if limit is not None and question.forecast.weeks[0].peak.point <= limit.rate < question.forecast.highest.peak.point:
        what += f" and {limit.name}"
    draws = f"{format_ratio(cross.share)} of the draws"
    if cross.plan is None:
        return (
            f"{what} carry the forecast to its end, {last}, at the low end of the capacity; over all inputs, the"
            f" forecast exceeds that from {_week(cross.earliest, last)} on ({draws} within the forecast)"
        )
    return (
        f"the forecast exceeds what {what} carry in {cross.plan.name}, at the low end of the capacity; over all inputs,"
        f" {_week(cross.earliest, last)} to {_week(cross.latest, last)} ({draws} within the forecast)"
    )


def _week(week: Week | None, last: str) -> str:
    return f"after {last}" if week is None else week.name


def _tables(question: Question, found: Sizing) -> Iterator[Table]:
    rows = []
    for name, of, text, source in _inputs(question):
        move = next((one for one in found.moves if one.name == name), None)
        moved = "" if move is None else f"{move.low:,} to {move.high:,}"
        rows.append((name, source, text(of.low), text(of.point), text(of.high), moved))
    yield Table(
        "Inputs",
        ("input", "from", "low", "point", "high", "instances, it alone"),
        tuple(rows),
        words=2,
        note=f"Low and high are the ends of a 95 % range{_level_text(question.inputs.capacity)}."
        " The last column has the instances with this input at its low"
        " and at its high, and all others at their points.",
    )
    if found.inputs.limits:
        yield Table(
            "Limits of dependencies",
            ("dependency", "limit", "of the planned peak"),
            tuple(
                (name, format_rate(limit.low), format_ratio(limit.low / found.demand))
                for name, limit in sorted(found.inputs.limits.items(), key=lambda item: item[1].low)
            ),
        )


def _inputs(question: Question) -> Iterator[tuple[str, Range, Any, str]]:
    inputs = question.inputs
    of_forecast = question.forecast.source if question.forecast else "--peak"
    yield "peak", inputs.peak, format_rate, of_forecast
    if question.forecast is None:
        yield "growth", inputs.growth, _percent, "--growth"
    yield "headroom", inputs.headroom, _number, "--headroom"
    yield "capacity", inputs.capacity, format_rate, question.capacity_source
    if inputs.price is not None:
        source = "--price" if question.price is None else f"prices of {question.price.as_of or 'an unknown day'}"
        yield "price", inputs.price, lambda value: f"{value:.4g} {question.currency}", source


def _drawings(question: Question, found: Sizing, held: int) -> Iterator[Drawing]:
    texts = {name: (text(of.low), text(of.high)) for name, of, text, _ in _inputs(question)}
    bars = [Bar(one.name, one.at_low, one.at_high, *texts[one.name]) for one in found.moves if one.name in texts]
    inputs = found.inputs
    centre = found.demand * inputs.headroom.point / inputs.capacity.point
    title = "What moves the answer most"
    if html := tornado(title, bars, centre, "instances"):
        words = "; ".join(f"{bar.name}: {bar.at_low:.1f} to {bar.at_high:.1f}" for bar in bars)
        text = f"Instances before rounding and without a lost zone, with one input at its low and high. {words}."
        yield Drawing(title, html, text)
    if question.forecast is not None:
        yield _forecast_drawing(question, question.forecast, held)


def _forecast_drawing(question: Question, forecast: Forecast, held: int) -> Drawing:
    weeks, carries = forecast.weeks, _carries(question.inputs, held)
    capacity = question.inputs.capacity
    low, point, high = (float(carries(np.array([one]))[0]) for one in (capacity.low, capacity.point, capacity.high))
    first = weeks[0].monday
    at = [(week.monday - first).days / 7 for week in weeks]
    step = max(1, -(-len(weeks) // _PLACES))
    places = tuple((at[n], weeks[n].name) for n in range(0, len(weeks), step))
    marks: list[Mark] = [
        Band(
            "forecast, 95 % range",
            [(x, week.peak.low, week.peak.high) for x, week in zip(at, weeks, strict=True)],
            style=1,
        ),
        Line("forecast", [(x, week.peak.point) for x, week in zip(at, weeks, strict=True)], style=1),
        Rule(f"carried by {quantity(held, 'instance')}", point, low, high, is_horizontal=True, style=3),
    ]
    title = "Forecast against capacity"
    html = xy_chart(title, marks, x=Axis("week", places=places), y=Axis("peak, 1/s", low=0.0))
    text = (
        f"The peak of each week with its 95 % range, from {format_rate(weeks[0].peak.point)} in {weeks[0].name} to"
        f" {format_rate(weeks[-1].peak.point)} in {weeks[-1].name}. {quantity(held, 'instance')} carry"
        f" {format_rate(low)} to {format_rate(high)} with headroom"
        f"{' after the loss of a zone' if (question.inputs.zones or 0) > 1 else ''}."
    )
    return Drawing(title, html, text)


def _facts(question: Question, found: Sizing, held: int, cross: Crossing | None) -> dict[str, Any]:
    inputs, cost = found.inputs, found.cost
    return {
        "demand": found.demand,
        "need": found.need,
        "zones": inputs.zones,
        "instances": found.total,
        "instances_low": found.range[0],
        "instances_middle": found.range[1],
        "instances_high": found.range[2],
        "left_after_zone_loss": found.left if (inputs.zones or 0) > 1 else None,
        "carries_share": found.carries,
        "draws": question.draws,
        "seed": question.seed,
        "inputs": {
            "peak": _as_dict(inputs.peak),
            "growth": _as_dict(inputs.growth),
            "headroom": _as_dict(inputs.headroom),
            "capacity": _as_dict(inputs.capacity) | {"source": question.capacity_source},
            "price": _as_dict(inputs.price) if inputs.price else None,
        },
        "moves": [
            {"input": one.name, "at_low": one.at_low, "at_high": one.at_high, "low": one.low, "high": one.high}
            for one in found.moves
        ],
        "limits": {name: _as_dict(limit) for name, limit in inputs.limits.items()},
        "limit": None
        if found.limit is None
        else {
            "name": found.limit.name,
            "rate": found.limit.rate,
            "instances": found.limit.instances,
            "is_below_peak": found.limit.is_below_peak,
        },
        "cost": None
        if cost is None
        else {
            "currency": question.currency,
            "month": _as_dict(cost.month),
            "per_1000": _as_dict(cost.per_1000),
            "rate": cost.rate,
            "is_at_peak": cost.is_at_peak,
        },
        "crossing": None
        if cross is None
        else {
            "instances": held,
            "plan": cross.plan and cross.plan.name,
            "earliest": cross.earliest and cross.earliest.name,
            "middle": cross.middle and cross.middle.name,
            "latest": cross.latest and cross.latest.name,
            "share_of_draws": cross.share,
        },
        "forecast": None
        if question.forecast is None
        else [{"week": week.name} | _as_dict(week.peak) for week in question.forecast.weeks],
    }


def _rows(question: Question, found: Sizing) -> Iterator[dict[str, str | float | None]]:
    """Yield a row for the answer, for each input, and for each week of a forecast."""
    total = (found.range[0], found.total, found.range[2])
    yield _row("answer", "instances", total, "")
    yield _row("answer", "instances without the loss of a zone", (None, found.need, None), "")
    if found.cost is not None:
        for name, of in (("cost of a month", found.cost.month), ("cost of 1,000 requests", found.cost.per_1000)):
            yield _row("answer", name, (of.low, of.point, of.high), question.currency)
    for name, of, _, _ in _inputs(question):
        yield _row("input", name, (of.low, of.point, of.high), "1/s" if name.startswith(("peak", "capacity")) else "")
    for name, of in found.inputs.limits.items():
        yield _row("limit", name, (of.low, of.point, of.high), "1/s")
    for week in question.forecast.weeks if question.forecast else ():
        yield _row("forecast", week.name, (week.peak.low, week.peak.point, week.peak.high), "1/s")


def _row(kind: str, name: str, of: Sequence[float | None], unit: str) -> dict[str, str | float | None]:
    return {"kind": kind, "name": name, "low": of[0], "point": of[1], "high": of[2], "unit": unit}


def _level_text(capacity: Range) -> str:
    return "" if capacity.level == 0.95 else f", of the capacity those of its {format_ratio(capacity.level)} interval"


def _has_ranges(inputs: Inputs) -> bool:
    return not all(of.is_exact for of in (inputs.peak, inputs.growth, inputs.headroom, inputs.capacity))


def _as_dict(of: Range) -> dict[str, Any]:
    return {"low": of.low, "point": of.point, "high": of.high, "level": of.level}


def _percent(share: float) -> str:
    return f"{share * 100:+.4g} %"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _money(of: Range, currency: str) -> str:
    digits = 2 if of.point >= 1 else 6
    if of.is_exact:
        return f"{of.point:,.{digits}f} {currency}"
    return f"{of.point:,.{digits}f} {currency} ({of.low:,.{digits}f} to {of.high:,.{digits}f})"
