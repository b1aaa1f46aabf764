"""HTTP/2 heads: translates requests from HTTP/1.1 bytes and answers from header blocks, and caches both.

The client prepares a request as HTTP/1.1 bytes, and most requests equal an earlier one, or differ from it in the path
only. So the HPACK block of a head is kept until the connection's header table changes (`Encoder`), and so are its
parts before and after the path. As long as a block consists of references and of literals that are not added to the
table, its bytes stay the same.

For answers, a block that refers to no entry of the dynamic table, as nginx writes them, means the same on every
connection. Any other block that adds nothing means the same until the table changes (`Decoder`).

Values that change with each request (`:path`, lengths, trace ids) are sent as literals outside the table, as nghttp2
does: otherwise they would drive out entries that repeat. Authorization and Cookie go into the table, as in Go's client.
All values are Huffman-coded if that makes them shorter, as in nghttp2, curl and Go. nginx limits the size of a value on
the wire (`large_client_header_buffers`, 8 KiB), so it would refuse a URL that curl could send.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from hpack import Decoder as HpackDecoder
from hpack import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from loadgen.clients.framing.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_FRAME_BYTES,
    PADDED,
    before_number,
)
from loadgen.clients.protocol.huffman import Huffman, is_shorter
from loadgen.clients.protocol.response_heads import MAX_FIELDS, MAX_KEPT_FIELDS, Head, RawHeaders

__all__ = [
    "INVALID_BLOCK",
    "MAX_KEPT",
    "NOT_REPEATED",
    "TOO_MANY",
    "Decoder",
    "Encoder",
    "Expected",
    "OversizedHeaderListError",
    "Received",
    "Repeated",
    "fields_of",
    "known_wholes",
    "request_decoder",
]

INVALID_BLOCK: Final = (HPACKError, IndexError, TypeError)
"""The errors of `Decoder.decode` for an invalid block. A block that decodes to too much is an
OversizedHeaderListError."""

MAX_KEPT: Final = 2048
"""Size limit of two caches: header lines of requests, and blocks without references. A full cache is emptied."""
_MAX_OF_CONNECTION: Final = 64
_MAX_KEPT_BYTES: Final = 4096
_MAX_TABLE_BYTES: Final = 4096
"""The size limit of the table for our own heads, even if the target allows more: changing Cookie headers would fill a
table of 4 GiB, and each request would search it. nghttp2 and Go have the same limit."""

_ENTRY_BYTES: Final = 32
"""The size of an entry of the table beside its name and value (RFC 7541, section 4.1)."""
_MOST_ENTRIES: Final = _MAX_TABLE_BYTES // _ENTRY_BYTES

TOO_MANY: Final = f"more than {MAX_FIELDS} headers"
_NOT_INDEXED: Final = frozenset(
    {
        b":path",
        b"age",
        b"b3",
        b"baggage",
        b"content-length",
        b"etag",
        b"if-modified-since",
        b"if-none-match",
        b"location",
        b"set-cookie",
        b"traceparent",
        b"tracestate",
        b"uber-trace-id",
        b"x-amzn-trace-id",
        b"x-b3-spanid",
        b"x-b3-traceid",
        b"x-datadog-parent-id",
        b"x-datadog-tags",
        b"x-datadog-trace-id",
        b"x-dynatrace-test",
        b"x-request-id",
    }
)
_OF_CONNECTION: Final = frozenset(
    {b"connection", b"host", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
"""Headers about the connection, which HTTP/2 replaces by frames. Host becomes `:authority`."""
_FORBIDDEN: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_BAD_VALUE: Final = re.compile(rb"[\0\r\n]")
_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")


# -- requests -------------------------------------------------------------------------------------


_lines: dict[bytes, tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = {}
"""Translated heads without their first line: the authority, and the headers. Heads often differ in the path only."""


def fields_of(head: bytes, scheme: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the HTTP/2 header fields of a request whose head is given as HTTP/1.1 bytes, up to and including the empty
    line. The fourth is `:path`. scheme: `http` or `https`.
    """
    line, _, rest = head.partition(b"\r\n")
    known = _lines.get(rest)
    if known is None:
        known = _headers(rest)
        if len(rest) <= _MAX_KEPT_BYTES:
            if len(_lines) >= MAX_KEPT:
                _lines.clear()
            _lines[rest] = known
    authority, fields = known
    method, _, path = line.partition(b" ")
    return (
        (b":method", method),
        (b":scheme", scheme),
        (b":authority", authority),
        (b":path", path.rpartition(b" ")[0]),
        *fields,
    )


