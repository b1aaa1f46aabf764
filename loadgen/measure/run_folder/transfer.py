"""What of a run's folder is carried elsewhere, and how a folder arrives: whole, or not at all.

Left out are what is only for a run that goes on, what agents wrote to their output, and secrets.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import make_folder, make_subfolder, open_private

__all__ = ["PIECE_BYTES", "Coming", "is_needed", "needed", "pieces_of"]

PIECE_BYTES: Final = 1 << 20
_NEEDED: Final = (
    "manifest.json",
    "bundle.tar",
    "deltas.log",
    "events.jsonl",
    "summary.json",
    "histograms.hlog",
    "notes.json",
    "metrics.json",
    "traces.json",
    "report.html",
)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_FAILURE: Final = re.compile(r"failures/[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}\.json")


def is_needed(name: str) -> bool:
    """Whether a file of this name may be of a run's folder; so it is also safe to write."""
    return name in _NEEDED or _FAILURE.fullmatch(name) is not None


def needed(path: Path) -> Iterator[str]:
    """Names of the files that are there."""
    yield from (name for name in _NEEDED if (path / name).is_file())
    for file in sorted((path / "failures").glob("*.json")):
        if is_needed(name := f"failures/{file.name}"):
            yield name


def pieces_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """All of them as (name, piece), a file's pieces one after another; of an empty file one that is empty.

    Raises:
        StorageError: one cannot be read.
    """
    for name in needed(path):
        try:
            with (path / name).open("rb") as file:
                yield name, file.read(PIECE_BYTES)
                while piece := file.read(PIECE_BYTES):
                    yield name, piece
        except OSError as exc:
            raise storage_error(path / name, exc, doing="read") from exc


class Coming:
    """A run's folder while it arrives piece by piece: beside the others as `.ID.coming`, and in its place at the end.

    Use it with `with`; where that is left by an error, nothing is left behind.

    Raises, each call:
        StorageError: it cannot be written, or what comes is no file of a run.
    """

    def __init__(self, runs_dir: Path, run_id: str) -> None:
        """
        Raises:
            StorageError: whoever sends it calls it by what is no name of a run.
        """
        if not _ID.fullmatch(run_id):
            raise StorageError(f"cannot take a run of the name {run_id[:80]!r}")
        self.path = runs_dir / run_id
        self._partial = runs_dir / f".{run_id}.coming"
        self._name = ""
        self._file: BinaryIO | None = None

    @property
    def is_there(self) -> bool:
        """It has arrived already, or was made here."""
        return self.path.is_dir()

    def __enter__(self) -> Self:
        try:
            shutil.rmtree(self._partial, ignore_errors=True)  # of one that was killed
            self._partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_folder(self._partial)
        except OSError as exc:
            raise storage_error(self._partial, exc) from exc
        return self

    def add(self, name: str, piece: bytes) -> None:
        try:
            if self._file is None or name != self._name:
                self._close()
                self._name, self._file = name, self._begin(name)
            self._file.write(piece)
        except OSError as exc:
            raise storage_error(self._partial / name, exc) from exc

    def _begin(self, name: str) -> BinaryIO:
        if not is_needed(name):
            raise StorageError(f"cannot take the folder of {self.path.name}: {name[:80]!r} is no file of a run")
        file = self._partial / name
        if file.parent != self._partial:
            make_subfolder(file.parent)
        return os.fdopen(open_private(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
            if kind is None:
                self._partial.rename(self.path)
        except OSError as exc:
            raise storage_error(self._partial, exc) from exc
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)
