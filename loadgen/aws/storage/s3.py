"""Sends files to an S3 bucket and downloads them. All our access to S3 files goes through `Bucket`.

`boto_clients.py` provides clients, retries, credentials and errors. A downloaded file is compared with the length and
SHA-256 that the caller expects.

Interrupted transfers continue. Upload: parts with our content that an earlier upload left in S3 are not sent again.
Download: FILE.part keeps the received bytes, and a Range request fetches the rest. If the result differs from the
expected SHA-256, the file is downloaded once more from the beginning.

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

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.errors import CloudDenied, CloudGone, StorageError, UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import open_private

__all__ = ["LONGEST_LINK_S", "Bucket", "hashed", "parse_url"]

LONGEST_LINK_S: Final = 7 * 24 * 3600
"""S3's limit on the lifetime of a presigned link, in seconds."""
PART_BYTES: Final = 16 << 20
"""Longer files are sent in parts of this size. S3 allows 10,000 parts of at least 5 MiB: here up to 168 GB."""
_CHUNK: Final = 1 << 20
_STREAM_TRIES: Final = 3
"""Attempts to continue an interrupted transfer. boto3 repeats the request itself, but not the reading of its answer."""
_URL: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_NO_REGION: Final = "us-east-1"
"""The region used if none is configured. S3 redirects from there to the bucket's region."""
_NOT_THERE: Final = ("404", "NoSuchKey")


