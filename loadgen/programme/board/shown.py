"""A board as text, page, Markdown, CSV and JSON. Pure; computes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from loadgen.outside_text import in_json, one_line
from loadgen.programme.board.board import Board
from loadgen.programme.board.check import Finding
from loadgen.programme.board.coverage import BoardRow
from loadgen.programme.board.headline import covered_share, rounded_share, share_text
from loadgen.programme.board.standard_file import RuleException
from loadgen.programme.board.strip import coverage_evidence
from loadgen.report.exports.markdown import report_lines
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.report.short_texts import cut_at_end, cut_in_middle
from loadgen.studies.report import as_report
from loadgen.studies.study import Drawing, Study
from loadgen.studies.xy_chart import Axis, Line, Points, Size, xy_chart
from loadgen.units import format_rate, quantity

__all__ = ["as_board_document", "as_board_json", "as_board_markdown", "as_board_study", "check_lines", "explain_lines"]


_ORPHANS: Final = 5
"""Orphans that are shown as sentences. The page has a table of all."""


def as_board_study(board: Board, *, is_wide: bool = True, owner_columns: int = 24) -> Study:
    """Return the board as a study, which the terminal and the page show.

    is_wide: with all columns, as on the page. owner_columns: most columns of the terminal for an owner, if not wide.
    """
    is_fine = bool(board.rows) and all(row.state == "covered" for row in board.rows) and not board.troubles
    return Study(
        "board",
        f"Coverage of the programme{f' of {one_line(board.team, 80)}' if board.team else ''}, {_day(board.now)}",
        board.headline,
        "decided" if is_fine else "not decided",
        tuple(_lines(board)),
        tuple(_tables(board, owner_columns=None if is_wide else owner_columns)),
        tuple(_drawings(board)),
        ("loadgen board --check: what to do for each broken rule",),
        rows=tuple(_csv_row(row) for row in board.rows),
    )


def as_board_markdown(board: Board) -> str:
    """Return the board in Markdown, for a pull request or a wiki."""
    return "\n".join(report_lines(as_report(as_board_study(board)))) + "\n"


def as_board_json(board: Board) -> bytes:
    """Return the JSON document in UTF-8."""
    text = json.dumps(as_board_document(board), indent=2, ensure_ascii=False, allow_nan=False)
    return (in_json(text) + "\n").encode("utf-8", "replace")


def as_board_document(board: Board) -> dict[str, Any]:
    """Return the board for programs. Shares are 0 to 1, and null if they are unknown."""
    return {
        "format": 1,
        "at": _time(board.now),
        "team": board.team or None,
        "headline": board.headline,
        "weights": {
            "requests": board.weights.source or None,
            "without_requests": list(board.weights.no_requests),
            "without_value": list(board.weights.no_value),
            "currency": board.weights.currency or None,
        },
        "journeys": [_document(row) for row in board.rows],
        "weeks": [
            {
                "week": week.week,
                "requests": week.share,
                "value": week.value_share,
                "covered": week.covered,
                "journeys": week.journeys,
            }
            for week in board.weeks
        ],
        "orphans": [
            {"kind": one.kind, "name": one.name, "says": one.says, "command": one.command or None}
            for one in board.orphans
        ],
        "standard": {
            "findings": [_finding(one) for one in board.findings],
            "exceptions": [_exception(one, board.now) for one in board.exceptions],
            "not_checked": ["review"] if board.standard.review else [],
        },
        "notes": list(board.notes),
        "troubles": list(board.troubles),
        "evidence": coverage_evidence(board).as_document(),
    }


def check_lines(board: Board) -> Iterator[str]:
    """Yield a line for each finding of the standard, with its command on the next line, and one for each exception
    that ended.
    """
    for one in sorted(board.findings, key=lambda one: ("broken", "unknown", "excepted").index(one.state)):
        yield f"{one.state}: {one_line(one.journey, 80)}: {one.rule}: {one_line(one.says, 300)}"
        if one.state != "excepted":
            yield f"    {one_line(one.command, 300)}"
        if one.exception is not None:
            yield f"    {_excepted(one.exception, board.now)}"
    shown = {one.exception for one in board.findings}
    for exception in board.exceptions:
        if exception not in shown and not exception.holds_at(board.now):
            yield f"ended: {one_line(exception.journey, 80)}: {exception.rule}: {_excepted(exception, board.now)}"


def explain_lines(board: Board) -> Iterator[str]:
    """Yield the arithmetic: the formula, the weight of each journey, and what each state comes from."""
    yield coverage_evidence(board).formula
    weights = board.weights
    total = sum(weights.requests.values())
    for row in board.rows:
        share = "no share" if row.share is None else f"{row.requests} / {total} requests = {row.share:.4f}"
        value = "" if row.value_share is None else f", {row.value_share:.4f} of value"
        yield f"{one_line(row.journey, 80)}: {row.state}; {share}{value}"
        for gap in row.missing:
            yield f"  missing {gap.piece}: {one_line(gap.says, 300)}"
        yield from (f"  {one_line(text, 300)}" for text in _has(row))


def _has(row: BoardRow) -> Iterator[str]:
    if row.last_run is not None:
        yield f"last run {row.last_run.run_id}, {_time(row.last_run.at)}; {row.valid_runs} valid in 7 days"
    if row.last_gate is not None:
        yield f"gate {row.last_gate.id} {row.last_gate.outcome}, {_time(row.last_gate.at)}"
    for promise in row.promises:
        yield f"promise {promise.slo}: {promise.word} {promise.attainment} {promise.why}".rstrip()
    if row.capacity is not None:
        yield f"capacity {row.capacity.id} of {row.capacity.plan}, {_time(row.capacity.at)}{_range(row)}"


def _range(row: BoardRow) -> str:
    capacity = row.capacity
    if capacity is None or capacity.low is None or capacity.high is None:
        return ""
    return f": {format_rate(capacity.low)} to {format_rate(capacity.high)}"


def _lines(board: Board) -> Iterator[str]:
    counts = {state: sum(row.state == state for row in board.rows) for state in ("covered", "partly", "not")}
    if board.rows:
        shown = f"{counts['covered']} covered, {counts['partly']} partly, {counts['not']} not"
        yield f"{quantity(len(board.rows), 'journey')}: {shown}; requests {board.weights.source}"
    yield from (one_line(note, 400) for note in board.notes)
    broken = sum(one.state == "broken" for one in board.findings)
    excepted = sum(one.state == "excepted" for one in board.findings)
    unknown = sum(one.state == "unknown" for one in board.findings)
    yield f"house standard: {broken} broken, {unknown} unknown, {excepted} excepted"
    yield from (one_line(orphan.says, 300) for orphan in board.orphans[:_ORPHANS])
    if len(board.orphans) > _ORPHANS:
        yield f"and {len(board.orphans) - _ORPHANS} more without their other half: -o board.html"
    if ended := [one for one in board.exceptions if not one.holds_at(board.now)]:
        yield f"exceptions that ended, and do not count: {len(ended)}"
    for text in board.troubles:
        yield f"could not be read: {one_line(text, 300)}"


def _tables(board: Board, *, owner_columns: int | None) -> Iterator[Table]:
    is_wide = owner_columns is None
    if board.rows:
        yield from (_journeys(board), _pieces(board)) if owner_columns is None else (_narrow(board, owner_columns),)
    if board.findings and is_wide:
        rows = tuple(_finding_row(one, board.now) for one in board.findings)
        yield Table("House standard", ("journey", "rule", "state", "why", "what to do"), rows, words=5)
    if board.orphans and is_wide:
        found = tuple((one.kind, one_line(one.says, 300), one_line(one.command, 200)) for one in board.orphans[:50])
        left = len(board.orphans) - 50
        note = f"and {left} more: --format json" if left > 0 else ""
        yield Table("Without the other half", ("what", "why", "what to do"), found, words=3, note=note)
    if board.exceptions and is_wide:
        rows = tuple(
            (one_line(one.journey, 80), one.rule, one_line(one.because, 300), one_line(one.by, 80), _until(one, board))
            for one in board.exceptions
        )
        yield Table("Exceptions", ("journey", "rule", "because", "by", "until"), rows, words=5)
    if board.weeks and is_wide:
        rows = tuple(
            (week.week, f"{week.covered} of {week.journeys}", _share(week.share), _share(week.value_share))
            for week in board.weeks
        )
        yield Table(
            "By week",
            ("week", "covered", "requests", "value"),
            rows,
            note="At the end of each week in UTC, by today's requests. Owners and files have no history: as today.",
        )


def _narrow(board: Board, owner_columns: int) -> Table:
    rows = tuple(
        (
            cut_in_middle(one_line(row.journey), 30),
            cut_at_end(one_line(row.owner), owner_columns) or "nobody",
            row.state,
            _missing(row),
            _part(row.share),
            _part(row.value_share),
        )
        for row in board.rows
    )
    return Table("", ("journey", "owner", "state", "missing", "requests", "value"), rows, words=4)


def _journeys(board: Board) -> Table:
    rows = tuple(
        (
            one_line(row.journey, 80),
            one_line(row.team, 60) or PLACEHOLDER,
            one_line(row.product, 60) or PLACEHOLDER,
            one_line(row.owner, 80) or "nobody",
            row.state,
            _missing(row),
            _part(row.share),
            _part(row.value_share),
        )
        for row in board.rows
    )
    columns = ("journey", "team", "product", "owner", "state", "missing", "requests", "value")
    return Table("", columns, rows, words=6)


def _pieces(board: Board) -> Table:
    rows = tuple(
        (
            one_line(row.journey, 80),
            one_line(row.scenario, 80) or PLACEHOLDER,
            _day(row.last_run.at) if row.last_run is not None else PLACEHOLDER,
            _gate(row),
            ", ".join(dict.fromkeys(row.tested)) or PLACEHOLDER,
            _production(row),
            _capacity(row),
        )
        for row in board.rows
    )
    columns = ("journey", "scenario", "last run", "gate", "objectives in test", "in production", "capacity")
    return Table("Pieces", columns, rows, words=7)


def _missing(row: BoardRow) -> str:
    return ", ".join(gap.piece for gap in row.missing) or PLACEHOLDER


def _gate(row: BoardRow) -> str:
    if row.last_gate is None:
        return PLACEHOLDER
    return f"{one_line(row.last_gate.outcome, 20)} {row.last_gate.id}, {_day(row.last_gate.at)}"


def _production(row: BoardRow) -> str:
    texts = (f"{one.slo}: {one.word} {one.attainment}".rstrip() for one in row.promises)
    return one_line("; ".join(texts), 200) or PLACEHOLDER


def _capacity(row: BoardRow) -> str:
    return PLACEHOLDER if row.capacity is None else f"{row.capacity.id}, {_day(row.capacity.at)}"


def _share(share: float | None) -> str:
    return "unknown" if share is None else share_text(share)


def _part(share: float | None) -> str:
    return "unknown" if share is None else rounded_share(share)


def _finding_row(one: Finding, now: datetime) -> tuple[str, ...]:
    state = one.state if one.exception is None else f"{one.state}; {_excepted(one.exception, now)}"
    command = "" if one.state == "excepted" else one.command
    return one_line(one.journey, 80), one.rule, state, one_line(one.says, 300), one_line(command, 300)


def _excepted(one: RuleException, now: datetime) -> str:
    word = "until" if one.holds_at(now) else "an exception ended on"
    return f"{word} {_day(one.until)}: {one_line(one.because, 200)} ({one_line(one.by, 80)})"


def _until(one: RuleException, board: Board) -> str:
    return _day(one.until) if one.holds_at(board.now) else f"ended on {_day(one.until)}"


def _drawings(board: Board) -> Iterator[Drawing]:
    """Yield the chart of the weeks, which ends with the present state."""
    lines: list[Line | Points] = []
    texts: list[str] = []
    labels = [week.week[5:] for week in board.weeks] + ["now"]
    for style, (name, shares) in enumerate(
        (
            ("requests", [*(week.share for week in board.weeks), covered_share(board.rows, board.weights.shares)]),
            ("value", [*(week.value_share for week in board.weeks), covered_share(board.rows, board.weights.values)]),
        ),
        1,
    ):
        points = [(float(n), share * 100) for n, share in enumerate(shares) if share is not None]
        if len(points) > 1:
            lines += [Line(name, points, is_dashed=style == 2, style=style), Points("", points, style=style)]
            texts.append(f"{name} from {_share(shares[0])} to {_share(shares[-1])}")
    if lines:
        html = xy_chart(
            "Covered share by week",
            lines,
            x=Axis("week", places=tuple((float(n), label) for n, label in enumerate(labels))),
            y=Axis("covered, %", low=0, high=100),
            size=Size(height=220),
        )
        first = board.weeks[0].week
        yield Drawing("Covered by week", html, f"From the end of {first} until now: covered {', '.join(texts)}.")


# -- for programs ---------------------------------------------------------------------------------

_OF_PROMISES: Final = ("promise_states", "attainment")
"""Columns of the CSV file that JSON has within its promises."""


def _csv_row(row: BoardRow) -> dict[str, str | float | int | bool | None]:
    return {
        "journey": row.journey,
        "team": row.team,
        "product": row.product,
        "owner": row.owner,
        "state": row.state,
        "missing": "; ".join(gap.piece for gap in row.missing),
        "share_of_requests": row.share,
        "share_of_value": row.value_share,
        "requests": row.requests,
        "scenario": row.scenario,
        "last_run": row.last_run.run_id if row.last_run is not None else None,
        "last_run_at": _time(row.last_run.at) if row.last_run is not None else None,
        "gate": row.last_gate.id if row.last_gate is not None else None,
        "gate_outcome": row.last_gate.outcome if row.last_gate is not None else None,
        "gate_at": _time(row.last_gate.at) if row.last_gate is not None else None,
        "objectives_in_test": "; ".join(row.tested),
        "promises": "; ".join(one.slo for one in row.promises),
        "promise_states": "; ".join(one.word for one in row.promises),
        "attainment": "; ".join(one.attainment for one in row.promises),
        "capacity": row.capacity.id if row.capacity is not None else None,
        "capacity_at": _time(row.capacity.at) if row.capacity is not None else None,
        "valid_runs_7_days": row.valid_runs,
    }


def _document(row: BoardRow) -> dict[str, Any]:
    cells = _csv_row(row)
    document = {key: None if value == "" else value for key, value in cells.items() if key not in _OF_PROMISES}
    return document | {
        "missing": [{"piece": gap.piece, "says": gap.says, "is_unknown": gap.is_unknown} for gap in row.missing],
        "objectives_in_test": list(row.tested),
        "promises": [
            {"slo": one.slo, "state": one.word, "attainment": one.attainment or None, "why": one.why or None}
            for one in row.promises
        ],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "journey": one.journey,
        "rule": one.rule,
        "state": one.state,
        "says": one.says,
        "command": one.command,
        "excepted_until": None if one.exception is None else _day(one.exception.until),
    }


def _exception(one: RuleException, now: datetime) -> dict[str, Any]:
    return {
        "journey": one.journey,
        "rule": one.rule,
        "because": one.because,
        "by": one.by,
        "until": _day(one.until),
        "holds": one.holds_at(now),
    }


def _day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
