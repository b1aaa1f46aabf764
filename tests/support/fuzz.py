"""Hostile messages by the thousand, the same for the same seed: made of good ones, which they mostly resemble.

Most of them carry a right checksum, so that they come past the envelope and into whatever reads what is within.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random

import zstandard

from loadgen.wire.v1 import wire_pb2 as pb

__all__ = ["mutated"]


def mutated(good: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Without end. `good`: encoded messages, of which each is changed in one way or several."""
    random = Random(seed)
    while True:
        data = random.choice(good)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            data = random.choice(_WAYS)(random, data)
        yield data


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return data
    flipped = bytearray(data)
    flipped[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _grow(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randrange(1, 64)) + data[at:]


def _noise(random: Random, _: bytes) -> bytes:
    return random.randbytes(random.randrange(200))


def _within(change: Callable[[Random, bytes], bytes]) -> Callable[[Random, bytes], bytes]:
    """The same to the payload, with a checksum that is right again."""

    def changed(random: Random, data: bytes) -> bytes:
        try:
            envelope = pb.Envelope.FromString(data)
            payload = envelope.payload
            if envelope.encoding == pb.ENCODING_ZSTD:
                payload = zstandard.ZstdDecompressor().decompress(payload, max_output_size=1 << 20)
        except Exception:
            return data
        return _sealed(envelope, change(random, payload), random.random() < 0.2)

    return changed


def _other_type(random: Random, data: bytes) -> bytes:
    try:
        envelope = pb.Envelope.FromString(data)
    except Exception:
        return data
    envelope.type = random.randrange(45)  # type: ignore[assignment]  # mostly none
    return _sealed(envelope, envelope.payload, is_packed=False)


def _sealed(envelope: pb.Envelope, payload: bytes, is_packed: bool) -> bytes:
    envelope.encoding = pb.ENCODING_ZSTD if is_packed else pb.ENCODING_PLAIN
    envelope.payload = zstandard.ZstdCompressor(level=1).compress(payload) if is_packed else payload
    envelope.length = len(envelope.payload)
    head = (envelope.major, envelope.minor, envelope.type, envelope.encoding, envelope.length)
    covered = b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in head)
    envelope.crc32 = zlib.crc32(envelope.payload, zlib.crc32(covered))
    sealed: bytes = envelope.SerializeToString()
    return sealed


_WAYS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(_flip, _cut, _grow, _noise, _other_type),
    *(_within(_flip),) * 4,
    *(_within(_cut), _within(_grow), _within(_noise)),
)
