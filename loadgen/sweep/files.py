"""Writes the results of a sweep into its folder: the page, the JSON document, and the runs and terms as CSV.

They follow from `sweep.json` and `runs.jsonl` alone, so they can be written again at any time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from loadgen.atomic_files import atomic_write
from loadgen.errors import StorageError
from loadgen.secret_files import UMASK_ONLY
from loadgen.studies.files import as_csv, as_json
from loadgen.studies.page import as_page
from loadgen.studies.study import Study
from loadgen.sweep.result import SweepResult
from loadgen.sweep.shown.facts import cell_rows, term_rows

__all__ = ["FILES", "write_results"]

FILES: Final = ("sweep.html", "result.json", "runs.csv", "cells.csv", "terms.csv")


def write_results(folder: Path, result: SweepResult, study: Study) -> None:
    """Write `FILES` into the folder of a sweep. Each file stays as it was until the new one is complete.

    Raises:
        StorageError: a file cannot be written.
    """
    contents = (
        as_page(study),
        as_json(study),
        as_csv(study),
        as_csv(replace(study, rows=tuple(cell_rows(result)))),
        as_csv(replace(study, rows=tuple(term_rows(result)))),
    )
    for name, content in zip(FILES, contents, strict=True):
        path = folder / name
        try:
            atomic_write(path, content, UMASK_ONLY)
        except OSError as error:
            raise StorageError(
                f"cannot write {path}: {error.strerror or error}", hint="free some space, then resume the sweep"
            ) from error
