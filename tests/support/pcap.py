"""What the packets say of HTTP/1.1 requests: the truth beside which our own times are held.

`captured(port)` runs tcpdump on loopback; `exchanges(path, port)` puts the bytes
of each connection in order and pairs its requests with its answers. Times are the
kernel's, ns; only their differences mean anything beside `perf_counter_ns`.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Exchange", "Packet", "Stream", "captured", "exchanges", "packets"]

_MAGIC = {0xA1B23C4D: 1, 0xA1B2C3D4: 1000}
_ETHERNET = 1
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_NO_BODY = (204, 304)
_WAITED_NS = 5_000_000
"""On loopback a connection is made in 0.1 ms, and its request follows as soon as the loop is woken."""
_HANDED_OVER_S = 1.2
"""The kernel hands packets over in blocks, a started one after a second."""


@dataclass(frozen=True, slots=True)
class Packet:
    at_ns: int
    source: int
    """Ports: on loopback they tell the ends apart."""
    target: int
    seq: int
    flags: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer."""

    port: int
    """The client's."""
    opened_ns: int | None
    """When the client asked for the connection; None but for the first request on it."""
    sent_ns: int
    """The packet with the first byte of the request."""
    first_byte_ns: int
    done_ns: int
    """The packet with the last byte of the answer."""
    method: str
    target: str
    status: int

    @property
    def service_ns(self) -> int:
        return self.done_ns - self.sent_ns

    @property
    def response_ns(self) -> int:
        """With the making of the connection, where it was made for this request.

        One that waited for its first request was made for another request, which got a free connection before.
        """
        if self.opened_ns is None or self.sent_ns - self.opened_ns > _WAITED_NS:
            return self.service_ns
        return self.done_ns - self.opened_ns


@dataclass(slots=True)
class Stream:
    """The bytes of one direction in their order; what comes twice counts when it came first."""

    _next: int | None = None
    """Sequence number of the next byte."""
    _ends: list[int] = field(default_factory=list)
    """How many bytes there were after each packet."""
    _times_ns: list[int] = field(default_factory=list)
    _early: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)

    def begin(self, seq: int) -> None:
        """The SYN was `seq`."""
        if self._next is None:
            self._next = (seq + 1) % 2**32

    def add(self, seq: int, at_ns: int, payload: bytes) -> None:
        if self._next is None:  # it began before the capture
            self._next = seq
        before = self._early.get(seq)
        if before is None or len(before[1]) < len(payload):
            self._early[seq] = (at_ns, payload)
        while self._early:
            found = min(self._early, key=lambda at: self._ahead(at))
            ahead = self._ahead(found)
            if ahead > 0:
                return
            at_ns, payload = self._early.pop(found)
            if new := payload[-ahead:] if ahead else payload:
                if -ahead >= len(payload):
                    continue
                self.data += new
                self._ends.append(len(self.data))
                self._times_ns.append(at_ns)
                self._next = (self._next + len(new)) % 2**32

    def at_ns(self, offset: int) -> int:
        """When the byte at `offset` came."""
        return self._times_ns[bisect_right(self._ends, offset)]

    def all_ns(self, start: int, end: int) -> int:
        """When the last of the bytes [start, end) came."""
        first, last = bisect_right(self._ends, start), bisect_right(self._ends, end - 1)
        return max(self._times_ns[first : last + 1])

    def _ahead(self, seq: int) -> int:
        """How far `seq` is ahead of the next byte; negative: behind it."""
        assert self._next is not None
        return (seq - self._next + 2**31) % 2**32 - 2**31


