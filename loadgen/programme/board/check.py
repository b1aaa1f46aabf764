"""Judges the house standard: which journey breaks which rule, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from shlex import quote
from typing import Literal

from loadgen.outside_text import one_line
from loadgen.programme.board.coverage import BoardRow, Gap, is_stale
from loadgen.programme.board.facts import JourneyTable, Known
from loadgen.programme.board.standard_file import Rule, RuleException, Standard
from loadgen.similar_names import did_you_mean
from loadgen.units import format_rate, quantity

__all__ = ["Finding", "exceptions_without_journey", "findings_of"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a journey does not surely keep.

    state: "broken", "unknown" if the data do not say, or "excepted". command: what to do. exception: the one that
    holds, or the newest one that ended; None without any.
    """

    journey: str
    rule: Rule
    state: Literal["broken", "unknown", "excepted"]
    says: str
    command: str
    exception: RuleException | None = None


def findings_of(
    rows: Iterable[BoardRow], known: Known, standard: Standard, exceptions: Sequence[RuleException], when: datetime
) -> list[Finding]:
    """Return what breaks the standard, by journey, and by rule in the order of the rules."""
    return [_excepted(one, exceptions, when) for row in rows for one in _broken(row, known, standard, when)]


def exceptions_without_journey(exceptions: Iterable[RuleException], names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each exception of a journey that is not known."""
    for one in exceptions:
        if one.journey not in names:
            near = did_you_mean(one.journey, names)
            yield f"an exception names the unknown journey {one_line(one.journey, 80)}" + (f"; {near}" if near else "")


def _excepted(found: Finding, exceptions: Sequence[RuleException], when: datetime) -> Finding:
    ours = [one for one in exceptions if (one.journey, one.rule) == (found.journey, found.rule)]
    last = max(ours, key=lambda one: one.until, default=None)
    if last is None:
        return found
    return replace(found, state="excepted" if last.holds_at(when) else found.state, exception=last)


def _broken(row: BoardRow, known: Known, standard: Standard, when: datetime) -> Iterator[Finding]:
    name, table = row.journey, known.journeys.get(row.journey, JourneyTable())
    scenario = quote(row.scenario or table.plan) if row.scenario or table.plan else ""

    def of(rule: Rule, gap: Gap | None, command: str) -> Iterator[Finding]:
        if gap is not None:
            yield Finding(name, rule, "unknown" if gap.is_unknown else "broken", gap.says, command)

    if standard.owner:
        gap = row.lacks("owner")
        yield from of("owner", gap, f"write owner into [journeys.{name}] of programme.toml")
    if standard.objective:
        yield from of("objective", row.lacks("objective in test"), _test_command(row, scenario))
        yield from of("objective", row.lacks("objective in production"), _promise_command(row, when))
    if standard.runs and row.valid_runs < standard.runs:
        says = f"{quantity(row.valid_runs, 'valid run')} in 7 days, {standard.runs} are needed"
        command = f"loadgen run {scenario} && loadgen history add last" if scenario else f"loadgen new {quote(name)}"
        yield Finding(name, "runs", "broken", says, command)
    if standard.gate_days:
        command = f"loadgen gate {scenario} --runs 3" if scenario else f"loadgen new {quote(name)}"
        yield from of("gate", row.lacks("gate"), command)
    find = f"loadgen capacity find {quote(table.plan) if table.plan else scenario or 'FILE:PLAN'}"
    if standard.capacity_days:
        yield from of("capacity", row.lacks("capacity"), find)
    if standard.headroom:
        yield from _headroom(row, table, standard.headroom, find, when)


def _test_command(row: BoardRow, scenario: str) -> str:
    if not scenario:
        return f"loadgen new {quote(row.journey)}"
    if row.lacks("objective in test") is not None and row.last_run is None:
        return f"loadgen run {scenario} && loadgen history add last"
    return f'write slos=[p(95) < "300ms"] into the plan of {scenario}, then loadgen run {scenario}'


def _promise_command(row: BoardRow, when: datetime) -> str:
    judged = [one for one in row.promises if one.word != "not judged"]
    if judged and all(is_stale(one, when) for one in judged):
        return "loadgen slo pull"
    if row.promises and not judged:
        return "loadgen slo check"
    return f"loadgen slo new {quote(row.journey)} --journey {quote(row.journey)}"


def _headroom(row: BoardRow, table: JourneyTable, needed: float, find: str, when: datetime) -> Iterator[Finding]:
    """Yield the headroom if it is surely too small (broken), or not surely enough (unknown)."""
    name = row.journey
    forecast = f"write forecast into [journeys.{name}] of programme.toml"
    if table.forecast_high is None or table.forecast_until is None:
        yield Finding(name, "headroom", "unknown", "no forecast to compare the capacity with", forecast)
    elif table.forecast_until < when:
        says = f"the forecast ended on {table.forecast_until:%Y-%m-%d}"
        yield Finding(name, "headroom", "unknown", says, forecast)
    elif row.capacity is None or row.capacity.low is None or row.lacks("capacity") is not None:
        yield Finding(name, "headroom", "unknown", "no fresh capacity to compare with the forecast", find)
    elif (least := row.capacity.low / table.forecast_high) < needed:
        says = f"capacity of at least {format_rate(row.capacity.low)} is {least:.2f} times the forecast"
        yield Finding(name, "headroom", "broken", f"{says}, {needed:g} are needed", find)
