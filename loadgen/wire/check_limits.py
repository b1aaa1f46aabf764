"""Checks whether a message stays within the limits of `loadgen/measure/deltas/limits.py`.

There are two checks, because a small message can unpack to a large one:

- `check_shape` reads the bytes of a large message before it is parsed, and counts its fields. 16 MiB of empty parts
  compress to 1 kB and would take 1 GB once parsed.
- `check_message` checks the texts and numbers of a message that was read from an agent.

Both raise `LimitExceeded`, which names the field, its size and the limit. `message_kind.py` also uses `text_limit`,
to cut the texts that an agent sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from operator import attrgetter
from typing import Any, Final

from loadgen.errors import Fault, LimitExceeded, WireError
from loadgen.measure.deltas import limits
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Delta, Health, WorkerHealth
from loadgen.measure.deltas.exemplar import MAX_REQUESTS, Exemplar, Failure
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.measure.deltas.series_key import PHASES, SeriesKey, Tags
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.wire import messages as m

__all__ = ["SHAPE_FROM_BYTES", "check_message", "check_shape", "text_limit"]

SHAPE_FROM_BYTES: Final = 64 * 1024
"""Shorter messages are not checked by `check_shape`: once parsed, they take at most 3 MiB."""
_SURELY_SHORT: Final = limits.NAME_BYTES // 4
"""A text with at most this many characters is within every limit, whatever the characters are."""

_TEXTS: Final[Mapping[str, int]] = {
    "Fault.message": limits.FAULT_BYTES,
    "Fault.hint": limits.FAULT_BYTES,
    "Fault.file": limits.TEXT_BYTES,
    "Health.unfit": limits.TEXT_BYTES,
    "Health.notes": limits.TEXT_BYTES,
    "Heartbeat.note": limits.TEXT_BYTES,
    "Loss.cause": limits.TEXT_BYTES,
    "Loss.left_out": limits.TEXT_BYTES,
    "Ready.left_out": limits.TEXT_BYTES,
    "Refused.reason": limits.TEXT_BYTES,
    "SetUpDone.error": limits.TEXT_BYTES,
    "SetUpDone.value_json": limits.SHARED_BYTES,
    "Steered.why": limits.TEXT_BYTES,
    "Steered.error": limits.TEXT_BYTES,
    "Steered.finding_json": limits.FINDING_BYTES,
    "Fin.reason": limits.TEXT_BYTES,
    "TornDown.error": limits.TEXT_BYTES,
    # An agent cuts these by characters (`engine/recording/failure_samples.py`), and a character has up to 4 bytes.
    "Failure.detail": 4 * 2_000,
    "Failure.where": 4 * 300,
    "Failure.traceback": 4 * 8_000,
    "Failure.row": 4 * 4_000,
    "Failure.sent": 4 * 20_000,
    "Failure.received": 4 * 20_000,
    "Failure.note": limits.NOTE_BYTES,
    "Exemplar.note": limits.NOTE_BYTES,
    "KeptStream.kinds": limits.EVENTS_OF_KEPT_STREAM,
    "Delta.index": 4 * limits.PAIRS_IN_DELTA,
    "Delta.count": 4 * limits.PAIRS_IN_DELTA,
}
"""Most bytes of texts and byte strings; fields that are not listed are names, with the limit of names."""

_COUNTS: Final[Mapping[str, int]] = {
    "Delta.new_series": limits.SERIES_OF_AGENT,
    "Delta.stats_series": limits.SERIES_OF_AGENT,
    "Delta.stats_n": limits.SERIES_OF_AGENT,
    "Delta.stats_sum_ns": limits.SERIES_OF_AGENT,
    "Delta.stats_min_ns": limits.SERIES_OF_AGENT,
    "Delta.stats_max_ns": limits.SERIES_OF_AGENT,
    "Delta.sampled_series": limits.SERIES_OF_AGENT,
    "Delta.sampled_n": limits.SERIES_OF_AGENT,
    "Delta.sampled_sum_ns": limits.SERIES_OF_AGENT,
    "Delta.others_n": limits.SERIES_OF_AGENT,
    "Delta.others_sum_ns": limits.SERIES_OF_AGENT,
    "Delta.custom": limits.CUSTOM_IN_DELTA,
    "CustomStats.tags": limits.TAGS_OF_SERIES,
    "Delta.exemplars": limits.EXEMPLARS_IN_DELTA,
    "TracedExemplar.phases": len(PHASES),
    "TracedExemplar.tags": limits.TAGS_OF_SERIES,
    "TracedExemplar.active_loads": limits.LOADS,
    "TracedExemplar.requests": MAX_REQUESTS,
    "Delta.failures": limits.FAILURES_IN_DELTA,
    "Delta.due": limits.DUE_IN_DELTA,
    "Delta.workers": limits.WORKERS_OF_AGENT,
    "Delta.losses": limits.LOSSES_OF_AGENT,
    "Delta.loads": limits.LOADS,
    "Delta.sampling": limits.SAMPLING_ROWS_IN_DELTA,
    "Delta.streams": limits.KEPT_STREAMS_IN_DELTA,
    "KeptStream.gaps_ns": limits.EVENTS_OF_KEPT_STREAM,
    "KeptStream.tokens": limits.EVENTS_OF_KEPT_STREAM,
    "KeptStream.joined": limits.EVENTS_OF_KEPT_STREAM,
    "Delta.first_arrivals": limits.FIRST_ARRIVALS_IN_DELTA,
    "Health.unfit": limits.NOTES,
    "Health.notes": limits.NOTES,
    "Refused.faults": limits.FAULTS,
    "SeriesKey.tags": limits.TAGS_OF_SERIES,
    "Waiting.points": limits.POINTS_OF_WORKER,
}
"""Most entries of each repeated field."""

_FROM_AGENTS: Final = frozenset(
    (
        *(kind.__name__ for kind in m.FROM_AGENTS),
        *("Counters", "CustomStats", "DueCounts", "Exemplar", "Failure", "Fault", "Health", "Loss", "SeriesKey", "Tag"),
        *("FirstArrival", "KeptStream", "LoadCounts", "StreamHealth", "TracedExemplar", "WaitingAt", "WorkerHealth"),
    )
)


def text_limit(message: str, field: str) -> int | None:
    """Return the most bytes that a text or bytes field of a message may have; None for messages of controllers."""
    return _TEXTS.get(f"{message}.{field}", limits.NAME_BYTES) if message in _FROM_AGENTS else None


def _too_many(field: str, found: int, limit: int) -> LimitExceeded:
    return LimitExceeded(field, f"{found:,} entries long", f"{limit:,}")


def _too_long(field: str, size_bytes: int, limit: int) -> LimitExceeded:
    return LimitExceeded(field, f"{size_bytes:,} bytes long", f"{limit:,}")


# -- before it is parsed --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    part: Any
    """Descriptor of a nested message; None for texts, bytes and packed numbers."""
    most_bytes: int | None
    most: int | None
    width: int
    """Bytes of a packed number: 4 or 8, or 0 for a variable length; -1 for fields that are not packed numbers."""


_fields: Final[dict[str, dict[int, _Field]]] = {}
_HIGH: Final = bytes(range(128, 256))


def check_shape(payload: bytes, descriptor: Any) -> None:
    """Check the counts and sizes of the fields in an encoded message, before it is parsed. About 0.5 µs per field.

    Raises:
        LimitExceeded: a field has too many entries, or a text is too long.
        WireError: the bytes are not such a message.
    """
    try:
        _walk(payload, 0, len(payload), descriptor, limits.ELEMENTS)
    except IndexError:
        raise WireError(
            f"unreadable {descriptor.name}: it ends too early",
            hint="run the same version of loadgen on the controller and on every agent",
        ) from None


def _walk(data: bytes, at: int, end: int, descriptor: Any, left: int) -> int:
    """Check the encoded message in data[at:end].

    Return the number of further elements that are allowed after it. left: this number before it.
    """
    fields = _fields.get(descriptor.name) or _fields_of(descriptor)
    counts: dict[int, int] = {}
    while at < end:
        key, at = _varint(data, at)
        left -= 1
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise WireError(
                    f"unreadable {descriptor.name}: it ends too early",
                    hint="run the same version of loadgen on the controller and on every agent",
                )
            field = fields.get(number)
            if field is not None:
                found = 1 if field.width < 0 else _packed(data, at, size, field.width)
                if field.most is not None:
                    counts[number] = found = counts.get(number, 0) + found
                    if found > field.most:
                        raise LimitExceeded(field.name, f"more than {field.most:,} entries long", f"{field.most:,}")
                if field.most_bytes is not None and size > field.most_bytes:
                    raise _too_long(field.name, size, field.most_bytes)
                if field.part is not None and size:
                    left = _walk(data, at, at + size, field.part, left)
            at += size
        # Kinds 3 and 4 are groups, which proto3 does not have; kinds 6 and 7 do not exist.
        else:
            raise WireError(
                f"unreadable {descriptor.name}: a field of kind {kind}",
                hint="run the same version of loadgen on the controller and on every agent",
            )
        if left < 0:
            raise LimitExceeded(descriptor.name, f"more than {limits.ELEMENTS:,} fields long", f"{limits.ELEMENTS:,}")
    if at != end:
        raise WireError(
            f"unreadable {descriptor.name}: it ends too early",
            hint="run the same version of loadgen on the controller and on every agent",
        )
    return left


def _packed(data: bytes, at: int, size: int, width: int) -> int:
    """Return the number of values in a packed field, which is at data[at:at + size].

    `width` is the bytes of a value, or 0 if the length varies.
    """
    # A varint ends with its only byte below 128, so the number of such bytes is the number of values.
    return size // width if width else len(data[at : at + size].translate(None, _HIGH))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError(
        "unreadable message: a number of more than 10 bytes",
        hint="run the same version of loadgen on the controller and on every agent",
    )


def _fields_of(descriptor: Any) -> dict[int, _Field]:
    made = {}
    for field in descriptor.fields:
        name = f"{descriptor.name}.{field.name}"
        is_text = field.type in (_STRING, _BYTES)
        is_part = field.message_type is not None
        made[field.number] = _Field(
            name,
            field.message_type,
            text_limit(descriptor.name, field.name) if is_text else None,
            _COUNTS.get(name),
            -1 if is_text or is_part else _WIDTHS.get(field.type, 0),
        )
    _fields[descriptor.name] = made
    return made


_DOUBLE, _FLOAT, _FIXED64, _FIXED32, _STRING, _BYTES, _SFIXED32, _SFIXED64 = 1, 2, 6, 7, 9, 12, 15, 16
"""Types of fields, as protobuf's descriptors number them; this module does not import protobuf."""
_WIDTHS: Final = {_DOUBLE: 8, _FIXED64: 8, _SFIXED64: 8, _FLOAT: 4, _FIXED32: 4, _SFIXED32: 4}


