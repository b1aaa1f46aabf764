"""Opens the JSON document of a study in a notebook.

found = loadgen.open_study("capacity.json")
found.facts["peak_load"], found.frame()
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.errors import StorageError, UsageError
from loadgen.extras import how_to_install
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.studies.files import FORMAT

__all__ = ["StoredStudy", "open_study", "study_of_bytes"]

_MOST_BYTES: Final = 64 << 20


class _File(msgspec.Struct, frozen=True):
    format: int
    kind: str
    title: str = ""
    result: str = ""
    headline: str = ""
    lines: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    rows: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study that was read from its JSON document. The fields are those of `Study`."""

    kind: str
    title: str
    result: str
    headline: str
    lines: tuple[str, ...]
    run_ids: tuple[str, ...]
    facts: dict[str, Any]
    rows: tuple[dict[str, Any], ...]

    def frame(self) -> Any:
        """Return the rows as a pandas frame.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError:
            raise UsageError("a frame needs pandas, which is not installed", hint=how_to_install("analysis")) from None
        return pandas.DataFrame(list(self.rows))


def open_study(path: str | Path) -> StoredStudy:
    """Open a JSON document that `loadgen capacity ... --json FILE` or `loadgen sweep` has written.

    Raises:
        StorageError: the file cannot be read.
        UsageError: the file is no study, or was written by a newer loadgen.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StorageError(f"{path} is larger than 64 MiB", hint="name the JSON document of a study")
        data = path.read_bytes()
    except OSError as exc:
        raise storage_error(path, exc, doing="read", elsewhere="name the JSON document of a study") from exc
    return study_of_bytes(data, str(path))


def study_of_bytes(data: bytes, name: str) -> StoredStudy:
    """Return the study in a JSON document. name: how an error names the document.

    Raises:
        UsageError: the document is no study, or was written by a newer loadgen.
    """
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise UsageError(
            f"{name} is not the JSON document of a study: {exc}",
            hint="write one with `loadgen capacity ... --json FILE`",
        ) from exc
    if file.format > FORMAT:
        raise UsageError(
            f"{name} has format {file.format}, and this loadgen reads formats up to {FORMAT}",
            hint="read it with the loadgen that wrote it, or a newer one",
        )
    return StoredStudy(
        file.kind, file.title, file.result, file.headline, file.lines, file.run_ids, file.facts, file.rows
    )
