"""The options of a model in `traffic.json`, so that an update reads logs in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Final

from loadgen.traffic.filters.exclusions import ExclusionRules
from loadgen.traffic.formats.log_format import FormatOptions
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.rows.period import Period

__all__ = ["options_json", "options_of"]

_PARTS: Final[dict[str, type[Any]]] = {
    "formats": FormatOptions,
    "names": NameRules,
    "exclusions": ExclusionRules,
    "model": ModelRules,
    "period": Period,
}
_LEFT_OUT: Final = ("memory_bytes", "jobs")
"""Options of the machine, not of the logs."""


def options_json(options: LogOptions) -> dict[str, Any]:
    """Return the options as JSON values."""
    found = asdict(options)
    for name in _LEFT_OUT:
        del found[name]
    del found["names"]["found"]  # of a check only, and then not written
    found["exclusions"] = options.exclusions.as_json()
    return found


def options_of(found: Mapping[str, Any]) -> LogOptions:
    """Return the options of a `traffic.json`. Unknown ones are left out, and missing ones have their defaults.

    Raises:
        TypeError, ValueError: a value has another form.
    """
    parts = {name: _built(kind, found[name]) for name, kind in _PARTS.items() if found.get(name) is not None}
    plain = {name: value for name, value in found.items() if name not in _PARTS}
    built = _built(LogOptions, plain)
    return LogOptions(**{**_shallow(built), **parts})


def _shallow(one: LogOptions) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one)}


def _built(kind: type[Any], found: object) -> Any:
    assert is_dataclass(kind)
    if not isinstance(found, Mapping):
        raise TypeError(f"{kind.__name__}: not an object")
    known = {field.name: field.default for field in fields(kind)}
    values = {name: _tupled(value) for name, value in found.items() if name in known and name not in _LEFT_OUT}
    for name, value in values.items():
        default = known[name]
        if isinstance(default, frozenset):
            values[name] = frozenset(value)
        if isinstance(default, (bool, int, float, str, tuple)) and not _fits(value, default):
            raise TypeError(f"{name}: {value!r} has the wrong type")
    return kind(**values)


def _fits(value: object, default: object) -> bool:
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