# -- as a value -----------------------------------------------------------------------------------


class _Texts:
    """Checks the texts of one message class. HOT for classes with many values: 0.3 µs each when all are short."""

    def __init__(self, kind: type, *names: str) -> None:
        self._names = names
        self._get: Callable[[Any], Iterable[str]] = (
            attrgetter(*names) if len(names) > 1 else lambda one: (getattr(one, names[0]),)
        )
        self._most = tuple((f"{kind.__name__}.{name}", text_limit(kind.__name__, name) or 0) for name in names)

    def check(self, some: Sequence[Any]) -> None:
        if max(map(len, chain.from_iterable(map(self._get, some))), default=0) <= _SURELY_SHORT:
            return
        for one in some:
            for text, (field, most) in zip(self._get(one), self._most, strict=True):
                _check_text(field, text, most)


def _check_text(field: str, text: str | bytes, most: int) -> None:
    # A character has at most 4 bytes in UTF-8.
    if len(text) * 4 <= most:
        return
    size = len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode("utf-8", "replace"))
    if size > most:
        raise _too_long(field, size, most)


def _check_each(field: str, texts: Sequence[str], most: int) -> None:
    if len(texts) > _COUNTS[field]:
        raise _too_many(field, len(texts), _COUNTS[field])
    for text in texts:
        _check_text(field, text, most)


