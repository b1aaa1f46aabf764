"""The rows of the weekly page: one for each promise, the worst first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.weekly.cells.capacity_cells import headroom_cell
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import (
    bad_cell,
    burn_cell,
    gone_cell,
    is_gone_soon,
    kept_cells,
    promise_text,
)
from loadgen.programme.weekly.cells.run_cells import Weeks, gate_cell, key_of, week_cell, weeks_of
from loadgen.programme.weekly.cells.weeks_of_quarter import trend_cell
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Row, Said, Section, Shown, Tone

__all__ = ["FromOthers", "PromiseRow", "rows_of"]


@dataclass(frozen=True, slots=True)
class FromOthers:
    """Parts of the page that other parts of the programme compute. An empty one leaves the page's own short form."""

    production: Mapping[str, Shown] = field(default_factory=dict)
    """The change of production week on week, by objective. It replaces that of runs."""
    at_stake: Mapping[str, Shown] = field(default_factory=dict)
    """Money at stake, by journey. It replaces the number of bad requests."""
    anomalies: Section | None = None
    changed: tuple[Said, ...] = ()
    """What changed in production, after what changed in load tests."""
    coverage: tuple[Said, ...] | None = None
    outcomes: tuple[Said, ...] = ()
    """What happened after overrides that have ended."""
    evidence: tuple[EvidenceEntry, ...] = ()
    """The entries of all ids above."""


@dataclass(frozen=True, slots=True)
class PromiseRow:
    """A promise with its row."""

    promise: Promise
    row: Row


def rows_of(gathered: Gathered, book: EvidenceBook, others: FromOthers | None = None) -> tuple[PromiseRow, ...]:
    """Return a row for each promise: broken ones first, then open ones, then kept ones, by the budget left."""
    others = others or FromOthers()
    keys = {one.journey: key_of(gathered.runs, one.journey) for one in gathered.promises}
    weeks = {key: weeks_of(gathered, key) for key in dict.fromkeys(keys.values()) if key}
    found = [
        PromiseRow(one, _row(one, gathered, weeks.get(keys[one.journey]), book, others)) for one in gathered.promises
    ]
    return tuple(sorted(found, key=_rank))


def _row(one: Promise, gathered: Gathered, weeks: Weeks | None, book: EvidenceBook, others: FromOthers) -> Row:
    objective, journey = one.objective, one.journey
    kept, left = kept_cells(one, gathered, book)
    week = others.production.get(objective.name) or week_cell(weeks, journey, book)
    gate, headroom = gate_cell(gathered, journey, book), headroom_cell(gathered, journey, book)
    return Row(
        one_line(journey, 63),
        one_line(objective.name, 63),
        one_line(objective.owner, 120),
        promise_text(objective),
        str(objective.method),
        _tone(one, week, gate, headroom),
        kept,
        left,
        burn_cell(one, gathered, book),
        gone_cell(one, gathered, book),
        week,
        gate,
        headroom,
        others.at_stake.get(journey) or bad_cell(one, gathered, book),
        one_line(dict(objective.labels).get("team", ""), 63),
        one_line(one.state.why, 200),
        trend_cell(one, gathered, book) if gathered.period.is_quarter else None,
    )


def _tone(one: Promise, week: Shown, gate: Shown, headroom: Shown) -> Tone:
    """Return the worst that a row has: bad is a promise or a limit that is broken, or a budget that will be gone."""
    state = one.state
    tones = (gate.tone, headroom.tone)
    if state.is_broken or is_gone_soon(state) or "bad" in (*tones, week.tone):
        return "bad"
    if state.word not in ("kept", "not judged") or "open" in tones:
        return "open"
    return "good" if state.word == "kept" else "plain"


def _rank(one: PromiseRow) -> tuple[int, float, str, str]:
    state = one.promise.state
    left = one.row.budget_left.value
    if state.word == "not kept":
        rank = 0
    elif state.fires or is_gone_soon(state):
        rank = 1
    elif one.row.tone == "bad":
        rank = 2
    elif state.word in ("undecided", "no data", "no traffic"):
        rank = 3
    else:
        rank = {"open": 4, "good": 5}.get(one.row.tone, 6)
    return rank, 1.0 if left is None else left, one.row.journey, one.row.slo
