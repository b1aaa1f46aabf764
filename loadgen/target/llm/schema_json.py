"""Makes a JSON text that fits a JSON schema, for structured answers and the arguments of tools.

It covers the simple types: object, array, string, number, integer, boolean, null, enum, const, anyOf and local $ref.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["json_for", "pieces_of"]

_DEEPEST: Final = 8
_PIECE: Final = 4
"""Characters of a token of JSON."""
_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "a@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def json_for(schema: dict[str, Any]) -> str:
    """Return a JSON text that fits the schema."""
    return msgspec.json.encode(_value(schema, schema, 0)).decode()


def pieces_of(text: str) -> list[str]:
    """Return the text cut into pieces of one token each."""
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def _value(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(schema.get("$ref"), str):
        return _value(_target(schema["$ref"], root), root, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _value(schema[key][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "object":
            properties = schema.get("properties") or {}
            return {name: _value(one, root, depth + 1) for name, one in properties.items()}
        case "array":
            count = max(1, schema.get("minItems", 1))
            return [_value(schema.get("items") or {}, root, depth + 1) for _ in range(count)]
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            return min(low, schema["maximum"]) if "maximum" in schema else low
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = _FORMATS.get(schema.get("format", ""), "oak")
            return text.ljust(schema.get("minLength", 0), "k")[: schema.get("maxLength", None)]


def _target(reference: str, root: dict[str, Any]) -> Any:
    found: Any = root
    for name in reference.removeprefix("#/").split("/"):
        found = found.get(name) if isinstance(found, dict) else None
    return found