def _check_number(field: str, value: float, low: float, high: float) -> None:
    # In this form NaN is refused too, because every comparison with it is False.
    if not low <= value <= high:
        raise LimitExceeded(field, f"{value:g}", f"{low:g} to {high:g}")


_bounded_counters: Final = attrgetter(*(name for name in COUNTER_NAMES if name != "bytes_received"))
_delta_texts: Final = _Texts(Delta, "agent", "run_id")
_exemplar_texts: Final = _Texts(Exemplar, "journey", "step", "request", "outcome", "note", "remote", "span")
"""The merge checks the other texts of an exemplar against a few known words (`measure/deltas/exemplar.py`)."""
_failure_texts: Final = _Texts(
    Failure,
    *("journey", "step", "request", "outcome", "trace"),
    *("detail", "where", "traceback", "row", "sent", "received", "note"),
)
_stream_texts: Final = _Texts(KeptStream, "journey", "step", "request", "outcome", "trace", "kinds")
_due_texts: Final = _Texts(DueCounts, "journey")
_custom_texts: Final = _Texts(CustomStats, "name", "kind")
_loss_texts: Final = _Texts(Loss, "cause", "left_out")


def check_message(message: m.Message) -> None:
    """Check that the texts, counts and values of an agent's decoded message are within their limits.

    Raises:
        LimitExceeded: a text, a number of entries or a value exceeds its limit.
    """
    texts = _BY_KIND.get(type(message))
    if texts is not None:
        texts.check((message,))
    special = _SPECIAL.get(type(message))
    if special is not None:
        special(message)


