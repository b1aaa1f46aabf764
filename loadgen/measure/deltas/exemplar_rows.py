"""The exemplars of one delta as one byte string of MessagePack rows, the form in which they travel since protocol 1.13.

A controller keeps the string until it merges the delta, and decodes it then. Its exemplars are needed for some
microseconds only: nearly all of them are dropped at once, because the table has slower ones. Decoded with the message
they would wait for the merge, beside those of 60 other deltas, and would push these out of the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Annotated, Final, cast

import msgspec

from loadgen.errors import LimitExceeded, WireError
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS, Exemplar, ExemplarRow, Why, check_exemplars
from loadgen.measure.deltas.limits import NAME_BYTES, NOTE_BYTES, SAME_VERSION

__all__ = ["ROW_FIELDS", "checked_rows", "decode_rows", "encode_rows"]

ROW_FIELDS: Final = Exemplar.__struct_fields__[: Exemplar.__struct_fields__.index("span")]
"""The fields of an exemplar of a plan without tracing: the first ones. A row has their values in this order."""

_Short = Annotated[str, msgspec.Meta(max_length=NAME_BYTES // 4)]  # a character takes up to 4 bytes
_Trace = Annotated[str, msgspec.Meta(max_length=64)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Ns = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
# journey, step, request, outcome, why, load, n, at_ns, response_ns, service_ns, trace, warmup, note
_Sound = tuple[_Short, _Short, _Short, _Short, Why, _Int64, _Int64, _Int64, _Ns, _Ns, _Trace, bool, _Short]
_Row = tuple[str, str, str, str, str, _Int64, _Int64, _Int64, _Int64, _Int64, str, bool, str]

_sound_rows: Final = msgspec.msgpack.Decoder(Annotated[list[_Sound], msgspec.Meta(max_length=MAX_EXEMPLARS)])
"""Accepts only exemplars that are certainly possible and within all limits. Checks while decoding take no time."""
_rows: Final = msgspec.msgpack.Decoder(list[_Row])


def encode_rows(rows: Iterable[tuple[object, ...]]) -> bytes:
    """Return rows with the values of `ROW_FIELDS` as one byte string."""
    return msgspec.msgpack.encode(list(rows))


def checked_rows(rows: bytes, name: str) -> Sequence[ExemplarRow]:
    """HOT on the controller, once per delta: return the rows of a byte string, and check them.

    Cost: 0.6 µs for each.

    Args:
        name: names the delta in error messages.

    Raises:
        WireError: these are not rows of exemplars, or one of them is impossible.
        LimitExceeded: a text is too long.
    """
    try:
        found: list[ExemplarRow] = _sound_rows.decode(rows)
        return found
    except msgspec.ValidationError:  # perhaps only a long name
        return _checked_one_by_one(rows, name)
    except msgspec.DecodeError as exc:
        raise _unreadable(name, exc) from exc


def decode_rows(rows: bytes, name: str) -> tuple[Exemplar, ...]:
    """Return the same as `checked_rows`, as exemplars."""
    return tuple(starmap(Exemplar, checked_rows(rows, name)))


def _checked_one_by_one(rows: bytes, name: str) -> Sequence[ExemplarRow]:
    try:
        found = _rows.decode(rows)
    except msgspec.ValidationError as exc:
        raise _unreadable(name, exc) from exc
    exemplars = tuple(starmap(Exemplar, found))
    check_exemplars(name, exemplars, ())
    for one in exemplars:
        for field in ("journey", "step", "request", "outcome", "trace", "note"):
            most = NOTE_BYTES if field == "note" else NAME_BYTES
            if (size := len(getattr(one, field).encode())) > most:
                raise LimitExceeded(f"Exemplar.{field}", f"{size:,} bytes long", f"{most:,}")
    return cast("list[ExemplarRow]", found)  # `check_exemplars` has checked `why`


def _unreadable(name: str, exc: msgspec.DecodeError) -> WireError:
    return WireError(f"{name} has exemplars that cannot be read: {exc}", hint=SAME_VERSION)
