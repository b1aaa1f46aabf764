"""The encoding of deltas as protobuf: what arrives of their parts, and the reasons of those that are refused."""

from __future__ import annotations

import pytest

from loadgen.errors import WireError
from loadgen.measure.deltas.delta import Delta, Health, WorkerHealth
from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.wire.codec import decode, encode
from loadgen.wire.v1 import wire_pb2 as pb
from tests.support.insider import envelope


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        (pb.Delta(health=pb.Health(cpu_share=float("nan"))), "cpu_share is nan"),
        (pb.Delta(index=b"1234"), "4 bytes of index and 0 of count"),
        (pb.Delta(index=b"12", count=b"12"), "2 bytes of index"),
        (pb.Delta(stats_series=[1], stats_n=[1, 2]), "unreadable"),
        (pb.Delta(new_series=[pb.SeriesKey()]), "unreadable"),
        (pb.Delta(sampled_series=[1], sampled_n=[1, 2]), r"columns of sums .* differ in length: \[1, 2, 0, 0, 0\]"),
    ],
)
def test_unreadable_deltas_say_why(delta: pb.Delta, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(envelope(pb.TYPE_DELTA, delta.SerializeToString()))


def test_reads_of_streams_travel_with_the_health_and_are_absent_without_them() -> None:
    streams = StreamHealth(unfit_itl=1, streams=40, kernel_reads=7, events=9, shared_ours=2, read_lag_p99_us=1_200)
    with_streams = Delta("eu", 1, 0, 0, 1, health=Health(streams=streams), workers=(WorkerHealth(0, 1, Health()),))

    found = decode(encode(with_streams))

    assert isinstance(found, Delta)
    assert found.health.streams == streams
    assert found.workers[0].health.streams is None


def test_the_clock_of_answers_travels_with_the_health_and_is_absent_in_plans_of_the_loops_clock() -> None:
    reads = ReadHealth(kernel_reads=7, loop_reads=1, loop_connections=2, jumps=1, read_lag_p99_us=90)
    workers = (WorkerHealth(0, 1, Health(reads=reads)), WorkerHealth(1, 1, Health()))

    found = decode(encode(Delta("eu", 1, 0, 0, 1, health=Health(), workers=workers)))

    assert isinstance(found, Delta)
    assert [found.health.reads, *(one.health.reads for one in found.workers)] == [None, reads, None]
