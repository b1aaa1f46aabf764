"""The file `streams.log` of a run folder: the kept event lists of streams of AI models.

It is a log of JSON records (`crc_record_log.py`), as `probes.log` is. The first record has the format and the share;
each further one has the streams of one delta. `deltas.log` holds the same data durably. So a thread writes this file,
and a disk error causes a notice and does not end the run. A restarted controller may write the streams of a delta
again; readers take each delta once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.kept_stream import KeptStream, is_possible
from loadgen.measure.deltas.limits import KEPT_STREAMS_OF_AGENT
from loadgen.measure.run_folder.crc_record_file import HEAD_BYTES
from loadgen.measure.run_folder.crc_record_log import RecordLog, read_log, unreadable
from loadgen.units import format_count

__all__ = ["FORMAT", "NAME", "KeptOfRun", "RunStream", "StreamLog", "read_streams"]

NAME: Final = "streams.log"
FORMAT: Final = 1
_MAGIC: Final = b"lgstrms1"
_RECORD_MOST: Final = 64 << 20
_MOST_OF_RUN: Final = 200_000
_MOST_BYTES: Final = 1 << 30
"""Most streams and bytes of a run; agents of a sound fleet stay below."""


class _Begin(msgspec.Struct, frozen=True, tag="begin"):
    format: int
    share: float


class _Streams(msgspec.Struct, frozen=True, tag="streams", omit_defaults=True):
    """The streams of one delta. left_out: streams of the delta that were chosen and not kept, because of a limit."""

    agent: str
    region: str
    epoch: int
    seq: int
    left_out: int = 0
    streams: tuple[KeptStream, ...] = ()


@dataclass(frozen=True, slots=True)
class RunStream:
    """A kept stream with the agent and region that it came from."""

    agent: str
    region: str
    stream: KeptStream


@dataclass(frozen=True, slots=True)
class KeptOfRun:
    """The kept streams of a run, in the order of their calls. left_out: chosen ones that a limit prevented."""

    share: float
    streams: tuple[RunStream, ...] = ()
    left_out: int = 0

    def after(self, warmup_ns: int = 0) -> tuple[RunStream, ...]:
        """Return the streams without those that were due in the warm-up, which ended `warmup_ns` after T0."""
        return tuple(one for one in self.streams if not one.stream.warmup and one.stream.due_ns >= warmup_ns)

    def sample(self, warmup_ns: int = 0) -> tuple[KeptStream, ...]:
        """Return the streams that were chosen by chance, without those of the warm-up: a sample for statistics."""
        return tuple(one.stream for one in self.after(warmup_ns) if one.stream.why == "share")


@dataclass(slots=True)
class _Written:
    streams: int = 0
    size_bytes: int = 0
    by_agent: Counter[str] = field(default_factory=Counter)


class StreamLog:
    """The file of one run, for writing. Not thread-safe: only one event loop may call it.

    share: of all streams; 0: nothing is kept, and there is no file. notice: called with each notice for the operator,
    within `write` and `close`.
    """

    def __init__(self, folder: Path, share: float, notice: Callable[[str], None]) -> None:
        self.path = folder / NAME
        self._share, self._notice = share, notice
        self._log: RecordLog | None = None
        """The file, which the thread opens with the first streams."""
        # A restarted controller appends to the file of the one before.
        self._done = _Written(size_bytes=self.path.stat().st_size if share and self.path.exists() else 0)
        self._left_out = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="streams")
        self._writing: list[Future[None]] = []
        self._is_refused = self._is_over = False

    def write(self, agent: str, region: str, delta: Delta) -> None:
        """Write the streams of a delta that was merged. A thread writes, so that this never waits for the disk."""
        self._look()
        if not self._share or self._is_refused:
            return
        streams, done = delta.streams, self._done
        room = min(KEPT_STREAMS_OF_AGENT - done.by_agent[agent], _MOST_OF_RUN - done.streams)
        if len(streams) > room or done.size_bytes > _MOST_BYTES:
            if not self._is_over:
                self._is_over = True
                self._notice(
                    f"the event lists of {format_count(done.streams)} streams"
                    f" ({done.size_bytes / (1 << 20):.0f} MiB) were kept; some later ones are only counted"
                )
            streams = streams[: 0 if done.size_bytes > _MOST_BYTES else max(0, room)]
        left_out = delta.streams_left_out + len(delta.streams) - len(streams)
        done.streams += len(streams)
        done.by_agent[agent] += len(streams)
        record = _Streams(agent, region, delta.epoch, delta.seq, left_out, streams)
        data = msgspec.json.encode(record)
        done.size_bytes += HEAD_BYTES + len(data)
        self._writing.append(self._thread.submit(self._append, data))

    def settled(self) -> None:
        """Wait until all streams so far are written and durable. Blocking, and safe in any thread."""
        wait(tuple(self._writing))
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Write all remaining streams, and close the file. Blocking."""
        self._thread.shutdown(wait=True)
        self._look()
        if self._log is not None:
            self._log.close()

    def _look(self) -> None:
        """Check the writes that have ended. After a disk error, write nothing further, and send a notice."""
        done = [future for future in self._writing if future.done()]
        self._writing = [future for future in self._writing if not future.done()]
        for future in done:
            error = future.exception()
            if isinstance(error, StorageError):
                if not self._is_refused:
                    self._is_refused = True
                    self._notice(f"no more event lists of streams are written: {error.message}")
            elif error is not None:
                raise error

    def _append(self, record: bytes) -> None:
        """Write a record, in the thread."""
        if self._log is None:
            self._log = RecordLog(self.path, _MAGIC)
        if self._log.is_empty:
            self._log.append(msgspec.json.encode(_Begin(FORMAT, self._share)))
        self._log.append(record)


def read_streams(folder: Path) -> KeptOfRun | None:
    """Return the kept streams of a run, up to the first damaged record; None if the run has no such file.

    Raises:
        StorageError: the file cannot be read, or a newer loadgen wrote it.
    """
    share = 0.0
    found: dict[tuple[str, int, int], _Streams] = {}
    for record in _records(folder / NAME):
        if isinstance(record, _Begin):
            share = record.share
        else:
            found.setdefault((record.agent, record.epoch, record.seq), record)
    if not share:
        return None
    left_out = sum(one.left_out for one in found.values())
    streams = [RunStream(one.agent, one.region, stream) for one in found.values() for stream in one.streams]
    streams.sort(key=lambda one: (one.stream.at_ns, one.agent))
    return KeptOfRun(share, tuple(streams), left_out)


def _records(path: Path) -> Iterator[_Begin | _Streams]:
    for record in read_log(path, _MAGIC, msgspec.json.Decoder(_Begin | _Streams), most=_RECORD_MOST):
        if isinstance(record, _Begin) and record.format > FORMAT:
            raise unreadable(path, f"unknown format {record.format}")
        if isinstance(record, _Streams) and not all(map(is_possible, record.streams)):
            raise unreadable(path, "it has an impossible event list")
        yield record
