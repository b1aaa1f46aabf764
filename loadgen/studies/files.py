"""Writes a study as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Final

from loadgen.outside_text import in_cell, in_json
from loadgen.studies.study import Study

__all__ = ["FORMAT", "as_csv", "as_document", "as_json"]

FORMAT: Final = 1
"""The format of the JSON document. A reader rejects a newer one."""


def as_document(study: Study) -> dict[str, Any]:
    """Return a study as a JSON document, without its tables and drawings, which contain nothing else."""
    return {
        "format": FORMAT,
        "kind": study.kind,
        "title": study.title,
        "result": study.result,
        "headline": study.headline,
        "lines": list(study.lines),
        "run_ids": list(study.run_ids),
        "facts": dict(study.facts),
        "rows": [dict(row) for row in study.rows],
    }


def as_json(study: Study) -> bytes:
    """Return the JSON document of a study in UTF-8, with a newline at its end.

    Raises:
        ValueError: a number is not finite. A study has None for a value that does not exist.
    """
    text = json.dumps(as_document(study), indent=2, ensure_ascii=False, allow_nan=False)
    return (in_json(text) + "\n").encode("utf-8", "replace")


def as_csv(study: Study) -> bytes:
    """Return the rows of a study as CSV (RFC 4180) in UTF-8: a header, and an empty cell for a value that is missing.

    A text that a spreadsheet would read as a formula gets an apostrophe before it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    names = list(dict.fromkeys(name for row in study.rows for name in row))
    writer.writerow([in_cell(name) for name in names])
    for row in study.rows:
        cells = (row.get(name) for name in names)
        writer.writerow([in_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().encode("utf-8", "replace")
