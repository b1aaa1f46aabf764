"""What is kept in a fleet's bucket under the SHA-256 of what is in it: scenario bundles.

    bundles/<sha256>.tar

A name says all of its content, so nothing is ever written twice or changed: a put asks S3 to refuse where
something is there (If-None-Match), and what is brought back is hashed here, whatever S3 says of it.

Both directions go on where they were interrupted. Up: parts of an upload that was begun for this name
are listed and those whose MD5 is that of ours are not sent again. Down: what is in FILE.part is kept and the
rest asked for by Range; where the whole then has another hash, it is fetched once more from the beginning.

Everything blocks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from loadgen.aws.clients import Clients, told
from loadgen.aws.names import BUNDLES
from loadgen.errors import CloudError, UsageError
from loadgen.measure.rundir import storage_error

__all__ = ["Artefacts"]

PART_BYTES: Final = 16 << 20
"""Of an upload; S3 wants at least 5 MiB, and at most 10,000 of them."""
_CHUNK: Final = 1 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_THERE: Final = ("PreconditionFailed", "ConditionalRequestConflict")


class Artefacts:
    """Of one bucket."""

    def __init__(self, clients: Clients, bucket: str, region: str) -> None:
        self._client, self._bucket = clients.client("s3", region), bucket

    def put(self, file: Path) -> tuple[str, bool]:
        """Keep a file. Returns its SHA-256, and whether it is new there.

        Raises:
            StorageError: it cannot be read.
            FleetError: AWS refuses, or is not there; or something else is there under this name.
        """
        sha256, size = _hashed(file)
        name = _name(sha256)
        with told(f"look at {self._where(name)}"):
            there = self._size(name)
        if there is not None:
            if there != size:
                raise CloudError(f"{self._where(name)} is not what its name says: it has {there} bytes, and not {size}")
            return sha256, False
        with told(f"send {self._where(name)}"):
            is_new = self._send(name, file) if size <= PART_BYTES else self._send_in_parts(name, file)
        return sha256, is_new

    def get(self, sha256: str, to: Path) -> None:
        """Bring it to a file, which appears when it is whole and has this hash.

        Raises:
            UsageError: no SHA-256.
            StorageError: it cannot be written.
            FleetError: it is not there, is not what its name says, or AWS refuses.
        """
        if not _SHA256.fullmatch(sha256):
            raise UsageError(f"{sha256!r} is no SHA-256", hint="64 of 0-9 and a-f")
        name, part = _name(sha256), to.with_name(f"{to.name}.part")
        try:
            for _ in range(2):
                is_anew = not part.exists()
                self._fetch(name, part)
                if _hashed(part)[0] == sha256:
                    part.replace(to)
                    return
                part.unlink()
                if is_anew:
                    break
        except OSError as exc:
            raise storage_error(part, exc) from exc
        raise CloudError(f"{self._where(name)} is not what its name says", hint="delete it there, and put it anew")

    def _where(self, name: str) -> str:
        return f"s3://{self._bucket}/{name}"

    def _size(self, name: str) -> int | None:
        """None where nothing is."""
        try:
            return int(self._client.head_object(Bucket=self._bucket, Key=name)["ContentLength"])
        except self._client.exceptions.ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) in ("404", "NoSuchKey"):
                return None
            raise

    # -- up -------------------------------------------------------------------------------------------

    def _send(self, name: str, file: Path) -> bool:
        data = _read(file)
        return self._unless_there(
            lambda: self._client.put_object(Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*")
        )

    def _send_in_parts(self, name: str, file: Path) -> bool:
        upload, there = self._begun(name)
        parts = []
        for number, data in enumerate(_pieces(file), 1):
            tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
            if there.get(number) != tag:
                answer = self._client.upload_part(
                    Bucket=self._bucket, Key=name, UploadId=upload, PartNumber=number, Body=data
                )
                tag = str(answer["ETag"])
            parts.append({"PartNumber": number, "ETag": tag})
        return self._unless_there(
            lambda: self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=name, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        )

    def _begun(self, name: str) -> tuple[str, dict[int, str]]:
        """An upload for this name, begun before or now, and the ETags of its parts by number."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=name)
        for page in pages:
            for one in page.get("Uploads", ()):
                if one["Key"] == name:
                    upload = str(one["UploadId"])
                    there: dict[int, str] = {}
                    for parts in self._client.get_paginator("list_parts").paginate(
                        Bucket=self._bucket, Key=name, UploadId=upload
                    ):
                        there |= {int(part["PartNumber"]): str(part["ETag"]) for part in parts.get("Parts", ())}
                    return upload, there
        made = self._client.create_multipart_upload(Bucket=self._bucket, Key=name, ContentType="application/x-tar")
        return str(made["UploadId"]), {}

    def _unless_there(self, send: Any) -> bool:
        """False: somebody else was quicker, with the same, as the name is of it."""
        try:
            send()
        except self._client.exceptions.ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) in _THERE:
                return False
            raise
        return True

    # -- down -----------------------------------------------------------------------------------------

    def _fetch(self, name: str, part: Path) -> None:
        """The rest of it behind what `part` has. OSError is of the file; what AWS does is told."""
        begin = part.stat().st_size if part.exists() else 0
        more = {"Range": f"bytes={begin}-"} if begin else {}
        with part.open("ab") as file, told(f"read {self._where(name)}"):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=name, **more)["Body"]
            except self._client.exceptions.ClientError as error:
                if str(error.response.get("Error", {}).get("Code", "")) == "InvalidRange":
                    return  # there is no more: whole, or too much
                raise
            while chunk := body.read(_CHUNK):
                file.write(chunk)


def _name(sha256: str) -> str:
    return f"{BUNDLES}{sha256}.tar"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc


def _pieces(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            while data := opened.read(PART_BYTES):
                yield data
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc


def _hashed(file: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for data in _pieces(file):
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size
