"""The output `remote-write=URL`: Prometheus' remote write 1.0; the only importer of cramjam.

The message has only four kinds of fields and is encoded by hand. So labels, which make up most of it, are encoded once
per series instead of once per interval. Python has no maintained client: the existing one had its last release in its
first year, and depends on requests, protobuf and python-snappy. cramjam provides snappy, with wheels for every Python
version and system. Compression reduces the names to a tenth.

Names and labels are the same as in a scrape, with `job="loadgen"` in addition.

Source: the specification of remote write 1.0, and prompb/remote.proto and types.proto of Prometheus.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

import cramjam

from loadgen.sinks.buckets import EDGES_CLS, EDGES_S
from loadgen.sinks.metric_names_and_labels import Family, families, values_of
from loadgen.sinks.output_queue import Sink
from loadgen.sinks.post import Poster
from loadgen.sinks.snapshot import Snapshot

__all__ = ["RemoteWriteSink"]

_HEADERS: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_AT_ONCE: Final = 5_000
"""The most series of one message: about 1 MB before compression."""
_EDGES: Final = (*map(repr, EDGES_S), "+Inf")
_EDGES_CLS: Final = (*map(repr, EDGES_CLS), "+Inf")
_VALUE: Final = struct.Struct("<d")

_Key = tuple[str, tuple[str, ...]]


class RemoteWriteSink(Sink):
    """Sends figures by remote write. where: the URL as it is shown. headers: names and values. ca: a CA file."""

    def __init__(self, url: str, where: str, headers: Mapping[str, str], ca: Path | None = None) -> None:
        super().__init__("remote-write", where)
        self._poster = Poster(url, headers, ca)
        self._encoded: dict[str, dict[_Key, list[bytes]]] = {}
        """For each run: the encoded labels of each series."""

    def deliver(self, snapshot: Snapshot) -> None:
        run_id = snapshot.run.run_id
        known = self._encoded.setdefault(run_id, {})
        series = _series(snapshot, known)
        while part := b"".join(islice(series, _AT_ONCE)):
            self._poster.post(bytes(cramjam.snappy.compress_raw(part)), _HEADERS)
        if snapshot.is_final:
            del self._encoded[run_id]

    def close(self) -> None:
        self._poster.close()


def _series(snapshot: Snapshot, known: dict[_Key, list[bytes]]) -> Iterator[bytes]:
    """Yield an encoded TimeSeries, with one sample, for each value of a snapshot, as field 1 of Prometheus's
    WriteRequest. known: a cache of encoded labels, which is filled.
    """
    time = _varint_field(2, snapshot.time_ns // 1_000_000)
    for family, points in families((snapshot,)):
        for point in points:
            key = family.name, point.labels
            if key not in known:
                known[key] = list(_labels(family, point.labels))
            values: Iterable[float] = (point.value,)
            if point.series is not None:
                values = (*values_of(point), point.series.count, point.series.sum_ns / 1e9 * point.series.labels.per_s)
            for labels, value in zip(known[key], values, strict=True):
                # 0x09 is the key of field 1, a double: the value of the sample.
                yield _field(1, labels + _field(2, b"\x09" + _VALUE.pack(value) + time))


def _labels(family: Family, values: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the encoded labels of each time series that a point becomes: one for each bucket, the count and the sum of
    a histogram, or one for a single value.
    """
    labels = dict(zip(family.labels, values, strict=True)) | {"job": "loadgen"}
    if family.kind != "histogram":
        yield _encoded(labels | {"__name__": family.name + ("_total" if family.kind == "counter" else "")})
        return
    for edge in _EDGES if family.unit else _EDGES_CLS:
        yield _encoded(labels | {"__name__": f"{family.name}_bucket", "le": edge})
    yield _encoded(labels | {"__name__": f"{family.name}_count"})
    yield _encoded(labels | {"__name__": f"{family.name}_sum"})


def _encoded(labels: Mapping[str, str]) -> bytes:
    """Return labels encoded in the order of their names, as the specification requires. Labels without a value are left
    out.
    """
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode("utf-8", "replace")))
        for name, value in sorted(labels.items())
        if value
    )


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(data)) + data


def _varint_field(number: int, value: int) -> bytes:
    return bytes((number << 3,)) + _varint(value)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
