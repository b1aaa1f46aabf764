"""Frames are those of hyperframe, whatever they hold and wherever their bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.clients.framing import http2_frames as ours
from loadgen.clients.framing.http2_frames import FrameError, FrameReader
from tests.support.examples import examples

GREETING = b"\0\0\0\4\0\0\0\0\0"
_NUMBER = st.integers(1, ours.MAX_ID)
_BYTES = st.binary(max_size=300)


def _data(stream: int, data: bytes, padding: int, end: bool) -> Frame:
    frame = DataFrame(stream, data, pad_length=padding)
    frame.flags |= {name for name, is_set in (("END_STREAM", end), ("PADDED", padding > 0)) if is_set}
    return frame


def _headers(stream: int, data: bytes, padding: int, is_prior: bool, is_whole: bool) -> Frame:
    frame = HeadersFrame(stream, data, pad_length=padding)
    flags = (("PRIORITY", is_prior), ("PADDED", padding > 0), ("END_HEADERS", is_whole))
    frame.flags |= {name for name, is_set in flags if is_set}
    return frame


def _settings(values: dict[int, int]) -> Frame:
    return SettingsFrame(0, settings=values)


def _unknown(kind: int, stream: int, flags: int, body: bytes) -> Frame:
    frame = ExtensionFrame(kind, stream, flags, body)
    frame.body_len = len(body)  # hyperframe sets it only when it reads a frame
    return frame


_PADDING = st.integers(0, 255)
_FRAMES = st.one_of(
    st.builds(_data, _NUMBER, _BYTES, _PADDING, st.booleans()),
    st.builds(_headers, _NUMBER, _BYTES, _PADDING, st.booleans(), st.booleans()),
    st.builds(PriorityFrame, _NUMBER, depends_on=_NUMBER, stream_weight=_PADDING, exclusive=st.booleans()),
    st.builds(RstStreamFrame, _NUMBER, error_code=st.integers(0, 2**32 - 1)),
    st.builds(_settings, st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1), max_size=5)),
    st.builds(PingFrame, opaque_data=st.binary(min_size=8, max_size=8)),
    st.builds(GoAwayFrame, last_stream_id=_NUMBER, error_code=st.integers(0, 20), additional_data=_BYTES),
    st.builds(WindowUpdateFrame, _NUMBER, window_increment=_NUMBER),
    st.builds(ContinuationFrame, _NUMBER, _BYTES),
    st.builds(_unknown, st.integers(0x10, 0xFF), _NUMBER, st.integers(0, 255), _BYTES),
)


def _taken(parts: list[bytes], most: int = 100) -> list[ours.Frame]:
    reader = FrameReader()
    found = []
    for part in parts:
        if reader.feed(part):
            while frames := reader.take(most):
                found += frames
        assert reader.wrong is None
    assert reader.waiting == 0
    return found


def _matches(frame: ours.Frame, expected: Frame) -> None:
    kind, flags, stream, payload = frame
    assert stream == expected.stream_id
    match expected:
        case DataFrame():
            assert kind == ours.DATA
            assert ours.unpadded(flags, payload) == expected.data
            assert bool(flags & ours.END_STREAM) == ("END_STREAM" in expected.flags)
        case HeadersFrame():
            assert kind == ours.HEADERS
            assert ours.block_part(flags, payload) == expected.data
            assert bool(flags & ours.END_HEADERS) == ("END_HEADERS" in expected.flags)
        case RstStreamFrame():
            assert (kind, ours.number_of(payload)) == (ours.RST_STREAM, expected.error_code)
        case SettingsFrame():
            assert (kind, dict(ours.settings_of(payload))) == (ours.SETTINGS, expected.settings)
        case PingFrame():
            assert (kind, payload) == (ours.PING, expected.opaque_data)
        case GoAwayFrame():
            said = (expected.last_stream_id, expected.error_code, expected.additional_data)
            assert (kind, ours.goaway_of(payload)) == (ours.GOAWAY, said)
        case WindowUpdateFrame():
            assert (kind, ours.number_of(payload)) == (ours.WINDOW_UPDATE, expected.window_increment)
        case ContinuationFrame():
            assert (kind, payload) == (ours.CONTINUATION, expected.data)
        case PriorityFrame():
            assert kind == ours.PRIORITY
        case ExtensionFrame():
            assert (kind, payload) == (expected.type, expected.body)


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(_FRAMES, max_size=8), st.lists(st.integers(0, 3000), max_size=8), st.integers(1, 5))
def test_any_frames_cut_anywhere_are_read_as_hyperframe_wrote_them(
    frames: list[Frame], cuts: list[int], most: int
) -> None:
    said = GREETING + b"".join(frame.serialize() for frame in frames)
    places = sorted({0, *(cut for cut in cuts if cut < len(said)), len(said)})
    taken = _taken([said[a:b] for a, b in pairwise(places)], most)
    assert taken[0] == (ours.SETTINGS, 0, 0, b"")
    assert len(taken) == len(frames) + 1
    for frame, expected in zip(taken[1:], frames, strict=True):
        _matches(frame, expected)


def test_bytes_that_come_one_by_one_are_the_same_frames() -> None:
    said = GREETING + DataFrame(1, b"x" * 300).serialize() + PingFrame(opaque_data=b"12345678").serialize()
    assert _taken([bytes((byte,)) for byte in said]) == _taken([said])


@settings(deadline=None, max_examples=examples(200))
@given(st.integers(0, 9), st.sampled_from([0, 1, 4, 5]), st.integers(0, ours.MAX_ID), st.binary(max_size=70_000))
def test_what_we_write_has_the_head_that_hyperframe_reads(kind: int, flags: int, stream: int, payload: bytes) -> None:
    said = ours.frame(kind, flags, stream, memoryview(payload))
    length, *head = int.from_bytes(said[:3], "big"), said[3], said[4], int.from_bytes(said[5:9], "big")
    assert (length, head, said[9:]) == (len(payload), [kind, flags, stream], payload)


@settings(deadline=None, max_examples=examples(100))
@given(_NUMBER, st.binary(max_size=200), st.booleans(), st.integers(1, 60))
def test_a_head_in_parts_is_what_hyperframe_joins(stream: int, block: bytes, is_end: bool, most: int) -> None:
    said = memoryview(ours.head_frames(stream, block, is_end, most))
    joined = b""
    ends: list[bool] = []
    while said:
        frame, length = Frame.parse_frame_header(said[:9])
        frame.parse_body(said[9 : 9 + length])
        said = said[9 + length :]
        assert isinstance(frame, ContinuationFrame if ends else HeadersFrame)
        assert frame.stream_id == stream
        assert length <= most
        joined += frame.data
        ends.append("END_HEADERS" in frame.flags)
        if isinstance(frame, HeadersFrame):
            assert ("END_STREAM" in frame.flags) == is_end
    assert joined == block
    assert ends == [False] * (len(ends) - 1) + [True]


def test_settings_and_goaway_are_those_of_hyperframe() -> None:
    assert ours.settings({2: 0, 4: 99}) == SettingsFrame(0, settings={2: 0, 4: 99}).serialize()
    assert ours.goaway(ours.ErrorCode.ENHANCE_YOUR_CALM) == GoAwayFrame(0, 0, error_code=11).serialize()


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n", b"\0\0\x08\x06\0\0\0\0\0", b"\xff\xff\xff\4\0\0\0\0\0"]
)
def test_a_server_that_does_not_begin_with_settings_is_wrong(said: bytes) -> None:
    reader = FrameReader()
    assert reader.feed(said)
    assert reader.take(10) == []
    assert reader.wrong == said


def test_a_frame_beyond_the_limit_is_wrong_and_those_before_it_are_not() -> None:
    reader = FrameReader()
    reader.feed(GREETING + DataFrame(1, b"x").serialize() + b"\1\0\1\0\0\0\0\0\1")
    assert [kind for kind, *_ in reader.take(10)] == [ours.SETTINGS, ours.DATA]
    assert reader.wrong == b"\1\0\1\0\0\0\0\0\1"


def test_a_large_frame_in_tiny_parts_is_joined_once() -> None:
    reader = FrameReader()
    said = GREETING + DataFrame(1, b"x" * ours.MAX_FRAME_BYTES).serialize()
    ready = [reader.feed(said[at : at + 1]) and bool(reader.take(2)) for at in range(len(said))]
    assert ready.count(True) == 2


def test_the_rest_of_a_read_does_not_keep_the_whole_read() -> None:
    reader = FrameReader()
    reader.feed(GREETING + DataFrame(1, b"x" * 60_000).serialize() + b"\0\0")
    assert len(reader.take(10)) == 2
    assert reader.waiting == 2
    assert reader._data == b"\0\0"


@pytest.mark.parametrize(
    ("flags", "payload"), [(8, b""), (8, b"\1"), (8, b"\5abcd"), (0x28, b"\0abc"), (0x20, b"abcd")]
)
def test_padding_or_priorities_longer_than_the_frame_are_an_error(flags: int, payload: bytes) -> None:
    with pytest.raises(FrameError):
        ours.block_part(flags, payload)
