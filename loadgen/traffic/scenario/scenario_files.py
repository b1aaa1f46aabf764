"""Writes a scenario with its data beside it: all files, or none."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.atomic_files import atomic_file, atomic_write
from loadgen.errors import StorageError, UsageError
from loadgen.traffic.scenario.draft import Draft
from loadgen.traffic.scenario.write_scenario import content_hash, csv_text, scenario_text

__all__ = ["PAGE", "ChangedFiles", "changed_files", "check_new", "facts_of", "files_of", "replace_files", "write_files"]

TRAFFIC: Final = "traffic.json"
PAGE: Final = "report.html"
"""The page for people about the scenario, beside it."""
REJECTS: Final = "rejects.jsonl"
_MODE = 0o644


def files_of(draft: Draft, scenario: Path, traffic: str, page: str = "", rejects: str = "") -> dict[Path, str]:
    """Return the texts by path: data files, those of `facts_of` and, as the last one, the scenario."""
    folder = scenario.parent
    files = {folder / file.path: csv_text(file) for file in draft.data_files}
    return {**files, **facts_of(folder, traffic, page, rejects), scenario: scenario_text(draft)}


def facts_of(folder: Path, traffic: str, page: str = "", rejects: str = "") -> dict[Path, str]:
    """Return the texts by path of `traffic.json`, the page and `rejects.jsonl`, which each update overwrites.

    rejects: outlines of rejected lines. An empty text is no file.
    """
    texts = {TRAFFIC: traffic, PAGE: page, REJECTS: rejects}
    return {folder / name: text for name, text in texts.items() if text}


def check_new(scenario: Path, beside: Sequence[str] = (TRAFFIC, PAGE, REJECTS)) -> None:
    """Refuse the path of a scenario that exists, or that is not the name of a Python file.

    beside: further files, relative to the scenario's folder, that must not exist.

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
    for path in (scenario, *(scenario.parent / name for name in beside)):
        if path.exists():
            raise UsageError(f"{path} already exists", hint="name a scenario in a folder that does not exist yet")


@dataclass(frozen=True)
class ChangedFiles:
    """Data files of an update. new: texts by path. kept: files that were changed by hand."""

    new: dict[Path, str]
    kept: tuple[Path, ...]


def changed_files(draft: Draft, folder: Path, known: Mapping[str, str], *, overwrite: bool) -> ChangedFiles:
    """Return the data files of a draft. Files that were changed by hand are kept, unless `overwrite`.

    known: the hash of each file as it was written last, by path in the folder.
    """
    new, kept = {}, []
    for file in draft.data_files:
        path = folder / file.path
        is_mine = path.exists() and content_hash(_text_of(path)) != known.get(file.path)
        if is_mine and not overwrite:
            kept.append(path)
        else:
            new[path] = csv_text(file)
    return ChangedFiles(new, tuple(kept))


def replace_files(files: Mapping[Path, str]) -> None:
    """Write files, each in place of an old one. If one cannot be written, those before it get their old content back.

    Raises:
        StorageError: a file cannot be written.
    """
    before: dict[Path, bytes | None] = {}
    path = Path()
    try:
        for path, text in files.items():
            before[path] = path.read_bytes() if path.exists() else None
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, text.encode(), _MODE)
    except BaseException as error:
        for done, old in before.items():
            with suppress(OSError):
                if old is None:
                    done.unlink(missing_ok=True)
                elif done.read_bytes() != old:
                    atomic_write(done, old, _MODE)
        if isinstance(error, OSError):
            raise StorageError(
                f"cannot write {path}: {error.strerror or error}; nothing was changed",
                hint="free some space, or check the rights of the folder",
            ) from error
        raise


def _text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def write_files(files: Mapping[Path, str | Path]) -> None:
    """Write new files. If one cannot be written, those before it are removed.

    files: texts by path. In place of a text, a path of a file is copied, for data that are too large for memory.

    Raises:
        UsageError: a file exists.
        StorageError: a file cannot be written.
    """
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path, _MODE, is_exclusive=True) as file:
                if isinstance(text, str):
                    file.write(text.encode())
                else:
                    with text.open("rb") as source:
                        shutil.copyfileobj(source, file)
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
