"""Encode deltas that share their measurements, for a tenth of the CPU time of `codec.encode`.

A simulated fleet sends the same few measurements again and again, from other agents and for other intervals. The fields
that differ are the first ones of a row, so the others are encoded and compressed once. In a compressed delta, the first
fields are a block of their own that is not compressed, so it has some 10 bytes more than that of a real agent.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import msgspec
import zstandard

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
        self._packed_others = _blocks(codec._pack(self._others))

    def of(self, agent: str, epoch: int, seq: int, start_ns: int, end_ns: int, run_id: str) -> bytes:
        """Return the encoded delta with these values of its fields."""
        own, encoding, number = _encoded(agent, epoch, seq, start_ns, end_ns, run_id), pb.ENCODING_PLAIN, self._number
        first = self._header + own
        if (size := len(first) + len(self._others)) > codec.COMPRESS_FROM_BYTES:
            encoding, payload = pb.ENCODING_ZSTD, _frame_header(size) + _raw_block(first) + self._packed_others
        else:
            payload = first + self._others
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


def _blocks(frame: bytes) -> bytes:
    """Return the blocks of a zstd frame, without its header."""
    return frame[zstandard.frame_header_size(frame) :]


def _frame_header(size: int) -> bytes:
    """Return the header of a zstd frame of one segment without checksum, whose content has `size` bytes (RFC 8878)."""
    return struct.pack("<IBI", zstandard.MAGIC_NUMBER, 0b1010_0000, size)


def _raw_block(data: bytes) -> bytes:
    """Return a zstd block that is not compressed, and not the last one of its frame."""
    return (len(data) << 3).to_bytes(3, "little") + data
