"""Finds the inputs that the words of a command line name: files, folders, patterns, `-` and addresses in S3."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from glob import has_magic, iglob
from os import stat_result
from pathlib import Path
from typing import Final

from loadgen.errors import UsageError
from loadgen.traffic.inputs.log_input import STANDARD_INPUT, LogInput
from loadgen.traffic.inputs.s3_logs import s3_inputs
from loadgen.traffic.rows.period import Period

__all__ = ["find_inputs"]

_HINT: Final = "name existing files or folders with logs"


def find_inputs(words: Iterable[str], period: Period) -> list[LogInput]:
    """Return the inputs, each once, sorted by name.

    words: paths of files; folders, which mean all their files except hidden ones; patterns such as `logs/*.gz`, where
    `**` matches folders of any depth; `-` for standard input; `s3://bucket/prefix`.
    period: in S3, the folders of other days are not listed.

    Raises:
        UsageError: a path does not exist, a folder is empty, or nothing matches a pattern or begins with a prefix.
    """
    found: dict[str, LogInput] = {}
    for word in words:
        if word == "-":
            found[word] = LogInput(STANDARD_INPUT, "stream")
        elif word.startswith("s3://"):
            found.update((source.name, source) for source in s3_inputs(word, period))
        else:
            for file in _files(word):
                found.setdefault(str(file.resolve()), _local(file))
    return sorted(found.values(), key=lambda source: source.name)


def _files(word: str) -> list[Path]:
    path = Path(word)
    if path.is_dir():
        return _inside(path)
    if path.exists():
        return [path]
    if not has_magic(word):
        raise UsageError(f"{path}: file not found", hint=_HINT)
    matching = [Path(name) for name in sorted(iglob(word, recursive=True))]  # noqa: PTH207  # also absolute patterns
    files = [path for path in matching if not path.is_dir()]
    if not files:
        files = [file for folder in matching for file in _inside(folder)]
    if not files:
        raise UsageError(f"{word}: no file matches this pattern", hint=_HINT)
    return files


def _inside(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    if not files:
        raise UsageError(f"{folder}: the folder has no files", hint="name a folder or files with logs")
    return files


def _local(file: Path) -> LogInput:
    try:
        found: stat_result = file.stat()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}", hint=_HINT) from None
    if stat.S_ISREG(found.st_mode):
        return LogInput(str(file), size=found.st_size)
    return LogInput(str(file), "stream")
