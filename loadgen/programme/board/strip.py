"""The board as one sentence of the weekly page, with its evidence. Pure."""

from __future__ import annotations

from loadgen.outside_text import one_line
from loadgen.programme.board.board import Board
from loadgen.programme.board.coverage import BoardRow
from loadgen.programme.board.headline import largest_gap
from loadgen.programme.evidence.entry import EvidenceEntry, evidence_id
from loadgen.programme.weekly.page_values import Said, Tone

__all__ = ["coverage_evidence", "coverage_strip"]


def coverage_strip(board: Board) -> Said:
    """Return the headline of a board as a sentence. owner: of the largest gap. Its evidence is `coverage_evidence`."""
    tone: Tone = "good"
    if any(row.state != "covered" for row in board.rows):
        tone = "bad" if any(row.state == "not" for row in board.rows) else "open"
    if not board.rows or board.troubles:
        tone = "open"
    text = f"{board.headline[:1].upper()}{board.headline[1:]}."
    gap = next((row for row in board.rows if largest_gap([row]) and _is_largest(row, board)), None)
    owner = one_line(gap.owner, 120) if gap is not None else ""
    return Said(text, tone, (coverage_evidence(board).id,), owner, "coverage")


def _is_largest(row: BoardRow, board: Board) -> bool:
    return largest_gap([row]) == largest_gap(board.rows)


def coverage_evidence(board: Board) -> EvidenceEntry:
    """Return what the headline was computed from: the state and the weights of each journey."""
    inputs = tuple((one_line(row.journey, 100), _facts(row)) for row in board.rows)
    limits = board.limits
    content = {
        "headline": board.headline,
        "rows": inputs,
        "limits": [limits.gate_days, limits.capacity_days],
        "source": board.weights.source,
    }
    formula = (
        "covered has an owner, a scenario, an objective in test, a promise in production, a PASS or FAIL of the gate "
        f"within {limits.gate_days} days, and a capacity within {limits.capacity_days} days; the share is the requests "
        f"{board.weights.source} of covered journeys / those of all counted journeys, rounded down; value is "
        "requests x value of programme.toml"
    )
    ids = tuple(sorted({row.last_run.run_id for row in board.rows if row.last_run is not None}))
    return EvidenceEntry(
        evidence_id("facts", content), "facts", board.headline, formula, inputs, (), ids, "loadgen board --explain"
    )


def _facts(row: BoardRow) -> str:
    parts: list[str] = [row.state]
    if row.requests is not None:
        parts.append(f"{row.requests} requests")
    if row.value_share is not None:
        parts.append(f"{row.value_share:.6f} of value")
    if row.last_gate is not None:
        parts.append(f"gate {row.last_gate.id}")
    if row.capacity is not None:
        parts.append(f"capacity {row.capacity.id}")
    parts += [f"missing: {one.piece}" for one in row.missing]
    return "; ".join(one_line(part, 160) for part in parts)
