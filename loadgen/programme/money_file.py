"""Reads what journeys are worth from `programme.toml`: prices never stand in a scenario, and never go to an agent.

    [journeys.checkout]
    value = "12.40 EUR"             # of one purchase; or value = 12.40 and currency = "EUR"
    volume = "ledger"               # purchases a week: counted by the ledger (default), or a number
    purchase = "order"              # journeys with the same text are parts of one purchase, and are never added
    elasticity = {per = "100ms", change = "-0.7 %", low = "-1.1 %", high = "-0.3 %", tested = "200ms",
                  source = "own A/B test, 2026-05", kind = "measured"}
    abandoned = {share = "30%", low = "20%", high = "50%", source = "survey, 2026-03"}

`change` is what happens to purchases for each `per` of additional response time. kind: "measured" (also "own") with
these customers, or "published" by others, which gives a scenario only. per_ms and tested_ms may be given in ms as
numbers. abandoned: the share of users who give up after a failure.

All errors are reported at once, with their lines. A price of 0 is an error: it would hide the journey.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

from loadgen.analysis.recommending.impact import Elasticity, Span
from loadgen.errors import Fault, ScenarioError
from loadgen.outside_text import one_line
from loadgen.programme.programme_toml import ProgrammeToml, read_programme_toml, shown_value, unknown_keys
from loadgen.units import parse_duration

__all__ = ["Abandoned", "Money", "read_money"]

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_VALUE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]{1,10})?\s*")
_PERCENT: Final = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*%\s*")
_ELASTICITY: Final = (
    'write elasticity = {per = "100ms", change = "-0.7 %", low = "-1.1 %", high = "-0.3 %", source = "..."}'
)
_ABANDONED: Final = 'write abandoned = {share = "30%", low = "20%", high = "50%", source = "..."}'
_KINDS: Final[Mapping[str, Literal["measured", "published"]]] = {
    "measured": "measured",
    "own": "measured",
    "published": "published",
}
_MOST_VALUE: Final = 1e9
_MOST_VOLUME: Final = 1e12


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The share of users who give up after a failure, 0 to 1, with its range."""

    share: Span
    source: str


@dataclass(frozen=True, slots=True)
class Money:
    """What a journey is worth. value: of one purchase in `currency`; None: not given, and nothing is in money.

    volume: purchases a week; None: counted by the ledger.
    """

    value: float | None = None
    currency: str = ""
    volume: float | None = None
    purchase: str = ""
    elasticity: Elasticity | None = None
    abandoned: Abandoned | None = None


def read_money(path: Path) -> Mapping[str, Money]:
    """Return what each journey of the file is worth; journeys without any of these keys have an empty `Money`.

    Raises:
        ScenarioError: with all errors of these keys and their lines, or the file cannot be read.
    """
    document, _ = read_programme_toml(path)  # unknown tables and keys are reported by the reader of `[decide]`
    tables = document.content.get("journeys", {})
    reading = _Reading(document)
    found = {
        name: reading.money(("journeys", name), table)
        for name, table in (tables.items() if isinstance(tables, Mapping) else ())
        if isinstance(table, Mapping)
    }
    if reading.faults:
        raise ScenarioError(reading.faults)
    return found


