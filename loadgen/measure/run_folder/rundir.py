"""A run's folder, written so that a crash loses nothing that was acknowledged.

    manifest.json     the plan, settings and versions
    bundle.tar        the files that were sent to the agents
    deltas.log        every delta, append-only, each with its CRC
    events.jsonl      every decision, with its times
    summary.json      figures, verdict and reasons
    histograms.hlog   HdrHistogram V2, for any HdrHistogram tool
    failures/         the first failures of each kind: a JSON file each
    control.json      only while the run goes on: the address for control requests such as pause
    merged.log        only while a long run goes on: the deltas added up by interval (`stored_interval.py`)
    checkpoint        only while a long run goes on: the state of the merge (`checkpoint.py`)
    notes.json        labels and a note that people added afterwards
    report.html

`deltas.log` is 8 bytes of magic and records: length u32, CRC-32 of the payload u32, both little
endian, payload. A torn or damaged record ends the log: it and everything after it is cut off when
the log is opened for writing.

`append` and `event` only buffer. `sync` writes, and the data is durable when it returns. The
controller calls it off the loop, at most 200 ms after the first append.
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
from loadgen.measure.run_folder.crc_record_file import HEAD_BYTES, framed, read_framed
from loadgen.secret_files import file_mode, make_folder, open_private

__all__ = [
    "MANIFEST_FORMAT",
    "RunDir",
    "find_run",
    "list_runs",
    "new_run_id",
    "replace_file",
    "storage_error",
    "utc_text",
]

MANIFEST_FORMAT: Final = 2
"""The newest format of a run folder that this version reads; it writes this one. 2: reports of agents may be packed."""
_MAGIC: Final = b"lgdelta1"
_MAX_RECORD: Final = 64 << 20
"""Longer than any record that loadgen writes: such a length is damage."""

_ELSEWHERE: Final = "choose another folder with --runs-dir"
_HINTS: Final = {
    errno.ENOSPC: "make space, or {elsewhere}",
    errno.EDQUOT: "your disk quota is used up; make space, or {elsewhere}",
    errno.EACCES: "check the permissions of the path, or {elsewhere}",
    errno.EPERM: "check the permissions of the path, or {elsewhere}",
    errno.EROFS: "the file system is read-only; {elsewhere}",
    errno.EEXIST: "{elsewhere}",
    errno.ENOTDIR: "a part of the path is a file; {elsewhere}",
    errno.ENOENT: "check the path; `loadgen runs` lists the runs",
    errno.EIO: "the disk is failing; {elsewhere}",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
_HINT: Final = "check the path and its permissions, or {elsewhere}"


def storage_error(path: Path, exc: OSError, *, doing: str = "write", elsewhere: str = _ELSEWHERE) -> StorageError:
    """Return a StorageError for an OSError that occurred at `path`: with the file, the cause and what to do.

    doing: "write" or "read", for the message. elsewhere: how the user chooses another place, for the hint.
    """
    is_missing_parent = exc.errno == errno.ENOENT and (doing == "write" or elsewhere != _ELSEWHERE)
    hint = "{elsewhere}" if is_missing_parent else _HINTS.get(exc.errno or 0, _HINT)
    return StorageError(f"cannot {doing} {path}: {exc.strerror or exc}", hint=hint.format(elsewhere=elsewhere))


def utc_text(at: datetime) -> str:
    """Return a time as RFC 3339 UTC with milliseconds: "2026-11-24T17:03:12.345Z"."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_run_id(now: datetime, name: str = "") -> str:
    """Return a new run id that sorts by time, such as "20261124-170312-checkout-a1b2".

    now: the start of the run. name: the scenario's. The last part is random.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return "-".join(filter(None, (now.astimezone(UTC).strftime("%Y%m%d-%H%M%S"), slug, secrets.token_hex(2))))


def list_runs(runs_dir: Path) -> list[Path]:
    """Return the paths of all run folders in `runs_dir`, newest first; an empty list if there are none.

    Folders that may not be read, such as those of other users, are left out.

    Raises:
        StorageError: `runs_dir` itself cannot be read.
    """
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
    """Return the path of the folder of one run.

    run: its id, the beginning of its id, "last" for the newest run, or a path.

    Raises:
        UsageError: no run matches, or more than one.
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
        raise UsageError(
            f"{len(found)} runs begin with {run}",
            hint="give more of the id: " + ", ".join(path.name for path in found[:5]),
        )
    hint = "`loadgen runs` lists the runs; --runs-dir names another folder"
    if given.suffix and given.is_file():
        raise UsageError(f"{run} is a file, not a run", hint=f"give a run by its id, or write last; {hint}")
    raise UsageError(f"no run {run} in {runs_dir}", hint=hint)


