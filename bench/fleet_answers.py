"""Decode what a controller sends to a simulated fleet, for a third of the CPU time of `codec.decode_with_answer`.

Nearly all of these messages are acknowledgements and clock answers. All agents at the same delta receive equal
acknowledgements, so each different one is decoded once. Of a clock answer, the reply to a heartbeat of its own, only
the time of the heartbeat is read. Checksums of
these two are not checked: CURVE finds damaged messages.
"""

from __future__ import annotations

from loadgen.wire import codec
from loadgen.wire.messages import Ack, ClockPong, Message
from loadgen.wire.v1 import wire_pb2 as pb

__all__ = ["Answers"]

_ACK, _PONG = codec._BY_CLASS[Ack].number, codec._BY_CLASS[ClockPong].number
_MOST = 1000
"""Acknowledgements that are kept."""


class Answers:
    """Reads messages of the controller."""

    def __init__(self) -> None:
        self._acks: dict[bytes, Ack] = {}

    def read(self, data: bytes) -> tuple[Message | None, int]:
        """Return a message, and `sent_ns` of the heartbeat that it answers, 0 for none. For a clock answer, the message
        is None.
        """
        envelope = pb.Envelope.FromString(data)
        kind = envelope.type
        if kind == _PONG:
            return None, pb.ClockPong.FromString(envelope.payload).agent_ns
        if kind != _ACK:
            return codec.decode_with_answer(data)
        payload = envelope.payload
        if (ack := self._acks.get(payload)) is None:
            if len(self._acks) >= _MOST:
                self._acks.clear()
            found = codec.decode(data)
            assert isinstance(found, Ack)
            ack = self._acks[payload] = found
        return ack, envelope.answers_ns
