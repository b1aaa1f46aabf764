"""Reads files that the user names on the command line, within a limit."""

from __future__ import annotations

from pathlib import Path

from loadgen.errors import UsageError

__all__ = ["read_bytes"]


def read_bytes(path: Path, most: int) -> bytes:
    """Return the bytes of a file that the user named.

    Raises:
        UsageError: it cannot be read, or has more than `most` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as exc:
        raise UsageError(
            f"cannot read {path}: {exc.strerror or exc}", hint="check the path and its permissions"
        ) from exc
    if len(data) > most:
        raise UsageError(f"{path} is larger than {most >> 20} MiB", hint="leave out what is far away")
    return data
