"""A place in an S3 bucket. The only importer of boto3, which is in the extra `aws`.

Credentials and region come from where boto3 looks for them (environment, profile, role
of the machine); another endpoint from AWS_ENDPOINT_URL. None of it is ever written
or said: errors carry S3's code and our address of the object, and nothing of the request.

Everything blocks.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from loadgen.errors import StorageError, UsageError

__all__ = ["LONGEST_LINK_S", "Bucket", "parse_url"]

LONGEST_LINK_S: Final = 7 * 24 * 3600
"""For so long a presigned address may hold, says S3."""
PART_BYTES: Final = 64 << 20
"""What is longer is sent in parts of this length; with 10,000 parts an object may have 640 GB."""
_CHUNK: Final = 1 << 20
_URL: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_HINTS: Final = {
    "AccessDenied": "may these credentials list, read and write there?",
    "NoSuchBucket": "is that its name, and its region (AWS_REGION)?",
    "InvalidAccessKeyId": "which credentials does boto3 find? AWS_PROFILE chooses",
    "SignatureDoesNotMatch": "the secret access key is another one's",
    "ExpiredToken": "get new credentials",
    "NoCredentialsError": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "EndpointConnectionError": "is the network there, and AWS_ENDPOINT_URL right?",
    "NoRegionError": "set AWS_REGION",
    "ConditionalRequestConflict": "another one is sending it just now; try again",
}


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


class Bucket:
    """Objects below a prefix; their names are relative to it."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            UsageError: no address of a bucket, or boto3 is not installed.
        """
        try:
            self.name, self.prefix = parse_url(url)
        except ValueError as wrong:
            raise UsageError(str(wrong)) from wrong
        self._boto()

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}"

    def folders(self, begins: str = "") -> list[str]:
        """Names of the folders directly below the prefix that begin so, sorted."""
        found = []
        with self._told(f"list {self}"):
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
        with self._told(f"list {self}{below}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix + below)
            for page in pages:
                for one in page.get("Contents", ()):
                    found[str(one["Key"]).removeprefix(self.prefix)] = int(one["Size"])
        return found

    def sha256(self, name: str) -> str:
        """As `put` noted it beside the object; empty where nobody did."""
        with self._told(f"look at {self}{name}"):
            head = self._client.head_object(Bucket=self.name, Key=self.prefix + name)
            return str(head.get("Metadata", {}).get("sha256", ""))

    def put(self, name: str, source: Path, sha256: str) -> None:
        """Send a file, in parts where it is long."""
        boto3, _ = self._boto()
        config = boto3.s3.transfer.TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2
        )
        with self._told(f"send {self}{name}"):
            self._client.upload_file(
                str(source),
                self.name,
                self.prefix + name,
                ExtraArgs={"Metadata": {"sha256": sha256}, "ContentType": _kind(name)},
                Config=config,
            )

    def put_bytes(self, name: str, data: bytes) -> None:
        with self._told(f"send {self}{name}"):
            self._client.put_object(
                Bucket=self.name,
                Key=self.prefix + name,
                Body=data,
                ContentType=_kind(name),
                Metadata={"sha256": hashlib.sha256(data).hexdigest()},
            )

    def put_new(self, name: str, data: bytes) -> bool:
        """False where there is an object of that name: that stays as it is, also when two send it at once."""
        _, botocore = self._boto()
        with self._told(f"send {self}{name}"):
            try:
                self._client.put_object(
                    Bucket=self.name,
                    Key=self.prefix + name,
                    Body=data,
                    ContentType=_kind(name),
                    Metadata={"sha256": hashlib.sha256(data).hexdigest()},
                    IfNoneMatch="*",
                )
            except botocore.exceptions.ClientError as exc:
                if exc.response.get("Error", {}).get("Code") == "PreconditionFailed":
                    return False
                raise
        return True

    def read(self, name: str, most: int) -> bytes | None:
        """The whole object; None where there is none.

        Raises:
            StorageError: it has more than `most` bytes, or cannot be read.
        """
        with self._told(f"read {self}{name}"):
            try:
                body = self._client.get_object(Bucket=self.name, Key=self.prefix + name)["Body"]
            except self._client.exceptions.NoSuchKey:
                return None
            data = bytes(body.read(most + 1))
        if len(data) > most:
            raise StorageError(f"cannot read {self}{name}: it has more than {most:,} bytes")
        return data

    def get(self, name: str, to: Path, most: int) -> tuple[int, str]:
        """Write the object to a file, at most `most` bytes and one more of it. Returns its length and SHA-256."""
        digest, length = hashlib.sha256(), 0
        with self._told(f"read {self}{name}"), to.open("wb") as file:
            body = self._client.get_object(Bucket=self.name, Key=self.prefix + name)["Body"]
            while length <= most and (chunk := body.read(_CHUNK)):
                file.write(chunk[: most + 1 - length])
                digest.update(chunk)
                length += len(chunk)
        return length, digest.hexdigest()

    def link(self, name: str, expires_s: int) -> str:
        """An address of the object that whoever has it can read, without credentials, for so long."""
        with self._told(f"sign {self}{name}"):
            return str(
                self._client.generate_presigned_url(
                    "get_object", Params={"Bucket": self.name, "Key": self.prefix + name}, ExpiresIn=expires_s
                )
            )

    @property
    def has_passing_credentials(self) -> bool:
        """Those of a role or a session: what they signed ends with them."""
        with self._told("look for credentials"):
            found = self._session.get_credentials()
            return found is not None and bool(found.get_frozen_credentials().token)

    # -- within -------------------------------------------------------------------------------

    @cached_property
    def _session(self) -> Any:
        boto3, _ = self._boto()
        return boto3.session.Session()

    @cached_property
    def _client(self) -> Any:
        _, botocore = self._boto()
        is_elsewhere = bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
        config = botocore.config.Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=60,
            retries={"max_attempts": 4, "mode": "standard"},
            s3={"addressing_style": "path"} if is_elsewhere else {},
        )
        return self._session.client("s3", config=config, region_name=self._session.region_name or "us-east-1")

    @staticmethod
    def _boto() -> tuple[Any, Any]:
        try:
            import boto3
            import boto3.s3.transfer
            import botocore
            import botocore.config
            import botocore.exceptions
        except ImportError as exc:
            raise UsageError("S3 needs boto3, which is not installed", hint="pip install loadgen[aws]") from exc
        return boto3, botocore

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """The one translation of what boto3 says. Its texts are not passed on: some have parts of the request."""
        boto3, botocore = self._boto()
        try:
            yield
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, boto3.exceptions.Boto3Error) as exc:
            # A file that could not be sent is an error of its own, in the course of S3's.
            cause = exc.__context__ if isinstance(exc, boto3.exceptions.S3UploadFailedError) else exc
            if isinstance(cause, botocore.exceptions.ClientError):
                code = str(cause.response.get("Error", {}).get("Code", "")) or "an error without a code"
                raise StorageError(f"cannot {doing}: S3 says {code}", hint=_HINTS.get(code, "")) from exc
            name = type(cause or exc).__name__
            raise StorageError(f"cannot {doing}: {name}", hint=_HINTS.get(name, "")) from exc
        except OSError as exc:
            raise StorageError(f"cannot {doing}: {exc.strerror or exc}") from exc


def _kind(name: str) -> str:
    kinds = {".html": "text/html; charset=utf-8", ".json": "application/json", ".jsonl": "application/x-ndjson"}
    return kinds.get(Path(name).suffix, "application/octet-stream")
