"""Encodes request bodies and query strings as httpx does, faster in common cases.

A body that is in memory is bytes. Any other body is an `Upload`, which is sent
piece by piece. A request with an upload is a `StreamedRequest`: the bytes of its
head, with the upload as an attribute.
"""

from __future__ import annotations

import io
import json as _json
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from inspect import isasyncgen, isgenerator
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import msgspec

from loadgen.clients.protocol.file_and_generated_bodies import PIECE_BYTES, Source, SourceReader
from loadgen.clients.protocol.outcomes import PROTOCOL
from loadgen.errors import RequestFailed

__all__ = [
    "FORM",
    "JSON",
    "Body",
    "Content",
    "OpenBody",
    "StreamedRequest",
    "Upload",
    "encode_content",
    "encode_form",
    "encode_json",
    "encode_multipart",
    "encode_query",
]

JSON: Final = b"Content-Type: application/json\r\n"
FORM: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"

_quick = msgspec.json.Encoder().encode
_exact = _json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_SAME = frozenset({str, int, bool, type(None)})


def encode_json(value: Any) -> bytes:
    """Return `value` as JSON in bytes, exactly as httpx encodes it: compact, UTF-8, without NaN.

    msgspec is six times as fast and writes the same bytes for strings, integers, and lists and objects of these. It
    writes other bytes for floats (1e16, NaN) and for keys that are not strings, so values with those use the standard
    library.
    """
    if _is_same(value):
        try:
            return _quick(value)
        except (OverflowError, ValueError, TypeError):
            pass  # an integer beyond 64 bits, a lone surrogate: the standard library handles or reports it
    return _exact(value).encode("utf-8")


def _is_same(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _SAME and not _is_same(item)):
                return False
        return True
    if kind is list or kind is tuple:
        return all(type(item) in _SAME or _is_same(item) for item in value)
    return kind in _SAME


# -- bodies that are sent piece by piece ----------------------------------------------------------

_SMALL_BYTES: Final = 32 * 1024
"""A source up to this size is sent in one write with the head."""

Content = str | bytes | Iterable[bytes] | AsyncIterable[bytes]
"""Values that `content=` accepts: text, bytes, `file()`, `blob()`, open files, (async) iterables and generators."""