class _Reading:
    """Reads the tables of one file and collects their errors."""

    def __init__(self, document: ProgrammeToml) -> None:
        self._document = document
        self.faults: list[Fault] = []

    def money(self, at: tuple[str, ...], table: Mapping[str, Any]) -> Money:
        value, currency = self._value(at, table)
        purchase = table.get("purchase", "")
        if not isinstance(purchase, str):
            self._add((*at, "purchase"), f"invalid purchase {shown_value(purchase)}", 'write purchase = "order"')
            purchase = ""
        return Money(
            value,
            currency,
            self._volume((*at, "volume"), table.get("volume", "ledger")),
            one_line(purchase.strip(), 80),
            self._elasticity((*at, "elasticity"), table.get("elasticity")),
            self._abandoned((*at, "abandoned"), table.get("abandoned")),
        )

    def _value(self, at: tuple[str, ...], table: Mapping[str, Any]) -> tuple[float | None, str]:
        given, currency = table.get("value"), table.get("currency", "")
        if not isinstance(currency, str) or (currency and not _CURRENCY.fullmatch(currency)):
            message = f"invalid currency {shown_value(currency)}: must be three capital letters"
            self._add((*at, "currency"), message, 'write currency = "EUR"')
            return None, ""
        if given is None:
            if currency:
                self._add((*at, "currency"), "a currency without a value", 'write value = "12.40 EUR"')
            return None, ""
        amount, named = _number(given), ""
        if isinstance(given, str) and (match := _VALUE.fullmatch(given)):
            amount, named = float(match[1]), match[2] or ""
        if amount is None or not 0 < amount <= _MOST_VALUE:
            message = f"invalid value {shown_value(given)}: must be above 0"
            self._add((*at, "value"), message, 'write value = "12.40 EUR", or leave it out')
            return None, ""
        if named and not _CURRENCY.fullmatch(named):
            self._add((*at, "value"), f'invalid currency "{one_line(named, 20)}"', 'write value = "12.40 EUR"')
            return None, ""
        if named and currency and named != currency:
            message = f"the value is in {named}, and currency is {currency}: nothing is converted"
            self._add((*at, "currency"), message, "give one of them")
        if not named and not currency:
            self._add((*at, "value"), "the value has no currency", 'write value = "12.40 EUR"')
            return None, ""
        return amount, named or currency

    def _volume(self, at: tuple[str, ...], given: Any) -> float | None:
        if given == "ledger":
            return None
        number = _number(given)
        if number is None or not 0 < number <= _MOST_VOLUME:
            message = f"invalid volume {shown_value(given)}: must be purchases a week, above 0"
            self._add(at, message, 'write volume = "ledger", or volume = 41200')
            return None
        return number

    def _elasticity(self, at: tuple[str, ...], given: Any) -> Elasticity | None:
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self._add(at, f"invalid elasticity {shown_value(given)}", _ELASTICITY)
            return None
        before = len(self.faults)
        known = ("per", "per_ms", "change", "low", "high", "tested", "tested_ms", "source", "kind")
        self.faults += unknown_keys(self._document, at, given, known)
        per = self._ms(at, given, "per", "per_ms", is_needed=True)
        tested = self._ms(at, given, "tested", "tested_ms", is_needed=False)
        change = self._span(at, given, "change", _ELASTICITY, -1.0, 1.0)
        kind = given.get("kind", "measured")
        if not isinstance(kind, str) or kind not in _KINDS:
            hint = 'write kind = "measured", or "published" for a study of others'
            self._add((*at, "kind"), f"unknown kind {shown_value(kind)}", hint)
        source = self._source(at, given, _ELASTICITY)
        if len(self.faults) > before or per is None or change is None:
            return None
        return Elasticity(per, change, source, _KINDS[kind], tested)

    def _abandoned(self, at: tuple[str, ...], given: Any) -> Abandoned | None:
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self._add(at, f"invalid abandoned {shown_value(given)}", _ABANDONED)
            return None
        before = len(self.faults)
        self.faults += unknown_keys(self._document, at, given, ("share", "low", "high", "source"))
        share = self._span(at, given, "share", _ABANDONED, 0.0, 1.0)
        source = self._source(at, given, _ABANDONED)
        return None if len(self.faults) > before or share is None else Abandoned(share, source)

    def _source(self, at: tuple[str, ...], given: Mapping[str, Any], hint: str) -> str:
        source = given.get("source")
        if not isinstance(source, str) or not source.strip():
            self._add(at, f"{at[-1]} has no source: who found it, and when", hint)
            return ""
        return one_line(source.strip(), 200)

    def _ms(
        self, at: tuple[str, ...], given: Mapping[str, Any], text_key: str, number_key: str, *, is_needed: bool
    ) -> float | None:
        """Return a time in ms from a text such as "100ms", or from a number of ms."""
        if text_key in given and number_key in given:
            self._add((*at, number_key), f"{text_key} and {number_key} exclude each other", "give one of them")
            return None
        key = text_key if text_key in given else number_key
        if key not in given:
            if is_needed:
                self._add(at, "elasticity has no per: for how much additional time it holds", _ELASTICITY)
            return None
        value = given[key]
        found: float | None = _number(value) if key == number_key else None
        if key == text_key and isinstance(value, str):
            try:
                found = parse_duration(value) / 1e6
            except ValueError:
                found = None
        if found is None or not 0 < found <= 3.6e6:
            self._add((*at, key), f"invalid {key} {shown_value(value)}: must be above 0 and at most 1 h", _ELASTICITY)
            return None
        return found

    def _span(
        self, at: tuple[str, ...], given: Mapping[str, Any], key: str, hint: str, least: float, most: float
    ) -> Span | None:
        """Return the shares `key`, "low" and "high"; without `key`, the middle of the others."""
        ends: dict[str, float] = {}
        for name in (key, "low", "high"):
            if name not in given:
                continue
            share = _share(given[name])
            if share is None or not least <= share <= most:
                allowed = f"from {least * 100:g} % to {most * 100:g} %"
                self._add((*at, name), f"invalid {name} {shown_value(given[name])}: must be {allowed}", hint)
                return None
            ends[name] = share
        if absent := [name for name in ("low", "high") if name not in ends]:
            self._add(at, f"{at[-1]} has no {' and no '.join(absent)}: a figure without its range says too much", hint)
            return None
        low, high = ends["low"], ends["high"]
        point = ends.get(key, (low + high) / 2)
        if not low <= point <= high:
            self._add(at, f"{at[-1]}: low must be at most {key}, and high at least {key}", hint)
            return None
        return Span(point, low, high)

    def _add(self, at: tuple[str, ...], message: str, hint: str) -> None:
        self.faults.append(self._document.fault(at, message, hint))


def _share(given: Any) -> float | None:
    """Return a share from -0.007 or "-0.7 %"; None if it is neither."""
    if isinstance(given, str) and (match := _PERCENT.fullmatch(given)):
        return float(Decimal(match[1]) / 100)
    return _number(given)


def _number(given: Any) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        number = float(given)
    except OverflowError:
        return None
    return number if isfinite(number) else None
