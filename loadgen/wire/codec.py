"""Encodes messages to bytes and decodes them. No other module imports protobuf.

Each encoded message is an envelope with the protocol's version, the type, length and CRC of the payload, and the
payload. Decoding raises only `WireError`, whatever the cause: the peer may be broken, hostile, or of another version,
and the reader must continue.

This module checks the form: version, type, CRC, size, finite numbers, columns of equal length. The meaning of a delta
is checked where it is merged. The limits of an agent's messages are in `check_limits.py`. Messages are checked before
they are parsed, because a small message can unpack to a large one. Texts that an agent sends are cut here.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from functools import lru_cache
from itertools import starmap
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import msgspec
import zstandard
from google.protobuf.message import DecodeError, EncodeError
from google.protobuf.message import Message as Proto

from loadgen.errors import Fault, LimitExceeded, WireError
from loadgen.measure.deltas import limits
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Counters, Delta, Health, StatsColumns, WorkerHealth, unpacked
from loadgen.measure.deltas.exemplar import Exemplar, Failure
from loadgen.measure.deltas.exemplar_rows import encode_rows
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.load_counts import Ending, FirstArrival, LoadCounts
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.measure.deltas.sampled_sums import SampledSums
from loadgen.measure.deltas.sampling_counts import SamplingCounts
from loadgen.measure.deltas.series_key import Kind, Metric, SeriesKey, Tags
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.measure.deltas.validate import packed_of
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.histograms.packed_counts import EMPTY, form_fault
from loadgen.measure.objectives.steering_observation import Look, Part
from loadgen.profiles.stage import Stage
from loadgen.wire import messages as m
from loadgen.wire.check_limits import SHAPE_FROM_BYTES, check_message, check_shape, text_limit
from loadgen.wire.delta_rows import decode_row, encode_row
from loadgen.wire.v1 import wire_pb2 as pb

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_UNPACKED_BYTES",
    "decode",
    "decode_with_answer",
    "decode_with_beat",
    "encode",
    "plain_delta",
    "with_answer",
    "with_beat",
]

MAX_MESSAGE_BYTES: Final = 1 << 20
"""Longest encoded message; the socket refuses longer frames."""
MAX_UNPACKED_BYTES: Final = 16 << 20
"""Longest payload after decompression."""
COMPRESS_FROM_BYTES: Final = 4096
"""Payloads up to this size are not compressed, because zstd costs more than it saves."""

# Level 1: measured, a delta of 20 names shrinks from 8.0 to 3.1 kB for 6 µs of the reader's time.
_pack = zstandard.ZstdCompressor(level=1, write_checksum=False).compress
_unpacker = zstandard.ZstdDecompressor()
_COVERED = struct.Struct("<5I")

_UNREADABLE = (
    DecodeError,
    zstandard.ZstdError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    msgspec.MsgspecError,
    TypeError,
    ValueError,
)


def encode(message: m.Message, *, limit_bytes: int = MAX_MESSAGE_BYTES, as_row: bool = True) -> bytes:
    """Encode a message to bytes: an envelope with version, type, checksum and payload.

    A long payload is compressed.

    Args:
        limit_bytes: longest result.
        as_row: encode a delta as one row, which peers before 1.13 cannot read.

    Raises:
        WireError: the result is longer than `limit_bytes`, or a number is out of its field's range.
    """
    kind = _BY_CLASS.get(type(message))
    if isinstance(message, Delta):
        counts = packed_of(message) if as_row else None
        message = replace(message, packed=counts) if counts is not None else unpacked(message)
        kind = _PLAIN_DELTA if counts is None else kind
    if kind is None:
        raise WireError(
            f"{type(message).__name__} is not a message class",
            hint="this is a bug in loadgen: report it with this message",
        )
    number = kind.number
    try:
        payload = kind.dump(message)
    except (EncodeError, OverflowError, TypeError, ValueError) as exc:
        raise WireError(
            f"cannot encode {type(message).__name__}: {exc}",
            hint="this is a bug in loadgen: report it with this message",
        ) from exc
    if len(payload) > MAX_UNPACKED_BYTES:
        raise WireError(
            f"{type(message).__name__} has {len(payload):,} bytes: the limit is {MAX_UNPACKED_BYTES:,}",
            hint="use fewer names, tags and custom metrics in the scenario",
        )
    encoding = pb.ENCODING_PLAIN
    if len(payload) > COMPRESS_FROM_BYTES:
        packed = _pack(payload)
        if len(packed) < len(payload):
            encoding, payload = pb.ENCODING_ZSTD, packed
    envelope = pb.Envelope(
        major=m.PROTOCOL_MAJOR,
        minor=m.PROTOCOL_MINOR,
        type=number,
        encoding=encoding,
        crc32=_crc(m.PROTOCOL_MAJOR, m.PROTOCOL_MINOR, number, encoding, payload),
        length=len(payload),
        payload=payload,
    )
    data: bytes = envelope.SerializeToString()
    if len(data) > limit_bytes:
        raise WireError(
            f"{type(message).__name__} has {len(data):,} bytes: the limit is {limit_bytes:,}",
            hint="use fewer names, tags and custom metrics in the scenario",
        )
    return data


def with_beat(data: bytes, beat: m.Heartbeat) -> bytes:
    """Return an encoded message with a heartbeat in its envelope. The message itself stays as it is.

    An agent calls it each time that it sends a delta, so a repeated delta carries a new heartbeat. If the result would
    exceed MAX_MESSAGE_BYTES, `data` is returned as it is.
    """
    payload = _HEARTBEAT.write(beat).SerializeToString()
    # Protobuf merges concatenated messages, so the envelope need not be encoded again.
    whole: bytes = data + pb.Envelope(beat=payload, beat_crc32=zlib.crc32(payload)).SerializeToString()
    return whole if len(whole) <= MAX_MESSAGE_BYTES else data


def with_answer(data: bytes, answers_ns: int) -> bytes:
    """Return an encoded message whose envelope also answers an agent's heartbeat. The message itself stays as it is.

    answers_ns: `sent_ns` of the heartbeat; with 0 `data` is returned as it is.
    """
    if not answers_ns:
        return data
    answer: bytes = pb.Envelope(answers_ns=answers_ns).SerializeToString()
    return data + answer


def decode(data: bytes, *, limit_bytes: int = MAX_MESSAGE_BYTES, from_agent: bool = False) -> m.Message:
    """Decode the message in the bytes of one envelope, and return it. A heartbeat beside it is left out.

    Args:
        limit_bytes: longest envelope to accept.
        from_agent: also check the limits of an agent's messages. Our own messages need no check.

    Raises:
        WireError: the data are not exactly one message of this major version.
        LimitExceeded: an agent's message exceeds a limit.
    """
    return _decode(data, limit_bytes, from_agent)[0]


def plain_delta(data: bytes) -> bytes:
    """Return an encoded delta in the form that peers before 1.13 read; other messages are returned as they are."""
    message = decode(data)
    return encode(message, as_row=False) if isinstance(message, Delta) else data


def decode_with_answer(data: bytes) -> tuple[m.Message, int]:
    """Decode a message of the controller. Return it with `sent_ns` of the heartbeat that it answers; 0: none.

    The number is outside of the checksum, so the caller must reject impossible ones.

    Raises:
        WireError: the data are not exactly one message of this major version.
    """
    message, envelope = _decode(data, MAX_MESSAGE_BYTES, False)
    return message, envelope.answers_ns


def decode_with_beat(data: bytes) -> tuple[m.Message, m.Heartbeat | None]:
    """HOT, once per message of an agent: decode it, and the heartbeat that came with it; None without one.

    The histograms of a delta stay packed.

    Raises:
        WireError: the data are not exactly one message of this major version, or the heartbeat is damaged.
        LimitExceeded: the message or the heartbeat exceeds a limit.
    """
    message, envelope = _decode(data, MAX_MESSAGE_BYTES, True, unpacks=False)
    if not (beat := envelope.beat):
        return message, None
    if zlib.crc32(beat) != envelope.beat_crc32:
        raise WireError(
            "bad checksum: the heartbeat within a message was damaged on the way",
            hint="check the network between the controller and its agents",
        )
    try:
        found: m.Heartbeat = _HEARTBEAT.read(pb.Heartbeat.FromString(beat))
    except _UNREADABLE as exc:
        raise _unreadable(exc) from exc
    if len(beat) > limits.NAME_BYTES:  # else no text in it can be beyond its limit
        check_message(found)
    return message, found


def _decode(data: bytes, limit_bytes: int, from_agent: bool, *, unpacks: bool = True) -> tuple[m.Message, pb.Envelope]:
    if len(data) > limit_bytes:
        raise WireError(
            f"a message has {len(data):,} bytes: the limit is {limit_bytes:,}",
            hint="run the same version of loadgen on the controller and on every agent",
        )
    try:
        envelope = pb.Envelope.FromString(data)
        message = _message_in(envelope, from_agent)
        return unpacked(message) if unpacks and isinstance(message, Delta) else message, envelope
    except _UNREADABLE as exc:
        raise _unreadable(exc) from exc


def _unreadable(exc: Exception) -> WireError:
    return WireError(
        f"unreadable message: {exc}", hint="run the same version of loadgen on the controller and on every agent"
    )


def _message_in(envelope: pb.Envelope, from_agent: bool) -> m.Message:
    if envelope.major != m.PROTOCOL_MAJOR:
        raise WireError(
            f"a message has protocol version {envelope.major}.{envelope.minor},"
            f" and we need {m.PROTOCOL_MAJOR}.{m.PROTOCOL_MINOR}",
            hint="run the same version of loadgen on the controller and on every agent",
        )
    payload = envelope.payload
    if len(payload) != envelope.length:
        raise WireError(
            f"the payload has {len(payload)} bytes, and {envelope.length} were announced",
            hint="check the network between the controller and its agents",
        )
    if _crc(envelope.major, envelope.minor, envelope.type, envelope.encoding, payload) != envelope.crc32:
        raise WireError(
            "bad checksum: the message was damaged on the way",
            hint="check the network between the controller and its agents",
        )
    kind = _BY_NUMBER.get(envelope.type)
    if kind is None:
        raise WireError(
            f"unknown message type {envelope.type}",
            hint="run the same version of loadgen on the controller and on every agent",
        )
    if envelope.encoding == pb.ENCODING_ZSTD:
        payload = _unpack(payload)
    elif envelope.encoding != pb.ENCODING_PLAIN:
        raise WireError(
            f"unknown encoding {envelope.encoding}",
            hint="run the same version of loadgen on the controller and on every agent",
        )
    message: m.Message = kind.load(payload, from_agent)
    if from_agent:
        check_message(message)
    return message


def _unpack(payload: bytes) -> bytes:
    # The frame must announce its size, because for such frames the library ignores its own output limit.
    size = zstandard.frame_content_size(payload)
    if not 0 <= size <= MAX_UNPACKED_BYTES:
        raise LimitExceeded("the payload when unpacked", f"{size:,} bytes long", f"{MAX_UNPACKED_BYTES:,}")
    # At least 1, because 0 means that there is no limit.
    unpacked: bytes = _unpacker.decompress(payload, max_output_size=max(size, 1), allow_extra_data=False)
    return unpacked


def _crc(major: int, minor: int, kind: int, encoding: int, payload: bytes) -> int:
    # It covers the header too: a flipped bit in the type would turn the payload into another message. Enums of proto3
    # are signed and may have any value, so they are packed without their sign.
    return zlib.crc32(
        payload, zlib.crc32(_COVERED.pack(major, minor, kind & 0xFFFFFFFF, encoding & 0xFFFFFFFF, len(payload)))
    )


# -- one reader and writer for each message --------------------------------------------------


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise LimitExceeded(name, str(value), "a finite number")
    return value


def _text(text: str) -> str:
    """Return the text with "?" for each character that UTF-8 cannot encode.

    File names and error texts may have some.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


