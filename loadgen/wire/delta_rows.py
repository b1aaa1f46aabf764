"""The usual fields of a delta as one row of MessagePack, the form in which deltas travel since protocol 1.13.

A controller reads 1,000 deltas a second. One call into C decodes a row and checks the types and ranges of its fields,
which takes a third of the time of protobuf, whose fields Python reads one by one. Fields that most deltas lack (new
series, failures, custom metrics and others) travel as protobuf at the end of the row: `rest`. The reasons for this form
are in docs/decisions/174-a-delta-is-one-row.md.

A new field goes to the end of its row and has a default. Older readers ignore it, and newer ones accept rows without
it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import astuple

from loadgen.measure.deltas import limits
from loadgen.measure.deltas.delta import Counters, Delta, Health, WorkerHealth
from loadgen.measure.deltas.load_counts import LoadCounts
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.measure.histograms.packed_counts import ROW_BYTES, PackedCounts

__all__ = ["decode_row", "encode_row"]

_MOST: Final = (1 << 63) - 1
_Natural = Annotated[int, msgspec.Meta(ge=0)]
_Integer = Annotated[int, msgspec.Meta(ge=-_MOST - 1, le=_MOST)]
_Notes = Annotated[tuple[str, ...], msgspec.Meta(max_length=limits.NOTES)]
_EXEMPLARS_BYTES: Final = limits.EXEMPLARS_IN_DELTA * (5 * limits.NAME_BYTES + limits.NOTE_BYTES + 200)
"""Five names, a note, and 13 numbers with the trace id."""
_TYPES: Final[Mapping[str, Any]] = MappingProxyType({"int": _Natural, "float": float, "str": str})


def _row_of(kind: type, special: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Return a class of rows with the fields of `kind`, in their order. Fields with a default may be missing.

    special: the types of fields that are not natural numbers, floats or texts.
    """
    made: list[Any] = []
    defaults = _defaults(kind)
    for name, of in kind.__annotations__.items():
        made.append((name, special.get(name) or _TYPES[of], *([defaults[name]] if name in defaults else ())))
    return msgspec.defstruct(f"{kind.__name__}Row", made, array_like=True, frozen=True, gc=False)


def _defaults(kind: Any) -> dict[str, Any]:
    some = msgspec.structs.fields(kind) if issubclass(kind, msgspec.Struct) else dataclasses.fields(kind)
    missing = (msgspec.NODEFAULT, dataclasses.MISSING)
    return {one.name: one.default for one in some if one.default not in missing}


def _some(row: Any, most: int) -> Any:
    return Annotated[tuple[row, ...], msgspec.Meta(max_length=most)]


def _bytes(most: int) -> Any:
    return Annotated[bytes, msgspec.Meta(max_length=most)]


_Counters = _row_of(Counters, dict.fromkeys(Counters.__annotations__, _Integer))
_Health = _row_of(
    Health,
    {"unfit": _Notes, "notes": _Notes, "streams": _row_of(StreamHealth) | None, "reads": _row_of(ReadHealth) | None},
)
_Worker = msgspec.defstruct(
    "WorkerHealthRow",
    [("worker", _Natural), ("iterations_started", _Integer), ("health", _Health)],
    array_like=True,
    frozen=True,
    gc=False,
)
_decoder: Final = msgspec.msgpack.Decoder(
    msgspec.defstruct(
        "DeltaRow",
        [
            ("agent", str),
            ("epoch", _Natural),
            ("seq", _Natural),
            ("start_ns", _Integer),
            ("end_ns", _Integer),
            ("run_id", str),
            ("counters", _Counters),
            ("health", _Health),
            ("loads", _some(_row_of(LoadCounts), limits.LOADS)),
            ("due", _some(_row_of(DueCounts), limits.DUE_IN_DELTA)),
            ("workers", _some(_Worker, limits.WORKERS_OF_AGENT)),
            ("rows", _bytes(ROW_BYTES * limits.SERIES_OF_AGENT)),
            ("pairs", _bytes(2 * limits.SERIES_OF_AGENT)),
            ("gaps", _bytes(2 * limits.PAIRS_IN_DELTA)),
            ("counts", _bytes(4 * limits.PAIRS_IN_DELTA)),
            ("exemplar_rows", _bytes(_EXEMPLARS_BYTES)),
            ("rest", bytes),
        ],
        array_like=True,
        frozen=True,
        gc=False,
    )
)


def encode_row(delta: Delta, packed: PackedCounts, exemplar_rows: bytes, rest: bytes) -> bytes:
    """Return a delta as one row.

    packed, exemplar_rows: its histograms and exemplars. rest: its rare fields as protobuf.
    """
    row = (
        delta.agent,
        delta.epoch,
        delta.seq,
        delta.start_ns,
        delta.end_ns,
        delta.run_id,
        dataclasses.astuple(delta.counters),
        _health_row(delta.health),
        tuple(map(dataclasses.astuple, delta.loads)),
        tuple(map(dataclasses.astuple, delta.due)),
        tuple((one.worker, one.iterations_started, _health_row(one.health)) for one in delta.workers),
        *packed,
        exemplar_rows,
        rest,
    )
    return msgspec.msgpack.encode(row)


def decode_row(data: bytes) -> tuple[Delta, bytes]:
    """HOT on the controller, once per delta: return a delta with its usual fields, and its rare fields as protobuf.

    Raises:
        msgspec.DecodeError: the bytes are not a valid row, or a number is out of range.
    """
    row: Any = _decoder.decode(data)
    delta = Delta(
        row.agent,
        row.epoch,
        row.seq,
        row.start_ns,
        row.end_ns,
        counters=Counters(*astuple(row.counters)),
        health=_health(row.health),
        run_id=row.run_id,
        due=tuple([DueCounts(*astuple(one)) for one in row.due]) if row.due else (),
        workers=tuple(map(_worker, row.workers)) if row.workers else (),
        loads=tuple([LoadCounts(*astuple(one)) for one in row.loads]),
        packed=PackedCounts(row.rows, row.pairs, row.gaps, row.counts),
        exemplar_rows=row.exemplar_rows,
    )
    return delta, row.rest


def _worker(row: Any) -> WorkerHealth:
    return WorkerHealth(row.worker, row.iterations_started, _health(row.health))


def _health_row(health: Health) -> list[Any]:
    values = list(astuple(health))
    values[_STREAMS] = None if health.streams is None else astuple(health.streams)
    values[_READS] = None if health.reads is None else astuple(health.reads)
    return values


def _health(row: Any) -> Health:
    if row.streams is None and row.reads is None:
        return Health(*astuple(row))
    values = list(astuple(row))
    values[_STREAMS] = None if row.streams is None else StreamHealth(*astuple(row.streams))
    values[_READS] = None if row.reads is None else ReadHealth(*astuple(row.reads))
    return Health(*values)


_STREAMS: Final = Health.__struct_fields__.index("streams")
_READS: Final = Health.__struct_fields__.index("reads")
