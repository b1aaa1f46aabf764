"""What was done to a fleet, by whom: one line of JSON for each call that changes something, before and after it.

It is appended beside `fleet.json`, and synced: what was begun is on the disk before AWS hears of it.
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
    """
    Threads may share it: a line is one write.
    """

    def __init__(self, path: Path, by: str = "", now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path, self.by, self._now = path, by, now

    def note(self, deed: str, result: str, **what: object) -> None:
        """
        Raises:
            StorageError: it cannot be written.
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
        """A call within: begun, then done or why not."""
        self.note(deed, "begun", **what)
        try:
            yield
        except LoadgenError as error:
            self.note(deed, f"failed: {error.message}", **what)
            raise
        self.note(deed, "done", **what)


def audit_beside(fleet_file: Path) -> Path:
    return fleet_file.with_name(f"{fleet_file.stem}{SUFFIX}")
