"""A run's folder into a bucket, and back. Begun again after an interruption, it goes on where it was.

    PREFIX/ID/manifest.json, summary.json, deltas.log ...   as in the folder, what is needed of it
    PREFIX/ID/contents.json                                 written last: length and SHA-256 of each

A run whose `contents.json` is not there is not whole. What comes back is held
against it, file by file, in `.ID.partial` beside the other runs, which becomes the run's
folder only when all of it is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from loadgen.aws.storage.s3 import Bucket, hashed
from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.measure.run_folder.transfer import is_needed, needed
from loadgen.secret_files import make_folder, make_subfolder

__all__ = ["Moved", "find_in", "pull", "push"]

CONTENTS: Final = "contents.json"
FORMAT: Final = 1
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_MOST_CONTENTS: Final = 64 << 20


class _Content(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class _Contents(msgspec.Struct, frozen=True):
    run_id: str
    files: dict[str, _Content]
    format: int = FORMAT


@dataclass(slots=True)
class Moved:
    """What was done."""

    path: Path
    files: int = 0
    bytes: int = 0
    files_there: int = 0
    """That were there before, the same."""

    def note(self, size: int, was_there: bool) -> None:
        if was_there:
            self.files_there += 1
        else:
            self.files, self.bytes = self.files + 1, self.bytes + size


def push(path: Path, bucket: Bucket) -> Moved:
    """Send what is needed of a run that is over; what is there already, the same by length and SHA-256, is left.

    Raises:
        StorageError: a file cannot be read.
        CloudError, CredentialsError: the bucket refuses.
    """
    run_id, moved = path.name, Moved(path)
    there = bucket.sizes(f"{run_id}/")
    files: dict[str, _Content] = {}
    for name in needed(path):
        content = _Content(*hashed(path / name))
        key = f"{run_id}/{name}"
        is_there = there.get(key) == content.bytes and bucket.sha256(key) == content.sha256
        if not is_there:
            bucket.put(key, path / name, content.sha256)
        moved.note(content.bytes, is_there)
        files[name] = content
    bucket.put_bytes(f"{run_id}/{CONTENTS}", msgspec.json.encode(_Contents(run_id, files)) + b"\n")
    return moved


def pull(run_id: str, bucket: Bucket, runs_dir: Path) -> Moved:
    """Bring a run's folder here.

    Raises:
        UsageError: a run of this name is here already.
        StorageError: it is not whole there, comes back otherwise than it was sent, or cannot be written.
        CloudError, CredentialsError: the bucket refuses.
    """
    target, partial = runs_dir / run_id, runs_dir / f".{run_id}.partial"
    if target.exists():
        raise UsageError(f"{target} is there already", hint="delete it first, or pull into another --runs-dir")
    contents, moved = _contents(run_id, bucket), Moved(target)
    try:
        runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_folder(partial, exist_ok=True)
        for name, content in contents.files.items():
            is_there = (partial / name).is_file() and _Content(*hashed(partial / name)) == content
            if not is_there:
                _fetch(bucket, f"{run_id}/{name}", partial / name, content)
            moved.note(content.bytes, is_there)
        for stray in [file for file in partial.rglob("*") if file.is_file()]:
            if str(stray.relative_to(partial)) not in contents.files:
                stray.unlink()
        partial.rename(target)
    except OSError as exc:
        raise storage_error(partial, exc) from exc
    return moved


def find_in(run: str, bucket: Bucket) -> str:
    """The name of a run in the bucket. run: its name, how that begins, or "last".

    Raises:
        UsageError: there is none, or more than one.
        CloudError, CredentialsError: the bucket refuses.
    """
    is_last = run == "last"
    if not is_last and not _ID.fullmatch(run):
        raise UsageError(f'"{run}" is no name of a run')
    found = [name for name in bucket.folders("" if is_last else run) if _ID.fullmatch(name)]
    found = found[-1:] if is_last else [name for name in found if name == run] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs in {bucket} begin with {run}", hint=", ".join(found[:5]))
    raise UsageError(f"no run {run} in {bucket}")


def _contents(run_id: str, bucket: Bucket) -> _Contents:
    where = f"{bucket}{run_id}"
    data = bucket.read(f"{run_id}/{CONTENTS}", _MOST_CONTENTS)
    if data is None:
        raise StorageError(f"{where} is not whole: {CONTENTS} is missing", hint="push it again, from where the run is")
    try:
        found = msgspec.json.decode(data, type=_Contents)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"cannot read {where}/{CONTENTS}: {exc}", hint="push it again") from exc
    if found.format > FORMAT:
        raise StorageError(f"cannot read {where}/{CONTENTS}: it has format {found.format}", hint="use a newer loadgen")
    strange = [name for name in found.files if not is_needed(name)]
    if strange or found.run_id != run_id or "manifest.json" not in found.files:
        what = f"{strange[0]!r} is no file of a run" if strange else "it is not of this run"
        raise StorageError(f"cannot take {where}/{CONTENTS}: {what}")
    return found


def _fetch(bucket: Bucket, key: str, file: Path, content: _Content) -> None:
    make_subfolder(file.parent)
    if not bucket.get(key, file, content.bytes, content.sha256):
        raise StorageError(
            f"{bucket}{key} is not what was sent: its length or SHA-256 differs from {CONTENTS}",
            hint="push it again, from where the run is",
        )
