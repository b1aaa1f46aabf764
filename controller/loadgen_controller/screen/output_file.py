"""Writes the output file of a command: to stdout, or to a file that appears only when it is complete."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from loadgen.atomic_files import atomic_file
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import UMASK_ONLY, file_mode

__all__ = ["opened", "write"]


def write(output: Path | None, data: bytes) -> None:
    """Write `data` to the file, or to stdout if `output` is None or "-".

    Raises:
        StorageError: the file cannot be written.
    """
    with opened(output) as file:
        file.write(data)


@contextmanager
def opened(output: Path | None) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `output` at the end of the block, or stdout if `output` is None or "-".

    If `output` exists and is not a regular file (`/dev/stdout`, a pipe), it is written directly.

    Raises:
        StorageError: the file cannot be written.
    """
    if output is None or str(output) == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    is_file = output.is_file() or not output.exists()
    if is_file:
        output = Path(os.path.realpath(output))
    try:
        if not is_file:
            with output.open("wb") as file:
                yield file
            return
        is_in_run = (output.parent / "manifest.json").is_file()
        with atomic_file(output, file_mode(output.parent) if is_in_run else UMASK_ONLY) as file:
            yield file
    except OSError as exc:
        raise storage_error(output, exc, elsewhere="name another file") from exc