def _check_delta(delta: Delta) -> None:
    """Check that the fields of a delta are within their limits; raise LimitExceeded if one is not.

    HOT on the controller, once per agent and second: 5 µs with 10 exemplars.
    """
    if len(delta.agent) + len(delta.run_id) > _SURELY_SHORT:
        _delta_texts.check((delta,))
    if len(delta.index) > _TEXTS["Delta.index"]:
        raise _too_long("Delta.index", len(delta.index), _TEXTS["Delta.index"])
    if len(delta.stats) > limits.SERIES_OF_AGENT:
        raise _too_many("Delta.stats", len(delta.stats), limits.SERIES_OF_AGENT)
    if len(delta.sampled) > limits.SERIES_OF_AGENT:
        raise _too_many("Delta.sampled", len(delta.sampled), limits.SERIES_OF_AGENT)
    _check_counters("Delta", delta.counters, limits.COUNT, limits.BYTES_IN_DELTA)
    _check_health(delta.health)
    for name, check in _PARTS_OF_DELTA:
        if some := getattr(delta, name):
            if len(some) > (most := _COUNTS[f"Delta.{name}"]):
                raise _too_many(f"Delta.{name}", len(some), most)
            check(some)


def _check_counters(whose: str, counters: Counters, most: int, most_bytes: int) -> None:
    if max(_bounded_counters(counters)) > most:
        name = max(COUNTER_NAMES, key=lambda name: getattr(counters, name) * (name != "bytes_received"))
        raise LimitExceeded(f"{whose}.{name}", f"{getattr(counters, name):,}", f"{most:,}")
    if counters.bytes_received > most_bytes:
        raise LimitExceeded(f"{whose}.bytes_received", f"{counters.bytes_received:,}", f"{most_bytes:,}")


def _check_health(health: Health) -> None:
    _check_number("Health.cpu_share", health.cpu_share, 0, limits.SHARE)
    _check_number("Health.steal_share", health.steal_share, 0, limits.SHARE)
    if health.unfit:
        _check_each("Health.unfit", health.unfit, limits.TEXT_BYTES)
    if health.notes:
        _check_each("Health.notes", health.notes, limits.TEXT_BYTES)


def _check_exemplars(exemplars: Sequence[Exemplar]) -> None:
    """Check that the texts of exemplars are within their limits; raise LimitExceeded if one is not.

    HOT: 0.2 µs each; `_Texts.check` takes twice as long. In plans with tracing 0.5 µs.
    """
    for one in exemplars:
        texts = len(one.journey) + len(one.step) + len(one.request) + len(one.outcome) + len(one.note)
        if texts + len(one.remote) + len(one.span) > _SURELY_SHORT:
            _exemplar_texts.check((one,))
        if one.tags:
            if len(one.tags) > limits.TAGS_OF_SERIES:
                raise _too_many("TracedExemplar.tags", len(one.tags), limits.TAGS_OF_SERIES)
            _check_tags(one.tags)
        if len(one.active_loads) > limits.LOADS:
            raise _too_many("TracedExemplar.active_loads", len(one.active_loads), limits.LOADS)
        if one.requests:
            _check_each("TracedExemplar.requests", one.requests, limits.NAME_BYTES)


def _check_streams(streams: Sequence[KeptStream]) -> None:
    _stream_texts.check(streams)
    for one in streams:
        for field in ("gaps_ns", "tokens", "joined"):
            if len(getattr(one, field)) > limits.EVENTS_OF_KEPT_STREAM:
                raise _too_many(f"KeptStream.{field}", len(getattr(one, field)), limits.EVENTS_OF_KEPT_STREAM)


