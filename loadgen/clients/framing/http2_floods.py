"""Limits on HTTP/2 frames without an answer in them, and on frames that are processed in one turn of the loop.

A target can keep a client busy with frames that cost it 9 bytes each: PING, SETTINGS, PRIORITY, empty DATA, unknown
kinds (CVE-2019-9511 to 9518, CVE-2024-27316). Such frames are legitimate in small numbers, so each connection has
a budget of them. Work earns more: each request, each DATA frame with a body, each part of an upload. Time earns a
little. A connection that exceeds its budget ends with the outcome `h2 flood`.

Sources of the numbers: nghttp2 ends a connection with 1,000 unsent acknowledgements, with more than 32 settings
in one frame, and at 330 suspicious frames a second after a burst of 10,000. Envoy ends one with 1,000 control frames
in its queue, after 100 PRIORITY frames a stream, and after 10 WINDOW_UPDATEs for each DATA frame that it has sent.
"""

from __future__ import annotations

from typing import Final

from loadgen.clients.framing.http2_frames import ACK, GOAWAY, RST_STREAM, SETTINGS
from loadgen.units import NS_PER_S

__all__ = [
    "EARNING_BITS",
    "FRAMES_A_TURN",
    "IDLE_FRAMES",
    "INTERIM_COST",
    "LATE_HEAD_BITS",
    "MAX_HEAD_FRAMES",
    "MAX_SETTINGS",
    "PADDING_COST",
    "PER_PIECE",
    "PER_REQUEST",
    "FrameBudget",
    "cost_of",
]

FRAMES_A_TURN: Final = 64
"""Frames processed before other connections get their turn: one read of 256 KiB holds up to 29,000."""
IDLE_FRAMES: Final = 1000
"""Frames without an answer in them that a connection accepts at once."""
IDLE_FRAMES_PER_S: Final = 100
"""Frames earned by time. A target that does not read what we write earns none."""
PER_REQUEST: Final = 8
"""Frames earned by a request: WINDOW_UPDATEs, a PING, a late RST_STREAM."""
PER_PIECE: Final = 4
"""Frames earned by each piece of an upload, however short: two WINDOW_UPDATEs, a PING."""
EARNING_BITS: Final = 8
"""Each 256 bytes of an upload earn one frame. The number of DATA frames would not do: the target decides that by
the size of its window (CVE-2019-9511)."""
_MOST_SAVED: Final = 10_000
LATE_FRAMES: Final = 2000
"""Frames of a stream that may still arrive after we reset it: a window of 4 MiB in frames of 2 KiB."""
LATE_HEAD_BITS: Final = 3
"""Each 8 bytes of a head of such a stream cost one frame more: it has to be decoded, at 10 µs a header."""
_MOST_LATE: Final = 200_000
_COSTLY: Final = 10
"""The cost of SETTINGS and GOAWAY. A connection needs only a few of them."""
INTERIM_COST: Final = 4
"""The cost of an interim head (1xx), plus one for each of its headers, because they are decoded. Go allowed 5 heads for
an answer, until it counted bytes."""
PADDING_COST: Final = 2
"""The cost of a DATA frame with only padding, which counts for two windows."""
MAX_SETTINGS: Final = 32
"""The limit on settings in one frame."""
MAX_HEAD_FRAMES: Final = 64
"""HEADERS and its CONTINUATIONs."""


def cost_of(kind: int, flags: int, length: int, is_open: bool) -> int:
    """Return the cost of a frame that is not part of an answer.

    length: of the payload; each 1,024 bytes cost one more. is_open: the frame belongs to an open stream.
    """
    if kind == SETTINGS:
        return 1 if flags & ACK else _COSTLY
    if kind == RST_STREAM and is_open:
        return 0  # it ends a request, so a target cannot send more of these than we send requests
    return _COSTLY if kind == GOAWAY else 1 + (length >> 10)


class FrameBudget:
    """The budget of one connection. `earned` is added to by the connection; what was saved is bounded here."""

    __slots__ = ("_late", "_settled_ns", "_spent", "earned")

    def __init__(self, now_ns: int) -> None:
        self.earned = 0
        self._spent = 0
        self._late = 0
        self._settled_ns = now_ns

    def spend(self, cost: int, now_ns: int, *, is_read: bool) -> bool:
        """Charge `cost` for a frame to the budget, and return False if the budget is exceeded. is_read: the target
        reads what we write.
        """
        self._spent += cost
        # What time and work have earned is added only when the budget seems exceeded, so that a usual frame costs one
        # addition and one comparison.
        return self._spent <= IDLE_FRAMES or self._settle(now_ns, is_read=is_read)

    def spend_late(self, cost: int, now_ns: int, *, is_read: bool) -> bool:
        """Charge `cost` for a frame of a stream that has ended, and return False if the budget is exceeded. Expected
        late frames are free (`expect_late`).
        """
        late = min(cost, self._late)
        self._late -= late
        return late == cost or self.spend(cost - late, now_ns, is_read=is_read)

    def expect_late(self) -> None:
        """Permit some late frames without cost, because we have reset a stream and frames of it may still arrive."""
        self._late = min(self._late + LATE_FRAMES, _MOST_LATE)

    def _settle(self, now_ns: int, *, is_read: bool) -> bool:
        if is_read:
            by_time = (now_ns - self._settled_ns) * IDLE_FRAMES_PER_S // NS_PER_S
            self._spent = max(0, self._spent - by_time)
        self._settled_ns = now_ns
        self._spent = max(self._spent - self.earned, -_MOST_SAVED)
        self.earned = 0
        return self._spent <= IDLE_FRAMES
