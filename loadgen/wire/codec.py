"""Encodes messages to bytes and decodes them: the envelope, the table of message types, and the limits of sizes.

Each encoded message is an envelope with the protocol's version, the type, length and CRC of the payload, and the
payload. Decoding raises only `WireError`, whatever the cause: the peer may be broken, hostile, or of another version,
and the reader must continue.

The form is checked here: version, type, CRC, size, finite numbers. `delta_encoding.py` checks the form of deltas, and
their meaning is checked where they are merged. The limits of an agent's messages are in `check_limits.py`. Messages are
checked before they are parsed, because a small message can unpack to a large one. `message_kind.py` copies a message's
fields, and cuts the texts that an agent sends. These three modules are the only ones that import the protocol's
protobuf classes.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import msgspec
import zstandard
from google.protobuf.message import DecodeError, EncodeError
from google.protobuf.message import Message as Proto

from loadgen.errors import Fault, LimitExceeded, WireError
from loadgen.measure.deltas import limits
from loadgen.measure.deltas.delta import Delta, unpacked
from loadgen.measure.deltas.load_counts import Ending
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.measure.deltas.validate import packed_of
from loadgen.measure.objectives.steering_observation import Look, Part
from loadgen.profiles.stage import Stage
from loadgen.wire import messages as m
from loadgen.wire.check_limits import check_message
from loadgen.wire.delta_encoding import COUNTERS, DELTA_ROW, PLAIN_DELTA
from loadgen.wire.message_kind import MessageKind, finite, utf8_text
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
        kind = PLAIN_DELTA if counts is None else kind
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


# -- the kinds of messages -------------------------------------------------------------------


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
            finite(weight, "weights")
    return weights


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(utf8_text, values))


def _write_stages(stages: Iterable[Stage]) -> list[pb.Stage]:
    return [pb.Stage(start=s.start, end=s.end, duration_ns=s.duration_ns) for s in map(_checked, stages)]


def _read_stages(stages: Iterable[pb.Stage]) -> tuple[Stage, ...]:
    return tuple(_checked(Stage(s.start, s.end, s.duration_ns)) for s in stages)


def _checked(stage: Stage) -> Stage:
    for value in (stage.start, stage.end):
        if finite(value, "stages") < 0:
            raise WireError(
                f"a stage has the value {value:g}: it must be at least 0",
                hint="run the same version of loadgen on the controller and on every agent",
            )
    return stage


_FAULT = MessageKind(pb.TYPE_UNSPECIFIED, Fault, pb.Fault)
_WAITING_AT = MessageKind(pb.TYPE_UNSPECIFIED, WaitingAt, pb.WaitingAt)


class _PrepareKind(MessageKind):
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


class _Optional(MessageKind):
    """A message class with one optional number, because protobuf's default does not distinguish None from 0."""

    def __init__(self, number: pb.Type, message: type[Any], proto: type[Proto], maybe: str, **special: Any) -> None:
        super().__init__(number, message, proto, {maybe: (self._write_maybe, lambda value: value), **special})
        self._maybe = maybe

    def _write_maybe(self, value: float | None) -> float | None:
        return None if value is None else finite(value, self._maybe)

    def read(self, proto: Any) -> Any:
        found = super().read(proto)
        if not proto.HasField(self._maybe):
            return replace(found, **{self._maybe: None})
        finite(getattr(proto, self._maybe), self._maybe)
        return found


_PART = MessageKind(pb.TYPE_UNSPECIFIED, Part, pb.Part, {"slower": (list, tuple)})
_LOOK = _Optional(
    pb.TYPE_UNSPECIFIED,
    Look,
    pb.Look,
    "observed_ms",
    parts=(lambda all_: list(map(_PART.write, all_)), lambda all_: tuple(map(_PART.read, all_))),
    unfit=(_texts, tuple),
)

_HEARTBEAT = MessageKind(pb.TYPE_HEARTBEAT, m.Heartbeat, pb.Heartbeat)

_ALL: tuple[MessageKind, ...] = (
    MessageKind(pb.TYPE_HELLO, m.Hello, pb.Hello),
    MessageKind(pb.TYPE_WELCOME, m.Welcome, pb.Welcome),
    MessageKind(pb.TYPE_REJECTED, m.Rejected, pb.Rejected),
    MessageKind(pb.TYPE_NACK, m.Nack, pb.Nack),
    MessageKind(pb.TYPE_CLOCK_PING, m.ClockPing, pb.ClockPing),
    MessageKind(pb.TYPE_CLOCK_PONG, m.ClockPong, pb.ClockPong),
    _PrepareKind(
        pb.TYPE_PREPARE,
        m.Prepare,
        pb.Prepare,
        {"weights": (_weights, _weights), "digests": (_texts, _texts), "control_plane": (_texts, _texts)},
    ),
    MessageKind(pb.TYPE_BUNDLE_REQUEST, m.BundleRequest, pb.BundleRequest),
    MessageKind(pb.TYPE_BUNDLE_CHUNK, m.BundleChunk, pb.BundleChunk),
    MessageKind(pb.TYPE_READY, m.Ready, pb.Ready),
    MessageKind(
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
    MessageKind(pb.TYPE_SET_UP, m.SetUp, pb.SetUp),
    MessageKind(pb.TYPE_SET_UP_DONE, m.SetUpDone, pb.SetUpDone),
    MessageKind(pb.TYPE_START_AT, m.StartAt, pb.StartAt),
    MessageKind(pb.TYPE_REASSIGN, m.Reassign, pb.Reassign, {"weights": (_weights, _weights)}),
    MessageKind(pb.TYPE_ADJUST, m.Adjust, pb.Adjust, {"stages": (_write_stages, _read_stages)}),
    MessageKind(
        pb.TYPE_STEER,
        m.Steer,
        pb.Steer,
        {"looks": (lambda all_: list(map(_LOOK.write, all_)), lambda all_: tuple(map(_LOOK.read, all_)))},
    ),
    _Optional(pb.TYPE_STEERED, m.Steered, pb.Steered, "rate_per_s"),
    _HEARTBEAT,
    PLAIN_DELTA,
    DELTA_ROW,
    MessageKind(
        pb.TYPE_WAITING,
        m.Waiting,
        pb.Waiting,
        {"points": (lambda all_: list(map(_WAITING_AT.write, all_)), lambda all_: tuple(map(_WAITING_AT.read, all_)))},
    ),
    MessageKind(pb.TYPE_RELEASE_AT, m.ReleaseAt, pb.ReleaseAt),
    MessageKind(pb.TYPE_ACK, m.Ack, pb.Ack),
    MessageKind(pb.TYPE_STOP, m.Stop, pb.Stop),
    MessageKind(
        pb.TYPE_FIN, m.Fin, pb.Fin, {"totals": (COUNTERS.write, COUNTERS.read), "ending": (_ending_number, _ending)}
    ),
    MessageKind(pb.TYPE_TEAR_DOWN, m.TearDown, pb.TearDown),
    MessageKind(pb.TYPE_TORN_DOWN, m.TornDown, pb.TornDown),
    MessageKind(pb.TYPE_BYE, m.Bye, pb.Bye),
)
_BY_CLASS = {kind.message: kind for kind in _ALL}  # of a Delta the row, which stands last
_BY_NUMBER = {kind.number: kind for kind in _ALL}
