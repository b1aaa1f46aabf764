"""An index of the summaries in a folder of runs, so that listing runs need not read the large summary files.

`index.json` in the folder of runs has a line of figures for each run, with size and modification time of the summary
that they were read from. If those differ, or the run or the whole index is missing, damaged or of another version, the
summary is read and the index is rewritten. Deleting the index loses nothing, and failing to write it is no error.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import replace_file, storage_error
from loadgen.report.summary_reader import FORMAT
from loadgen.secret_files import shared_mode

__all__ = ["FILE", "Index", "Line"]

FILE: Final = "index.json"
VERSION: Final = 1
_WORTH_IT: Final = 20
"""Fewest runs for which an index is written."""


class Line(msgspec.Struct, frozen=True):
    """The figures of one summary that a list of runs shows."""

    result: str
    exit_code: int
    started_at: str
    duration_s: float
    iterations: int
    requests: int
    errors: int
    agents: int
    agents_complete: int


class _Known(msgspec.Struct, frozen=True):
    size: int
    mtime_ns: int
    line: Line


class _File(msgspec.Struct):
    version: int = VERSION
    runs: dict[str, _Known] = {}


class Index:
    """The index of one folder of runs, while the folder is listed."""

    def __init__(self, runs_dir: Path) -> None:
        self._path = runs_dir / FILE
        self._is_new = False
        self._runs: dict[str, _Known] = {}
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
            self._runs = found.runs if found.version == VERSION else {}

    def line(self, path: Path) -> Line | None:
        """Return the figures of a run's summary, from the index if that is up to date, else from the file.

        None if there is no summary.

        Raises:
            StorageError: the summary cannot be read, or was written by a newer loadgen.
        """
        file = path / "summary.json"
        try:
            stat = file.stat()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise storage_error(file, exc, doing="read") from exc
        known = self._runs.get(path.name)
        if known is None or (known.size, known.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            known = _Known(stat.st_size, stat.st_mtime_ns, _read(file))
            self._runs[path.name] = known
            self._is_new = True
        return known.line

    def keep(self, names: Collection[str]) -> None:
        """Write the index file if it has changed. names: the runs that exist; other runs are dropped from the index."""
        runs = {name: known for name, known in self._runs.items() if name in names}
        if len(runs) >= _WORTH_IT and (self._is_new or len(runs) < len(self._runs)):
            # Without the index a listing only takes longer, so a folder that is read-only is no error.
            with suppress(StorageError, OSError):
                replace_file(self._path, msgspec.json.encode(_File(runs=runs)), shared_mode(self._path.parent))


# -- a summary, of which only the figures of a line are decoded ----------------------------------------


class _Requests(msgspec.Struct):
    finished: int = 0
    errors: int = 0


class _Iterations(msgspec.Struct):
    started: int = 0


class _Agent(msgspec.Struct):
    complete: bool = False


class _Summary(msgspec.Struct):
    format: int
    result: str
    exit_code: int
    duration_s: float
    started_at: str = ""
    requests: _Requests = msgspec.field(default_factory=_Requests)
    iterations: _Iterations = msgspec.field(default_factory=_Iterations)
    agents: tuple[_Agent, ...] = ()


_DECODER: Final = msgspec.json.Decoder(_Summary)


def _read(file: Path) -> Line:
    try:
        s = _DECODER.decode(file.read_bytes())
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(
            f"cannot read {file}: {exc}", hint="the file is damaged: delete the run, or restore it"
        ) from exc
    if s.format > FORMAT:
        raise StorageError(
            f"cannot read {file}: its format is {s.format}, and this loadgen reads formats up to {FORMAT}",
            hint="use a newer loadgen",
        )
    return Line(
        s.result,
        s.exit_code,
        s.started_at,
        s.duration_s,
        s.iterations.started,
        s.requests.finished,
        s.requests.errors,
        len(s.agents),
        sum(agent.complete for agent in s.agents),
    )
