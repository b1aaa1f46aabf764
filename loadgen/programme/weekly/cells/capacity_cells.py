"""The cell "headroom": the newest capacity over the forecast of a journey. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import floor, isfinite
from typing import Any, Final

from loadgen.history.store.study_records import StudyRecord
from loadgen.outside_text import one_line
from loadgen.programme.recommending.facts import Forecast, JourneyFacts, time_of
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.gather import Gathered
from loadgen.programme.weekly.page_values import NOTHING, Shown, Tone
from loadgen.units import format_rate, quantity

__all__ = ["Capacity", "capacities_of", "headroom_cell", "headroom_floor"]

_OLD: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Capacity:
    """One measured capacity, 1/s, with its interval. id: of the study, such as "C-1". at: Unix time, s."""

    id: str
    at: int
    rate: float
    low: float
    high: float
    release: str = ""
    run_ids: tuple[str, ...] = ()


def capacities_of(gathered: Gathered, journey: str) -> tuple[Capacity, ...]:
    """Return the capacities of the plan of a journey, oldest first. Without a plan, the only one that was measured."""
    plan = gathered.programme.journeys.get(journey, JourneyFacts()).plan
    plans = {_plan_of(one) for one in gathered.studies}
    if not plan and len(plans) > 1:
        return ()
    found = (
        _capacity(one)
        for one in gathered.studies
        if not plan or _plan_of(one) == plan or _plan_of(one).endswith(f"/{plan}")
    )
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.at))


def headroom_floor(gathered: Gathered) -> float:
    """Return the least headroom of the programme, such as 1.25."""
    return gathered.programme.rules.headroom


def headroom_cell(gathered: Gathered, journey: str, book: EvidenceBook) -> Shown:
    """Return how many times the forecast the newest capacity is: from low / high forecast to high / low forecast."""
    forecast: Forecast | None = gathered.programme.journeys.get(journey, JourneyFacts()).forecast
    capacities = capacities_of(gathered, journey)
    if forecast is None:
        return Shown("no forecast") if capacities and journey in gathered.programme.journeys else NOTHING
    if not capacities:
        return Shown("no capacity measured", "open")
    last = capacities[-1]
    least, most = last.low / forecast.high, last.high / forecast.low
    policy = headroom_floor(gathered)
    tone: Tone = "bad" if most < policy else "good" if least >= policy else "open"
    text = f"{floor(100 * least + 1e-9) / 100:.2f} to {floor(100 * most + 1e-9) / 100:.2f} ×"
    age = timedelta(seconds=gathered.at - last.at)
    if age > gathered.programme.rules.ages.get("headroom", _OLD):
        text, tone = f"{text}, {quantity(age.days, 'day')} old", "open" if tone == "good" else tone
    if forecast.until.timestamp() < gathered.at:
        return Shown(f"the forecast ended on {forecast.until:%Y-%m-%d}", "open")
    says = f"{journey}: capacity {format_rate(last.low)} to {format_rate(last.high)} against a forecast of"
    says += f" {format_rate(forecast.low)} to {format_rate(forecast.high)}; at least {policy:g} times is needed"
    id_ = book.add(
        "study",
        f"capacity {format_rate(last.low)} to {format_rate(last.high)}"
        + (f" of {one_line(last.release, 60)}" if last.release else ""),
        "headroom = lower capacity / upper forecast to upper capacity / lower forecast",
        (
            ("capacity, low", f"{last.low:g}/s"),
            ("capacity, high", f"{last.high:g}/s"),
            ("release", one_line(last.release, 60)),
        ),
        run_ids=last.run_ids,
        see="loadgen capacity find",
        id_=last.id,
    )
    facts = book.add(
        "facts",
        says,
        f"{last.low:g} / {forecast.high:g} = {least:.3f} to {last.high:g} / {forecast.low:g} = {most:.3f}",
        (
            ("forecast, low", f"{forecast.low:g}/s"),
            ("forecast, high", f"{forecast.high:g}/s"),
            ("until", f"{forecast.until:%Y-%m-%d}"),
            ("headroom that is needed", f"{policy:g}"),
            ("file", "programme.toml"),
        ),
    )
    return Shown(text, tone, round(least, 4), round(least, 4), round(most, 4), "times", evidence=(id_, facts))


def _capacity(study: StudyRecord) -> Capacity | None:
    facts = _facts(study)
    low, high = (_positive(facts.get(name)) for name in ("low_per_s", "high_per_s"))
    if low is None or high is None or low > high or facts.get("is_confirmed") is False:
        return None
    rate = _positive(facts.get("rate_per_s")) or (low * high) ** 0.5
    runs = study.study.get("run_ids")
    ids = tuple(str(one) for one in runs) if isinstance(runs, list) else ()
    at = int(time_of(study.at).timestamp())
    return Capacity(study.id, at, rate, low, high, str(facts.get("release") or ""), ids)


def _facts(study: StudyRecord) -> Mapping[str, Any]:
    facts = study.study.get("facts")
    return facts if isinstance(facts, Mapping) else {}


def _plan_of(study: StudyRecord) -> str:
    facts = _facts(study)
    return f"{facts.get('scenario', '')}:{facts.get('plan', '')}"


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if isfinite(number) and number > 0 else None
