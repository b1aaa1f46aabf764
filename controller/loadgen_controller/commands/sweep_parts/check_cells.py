"""Loads the scenario with each level and each cell of a sweep before its first run, and packs all their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.factor import Factor
from loadgen.bundle import pack_files
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import BundleError, Fault, LoadgenError, ScenarioError, UsageError, errors_in
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.sweep_parts.read_factors import SweepFactors, changes_of, same_levels
from loadgen_controller.launch.run_maker import RunMaker

__all__ = ["Cells", "Packed", "changed_files", "check_levels", "digests_of", "load_cells", "whole_ranges"]

MOST_LOADED: Final = 500
"""Cells that are loaded before the first run. In a larger design, only the levels are checked."""
MOST_FAULTS: Final = 10


@dataclass(frozen=True, slots=True)
class Packed:
    """All files that agents get in a sweep, in whichever cell."""

    sha256: str
    files: Mapping[str, str]
    """Digest of each file, by its name in the bundle."""
    scenario: str
    """Name of the scenario file in the bundle."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The checked cells of a design, with all that a forecast needs."""

    specs: tuple[PlanSpec, ...]
    """One for each cell. Cells of a large design that were not loaded have the spec of the first cell."""
    packed: Packed
    warnings: tuple[Fault, ...]
    journeys: tuple[str, ...]


def check_levels(errors: CollectedErrors, maker: RunMaker, factors: SweepFactors) -> Scenario | None:
    """Load the scenario with each level of each factor while all others have their first one.

    Return the scenario of the reference cell; None if it cannot be loaded. All faults are added to `errors`.
    """
    first = {one.name: _levels(one)[0] for one in factors.all}
    reference: Scenario | None = None
    values: dict[str, dict[str, object]] = {one.name: {} for one in factors.params}
    faults: dict[str, LoadgenError] = {}
    for factor in factors.all or (None,):
        for level in _levels(factor) if factor is not None else ("",):
            levels = first if factor is None else first | {factor.name: level}
            try:
                scenario = maker.load(CollectedErrors(), changes_of(factors.plan_names, factors.settings, levels))
            except (LoadgenError, ExceptionGroup) as error:
                _collect(faults, error)
                continue
            reference = reference or scenario
            if factor is not None and factor.name in values:
                values[factor.name][level] = scenario.plan.params.get(factor.name)
    for fault in list(faults.values())[:MOST_FAULTS]:
        errors.found.append(fault)
    if len(faults) > MOST_FAULTS:
        errors.add(f"{len(faults) - MOST_FAULTS} more levels cannot be loaded", "correct the first ones, and try again")
    for name, found in values.items():
        if same := same_levels(name, found):
            errors.add(f"-P {name}: {same}", "name each level once")
    return reference


def whole_ranges(factors: SweepFactors, reference: Scenario) -> tuple[Factor, ...]:
    """Return all factors; ranges of whole numbers are marked as such, so that no fractions are drawn for them."""
    kinds = reference.plan.params
    return tuple(
        replace(one, is_whole=True)
        if one.is_range and (isinstance(kinds.get(one.name), int) or one.name == "users")
        else one
        for one in factors.all
    )


def load_cells(errors: CollectedErrors, maker: RunMaker, factors: SweepFactors, design: Design) -> Cells:
    """Load each cell of the design, and pack the files of all of them.

    Raises:
        LoadgenError, ExceptionGroup: cells that cannot be loaded, with their levels; a file that cannot be packed.
    """
    names = [one.name for one in design.factors]
    loaded: list[Scenario] = []
    faults: dict[str, LoadgenError] = {}
    for cell in design.cells[:MOST_LOADED]:
        levels = dict(zip(names, cell, strict=True))
        try:
            loaded.append(maker.load(CollectedErrors(), changes_of(factors.plan_names, factors.settings, levels)))
        except (LoadgenError, ExceptionGroup) as error:
            _collect(faults, error)
            if len(faults) >= MOST_FAULTS:
                break
    errors.found += faults.values()
    if not errors.found:
        _check_regions(errors, loaded)
    packed = errors.catch(lambda: digests_of(loaded)) if not errors.found else None
    errors.check()
    assert packed is not None
    specs = [one.plan.spec() for one in loaded]
    specs += [specs[0]] * (len(design.cells) - len(specs))
    warnings = tuple(dict.fromkeys(warning for one in loaded for warning in one.warnings))
    journeys = tuple(dict.fromkeys(journey.name for one in loaded for journey in one.journeys))
    return Cells(tuple(specs), packed, warnings, journeys)


def digests_of(loaded: Sequence[Scenario]) -> Packed:
    """Return the digests of all files of these scenarios, which are the same file with other levels.

    Raises:
        ScenarioError: a file cannot be packed.
    """
    path = loaded[0].path
    files = {file for one in loaded for file in one.files}
    certificates = {file for one in loaded for plan in one.plans.values() for file in plan.certificates}
    replaced = {file: content for one in loaded for file, content in one.replaced.items()}
    try:
        bundle = pack_files(path, files, certificates=certificates, replaced=replaced)
    except BundleError as error:
        raise ScenarioError([Fault(str(path), 0, error.message, error.hint)]) from error
    return Packed(bundle.sha256, {name: _digest(path.parent / name) for name in bundle.files}, bundle.scenario)


def changed_files(root: Path, files: Mapping[str, str]) -> list[str]:
    """Return the names of files that are missing or have another digest. root: the folder of the scenario."""
    return [name for name, digest in files.items() if _digest(root / name) != digest]


def _digest(path: Path) -> str:
    """Return the sha256 of a file; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _levels(factor: Factor) -> tuple[str, ...]:
    if not factor.is_range:
        return factor.levels
    return tuple(f"{end:g}{factor.unit}" for end in (factor.low, factor.high) if end is not None)


def _collect(faults: dict[str, LoadgenError], error: BaseException) -> None:
    """Add the errors that are not known yet; those in a scenario one by one.

    Each load of a broken scenario finds the same faults.
    """
    for one in _single(error):
        faults.setdefault(_what(one), one)


def _what(error: LoadgenError) -> str:
    """Return what makes a fault different from others: an unknown param is one fault, not one for each level."""
    if isinstance(error, ScenarioError) and error.faults[0].message.startswith("no param "):
        return error.faults[0].message
    return str(error)


def _single(error: BaseException) -> Iterator[LoadgenError]:
    for one in errors_in(error):
        if isinstance(one, ScenarioError):
            yield from (ScenarioError([fault]) for fault in one.faults)
        elif isinstance(one, LoadgenError):
            yield one
        else:
            raise one


def _check_regions(errors: CollectedErrors, loaded: Iterable[Scenario]) -> None:
    """Add an error if cells use different regions: the agents are the same in all runs."""
    regions = {tuple(sorted(one.plan.spec().regions)) for one in loaded}
    if len(regions) > 1:
        shown = " and ".join(", ".join(one) for one in sorted(regions)[:2])
        errors.found.append(
            UsageError(f"the cells use different regions: {shown}", hint="add --regions with the regions of all cells")
        )
