"""Writes YAML that is the same, byte by byte, for the same values: sorted keys, two spaces, no line is folded.

A text is written without quotes only if every YAML reader, of 1.1 or 1.2, reads it as that text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

__all__ = ["Value", "as_yaml"]

Value = None | bool | int | float | Decimal | str | Sequence["Value"] | Mapping[str, "Value"]
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@-]+)*|\d+(?:ns|us|ms|[smhdwMQY])")
_RESERVED: Final = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"))
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def as_yaml(documents: Iterable[Mapping[str, Value]]) -> str:
    """Return documents as YAML, with `---` between them."""
    return "---\n".join("".join(f"{line}\n" for line in _mapping(one, "")) for one in documents)


def _mapping(value: Mapping[str, Value], indent: str) -> Iterator[str]:
    for key in sorted(value):
        yield from _entry(f"{indent}{_text(key)}:", value[key], indent + "  ")


def _entry(head: str, value: Value, indent: str) -> Iterator[str]:
    """Yield a key with its value: in the same line, or below it."""
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, indent)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield head
        for item in value:
            yield from _item(item, indent)
    else:
        yield f"{head} {_scalar(value)}"


def _item(value: Value, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        lines = _mapping(value, indent + "  ")
        yield f"{indent}- {next(lines).lstrip(' ')}"
        yield from lines
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield f"{indent}-"
        for item in value:
            yield from _item(item, indent + "  ")
    else:
        yield f"{indent}- {_scalar(value)}"


def _scalar(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, float):
        text = f"{Decimal(repr(value)):f}"  # 1e-05 is a text for readers of YAML 1.1
        return text if "." in text else f"{text}.0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    return "{}" if isinstance(value, Mapping) else "[]"


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    if '"' in text and text.isprintable():
        return "'" + text.replace("'", "''") + "'"  # queries stay readable
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char == " " or char.isprintable():
        return char
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
