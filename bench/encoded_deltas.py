"""Encode deltas that share their measurements, for a tenth of the CPU time of `codec.encode`.

A simulated fleet sends the same few measurements again and again, from other agents and for other intervals. The fields
that differ are the first ones of a row, so the others are encoded once.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.validate import packed_of
from loadgen.wire import codec
from loadgen.wire.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR
from loadgen.wire.v1 import wire_pb2 as pb

__all__ = ["EncodedDelta"]


class EncodedDelta:
    """The encoded measurements of a delta."""

    def __init__(self, delta: Delta) -> None:
        self.delta = delta
        self.values = sum(stats.n for stats in delta.stats)
        """Number of values in all histograms."""
        kind = codec._BY_CLASS[Delta]
        self._number = kind.number
        bare = replace(delta, agent="", epoch=0, seq=0, start_ns=0, end_ns=0, run_id="", packed=packed_of(delta))
        row = kind.dump(bare)
        own = _encoded("", 0, 0, 0, 0, "")
        self._header, self._others = row[: row.index(own)], row[row.index(own) + len(own) :]

    def of(self, agent: str, epoch: int, seq: int, start_ns: int, end_ns: int, run_id: str) -> bytes:
        """Return the encoded delta with these values of its fields."""
        payload = self._header + _encoded(agent, epoch, seq, start_ns, end_ns, run_id) + self._others
        encoding, number = pb.ENCODING_PLAIN, self._number
        if len(payload) > codec.COMPRESS_FROM_BYTES:
            encoding, payload = pb.ENCODING_ZSTD, codec._pack(payload)
        envelope = pb.Envelope(
            major=PROTOCOL_MAJOR,
            minor=PROTOCOL_MINOR,
            type=number,
            encoding=encoding,
            crc32=codec._crc(PROTOCOL_MAJOR, PROTOCOL_MINOR, number, encoding, payload),
            length=len(payload),
            payload=payload,
        )
        data: bytes = envelope.SerializeToString()
        return data


def _encoded(*values: object) -> bytes:
    """Return the first fields of a row."""
    return b"".join(map(msgspec.msgpack.encode, values))
