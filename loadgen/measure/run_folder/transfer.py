"""Copies a run's folder to another machine: the files that are sent, and their arrival, whole or not at all.

Left out are files that exist only while a run goes on, the output of agents, and secrets.
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
    "probes.log",
    "streams.log",
    "traces.json",
    "cause.json",
    "report.html",
)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_FAILURE: Final = re.compile(r"failures/[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}\.json")
_TRACES: Final = re.compile(r"traces/[A-Za-z0-9_][A-Za-z0-9_.]{0,39}-\d{5}\.jsonl\.zst")


_PROBES: Final = re.compile(r"probes/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.log")


def is_needed(name: str) -> bool:
    """Return whether a file of this name is sent with a run. A receiver must write no file of another name."""
    return name in _NEEDED or any(one.fullmatch(name) for one in (_FAILURE, _TRACES, _PROBES))


def needed(path: Path) -> Iterator[str]:
    """Yield the names of the files in a run's folder that are sent to another machine."""
    yield from (name for name in _NEEDED if (path / name).is_file())
    for folder in ("failures", "traces", "probes"):
        for file in sorted((path / folder).glob("*")):
            if is_needed(name := f"{folder}/{file.name}"):
                yield name


def pieces_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, piece of its content) for all files of a run's folder that are sent, file by file.

    An empty file has one empty piece.

    Raises:
        StorageError: a file cannot be read.
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
    """A run's folder that arrives piece by piece, written to `.ID.coming` and renamed at the end.

    Use it in a `with` block. If the block ends with an error, nothing is left behind.

    Each call raises:
        StorageError: a file cannot be written, or a received name does not belong to a run.
    """

    def __init__(self, runs_dir: Path, run_id: str) -> None:
        """Prepare to receive the run `run_id` into `runs_dir`. Nothing is written before the `with` block.

        Raises:
            StorageError: the sender's id is not a valid run id.
        """
        if not _ID.fullmatch(run_id):
            raise StorageError(
                f"cannot receive a run: invalid run id {run_id[:80]!r}",
                hint="send a run whose id has only letters, digits, '.', '_' and '-', and at most 121 characters",
            )
        self.path = runs_dir / run_id
        self._partial = runs_dir / f".{run_id}.coming"
        self._name = ""
        self._file: BinaryIO | None = None

    @property
    def is_there(self) -> bool:
        """Return whether the run's folder exists here already: it arrived before, or the run was made here."""
        return self.path.is_dir()

    def __enter__(self) -> Self:
        try:
            shutil.rmtree(self._partial, ignore_errors=True)  # left by a transfer that was killed
            self._partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_folder(self._partial)
        except OSError as exc:
            raise storage_error(self._partial, exc) from exc
        return self

    def add(self, name: str, piece: bytes) -> None:
        """Write the next piece of a file. A name other than that of the last piece begins a new file."""
        try:
            if self._file is None or name != self._name:
                self._close()
                self._name, self._file = name, self._begin(name)
            self._file.write(piece)
        except OSError as exc:
            raise storage_error(self._partial / name, exc) from exc

    def _begin(self, name: str) -> BinaryIO:
        if not is_needed(name):
            raise StorageError(
                f"cannot receive run {self.path.name}: {name[:80]!r} is not a file of a run",
                hint="send only folders that loadgen made",
            )
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
                # A rename is atomic, so no reader ever finds a part of a run.
                self._partial.rename(self.path)
        except OSError as exc:
            raise storage_error(self._partial, exc) from exc
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)
