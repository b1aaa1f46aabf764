"""A run's folder: what is left of a run, written so that a crash loses nothing that was acknowledged.

    manifest.json     the plan, settings and versions
    bundle.tar        what was shipped to the agents
    deltas.log        every delta, append-only, each with its CRC
    events.jsonl      every decision, with its times
    summary.json      figures, verdict and reasons
    histograms.hlog   HdrHistogram V2, for any HdrHistogram tool
    failures/         the first failures of each kind, whole: a JSON file each
    control.json      only while the run goes on: where it can be asked to pause and the like
    merged.log        only while a long run goes on: the deltas added up by interval (`cells.py`)
    checkpoint        only while a long run goes on: all that was merged so far (`checkpoint.py`)
    notes.json        what people said of it afterwards: labels and a note
    report.html

`deltas.log` is 8 bytes of magic and records of: length u32, CRC-32 of the
payload u32, both little endian, payload. A record that was torn by a crash or
lost a bit ends the log: it and what follows is cut when the log is written on.

`append` and `event` only buffer. `sync` writes and is durable when it returns;
the conductor calls it off the loop, at most 200 ms after the first append.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from loadgen.atomic_files import atomic_write, sync_folder
from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.record_file import HEAD_BYTES, framed, read_framed
from loadgen.secret_files import file_mode, make_folder, open_private

__all__ = ["RunDir", "find_run", "list_runs", "new_run_id", "replace_file", "storage_error", "utc_text"]

_MAGIC: Final = b"lgdelta1"
_MAX_RECORD: Final = 64 << 20
"""Longer than any record of ours: such a length is damage."""

_HINTS: Final = {
    errno.ENOSPC: "make space, or choose another folder with --runs-dir",
    errno.EDQUOT: "your disk quota is used up; make space, or choose another folder with --runs-dir",
    errno.EACCES: "choose a folder that you may write to with --runs-dir",
    errno.EPERM: "choose a folder that you may write to with --runs-dir",
    errno.EROFS: "the file system is read-only; choose another folder with --runs-dir",
    errno.EEXIST: "choose another folder with --runs-dir",
    errno.ENOTDIR: "a part of the path is a file; choose another folder with --runs-dir",
    errno.ENOENT: "is this the folder of a run? `loadgen runs` lists them",
    errno.EIO: "the disk is failing; choose another one with --runs-dir",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def storage_error(path: Path, exc: OSError, *, doing: str = "write") -> StorageError:
    """The one translation of what a file system says: which file, why, and what to do."""
    why = exc.strerror or str(exc)
    is_missing_parent = exc.errno == errno.ENOENT and doing == "write"
    hint = "choose another folder with --runs-dir" if is_missing_parent else _HINTS.get(exc.errno or 0, "")
    return StorageError(f"cannot {doing} {path}: {why}", hint=hint)


def utc_text(at: datetime) -> str:
    """RFC 3339 UTC with milliseconds: "2026-11-24T17:03:12.345Z"."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_run_id(now: datetime, name: str = "") -> str:
    """A run's name that sorts by time: "20261124-170312-checkout-a1b2". `name` is the scenario's."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return "-".join(filter(None, (now.astimezone(UTC).strftime("%Y%m%d-%H%M%S"), slug, secrets.token_hex(2))))


def list_runs(runs_dir: Path) -> list[Path]:
    """Folders of runs, newest first; empty where there are none. Those that other users keep to themselves are not."""
    try:
        found = [path for path in runs_dir.iterdir() if _is_run(path)]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise storage_error(runs_dir, exc, doing="read") from exc
    return sorted(found, key=lambda path: path.name, reverse=True)


def _is_run(path: Path) -> bool:
    try:
        return (path / "manifest.json").is_file()
    except PermissionError:
        return False


def find_run(run: str, runs_dir: Path) -> Path:
    """The folder of one run. run: its id, how that begins, "last" for the newest, or a path.

    Raises:
        UsageError: there is none, or more than one.
        StorageError: the folder of runs cannot be read.
    """
    given = Path(run)
    if (given / "manifest.json").is_file() and (len(given.parts) > 1 or run in (".", "..")):
        return given
    paths = list_runs(runs_dir)
    if run == "last":
        found = paths[:1]
    else:
        found = [path for path in paths if path.name == run] or [p for p in paths if run and p.name.startswith(run)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs begin with {run}", hint=", ".join(path.name for path in found[:5]))
    raise UsageError(f"no run {run} in {runs_dir}", hint="loadgen runs lists what there is; --runs-dir says where")


def replace_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write the file whole or not at all: beside it, made durable, then renamed over it.

    Args:
        mode: of the file, before the umask. None: that of a file in a run's folder (`loadgen/secret_files.py`).

    Raises:
        StorageError: it could not be; what was there before is unchanged.
    """
    try:
        atomic_write(path, data, file_mode(path.parent) if mode is None else mode, is_durable=True)
    except OSError as exc:
        raise storage_error(path, exc) from exc


