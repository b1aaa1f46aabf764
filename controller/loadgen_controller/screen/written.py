"""Where a command writes a file: stdout, or a file that is there whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from loadgen.measure.rundir import storage_error

__all__ = ["opened"]


@contextmanager
def opened(output: Path | None) -> Iterator[BinaryIO]:
    """Stdout, or a file beside the one that is meant, which takes its place when it is whole."""
    if output is None or str(output) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f".{output.name}.part")
    try:
        try:
            with part.open("wb") as file:
                yield file
            part.replace(output)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise storage_error(output, exc) from exc