def replace_file(path: Path, data: bytes, mode: int | None = None, *, is_durable: bool = True) -> None:
    """Write `data` to a file, whole or not at all.

    Args:
        mode: permissions of the file, before the umask. None: those of a file in a run's folder
            (`loadgen/secret_files.py`).
        is_durable: the file survives a crash of the machine once it is written.

    Raises:
        StorageError: the file could not be written; its old content is unchanged.
    """
    try:
        atomic_write(path, data, file_mode(path.parent) if mode is None else mode, is_durable=is_durable)
    except OSError as exc:
        raise storage_error(path, exc) from exc


class RunDir:
    """The folder of one run, open for reading, or for writing by one process."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] | None = None) -> None:
        """Prepare an object for the folder without opening it. Use `create` or `open` instead.

        now: returns the wall-clock time, which is only used for labels.
        """
        self.path = path
        self.cut_bytes = 0
        """Damaged or torn bytes at the end of the log, found when it was opened."""
        self.durable = 0
        """Number of records that were appended since the log was opened and are durable."""
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
        """Create the folder `runs_dir/run_id` with an empty log of deltas, and return it open for writing.

        Raises:
            StorageError: the folder exists already, or cannot be created.
        """
        run_dir = cls(runs_dir / run_id, now=now)
        try:
            runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_folder(run_dir.path)
            run_dir._fd = open_private(run_dir.log_path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            run_dir._lock()
            _write_all(run_dir._fd, _MAGIC)
            _fdatasync(run_dir._fd)
            # fsync(2) of a file does not make its entry in the folder durable: the folders need their own.
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
        """Return the folder of an existing run, opened for reading, or with `writable` also for writing.

        With `writable`, a torn or damaged end of the log of deltas is cut off, and the log is locked.

        sound_to: offset in the log up to which it is known to be sound. If the log reaches that far, only the rest is
        checked.

        Raises:
            StorageError: there is no such run, its log is not a log of deltas, or another process writes to it.
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
                if size < len(_MAGIC):  # the crash came before even the magic was durable
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
        """Lock the log, so that no second process writes to it. The operating system removes the lock with the process.

        A file system without locks is accepted, and nothing is locked there.

        Raises:
            StorageError: another process has the lock.
        """
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self.close()
            raise StorageError(
                f"{self.path} is being written by another controller",
                hint="a run can have only one controller; `loadgen watch` shows the run",
            ) from exc
        except OSError as exc:
            if exc.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS):
                raise
            # A file system without locks: only the operator can prevent two controllers from writing to one run.

    # -- files ------------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """Return the id of the run, which is the name of its folder."""
        return self.path.name

    @property
    def log_path(self) -> Path:
        return self.path / "deltas.log"

    @property
    def durable_end(self) -> int:
        """Return the offset in the log of deltas up to which its records are durable on the disk."""
        return self._end

    @property
    def appended_end(self) -> int:
        """Return the offset at which the log will end once all appended (buffered) records are written."""
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
        """Return the path of the folder with stored failures. It exists only if something failed."""
        return self.path / "failures"

    def write_manifest(self, manifest: Mapping[str, object]) -> None:
        """Write manifest.json into the folder, whole or not at all."""
        replace_file(self.manifest_path, _pretty(manifest))

    def write_bundle(self, data: bytes) -> None:
        """Write bundle.tar (the scenario's files) into the folder, whole or not at all."""
        replace_file(self.bundle_path, data)

    def read_manifest(self) -> dict[str, object]:
        """Return the contents of manifest.json.

        Raises:
            StorageError: it is missing or not JSON, or a newer version of loadgen wrote the folder.
        """
        found = _read_json(self.manifest_path)
        written = found.get("format")
        if isinstance(written, int) and written > MANIFEST_FORMAT:
            raise StorageError(
                f"{self.path} has format {written}, and this version reads formats up to {MANIFEST_FORMAT}",
                hint="read it with the version of loadgen that made it, or a newer one",
            )
        return found

    def read_summary(self) -> dict[str, object]:
        """Return the contents of summary.json. Raises StorageError if it is missing or not JSON."""
        return _read_json(self.summary_path)

    def read_events(self) -> Iterator[dict[str, object]]:
        """Yield each line of events.jsonl as a dict, oldest first; nothing if the file is missing.

        A last line that was not written completely is left out.

        Raises:
            StorageError: the file cannot be read, or a line before the last is not JSON.
        """
        try:
            with self.events_path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return
                    try:
                        yield msgspec.json.decode(line, type=dict[str, object])
                    except msgspec.DecodeError as exc:
                        raise StorageError(
                            f"cannot read {self.events_path}: line {number}: {exc}",
                            hint="the file is damaged: remove this line, or copy the run's folder again",
                        ) from exc
        except FileNotFoundError:
            return
        except OSError as exc:
            raise storage_error(self.events_path, exc, doing="read") from exc

    # -- the log ----------------------------------------------------------------------------

    def append(self, payload: bytes) -> int:
        """Buffer one record for the log of deltas, and return its number, counted from 1 since the log was opened.

        Only `sync` writes it. It must not be acknowledged to the agent before `durable` has reached its number.

        Raises:
            StorageError: the record is empty or larger than 64 MiB.
        """
        if not 0 < len(payload) <= _MAX_RECORD:
            raise StorageError(
                f"cannot append a record of {len(payload):,} bytes to {self.log_path}: "
                f"it must have 1 to {_MAX_RECORD:,}",
                hint="please report this with the run folder",
            )
        record = framed(payload)
        with self._swap:
            self._records.append(record)
            self._appended_end += len(record)
            return self.durable + self._in_writing + len(self._records)

    def event(self, kind: str, **fields: object) -> None:
        """Buffer one line for events.jsonl with the event's kind and fields, wall-clock and monotonic time.

        Only `sync` writes it.
        """
        line = {"at": utc_text(self._now()), "mono_ns": time.monotonic_ns(), "kind": kind, **fields}
        data = msgspec.json.encode(line, enc_hook=str) + b"\n"
        with self._swap:
            self._events.append(data)

    def sync(self) -> int:
        """Write all buffered records and events to the disk. It blocks 3 to 10 ms, so call it off the loop.

        The method is thread-safe.

        Returns:
            `durable`: the number of the last record that is durable now.

        Raises:
            StorageError: a write failed; the data stays buffered, and a later `sync` tries again.
        """
        with self._writing:
            # `_swap` is held only while the lists are exchanged, so `append` on the loop never waits for the disk.
            with self._swap:
                records, self._records = self._records, []
                events, self._events = self._events, []
                self._in_writing = len(records)
            try:
                if records:
                    self._end = self._extend(self.log_path, self._fd, self._end, records)
                    with self._swap:
                        # `records` is empty from here on: if the events fail, only they go back.
                        self.durable, self._in_writing, records = self.durable + len(records), 0, []
                if events:
                    self._write_events(events)
                    events = []
            finally:
                # Whatever was not written goes back to the front of the buffers, so that the order stays.
                if records or events:
                    with self._swap:
                        self._in_writing = 0
                        self._records[:0] = records
                        self._events[:0] = events
            return self.durable

    def records(self, start: int = len(_MAGIC)) -> Iterator[bytes]:
        """Yield the payloads of the log of deltas from offset `start` on, oldest first.

        It ends at the end of the log or at the first damaged record.

        Raises:
            StorageError: the log cannot be read, or is not a log of deltas.
        """
        try:
            yield from read_framed(self.log_path, _MAGIC, start, _MAX_RECORD)
        except ValueError:
            raise StorageError(
                f"cannot read {self.log_path}: it is not a log of deltas, or one of a newer loadgen",
                hint="use the version of loadgen that made the run, or a newer one",
            ) from None
        except OSError as exc:
            raise storage_error(self.log_path, exc, doing="read") from exc

    def seal(self, summary: Mapping[str, object]) -> None:
        """Finish the run: write all buffered data and then summary.json, and close the log.

        Raises:
            StorageError: a file cannot be written.
        """
        self.sync()
        replace_file(self.summary_path, _pretty(summary))
        self.close()

    def close(self) -> None:
        """Close the log of deltas and end its lock. Buffered data that were not synced are lost."""
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
        """Write `parts` to a file at offset `end`, wait until they are on the disk, and return the new end.

        After a failure the file is cut at the old `end`.

        Raises:
            StorageError: the parts could not be written.
        """
        try:
            os.lseek(fd, end, os.SEEK_SET)
            written = _write_all(fd, b"".join(parts))
            _fdatasync(fd)
        except OSError as exc:
            # After a failed fdatasync the kernel may mark the pages as clean, so the written data cannot be relied on.
            # if this fails too, the next sync overwrites the data, and its CRC shows that it is not a record
            with suppress(OSError):
                os.ftruncate(fd, end)
            raise storage_error(path, exc) from exc
        return end + written

    def _cut_events(self) -> int:
        """Cut a torn last line off events.jsonl, and return the file's length in bytes; 0 if there is no file."""
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
        raise StorageError(
            f"cannot read {path}: {exc}",
            hint="the file is damaged: copy the run's folder again, or read the other files in it",
        ) from exc
