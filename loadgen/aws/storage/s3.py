"""A place in an S3 bucket: the one way by which files of ours go there and come back.

Clients, retries, credentials and errors are those of `clients.py`. A file is never believed to be what its
name says: it is held against its length and SHA-256, which whoever asks for it knows.

Both directions go on where they were interrupted. Up: of an upload that was begun for this name, the parts
that are ours are not sent again. Down: what is in FILE.part is kept and the rest asked for by Range; where the
whole is then something else, it is fetched once more from the beginning.

Everything blocks.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.errors import CloudDenied, StorageError, UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import open_private

__all__ = ["LONGEST_LINK_S", "Bucket", "hashed", "parse_url"]

LONGEST_LINK_S: Final = 7 * 24 * 3600
"""For so long a presigned address may hold, says S3."""
PART_BYTES: Final = 16 << 20
"""What is longer is sent in parts of this length. S3 wants at least 5 MiB, and at most 10,000 of them: 168 GB."""
_CHUNK: Final = 1 << 20
_URL: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_NO_REGION: Final = "us-east-1"
"""Where nothing says one: S3 tells from there where a bucket is."""
_NOT_THERE: Final = ("404", "NoSuchKey")


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of "s3://bucket/prefix"; the prefix is empty or ends with a slash.

    Raises:
        ValueError: it is no such address.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(f'"{url}" is no place in a bucket; write s3://bucket/prefix')
    prefix = (match[2] or "").strip("/")
    return match[1], f"{prefix}/" if prefix else ""


def hashed(file: Path) -> tuple[int, str]:
    """A file's length and SHA-256.

    Raises:
        StorageError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in _pieces(file, _CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


class _Part(NamedTuple):
    """What S3 may say of a part: its SHA-256; where it knows none, a tag, which is the MD5 unless KMS has the key."""

    sha256: str
    etag: str

    @classmethod
    def of(cls, data: bytes) -> _Part:
        md5 = hashlib.md5(data, usedforsecurity=False)
        return cls(b64encode(hashlib.sha256(data).digest()).decode(), f'"{md5.hexdigest()}"')

    def is_as(self, said: dict[str, Any]) -> bool:
        return bool(said["ChecksumSHA256"] == self.sha256 if "ChecksumSHA256" in said else said["ETag"] == self.etag)


class Bucket:
    """Objects below a prefix; their names are relative to it.

    Each method raises, beside what it says itself:
        CloudError: S3 refuses, or is not there; its kinds say why.
        CredentialsError: there are none, they are over or wrong.
    """

    def __init__(self, url: str, clients: Clients | None = None, region: str = "") -> None:
        """
        Args:
            clients: where there are some; else those of the usual credentials.
            region: of the bucket; else that of AWS_REGION or of the profile.

        Raises:
            UsageError: no address of a bucket, no such profile, or boto3 is not installed.
        """
        try:
            self.name, self.prefix = parse_url(url)
        except ValueError as wrong:
            raise UsageError(str(wrong)) from wrong
        self._clients = Clients() if clients is None else clients
        self._client = self._clients.client("s3", region or self._clients.default_region or _NO_REGION)

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}"

    def folders(self, begins: str = "") -> list[str]:
        """Names of the folders directly below the prefix that begin so, sorted."""
        found = []
        with told(f"list {self}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + begins, Delimiter="/"
            )
            for page in pages:
                for one in page.get("CommonPrefixes", ()):
                    found.append(str(one["Prefix"]).removeprefix(self.prefix).rstrip("/"))
        return sorted(found)

    def sizes(self, below: str) -> dict[str, int]:
        """Bytes of each object whose name begins so."""
        found: dict[str, int] = {}
        with told(f"list {self}{below}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix + below)
            for page in pages:
                for one in page.get("Contents", ()):
                    found[str(one["Key"]).removeprefix(self.prefix)] = int(one["Size"])
        return found

    def sha256(self, name: str) -> str:
        """As `put` noted it beside the object; empty where nobody did, or nothing is there."""
        with told(f"look at {self}{name}"):
            try:
                head = self._client.head_object(**self._at(name))
            except self._client.exceptions.ClientError as error:
                if _code(error) in _NOT_THERE:
                    return ""
                raise
            return str(head.get("Metadata", {}).get("sha256", ""))

    # -- up -------------------------------------------------------------------------------------------

    def put(self, name: str, source: Path, sha256: str) -> None:
        """Send a file, in parts where it is long, in the place of what is there.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            is_long = source.stat().st_size > PART_BYTES
            data = b"" if is_long else source.read_bytes()
        except OSError as exc:
            raise storage_error(source, exc, doing="read") from exc
        if is_long:
            self._put_in_parts(name, source, sha256)
        else:
            self.put_bytes(name, data)

    def put_bytes(self, name: str, data: bytes) -> None:
        with told(f"send {self}{name}"):
            self._client.put_object(**self._at(name), **_whole(name, data))

    def put_new(self, name: str, data: bytes) -> bool:
        """False where there is an object of that name: that stays as it is, also when two send it at once."""
        with told(f"send {self}{name}"):
            try:
                self._client.put_object(**self._at(name), **_whole(name, data), IfNoneMatch="*")
            except self._client.exceptions.ClientError as error:
                if _code(error) == "PreconditionFailed":
                    return False
                raise
        return True

    def _put_in_parts(self, name: str, source: Path, sha256: str) -> None:
        parts = [_Part.of(data) for data in _pieces(source, PART_BYTES)]
        upload, tags = self._begun(name, parts) or (self._begin(name, sha256), {})
        for number, data in enumerate(_pieces(source, PART_BYTES), 1):
            if number not in tags:
                with told(f"send {self}{name}"):
                    answer = self._client.upload_part(
                        **self._at(name),
                        UploadId=upload,
                        PartNumber=number,
                        Body=data,
                        ChecksumSHA256=parts[number - 1].sha256,
                    )
                tags[number] = str(answer["ETag"])
        # S3 refuses to put parts with checksums together where the checksums are not said again.
        whole = [
            {"PartNumber": number, "ETag": tags[number], "ChecksumSHA256": part.sha256}
            for number, part in enumerate(parts, 1)
        ]
        with told(f"send {self}{name}"):
            self._client.complete_multipart_upload(**self._at(name), UploadId=upload, MultipartUpload={"Parts": whole})

    def _begin(self, name: str, sha256: str) -> str:
        with told(f"send {self}{name}"):
            made = self._client.create_multipart_upload(
                **self._at(name), **_noted(name, sha256), ChecksumAlgorithm="SHA256"
            )
        return str(made["UploadId"])

    def _begun(self, name: str, parts: list[_Part]) -> tuple[str, dict[int, str]] | None:
        """An upload for this name of which all parts that are there are ours, and their tags by number.

        The SHA-256 that is noted beside the object is then of what was to be sent when it was begun. If that was other
        content, which began as ours does, the next push sends ours once more.
        """
        try:
            with told(f"look for what was sent of {self}{name}"):
                for upload in self._uploads(name):
                    there = self._parts(name, upload)
                    if all(n <= len(parts) and parts[n - 1].is_as(said) for n, said in there.items()):
                        return upload, {number: str(said["ETag"]) for number, said in there.items()}
        except CloudDenied:
            pass  # who may only write begins anew
        return None

    def _uploads(self, name: str) -> Iterator[str]:
        key = self.prefix + name
        for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=key):
            for one in page.get("Uploads", ()):
                if one["Key"] == key and one.get("ChecksumAlgorithm", "SHA256") == "SHA256":
                    yield str(one["UploadId"])

    def _parts(self, name: str, upload: str) -> dict[int, dict[str, Any]]:
        pages = self._client.get_paginator("list_parts").paginate(**self._at(name), UploadId=upload)
        return {int(part["PartNumber"]): part for page in pages for part in page.get("Parts", ())}

    # -- down -----------------------------------------------------------------------------------------

    def read(self, name: str, most: int) -> bytes | None:
        """The whole object; None where there is none.

        Raises:
            StorageError: it has more than `most` bytes.
        """
        with told(f"read {self}{name}"):
            try:
                body = self._client.get_object(**self._at(name))["Body"]
            except self._client.exceptions.NoSuchKey:
                return None
            data = bytes(body.read(most + 1))
        if len(data) > most:
            raise StorageError(f"cannot read {self}{name}: it has more than {most:,} bytes")
        return data

    def get(self, name: str, to: Path, size: int, sha256: str) -> bool:
        """Bring an object to a file, which appears when it is whole and is this one. False: it is another one.

        Raises:
            StorageError: the file cannot be written.
        """
        part = to.with_name(f"{to.name}.part")
        try:
            for _ in range(2):
                is_anew = not part.exists()
                self._fetch(name, part, size)
                if hashed(part) == (size, sha256):
                    part.replace(to)
                    return True
                part.unlink()
                if is_anew:
                    break
        except OSError as exc:
            raise storage_error(part, exc) from exc
        return False

    def _fetch(self, name: str, part: Path, size: int) -> None:
        """The rest of it behind what `part` has, and at most one byte more than `size`. OSError is of the file."""
        with os.fdopen(open_private(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
            begin = file.tell()
            more = {"Range": f"bytes={begin}-"} if begin else {}
            left = size + 1 - begin
            if begin and left <= 1:
                return
            with told(f"read {self}{name}"):
                try:
                    body = self._client.get_object(**self._at(name), **more)["Body"]
                except self._client.exceptions.ClientError as error:
                    if _code(error) == "InvalidRange":
                        return  # there is no more of it
                    raise
                while left > 0 and (chunk := body.read(min(_CHUNK, left))):
                    file.write(chunk)
                    left -= len(chunk)

    # -- for others -----------------------------------------------------------------------------------

    def link(self, name: str, expires_s: int) -> str:
        """An address of the object that whoever has it can read, without credentials, for so long."""
        with told(f"sign {self}{name}"):
            return str(self._client.generate_presigned_url("get_object", Params=self._at(name), ExpiresIn=expires_s))

    @property
    def has_passing_credentials(self) -> bool:
        """Those of a role or a session: what they signed ends with them."""
        return self._clients.has_passing_credentials

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": self.prefix + name}


def _whole(name: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data)
    return {"Body": data, "ChecksumSHA256": b64encode(digest.digest()).decode(), **_noted(name, digest.hexdigest())}


def _noted(name: str, sha256: str) -> dict[str, Any]:
    kinds = {".html": "text/html; charset=utf-8", ".json": "application/json", ".jsonl": "application/x-ndjson"}
    return {
        "ContentType": kinds.get(Path(name).suffix, "application/octet-stream"),
        "Metadata": {"sha256": sha256},
    }


def _pieces(file: Path, length: int) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            while data := opened.read(length):
                yield data
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
