"""Opens the folder of a sweep in a notebook, as values and pandas frames.

    sweep = loadgen.open_sweep("sweeps/20261129-143000-shop-a1b2")
    sweep.headline, sweep.runs, sweep.cells, sweep.terms

It reads `sweep.json` and `runs.jsonl` and computes everything from them, so a sweep that is not complete opens too. It
needs the extra `analysis`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen.errors import UsageError
from loadgen.extras import how_to_install
from loadgen.sweep.journal import RunRecord, check_records, read_journal
from loadgen.sweep.plan import SweepPlan, read_plan

if TYPE_CHECKING:
    from loadgen.studies.study import Study
    from loadgen.sweep.result import SweepResult

__all__ = ["Sweep", "open_sweep"]


def open_sweep(folder: str | Path) -> Sweep:
    """Open the folder of a sweep for reading.

    Raises:
        UsageError: there is no sweep in it.
        StorageError: a file in it is damaged.
    """
    folder = Path(folder)
    plan, records = read_plan(folder), read_journal(folder)
    check_records(folder, records, plan.order)
    return Sweep(folder, plan, records)


class Sweep:
    """A sweep as values and frames. The effects are computed when they are first used."""

    def __init__(self, folder: Path, plan: SweepPlan, records: tuple[RunRecord, ...]) -> None:
        self.folder, self.plan, self.records = folder, plan, records

    def __repr__(self) -> str:
        return f"<Sweep {self.plan.sweep_id}: {len(self.records)} of {len(self.plan.order)} runs>"

    @cached_property
    def result(self) -> SweepResult:
        """Return the result as values.

        Raises:
            UsageError: the extra `analysis` is not installed.
        """
        try:
            module = import_module("loadgen.sweep.result")
        except ModuleNotFoundError as error:
            raise _needs(error.name or "scipy") from None
        return module.result_of(self.plan, self.records)  # type: ignore[no-any-return]

    @cached_property
    def study(self) -> Study:
        """Return the sweep in the form from which its page and files are made."""
        result = self.result
        return import_module("loadgen.sweep.study").study_of(result, self.folder)  # type: ignore[no-any-return]

    @property
    def headline(self) -> str:
        """Return the answer in one sentence."""
        return self.study.headline

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the result as in `result.json`."""
        return self.study.facts

    @property
    def runs(self) -> Any:
        """Return a pandas frame with one row for each run: its levels, its values, and why values are missing."""
        return _frame(self.study.rows)

    @property
    def cells(self) -> Any:
        """Return a pandas frame with one row for each cell: its levels, runs, and each response with its interval."""
        result = self.result
        return _frame(import_module("loadgen.sweep.shown.facts").cell_rows(result))

    @property
    def terms(self) -> Any:
        """Return a pandas frame with one row for each term of each response, by rank."""
        result = self.result
        return _frame(import_module("loadgen.sweep.shown.facts").term_rows(result))


def _frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError:
        raise _needs("pandas") from None
    return pandas.DataFrame(list(rows))


def _needs(module: str) -> UsageError:
    return UsageError(f"reading a sweep needs {module}, which is not installed", hint=how_to_install("analysis"))
