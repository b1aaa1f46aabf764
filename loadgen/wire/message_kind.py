"""The translation of one message class to its protobuf class and back, field by field.

The kinds of all messages are in `codec.py`, and the kinds of a delta and of its parts in `delta_encoding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from google.protobuf.message import Message as Proto

from loadgen.errors import LimitExceeded
from loadgen.measure.deltas import limits
from loadgen.wire.check_limits import SHAPE_FROM_BYTES, check_shape, text_limit
from loadgen.wire.v1 import wire_pb2 as pb

__all__ = ["MessageKind", "finite", "utf8_text"]


def finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise LimitExceeded(name, str(value), "a finite number")
    return value


def utf8_text(text: str) -> str:
    """Return the text with "?" for each character that UTF-8 cannot encode.

    File names and error texts may have some.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


class MessageKind:
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
            finite(values[name], name)
        for name, most in self.texts:
            if not values[name].isascii():
                values[name] = utf8_text(values[name])
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
            finite(values[place], name)
        for place, from_proto in self._special_places:
            values[place] = from_proto(values[place])
        return self.message(*values)