class _Kind:
    """Translates one message class to its protobuf class and back.

    Numbers, texts and bytes are copied by field name. `special` has the other fields, each with a function to write
    and a function to read it.
    """

    def __init__(
        self,
        number: pb.Type,
        message: type[Any],
        proto: type[Proto],
        special: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = MappingProxyType({}),
    ) -> None:
        self.number, self.message, self.proto, self.special = number, message, proto, special
        types: Mapping[str, str] = message.__annotations__
        names = list(types)
        self.plain = tuple(name for name in names if name not in special)
        self.floats = tuple(name for name, kind in types.items() if kind == "float")
        self.all = attrgetter(*names) if len(names) > 1 else lambda proto: (getattr(proto, names[0]),)
        self._float_places = tuple((names.index(name), name) for name in self.floats)
        self._special_places = tuple((names.index(name), read) for name, (_, read) in special.items())
        self.texts = tuple((name, text_limit(message.__name__, name)) for name, kind in types.items() if kind == "str")
        self.is_plain = not self.floats and not special

    def dump(self, message: Any) -> bytes:
        """Return the payload of a message."""
        data: bytes = self.write(message).SerializeToString()
        return data

    def load(self, payload: bytes, from_agent: bool) -> Any:
        """Return the message in a payload. from_agent: first check the limits of an agent's messages."""
        if from_agent and len(payload) > SHAPE_FROM_BYTES:
            check_shape(payload, self.proto.DESCRIPTOR)
        return self.read(self.proto.FromString(payload))

    def write(self, message: Any) -> Proto:
        values = {name: getattr(message, name) for name in self.plain}
        for name in self.floats:
            _finite(values[name], name)
        for name, most in self.texts:
            if not values[name].isascii():
                values[name] = _text(values[name])
            if most is not None:
                values[name] = limits.cut(values[name], most)
        for name, (to_proto, _) in self.special.items():
            values[name] = to_proto(getattr(message, name))
        return self.proto(**values)

    def read(self, proto: Any) -> Any:
        if self.is_plain:
            return self.message(*self.all(proto))
        values = list(self.all(proto))  # by position, because by name it takes twice as long
        for place, name in self._float_places:
            _finite(values[place], name)
        for place, from_proto in self._special_places:
            values[place] = from_proto(values[place])
        return self.message(*values)