def _headers(lines: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    authority = b""
    fields = []
    for line in lines.split(b"\r\n"):
        if not line:
            break
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"host":
            authority = value
        elif name == b"te":
            # RFC 9113, section 8.2.2: TE must have no value but "trailers".
            if value.lower() == b"trailers":
                fields.append((name, b"trailers"))
        elif name not in _OF_CONNECTION:
            fields.append((name, value))
    return authority, tuple(fields)


def _integer(number: int, bits: int, first: int) -> bytes:
    """Return an integer with a prefix of `bits` bits (RFC 7541, section 5.1). first: the other bits of the prefix."""
    most = (1 << bits) - 1
    if number < most:
        return bytes((first | number,))
    coded = bytearray((first | most,))
    number -= most
    while number >= 128:
        coded.append(number & 127 | 128)
        number >>= 7
    coded.append(number)
    return bytes(coded)


_STATIC: Final = {pair: _integer(at, 7, 0x80) for at, pair in enumerate(HeaderTable.STATIC_TABLE, 1)}
"""The code of each entry of the static table."""
_NAMES: Final = {name: at for at, (name, _) in reversed(tuple(enumerate(HeaderTable.STATIC_TABLE, 1)))}
"""The first entry of the static table with each name."""
_FIRST_DYNAMIC: Final = HeaderTable.STATIC_TABLE_LENGTH + 1
_huffman: Final = Huffman().encode


def _text(text: bytes) -> bytes:
    if not is_shorter(text):
        return _integer(len(text), 7, 0) + text
    coded = _huffman(text)
    return _integer(len(coded), 7, 0x80) + coded


def _literal(name: bytes, value: bytes, bits: int, first: int) -> bytes:
    index = _NAMES.get(name, 0)
    return _integer(index, bits, first) + (b"" if index else _text(name)) + _text(value)


class Repeated:
    """A head of a request that a connection has sent before, as parts of frames, and the answer that it got last.

    The number of a stream is the only part of a usual request or answer that changes. So frames are kept as the bytes
    between the numbers: `number.join(parts)` makes them whole, in one step.
    """

    __slots__ = ("answer", "begin", "frame")

    def __init__(self, block: bytes) -> None:
        size = len(block)
        self.frame = before_number(size >> 8, size & 0xFF, HEADERS, END_HEADERS | END_STREAM), block
        """HEADERS without a body after it: the parts before and after the number."""
        self.begin = before_number(size >> 8, size & 0xFF, HEADERS, END_HEADERS), block
        """HEADERS with a body after it."""
        self.answer: Expected | None = None
        """The last usual answer. The next one is probably the same."""


NOT_REPEATED: Final = Repeated(b"")
"""Stands for a head that a connection sends for the first time."""


class Encoder:
    """Encodes the heads of one connection, with caches of blocks. hpack's encoder is slow for heads with new paths.

    A name that is only in the dynamic table is sent as text. scheme: `http` or `https`.
    """

    __slots__ = (
        "_around",
        "_inserted",
        "_places",
        "_scheme",
        "header_table",
        "known",
        "repeated",
        "table_size_changes",
    )

    def __init__(self, scheme: bytes) -> None:
        self._scheme = scheme
        self.header_table = HeaderTable()
        self.table_size_changes: list[int] = []
        """Sizes that the next block has to signal."""
        self._inserted = 0
        """The number of entries that were added to the table so far."""
        self._places: dict[tuple[bytes, bytes], int] = {}
        """The `_inserted` of each entry when it was added. The entry may have been evicted since."""
        self.known: dict[bytes, bytes] = {}
        """The blocks of heads, as long as the table does not change."""
        self.repeated: dict[bytes, Repeated] = {}
        """Those of `known` that were sent more than once."""
        self._around: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
        """The parts of a block before and after its path, by method and header lines; also until the table changes.
        Heads often differ in the path only."""

    def resize_table(self, most_bytes: int) -> None:
        """Follow a setting of the target, the largest table that it accepts."""
        size = min(most_bytes, _MAX_TABLE_BYTES)
        if size != self.header_table.maxsize:
            self.header_table.maxsize = size
            lowest = min([size, *self.table_size_changes])  # the block has to signal both: RFC 7541, section 4.2
            self.table_size_changes = [lowest] if lowest == size else [lowest, size]
            self._forget()  # entries may have been evicted

    def block_of(self, head: bytes) -> bytes:
        """HOT. Return the compressed header block of a request, from a cache if the same head was encoded before.

        head: as HTTP/1.1 bytes, up to and including the empty line.
        """
        return self.known.get(head) or self.encode(head)

    def encode(self, head: bytes) -> bytes:
        """HOT. Return the block of a head that is not in `known`."""
        line, _, rest = head.partition(b"\r\n")
        method, _, path = line.partition(b" ")
        around = self._around.get((method, rest))
        if around is None:
            return self._encoded(head, method, rest)
        pair = (b":path", path.rpartition(b" ")[0])
        block = around[0] + (_STATIC.get(pair) or _literal(*pair, 4, 0x00)) + around[1]
        self._keep(head, block)
        return block

    def again(self, head: bytes, block: bytes) -> Repeated:
        """Return a head that is in `known`, with its block, as one that is sent again."""
        found = self.repeated.get(head)
        if found is None:
            found = self.repeated[head] = Repeated(block)
        return found

    def _encoded(self, head: bytes, method: bytes, rest: bytes) -> bytes:
        """Return the block of a head, and cache it if it changes nothing."""
        fields = fields_of(head, self._scheme)
        before, changes = self._inserted, self.table_size_changes
        self.table_size_changes = []
        sizes = b"".join([_integer(size, 5, 0x20) for size in changes])
        codes = [self._field(pair) for pair in fields]
        if before != self._inserted:
            self._forget()
        elif not changes:
            if len(rest) <= _MAX_KEPT_BYTES:
                if len(self._around) >= _MAX_OF_CONNECTION:
                    self._around.clear()
                self._around[method, rest] = b"".join(codes[:3]), b"".join(codes[4:])
            self._keep(head, b"".join(codes))
        return sizes + b"".join(codes)

    def _keep(self, head: bytes, block: bytes) -> None:
        if len(head) <= _MAX_KEPT_BYTES:
            if len(self.known) >= _MAX_OF_CONNECTION:
                self.known.clear()
                self.repeated.clear()
            self.known[head] = block

    def _forget(self) -> None:
        self.known.clear()
        self.repeated.clear()
        self._around.clear()

    def _field(self, pair: tuple[bytes, bytes]) -> bytes:
        """Return one encoded header field. Fields whose values change often are not added to the table."""
        known = _STATIC.get(pair)
        if known is not None:
            return known
        name, value = pair
        if name in _NOT_INDEXED:
            return _literal(name, value, 4, 0x00)
        table = self.header_table
        place = self._places.get(pair)
        if place is not None and (age := self._inserted - place) < len(table.dynamic_entries):
            return _integer(_FIRST_DYNAMIC + age, 7, 0x80)
        if len(name) + len(value) + _ENTRY_BYTES > table.maxsize:  # adding it would only empty the table
            return _literal(name, value, 4, 0x00)
        table.add(name, value)
        self._inserted += 1
        if len(self._places) >= 2 * _MOST_ENTRIES:
            self._places = {entry: self._inserted - age for age, entry in enumerate(table.dynamic_entries)}
        self._places[pair] = self._inserted
        return _literal(name, value, 6, 0x40)


# -- answers --------------------------------------------------------------------------------------


class Received:
    """One whole header block of an answer.

    head: None for trailers and for malformed blocks. raw: the headers. wrong: the reason why the block is malformed, or
    empty. is_small: the block is small enough to be cached.
    """

    __slots__ = ("head", "is_small", "raw", "wrong")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        status, raw, wrong = _check_fields(fields)
        self.raw, self.wrong = raw, wrong
        self.head = _head(status, raw) if status and not wrong else None
        self.is_small = len(raw) <= MAX_KEPT_FIELDS and sum(len(n) + len(v) for n, v in raw) <= _MAX_KEPT_BYTES * 2


def _check_fields(fields: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, RawHeaders, str]:
    """Check the fields of an answer. Return (the status, the headers, why they are malformed). The status is b"" for
    trailers and if it is invalid, and the reason "" if all are valid.
    """
    status, wrong = b"", ""
    raw: RawHeaders = []
    length = None
    for name, value in fields:
        if name[:1] == b":":
            # RFC 9113, section 8.3: pseudo-headers come before all others, each once, and an answer has only :status.
            if name != b":status" or status or raw:
                wrong = wrong or f"unexpected pseudo-header {name!r}"
            elif not _STATUS.fullmatch(value):
                wrong = f"invalid status {value!r}"
            else:
                status = bytes(value)
            continue
        if not _NAME.fullmatch(name):
            wrong = wrong or f"invalid header name {name[:80]!r}"
        elif name in _FORBIDDEN:
            wrong = wrong or f"header {name!r} is not allowed in HTTP/2"
        # RFC 9113, section 8.2.1: no NUL, CR or LF. It also forbids white space at the ends, but servers and proxies
        # copy such values from HTTP/1.1 (`x-empty: ` becomes one space). curl and httpx accept them; we strip them, as
        # in HTTP/1.1. Content-Length is checked as it came.
        elif _BAD_VALUE.search(value):
            wrong = wrong or f"invalid header value {value[:80]!r}"
        elif name == b"content-length":
            if not _LENGTH.fullmatch(value) or length not in (None, value):
                wrong = wrong or f"invalid content-length {value[:80]!r}"
            length = value
        raw.append((bytes(name), bytes(value).strip(b" \t")))
    if len(raw) > MAX_FIELDS:
        # `http2.py` recognises this text by its identity.
        wrong = TOO_MANY
    return status, raw, wrong


def _head(status: bytes, raw: RawHeaders) -> Head:
    code = int(status)
    try:
        reason = HTTPStatus(code).phrase.encode("ascii")  # HTTP/2 sends no reason phrase; httpx uses these, too
    except ValueError:
        reason = b""
    return Head(code, reason, "2", raw, True)


class _Table(HeaderTable):
    """A header table that records what a block did with it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_used = False
        self.added: list[tuple[bytes, bytes]] = []

    def get_by_index(self, index: int) -> tuple[bytes, bytes]:
        if index > self.STATIC_TABLE_LENGTH:
            self.is_used = True
        return super().get_by_index(index)

    def add(self, name: bytes, value: bytes) -> None:
        self.added.append((name, value))
        super().add(name, value)


Entries = tuple[tuple[bytes, bytes], ...]
"""Entries that a block adds to the table."""
Expected = tuple[tuple[bytes, ...], Head, Entries, int, int]
"""The meaning of a whole answer, one HEADERS and one DATA frame: the bytes of its frames before the body, cut at the
stream's numbers, so that `number.join` makes them whole; its head; the entries that its block adds; the length of its
body, and where that begins."""
_meanings: dict[bytes, tuple[Received, Entries]] = {}
"""Blocks without references to the dynamic table, with the entries that they add. Valid on all connections."""
known_wholes: dict[bytes, Expected] = {}
"""Whole answers whose block is in `_meanings`, by their block and the first bytes of their DATA frame
(`Decoder.learn_whole`)."""


def request_decoder(max_bytes: int) -> HpackDecoder:
    """Return a decoder for the heads of requests, for a server in tests: `decode(block, raw=True)` returns pairs."""
    return HpackDecoder(max_bytes)


def _fitting(owed: deque[Entries], table_bytes: int) -> list[Entries]:
    """Return the newest owed entries that fit into a table of this size, in order. They would evict all older ones."""
    last: list[Entries] = []
    size = 0
    for adds in reversed(owed):
        last.append(adds)
        size += sum(len(name) + len(value) + _ENTRY_BYTES for name, value in adds)
        if size > table_bytes:
            break
    last.reverse()
    return last


class Decoder:
    """Decodes the heads of one connection by hpack, with a cache of blocks.

    max_bytes: size limit of the fields of a block. Each counts as its name and value plus 32 bytes.
    """

    __slots__ = ("_blocks", "_hpack", "_version", "header_table", "owed")

    def __init__(self, max_bytes: int) -> None:
        self.header_table = _Table()
        self._hpack = HpackDecoder(max_bytes)
        self._hpack.header_table = self.header_table
        self._version = 0
        """The version of the table: changes whenever the table does."""
        self.owed: deque[Entries] = deque(maxlen=_MOST_ENTRIES)
        """Entries of cached blocks that are not yet added to the table. nginx adds each header with each answer and
        never refers to one, so we add them only before the next full decoding. Entries beyond the limit of this queue
        would have been evicted from the table as well."""
        self._blocks: dict[bytes, tuple[int, Received]] = {}
        """Other blocks that add nothing, with the version at which they are valid while no entries are owed."""

    def decode(self, data: bytes) -> Received:
        """Return what a compressed block means, from a cache if the same block was decoded before."""
        return self.known(data) or self._decoded(data)

    def known(self, data: bytes) -> Received | None:
        """HOT. Return what a compressed block means if it is in a cache; otherwise do nothing and return None."""
        meaning = _meanings.get(data)
        if meaning is not None:
            received, adds = meaning
            if adds:
                self.owed.append(adds)
            return received
        kept = self._blocks.get(data)
        if kept is not None and kept[0] == self._version and not self.owed:
            return kept[1]
        return None

    def learn_whole(self, key: bytes) -> Expected | None:
        """Return the meaning of a whole answer, and keep it in `known_wholes` if it is valid on all connections.
        Return None if the block is in no cache, or if the frames are not a whole answer.

        key: the header block, and the DATA frame up to its stream's number, 5 bytes. The caller has to append the
        entries to `owed` when it processes the answer, as `known` does.
        """
        block = key[:-5]
        length, kind, flags = int.from_bytes(key[-5:-2], "big"), key[-2], key[-1]
        meaning = _meanings.get(block)
        if meaning is not None:
            received, adds = meaning
        else:
            kept = self._blocks.get(block)
            if kept is None or kept[0] != self._version or self.owed:
                return None
            received, adds = kept[1], ()
        head = received.head
        if (
            kind != DATA
            or flags & (END_STREAM | PADDED) != END_STREAM
            or not 0 < length <= MAX_FRAME_BYTES
            or head is None
            or head.status < 200
            or head.length not in (None, length)
        ):
            return None
        parts = before_number(len(block) >> 8, len(block) & 0xFF, HEADERS, END_HEADERS), key, b""
        whole = parts, head, adds, length, len(key) + 13
        if meaning is not None and head.length is not None:  # without a length, each length would be kept
            if len(known_wholes) >= MAX_KEPT:
                known_wholes.clear()
            known_wholes[key] = whole
        return whole

    def _decoded(self, data: bytes) -> Received:
        table = self.header_table
        if self.owed:
            self._version += 1
            for adds in _fitting(self.owed, table.maxsize):
                for name, value in adds:
                    table.add(name, value)
            self.owed.clear()
        # From here on the table records the effect of this block alone, which decides whether and where it is cached.
        table.is_used = False
        table.added.clear()
        received = Received(self._hpack.decode(data, raw=True))
        adds = tuple(table.added)
        changes_size = data[:1] and data[0] & 0xE0 == 0x20
        if adds or changes_size:
            self._version += 1
        if len(data) <= _MAX_KEPT_BYTES and not changes_size and received.is_small:
            if not table.is_used:
                if len(_meanings) >= MAX_KEPT:
                    _meanings.clear()
                _meanings[data] = (received, adds)
            elif not adds:
                if len(self._blocks) >= _MAX_OF_CONNECTION:
                    self._blocks.clear()
                self._blocks[data] = (self._version, received)
        return received
