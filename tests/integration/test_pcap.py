"""The reader of packets reads what was put on the wire, in whatever pieces and order it came."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pcap import Stream, exchanges, packets

SERVER, CLIENT = 80, 40_000
SYN, ACK = 2, 16


@dataclass
class Capture:
    """A pcap file made by hand; each packet one µs after the last."""

    data: bytearray = field(
        default_factory=lambda: bytearray(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
    )
    now_ns: int = 5_000_000_000

    def packet(self, source: int, target: int, seq: int, payload: bytes = b"", flags: int = ACK) -> int:
        """Returns when."""
        self.now_ns += 1000
        tcp = struct.pack(">HHIIBBHHH", source, target, seq % 2**32, 0, 5 << 4, flags, 0, 0, 0)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
        frame = bytes(12) + b"\x08\x00" + ip + tcp + payload
        self.data += struct.pack("<IIII", *divmod(self.now_ns, 10**9), len(frame), len(frame)) + frame
        return self.now_ns


def test_one_request_is_timed_from_its_first_packet_to_the_last_of_its_answer() -> None:
    capture = Capture()
    opened = capture.packet(CLIENT, SERVER, 99, flags=SYN)
    capture.packet(SERVER, CLIENT, 499, flags=SYN | ACK)
    sent = capture.packet(CLIENT, SERVER, 100, b"GET /a HTTP/1.1\r\n")
    capture.packet(CLIENT, SERVER, 117, b"\r\n")
    first = capture.packet(SERVER, CLIENT, 500, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    last = capture.packet(SERVER, CLIENT, 540, b"cd")
    capture.packet(SERVER, CLIENT, 540, b"cd")  # sent again

    (found,) = exchanges(bytes(capture.data), SERVER)

    assert (found.opened_ns, found.sent_ns, found.first_byte_ns, found.done_ns) == (opened, sent, first, last)
    assert (found.method, found.target, found.status) == ("GET", "/a", 200)
    assert (found.service_ns, found.response_ns) == (last - sent, last - opened)


def test_a_port_that_is_used_again_is_another_connection() -> None:
    capture = Capture()
    for seq in (1000, 9000):
        capture.packet(CLIENT, SERVER, seq - 1, flags=SYN)
        capture.packet(SERVER, CLIENT, seq - 1, flags=SYN | ACK)
        capture.packet(CLIENT, SERVER, seq, b"HEAD / HTTP/1.1\r\n\r\n")
        capture.packet(SERVER, CLIENT, seq, b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n")
    found = exchanges(bytes(capture.data), SERVER)
    assert [(e.status, e.opened_ns is not None) for e in found] == [(404, True), (404, True)]


def test_what_is_not_whole_is_left_out() -> None:
    capture = Capture()
    capture.packet(CLIENT, SERVER, 0, b"GET / HTTP/1.1\r\n\r\n")
    capture.packet(SERVER, CLIENT, 0, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab")
    assert exchanges(bytes(capture.data), SERVER) == []
    capture.packet(SERVER, CLIENT, 52, b"c\r\n0\r\n\r\n")
    assert [e.status for e in exchanges(bytes(capture.data), SERVER)] == [200]


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no pcap file"):
        list(packets(bytes(24)))


@given(
    st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=12),
    st.integers(0, 2**32 - 1),
    st.randoms(use_true_random=False),
    st.lists(st.integers(0, 11), max_size=6),
)
def test_bytes_come_in_order_however_packets_are_shuffled_and_repeated(
    parts: list[bytes], start: int, random: object, again: list[int]
) -> None:
    placed, at = [], (start + 1) % 2**32
    for part in parts:
        placed.append((at, part))
        at = (at + len(part)) % 2**32
    sent = placed + [placed[n] for n in again if n < len(placed)]
    random.shuffle(sent)  # type: ignore[attr-defined]
    stream = Stream()
    stream.begin(start)
    for now_ns, (seq, part) in enumerate(sent):
        stream.add(seq, now_ns, part)
    assert bytes(stream.data) == b"".join(parts)
    times = [stream.at_ns(n) for n in range(len(stream.data))]
    offset = 0
    for seq, part in placed:
        first = min(n for n, packet in enumerate(sent) if packet == (seq, part))
        assert set(times[offset : offset + len(part)]) == {first}
        offset += len(part)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=8), st.integers(1, 40))
def test_answers_find_their_requests_however_the_bytes_are_cut(bodies: list[tuple[int, bool]], cut: int) -> None:
    capture = Capture()
    asked = b"".join(
        b"POST /%d HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (n, size) + b"x" * size
        for n, (size, _) in enumerate(bodies)
    )
    answered = b"".join(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (size, b"y" * size)
        if is_chunked and size
        else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, b"y" * size)
        for size, is_chunked in bodies
    )
    for source, target, data in ((CLIENT, SERVER, asked), (SERVER, CLIENT, answered)):
        for at in range(0, len(data), cut):
            capture.packet(source, target, 7 + at, data[at : at + cut])
    found = exchanges(bytes(capture.data), SERVER)
    assert [e.target for e in found] == [f"/{n}" for n in range(len(bodies))]
    assert all(e.sent_ns < e.first_byte_ns <= e.done_ns for e in found)
