"""Copies run folders to a bucket and back. A repeated copy continues where an interrupted one stopped.

    PREFIX/ID/manifest.json, summary.json, deltas.log ...   the needed files, with the same names as in the folder
    PREFIX/ID/contents.json                                 written last: length and SHA-256 of each file

A run without `contents.json` in the bucket is incomplete. A download goes to `.ID.partial` next to the other runs, and
each file is compared with `contents.json`. The folder gets its final name only when all files are complete.
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
_PUSH_AGAIN: Final = "repeat loadgen runs push on the machine that has the run"


class _Content(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class _Contents(msgspec.Struct, frozen=True):
    run_id: str
    files: dict[str, _Content]
    format: int = FORMAT


@dataclass(slots=True)
class Moved:
    """The result of a copy: the local folder, and the number and bytes of the copied files."""

    path: Path
    files: int = 0
    bytes: int = 0
    files_there: int = 0
    """Files that were not copied because they were there already, with the same content."""

    def note(self, size: int, was_there: bool) -> None:
        """Count one file of `size` bytes."""
        if was_there:
            self.files_there += 1
        else:
            self.files, self.bytes = self.files + 1, self.bytes + size


def push(path: Path, bucket: Bucket) -> Moved:
    """Send the needed files of a finished run to the bucket.

    Files that are there already, with the same length and SHA-256, are not sent again.

    Raises:
        StorageError: a file cannot be read.
        CloudError, CredentialsError: a call to AWS fails.
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
    # Last: a run without it counts as an incomplete upload (`_contents`).
    bucket.put_bytes(f"{run_id}/{CONTENTS}", msgspec.json.encode(_Contents(run_id, files)) + b"\n")
    return moved


def pull(run_id: str, bucket: Bucket, runs_dir: Path) -> Moved:
    """Download a run's folder into `runs_dir`.

    Raises:
        UsageError: `runs_dir` has a run of this name already.
        StorageError: the run in the bucket is incomplete or damaged, or the folder cannot be written.
        CloudError, CredentialsError: a call to AWS fails.
    """
    target, partial = runs_dir / run_id, runs_dir / f".{run_id}.partial"
    if target.exists():
        raise UsageError(f"{target} exists already", hint="delete it first, or pull into another --runs-dir")
    contents, moved = _contents(run_id, bucket), Moved(target)
    try:
        runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_folder(partial, exist_ok=True)
        for name, content in contents.files.items():
            is_there = (partial / name).is_file() and _Content(*hashed(partial / name)) == content
            if not is_there:
                _fetch(bucket, f"{run_id}/{name}", partial / name, content)
            moved.note(content.bytes, is_there)
        # Strays are left if a pull was interrupted, and the run was pushed again with other files since.
        for stray in [file for file in partial.rglob("*") if file.is_file()]:
            if str(stray.relative_to(partial)) not in contents.files:
                stray.unlink()
        partial.rename(target)
    except OSError as exc:
        raise storage_error(partial, exc) from exc
    return moved


def find_in(run: str, bucket: Bucket) -> str:
    """Find a run in the bucket, and return its id. run: its id, the beginning of its id, or "last".

    Raises:
        UsageError: no run or more than one run matches.
        CloudError, CredentialsError: a call to AWS fails.
    """
    is_last = run == "last"
    if not is_last and not _ID.fullmatch(run):
        raise UsageError(
            f'invalid run id "{run}"', hint="use letters, digits, dots, dashes and underscores; or last for the newest"
        )
    found = [name for name in bucket.folders("" if is_last else run) if _ID.fullmatch(name)]
    found = found[-1:] if is_last else [name for name in found if name == run] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs in {bucket} begin with {run}", hint=f"use one of {', '.join(found[:5])}")
    raise UsageError(f"no run {run} in {bucket}", hint="check the run's id and the bucket's prefix")


def _contents(run_id: str, bucket: Bucket) -> _Contents:
    where = f"{bucket}{run_id}"
    data = bucket.read(f"{run_id}/{CONTENTS}", _MOST_CONTENTS)
    if data is None:
        raise StorageError(f"{where} is incomplete: {CONTENTS} is missing", hint=_PUSH_AGAIN)
    try:
        found = msgspec.json.decode(data, type=_Contents)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"cannot read {where}/{CONTENTS}: {exc}", hint=_PUSH_AGAIN) from exc
    if found.format > FORMAT:
        raise StorageError(
            f"cannot read {where}/{CONTENTS}: unknown format {found.format}", hint="use a newer version of loadgen"
        )
    # The names come from outside: only known names of a run folder may be written to disk.
    strange = [name for name in found.files if not is_needed(name)]
    if strange or found.run_id != run_id or "manifest.json" not in found.files:
        what = f"{strange[0]!r} is not a file of a run folder" if strange else "it belongs to another run"
        raise StorageError(f"invalid {where}/{CONTENTS}: {what}", hint=_PUSH_AGAIN)
    return found


def _fetch(bucket: Bucket, key: str, file: Path, content: _Content) -> None:
    make_subfolder(file.parent)
    if not bucket.get(key, file, content.bytes, content.sha256):
        raise StorageError(f"{bucket}{key} is damaged: its length or SHA-256 differs from {CONTENTS}", hint=_PUSH_AGAIN)
