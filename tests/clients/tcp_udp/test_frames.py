"""Frames: known answers, sizes, and that the cuts of the network change nothing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import Frame, FrameError, fixed_size, length_prefix, lines, until
from loadgen.clients.tcp_udp.incoming import CLOSED, Arrived, Incoming
from loadgen.errors import RequestFailed, UsageError
from tests.support.examples import examples


def taken(frame: Frame, data: bytes) -> tuple[list[bytes], bytes]:
    """All messages in some bytes, and what is left."""
    received, found = bytearray(data), []
    while received and (one := frame.take(received)) is not None:
        found.append(one[0])
        del received[: one[1]]
    return found, bytes(received)


@pytest.mark.parametrize(
    ("frame", "data", "messages", "left"),
    [
        (lines(), b"+PONG\r\n$3\r\nabc\r\nrest", [b"+PONG", b"$3", b"abc"], b"rest"),
        (lines(), b"\n\r\n\ra\n", [b"", b"", b"\ra"], b""),
        (until(b"\0"), b"one\0\0two\0", [b"one", b"", b"two"], b""),
        (until(b"\r\n\r\n"), b"a\r\nb\r\n\r\nc", [b"a\r\nb"], b"c"),
        (fixed_size(3), b"abcdefgh", [b"abc", b"def"], b"gh"),
        (length_prefix(4), struct.pack(">I", 5) + b"hello" + struct.pack(">I", 0) + b"\0\0", [b"hello", b""], b"\0\0"),
        (length_prefix(2, little_endian=True), struct.pack("<H", 2) + b"hi", [b"hi"], b""),
        (length_prefix(1), b"\x02hi\x01", [b"hi"], b"\x01"),
    ],
)
def test_a_frame_cuts_bytes_into_messages(frame: Frame, data: bytes, messages: list[bytes], left: bytes) -> None:
    assert taken(frame, data) == (messages, left)


@pytest.mark.parametrize(
    ("frame", "message", "sent"),
    [
        (lines(), b"PING", b"PING\n"),
        (lines(), b"PING\n", b"PING\n"),
        (until(b"\0"), b"one", b"one\0"),
        (fixed_size(3), b"abcd", b"abcd"),
        (length_prefix(4), b"hello", struct.pack(">I", 5) + b"hello"),
        (length_prefix(2, little_endian=True), b"hi", struct.pack("<H", 2) + b"hi"),
    ],
)
def test_a_sent_message_gets_what_its_frame_needs(frame: Frame, message: bytes, sent: bytes) -> None:
    assert frame.encode(message) == sent


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (lines(max_bytes=4), b"12345\n"),
        (until(b"\0", max_bytes=1), b"ab\0"),
        (length_prefix(4, max_bytes=100), struct.pack(">I", 101)),
        (length_prefix(8), b"\xff" * 8),
    ],
)
def test_a_message_above_the_limit_is_an_error_at_once(frame: Frame, data: bytes) -> None:
    with pytest.raises(FrameError) as raised:
        taken(frame, data)
    assert raised.value.outcome == "message too large"


def test_a_message_too_long_for_its_prefix_is_an_error_of_the_scenario() -> None:
    with pytest.raises(UsageError, match="too long for a length of 1 bytes"):
        length_prefix(1).encode(b"x" * 256)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lines(max_bytes=0),
        lambda: until(b""),
        lambda: until("x"),  # type: ignore[arg-type]
        lambda: fixed_size(0),
        lambda: fixed_size(True),
        lambda: length_prefix(9),
        lambda: length_prefix(4, max_bytes=-1),
    ],
)
def test_a_frame_with_invalid_arguments_is_an_error_with_a_remedy(make: object) -> None:
    with pytest.raises(UsageError) as raised:
        make()  # type: ignore[operator]
    assert raised.value.hint.startswith("write ")


# -- any cut of the bytes ---------------------------------------------------------------------------


class Netstring:
    """An own frame: `5:hello,`."""

    max_bytes = 1000

    def encode(self, message: bytes) -> bytes:
        return b"%d:%s," % (len(message), message)

    def take(self, received: bytearray) -> tuple[bytes, int] | None:
        digits, colon, rest = received.partition(b":")
        if not colon:
            return None
        if not digits.isdigit():
            raise FrameError("the length is no number")
        size = int(digits)
        return (bytes(rest[:size]), len(digits) + size + 2) if len(rest) > size else None


class Kept:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.end: Exception | None = None

    def took(self, arrived: Arrived) -> bool:
        assert arrived[1] <= arrived[2]
        self.messages.append(arrived[0])
        return True

    def is_waiting(self) -> bool:
        return False

    def ended(self, failure: Exception, now_ns: int) -> None:
        self.end = failure


class NoTransport:
    def abort(self) -> None: ...

    close = pause_reading = resume_reading = abort


def received(frame: Frame, pieces: list[bytes]) -> Kept:
    kept = Kept()
    incoming = Incoming(frame, kept, "peer")
    incoming.connection_made(NoTransport())  # type: ignore[arg-type]
    for piece in pieces:
        incoming.data_received(piece)
    return kept


FRAMES = st.sampled_from([lines(), until(b"\r\n--\r\n"), length_prefix(4), length_prefix(2), Netstring()])


@st.composite
def streams(draw: st.DrawFn) -> tuple[Frame, list[bytes], list[bytes]]:
    """(frame, messages, the bytes of all messages, cut anywhere)."""
    frame = draw(FRAMES)
    messages = draw(st.lists(st.binary(max_size=40).map(lambda m: m.replace(b"\n", b".").rstrip(b"\r")), max_size=8))
    whole = b"".join(frame.encode(one) for one in messages)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return frame, messages, [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(streams())
@settings(max_examples=examples(400))
def test_any_cut_of_the_bytes_gives_the_same_messages(stream: tuple[Frame, list[bytes], list[bytes]]) -> None:
    frame, messages, pieces = stream
    kept = received(frame, pieces)
    assert (kept.messages, kept.end) == (messages, None)


@given(FRAMES, st.lists(st.binary(max_size=30), max_size=10))
@settings(max_examples=examples(400))
def test_random_bytes_are_messages_or_a_failure_with_an_outcome(frame: Frame, pieces: list[bytes]) -> None:
    whole, cut = received(frame, [b"".join(pieces)]), received(frame, pieces)
    assert whole.messages == cut.messages
    assert type(whole.end) is type(cut.end)
    if whole.end is not None:
        assert isinstance(whole.end, RequestFailed)
        assert whole.end.outcome in ("protocol", "message too large")


# -- limits -----------------------------------------------------------------------------------------


def test_bytes_without_an_end_fail_at_the_limit_and_not_in_memory() -> None:
    kept = received(lines(max_bytes=1000), [b"x" * 500] * 5)
    assert isinstance(kept.end, RequestFailed)
    assert kept.end.outcome == "message too large"


def test_an_own_frame_that_returns_nonsense_is_an_error_of_the_scenario() -> None:
    class Stuck(Netstring):
        def take(self, received: bytearray) -> tuple[bytes, int] | None:
            return b"", 0

    kept = received(Stuck(), [b"x"])
    assert isinstance(kept.end, UsageError)
    assert "returned 0 as the number of used bytes" in kept.end.message


def test_an_own_frame_that_raises_gives_the_outcome_protocol_with_its_exception() -> None:
    class Broken(Netstring):
        def take(self, received: bytearray) -> tuple[bytes, int] | None:
            raise IndexError("out of range")

    kept = received(Broken(), [b"x"])
    assert isinstance(kept.end, RequestFailed)
    assert (kept.end.outcome, "IndexError" in kept.end.detail) == ("protocol", True)


def test_a_connection_that_ends_within_a_message_names_the_rest() -> None:
    kept = Kept()
    incoming = Incoming(lines(), kept, "peer")
    incoming.connection_made(NoTransport())  # type: ignore[arg-type]
    incoming.data_received(b"whole\npart")
    incoming.eof_received()
    assert isinstance(kept.end, RequestFailed)
    assert kept.end.outcome == CLOSED
    assert "after 4 bytes of it" in kept.end.detail
