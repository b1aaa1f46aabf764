"""A board: the rows of all journeys, their weights, the trend by week, orphans, and what breaks the standard. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loadgen.programme.board.check import Finding, exceptions_without_journey, findings_of
from loadgen.programme.board.coverage import BoardRow, Limits, Weights, rows_at, weights_of
from loadgen.programme.board.facts import Known
from loadgen.programme.board.headline import Orphan, covered_share, headline_of, orphans_of, unknown_of
from loadgen.programme.board.standard_file import RuleException, Standard, StandardFile

__all__ = ["Board", "WeekState", "board_of", "last_weeks"]

_USUAL = Standard()


@dataclass(frozen=True, slots=True)
class WeekState:
    """The state at the end of an ISO week (UTC). share, value_share: covered, by today's weights; None: unknown."""

    week: str
    end: datetime
    share: float | None
    value_share: float | None
    covered: int
    journeys: int


@dataclass(frozen=True, slots=True)
class Board:
    """All that is shown. notes: what is unknown or was not checked. troubles: what could not be read."""

    now: datetime
    rows: tuple[BoardRow, ...]
    weights: Weights
    headline: str
    weeks: tuple[WeekState, ...]
    orphans: tuple[Orphan, ...]
    findings: tuple[Finding, ...]
    exceptions: tuple[RuleException, ...]
    standard: Standard
    limits: Limits
    notes: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    team: str = ""


def board_of(known: Known, file: StandardFile, weeks: int = 13, team: str = "") -> Board:
    """Return the board at `known.now`. Worst and largest journeys are first. team: only its journeys; "": all."""
    standard, when = file.standard, known.now
    # A rule that is off does not make a state: the usual limits hold.
    limits = Limits(standard.gate_days or _USUAL.gate_days, standard.capacity_days or _USUAL.capacity_days)
    names = known.names
    if team:
        every = rows_at(known, when, limits, Weights(""), names)
        names = tuple(row.journey for row in every if row.team == team)
    weights = weights_of(known, names)
    rows = sorted(rows_at(known, when, limits, weights, names), key=_worst_first)
    notes = [*unknown_of(weights, names), *exceptions_without_journey(file.exceptions, known.names)]
    if standard.review:
        notes.append("review is left out: reviews of scenarios cannot be checked yet")
    return Board(
        when,
        tuple(rows),
        weights,
        headline_of(rows, weights),
        tuple(_week(known, end, limits, weights, names) for end in last_weeks(when, weeks)),
        tuple(orphans_of(known, rows, when)),
        tuple(findings_of(rows, known, standard, file.exceptions, when)),
        file.exceptions,
        standard,
        limits,
        tuple(notes),
        known.troubles,
        team,
    )


def last_weeks(now: datetime, count: int) -> list[datetime]:
    """Return the ends of the last whole ISO weeks in UTC, oldest first. The newest one is not after `now`."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = day - timedelta(days=day.weekday())
    return [monday - timedelta(weeks=n) for n in reversed(range(count))]


def _worst_first(row: BoardRow) -> tuple[int, float, str]:
    return ("not", "partly", "covered").index(row.state), -(row.share or 0.0), row.journey


def _week(known: Known, end: datetime, limits: Limits, weights: Weights, names: Sequence[str]) -> WeekState:
    rows = rows_at(known, end, limits, weights, names)
    year, week, _ = (end - timedelta(seconds=1)).isocalendar()
    return WeekState(
        f"{year}-W{week:02d}",
        end,
        covered_share(rows, weights.shares),
        covered_share(rows, weights.values),
        sum(row.state == "covered" for row in rows),
        len(rows),
    )
