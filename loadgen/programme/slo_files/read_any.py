"""Reads files of objectives of any kind that loadgen knows, found by their content: OpenSLO v1 and sloth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from loadgen.errors import Fault, UsageError
from loadgen.programme.openslo.read import read_parsed
from loadgen.programme.promises.slo_set import Place, Reading, SloSet
from loadgen.programme.slo_files.yaml_nodes import read_documents
from loadgen.programme.sloth.alert_windows import GOOGLE_30D, AlertWindows
from loadgen.programme.sloth.read import is_sloth, read_parsed_sloth

__all__ = ["files_in", "read_objectives"]


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Return the YAML files among paths and folders, each once, sorted within a folder.

    Raises:
        UsageError: a folder has no YAML file, or there are more than 1,000 files.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted({*path.glob("*.yaml"), *path.glob("*.yml")}) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path}: no YAML file in this folder", hint="write one with: loadgen slo new NAME")
        found |= dict.fromkeys(inside)
    if len(found) > 1_000:
        raise UsageError(f"{len(found):,} files, but at most 1,000 can be read together", hint="name fewer files")
    return list(found)


def read_objectives(paths: Iterable[Path], windows: AlertWindows = GOOGLE_30D) -> Reading:
    """Read all files together. windows: period and alerts of objectives in files of sloth."""
    parsed = [read_documents(path) for path in paths]
    readings = [read_parsed_sloth(one, windows) for one in parsed if is_sloth(one)]
    others = [one for one in parsed if not is_sloth(one)]
    if others:
        readings.append(read_parsed(others))
    return _together(readings)


def _together(readings: Sequence[Reading]) -> Reading:
    if len(readings) == 1:
        return readings[0]
    places: dict[str, Place] = {}
    faults = {fault for one in readings for fault in one.faults}
    for reading in readings:
        for name, place in reading.places.items():
            if name in places:
                message = f'a second objective is named "{name}"'
                first = f"the first is at {places[name].file}:{places[name].line}"
                faults.add(Fault(place.file, place.line, message, first))
            places.setdefault(name, place)
    slos = SloSet.of(
        (one for reading in readings for one in reading.slos.objectives),
        (one for reading in readings for one in reading.slos.sources),
        (one for reading in readings for one in reading.slos.services),
        (one for reading in readings for one in reading.slos.composites),
    )
    notes = {note for one in readings for note in one.notes}
    return Reading(slos, tuple(sorted(faults)), tuple(sorted(notes)), places)