def _check_series(series: Sequence[SeriesKey]) -> None:
    for key in series:
        if len(key.tags) > limits.TAGS_OF_SERIES:
            raise _too_many("SeriesKey.tags", len(key.tags), limits.TAGS_OF_SERIES)
        texts = (key.journey, key.step or "", key.request or "", key.outcome)
        if max(map(len, texts)) > _SURELY_SHORT:
            for name, text in zip(("journey", "step", "request", "outcome"), texts, strict=True):
                _check_text(f"SeriesKey.{name}", text, limits.NAME_BYTES)
        if key.tags:
            _check_tags(key.tags)


def _check_tags(tags: Tags) -> None:
    for tag in tags:
        for name, text in zip(("name", "value"), tag, strict=True):
            _check_text(f"Tag.{name}", text, limits.NAME_BYTES)


def _check_custom(custom: Sequence[CustomStats]) -> None:
    _custom_texts.check(custom)
    for one in custom:
        if len(one.tags) > limits.TAGS_OF_SERIES:
            raise _too_many("CustomStats.tags", len(one.tags), limits.TAGS_OF_SERIES)
        if one.tags:
            _check_tags(one.tags)
        if not -limits.TOTAL <= one.total <= limits.TOTAL:
            raise LimitExceeded("CustomStats.total", f"{one.total:,}", f"{limits.TOTAL:,}")
        if one.n > limits.COUNT:
            raise LimitExceeded("CustomStats.n", f"{one.n:,}", f"{limits.COUNT:,}")
        for name in ("low", "high", "last"):
            _check_number(f"CustomStats.{name}", getattr(one, name), -limits.CUSTOM_VALUE, limits.CUSTOM_VALUE)


def _check_workers(workers: Sequence[WorkerHealth]) -> None:
    for one in workers:
        if one.worker >= limits.WORKERS_OF_AGENT:
            raise LimitExceeded("WorkerHealth.worker", str(one.worker), f"{limits.WORKERS_OF_AGENT - 1:,}")
        _check_health(one.health)


def _check_losses(losses: Sequence[Loss]) -> None:
    _loss_texts.check(losses)
    for one in losses:
        if one.workers > limits.WORKERS_OF_AGENT:
            raise LimitExceeded("Loss.workers", f"{one.workers:,}", f"{limits.WORKERS_OF_AGENT:,}")


def _check_hello(hello: m.Hello) -> None:
    if not (isfinite(hello.weight) and 0 < hello.weight <= limits.WEIGHT):
        raise LimitExceeded("Hello.weight", f"{hello.weight:g}", f"a number above 0, at most {limits.WEIGHT:g}")


def _check_steered(steered: m.Steered) -> None:
    if steered.rate_per_s is not None:
        _check_number("Steered.rate_per_s", steered.rate_per_s, 0, limits.RATE_PER_S)
    _check_text("Steered.finding_json", steered.finding_json, limits.FINDING_BYTES)


def _check_waiting(waiting: m.Waiting) -> None:
    if len(waiting.points) > limits.POINTS_OF_WORKER:
        raise _too_many("Waiting.points", len(waiting.points), limits.POINTS_OF_WORKER)
    _point_texts.check(waiting.points)


def _check_refused(refused: m.Refused) -> None:
    if len(refused.faults) > limits.FAULTS:
        raise _too_many("Refused.faults", len(refused.faults), limits.FAULTS)
    _fault_texts.check(refused.faults)


def _check_fin(fin: m.Fin) -> None:
    _check_counters("Fin", fin.totals, 1 << 62, 1 << 62)


_point_texts: Final = _Texts(WaitingAt, "name")
_fault_texts: Final = _Texts(Fault, "file", "message", "hint")

_PARTS_OF_DELTA: Final[tuple[tuple[str, Callable[[Any], None]], ...]] = (
    ("exemplars", _check_exemplars),
    ("new_series", _check_series),
    ("due", _due_texts.check),
    ("custom", _check_custom),
    ("failures", _failure_texts.check),
    ("streams", _check_streams),
    ("workers", _check_workers),
    ("losses", _check_losses),
)
_BY_KIND: Final = {
    kind: _Texts(kind, *names)
    for kind in m.FROM_AGENTS - {Delta}
    if (names := [name for name, of in kind.__annotations__.items() if of == "str"])
}
_SPECIAL: Final[Mapping[type, Callable[[Any], None]]] = {
    Delta: _check_delta,
    m.Hello: _check_hello,
    m.Steered: _check_steered,
    m.Waiting: _check_waiting,
    m.Refused: _check_refused,
    m.SetUpDone: lambda done: _check_text("SetUpDone.value_json", done.value_json, limits.SHARED_BYTES),
    m.Fin: _check_fin,
}
