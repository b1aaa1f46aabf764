"""Writes a scenario with its data beside it: all files, or none."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from loadgen.atomic_files import atomic_write
from loadgen.errors import StorageError, UsageError
from loadgen.traffic.draft import Draft
from loadgen.traffic.write_scenario import csv_text, scenario_text

__all__ = ["check_new", "files_of", "write_files"]

_MODE = 0o644


def files_of(draft: Draft, scenario: Path, traffic: str, rejects: str = "") -> dict[Path, str]:
    """Return the texts by path: data files, `traffic.json`, `rejects.jsonl` and, as the last one, the scenario.

    rejects: outlines of rejected lines; empty if no line was rejected, and then there is no such file.
    """
    folder = scenario.parent
    files = {folder / file.path: csv_text(file) for file in draft.data_files}
    files[folder / "traffic.json"] = traffic
    if rejects:
        files[folder / "rejects.jsonl"] = rejects
    return {**files, scenario: scenario_text(draft)}


def check_new(scenario: Path) -> None:
    """Refuse the path of a scenario that exists, or that is not the name of a Python file.

    Raises:
        UsageError: with what to write instead.
    """
    if scenario.suffix != ".py":
        raise UsageError(
            f"--output: {scenario.name!r} is not the name of a Python file", hint="write a name such as shop.py"
        )
    if scenario.stem in sys.stdlib_module_names | {"loadgen"}:
        raise UsageError(
            f"--output: {scenario.name} would hide the Python module {scenario.stem} from the files next to it",
            hint=f"write another name, such as {scenario.stem}_shop.py",
        )
    for path in (scenario, scenario.parent / "traffic.json", scenario.parent / "rejects.jsonl"):
        if path.exists():
            raise UsageError(f"{path} already exists", hint="name a scenario in a folder that does not exist yet")


def write_files(files: Mapping[Path, str]) -> None:
    """Write new files. If one cannot be written, those before it are removed.

    Raises:
        UsageError: a file exists.
        StorageError: a file cannot be written.
    """
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, text.encode(), _MODE, is_exclusive=True)
            written.append(path)
    except BaseException as error:
        for done in written:
            done.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise UsageError(f"{path} already exists", hint="name a scenario in a new folder") from None
        if isinstance(error, OSError):
            raise StorageError(
                f"cannot write {path}: {error.strerror or error}", hint="name a file in a folder that you can write to"
            ) from error
        raise