class Upload(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is sent piece by piece.

    length: in bytes; None if it is not known before the end, then the body is sent in chunks.
    is_chunked: whether it is sent in chunks; also True for a known length if the caller's headers ask for it.
    can_repeat: it can be sent again: after a redirect, for an auth flow, on another connection.
    """

    def __init__(
        self,
        begin: Callable[[], Iterable[bytes] | AsyncIterable[bytes]],
        length: int | None,
        *,
        can_repeat: bool = True,
        is_chunked: bool | None = None,
    ) -> None:
        self._begin, self.length = begin, length
        self.can_repeat = can_repeat
        self.is_chunked = length is None if is_chunked is None else is_chunked
        self._is_begun = False

    def framed_as(self, *, is_chunked: bool, length: int | None) -> Upload:
        """Return a copy of this body with other framing: chunked, or with a Content-Length of `length`, as the caller's
        headers require.
        """
        return Upload(self._again, length, can_repeat=self.can_repeat, is_chunked=is_chunked)

    async def framed(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the body as HTTP/1.1 sends them after the headers: chunked or unchanged. Raises as
        `pieces`.
        """
        async with aclosing(self.pieces()) as pieces:
            async for data in pieces:
                yield b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data
        if self.is_chunked:
            yield b"0\r\n\r\n"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the body without chunked framing, as HTTP/2 sends them. Empty pieces are left out.

        Raises:
            ValueError: the body is shorter or longer than its length.
            TypeError: a piece is not bytes.
            httpx.StreamConsumed: the body was sent before and cannot be sent again.
        """
        sent = 0
        async with aclosing(self.__aiter__()) as pieces:
            async for piece in pieces:
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise TypeError(f"the pieces of a body must be bytes, got {type(piece).__name__}")
                data = bytes(piece)
                if not data:
                    continue  # an empty chunk would end the body
                sent += len(data)
                if not self.is_chunked and self.length is not None and sent > self.length:
                    raise ValueError(f"the body is longer than the {self.length} bytes of its Content-Length")
                yield data
        if not self.is_chunked and sent != self.length:
            raise ValueError(f"the body has {sent} bytes, but its Content-Length is {self.length}")

    def _again(self) -> Iterable[bytes] | AsyncIterable[bytes]:
        if self._is_begun and not self.can_repeat:
            raise httpx.StreamConsumed
        self._is_begun = True
        return self._begin()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        pieces = self._again()
        try:
            if isinstance(pieces, Iterable):
                for piece in pieces:
                    yield piece
            else:
                async for piece in pieces:
                    yield piece
        finally:
            if isasyncgen(pieces):
                await pieces.aclose()
            elif isgenerator(pieces):
                pieces.close()

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._again()
        if not isinstance(pieces, Iterable):
            raise RuntimeError("an async body cannot be read synchronously; pass a sync iterable")
        yield from pieces

    def __repr__(self) -> str:
        return f"<Upload of {'unknown length' if self.length is None else f'{self.length} bytes'}>"


Body = bytes | Upload


class OpenBody(Upload):
    """A body that is written while the answer arrives, by the sink of the answer (`http2.OpenSource`)."""

    def __init__(self) -> None:
        super().__init__(self._refused, None, can_repeat=False)

    @staticmethod
    def _refused() -> Iterable[bytes]:
        raise RequestFailed(
            PROTOCOL, "the target chose HTTP/1.1, and this call needs HTTP/2: check that its TLS offers h2 (ALPN)"
        )


class StreamedRequest(bytes):
    """The head of a request, with its empty line; its body is in `upload`.

    upload: None if the body is empty or already part of the bytes. wants_stream: the answer is to be read as a stream.
    """

    upload: Upload | None = None
    wants_stream: bool = False

    @classmethod
    def of(cls, data: bytes, upload: Upload | None = None, *, wants_stream: bool = False) -> StreamedRequest:
        request = cls(data)
        request.upload = getattr(data, "upload", None) if upload is None else upload
        request.wants_stream = wants_stream
        return request


def encode_content(content: object) -> Body:
    """Return the argument `content=` of a request as a body: text, bytes, or an iterable of bytes. Unlike httpx's async
    client, this also accepts synchronous iterables.

    Raises:
        TypeError: none of these.
    """
    if isinstance(content, str):
        return content.encode("utf-8")
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, Source):
        size = content.size_bytes
        return bytes(content) if size <= _SMALL_BYTES else Upload(lambda: iter(content), size)
    if hasattr(content, "read") and isinstance(content, Iterable):
        return _of_file(content)
    if hasattr(content, "aread") and isinstance(content, AsyncIterable):
        return Upload(lambda: _read_async(content), None, can_repeat=False)
    if isinstance(content, Iterable | AsyncIterable) and not isinstance(content, Mapping):
        is_once = isinstance(content, Iterator | AsyncIterator)
        return Upload(lambda: content, None, can_repeat=not is_once)
    kinds = "text, bytes, file(), blob() or an iterable of bytes"
    raise TypeError(f"content= must be {kinds}, got {type(content).__name__}")


def _of_file(file: Any) -> Upload:
    """Return a body that reads an open file from its current position. Its length is determined as in httpx."""
    if isinstance(file, io.TextIOBase):
        raise TypeError('content= is a file that is open for text: open it as "rb"')
    try:
        start = file.tell()
        length = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    except (AttributeError, OSError):
        return Upload(lambda: _read(file, None), None, can_repeat=False)
    return Upload(lambda: _read(file, start), length)


def _read(file: Any, start: int | None) -> Iterator[bytes]:
    # The same file may be sent again (a redirect, another connection), from where it was when it was passed.
    if start is not None:
        file.seek(start)
    while piece := file.read(PIECE_BYTES):
        yield piece


async def _read_async(file: Any) -> AsyncIterator[bytes]:
    while piece := await file.aread(PIECE_BYTES):
        yield piece


# -- forms ----------------------------------------------------------------------------------------


def encode_form(data: Mapping[str, Any]) -> bytes:
    """Return form data as the bytes of `a=1&b=2`: lists as repeated keys, None as an empty value, booleans in lower
    case.

    Raises:
        TypeError: a value is a file() or blob(), which belongs into `files=`.
    """
    pairs: list[tuple[str, str]] = []
    for key, value in data.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, Source):
                raise TypeError(f"{key}: {item!r} cannot be in data= without files=; write files={{{key!r}: ...}}")
            pairs.append((key, _text(item)))
    return urlencode(pairs).encode("utf-8")


def encode_multipart(data: Mapping[str, Any] | None, files: Any, content_type: str | None = None) -> tuple[Body, bytes]:
    """Return (the body, its Content-Type header line) of a form with files, encoded by httpx.

    The body is bytes if all of it is in memory. Otherwise it is sent piece by piece, with a Content-Length if every
    part has a length. content_type: the caller's Content-Type, with the boundary to use.
    """
    fields, parts = _parts(data, files)
    headers = {} if content_type is None else {"Content-Type": content_type}
    # httpx makes the boundary, the headers of the parts and the length. The rest of this request is not used; no host
    # is named .invalid (RFC 6761).
    request = httpx.Request("POST", "http://multipart.invalid", data=fields, files=parts, headers=headers)
    line = b"Content-Type: " + request.headers["content-type"].encode("ascii") + b"\r\n"
    contents = [_content_of(value) for _, value in parts]
    if all(isinstance(content, str | bytes) for content in contents):
        return request.read(), line
    stream = request.stream
    assert isinstance(stream, httpx.SyncByteStream)

    def pieces() -> Iterator[bytes]:
        try:
            yield from stream
        finally:
            for content in contents:
                if isinstance(content, SourceReader):
                    content.close()

    length = request.headers.get("content-length")
    return Upload(pieces, None if length is None else int(length), can_repeat=length is not None), line


def _parts(data: Mapping[str, Any] | None, files: Any) -> tuple[dict[str, Any] | None, list[tuple[str, Any]]]:
    """Return `data` and `files` in the form that httpx's multipart encoder accepts: each `file()` or `blob()` is
    replaced by an object that it can read.
    """
    given = files.items() if isinstance(files, Mapping) else files
    parts = [(name, _readable(value)) for name, value in given]
    plain = dict(data or {})
    items = [(k, item) for k, v in plain.items() for item in (v if isinstance(v, list | tuple) else (v,))]
    if any(isinstance(item, Source) for _, item in items):
        # httpx rejects files in `data`; a file part without a name has the same bytes as a field
        as_parts = [
            (k, (None, item.reader() if isinstance(item, Source) else item if isinstance(item, bytes) else _text(item)))
            for k, item in items
        ]
        return None, as_parts + parts
    return plain or None, parts


def _readable(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) > 1 and isinstance(value[1], Source):
        return (value[0], value[1].reader(), *value[2:])
    return value.reader() if isinstance(value, Source) else value


def _content_of(value: Any) -> Any:
    return value[1] if isinstance(value, tuple) and len(value) > 1 else value


def encode_query(params: Any) -> str:
    """Return a query string without its `?`, from a mapping, pairs or text, as httpx.QueryParams does."""
    if type(params) is dict:
        pairs: list[tuple[str, str]] = []
        for key, value in params.items():
            for item in value if isinstance(value, list | tuple) else (value,):
                pairs.append((key, _text(item)))
        return urlencode(pairs)
    return str(httpx.QueryParams(params))


def _text(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return "" if value is None else str(value)