def parse_url(url: str) -> tuple[str, str]:
    """Split "s3://bucket/prefix" into bucket and prefix. The returned prefix is empty or ends with a slash.

    Raises:
        ValueError: the text is not such an address.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(f'invalid S3 address "{url}"; write s3://bucket/prefix')
    prefix = (match[2] or "").strip("/")
    return match[1], f"{prefix}/" if prefix else ""


def hashed(file: Path) -> tuple[int, str]:
    """Return a file's length in bytes and its SHA-256 in hex. Reads the whole file.

    Raises:
        StorageError: the file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in _pieces(file, _CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


class _Part(NamedTuple):
    """The identifiers of a part's content in S3: SHA-256, and ETag for servers that store no SHA-256.

    The ETag is the MD5 of the part, except with KMS encryption.
    """

    sha256: str
    etag: str

    @classmethod
    def of(cls, data: bytes) -> _Part:
        md5 = hashlib.md5(data, usedforsecurity=False)
        return cls(b64encode(hashlib.sha256(data).digest()).decode(), f'"{md5.hexdigest()}"')

    def is_as(self, said: dict[str, Any]) -> bool:
        return bool(said["ChecksumSHA256"] == self.sha256 if "ChecksumSHA256" in said else said["ETag"] == self.etag)


class Bucket:
    """The objects below a prefix of a bucket. Names are relative to the prefix.

    In addition to its own errors, each method raises:
        CloudError: S3 returned an error or did not answer; the subclasses distinguish the causes.
        CredentialsError: the credentials are missing, wrong or expired.
    """

    def __init__(self, url: str, clients: Clients | None = None, region: str = "") -> None:
        """Prepare access to `url`. Sends no request.

        Args:
            url: s3://bucket or s3://bucket/prefix.
            clients: default: new clients with the usual credentials.
            region: the bucket's region. Default: AWS_REGION, else the profile's region.

        Raises:
            UsageError: the URL is invalid, the profile does not exist, or boto3 is not installed.
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
        """List the folders directly below the prefix whose names begin with `begins`, sorted."""
        return self.level(begins)[0]

    def sizes(self, below: str) -> dict[str, int]:
        """Return the size in bytes of each object whose name begins with `below`."""
        found: dict[str, int] = {}
        with aws_errors(f"list {self}{below}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix + below)
            for page in pages:
                for one in page.get("Contents", ()):
                    found[str(one["Key"]).removeprefix(self.prefix)] = int(one["Size"])
        return found

    def level(self, begins: str) -> tuple[list[str], dict[str, int]]:
        """Return the folders below the prefix whose names begin with `begins`, and the sizes of the objects there, but
        nothing inside of these folders: of `a/b` and `a/c/d` it returns the folder `a/c` and the object `a/b` for `a/`.
        """
        folders: list[str] = []
        sizes: dict[str, int] = {}
        with aws_errors(f"list {self}{begins}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + begins, Delimiter="/"
            )
            for page in pages:
                for one in page.get("CommonPrefixes", ()):
                    folders.append(str(one["Prefix"]).removeprefix(self.prefix).rstrip("/"))
                for one in page.get("Contents", ()):
                    sizes[str(one["Key"]).removeprefix(self.prefix)] = int(one["Size"])
        return sorted(folders), sizes

    def sha256(self, name: str) -> str:
        """Return the SHA-256 that `put` stored in the object's metadata; empty if there is no object or no SHA-256."""
        with aws_errors(f"read the metadata of {self}{name}"):
            try:
                head = self._client.head_object(**self._at(name))
            except self._client.exceptions.ClientError as error:
                if _code(error) in _NOT_THERE:
                    return ""
                raise
            return str(head.get("Metadata", {}).get("sha256", ""))

    # -- up -------------------------------------------------------------------------------------------

    def put(self, name: str, source: Path, sha256: str) -> None:
        """Send a file, and replace an object of that name. Files above PART_BYTES are sent in parts.

        sha256: of the file, in hex; it is stored in the object's metadata.

        Raises:
            StorageError: the file cannot be read.
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
        """Send `data` as an object, and replace an object of that name."""
        with aws_errors(f"send {self}{name}"):
            self._client.put_object(**self._at(name), **_whole(name, data))

    def put_new(self, name: str, data: bytes) -> bool:
        """Create an object. Return False if the name exists; that object stays unchanged.

        If two processes create the same name at the same time, S3 accepts exactly one.
        """
        with aws_errors(f"send {self}{name}"):
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
                with aws_errors(f"send {self}{name}"):
                    answer = self._client.upload_part(
                        **self._at(name),
                        UploadId=upload,
                        PartNumber=number,
                        Body=data,
                        ChecksumSHA256=parts[number - 1].sha256,
                    )
                tags[number] = str(answer["ETag"])
        # S3 requires the checksums of the parts again in the request that completes the upload.
        whole = [
            {"PartNumber": number, "ETag": tags[number], "ChecksumSHA256": part.sha256}
            for number, part in enumerate(parts, 1)
        ]
        with aws_errors(f"send {self}{name}"):
            self._client.complete_multipart_upload(**self._at(name), UploadId=upload, MultipartUpload={"Parts": whole})

    def _begin(self, name: str, sha256: str) -> str:
        with aws_errors(f"send {self}{name}"):
            made = self._client.create_multipart_upload(
                **self._at(name), **_noted(name, sha256), ChecksumAlgorithm="SHA256"
            )
        return str(made["UploadId"])

    def _begun(self, name: str, parts: list[_Part]) -> tuple[str, dict[int, str]] | None:
        """Find an unfinished upload of this object whose existing parts all have our content.

        Returns its id and the ETags of its parts by part number, or None.

        S3 stores the SHA-256 metadata when an upload begins. If the earlier upload was for a file that only began like
        ours, the finished object has the wrong SHA-256, and the next push sends the file again.
        """
        try:
            with aws_errors(f"look for an unfinished upload of {self}{name}"):
                for upload in self._uploads(name):
                    there = self._parts(name, upload)
                    if all(n <= len(parts) and parts[n - 1].is_as(said) for n, said in there.items()):
                        return upload, {number: str(said["ETag"]) for number, said in there.items()}
        except CloudDenied:
            pass  # without the permission to list uploads, start a new one
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
        """Return the whole object, or None if it does not exist.

        Raises:
            StorageError: the object has more than `most` bytes.
        """
        with aws_errors(f"read {self}{name}"):
            try:
                body = self._client.get_object(**self._at(name))["Body"]
            except self._client.exceptions.NoSuchKey:
                return None
            data = bytes(body.read(most + 1))
        if len(data) > most:
            raise StorageError(
                f"cannot read {self}{name}: it has more than {most:,} bytes",
                hint="check that this object was written by loadgen, and send it again",
            )
        return data

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield an object in pieces of at most 1 MiB. An interrupted transfer continues where it ended, if the object
        is still the same.

        Raises:
            CloudError: the object does not exist, or S3 refused it or stopped sending it repeatedly.
        """
        at, tag, tries = 0, "", 0
        while True:
            more = {"Range": f"bytes={at}-", "IfMatch": tag} if at else {}
            with aws_errors(f"read {self}{name}"):
                answer = self._client.get_object(**self._at(name), **more)
            tag = str(answer["ETag"])
            try:
                with aws_errors(f"read {self}{name}"):
                    while chunk := answer["Body"].read(_CHUNK):
                        yield chunk
                        at += len(chunk)
                        tries = 0
                return
            except CloudGone:
                tries += 1
                if tries == _STREAM_TRIES:
                    raise

    def get(self, name: str, to: Path, size: int, sha256: str) -> bool:
        """Download an object to a file. Return False if its length or SHA-256 differs from the arguments.

        The file appears only when it is complete and verified. Until then, `to` with ".part" holds the bytes.

        Raises:
            StorageError: the file cannot be written.
        """
        part = to.with_name(f"{to.name}.part")
        try:
            for _ in range(2):
                is_from_start = not part.exists()
                self._fetch(name, part, size)
                if hashed(part) == (size, sha256):
                    part.replace(to)
                    return True
                part.unlink()
                if is_from_start:
                    break
        except OSError as exc:
            raise storage_error(part, exc) from exc
        return False

    def _fetch(self, name: str, part: Path, size: int) -> None:
        """Append the missing bytes of an object to `part`, up to one byte more than `size`.

        The extra byte shows that the object is longer than expected. An OSError comes from the file, not from S3.
        """
        with os.fdopen(open_private(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
            begin = file.tell()
            more = {"Range": f"bytes={begin}-"} if begin else {}
            left = size + 1 - begin
            if begin and left <= 1:
                return
            with aws_errors(f"read {self}{name}"):
                try:
                    body = self._client.get_object(**self._at(name), **more)["Body"]
                except self._client.exceptions.ClientError as error:
                    if _code(error) == "InvalidRange":
                        return  # `part` already has all bytes of the object
                    raise
                while left > 0 and (chunk := body.read(min(_CHUNK, left))):
                    file.write(chunk)
                    left -= len(chunk)

    # -- for others -----------------------------------------------------------------------------------

    def link(self, name: str, expires_s: int) -> str:
        """Return a presigned link: anyone who has it can read the object without credentials for `expires_s`."""
        with aws_errors(f"sign {self}{name}"):
            return str(self._client.generate_presigned_url("get_object", Params=self._at(name), ExpiresIn=expires_s))

    @property
    def has_temporary_credentials(self) -> bool:
        """Whether the credentials are temporary (of a role or session): links that they sign end with them."""
        return self._clients.has_temporary_credentials

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": self.prefix + name}


def _whole(name: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data)
    return {"Body": data, "ChecksumSHA256": b64encode(digest.digest()).decode(), **_noted(name, digest.hexdigest())}


def _noted(name: str, sha256: str) -> dict[str, Any]:
    kinds = {
        ".csv": "text/csv; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".json": "application/json",
        ".jsonl": "application/x-ndjson",
        ".md": "text/markdown; charset=utf-8",
        ".pdf": "application/pdf",
    }
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
