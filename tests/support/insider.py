"""Messages that are legal in form and huge, as an agent with a good key could send them; and what they cost.

They are made of protobuf directly: `loadgen.wire.codec.encode` would cut them.
"""

from __future__ import annotations

import gc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from loadgen.measure.histograms.histogram import SLOTS
from loadgen.wire.codec import _COVERED, MAX_MESSAGE_BYTES
from loadgen.wire.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR
from loadgen.wire.v1 import wire_pb2 as pb
from loadgen_controller.agents.memory_guard import give_back

__all__ = ["Cost", "envelope", "hello", "many_customs", "many_series", "named", "series", "unfolding"]


def envelope(kind: pb.Type, payload: bytes) -> bytes:
    """One message, compressed; it must be short enough for the wire."""
    packed = zstandard.ZstdCompressor(level=9).compress(payload)
    head = _COVERED.pack(PROTOCOL_MAJOR, PROTOCOL_MINOR, kind, pb.ENCODING_ZSTD, len(packed))
    data: bytes = pb.Envelope(
        major=PROTOCOL_MAJOR,
        minor=PROTOCOL_MINOR,
        type=kind,
        encoding=pb.ENCODING_ZSTD,
        crc32=zlib.crc32(packed, zlib.crc32(head)),
        length=len(packed),
        payload=packed,
    ).SerializeToString()
    assert len(data) < MAX_MESSAGE_BYTES
    return data


def hello(agent: str, region: str, **other: Any) -> bytes:
    usual: dict[str, Any] = {
        "agent": agent,
        "region": region,
        "major": PROTOCOL_MAJOR,
        "minor": PROTOCOL_MINOR,
        "pid": 1,
        "cpus": 2,
    }
    return envelope(pb.TYPE_HELLO, pb.Hello(**usual | {"weight": 1.0, "epoch": -1} | other).SerializeToString())


def _delta(run_id: str, agent: str, epoch: int, seq: int, **other: Any) -> bytes:
    made = pb.Delta(
        agent=agent, epoch=epoch, seq=seq, start_ns=seq * 1_000, end_ns=(seq + 1) * 1_000, run_id=run_id, **other
    )
    return envelope(pb.TYPE_DELTA, made.SerializeToString())


def series(*names: str, **other: Any) -> list[pb.SeriesKey]:
    kind: dict[str, Any] = {"kind": pb.KIND_REQUEST, "journey": "shop", "outcome": "ok", "metric": pb.METRIC_RESPONSE}
    return [pb.SeriesKey(request=name, **kind | other) for name in names]


def named(run_id: str, agent: str, epoch: int, size_bytes: int) -> Iterator[bytes]:
    """One series, whose name is so long."""
    yield _delta(run_id, agent, epoch, 0, new_series=series("n" * size_bytes), **_counts(0, 1))


def many_series(run_id: str, agent: str, epoch: int, count: int, each: int) -> Iterator[bytes]:
    """`count` series with one value each, `each` in one delta."""
    for seq in range(count // each):
        names = [f"GET /{seq * each + n}" for n in range(each)]
        yield _delta(run_id, agent, epoch, seq, new_series=series(*names), **_counts(seq * each, each))


def many_customs(run_id: str, agent: str, epoch: int, count: int, each: int) -> Iterator[bytes]:
    for seq in range(count // each):
        some = [pb.CustomStats(name=f"m{seq * each + n}", kind="counter", n=1, total=1) for n in range(each)]
        yield _delta(run_id, agent, epoch, seq, custom=some)


def unfolding(size_bytes: int) -> bytes:
    """A delta of nothing but empty custom metrics, two bytes each: 1 kB on the wire, 100 times as much when parsed."""
    field = pb.Delta.DESCRIPTOR.fields_by_name["custom"].number << 3 | 2
    part = bytes((field & 0x7F | 0x80, field >> 7, 0))
    return envelope(pb.TYPE_DELTA, part * (size_bytes // len(part)))


def _counts(first: int, count: int) -> dict[str, Any]:
    ids = np.arange(first, first + count, dtype=np.int64)
    ms = [1_000_000] * count
    return {
        "index": (ids * SLOTS + 900).astype("<u4").tobytes(),
        "count": np.ones(count, dtype="<u4").tobytes(),
        "stats_series": ids.tolist(),
        "stats_n": [1] * count,
        "stats_sum_ns": ms,
        "stats_min_ns": ms,
        "stats_max_ns": ms,
        "counters": pb.Counters(requests_started=count, requests_finished=count),
    }


class Cost:
    """How much more memory this process has at most than when it was made."""

    def __init__(self) -> None:
        gc.collect()
        give_back()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._before = _bytes("VmRSS")

    @property
    def peak_bytes(self) -> int:
        return _bytes("VmHWM") - self._before


def _bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
