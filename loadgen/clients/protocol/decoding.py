"""Undoing Content-Encoding, bounded, so that a bomb cannot take the worker's memory: gzip, deflate, zstd, and br.

`br` only where the `brotli` package is installed (an extra); what is not understood is left as it is, as in httpx,
and `ACCEPTED`, our Accept-Encoding, names only what is. Whole bodies (`decode`) are bounded by a limit for each of
their encodings, streams (`Unpacker`) by how much is unpacked at once.

And what a target may call a charset.
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
"""Of one body: each may make its input a thousand times as long. What servers send has one."""
_STEP_BYTES: Final = 64 * 1024
"""At most this much is given at once, whatever the packed bytes say."""
_ZSTD_SLICE_BYTES: Final = 64
"""zstandard's bindings have no limit of output, so its input is bounded: 4 bytes are at most 128 KiB, these 2 MiB.

5 MB of JSON, packed into 230 kB, take 1.9 ms, where all at once they take 1.4.
"""
_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What a decoder has to keep of the past; more is not allowed in HTTP (RFC 9659)."""

_PYTHONS_OWN: Final = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Codecs of text that are no charsets. What they do to other bytes differs from one Python to the next."""


@lru_cache(maxsize=64)
def is_charset(name: str) -> bool:
    """Of what a target calls one: Python also knows "hex" and "punycode"."""
    try:
        b"ab".decode(name, errors="replace")
    except (LookupError, UnicodeError):
        return False
    return codecs.lookup(name).name.replace("_", "-") not in _PYTHONS_OWN


class DecodingError(ValueError):
    """The body is not what its Content-Encoding says, or larger than allowed when unpacked."""


def decode(body: bytes, encodings: str, limit_bytes: int) -> bytes:
    """Undo `encodings` ("gzip", "deflate, gzip"), the last first; unknown ones are left as they are, as httpx does.

    limit_bytes: of what each of them gives.

    Raises:
        DecodingError: see there.
    """
    if not body:
        return body
    unpacker = Unpacker(encodings, limit_bytes)
    parts = list(unpacker.feed(body))
    unpacker.finish()
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Unpacker:
    """Undoes Content-Encoding while the body comes in. Gives at most 64 KiB at a time, so a bomb takes no memory.

    limit_bytes: of what each encoding gives; None: none.

    Raises:
        DecodingError: more than MAX_ENCODINGS.
    """

    def __init__(self, encodings: str, limit_bytes: int | None = None) -> None:
        known = [e.strip().lower() for e in encodings.split(",")]
        layers = [layer for e in reversed(known) if (layer := _LAYERS.get(e)) is not None]
        if len(layers) > MAX_ENCODINGS:
            raise DecodingError(f"packed {len(layers)} times: more than {MAX_ENCODINGS}")
        self._layers: list[_Layer] = [layer() for layer in layers]
        self._limit_bytes = limit_bytes
        self._given = [0] * len(layers)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The next packed bytes.

        Raises:
            DecodingError: the body is not what its Content-Encoding says, or more than `limit_bytes`.
        """
        return self._through(data, 0)

    def finish(self) -> None:
        """The body is at its end.

        Raises:
            DecodingError: in the middle of what was packed.
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
                raise DecodingError(f"more than {self._limit_bytes} bytes when unpacked")
            yield from self._through(part, at + 1)


# -- one encoding each ------------------------------------------------------------------------------


class _Layer(Protocol):
    is_begun: bool

    @property
    def is_over(self) -> bool: ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of at most _STEP_BYTES, none empty. Raises DecodingError."""
        ...


class _Gzip:
    """What follows the end is left out, as httpx does."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.is_begun = False

    @property
    def is_over(self) -> bool:
        return self._inflater.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._inflater.eof:
            self.is_begun = True
            try:
                part = self._inflater.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise DecodingError(str(error)) from error
            data = self._inflater.unconsumed_tail
            if part:
                yield part


class _Deflate(_Gzip):
    """zlib's format, or, what many servers mean by deflate, the bare one: the first two bytes tell."""

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
            is_bare = first & 15 != zlib.DEFLATED or (first * 256 + second) % 31
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else zlib.MAX_WBITS)
            data, self._head = self._head, None
        yield from super().feed(data)


class _Zstd:
    """Frames, one after the other."""

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
            yield from _cut(unpacked)  # its limit is a soft one: it gives 96 KiB
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
if not hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data"):  # none, or one without bounds (< 1.2)
    del _LAYERS["br"]

ACCEPTED: Final = ", ".join(name for name in _LAYERS if name != "x-gzip")
"""Accept-Encoding: what httpx sends with the same packages installed."""
