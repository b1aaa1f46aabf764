"""Where pages are written: a folder, or a prefix in an S3 bucket. All access to S3 goes through `Bucket`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from loadgen.atomic_files import atomic_write
from loadgen.aws.storage.s3 import Bucket
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import UMASK_ONLY

__all__ = ["Destination", "FolderDestination", "S3Destination", "destination_of"]

_ELSEWHERE = "choose another folder in [publish] of programme.toml"


class Destination(Protocol):
    """Files by name, such as "2026-W30/w30-4f1a/index.html".

    All methods raise StorageError, CloudError or CredentialsError if the place cannot be read or written.
    """

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a new file completely, or return False if the name exists; that file stays as it is."""

    def replace(self, name: str, data: bytes) -> None:
        """Write a file completely. Readers see the old content or the new one."""

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file that exists, in hex; "" if it is unknown."""

    def folders(self, below: str) -> list[str]:
        """Return the names of the folders directly below "" or such as "public/"."""


def destination_of(to: str) -> Destination:
    """Return the destination of "s3://bucket/prefix" or of a folder's path. Nothing is written or sent yet.

    Raises:
        UsageError: boto3 is not installed, or AWS_PROFILE does not exist.
    """
    return S3Destination(Bucket(to)) if to.startswith("s3://") else FolderDestination(Path(to))


class FolderDestination:
    """A folder of this machine, such as the root of a web server."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return f"{self._path}/"

    def put_new(self, name: str, data: bytes) -> bool:
        return self._write(name, data, is_exclusive=True)

    def replace(self, name: str, data: bytes) -> None:
        self._write(name, data, is_exclusive=False)

    def sha256(self, name: str) -> str:
        path = self._path / name
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as exc:
            raise storage_error(path, exc, doing="read", elsewhere=_ELSEWHERE) from exc

    def folders(self, below: str) -> list[str]:
        path = self._path / below
        try:
            return sorted(one.name for one in path.iterdir() if one.is_dir())
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise storage_error(path, exc, doing="read", elsewhere=_ELSEWHERE) from exc

    def _write(self, name: str, data: bytes, *, is_exclusive: bool) -> bool:
        path = self._path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(
                path, data, UMASK_ONLY, is_exclusive=is_exclusive, is_durable=True, may_lack_links=is_exclusive
            )
        except FileExistsError:
            if is_exclusive and path.is_file():
                return False
            raise storage_error(path, NotADirectoryError(20, "Not a directory"), elsewhere=_ELSEWHERE) from None
        except OSError as exc:
            raise storage_error(path, exc, elsewhere=_ELSEWHERE) from exc
        return True


class S3Destination:
    """A prefix in a bucket. Permissions: s3:PutObject and s3:GetObject on the prefix, s3:ListBucket on the bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def __str__(self) -> str:
        return str(self._bucket)

    def put_new(self, name: str, data: bytes) -> bool:
        return self._bucket.put_new(name, data)

    def replace(self, name: str, data: bytes) -> None:
        self._bucket.put_bytes(name, data)

    def sha256(self, name: str) -> str:
        return self._bucket.sha256(name)

    def folders(self, below: str) -> list[str]:
        return [one.removeprefix(below) for one in self._bucket.folders(below)]