def _ending(number: int) -> Ending:
    try:
        return Ending(number)
    except ValueError:
        raise WireError(
            f"unknown ending {number}", hint="run the same version of loadgen on the controller and on every agent"
        ) from None


def _ending_number(ending: Ending) -> int:
    return int(ending)


def _weights(values: Iterable[float]) -> tuple[float, ...]:
    # One by one, the weights of 5,000 agents would take 1.5 ms, and each of these agents gets them all.
    weights = tuple(values)
    if not all(map(math.isfinite, weights)):
        for weight in weights:
            _finite(weight, "weights")
    return weights


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_text, values))


def _notes(texts: Sequence[str]) -> tuple[str, ...]:
    """Return notes cut to the limits of one interval. If some are left out, the last note gives their number."""
    if len(texts) > limits.NOTES:
        texts = (*texts[: limits.NOTES - 1], f"{len(texts) - limits.NOTES + 1:,} more are left out")
    return tuple(limits.cut(_text(text), limits.TEXT_BYTES) for text in texts)


def _write_tags(tags: Tags) -> list[pb.Tag]:
    return [pb.Tag(name=_text(name), value=_text(value)) for name, value in tags]


def _read_tags(tags: Iterable[pb.Tag]) -> Tags:
    return tuple((tag.name, tag.value) for tag in tags)


