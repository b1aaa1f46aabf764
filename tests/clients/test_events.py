"""The reader of server-sent events, held against a plain reader written after the WHATWG text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.clients.events import EVENT_TOO_LARGE, MAX_EVENT_BYTES, SseEvent, SseReader
from loadgen.errors import RequestFailed

Plain = tuple[bytes, str, str]


def whatwg(data: bytes) -> list[Plain]:
    """The events of a whole stream, step by step as the text has it, and a last one whose blank line is missing."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines, line, i = [], bytearray(), 0
    while i < len(data):
        if data[i : i + 1] in (b"\r", b"\n"):
            if data[i : i + 2] == b"\r\n":
                i += 1
            lines.append(bytes(line))
            line.clear()
        else:
            line.append(data[i])
        i += 1
    lines += [bytes(line), b""]  # the end of the stream ends its last line and its last event
    events: list[Plain] = []
    buffer, kind, last_id = b"", b"", ""
    for text in lines:
        if not text:
            if buffer:
                events.append((buffer.removesuffix(b"\n"), kind.decode("utf-8", "replace") or "message", last_id))
            buffer, kind = b"", b""
        elif not text.startswith(b":"):
            name, colon, value = text.partition(b":")
            value = value.removeprefix(b" ") if colon else b""
            if name == b"data":
                buffer += value + b"\n"
            elif name == b"event":
                kind = value
            elif name == b"id" and b"\0" not in value:
                last_id = value.decode("utf-8", "replace")
    return events


def read(*pieces: bytes) -> list[Plain]:
    reader = SseReader()
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    return [(event.data, event.event, event.id) for event in events]


FRAGMENTS = [
    b"data: ", b"data:", b"data", b'{"a":1}', b"event: x", b"event:", b"id: 7", b"id", b"id: a\0b", b"retry: 10",
    b"retry: x", b": comment", b"\n", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xff",
    b"\0", b" ", b":", "\u2028".encode(), "\u0085".encode(), b"\v", b"\f", b"data: a\n\n", b"data: b\r\n\r\n",
]  # fmt: skip
streams = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(b"".join)


@example(data=b"\r\ndata: a\n\n")
@example(data=b"data: a\r\r\ndata: b\n\n")
@example(data=b"data: a\n\n\ndata: b\n\n")
@example(data=b"\xef\xbb\xbfdata: a\n\n")
@given(data=streams)
def test_a_stream_in_one_piece_has_the_events_of_the_whatwg_text(data: bytes) -> None:
    assert read(data) == whatwg(data)


@given(data=streams, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_any_split_of_the_bytes_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    assert read(*(data[a:b] for a, b in pairwise(places))) == whatwg(data)


@given(data=streams)
def test_single_bytes_give_the_same_events(data: bytes) -> None:
    assert read(*(data[i : i + 1] for i in range(len(data)))) == whatwg(data)


def test_an_event_arrives_with_the_read_that_has_its_blank_line() -> None:
    reader = SseReader()

    assert reader.feed(b'data: {"a"') == []
    assert reader.feed(b":1}\n") == []
    assert reader.feed(b"\ndata: 2\n\n") == [SseEvent(b'{"a":1}'), SseEvent(b"2")]


def test_a_carriage_return_ends_a_line_at_once() -> None:
    reader = SseReader()

    assert reader.feed(b"data: a\r\r") == [SseEvent(b"a")]
    assert reader.feed(b"\ndata: b\r\n\r") == [SseEvent(b"b")]
    assert reader.feed(b"\ndata: c\n\n") == [SseEvent(b"c")]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\0"])
def test_only_cr_and_lf_end_a_line(character: str) -> None:
    data = f'{{"text":"one{character}two"}}'.encode()

    assert read(b"data: " + data + b"\n\n") == [(data, "message", "")]


def test_several_data_lines_are_joined_by_line_feeds() -> None:
    assert read(b"data: a\ndata:b\ndata\ndata:  c\n\n") == [(b"a\nb\n\n c", "message", "")]


def test_an_event_without_data_is_not_passed_on() -> None:
    assert read(b"event: ping\n\n: comment\n\nid: 3\n\ndata: x\n\n") == [(b"x", "message", "3")]


def test_the_id_stays_until_the_server_sends_another_one() -> None:
    reader = SseReader()
    events = reader.feed(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nretry: 2500\nretry: 1s\n\n")

    assert [event.id for event in events] == ["1", "1", ""]
    assert reader.retry_ms == 2500


def test_bytes_that_are_not_utf8_stay_as_they_are() -> None:
    (event,) = SseReader().feed(b"event: \xff\ndata: a\xff\n\n")

    assert event.data == b"a\xff"
    assert (event.event, event.text) == ("\ufffd", "a\ufffd")


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"data: y\n" * 8192])
def test_a_stream_without_a_blank_line_is_an_error_with_a_clear_message(piece: bytes) -> None:
    reader = SseReader()
    for _ in range(MAX_EVENT_BYTES // len(piece)):
        reader.feed(piece)

    with pytest.raises(RequestFailed, match=r"larger than 16,777,216 bytes, or has no blank line") as failed:
        reader.feed(piece)

    assert failed.value.outcome == EVENT_TOO_LARGE


@pytest.mark.parametrize("ended", [b"\n\n", b"\r\n\r\n", b"\n\ndata: b\n\n", b""])
def test_an_event_of_64_mb_is_an_error(ended: bytes) -> None:
    with pytest.raises(RequestFailed, match="event too large"):
        SseReader().feed(b"data: " + b"x" * 64_000_000 + ended)


def test_a_large_event_in_small_reads_takes_linear_time() -> None:
    # Joining all bytes again at each read would copy 8 GB here.
    reader = SseReader()
    for _ in range(4000):
        assert reader.feed(b"x" * 4000) == []

    assert reader.feed(b"\n\ndata: a\n\n") == [SseEvent(b"a")]


def test_many_small_events_in_one_read_may_exceed_the_limit_together() -> None:
    assert len(SseReader(max_event_bytes=1_000).feed(b"data: abc\n\n" * 1_000)) == 1_000
