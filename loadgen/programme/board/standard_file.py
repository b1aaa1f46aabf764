"""Reads the house standard, its exceptions, and facts about journeys from `programme.toml`.

    [standard]
    objective = true          # each journey has an objective in a load test, and a promise in production
    owner = true
    runs = 3                  # valid runs a week
    gate_days = 7             # the newest PASS or FAIL of the gate is at most so old
    capacity_days = 90
    headroom = 1.25           # least capacity, as a multiple of the forecast
    review = true             # not checked yet: it needs reviews of scenarios

    [[standard.exceptions]]
    journey = "refund"
    rule = "capacity"
    because = "the sandbox of the bank allows 5/s"
    by = "maria"
    until = 2026-12-31        # its last day

    [journeys.checkout]
    team = "payments"
    product = "shop"
    owner = "payments@shop.example"
    scenario = "shop.py:peak"
    endpoints = ["POST /checkout"]
    value = "12.40 EUR"       # of one request (money_file.py)

`false` or 0 switches a rule off. Without a key, the values above hold, except `headroom` and `review`, which are off.
All errors are reported at once with their lines, also those of the other keys of journeys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, get_args

from loadgen.errors import Fault, ScenarioError
from loadgen.outside_text import one_line
from loadgen.programme.board.facts import JourneyTable
from loadgen.programme.money_file import Money, read_money
from loadgen.programme.programme_toml import (
    JOURNEY_KEYS,
    ProgrammeToml,
    end_of,
    read_programme_toml,
    shown_value,
    unknown_keys,
)
from loadgen.programme.recommending.facts import JourneyFacts
from loadgen.programme.recommending.programme_file import read_programme
from loadgen.similar_names import did_you_mean

__all__ = ["RULES", "Rule", "RuleException", "Standard", "StandardFile", "read_standard"]

Rule = Literal["owner", "objective", "runs", "gate", "capacity", "headroom", "review"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
_EXCEPTION: Final = "write journey, rule, because, by, and until = 2026-12-31 below [[standard.exceptions]]"
_HEADER: Final = re.compile(r"\s*\[\[\s*standard\s*\.\s*exceptions\s*\]\]")
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Standard:
    """The house standard. 0 or False: the rule is off."""

    objective: bool = True
    owner: bool = True
    runs: int = 3
    gate_days: int = 7
    capacity_days: int = 90
    headroom: float = 0.0
    review: bool = False


@dataclass(frozen=True, slots=True)
class RuleException:
    """A journey that may break a rule until the end of a day, with the reason and the person who allowed it."""

    journey: str
    rule: Rule
    because: str
    by: str
    until: datetime

    def holds_at(self, when: datetime) -> bool:
        """Return whether the exception has not ended."""
        return when <= self.until


@dataclass(frozen=True, slots=True)
class StandardFile:
    """What the file says. An empty one: the default standard, and no facts. path: None without a file."""

    standard: Standard = field(default_factory=Standard)
    exceptions: tuple[RuleException, ...] = ()
    journeys: Mapping[str, JourneyTable] = field(default_factory=dict)
    path: Path | None = None


def read_standard(path: Path) -> StandardFile:
    """Return the content of the file.

    Raises:
        ScenarioError: with all errors of the file and their lines, also those of `[decide]`.
    """
    document, faults = read_programme_toml(path)
    reading = _Reading(document)
    facts: Mapping[str, JourneyFacts] = {}
    worth: Mapping[str, Money] = {}
    try:
        facts = read_programme(path).journeys
    except ScenarioError as error:
        faults += error.faults
    try:
        worth = read_money(path)
    except ScenarioError as error:
        faults += error.faults
    found = reading.file(facts, worth)
    if faults or reading.faults:
        raise ScenarioError([*faults, *reading.faults])
    return found


class _Reading:
    """Reads one file and collects its errors."""

    def __init__(self, document: ProgrammeToml) -> None:
        self._document = document
        self.faults: list[Fault] = []
        self._lines = [n for n, line in enumerate(_text(document.path).splitlines(), 1) if _HEADER.match(line)]

    def file(self, facts: Mapping[str, JourneyFacts], worth: Mapping[str, Money]) -> StandardFile:
        content = self._document.content
        table = self._table(("standard",), content.get("standard", {}))
        journeys = self._table(("journeys",), content.get("journeys", {}))
        return StandardFile(
            self._standard(table),
            self._exceptions(table.get("exceptions", [])),
            {name: self._journey(name, of, facts.get(name), worth.get(name, Money())) for name, of in journeys.items()},
            self._document.path,
        )

    def _standard(self, table: Mapping[str, Any]) -> Standard:
        at, usual = ("standard",), Standard()
        known = [one.name for one in fields(Standard)]
        self.faults += unknown_keys(self._document, at, table, [*known, "exceptions"])
        return Standard(
            self._switch("objective", table, usual.objective),
            self._switch("owner", table, usual.owner),
            self._whole("runs", table, usual.runs, 1_000),
            self._whole("gate_days", table, usual.gate_days, 3_650),
            self._whole("capacity_days", table, usual.capacity_days, 3_650),
            self._headroom(table),
            self._switch("review", table, usual.review),
        )

    def _switch(self, key: str, table: Mapping[str, Any], usual: bool) -> bool:
        given = table.get(key, usual)
        if not isinstance(given, bool):
            self._add(("standard", key), f"invalid {key} {shown_value(given)}", f"write {key} = true, or {key} = false")
            return usual
        return given

    def _whole(self, key: str, table: Mapping[str, Any], usual: int, most: int) -> int:
        given = table.get(key, usual)
        if given is False:
            return 0
        if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= most:
            text = f"invalid {key} {shown_value(given)}: must be a whole number, 0 to {most}"
            self._add(("standard", key), text, f"write {key} = {usual}; 0 switches the rule off")
            return usual
        return given

    def _headroom(self, table: Mapping[str, Any]) -> float:
        given = table.get("headroom", 0)
        if given is False or (_is_number(given) and given == 0):
            return 0.0
        if not _is_number(given) or not isfinite(given) or not 1 <= given <= 100:
            text = f"invalid headroom {shown_value(given)}: must be 1 to 100"
            self._add(("standard", "headroom"), text, "write headroom = 1.25; 0 switches the rule off")
            return 0.0
        return float(given)

    def _exceptions(self, given: Any) -> tuple[RuleException, ...]:
        if not isinstance(given, list):
            self._add(("standard", "exceptions"), "standard.exceptions is not a list of tables", _EXCEPTION)
            return ()
        found = (self._exception(n, one) for n, one in enumerate(given))
        return tuple(one for one in found if one is not None)

    def _exception(self, n: int, given: Any) -> RuleException | None:
        line = self._lines[n] if n < len(self._lines) else self._document.line_of(("standard", "exceptions"))
        before = len(self.faults)

        def add(message: str, hint: str = _EXCEPTION) -> None:
            self.faults.append(Fault(one_line(str(self._document.path), 200), line, message, hint))

        if not isinstance(given, Mapping):
            add(f"exception {n + 1} is not a table")
            return None
        keys = ("journey", "rule", "because", "by", "until")
        for key in given.keys() - set(keys):
            add(f'exception {n + 1}: unknown key "{one_line(key, 80)}"', did_you_mean(key, keys) or _EXCEPTION)
        texts = {}
        for key in keys[:-1]:
            text = given.get(key)
            if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
                add(f"exception {n + 1}: {key} is missing, empty, not a text, or longer than {_LONGEST} characters")
            else:
                texts[key] = text.strip()
        rule = next((one for one in RULES if one == texts.get("rule")), None)
        if "rule" in texts and rule is None:
            hint = did_you_mean(texts["rule"], RULES) or f"use {', '.join(RULES)}"
            add(f'exception {n + 1}: unknown rule "{one_line(texts["rule"], 80)}"', hint)
        until = given.get("until")
        if not isinstance(until, date):
            add(f"exception {n + 1}: until must be a date", "an exception has an end: write until = 2026-12-31")
        if len(self.faults) > before or rule is None or not isinstance(until, date):
            return None
        return RuleException(texts["journey"], rule, texts["because"], texts["by"], end_of(until))

    def _journey(self, name: str, given: Any, facts: JourneyFacts | None, money: Money) -> JourneyTable:
        at = ("journeys", name)
        table = self._table(at, given)
        self.faults += unknown_keys(self._document, at, table, JOURNEY_KEYS)
        texts = {key: self._text((*at, key), table) for key in ("team", "product", "owner", "scenario")}
        facts = facts or JourneyFacts()
        return JourneyTable(
            texts["team"],
            texts["product"],
            texts["owner"],
            texts["scenario"],
            self._endpoints((*at, "endpoints"), table.get("endpoints", [])),
            money.value,
            money.currency,
            facts.is_live,
            facts.plan,
            None if facts.forecast is None else facts.forecast.high,
            None if facts.forecast is None else facts.forecast.until,
            bool(texts["scenario"]) and _has_file(self._document.path.parent, texts["scenario"]),
        )

    def _text(self, at: tuple[str, ...], table: Mapping[str, Any]) -> str:
        given = table.get(at[-1], "")
        if not isinstance(given, str) or len(given) > _LONGEST or not given.isprintable():
            self._add(
                at, f"invalid {at[-1]} {shown_value(given)}: must be a text of one line", f'write {at[-1]} = "..."'
            )
            return ""
        return given.strip()

    def _endpoints(self, at: tuple[str, ...], given: Any) -> tuple[str, ...]:
        from loadgen.traffic.coverage.endpoints import endpoint_of_name

        hint = 'write endpoints = ["POST /checkout", "GET /orders/{id}"]'
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self._add(at, "endpoints is not a list of texts", hint)
            return ()
        for one in given:
            if endpoint_of_name(one) is None:
                self._add(at, f"{shown_value(one)} is not an endpoint: it needs a method and a path", hint)
        return tuple(given)

    def _table(self, at: tuple[str, ...], given: Any) -> Mapping[str, Any]:
        if isinstance(given, Mapping):
            return given
        name = one_line(".".join(at), 80)
        self._add(at, f"{name} is not a table", f"write [{name}]")
        return {}

    def _add(self, at: tuple[str, ...], message: str, hint: str) -> None:
        self.faults.append(self._document.fault(at, message, hint))


def _text(path: Path) -> str:
    return path.read_text("utf-8-sig", "replace")


def _has_file(folder: Path, scenario: str) -> bool:
    file = scenario.partition(":")[0]
    try:
        return (folder / file).is_file()
    except (OSError, ValueError):
        return False


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)