@contextmanager
def captured(port: int, path: Path) -> Iterator[None]:
    """tcpdump of TCP on loopback from and to `port` into `path`; skips the test where it cannot capture.

    Fails if the kernel dropped packets, since then `path` is not all.
    """
    program = shutil.which("tcpdump") or "/usr/sbin/tcpdump"
    if not os.access(program, os.X_OK):
        pytest.skip("tcpdump is not installed (Debian: tcpdump)")
    command = [program, "-i", "lo", "-n", "-s", "0", "-B", "65536", "--time-stamp-precision=nano", "-w", "-"]
    with path.open("wb") as out:
        process = subprocess.Popen([*command, f"tcp port {port}"], stdout=out, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    while said and "listening on" not in said:
        line = process.stderr.readline()
        if not line:
            process.wait(60)
            pytest.skip(f"tcpdump cannot capture: {said.strip()}")
        said = line
    try:
        yield
    finally:
        time.sleep(_HANDED_OVER_S)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    dropped = [line for line in said.splitlines() if "dropped by kernel" in line]
    assert all(line.startswith("0 packets") for line in dropped), dropped


def packets(data: bytes) -> Iterator[Packet]:
    """TCP packets of a pcap file of Ethernet frames (which is what Linux has on loopback), IPv4 or IPv6.

    Raises:
        ValueError: it is no such file.
    """
    order = "<" if struct.unpack_from("<I", data)[0] in _MAGIC else ">"
    magic, link = struct.unpack_from(order + "I16xI", data)
    if magic not in _MAGIC or link & 0xFFFF != _ETHERNET:
        raise ValueError(f"no pcap file of Ethernet frames: magic {magic:#x}, link {link}")
    record = struct.Struct(order + "IIII")
    at = 24
    while at + record.size <= len(data):
        seconds, fraction, length, _ = record.unpack_from(data, at)
        at += record.size
        frame = data[at : at + length]
        at += length
        packet = _tcp(frame, seconds * 1_000_000_000 + fraction * _MAGIC[magic])
        if packet is not None:
            yield packet


def _tcp(frame: bytes, at_ns: int) -> Packet | None:
    kind = int.from_bytes(frame[12:14])
    if kind == 0x0800 and frame[23] == 6:
        start, end = 14 + (frame[14] & 15) * 4, 14 + int.from_bytes(frame[16:18])
        if end == 14:  # larger than a length can say: segments that were not cut yet
            end = len(frame)
    elif kind == 0x86DD and frame[20] == 6:
        start, end = 54, 54 + int.from_bytes(frame[18:20])
        if end == 54:
            end = len(frame)
    else:
        return None
    source, target, seq = struct.unpack_from(">HHI", frame, start)
    header = (frame[start + 12] >> 4) * 4
    return Packet(at_ns, source, target, seq, frame[start + 13], frame[start + header : end])


@dataclass(slots=True)
class _Connection:
    opened_ns: int | None = None
    asked: Stream = field(default_factory=Stream)
    answered: Stream = field(default_factory=Stream)


def exchanges(data: bytes, port: int) -> list[Exchange]:
    """All whole exchanges with the server at `port`, by connection."""
    open_now: dict[int, _Connection] = {}
    all_of_them: list[tuple[int, _Connection]] = []
    for packet in packets(data):
        is_asked = packet.target == port
        client = packet.source if is_asked else packet.target
        connection = open_now.get(client)
        if connection is None or (is_asked and packet.flags & (_SYN | _ACK) == _SYN):
            connection = open_now[client] = _Connection()
            all_of_them.append((client, connection))
        stream = connection.asked if is_asked else connection.answered
        if packet.flags & _SYN:
            stream.begin(packet.seq)
            if is_asked:
                connection.opened_ns = packet.at_ns
        elif packet.payload:
            stream.add(packet.seq, packet.at_ns, packet.payload)
    return [exchange for client, connection in all_of_them for exchange in _of_connection(client, connection)]


def _of_connection(client: int, connection: _Connection) -> Iterator[Exchange]:
    asked, answered = connection.asked, connection.answered
    at, back, opened_ns = 0, 0, connection.opened_ns
    while at < len(asked.data):
        request = _message(asked.data, at)
        if request is None:
            return
        (method, target, _), end = request
        answer = _message(answered.data, back, is_head=method == "HEAD")
        if answer is None:
            return
        (_, status, *_), done = answer
        yield Exchange(
            client,
            opened_ns,
            asked.at_ns(at),
            answered.at_ns(back),
            answered.all_ns(back, done),
            method,
            target,
            int(status),
        )
        at, back, opened_ns = end, done, None


def _message(data: bytearray, start: int, *, is_head: bool = False) -> tuple[list[str], int] | None:
    """(words of the first line, offset of the end) of the message at `start`; None when it is not whole."""
    head_end = data.find(b"\r\n\r\n", start)
    if head_end < 0:
        return None
    first, *lines = data[start:head_end].decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    end = head_end + 4
    if is_head or (words[0].startswith("HTTP/") and int(words[1]) in _NO_BODY):
        return words, end
    if "chunked" in fields.get("transfer-encoding", ""):
        return _chunks_end(data, end, words)
    end += int(fields.get("content-length", 0))
    return (words, end) if end <= len(data) else None


def _chunks_end(data: bytearray, at: int, words: list[str]) -> tuple[list[str], int] | None:
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].split(b";")[0], 16)
        at = line_end + 2 + size + 2  # without trailers, which nobody here sends
        if at > len(data):
            return None
        if size == 0:
            return words, at
