"""Where a history is: a folder, or a place in a bucket. Files in it are written once, whole, and never changed.

So nobody needs a lock: of two that write the same file at once one is first, and the other is told.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from loadgen.atomic_files import atomic_write
from loadgen.aws.storage.s3 import Bucket
from loadgen.errors import LoadgenError, StorageError, UsageError
from loadgen.secret_files import UMASK_ONLY

__all__ = ["Folder", "Objects", "Place", "place_of"]

_MOST_BYTES: Final = 64 << 20
"""Of one file: a run of 10,000 names in 20 regions is a tenth of it."""
_AT_ONCE: Final = 16
_HINTS: Final = {
    errno.EACCES: "choose a place that you may use with --store",
    errno.EPERM: "choose a place that you may use with --store",
    errno.EROFS: "the file system is read-only; choose another place with --store",
    errno.ENOSPC: "make space, or choose another place with --store",
    errno.EDQUOT: "your disk quota is used up; choose another place with --store",
    errno.ENOTDIR: "a part of the path is a file; choose another place with --store",
}


class Place(Protocol):
    """Files by name; a name may have folders in it: "events/a.json"."""

    def names(self, below: str) -> list[str]:
        """Of all files whose name begins so, sorted; empty where there is nothing yet.

        Raises:
            StorageError, CloudError: it cannot be looked at.
        """

    def read(self, names: Iterable[str]) -> list[bytes | str]:
        """Each whole, in their order; of one that cannot be read a text that says why."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Write it whole and durably, or leave no trace. False where there is one of that name: that stays as it is.

        Raises:
            StorageError, CloudError: it cannot be written.
        """


def place_of(url: str) -> Place:
    """A folder's path, or "s3://bucket/prefix". Nothing is made or looked for yet.

    Raises:
        UsageError: neither; or boto3 is not installed.
    """
    if url.startswith("s3://"):
        return Objects(Bucket(url))
    if "://" in url or not url:
        raise UsageError(f'"{url}" is no place for a history', hint="--store DIR, or --store s3://bucket/prefix")
    path = Path(url)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, and a history is a folder", hint="--store DIR, or s3://bucket/prefix")
    return Folder(path)


class Folder:
    """On this machine, or on a file system that several share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def names(self, below: str) -> list[str]:
        folder, _, begins = below.rpartition("/")
        found: list[str] = []
        try:
            for here, folders, files in os.walk(self.path / folder, onerror=_raise):
                folders[:] = [name for name in folders if not name.startswith(".")]
                at = os.path.relpath(here, self.path)
                found += [name if at == "." else f"{at}/{name}" for name in files if not name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise _error("read", self.path, exc) from exc
        return sorted(name for name in found if name.startswith(below)) if begins else sorted(found)

    def read(self, names: Iterable[str]) -> list[bytes | str]:
        return [self._read(name) for name in names]

    def _read(self, name: str) -> bytes | str:
        try:
            return (self.path / name).read_bytes()
        except OSError as exc:
            return exc.strerror or str(exc)

    def put_new(self, name: str, data: bytes) -> bool:
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _error("write", path, exc) from exc
        try:
            # Without hard links, two writers at the same instant write the same figures.
            atomic_write(path, data, UMASK_ONLY, is_exclusive=True, is_durable=True, may_lack_links=True)
        except FileExistsError:
            return False
        except OSError as exc:
            raise _error("write", path, exc) from exc
        return True


def _raise(exc: OSError) -> None:
    raise exc


def _error(doing: str, path: Path, exc: OSError) -> StorageError:
    return StorageError(f"cannot {doing} {path}: {exc.strerror or exc}", hint=_HINTS.get(exc.errno or 0, ""))


class Objects:
    """In an S3 bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def __str__(self) -> str:
        return str(self._bucket)

    def names(self, below: str) -> list[str]:
        return sorted(self._bucket.sizes(below))

    def read(self, names: Iterable[str]) -> list[bytes | str]:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="history") as pool:
            return list(pool.map(self._read, names))

    def _read(self, name: str) -> bytes | str:
        try:
            found = self._bucket.read(name, _MOST_BYTES)
        except LoadgenError as exc:
            return exc.message
        return "it is not there any more" if found is None else found

    def put_new(self, name: str, data: bytes) -> bool:
        return self._bucket.put_new(name, data)
