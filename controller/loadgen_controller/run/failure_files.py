"""Writes the folder `failures/`: one file for each of the first failures of an agent's requests, by outcome.

The files are for people; `deltas.log` holds the same data durably. So a thread writes the
files without anyone waiting for the disk. A disk error causes a notice and does not end
the run. File names contain texts from agents, so all unsafe characters are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import msgspec

from loadgen.atomic_files import atomic_write
from loadgen.measure.deltas.exemplar import Failure, KeptFailure
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import file_mode, make_subfolder
from loadgen.units import format_count

__all__ = ["FIRST", "MAX_FILES", "FailureFolder", "file_name"]

FIRST: Final = 5
"""The number of failures with a file, for each agent, journey, request and outcome."""
MAX_FILES: Final = 1_000
"""The most files of a run."""
FORMAT: Final = 1


class FailureFolder:
    """The folder `failures/` of one run. Not thread-safe: only one event loop may call it.

    notice: called with each notice for the operator, within `write` and `close`.
    """

    def __init__(self, path: Path, notice: Callable[[str], None]) -> None:
        self.path = path
        self.kept = 0
        self.left_out = 0
        """Failures without a file, because there were too many of their kind or in total."""
        self._notice = notice
        self._counts: dict[tuple[str, str, str, str], int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="failures")
        self._writing: list[Future[None]] = []
        self._is_refused = False

    def write(self, agent: str, region: str, failures: Iterable[Failure]) -> None:
        """Write those failures that are among the first of their kind, each to a file; count the others.

        A thread writes, so that this never waits for the disk. A disk error becomes a notice.
        """
        self._look()
        for failure in failures:
            kind = (agent, failure.journey, failure.request, failure.outcome)
            count = self._counts.get(kind, 0)
            if count >= FIRST or self.kept >= MAX_FILES or self._is_refused:
                self.left_out += 1
                if self.kept >= MAX_FILES:
                    self._notice(
                        f"{format_count(MAX_FILES)} failures were written as files; later ones are only counted"
                    )
                continue
            self._counts[kind] = count + 1
            self.kept += 1
            kept = KeptFailure(self.kept, region, agent, failure)
            self._writing.append(self._thread.submit(self._write, self.path / file_name(kept), encode(kept)))

    def state(self) -> bytes:
        """Return the counts of failures by kind as bytes, for `take_state` after a restart.

        Some files may not be written yet.
        """
        return msgspec.msgpack.encode((self.kept, self.left_out, [(*kind, n) for kind, n in self._counts.items()]))

    def take_state(self, state: bytes) -> None:
        """Continue with the counts of an earlier process, whose files are already in the folder."""
        self.kept, self.left_out, counts = msgspec.msgpack.decode(
            state, type=tuple[int, int, list[tuple[str, str, str, str, int]]]
        )
        self._counts = {(agent, journey, request, outcome): n for agent, journey, request, outcome, n in counts}

    def settled(self) -> None:
        """Wait until all files so far are written or have failed. Blocking, and safe in any thread."""
        wait(tuple(self._writing))

    def close(self) -> None:
        """Write all remaining files and end the thread. Blocking."""
        self._thread.shutdown(wait=True)
        self._look()

    def _look(self) -> None:
        """Check the writes that have ended.

        After a disk error no further files are written, and a notice says so; any other error is raised.
        """
        done = [future for future in self._writing if future.done()]
        self._writing = [future for future in self._writing if not future.done()]
        for future in done:
            error = future.exception()
            if isinstance(error, OSError):
                self._is_refused = True  # the next files would fail too
                self._notice(f"no more failures are written: {storage_error(self.path, error).message}")
            elif error is not None:
                raise error

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        make_subfolder(path.parent)
        atomic_write(path, data, file_mode(path.parent))


def file_name(kept: KeptFailure) -> str:
    """Return the file name of a failure: number, request, outcome and region, for example
    "0001-POST_cart-expect_status-eu-west-1.json". Names sort by arrival.
    """
    failure = kept.failure
    words = (_plain(failure.request or failure.journey), _plain(failure.outcome), _plain(kept.region))
    return "-".join([f"{kept.number:04d}", *filter(None, words)]) + ".json"


def encode(kept: KeptFailure) -> bytes:
    """Return a failure as indented JSON."""
    value = {
        "format": FORMAT,
        "number": kept.number,
        "agent": kept.agent,
        "region": kept.region,
        **{name: _utf8(text) for name, text in msgspec.to_builtins(kept.failure).items()},
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("_.-")[:40].strip("_.-")


def _utf8(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
