"""The location of a history: a folder, or a prefix in an S3 bucket. Files are written once and never changed.

So no lock is needed: if two processes write the same file at once, one succeeds and `put_new` returns False to the
other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from loadgen.atomic_files import atomic_write
from loadgen.aws.storage.s3 import Bucket
from loadgen.errors import LoadgenError, StorageError, UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import UMASK_ONLY

__all__ = ["Folder", "Objects", "Place", "place_of"]

_MOST_BYTES: Final = 64 << 20
"""Largest file that is read. A run of 10,000 names in 20 regions is a tenth of it."""
_AT_ONCE: Final = 16
_ELSEWHERE: Final = "choose another place with --store"


class Place(Protocol):
    """Files by name. A name may contain folders: "events/a.json"."""

    def names(self, below: str) -> list[str]:
        """Return the names of all files whose name begins with `below`, sorted; empty if the location does not exist.

        Raises:
            StorageError, CloudError: the location cannot be listed.
        """

    def read(self, names: Iterable[str]) -> list[bytes | str]:
        """Return, for each name in order, the content of the file; if it cannot be read, the reason as a str."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a new file completely and durably, or not at all, and return True.

        If the name exists already, return False and change nothing.

        Raises:
            StorageError, CloudError: the file cannot be written.
        """


def place_of(url: str) -> Place:
    """Return the location for a folder's path or "s3://bucket/prefix". Nothing is created or read yet.

    Raises:
        UsageError: the URL is neither, the path is a file, or boto3 is not installed.
    """
    if url.startswith("s3://"):
        return Objects(Bucket(url))
    if "://" in url or not url:
        raise UsageError(
            f'"{url}" is not a location for a history', hint="use --store DIR or --store s3://bucket/prefix"
        )
    path = Path(url)
    if path.exists() and not path.is_dir():
        raise UsageError(
            f"{path} is a file, but a history is a folder", hint="use --store DIR or --store s3://bucket/prefix"
        )
    return Folder(path)


class Folder:
    """A history in a folder of this machine or of a shared file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def names(self, below: str) -> list[str]:
        folder, _, begins = below.rpartition("/")
        found: list[str] = []
        try:
            # Without `onerror`, `os.walk` silently leaves out folders that it cannot read.
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
    return storage_error(path, exc, doing=doing, elsewhere=_ELSEWHERE)


class Objects:
    """A history in an S3 bucket."""

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
        return "it no longer exists" if found is None else found

    def put_new(self, name: str, data: bytes) -> bool:
        return self._bucket.put_new(name, data)
