"""The rules of an HTTP/2 connection: which frame is legal where, what SETTINGS change, and how heads are joined."""

from __future__ import annotations

import struct

import pytest

from loadgen.clients.framing import http2_frames, http2_state
from loadgen.clients.framing.http2_frames import MAX_ID, ErrorCode, FrameError
from loadgen.clients.framing.http2_state import HeadParts, Peer, Place, Rule, check_length, place_of, raised, rule_of


def test_the_table_in_the_docstring_is_the_table() -> None:
    names = {"wrong": Rule.WRONG, "take": Rule.TAKE, "late": Rule.LATE, "pass": Rule.PASS}
    rows = [line.split() for line in (http2_state.__doc__ or "").splitlines() if line.startswith("    ")]
    assert rows[0] == ["frame", *Place.__members__]
    assert len(rows) == 12
    for name, *cells in rows[1:]:
        kind = 0xFA if name == "unknown" else getattr(http2_frames, name)
        assert [rule_of(kind, place) for place in Place] == [names[cell] for cell in cells]


@pytest.mark.parametrize(
    ("number", "is_open", "place"),
    [(0, False, "CONNECTION"), (5, True, "OPEN"), (5, False, "ENDED"), (7, False, "IDLE"), (2, False, "THEIRS")],
)
def test_a_stream_number_says_what_a_frame_belongs_to(number: int, is_open: bool, place: str) -> None:
    assert place_of(number, 7, is_open) is Place[place]


@pytest.mark.parametrize(
    ("kind", "flags", "valid", "invalid"),
    [(2, 0, 5, 4), (3, 0, 4, 5), (4, 0, 12, 13), (4, 1, 0, 6), (6, 0, 8, 9), (7, 0, 8, 7), (8, 0, 4, 0)],
)
def test_frames_of_fixed_length_have_that_length(kind: int, flags: int, valid: int, invalid: int) -> None:
    check_length(kind, flags, valid)
    with pytest.raises(FrameError) as error:
        check_length(kind, flags, invalid)
    assert error.value.code == ErrorCode.FRAME_SIZE_ERROR


def _settings(*values: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">HI", *value) for value in values)


def test_settings_change_what_they_name_and_nothing_else() -> None:
    peer = Peer()
    assert peer.change(_settings((3, 7), (0xABCD, 1), (6, 1))) == 0
    assert (peer.max_streams, peer.max_frame, peer.stream_window, peer.table_size) == (7, 16_384, 65_535, 4096)
    assert peer.change(_settings((4, 1000), (5, 20_000), (1, 0))) == 1000 - 65_535
    assert peer.change(_settings((4, MAX_ID))) == MAX_ID - 1000
    assert (peer.max_streams, peer.max_frame, peer.window, peer.table_size) == (7, 20_000, 65_535, 0)


@pytest.mark.parametrize("value", [(2, 2), (4, 2**31), (4, 2**32 - 1), (5, 16_383), (5, 2**24)])
def test_settings_out_of_range_are_an_error(value: tuple[int, int]) -> None:
    with pytest.raises(FrameError):
        Peer().change(_settings(value))


def test_a_window_ends_at_2_to_the_31() -> None:
    assert raised(0, MAX_ID) == MAX_ID
    assert raised(-5, 3) == -2
    with pytest.raises(FrameError) as error:
        raised(1, MAX_ID)
    assert error.value.code == ErrorCode.FLOW_CONTROL_ERROR


def test_a_head_is_joined_from_its_parts_and_nothing_may_come_between() -> None:
    head = HeadParts()
    head.begin(5, 1, b"a")
    assert head.add(9, 0, 5, b"b") is None
    assert (head.stream, head.frames, head.size) == (5, 2, 2)
    assert head.add(9, 4, 5, b"c") == b"abc"
    assert head.stream == 0
    for kind, stream in ((9, 7), (0, 5), (4, 0)):
        head.begin(5, 1, b"a")
        with pytest.raises(FrameError):
            head.add(kind, 4, stream, b"")
