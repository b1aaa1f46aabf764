"""Reads what `loadgen decide` needs from `programme.toml`: facts about journeys, and thresholds.

    [decide]
    runs = 3                        # least runs that pass their objectives
    detectable = "5%"               # a PASS of the gate counts only if it would have found this slow-down
    slower = "10%"                  # how much slower than the pinned release
    headroom = 1.25                 # least capacity, as a multiple of the forecast
    budget_left = "0%"              # least error budget that a kept promise must have left
    capacity_days = 90              # how old a capacity may be
    controls_days = 21              # how old the newest A/A control may be

    [journeys.checkout]
    live = true                     # users use it; false: it has no promise yet
    plan = "shop.py:peak"           # whose capacity counts
    forecast = {low = "300/s", high = "360/s", until = 2026-12-31}

All errors of the file are reported at once, with their lines. An unknown key is an error: a threshold with a typing
error must not be ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import isfinite
from pathlib import Path
from typing import Any, Final

from loadgen.errors import Fault, ScenarioError
from loadgen.outside_text import one_line
from loadgen.programme.programme_toml import (
    FILE_NAME,
    JOURNEY_KEYS,
    ProgrammeToml,
    end_of,
    read_programme_toml,
    shown_value,
    unknown_keys,
)
from loadgen.programme.recommending.facts import Forecast, JourneyFacts, Rules
from loadgen.units import parse_rate, parse_ratio

__all__ = ["FILE_NAME", "Programme", "read_programme"]

_MOST_JOURNEYS: Final = 1_000
_FORECAST: Final = 'write forecast = {low = "300/s", high = "360/s", until = 2026-12-31}'


@dataclass(frozen=True, slots=True)
class Programme:
    """What the file says. An empty one: no facts, and the default thresholds."""

    rules: Rules = field(default_factory=Rules)
    journeys: Mapping[str, JourneyFacts] = field(default_factory=dict)


def read_programme(path: Path) -> Programme:
    """Return the content of the file.

    Raises:
        ScenarioError: with all errors of the file and their lines.
    """
    document, faults = read_programme_toml(path)
    reading = _Reading(document, faults)
    programme = reading.programme(document.content)
    if reading.faults:
        raise ScenarioError(reading.faults)
    return programme


class _Reading:
    """Reads one file and collects its errors."""

    def __init__(self, document: ProgrammeToml, faults: list[Fault]) -> None:
        self._document, self.faults = document, faults

    def programme(self, content: Mapping[str, Any]) -> Programme:
        rules = self._rules(self._table(("decide",), content.get("decide", {})))
        tables = self._table(("journeys",), content.get("journeys", {}))
        if len(tables) > _MOST_JOURNEYS:
            self._add(("journeys",), f"{len(tables)} journeys, the limit is {_MOST_JOURNEYS}", "split the file")
            tables = {}
        journeys = {name: self._journey(("journeys", name), of) for name, of in tables.items()}
        return Programme(rules, journeys)

    def _rules(self, table: Mapping[str, Any]) -> Rules:
        at = ("decide",)
        self._check_keys(
            at, table, ("runs", "detectable", "slower", "headroom", "budget_left", "capacity_days", "controls_days")
        )
        usual = Rules()
        ages = {
            kind: timedelta(days=days)
            for kind, key in (("headroom", "capacity_days"), ("health", "controls_days"))
            if (days := self._number((*at, key), table, 0.0, lambda of: 0 < of <= 3_650, "1 to 3650 days"))
        }
        return Rules(
            int(
                self._number(
                    (*at, "runs"),
                    table,
                    usual.least_runs,
                    lambda of: 1 <= of <= 1_000 and of == int(of),
                    "a whole number from 1 on",
                )
            ),
            self._share((*at, "detectable"), table, usual.detectable),
            self._share((*at, "slower"), table, usual.slower),
            self._number((*at, "headroom"), table, usual.headroom, lambda of: 1 <= of <= 100, "1 to 100"),
            ages,
            self._share((*at, "budget_left"), table, usual.budget_left, is_0_fine=True),
        )

    def _journey(self, at: tuple[str, ...], given: Any) -> JourneyFacts:
        table = self._table(at, given)
        self._check_keys(at, table, JOURNEY_KEYS)
        is_live, plan = table.get("live", True), table.get("plan", "")
        if not isinstance(is_live, bool):
            self._add((*at, "live"), f"invalid live {shown_value(is_live)}", "write live = true, or live = false")
            is_live = True
        if not isinstance(plan, str) or (plan and ":" not in plan):
            self._add((*at, "plan"), f"invalid plan {shown_value(plan)}", 'write plan = "shop.py:peak"')
            plan = ""
        return JourneyFacts(is_live, plan, self._forecast((*at, "forecast"), table.get("forecast")))

    def _forecast(self, at: tuple[str, ...], given: Any) -> Forecast | None:
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self._add(at, f"invalid forecast {shown_value(given)}", _FORECAST)
            return None
        self._check_keys(at, given, ("low", "high", "until"))
        low, high = (self._rate((*at, end), given.get(end)) for end in ("low", "high"))
        until = given.get("until")
        if not isinstance(until, date):
            self._add((*at, "until"), "the forecast needs the date until which it holds", _FORECAST)
            return None
        if low is None or high is None:
            return None
        if low > high:
            self._add(at, "the low end of the forecast is above its high end", _FORECAST)
            return None
        return Forecast(low, high, end_of(until))

    def _rate(self, at: tuple[str, ...], given: Any) -> float | None:
        if given is None:
            self._add(at, f"the forecast has no {at[-1]} end", _FORECAST)
            return None
        try:
            rate = parse_rate(given) if isinstance(given, str) else float(given) if _is_number(given) else 0.0
        except (ValueError, OverflowError):
            rate = 0.0
        if not (isfinite(rate) and rate > 0):
            self._add(at, f"invalid rate {shown_value(given)}: must be above 0", _FORECAST)
            return None
        return rate

    def _share(self, at: tuple[str, ...], table: Mapping[str, Any], usual: float, *, is_0_fine: bool = False) -> float:
        given = table.get(at[-1])
        if given is None:
            return usual
        try:
            share = parse_ratio(given) if isinstance(given, str) else float(given) if _is_number(given) else -1.0
        except (ValueError, OverflowError):
            share = -1.0
        if not (0 <= share <= 1 and (share or is_0_fine)):
            allowed = "from 0 % to 100 %" if is_0_fine else "above 0 % and at most 100 %"
            self._add(at, f"invalid {at[-1]} {shown_value(given)}: must be {allowed}", f'write {at[-1]} = "5%"')
            return usual
        return share

    def _number(
        self,
        at: tuple[str, ...],
        table: Mapping[str, Any],
        usual: float,
        is_fine: Callable[[float], bool],
        allowed: str,
    ) -> float:
        given = table.get(at[-1])
        if given is None:
            return usual
        if not _is_number(given) or not isfinite(given) or not is_fine(given):
            self._add(at, f"invalid {at[-1]} {shown_value(given)}: must be {allowed}", "docs/decide.md has an example")
            return usual
        return float(given)

    def _table(self, at: tuple[str, ...], given: Any) -> Mapping[str, Any]:
        if isinstance(given, Mapping):
            return given
        self._add(at, f"{one_line('.'.join(at), 80)} is not a table", f"write [{one_line('.'.join(at), 80)}]")
        return {}

    def _check_keys(self, at: tuple[str, ...], table: Mapping[str, Any], known: Sequence[str]) -> None:
        self.faults += unknown_keys(self._document, at, table, known)

    def _add(self, at: tuple[str, ...], message: str, hint: str) -> None:
        self.faults.append(self._document.fault(at, message, hint))


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)