class RunDir:
    """The folder of one run, open for reading, or for writing by one process."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] | None = None) -> None:
        """Use `create` or `open`. `now` gives the wall clock, which is only for labels."""
        self.path = path
        self.cut_bytes = 0
        """Damaged or torn bytes at the end of the log, found when it was opened."""
        self.durable = 0
        """How many of the records appended since it was opened are durable."""
        self._in_writing = 0
        self._now = now or (lambda: datetime.now(UTC))
        self._fd = -1
        self._end = self._appended_end = 0
        self._records: list[bytes] = []
        self._events: list[bytes] = []
        self._events_end = 0
        self._swap = threading.Lock()
        self._writing = threading.Lock()

    def __repr__(self) -> str:
        return f"<RunDir {self.path}: {self._end:,} bytes of deltas, {len(self._records)} to sync>"

    @classmethod
    def create(cls, runs_dir: Path, run_id: str, *, now: Callable[[], datetime] | None = None) -> RunDir:
        """Make the folder `runs_dir/run_id` with an empty log, and open it for writing.

        Raises:
            StorageError: it is there already, or cannot be made.
        """
        run_dir = cls(runs_dir / run_id, now=now)
        try:
            runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_folder(run_dir.path)
            run_dir._fd = open_private(run_dir.log_path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            run_dir._lock()
            _write_all(run_dir._fd, _MAGIC)
            _fdatasync(run_dir._fd)
            sync_folder(run_dir.path)
            sync_folder(runs_dir)
        except OSError as exc:
            run_dir.close()
            raise storage_error(run_dir.path, exc) from exc
        run_dir._end = run_dir._appended_end = len(_MAGIC)
        return run_dir

    @classmethod
    def open(
        cls, path: Path, *, writable: bool = False, sound_to: int = 0, now: Callable[[], datetime] | None = None
    ) -> RunDir:
        """Open a run's folder. With `writable` a torn or damaged end of the log is cut off, and the log goes on there.

        sound_to: offset in the log up to which it was seen to be sound; where the log reaches that far it is read
            from there on.

        Raises:
            StorageError: no such run, its log is no log of ours, or somebody writes there.
        """
        run_dir = cls(path, now=now)
        log_path = run_dir.log_path
        try:
            if writable:
                run_dir._fd = os.open(log_path, os.O_RDWR | os.O_CLOEXEC)
                run_dir._lock()
            size = log_path.stat().st_size
            start = sound_to if len(_MAGIC) < sound_to <= size else len(_MAGIC)
            run_dir._end = start + sum(HEAD_BYTES + len(r) for r in run_dir.records(start))
            run_dir._appended_end = run_dir._end
            run_dir.cut_bytes = max(0, size - run_dir._end)
            if writable:
                if size < len(_MAGIC):  # the crash was before even the magic was durable
                    os.ftruncate(run_dir._fd, 0)
                    _write_all(run_dir._fd, _MAGIC)
                os.ftruncate(run_dir._fd, run_dir._end)
                os.lseek(run_dir._fd, run_dir._end, os.SEEK_SET)
                _fdatasync(run_dir._fd)
                run_dir._events_end = run_dir._cut_events()
        except OSError as exc:
            run_dir.close()
            raise storage_error(log_path, exc, doing="open") from exc
        return run_dir

    def _lock(self) -> None:
        """Whoever has the log open for writing is the only one: the lock goes with the process, however that ends.

        Raises:
            StorageError: another one has it.
        """
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self.close()
            raise StorageError(
                f"{self.path} is being written by another controller", hint="a run has one; loadgen watch shows it"
            ) from exc
        except OSError as exc:
            if exc.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS):
                raise
            # A file system without locks: then nobody but the person who starts controllers can tell.

    # -- its files --------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def log_path(self) -> Path:
        return self.path / "deltas.log"

    @property
    def durable_end(self) -> int:
        """Offset in the log up to which it is durable."""
        return self._end

    @property
    def appended_end(self) -> int:
        """Where what was appended so far will end in the log."""
        return self._appended_end

    @property
    def merged_path(self) -> Path:
        return self.path / "merged.log"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def bundle_path(self) -> Path:
        return self.path / "bundle.tar"

    @property
    def summary_path(self) -> Path:
        return self.path / "summary.json"

    @property
    def hlog_path(self) -> Path:
        return self.path / "histograms.hlog"

    @property
    def failures_path(self) -> Path:
        """The folder of those that are kept whole; it is there when something failed."""
        return self.path / "failures"

    def write_manifest(self, manifest: Mapping[str, object]) -> None:
        replace_file(self.manifest_path, _pretty(manifest))

    def write_bundle(self, data: bytes) -> None:
        replace_file(self.bundle_path, data)

    def read_manifest(self) -> dict[str, object]:
        return _read_json(self.manifest_path)

    def read_summary(self) -> dict[str, object]:
        return _read_json(self.summary_path)

    def read_events(self) -> Iterator[dict[str, object]]:
        """Lines of events.jsonl, oldest first; none where there is no such file. A torn last line is left out.

        Raises:
            StorageError: it cannot be read, or a line before the last is no JSON.
        """
        try:
            with self.events_path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return
                    try:
                        yield msgspec.json.decode(line, type=dict[str, object])
                    except msgspec.DecodeError as exc:
                        raise StorageError(f"cannot read {self.events_path}: line {number}: {exc}") from exc
        except FileNotFoundError:
            return
        except OSError as exc:
            raise storage_error(self.events_path, exc, doing="read") from exc

    # -- the log ----------------------------------------------------------------------------

    def append(self, payload: bytes) -> int:
        """Buffer one record; its ordinal among those appended since the log was opened, from 1.

        It is not durable, and not to be acknowledged, before `durable` has reached the ordinal.
        """
        if not 0 < len(payload) <= _MAX_RECORD:
            raise StorageError(f"a record of {len(payload):,} bytes does not belong into {self.log_path}")
        record = framed(payload)
        with self._swap:
            self._records.append(record)
            self._appended_end += len(record)
            return self.durable + self._in_writing + len(self._records)

    def event(self, kind: str, **fields: object) -> None:
        """Buffer one line for events.jsonl, with wall and monotonic time."""
        line = {"at": utc_text(self._now()), "mono_ns": time.monotonic_ns(), "kind": kind, **fields}
        data = msgspec.json.encode(line, enc_hook=str) + b"\n"
        with self._swap:
            self._events.append(data)

    def sync(self) -> int:
        """Write what is buffered; blocking (fdatasync: 3 to 10 ms), so call it off the loop. Thread-safe.

        Returns:
            `durable`: the ordinal up to which records are durable now.
        Raises:
            StorageError: what could not be written stays buffered, and a later `sync` tries again.
        """
        with self._writing:
            with self._swap:
                records, self._records = self._records, []
                events, self._events = self._events, []
                self._in_writing = len(records)
            try:
                if records:
                    self._end = self._extend(self.log_path, self._fd, self._end, records)
                    with self._swap:
                        self.durable, self._in_writing, records = self.durable + len(records), 0, []
                if events:
                    self._write_events(events)
                    events = []
            finally:
                if records or events:
                    with self._swap:
                        self._in_writing = 0
                        self._records[:0] = records
                        self._events[:0] = events
            return self.durable

    def records(self, start: int = len(_MAGIC)) -> Iterator[bytes]:
        """Payloads of the log from offset `start` on, oldest first, up to its end or to the first damage.

        Raises:
            StorageError: it cannot be read, or is no log of ours.
        """
        try:
            yield from read_framed(self.log_path, _MAGIC, start, _MAX_RECORD)
        except ValueError:
            raise StorageError(
                f"cannot read {self.log_path}: it is no log of deltas, or one of a newer loadgen",
                hint="use the loadgen that made the run, or a newer one",
            ) from None
        except OSError as exc:
            raise storage_error(self.log_path, exc, doing="read") from exc

    def seal(self, summary: Mapping[str, object]) -> None:
        """The end: all that is buffered, then the summary, whole or not at all. Closes the log."""
        self.sync()
        replace_file(self.summary_path, _pretty(summary))
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_events(self, events: list[bytes]) -> None:
        try:
            fd = open_private(self.events_path, os.O_WRONLY | os.O_CREAT)
        except OSError as exc:
            raise storage_error(self.events_path, exc) from exc
        try:
            self._events_end = self._extend(self.events_path, fd, self._events_end, events)
        finally:
            os.close(fd)

    def _extend(self, path: Path, fd: int, end: int, parts: list[bytes]) -> int:
        """Make `parts` durable from offset `end` on; the new end. On failure the file ends at `end` again."""
        try:
            os.lseek(fd, end, os.SEEK_SET)
            written = _write_all(fd, b"".join(parts))
            _fdatasync(fd)
        except OSError as exc:
            # After a failed fdatasync the kernel may call the pages clean: what was written cannot be relied on.
            with suppress(OSError):  # else the next sync writes over it, and its CRC tells it from a record
                os.ftruncate(fd, end)
            raise storage_error(path, exc) from exc
        return end + written

    def _cut_events(self) -> int:
        """Cut a torn last line; the length of what is whole."""
        try:
            data = self.events_path.read_bytes()
        except FileNotFoundError:
            return 0
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.events_path, whole)
        return whole


def _write_all(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _fdatasync(fd: int) -> None:
    getattr(os, "fdatasync", os.fsync)(fd)  # macOS has no fdatasync


def _pretty(value: Mapping[str, object]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2) + b"\n"


def _read_json(path: Path) -> dict[str, object]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except OSError as exc:
        raise storage_error(path, exc, doing="read") from exc
    except msgspec.DecodeError as exc:
        raise StorageError(f"cannot read {path}: {exc}", hint="the run may have been ended by force") from exc
