"""Writes `failures/`: the first failures of each request and outcome of each agent, a file each, as they come in.

The files are for people; what they hold stands in `deltas.log` too, durable before
it is acknowledged. So they are written without waiting for the disk, by a thread
of their own, and a disk that refuses is a notice and not the end of the run.
Names are made of what agents say, so of each only plain letters are taken.
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
"""Of each journey, request and outcome, an agent."""
MAX_FILES: Final = 1_000
FORMAT: Final = 1


class FailureFolder:
    """The folder of one run. Not thread-safe: one loop writes.

    notice: told what a person should know; called within `write` and `close`, by the thread that calls those.
    """

    def __init__(self, path: Path, notice: Callable[[str], None]) -> None:
        self.path = path
        self.kept = 0
        self.left_out = 0
        """Failures that came and have no file: too many of their kind, or in all."""
        self._notice = notice
        self._counts: dict[tuple[str, str, str, str], int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="failures")
        self._writing: list[Future[None]] = []
        self._is_refused = False

    def write(self, agent: str, region: str, failures: Iterable[Failure]) -> None:
        """Keep what is among the first of its kind. Returns at once; never raises because of the disk."""
        self._look()
        for failure in failures:
            kind = (agent, failure.journey, failure.request, failure.outcome)
            count = self._counts.get(kind, 0)
            if count >= FIRST or self.kept >= MAX_FILES or self._is_refused:
                self.left_out += 1
                if self.kept >= MAX_FILES:
                    self._notice(f"failures: {format_count(MAX_FILES)} are kept whole; those after them are counted")
                continue
            self._counts[kind] = count + 1
            self.kept += 1
            kept = KeptFailure(self.kept, region, agent, failure)
            self._writing.append(self._thread.submit(self._write, self.path / file_name(kept), encode(kept)))

    def state(self) -> bytes:
        """How many there are of each kind, for `take_state` of another one; the files it speaks of may be under way."""
        return msgspec.msgpack.encode((self.kept, self.left_out, [(*kind, n) for kind, n in self._counts.items()]))

    def take_state(self, state: bytes) -> None:
        """Go on where another one was, whose files are there."""
        self.kept, self.left_out, counts = msgspec.msgpack.decode(
            state, type=tuple[int, int, list[tuple[str, str, str, str, int]]]
        )
        self._counts = {(agent, journey, request, outcome): n for agent, journey, request, outcome, n in counts}

    def settled(self) -> None:
        """What is under way is written, or refused. Blocking, and safe in any thread."""
        wait(tuple(self._writing))

    def close(self) -> None:
        """All that is under way is written, or refused."""
        self._thread.shutdown(wait=True)
        self._look()

    def _look(self) -> None:
        """What became of the files that were under way."""
        done = [future for future in self._writing if future.done()]
        self._writing = [future for future in self._writing if not future.done()]
        for future in done:
            error = future.exception()
            if isinstance(error, OSError):
                self._is_refused = True  # it would refuse the next, too
                self._notice(f"no more failures are written: {storage_error(self.path, error).message}")
            elif error is not None:
                raise error

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        make_subfolder(path.parent)
        atomic_write(path, data, file_mode(path.parent))


def file_name(kept: KeptFailure) -> str:
    """ "0001-POST_cart-expect_status-eu-west-1.json": sorts as they came, and says what is in it."""
    failure = kept.failure
    words = (_plain(failure.request or failure.journey), _plain(failure.outcome), _plain(kept.region))
    return "-".join([f"{kept.number:04d}", *filter(None, words)]) + ".json"


def encode(kept: KeptFailure) -> bytes:
    """As JSON that a person can read."""
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
