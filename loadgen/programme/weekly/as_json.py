"""Writes a weekly page as JSON: everything that is on it, with the evidence of each number. Pure.

The names of the fields stay; new ones may be added. `format` grows if the meaning of a field changes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from loadgen.outside_text import in_json
from loadgen.programme.weekly.page_values import Chart, ChartLine, Row, Said, Section, Shown, WeeklyPage, columns_of

__all__ = ["FORMAT", "as_document", "as_json"]

FORMAT: Final = 1


def as_json(page: WeeklyPage) -> bytes:
    """Return the page as UTF-8 text with a newline at its end. The same page gives the same bytes."""
    text = json.dumps(as_document(page), indent=1, ensure_ascii=False, allow_nan=False)
    return (in_json(text) + "\n").encode("utf-8", "replace")


def as_document(page: WeeklyPage) -> dict[str, Any]:
    """Return the page as values that JSON has."""
    return {
        "format": FORMAT,
        "kind": "weekly page",
        "id": page.id,
        "title": page.title,
        "week": page.week,
        "zone": page.zone,
        "start": _time(page.start),
        "end": _time(page.end),
        "as_of": page.as_of,
        "complete_to": _time(page.complete_to) if page.complete_to else None,
        "sources": list(page.sources),
        "late": list(page.late),
        "is_public": page.is_public,
        "team": page.team,
        "sentences": [_said(one) for one in page.sentences],
        "columns": dict(columns_of(page.rows)),
        "rows": [_row(one) for one in page.rows],
        "charts": [_chart(one) for one in page.charts],
        "sections": [_section(one) for one in page.sections],
        "evidence": [one.as_document() for one in page.evidence],
        "revisions": list(page.revisions),
        "notes": list(page.notes),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "journey": row.journey,
        "slo": row.slo,
        "owner": row.owner,
        "team": row.team,
        "promise": row.promise,
        "method": row.method,
        "tone": row.tone,
        "says": row.says,
        "cells": {name: _shown(cell) for name, cell in row.cells()},
    }


def _shown(cell: Shown) -> dict[str, Any]:
    return {
        "text": cell.text,
        "tone": cell.tone,
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "unit": cell.unit,
        "count": cell.count,
        "is_estimate": cell.is_estimate,
        "evidence": list(cell.evidence),
    }


def _said(one: Said) -> dict[str, Any]:
    return {"text": one.text, "tone": one.tone, "evidence": list(one.evidence), "owner": one.owner, "key": one.key}


def _section(one: Section) -> dict[str, Any]:
    return {"title": one.title, "items": [_said(item) for item in one.items], "none": one.none}


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "unit": chart.unit,
        "text": chart.text,
        "limit": chart.limit,
        "limit_name": chart.limit_name,
        "evidence": list(chart.evidence),
        "lines": [_line(one) for one in chart.lines],
    }


def _line(line: ChartLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "tone": line.tone,
        "points": [list(point) for point in line.points],
        "low": _values(line.low),
        "high": _values(line.high),
        "marks": [{"at": mark.at, "label": mark.label} for mark in line.marks],
    }


def _values(found: Sequence[float | None]) -> list[float | None]:
    return list(found)


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
