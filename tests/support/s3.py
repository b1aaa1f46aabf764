"""A small S3 on loopback: objects in memory, buckets by path; each request is signed (Signature Version 4) or refused.

Knows what boto3 asks for files: PUT (also of what must not be there yet), GET (also of the rest), HEAD, ListObjectsV2
in pages, uploads in parts with what is there of them, presigned GET. Signature and checksums are computed here from the
request as it came, after AWS's description of them, and not by boto3.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from tests.support.in_thread import serving

__all__ = ["ACCESS", "S3", "SECRET", "running_s3"]

ACCESS, SECRET = "AKIDLOADGENTESTS", "the/secret+key-that-nobody-says"
PAGE = 3
"""Keys of one answer to a list."""


@dataclass
class Stored:
    data: bytes
    headers: dict[str, str]


@dataclass
class S3:
    """What is in it, and what it is to do wrong."""

    url: str = ""
    buckets: dict[str, dict[str, Stored]] = field(default_factory=lambda: {"loads": {}})
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(method, path with query) of each that was let in."""
    refused: list[str] = field(default_factory=list)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Parts by upload."""
    begun: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """(key, headers) by upload."""
    denied: set[str] = field(default_factory=set)
    """Methods that are answered AccessDenied."""
    denied_after: int | None = None
    """So many PUTs are taken, and no more."""
    later: timedelta = timedelta(0)
    """How far its clock is ahead: addresses expire."""

    def keys(self, bucket: str = "loads") -> list[str]:
        return sorted(self.buckets[bucket])

    def sent(self, method: str) -> list[str]:
        """Paths of the requests of a method, without query."""
        return [path.partition("?")[0] for of, path in self.requests if of == method]


@contextmanager
def running_s3() -> Iterator[S3]:
    state = S3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    with serving(server) as state.url:
        yield state


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: S3

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        self._answer()

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT

    def _answer(self) -> None:
        state = self.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, raw_query = self.path.partition("?")
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        if wrong := self._unsigned(path, raw_query, query, body):
            state.refused.append(wrong)
            self._fail(403, wrong)
            return
        state.requests.append((self.command, self.path))
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        if bucket not in state.buckets:
            self._fail(404, "NoSuchBucket")
            return
        puts = len(state.sent("PUT"))
        if self.command in state.denied or (
            self.command == "PUT" and state.denied_after is not None and puts > state.denied_after
        ):
            self._fail(403, "AccessDenied")
            return
        getattr(self, f"_{self.command.lower()}")(state.buckets[bucket], bucket, key, query, body)

    # -- objects ------------------------------------------------------------------------------

    def _put(self, objects: dict[str, Stored], bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        said = self.headers.get("x-amz-checksum-sha256")
        if said is not None and said != _sha256(body):
            self._fail(400, "BadDigest")
            return
        if "uploadId" in query:
            self.state.uploads[query["uploadId"]][int(query["partNumber"])] = body
        elif self.headers.get("If-None-Match") == "*":
            mine = Stored(body, self._kept())
            if objects.setdefault(key, mine) is not mine:
                self._fail(412, "PreconditionFailed")
                return
        else:
            objects[key] = Stored(body, self._kept())
        self._say(200, b"", {"ETag": _tag(body)})

    def _post(self, objects: dict[str, Stored], bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        state = self.state
        if "uploads" in query:
            upload = f"upload-{len(state.begun)}"
            state.uploads[upload], state.begun[upload] = {}, (key, self._kept())
            self._xml(
                "InitiateMultipartUploadResult",
                f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>",
            )
            return
        upload, text = query["uploadId"], body.decode()
        parts = state.uploads[upload]
        sums, numbers = re.findall(r"<ChecksumSHA256>(.*?)<", text), re.findall(r"<PartNumber>(\d+)<", text)
        if {str(number): _sha256(data) for number, data in parts.items()} != dict(zip(numbers, sums, strict=False)):
            self._fail(400, "InvalidPart")  # as S3 does where a checksum is missing or is another one's
            return
        del state.uploads[upload]
        objects[key] = Stored(b"".join(parts[number] for number in sorted(parts)), state.begun.pop(upload)[1])
        self._xml("CompleteMultipartUploadResult", f'<Key>{escape(key)}</Key><ETag>"parts"</ETag>')

    def _delete(self, objects: dict[str, Stored], bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        self.state.uploads.pop(query.get("uploadId", ""), None)
        self._say(204, b"", {})

    def _head(self, objects: dict[str, Stored], bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        self._get(objects, bucket, key, query, body)

    def _get(self, objects: dict[str, Stored], bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if "uploads" in query:
            self._list_uploads(query)
        elif "uploadId" in query:
            self._list_parts(query["uploadId"])
        elif not key:
            self._list(objects, query)
        elif key in objects and asked:
            begin, data = int(asked[1]), objects[key].data
            if begin >= len(data):
                self._fail(416, "InvalidRange")
            else:
                at = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
                self._say(206, data[begin:], objects[key].headers | at)
        elif key in objects:
            self._say(200, objects[key].data, objects[key].headers)
        else:
            self._fail(404, "NoSuchKey")

    def _list(self, objects: dict[str, Stored], query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        found: dict[str, str] = {}
        for key in sorted(objects):
            rest = key.removeprefix(prefix)
            if key.startswith(prefix) and delimiter and delimiter in rest:
                folder = prefix + rest.partition(delimiter)[0] + delimiter
                found[folder] = f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            elif key.startswith(prefix):
                size = len(objects[key].data)
                found[key] = f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>"
        names = [name for name in found if name > query.get("continuation-token", "")]
        more = len(names) > PAGE
        token = f"<NextContinuationToken>{escape(names[PAGE - 1])}</NextContinuationToken>" if more else ""
        inner = "".join(found[name] for name in names[:PAGE])
        self._xml("ListBucketResult", f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{inner}")

    def _list_uploads(self, query: dict[str, str]) -> None:
        found = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
            for upload, (key, _) in self.state.begun.items()
            if key.startswith(query.get("prefix", ""))
        )
        self._xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{found}")

    def _list_parts(self, upload: str) -> None:
        found = "".join(
            f"<Part><PartNumber>{number}</PartNumber><Size>{len(data)}</Size><ETag>{_tag(data)}</ETag>"
            f"<ChecksumSHA256>{_sha256(data)}</ChecksumSHA256></Part>"
            for number, data in sorted(self.state.uploads[upload].items())
        )
        self._xml("ListPartsResult", f"<IsTruncated>false</IsTruncated>{found}")

    def _kept(self) -> dict[str, str]:
        names = [name for name in self.headers if name.lower().startswith("x-amz-meta-")]
        return {name: self.headers[name] for name in (*names, "Content-Type") if self.headers.get(name)}

    # -- answers ------------------------------------------------------------------------------

    def _xml(self, name: str, inner: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?><{name}>{inner}</{name}>'
        self._say(200, text.encode(), {"Content-Type": "application/xml"})

    def _fail(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{ACCESS} is told no</Message></Error>"
        self._say(status, text.encode(), {"Content-Type": "application/xml"})

    def _say(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # -- the signature ------------------------------------------------------------------------

    def _unsigned(self, path: str, raw_query: str, query: dict[str, str], body: bytes) -> str:
        """The code of what is wrong with the request's signature; empty where nothing is."""
        header = self.headers.get("Authorization", "")
        if header.startswith("AWS4-HMAC-SHA256 "):
            parts = dict(part.strip().split("=", 1) for part in header.partition(" ")[2].split(","))
            credential, names, signature = parts["Credential"], parts["SignedHeaders"], parts["Signature"]
            stamp, payload = self.headers["x-amz-date"], self.headers["x-amz-content-sha256"]
            if payload != hashlib.sha256(body).hexdigest():
                return "XAmzContentSHA256Mismatch"
        elif "X-Amz-Signature" in query:
            credential, names = query["X-Amz-Credential"], query["X-Amz-SignedHeaders"]
            signature, stamp, payload = query["X-Amz-Signature"], query["X-Amz-Date"], "UNSIGNED-PAYLOAD"
            began = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            if datetime.now(UTC) + self.state.later > began + timedelta(seconds=int(query["X-Amz-Expires"])):
                return "ExpiredRequest"
        else:
            return "AccessDenied"
        access, day, region, service, _ = credential.split("/")
        if access != ACCESS:
            return "InvalidAccessKeyId"
        pairs = [pair.partition("=") for pair in raw_query.split("&") if pair]
        canonical_query = "&".join(
            f"{name}={value}" for name, _, value in sorted(pairs) if unquote(name) != "X-Amz-Signature"
        )
        headers = "".join(f"{name}:{' '.join(self.headers.get(name, '').split())}\n" for name in names.split(";"))
        request = "\n".join(
            (self.command, quote(unquote(path), safe="/-_.~"), canonical_query, headers, names, payload)
        )
        scope = f"{day}/{region}/{service}/aws4_request"
        to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
        key = f"AWS4{SECRET}".encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        return "" if hmac.compare_digest(expected, signature) else "SignatureDoesNotMatch"


def _sha256(data: bytes) -> str:
    return b64encode(hashlib.sha256(data).digest()).decode()


def _tag(data: bytes) -> str:
    """Of a key of KMS: it says nothing of what is in it."""
    return f'"{hashlib.md5(b"with a key" + data).hexdigest()}"'
