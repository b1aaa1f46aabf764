"""What the summaries of a folder of runs say in a line each, so that the large files need not be read for a list.

`index.json` in the folder of runs holds, by run, size and time of the summary that it
was read from. Where those differ, the run is not in it, or the index is lost, torn or
of another version, the summary is read and the index is written anew: deleting it
loses nothing. That it cannot be written is no error.
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
"""With fewer runs no index is written."""


class Line(msgspec.Struct, frozen=True):
    """Of one summary."""

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
    """Of one folder of runs, while it is listed."""

    def __init__(self, runs_dir: Path) -> None:
        self._path = runs_dir / FILE
        self._is_new = False
        self._runs: dict[str, _Known] = {}
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
            self._runs = found.runs if found.version == VERSION else {}

    def line(self, path: Path) -> Line | None:
        """Of the run's summary; None where it has none.

        Raises:
            StorageError: it cannot be read, or is of a newer loadgen.
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
        """Write it where it has changed. names: of the runs that there are."""
        runs = {name: known for name, known in self._runs.items() if name in names}
        if len(runs) >= _WORTH_IT and (self._is_new or len(runs) < len(self._runs)):
            with suppress(StorageError, OSError):
                replace_file(self._path, msgspec.json.encode(_File(runs=runs)), shared_mode(self._path.parent))


# -- a summary, of which only what a line has is read ------------------------------------------------


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
        raise StorageError(f"cannot read {file}: {exc}") from exc
    if s.format > FORMAT:
        raise StorageError(f"cannot read {file}: it has format {s.format}, and this loadgen knows up to {FORMAT}")
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
