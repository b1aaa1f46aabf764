"""Messages as plain values, and back: what a journey writes and reads if it has no generated code.

The form is that of protobuf's JSON (https://protobuf.dev/programming-guides/json/), with the names of the .proto file
and two differences: 64-bit integers are numbers and not texts, and `bytes` are bytes and not base64. An unset field
has its default if the message cannot tell the two apart; otherwise (messages, `optional`, `oneof`) it is missing.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, MutableMapping, MutableSequence
from contextlib import suppress
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as _FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from loadgen.clients.grpc_schema.schema import nearest
from loadgen.errors import UsageError

__all__ = ["as_text", "as_value", "message_of"]

_Field = Any
"""A FieldDescriptor, of which protobuf has two kinds."""
_ENUM: Final = _FieldDescriptor.TYPE_ENUM
_OWN: Final = "google.protobuf."
_MAX_DEPTH: Final = 100


def message_of(kind: type[Message], value: object, pool: DescriptorPool | None = None) -> Message:
    """Return a message of a class: from a mapping, a message of the same name, or None for an empty one.

    Raises:
        UsageError: a field is unknown or has a wrong value, or the message is of another type.
    """
    if isinstance(value, kind):
        return value
    name = kind.DESCRIPTOR.full_name
    if isinstance(value, Message):
        if value.DESCRIPTOR.full_name != name:
            raise UsageError(
                f"the method takes a {name}, got a {value.DESCRIPTOR.full_name}", hint=f"pass a dict, or a {name}"
            )
        return kind.FromString(value.SerializeToString())
    if value is None:
        return kind()
    try:
        return json_format.ParseDict(_in_json(value), kind(), descriptor_pool=pool)
    except (json_format.Error, TypeError, ValueError, AttributeError) as error:
        fields = [field.name for field in kind.DESCRIPTOR.fields]
        unknown = [key for key in value if key not in fields] if isinstance(value, Mapping) else []
        hint = nearest(str(unknown[0]), fields) if unknown else f"the fields of {name}: {', '.join(fields) or 'none'}"
        raise UsageError(f"cannot convert {_short(value)} to {name}: {_short(error)}", hint=hint) from error


def as_value(message: Message, pool: DescriptorPool | None = None) -> Any:
    """Return a message as a plain value: a dict, or what protobuf's JSON has for its own types, such as a text for a
    Timestamp.
    """
    if message.DESCRIPTOR.full_name.startswith(_OWN):
        # A year 10,000 or an Any of an unknown type has no JSON, for which protobuf raises errors of several kinds. The
        # caller gets the fields of such a message, as they are on the wire.
        with suppress(Exception):
            return json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=pool)
    found: dict[str, Any] = {}
    field: _Field
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if isinstance(value, MutableMapping):
            of_value = field.message_type.fields_by_name["value"]
            found[field.name] = {key: _plain(of_value, value[key], pool) for key in value}
        elif isinstance(value, MutableSequence):
            found[field.name] = [_plain(field, one, pool) for one in value]
        else:
            found[field.name] = _plain(field, value, pool)
    return found


def as_text(message: Message, pool: DescriptorPool | None = None) -> str:
    """Return a message as one line in the notation of JSON, for people. Bytes are shown as text, or by their number."""
    return json.dumps(as_value(message, pool), ensure_ascii=False, default=_shown)


def _plain(field: _Field, value: Any, pool: DescriptorPool | None) -> Any:
    if isinstance(value, Message):
        return as_value(value, pool)
    if field.type == _ENUM:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value


def _in_json(value: Any, depth: int = 0) -> Any:
    """Return a value with its bytes as base64, as protobuf's JSON has them."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"it has more than {_MAX_DEPTH} levels")
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode("ascii")
    if isinstance(value, Message):
        return _in_json(as_value(value), depth + 1)
    if isinstance(value, Mapping):
        return {key: _in_json(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(one, depth + 1) for one in value]
    return value


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        return text if text and text.isprintable() else f"<{len(value)} bytes>"
    return str(value)


def _short(value: object) -> str:
    text = str(value).partition("\n")[0] if isinstance(value, BaseException) else repr(value)
    return text if len(text) <= 200 else text[:200] + " ..."