def _write_stages(stages: Iterable[Stage]) -> list[pb.Stage]:
    return [pb.Stage(start=s.start, end=s.end, duration_ns=s.duration_ns) for s in map(_checked, stages)]


def _read_stages(stages: Iterable[pb.Stage]) -> tuple[Stage, ...]:
    return tuple(_checked(Stage(s.start, s.end, s.duration_ns)) for s in stages)


def _checked(stage: Stage) -> Stage:
    for value in (stage.start, stage.end):
        if _finite(value, "stages") < 0:
            raise WireError(
                f"a stage has the value {value:g}: it must be at least 0",
                hint="run the same version of loadgen on the controller and on every agent",
            )
    return stage


class _ExemplarKind(_Kind):
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
            text = values[name] if values[name].isascii() else _text(values[name])
            values[name] = text if most is None else limits.cut(text, most)
        return values

    def write(self, message: Any) -> Proto:
        one: Exemplar = message
        values = self._usual_values(one)
        given = self._traced(one)
        if given == self._empty:
            return pb.Exemplar(**values)
        more = dict(zip(self._TRACED, given, strict=True))
        _finite(one.stands_for, "stands_for")
        more["span"], more["remote"] = limits.cut(_text(one.span)), limits.cut(_text(one.remote))
        more["requests"] = [limits.cut(_text(text)) for text in one.requests]
        more["tags"] = [pb.Tag(name=limits.cut(_text(name)), value=limits.cut(_text(v))) for name, v in one.tags]
        return pb.Exemplar(**values, traced=pb.TracedExemplar(**more))

    def read(self, proto: Any) -> Any:
        if not proto.HasField("traced"):
            return Exemplar(*self._usual(proto))
        span, sampled, stands_for, status, first_ns, phases, reused, limited, unfit, remote, tags, active, requests = (
            self._traced(proto.traced)
        )
        _finite(stands_for, "stands_for")
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


