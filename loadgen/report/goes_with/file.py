"""Reads and writes `goes_with.json`: series of the target that go with slow requests. Format 1; keys are only added.

Shares are 0 to 1, times in s. Texts come from the target and from the scenario, so every output escapes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import replace_file

__all__ = ["FORMAT", "NAME", "GoesWithFile", "Line", "NotTested", "read_goes_with", "write_goes_with"]

FORMAT: Final = 1
NAME: Final = "goes_with.json"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A series that goes with the objective; the fields are those of `loadgen.analysis.goes_with.values.Named`.

    comes_first: None if the lag has no direction. judged_low, judged_high: a share, or a time in ms.
    """

    title: str
    unit: str = ""
    host: str = ""
    judged: str = ""
    judged_unit: str = "%"
    sign: int = 1
    lag_s: float = 0.0
    lag_error_s: float = 0.0
    comes_first: bool | None = None
    low: float | None = None
    high: float | None = None
    judged_low: float | None = None
    judged_high: float | None = None
    n_low: int = 0
    n_high: int = 0
    n: int = 0
    share: float = 0.0
    p: float = 1.0
    strength: float = 0.0
    together: tuple[str, ...] = ()


class NotTested(msgspec.Struct, frozen=True, kw_only=True):
    """A series that was not tested, or that cannot be told from a coincidence."""

    title: str
    host: str = ""
    why: str = ""


class GoesWithFile(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one objective of a run. by: "due" or "end", the second to which a request belongs."""

    run: str
    objective: str
    format: int = FORMAT
    limit_ms: float = 0.0
    by: str = "end"
    step_s: float = 1.0
    points: int = 0
    tested: int = 0
    named: tuple[Line, ...] = ()
    left_out: tuple[NotTested, ...] = ()
    loads: tuple[str, ...] = ()
    not_tested: str = ""
    seed: int = 0


def write_goes_with(folder: Path, file: GoesWithFile) -> Path:
    """Write the file into a run folder, whole or not at all, and return its path.

    Raises:
        StorageError: the file cannot be written.
    """
    path = folder / NAME
    replace_file(path, msgspec.json.format(msgspec.json.encode(file)) + b"\n")
    return path


def read_goes_with(folder: Path) -> GoesWithFile | None:
    """Return the stored result of a run; None if it has none.

    Raises:
        StorageError: the file cannot be read, or was written by a newer loadgen.
    """
    path = folder / NAME
    try:
        file = msgspec.json.decode(path.read_bytes(), type=GoesWithFile)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"cannot read {path}: {exc.strerror or exc}", hint="check its permissions") from exc
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise StorageError(f"cannot read {path}: {exc}", hint="call `loadgen trace` again") from exc
    if file.format > FORMAT:
        raise StorageError(
            f"cannot read {path}: format {file.format} is newer than this loadgen",
            hint="use the version of loadgen that wrote it, or a newer one",
        )
    return file
