"""Shows a recommendation: its document (JSON), and its parts for the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

from loadgen.measure.run_folder.rundir import utc_text
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.recommending.recommendation import GO, NO_GO, Evidence, Missing, Piece, Recommendation
from loadgen.report.report_parts import Report, Table

__all__ = ["FORMAT", "as_document", "as_report", "headline"]

FORMAT: Final = 1
_MISSING: Final = "What is missing, the quickest first"
_SHOWN_AS: Final = {GO: "passed", NO_GO: "failed"}


def headline(found: Recommendation, release: str, journeys: tuple[str, ...]) -> str:
    """Return the recommendation in one line, with what decides it."""
    name = f"{release} of {', '.join(journeys)}"
    start = f"{found.recommendation} (exit code {int(found.exit_code)}) for {name}"
    rows = [one for one in found.evidence if one.required]
    against = [str(one.piece) for one in rows if one.state == "no-go"]
    unknown = [str(one.piece) for one in rows if one.state == "open"]
    if against:
        return f"{start}: against it: {', '.join(against)}"
    if not found.is_valid:
        return f"{start}: no valid run of it was found, so there is nothing to judge"
    if unknown:
        are = "is" if len(unknown) == 1 else "are"
        return f"{start}: {len(unknown)} of {len(rows)} required pieces {are} open: {', '.join(unknown)}"
    return f"{start}: all {len(rows)} required pieces of evidence are there, fresh, of this release, and speak for it"


def as_document(
    found: Recommendation,
    release: str,
    journeys: tuple[str, ...],
    id_: str = "",
    at: str = "",
    *,
    impact: Sequence[Mapping[str, Any]] = (),
    entries: Iterable[EvidenceEntry] = (),
) -> Mapping[str, Any]:
    """Return the recommendation as a JSON document.

    id_: such as "D-207"; empty if it was not stored. at: when it was made. impact: what is at stake. entries: what the
    numbers of the evidence were computed from.
    """
    return {
        "format": FORMAT,
        "id": id_ or None,
        "at": at or None,
        "release": release,
        "journeys": list(journeys),
        "recommendation": found.recommendation,
        "exit_code": int(found.exit_code),
        "is_valid": found.is_valid,
        "evidence": [_row(one) for one in found.evidence],
        "missing": [_missing(one) for one in found.missing],
        "impact": list(impact),
        "entries": [one.as_document() for one in entries],
    }


def as_report(
    found: Recommendation,
    release: str,
    journeys: tuple[str, ...],
    id_: str = "",
    *,
    has_table: bool = False,
    explained: Mapping[Piece, Sequence[str]] = MappingProxyType({}),
) -> Report:
    """Return the recommendation for the terminal, or with `has_table` for Markdown, whose tables wrap.

    explained: lines below each piece of evidence.
    """
    lines: tuple[str, ...] = ()
    tables = []
    if has_table:
        rows = tuple(
            (str(one.piece), _state(one), ". ".join((one.says, *explained.get(one.piece, ()))), one.id or "none")
            for one in found.evidence
        )
        tables.append(Table("Evidence", ("evidence", "says", "figure and rule", "id"), rows, 4))
    else:
        lines = tuple(
            line
            for one in found.evidence
            for line in (
                f"{_state(one):<5}  {one.piece}: {one.says}{f' [{one.id}]' if one.id else ''}",
                *(f"       {text}" for text in explained.get(one.piece, ())),
            )
        )
    foot: tuple[str, ...] = ()
    if found.missing and has_table:
        commands = tuple((_minutes(one.minutes), one.command, one.why) for one in found.missing)
        tables.append(Table(_MISSING, ("time", "command", "for"), commands, 3))
    elif found.missing:
        # Not a table: a narrow terminal would cut the commands, which people copy.
        pairs = ((f"{_minutes(one.minutes):<7} {one.why}", f"    {one.command}") for one in found.missing)
        foot = (f"{_MISSING}:", *chain.from_iterable(pairs))
    foot = (*foot, f"Recorded as {id_}.") if id_ else foot
    shown = _SHOWN_AS.get(found.recommendation, "incomplete")
    return Report(headline(found, release, journeys), shown, lines, tuple(tables), foot)


def _state(one: Evidence) -> str:
    return one.state if one.required else "informs"


def _row(one: Evidence) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "journey": one.journey,
        "id": one.id,
        "state": one.state,
        "says": one.says,
        "at": None if one.at is None else utc_text(one.at),
        "release": one.release,
        "required": one.required,
    }


def _missing(one: Missing) -> dict[str, Any]:
    return {"command": one.command, "minutes": round(one.minutes, 1), "why": one.why}


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes >= 1 else "1 min"
