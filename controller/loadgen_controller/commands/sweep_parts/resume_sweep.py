"""Reads a sweep that is to be resumed, and refuses it if its files or options are not those of its start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadgen.dsl.loading.loader import split_plan
from loadgen.sweep.plan import SweepPlan, read_plan
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.sweep_parts.check_cells import Cells, load_cells
from loadgen_controller.commands.sweep_parts.read_factors import SweepFactors
from loadgen_controller.commands.sweep_parts.sweep_options import differences
from loadgen_controller.launch.run_maker import RunMaker

__all__ = ["check_bundle", "check_same", "read_sweep"]


def read_sweep(folder: Path) -> SweepPlan:
    """Return the plan of the sweep in a folder.

    Raises:
        UsageError, StorageError: `sweep.json` is missing or damaged.
    """
    return read_plan(folder)


def check_same(
    errors: CollectedErrors,
    plan: SweepPlan,
    file: str | None,
    sweep_options: Mapping[str, Any],
    run_options: Mapping[str, Any],
) -> None:
    """Add an error for each option that was given with --resume and differs from the sweep's own."""
    hint = "leave it out: a resumed sweep has the options of its start; for others, start a new sweep"
    if file is not None:
        path, name = split_plan(file)
        if path.absolute() != Path(plan.file) and path.resolve() != Path(plan.file).resolve():
            errors.add(f"the sweep is one of {plan.file}, not of {path}", hint)
        elif name is not None and name != plan.plan:
            errors.add(f"the sweep is one of the plan {plan.plan}, not of {name}", hint)
    for given, key in ((sweep_options, "sweep"), (run_options, "run")):
        stored = plan.options.get(key)
        for difference in differences(given, stored if isinstance(stored, dict) else {}):
            errors.add(f"--resume: {difference}", hint)


def check_bundle(errors: CollectedErrors, maker: RunMaker, plan: SweepPlan) -> Cells:
    """Load all cells again, and return them if their files are those of the start.

    Raises:
        LoadgenError, ExceptionGroup: all errors found so far, and the files that differ.
    """
    maker.check_place(errors)
    factors = SweepFactors(
        tuple(one for one in plan.design.factors if one.name not in plan.plan_values),
        tuple(one for one in plan.design.factors if one.name in plan.plan_values),
        plan.settings,
    )
    cells = load_cells(errors, maker, factors, plan.design)
    now, then = cells.packed.files, plan.files
    if cells.packed.sha256 != plan.bundle_sha256:
        parts = [
            *(f"{name} changed" for name in then if name in now and now[name] != then[name]),
            *(f"{name} is missing" for name in then if name not in now),
            *(f"{name} is new" for name in now if name not in then),
        ]
        shown = "; ".join(parts[:10]) or "the packed files differ"
        more = f"; and {len(parts) - 10} more" if len(parts) > 10 else ""
        errors.add(
            f"the files of the scenario are not those of the sweep's start: {shown}{more}",
            "restore them (git stash, git checkout), or start a new sweep: runs of different files cannot be compared",
        )
    errors.check()
    return cells
