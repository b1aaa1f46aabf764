"""Decodes Content-Encoding (gzip, deflate, zstd and br) with bounded memory, so that a bomb cannot fill the worker.

`br` needs the `brotli` package, an extra. Unknown encodings are left as they are, as in httpx. Our Accept-Encoding,
`ACCEPTED`, lists only encodings that can be decoded. Whole bodies (`decode`) have a size limit for each of their
encodings. Streams (`Unpacker`) are bounded by how much is decoded at a time.

This module also checks the charset names that targets send (`is_charset`).
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Protocol

import zstandard

try:
    import brotli
except ImportError:  # an extra
    brotli = None

__all__ = ["ACCEPTED", "MAX_ENCODINGS", "DecodingError", "Unpacker", "decode", "is_charset"]

MAX_ENCODINGS: Final = 5
"""The limit on encodings of one body: each may expand its input a thousandfold. Real servers use one."""
_STEP_BYTES: Final = 64 * 1024
"""The size limit of one decoded piece."""
_ZSTD_SLICE_BYTES: Final = 64
"""zstandard's bindings cannot limit their output, so we limit the input: 4 bytes expand to at most 128 KiB, and 64
bytes to 2 MiB. 5 MB of JSON, packed into 230 kB, take 1.9 ms in such slices, and 1.4 ms in one call.
"""
_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""The largest window that a decoder has to keep; HTTP allows no more (RFC 9659)."""

_PYTHONS_OWN: Final = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Python's text codecs that are not charsets. Their result for other bytes depends on the Python version."""


@lru_cache(maxsize=64)
def is_charset(name: str) -> bool:
    """Return True if `name`, as sent by a target, is a text encoding. Python also has codecs for other purposes, such
    as "hex" and "punycode".
    """
    try:
        b"ab".decode(name, errors="replace")
    except (LookupError, UnicodeError):
        return False
    return codecs.lookup(name).name.replace("_", "-") not in _PYTHONS_OWN


class DecodingError(ValueError):
    """The body does not match its Content-Encoding, or is larger than allowed when decoded."""


def decode(body: bytes, encodings: str, limit_bytes: int) -> bytes:
    """Return `body` with its Content-Encoding undone, for example "gzip" or "deflate, gzip", the last one first.
    Unknown encodings are skipped, as in httpx.

    limit_bytes: the size limit of the output of each encoding.

    Raises:
        DecodingError: the body does not match its encoding, or decodes to more than `limit_bytes`.
    """
    if not body:
        return body
    unpacker = Unpacker(encodings, limit_bytes)
    parts = list(unpacker.feed(body))
    unpacker.finish()
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Unpacker:
    """Undoes Content-Encoding while the body arrives. It yields at most 64 KiB at a time, so a bomb takes no memory.

    limit_bytes: the size limit of the output of each encoding; None for no limit.

    Raises:
        DecodingError: more than MAX_ENCODINGS encodings.
    """

    def __init__(self, encodings: str, limit_bytes: int | None = None) -> None:
        known = [e.strip().lower() for e in encodings.split(",")]
        layers = [layer for e in reversed(known) if (layer := _LAYERS.get(e)) is not None]
        if len(layers) > MAX_ENCODINGS:
            raise DecodingError(f"the body is encoded {len(layers)} times; the limit is {MAX_ENCODINGS}")
        self._layers: list[_Layer] = [layer() for layer in layers]
        self._limit_bytes = limit_bytes
        self._given = [0] * len(layers)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next encoded bytes, and yield the decoded pieces.

        Raises:
            DecodingError: the body does not match its Content-Encoding, or decodes to more than `limit_bytes`.
        """
        return self._through(data, 0)

    def finish(self) -> None:
        """Raise if the encoded body ended too early. Call this after the last `feed`.

        Raises:
            DecodingError: the encoded data ends in the middle.
        """
        if any(layer.is_begun and not layer.is_over for layer in self._layers):
            raise DecodingError("the compressed body ends in the middle")

    def _through(self, data: bytes, at: int) -> Iterator[bytes]:
        if at == len(self._layers):
            if data:
                yield data
            return
        for part in self._layers[at].feed(data):
            self._given[at] += len(part)
            if self._limit_bytes is not None and self._given[at] > self._limit_bytes:
                raise DecodingError(f"the body decodes to more than {self._limit_bytes} bytes")
            yield from self._through(part, at + 1)


# -- one encoding each ------------------------------------------------------------------------------


class _Layer(Protocol):
    is_begun: bool

    @property
    def is_over(self) -> bool: ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes of one encoding, and yield non-empty pieces of at most _STEP_BYTES. Raises
        DecodingError.
        """
        ...


class _Gzip:
    """Decodes gzip. Bytes after the end are ignored, as in httpx."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.is_begun = False

    @property
    def is_over(self) -> bool:
        return self._inflater.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        is_full = False
        while (data or is_full) and not self._inflater.eof:
            self.is_begun = True
            try:
                part = self._inflater.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise DecodingError(str(error)) from error
            data = self._inflater.unconsumed_tail
            # zlib can have consumed all input and still hold output that did not fit into the piece.
            is_full = len(part) == _STEP_BYTES
            if part:
                yield part


class _Deflate(_Gzip):
    """Decodes deflate: zlib's format, or raw deflate, which many servers send. The first two bytes tell them apart."""

    def __init__(self) -> None:
        super().__init__()
        self._head: bytes | None = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._head is not None and data:
            self._head += data
            self.is_begun = True
            if len(self._head) < 2:
                return
            first, second = self._head[:2]
            # RFC 1950, section 2.2: zlib's first byte names the method, and both bytes together are a multiple of 31.
            is_bare = first & 15 != zlib.DEFLATED or (first * 256 + second) % 31
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else zlib.MAX_WBITS)
            data, self._head = self._head, None
        yield from super().feed(data)


class _Zstd:
    """Decodes zstd frames, one after the other."""

    def __init__(self) -> None:
        self._begin: Callable[[], Any] = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj
        self._frame = self._begin()
        self.is_begun = False

    @property
    def is_over(self) -> bool:
        return bool(self._frame.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            self.is_begun = True
            if self._frame.eof:
                self._frame = self._begin()
            part = data[at : at + _ZSTD_SLICE_BYTES]
            try:
                unpacked = self._frame.decompress(part)
            except zstandard.ZstdError as error:
                raise DecodingError(str(error)) from error
            # Bytes after the end of a frame belong to the next one, so they are fed again.
            at += len(part) - (len(self._frame.unused_data) if self._frame.eof else 0)
            yield from _cut(unpacked)


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()
        self.is_begun = False

    @property
    def is_over(self) -> bool:
        return bool(self._decompressor.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            self.is_begun = self.is_begun or bool(data)
            try:
                unpacked = self._decompressor.process(data, output_buffer_limit=_STEP_BYTES)
            except brotli.error as error:
                raise DecodingError(str(error)) from error
            data = b""
            yield from _cut(unpacked)  # brotli's limit is soft: it returns up to 96 KiB
            if not unpacked and self._decompressor.can_accept_more_data():
                return


def _cut(unpacked: bytes) -> Iterator[bytes]:
    for begin in range(0, len(unpacked), _STEP_BYTES):
        yield unpacked[begin : begin + _STEP_BYTES]


_LAYERS: Final[dict[str, Callable[[], _Layer]]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
# brotli is not installed, or is older than 1.2 and cannot limit its output
if not hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data"):
    del _LAYERS["br"]

ACCEPTED: Final = ", ".join(name for name in _LAYERS if name != "x-gzip")
"""Our Accept-Encoding. httpx sends the same with the same packages installed."""
