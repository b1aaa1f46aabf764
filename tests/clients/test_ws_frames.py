"""Frames of WebSocket, without a network: the library `websockets` reads and writes the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol

from loadgen.clients.framing.ws_frames import (
    BINARY,
    CLOSE,
    NO_CODE,
    PING,
    TEXT,
    Found,
    FrameReader,
    Violation,
    accept_of,
    close_payload,
    masked_frame,
    plain_frame,
    read_close,
)

TEXTS = st.text(max_size=300).map(lambda text: text.encode())
PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(max_size=300)),
        st.tuples(st.just("binary"), st.binary(max_size=300)),
        st.tuples(st.just("ping"), st.binary(max_size=125)),
        st.tuples(st.just("pong"), st.binary(max_size=125)),
    ),
    max_size=8,
)


def read(data: bytes, cuts: random.Random | None = None, *, is_server: bool = False, limit: int = 10**6) -> list[Found]:
    """What our reader finds in these bytes, cut anywhere."""
    reader, found = FrameReader(limit, is_server=is_server), []
    while data:
        size = (
            len(data) if cuts is None else cuts.randint(1, max(1, min(len(data), cuts.choice((1, 2, 9, 200, 9_999)))))
        )
        found += reader.feed(data[:size])
        data = data[size:]
    if reader.failure is not None:
        raise reader.failure
    return found


def by_their_server(parts: list[tuple[str, str | bytes]], cuts: random.Random) -> tuple[bytes, list[Found]]:
    """The bytes that `websockets` sends for these messages as a server, in fragments with control frames between."""
    theirs = Protocol(SERVER, state=OPEN)
    wanted: list[Found] = []
    for kind, payload in parts:
        data = payload.encode() if isinstance(payload, str) else payload
        if kind in ("ping", "pong"):
            (theirs.send_ping if kind == "ping" else theirs.send_pong)(data)
            wanted.append((PING if kind == "ping" else 10, data))
            continue
        send = theirs.send_text if kind == "text" else theirs.send_binary
        pieces = [data[n : n + 40] for n in range(0, len(data), 40)] if cuts.random() < 0.5 and data else [data]
        for n, piece in enumerate(pieces):
            is_last = n == len(pieces) - 1
            (send if n == 0 else theirs.send_continuation)(piece, fin=is_last)
            if not is_last and cuts.random() < 0.3:
                theirs.send_ping(b"between")
                wanted.append((PING, b"between"))
        wanted.append((TEXT, payload) if kind == "text" else (BINARY, data))
    return b"".join(theirs.data_to_send()), wanted


@given(PARTS, st.randoms(use_true_random=False))
def test_what_their_server_sends_is_read_the_same_however_it_is_cut(
    parts: list[tuple[str, str | bytes]], cuts: random.Random
) -> None:
    data, wanted = by_their_server(parts, cuts)
    assert read(data, cuts) == wanted


@given(
    st.lists(st.tuples(st.sampled_from((TEXT, BINARY, PING)), st.binary(max_size=125)), max_size=9),
    st.integers(0, 2**32 - 1),
)
def test_what_we_send_is_read_the_same_by_their_server(messages: list[tuple[int, bytes]], key: int) -> None:
    theirs = Protocol(SERVER, state=OPEN)
    for kind, payload in messages:
        theirs.receive_data(masked_frame(kind, payload, key))
    assert theirs.parser_exc is None
    found = [one for one in theirs.events_received() if isinstance(one, Frame)]
    assert [(int(one.opcode), bytes(one.data)) for one in found] == messages


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 65_535, 65_536, 70_001])
def test_frames_of_all_sizes_are_those_of_the_library(size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    theirs = Frame(Opcode.BINARY, data).serialize(mask=False)
    assert plain_frame(BINARY, data) == theirs
    assert read(masked_frame(BINARY, data, 0xDEADBEEF), is_server=True) == [(BINARY, data)]
    protocol = Protocol(SERVER, state=OPEN, max_size=None)
    protocol.receive_data(masked_frame(BINARY, data, 0xDEADBEEF))
    (found,) = protocol.events_received()
    assert isinstance(found, Frame)
    assert bytes(found.data) == data


WRONG = {
    "masked": masked_frame(TEXT, b"a", 1),
    "reserved bit": b"\xc1\x01a",
    "unknown data frame": b"\x83\x01a",
    "unknown control frame": b"\x8b\x00",
    "fragmented ping": b"\x09\x00",
    "large ping": b"\x89\x7e\x00\x7e" + bytes(126),
    "continuation alone": b"\x80\x01a",
    "text in a text": b"\x01\x01a\x81\x01b",
    "bad text": b"\x81\x01\xff",
    "bad text in pieces": b"\x01\x01\xc3\x80\x01a",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_library_rejects_is_rejected(name: str) -> None:
    theirs = Protocol(CLIENT, state=OPEN)
    theirs.receive_data(WRONG[name])
    ours = FrameReader(10**6)
    ours.feed(WRONG[name])
    assert theirs.close_sent is not None or theirs.parser_exc is not None or "bad text" in name
    assert ours.failure is not None
    assert ours.failure.code == (1007 if "bad text" in name else 1002)


@given(st.binary(max_size=60))
def test_random_bytes_are_messages_or_one_failure(data: bytes) -> None:
    reader = FrameReader(1_000)
    found = reader.feed(data)
    if reader.failure is not None:
        assert reader.feed(data) == []
    assert all(isinstance(payload, str) == (kind == TEXT) for kind, payload in found)


def test_a_message_beyond_the_limit_is_rejected_before_its_bytes_are_there() -> None:
    for data in (b"\x82\x7f" + (2**40).to_bytes(8, "big"), b"\x02\x64" + bytes(100) + b"\x80\x7e\x03\xe8"):
        reader = FrameReader(1_000)
        reader.feed(data)
        assert reader.failure is not None
        assert (reader.failure.code, reader.failure.outcome) == (1009, "ws message too large")


def test_empty_fragments_without_end_are_a_flood() -> None:
    reader = FrameReader(1_000)
    reader.feed(b"\x02\x00" + b"\x00\x00" * 2_000)
    assert reader.failure is not None
    assert reader.failure.outcome == "ws flood"


@pytest.mark.parametrize("code", [*range(990, 1020), 2999, 3000, 4999, 5000, 65_535])
def test_close_codes_are_valid_if_the_library_accepts_them(code: int) -> None:
    payload = close_payload(code, "why")
    try:
        theirs: object = Close.parse(payload)
        Close.check(Close(code, "why"))
    except Exception:
        theirs = None
    try:
        ours: object = read_close(payload)
    except Violation:
        ours = None
    assert (ours is None) is (theirs is None)
    assert read_close(b"") == (NO_CODE, "")


def test_a_close_with_half_a_code_or_a_bad_reason_is_a_violation() -> None:
    for payload in (b"\x03", b"\x03\xe8\xff"):
        with pytest.raises(Violation):
            read_close(payload)
    assert len(close_payload(1000, "ä" * 100)) == 2 + 122


def test_nothing_after_a_close_frame_counts() -> None:
    reader = FrameReader(1_000)
    assert reader.feed(plain_frame(CLOSE, b"") + plain_frame(TEXT, b"late")) == [(CLOSE, b"")]
    assert reader.feed(plain_frame(TEXT, b"later")) == []


def test_the_key_of_the_standard_has_its_answer() -> None:
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