_FAULT = _Kind(pb.TYPE_UNSPECIFIED, Fault, pb.Fault)
_COUNTERS = _Kind(pb.TYPE_UNSPECIFIED, Counters, pb.Counters)
_STREAMS = _Kind(pb.TYPE_UNSPECIFIED, StreamHealth, pb.StreamHealth)
_READS = _Kind(pb.TYPE_UNSPECIFIED, ReadHealth, pb.ReadHealth)
_HEALTH = _Kind(
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

_WORKER = _Kind(pb.TYPE_UNSPECIFIED, WorkerHealth, pb.WorkerHealth, {"health": (_HEALTH.write, _HEALTH.read)})
_LOSS = _Kind(pb.TYPE_UNSPECIFIED, Loss, pb.Loss)
_WAITING_AT = _Kind(pb.TYPE_UNSPECIFIED, WaitingAt, pb.WaitingAt)
_DUE = _Kind(pb.TYPE_UNSPECIFIED, DueCounts, pb.DueCounts)
_LOAD = _Kind(pb.TYPE_UNSPECIFIED, LoadCounts, pb.LoadCounts)
_SAMPLING = _Kind(pb.TYPE_UNSPECIFIED, SamplingCounts, pb.SamplingCounts)
_FIRST = _Kind(pb.TYPE_UNSPECIFIED, FirstArrival, pb.FirstArrival)
_CUSTOM = _Kind(pb.TYPE_UNSPECIFIED, CustomStats, pb.CustomStats, {"tags": (_write_tags, _read_tags)})
_EXEMPLAR = _ExemplarKind()
_FAILURE = _Kind(pb.TYPE_UNSPECIFIED, Failure, pb.Failure)
_STREAM = _Kind(
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
        journey=_text(key.journey),
        step=None if key.step is None else _text(key.step),
        request=None if key.request is None else _text(key.request),
        outcome=_text(key.outcome),
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


class _PrepareKind(_Kind):
    """Translates a Prepare, which has the weights of all agents and goes to each of them.

    The same weights are encoded once: for 5,000 agents, they take longer than all other fields.
    """

    _packed: tuple[tuple[float, ...], bytes] = (), b""
    """The last weights, and their encoded field."""

    def dump(self, message: Any) -> bytes:
        prepare: m.Prepare = message
        if self._packed[0] is not prepare.weights:
            self._packed = prepare.weights, pb.Prepare(weights=_weights(prepare.weights)).SerializeToString()
        return super().dump(replace(prepare, weights=())) + self._packed[1]


class _DeltaKind(_Kind):
    """Translates a Delta in the form before 1.13, which also holds histograms that contradict themselves."""

    def __init__(self) -> None:
        super().__init__(pb.TYPE_DELTA, Delta, pb.Delta)

    def write(self, message: Any) -> Proto:
        delta: Delta = message
        _check_pairs(len(delta.index) // 4)
        stats = StatsColumns.of(delta.stats)
        return pb.Delta(
            agent=_text(delta.agent),
            epoch=delta.epoch,
            seq=delta.seq,
            start_ns=delta.start_ns,
            end_ns=delta.end_ns,
            index=delta.index,
            count=delta.count,
            counters=_COUNTERS.write(delta.counters),  # type: ignore[arg-type]
            health=_HEALTH.write(delta.health),  # type: ignore[arg-type]
            run_id=_text(delta.run_id),
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
            counters=_COUNTERS.read(delta.counters),
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


class _DeltaRowKind(_Kind):
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
            agent=_text(delta.agent),
            run_id=_text(delta.run_id),
            health=_cleaned(delta.health),
            workers=tuple(replace(one, health=_cleaned(one.health)) for one in delta.workers),
            due=tuple(replace(one, journey=limits.cut(_text(one.journey))) for one in delta.due),
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
        _finite(getattr(health, name), name)
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


def _each(kind: _Kind, some: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values of a repeated protobuf field as message objects. Most of these fields are empty in most deltas.

    HOT for exemplars: 0.8 µs each.
    """
    if not some:
        return ()
    return tuple(starmap(kind.message, map(kind.all, some)) if kind.is_plain else map(kind.read, some))


class _Optional(_Kind):
    """A message class with one optional number, because protobuf's default does not distinguish None from 0."""

    def __init__(self, number: pb.Type, message: type[Any], proto: type[Proto], maybe: str, **special: Any) -> None:
        super().__init__(number, message, proto, {maybe: (self._write_maybe, lambda value: value), **special})
        self._maybe = maybe

    def _write_maybe(self, value: float | None) -> float | None:
        return None if value is None else _finite(value, self._maybe)

    def read(self, proto: Any) -> Any:
        found = super().read(proto)
        if not proto.HasField(self._maybe):
            return replace(found, **{self._maybe: None})
        _finite(getattr(proto, self._maybe), self._maybe)
        return found


_PART = _Kind(pb.TYPE_UNSPECIFIED, Part, pb.Part, {"slower": (list, tuple)})
_LOOK = _Optional(
    pb.TYPE_UNSPECIFIED,
    Look,
    pb.Look,
    "observed_ms",
    parts=(lambda all_: list(map(_PART.write, all_)), lambda all_: tuple(map(_PART.read, all_))),
    unfit=(_texts, tuple),
)

_HEARTBEAT = _Kind(pb.TYPE_HEARTBEAT, m.Heartbeat, pb.Heartbeat)
_PLAIN_DELTA = _DeltaKind()

_ALL: tuple[_Kind, ...] = (
    _Kind(pb.TYPE_HELLO, m.Hello, pb.Hello),
    _Kind(pb.TYPE_WELCOME, m.Welcome, pb.Welcome),
    _Kind(pb.TYPE_REJECTED, m.Rejected, pb.Rejected),
    _Kind(pb.TYPE_NACK, m.Nack, pb.Nack),
    _Kind(pb.TYPE_CLOCK_PING, m.ClockPing, pb.ClockPing),
    _Kind(pb.TYPE_CLOCK_PONG, m.ClockPong, pb.ClockPong),
    _PrepareKind(
        pb.TYPE_PREPARE,
        m.Prepare,
        pb.Prepare,
        {"weights": (_weights, _weights), "digests": (_texts, _texts), "control_plane": (_texts, _texts)},
    ),
    _Kind(pb.TYPE_BUNDLE_REQUEST, m.BundleRequest, pb.BundleRequest),
    _Kind(pb.TYPE_BUNDLE_CHUNK, m.BundleChunk, pb.BundleChunk),
    _Kind(pb.TYPE_READY, m.Ready, pb.Ready),
    _Kind(
        pb.TYPE_REFUSED,
        m.Refused,
        pb.Refused,
        {
            "faults": (
                lambda all_: list(map(_FAULT.write, all_[: limits.FAULTS])),
                lambda all_: tuple(map(_FAULT.read, all_)),
            )
        },
    ),
    _Kind(pb.TYPE_SET_UP, m.SetUp, pb.SetUp),
    _Kind(pb.TYPE_SET_UP_DONE, m.SetUpDone, pb.SetUpDone),
    _Kind(pb.TYPE_START_AT, m.StartAt, pb.StartAt),
    _Kind(pb.TYPE_REASSIGN, m.Reassign, pb.Reassign, {"weights": (_weights, _weights)}),
    _Kind(pb.TYPE_ADJUST, m.Adjust, pb.Adjust, {"stages": (_write_stages, _read_stages)}),
    _Kind(
        pb.TYPE_STEER,
        m.Steer,
        pb.Steer,
        {"looks": (lambda all_: list(map(_LOOK.write, all_)), lambda all_: tuple(map(_LOOK.read, all_)))},
    ),
    _Optional(pb.TYPE_STEERED, m.Steered, pb.Steered, "rate_per_s"),
    _HEARTBEAT,
    _PLAIN_DELTA,
    _DeltaRowKind(),
    _Kind(
        pb.TYPE_WAITING,
        m.Waiting,
        pb.Waiting,
        {"points": (lambda all_: list(map(_WAITING_AT.write, all_)), lambda all_: tuple(map(_WAITING_AT.read, all_)))},
    ),
    _Kind(pb.TYPE_RELEASE_AT, m.ReleaseAt, pb.ReleaseAt),
    _Kind(pb.TYPE_ACK, m.Ack, pb.Ack),
    _Kind(pb.TYPE_STOP, m.Stop, pb.Stop),
    _Kind(
        pb.TYPE_FIN, m.Fin, pb.Fin, {"totals": (_COUNTERS.write, _COUNTERS.read), "ending": (_ending_number, _ending)}
    ),
    _Kind(pb.TYPE_TEAR_DOWN, m.TearDown, pb.TearDown),
    _Kind(pb.TYPE_TORN_DOWN, m.TornDown, pb.TornDown),
    _Kind(pb.TYPE_BYE, m.Bye, pb.Bye),
)
_BY_CLASS = {kind.message: kind for kind in _ALL}  # of a Delta the row, which stands last
_BY_NUMBER = {kind.number: kind for kind in _ALL}
