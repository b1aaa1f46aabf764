"""The audit log of a fleet: who changed what, and when.

Each change writes two lines of JSON: one before the call to AWS and one after it. The log is a file next to
`fleet.json`. Each line is synced to disk, so a change that was begun is on record even if this process dies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loadgen.errors import LoadgenError
from loadgen.measure.run_folder.rundir import storage_error

__all__ = ["Audit", "audit_beside"]

SUFFIX: Final = ".audit.jsonl"


class Audit:
    """An append-only log of the changes to a fleet. Threads may share it: each line is a single write.

    by: the ARN of the identity that makes the changes.
    """

    def __init__(self, path: Path, by: str = "", now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path, self.by, self._now = path, by, now

    def note(self, deed: str, result: str, **what: object) -> None:
        """Append one line with the time, the identity, `deed`, `result` and the fields of `what`, and sync it.

        Raises:
            StorageError: the log cannot be written.
        """
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"at": at, "by": self.by, "deed": deed, "result": result, **what}) + "\n"
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(line.encode())
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(self.path, error) from error

    @contextmanager
    def of(self, deed: str, **what: object) -> Iterator[None]:
        """Log "begun" before the body, and "done" or the reason of its failure after it."""
        self.note(deed, "begun", **what)
        try:
            yield
        except LoadgenError as error:
            self.note(deed, f"failed: {error.message}", **what)
            raise
        self.note(deed, "done", **what)


def audit_beside(fleet_file: Path) -> Path:
    """Return the path of the audit log that belongs to a fleet file: NAME.audit.jsonl in the same folder."""
    return fleet_file.with_name(f"{fleet_file.stem}{SUFFIX}")
