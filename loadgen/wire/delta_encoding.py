"""Encodes a delta and its parts to bytes, and decodes them, in both forms in which deltas travel.

- Since protocol 1.13 a delta is a row of MessagePack (`delta_rows.py`). Fields that most deltas lack follow as
  protobuf at the end of the row.
- A peer before 1.13 reads and writes a delta as protobuf. This form also holds histograms that contradict themselves.

The envelope around a delta, its checksum and compression are in `codec.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from functools import lru_cache
from itertools import starmap
from operator import attrgetter
from typing import Any, Final

import msgspec
from google.protobuf.message import Message as Proto

from loadgen.errors import WireError
from loadgen.measure.deltas import limits
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Counters, Delta, Health, StatsColumns, WorkerHealth
from loadgen.measure.deltas.exemplar import Exemplar, Failure
from loadgen.measure.deltas.exemplar_rows import encode_rows
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.load_counts import FirstArrival, LoadCounts
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.measure.deltas.sampled_sums import SampledSums
from loadgen.measure.deltas.sampling_counts import SamplingCounts
from loadgen.measure.deltas.series_key import Kind, Metric, SeriesKey, Tags
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.histograms.packed_counts import EMPTY, form_fault
from loadgen.wire.check_limits import SHAPE_FROM_BYTES, check_shape
from loadgen.wire.delta_rows import decode_row, encode_row
from loadgen.wire.message_kind import MessageKind, finite, utf8_text
from loadgen.wire.v1 import wire_pb2 as pb

__all__ = ["COUNTERS", "DELTA_ROW", "PLAIN_DELTA"]


def _notes(texts: Sequence[str]) -> tuple[str, ...]:
    """Return notes cut to the limits of one interval. If some are left out, the last note gives their number."""
    if len(texts) > limits.NOTES:
        texts = (*texts[: limits.NOTES - 1], f"{len(texts) - limits.NOTES + 1:,} more are left out")
    return tuple(limits.cut(utf8_text(text), limits.TEXT_BYTES) for text in texts)


def _write_tags(tags: Tags) -> list[pb.Tag]:
    return [pb.Tag(name=utf8_text(name), value=utf8_text(value)) for name, value in tags]


def _read_tags(tags: Iterable[pb.Tag]) -> Tags:
    return tuple((tag.name, tag.value) for tag in tags)


class _ExemplarKind(MessageKind):
    """Translates an Exemplar. HOT on the controller: 1 µs; in plans with tracing, with a message inside, 3.5 µs."""

    _TRACED: Final = Exemplar.__struct_fields__[Exemplar.__struct_fields__.index("span") :]
    """The fields of that message, which are the last ones."""

    def __init__(self) -> None:
        super().__init__(pb.TYPE_UNSPECIFIED, Exemplar, pb.Exemplar, {name: (list, tuple) for name in self._TRACED})
        usual = Exemplar.__struct_fields__[: -len(self._TRACED)]
        self._usual = attrgetter(*usual)
        self._traced = attrgetter(*self._TRACED)
        self._usual_texts = tuple((name, most) for name, most in self.texts if name in usual)
        self._empty = tuple(getattr(Exemplar("", "", "", "", "random", 0, 0, 0, 0), name) for name in self._TRACED)

    def row(self, one: Exemplar) -> tuple[Any, ...] | None:
        """Return the fields of an exemplar without those of plans with tracing; None if it has some of these."""
        if self._traced(one) != self._empty:
            return None
        return tuple(self._usual_values(one).values())

    def _usual_values(self, one: Exemplar) -> dict[str, Any]:
        values = {name: getattr(one, name) for name in self.plain}
        for name, most in self._usual_texts:
            text = values[name] if values[name].isascii() else utf8_text(values[name])
            values[name] = text if most is None else limits.cut(text, most)
        return values

    def write(self, message: Any) -> Proto:
        one: Exemplar = message
        values = self._usual_values(one)
        given = self._traced(one)
        if given == self._empty:
            return pb.Exemplar(**values)
        more = dict(zip(self._TRACED, given, strict=True))
        finite(one.stands_for, "stands_for")
        more["span"], more["remote"] = limits.cut(utf8_text(one.span)), limits.cut(utf8_text(one.remote))
        more["requests"] = [limits.cut(utf8_text(text)) for text in one.requests]
        more["tags"] = [
            pb.Tag(name=limits.cut(utf8_text(name)), value=limits.cut(utf8_text(v))) for name, v in one.tags
        ]
        return pb.Exemplar(**values, traced=pb.TracedExemplar(**more))

    def read(self, proto: Any) -> Any:
        if not proto.HasField("traced"):
            return Exemplar(*self._usual(proto))
        span, sampled, stands_for, status, first_ns, phases, reused, limited, unfit, remote, tags, active, requests = (
            self._traced(proto.traced)
        )
        finite(stands_for, "stands_for")
        values = (
            *self._usual(proto),
            span,
            sampled,
            stands_for,
            status,
            first_ns,
            tuple(phases[:]),  # slices are read twice as fast as the container
            reused,
            limited,
            unfit,
            remote,
            _read_tags(tags) if tags else (),
            tuple(active[:]),
            tuple(requests[:]) if requests else (),
        )
        return Exemplar(*values)


def _write_exemplar_rows(exemplars: Sequence[Exemplar]) -> bytes:
    """Return exemplars as rows of MessagePack; empty without exemplars, or if one has further fields."""
    rows = [row for one in exemplars if (row := _EXEMPLAR.row(one)) is not None]
    return encode_rows(rows) if rows and len(rows) == len(exemplars) else b""


COUNTERS: Final = MessageKind(pb.TYPE_UNSPECIFIED, Counters, pb.Counters)
"""The counters of a delta; the last message of an agent has them too."""
_STREAMS = MessageKind(pb.TYPE_UNSPECIFIED, StreamHealth, pb.StreamHealth)
_READS = MessageKind(pb.TYPE_UNSPECIFIED, ReadHealth, pb.ReadHealth)
_HEALTH = MessageKind(
    pb.TYPE_UNSPECIFIED,
    Health,
    pb.Health,
    {
        "unfit": (_notes, tuple),
        "notes": (_notes, tuple),
        "streams": (
            lambda streams: None if streams is None else _STREAMS.write(streams),
            # A message always has at least one interval, so without one the field is absent.
            lambda proto: _STREAMS.read(proto) if proto.intervals else None,
        ),
        "reads": (
            lambda reads: None if reads is None else _READS.write(reads),
            lambda proto: _READS.read(proto) if proto.intervals else None,
        ),
    },
)

_WORKER = MessageKind(pb.TYPE_UNSPECIFIED, WorkerHealth, pb.WorkerHealth, {"health": (_HEALTH.write, _HEALTH.read)})
_LOSS = MessageKind(pb.TYPE_UNSPECIFIED, Loss, pb.Loss)
_DUE = MessageKind(pb.TYPE_UNSPECIFIED, DueCounts, pb.DueCounts)
_LOAD = MessageKind(pb.TYPE_UNSPECIFIED, LoadCounts, pb.LoadCounts)
_SAMPLING = MessageKind(pb.TYPE_UNSPECIFIED, SamplingCounts, pb.SamplingCounts)
_FIRST = MessageKind(pb.TYPE_UNSPECIFIED, FirstArrival, pb.FirstArrival)
_CUSTOM = MessageKind(pb.TYPE_UNSPECIFIED, CustomStats, pb.CustomStats, {"tags": (_write_tags, _read_tags)})
_EXEMPLAR = _ExemplarKind()
_FAILURE = MessageKind(pb.TYPE_UNSPECIFIED, Failure, pb.Failure)
_STREAM = MessageKind(
    pb.TYPE_UNSPECIFIED,
    KeptStream,
    pb.KeptStream,
    {name: (list, tuple) for name in ("gaps_ns", "tokens", "joined")},
)

_METRICS: Mapping[Metric, pb.Metric] = {
    "response": pb.METRIC_RESPONSE,
    "service": pb.METRIC_SERVICE,
    "duration": pb.METRIC_DURATION,
    "user_wait": pb.METRIC_USER_WAIT,
    "generator_lag": pb.METRIC_GENERATOR_LAG,
    "value": pb.METRIC_VALUE,
    "blocked": pb.METRIC_BLOCKED,
    "dns": pb.METRIC_DNS,
    "connect": pb.METRIC_CONNECT,
    "tls": pb.METRIC_TLS,
    "send": pb.METRIC_SEND,
    "wait": pb.METRIC_WAIT,
    "receive": pb.METRIC_RECEIVE,
    "ttfb": pb.METRIC_TTFB,
    "first_message": pb.METRIC_FIRST_MESSAGE,
    "message_gap": pb.METRIC_MESSAGE_GAP,
    "answer": pb.METRIC_ANSWER,
    "message_age": pb.METRIC_MESSAGE_AGE,
    "lcp": pb.METRIC_LCP,
    "inp": pb.METRIC_INP,
    "cls": pb.METRIC_CLS,
    "fcp": pb.METRIC_FCP,
    "ttft": pb.METRIC_TTFT,
    "ttft_due": pb.METRIC_TTFT_DUE,
    "ttfo": pb.METRIC_TTFO,
    "itl": pb.METRIC_ITL,
    "icl": pb.METRIC_ICL,
    "stall": pb.METRIC_STALL,
    "tpot": pb.METRIC_TPOT,
    "prompt_tokens": pb.METRIC_PROMPT_TOKENS,
    "cached_tokens": pb.METRIC_CACHED_TOKENS,
    "output_tokens": pb.METRIC_OUTPUT_TOKENS,
    "reasoning_tokens": pb.METRIC_REASONING_TOKENS,
}
_METRIC_NAMES: Mapping[int, Metric] = {number: name for name, number in _METRICS.items()}
_KINDS: Mapping[Kind, pb.Kind] = {
    "journey": pb.KIND_JOURNEY,
    "step": pb.KIND_STEP,
    "request": pb.KIND_REQUEST,
    "trend": pb.KIND_TREND,
    "goodput": pb.KIND_GOODPUT,
}
_KIND_NAMES: Mapping[int, Kind] = {number: name for name, number in _KINDS.items()}


_KNOWN_KEY_BYTES: Final = 512
"""Longer keys are not kept, so that no agent can fill the memory with them."""


def _write_key(key: SeriesKey) -> pb.SeriesKey:
    return pb.SeriesKey(
        kind=_KINDS[key.kind],
        journey=utf8_text(key.journey),
        step=None if key.step is None else utf8_text(key.step),
        request=None if key.request is None else utf8_text(key.request),
        outcome=utf8_text(key.outcome),
        metric=_METRICS[key.metric],
        censored=key.censored,
        warmup=key.warmup,
        tags=_write_tags(key.tags),
    )


def _read_key(key: pb.SeriesKey) -> SeriesKey:
    """Return the key. All agents of a run declare the same series, so most keys were read before.

    5,000 agents send their first deltas at the same moment. To read 46 keys of each takes 0.4 ms, and 0.06 ms if they
    were read before.
    """
    data: bytes = key.SerializeToString()
    return _known_key(data) if len(data) <= _KNOWN_KEY_BYTES else _made_key(key)


@lru_cache(maxsize=4096)
def _known_key(data: bytes) -> SeriesKey:
    return _made_key(pb.SeriesKey.FromString(data))


def _made_key(key: pb.SeriesKey) -> SeriesKey:
    return SeriesKey(
        kind=_KIND_NAMES[key.kind],
        journey=key.journey,
        step=key.step if key.HasField("step") else None,
        request=key.request if key.HasField("request") else None,
        outcome=key.outcome,
        metric=_METRIC_NAMES[key.metric],
        censored=key.censored,
        warmup=key.warmup,
        tags=_read_tags(key.tags),
    )


class _PlainDeltaKind(MessageKind):
    """Translates a Delta in the form before 1.13, which also holds histograms that contradict themselves."""

    def __init__(self) -> None:
        super().__init__(pb.TYPE_DELTA, Delta, pb.Delta)

    def write(self, message: Any) -> Proto:
        delta: Delta = message
        _check_pairs(len(delta.index) // 4)
        stats = StatsColumns.of(delta.stats)
        return pb.Delta(
            agent=utf8_text(delta.agent),
            epoch=delta.epoch,
            seq=delta.seq,
            start_ns=delta.start_ns,
            end_ns=delta.end_ns,
            index=delta.index,
            count=delta.count,
            counters=COUNTERS.write(delta.counters),  # type: ignore[arg-type]
            health=_HEALTH.write(delta.health),  # type: ignore[arg-type]
            run_id=utf8_text(delta.run_id),
            due=list(map(_DUE.write, delta.due)),  # type: ignore[arg-type]
            workers=list(map(_WORKER.write, delta.workers)),  # type: ignore[arg-type]
            loads=list(map(_LOAD.write, delta.loads)),  # type: ignore[arg-type]
            stats_series=stats.series,
            stats_n=stats.n,
            stats_sum_ns=stats.sum_ns,
            stats_min_ns=stats.min_ns,
            stats_max_ns=stats.max_ns,
            **_rare_fields(delta, delta.exemplars),
        )

    def read(self, proto: Any) -> Any:
        delta: pb.Delta = proto
        index, count, stats = self._plain(delta)
        return Delta(
            agent=delta.agent,
            epoch=delta.epoch,
            seq=delta.seq,
            start_ns=delta.start_ns,
            end_ns=delta.end_ns,
            index=index,
            count=count,
            stats=stats,
            counters=COUNTERS.read(delta.counters),
            health=_HEALTH.read(delta.health),
            run_id=delta.run_id,
            due=_each(_DUE, delta.due),
            workers=_each(_WORKER, delta.workers),
            loads=_each(_LOAD, delta.loads),
            **_rare_values(delta),
        )

    @staticmethod
    def _plain(delta: pb.Delta) -> tuple[bytes, bytes, StatsColumns]:
        """Return index, count and statistics of a delta in the form before 1.13."""
        index, count = delta.index, delta.count
        if len(index) != len(count) or len(index) % 4:
            raise WireError(
                f"a delta has {len(index)} bytes of index and {len(count)} of count: they must be equal",
                hint="run the same version of loadgen on the controller and on every agent",
            )
        columns = (
            array("q", delta.stats_series[:]),
            array("Q", delta.stats_n[:]),
            array("q", delta.stats_sum_ns[:]),
            array("q", delta.stats_min_ns[:]),
            array("q", delta.stats_max_ns[:]),
        )
        return index, count, StatsColumns(*columns)


class _DeltaRowKind(MessageKind):
    """Translates a Delta as one row. HOT on the controller, once per agent and second."""

    def __init__(self) -> None:
        super().__init__(pb.TYPE_DELTA_ROW, Delta, pb.Delta)

    def dump(self, message: Any) -> bytes:
        delta: Delta = message
        packed = delta.packed or EMPTY
        _check_pairs(len(packed.gaps) // 2)
        rows, exemplars = delta.exemplar_rows, delta.exemplars
        if not rows and (made := _write_exemplar_rows(exemplars)):
            rows, exemplars = made, ()
        cleaned = replace(
            delta,
            agent=utf8_text(delta.agent),
            run_id=utf8_text(delta.run_id),
            health=_cleaned(delta.health),
            workers=tuple(replace(one, health=_cleaned(one.health)) for one in delta.workers),
            due=tuple(replace(one, journey=limits.cut(utf8_text(one.journey))) for one in delta.due),
        )
        rest: bytes = pb.Delta(**_rare_fields(delta, exemplars)).SerializeToString()
        return encode_row(cleaned, packed, rows, rest)

    def load(self, payload: bytes, from_agent: bool) -> Any:
        delta, rest = decode_row(payload)
        assert delta.packed is not None
        if fault := form_fault(delta.packed):
            raise WireError(
                f"a delta has {fault}: they do not belong together",
                hint="run the same version of loadgen on the controller and on every agent",
            )
        if not rest:
            return delta
        if from_agent and len(rest) > SHAPE_FROM_BYTES:
            check_shape(rest, pb.Delta.DESCRIPTOR)
        return replace(delta, **_rare_values(pb.Delta.FromString(rest)))


def _check_pairs(pairs: int) -> None:
    if pairs > limits.PAIRS_IN_DELTA:  # the backlog then does not join these neighbours
        raise WireError(
            f"a delta has {pairs:,} buckets: the limit is {limits.PAIRS_IN_DELTA:,}",
            hint="use fewer names and tags in the scenario",
        )


def _cleaned(health: Health) -> Health:
    """Return the health with finite numbers, and with notes within their limits."""
    for name in _HEALTH.floats:
        finite(getattr(health, name), name)
    if not health.unfit and not health.notes:
        return health
    return msgspec.structs.replace(health, unfit=_notes(health.unfit), notes=_notes(health.notes))


def _rare_fields(delta: Delta, exemplars: Sequence[Exemplar]) -> dict[str, Any]:
    """Return those fields of a delta that most deltas lack, as protobuf. exemplars: those that are in no row."""
    return {
        "new_series": list(map(_write_key, delta.new_series)),
        "custom": list(map(_CUSTOM.write, delta.custom)),
        "exemplars": list(map(_EXEMPLAR.write, exemplars)),
        "failures": list(map(_FAILURE.write, delta.failures)),
        "losses": list(map(_LOSS.write, delta.losses)),
        "sampling": list(map(_SAMPLING.write, delta.sampling)),
        "first_arrivals": list(map(_FIRST.write, delta.first_arrivals)),
        "streams": list(map(_STREAM.write, delta.streams)),
        "streams_left_out": delta.streams_left_out,
        **_sampled_columns(delta.sampled),
    }


def _rare_values(delta: pb.Delta) -> dict[str, Any]:
    return {
        "new_series": tuple(map(_read_key, delta.new_series)),
        "custom": _each(_CUSTOM, delta.custom),
        "exemplars": _each(_EXEMPLAR, delta.exemplars),
        "failures": _each(_FAILURE, delta.failures),
        "losses": _each(_LOSS, delta.losses),
        "sampling": _each(_SAMPLING, delta.sampling),
        "first_arrivals": _each(_FIRST, delta.first_arrivals),
        "streams": _each(_STREAM, delta.streams),
        "streams_left_out": delta.streams_left_out,
        "sampled": _sampled_rows(delta) if delta.sampled_series else (),
    }


_SAMPLED_COLUMNS: Final = ("sampled_series", "sampled_n", "sampled_sum_ns", "others_n", "others_sum_ns")
"""The fields of Delta that have the values of SampledSums, in the order of its fields."""


def _sampled_columns(rows: Sequence[SampledSums]) -> dict[str, Any]:
    columns = zip(*map(astuple, rows), strict=True)
    return dict(zip(_SAMPLED_COLUMNS, columns, strict=True)) if rows else {}


def _sampled_rows(delta: pb.Delta) -> tuple[SampledSums, ...]:
    columns = [getattr(delta, name)[:] for name in _SAMPLED_COLUMNS]
    if len({len(column) for column in columns}) > 1:
        raise WireError(
            f"columns of sums of sampled requests differ in length: {list(map(len, columns))}",
            hint="run the same version of loadgen on the controller and on every agent",
        )
    return tuple(map(SampledSums, *columns))


def _each(kind: MessageKind, some: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values of a repeated protobuf field as message objects. Most of these fields are empty in most deltas.

    HOT for exemplars: 0.8 µs each.
    """
    if not some:
        return ()
    return tuple(starmap(kind.message, map(kind.all, some)) if kind.is_plain else map(kind.read, some))


PLAIN_DELTA: Final = _PlainDeltaKind()
DELTA_ROW: Final = _DeltaRowKind()
