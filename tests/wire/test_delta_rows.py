"""The row in which a delta travels: its form, what older and newer versions read of it, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from loadgen.errors import LimitExceeded, WireError
from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Delta, Health, WorkerHealth
from loadgen.measure.deltas.load_counts import LoadCounts
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.measure.histograms.packed_counts import EMPTY, PackedCounts
from loadgen.wire import delta_encoding
from loadgen.wire.codec import decode, decode_with_beat, encode
from loadgen.wire.delta_rows import decode_row, encode_row
from loadgen.wire.v1 import wire_pb2 as pb
from tests.support.insider import envelope

HEALTH = Health(users=3, cpu_share=0.5, unfit=("lag",), notes=("a", "b"), reads=ReadHealth(kernel_reads=7))
PACKED = PackedCounts(bytes(40), b"\1\0", b"\2\0", b"\3")
DELTA = Delta(
    "eu-1",
    2,
    5,
    10,
    20,
    counters=Counters(*range(12)),
    health=HEALTH,
    run_id="run",
    due=(DueCounts(0, "buy", 4, 1, 2, 3, 4, 5, 6),),
    workers=(WorkerHealth(0, 7, HEALTH), WorkerHealth(1, 8, Health(streams=StreamHealth(streams=2)))),
    loads=(LoadCounts(0, 1, 2, 3, 4), LoadCounts(3, started=9)),
    packed=PACKED,
    exemplar_rows=b"\x90",
)


def row_of(delta: Delta = DELTA, rest: bytes = b"") -> list[Any]:
    found: list[Any] = msgspec.msgpack.decode(encode_row(delta, delta.packed or EMPTY, delta.exemplar_rows, rest))
    return found


def test_a_row_has_the_fields_in_their_order_as_any_reader_of_messagepack_sees_them() -> None:
    own, counters, health, loads, due, workers, *rest = (lambda row: (row[:6], *row[6:]))(row_of(rest=b"more"))
    assert own == ["eu-1", 2, 5, 10, 20, "run"]
    assert counters == list(range(12))
    assert dict(zip(Health.__struct_fields__, health, strict=True)) | {"reads": None} == {
        **msgspec.structs.asdict(Health()),
        "users": 3,
        "cpu_share": 0.5,
        "unfit": ["lag"],
        "notes": ["a", "b"],
    }
    assert health[Health.__struct_fields__.index("reads")][:2] == [1, 7]
    assert loads == [[0, 1, 2, 3, 4], [3, 9, 0, 0, 0]]
    assert due == [[0, "buy", 4, 1, 2, 3, 4, 5, 6]]
    assert [one[:2] for one in workers] == [[0, 7], [1, 8]]
    assert rest == [*PACKED, b"\x90", b"more"]


def test_a_delta_comes_back_from_its_row_as_it_was() -> None:
    assert decode_row(encode_row(DELTA, PACKED, DELTA.exemplar_rows, b"more")) == (DELTA, b"more")


def test_a_row_of_a_version_with_fewer_fields_gets_their_defaults_and_a_newer_ones_fields_are_left_out() -> None:
    row = row_of()
    row[7] = row[7][:3]
    older, _ = decode_row(msgspec.msgpack.encode(row))
    assert older.health == Health(3, 0, 0)
    row = row_of()
    row[6] += [99]
    row[7] += ["of a later version", 1]
    row[8][0] += [5]
    newer, _ = decode_row(msgspec.msgpack.encode([*row, {"later": 1}]))
    assert newer == DELTA


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 7),
        (1, -1),
        (2, -1),
        (3, 1 << 63),
        (4, (1 << 64) - 1),
        (4, 0.5),
        (5, None),
        (6, [0, "many"]),
        (7, [-1]),
        (7, [0, -(1 << 63)]),
        (8, [[0, -1]]),
        (8, [[0]] * 1_001),
        (9, [[0, "buy", -1]]),
        (9, [[0, "buy", 1]] * 20_001),
        (10, [[0, 1]]),
        (10, [[0, 1, []]] * 1_025),
        (11, "text"),
        (11, bytes(40 * 20_001)),
        (13, bytes(2 * 500_001)),
        (15, bytes(2 << 20)),
        (16, 1),
    ],
)
def test_a_row_with_a_wrong_field_is_refused(place: int, value: object) -> None:
    row = row_of()
    row[place] = value
    with pytest.raises(WireError, match="unreadable message"):
        decode(envelope(pb.TYPE_DELTA_ROW, msgspec.msgpack.encode(row)), from_agent=True)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b"\x90", lambda _: b""]
)
def test_a_row_that_is_too_short_or_too_long_is_refused(change: Any) -> None:
    with pytest.raises(WireError, match="unreadable message"):
        decode(envelope(pb.TYPE_DELTA_ROW, change(msgspec.msgpack.encode(row_of()))), from_agent=True)


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (Health(cpu_share=float("nan")), r"Health.cpu_share is nan"),
        (Health(steal_share=float("inf")), r"Health.steal_share is inf"),
        (Health(notes=("n" * 1_025,)), r"Health.notes is 1,025 bytes long: the limit is 1,024"),
    ],
)
def test_an_agents_row_beyond_a_limit_is_refused_with_the_field(health: Health, words: str) -> None:
    for delta in (replace(DELTA, health=health), replace(DELTA, workers=(WorkerHealth(0, 0, health),))):
        data = envelope(pb.TYPE_DELTA_ROW, encode_row(delta, PACKED, b"", b""))
        with pytest.raises(LimitExceeded, match=words):
            decode_with_beat(data)


def test_a_counter_of_a_row_beyond_its_limit_is_refused_with_its_name() -> None:
    for place, name in enumerate(COUNTER_NAMES):
        counters = [0] * 12
        counters[place] = 1 << 51
        data = envelope(pb.TYPE_DELTA_ROW, encode_row(replace(DELTA, counters=Counters(*counters)), PACKED, b"", b""))
        with pytest.raises(LimitExceeded, match=rf"Delta.{name} is 2,251,799,813,685,248"):
            decode_with_beat(data)


def test_the_rare_fields_of_a_large_row_are_counted_before_they_are_parsed() -> None:
    rest = pb.Delta(losses=[pb.Loss()] * 1_001).SerializeToString() + bytes(b"\x7a\x00" * 40_000)
    data = envelope(pb.TYPE_DELTA_ROW, encode_row(DELTA, PACKED, b"", rest))
    with pytest.raises(LimitExceeded, match=r"Delta.losses is more than 1,000 entries long"):
        decode(data, from_agent=True)


def test_numbers_that_are_not_finite_are_not_sent() -> None:
    with pytest.raises(LimitExceeded, match="cpu_share"):
        encode(replace(DELTA, packed=EMPTY, health=Health(cpu_share=float("nan"))))


def key_of(name: str) -> SeriesKey:
    return SeriesKey("request", "shop", "browse", name, "ok", "response", tags=(("tier", "gold"),))


def test_agents_that_declare_the_same_series_share_the_keys_that_were_read_first() -> None:
    """5,000 agents declare theirs at the same moment, at the start of a run."""
    keys = (key_of("GET /1"), key_of("GET /2"), replace(key_of("GET /1"), warmup=True))
    one, other = (decode(encode(replace(DELTA, agent=agent, new_series=keys)), from_agent=True) for agent in "ab")
    assert isinstance(one, Delta)
    assert isinstance(other, Delta)
    assert one.new_series == other.new_series == keys
    assert all(mine is its for mine, its in zip(one.new_series, other.new_series, strict=True))


def test_long_keys_are_read_each_time_so_that_they_fill_no_memory() -> None:
    keys = (key_of("GET /" + "x" * 600),)
    before = delta_encoding._known_key.cache_info()
    assert [decode(encode(replace(DELTA, agent=agent, new_series=keys))).new_series for agent in "ab"] == [keys] * 2  # type: ignore[union-attr]
    assert delta_encoding._known_key.cache_info() == before
    assert before.maxsize is not None
