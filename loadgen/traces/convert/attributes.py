"""Which attributes of a span are kept, and in what form: an allow-list, today's names, and cleaned values.

A name is kept if the semantic conventions have it (`attribute_names.py`), or if the user's `keep` has it. Older names
become today's, and today's name wins if a span has both. All values are cleaned (`redaction.py`) before anything else
sees them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from math import isfinite
from typing import Final, NamedTuple

from loadgen.redact import is_secret_name
from loadgen.traces.convert.attribute_names import (
    NAMES,
    NEVER_BY_PATTERN,
    OLD_NAMES,
    QUERY_TEXT,
    SYSTEM,
    WHOLE_NUMBERS,
    is_resource_name,
)
from loadgen.traces.convert.redaction import clean_name, clean_path, clean_statement, clean_text, clean_url
from loadgen.traces.convert.sql_text import summary_of
from loadgen.traces.model import MOST_ATTRIBUTES, MOST_TEXT, Kind, Value

__all__ = ["AttributeFilter", "attribute_filter", "divided", "operation_of"]

_REMEMBERED: Final = 4_096
_LONGEST_NAME: Final = 128
_LITERAL: Final = re.compile(r"'[^']*(?:'|$)")
_LAST_INT: Final = 1 << 63
_SYSTEMS: Final = {
    "mssql": "microsoft.sql_server",
    "oracle": "oracle.db",
    "db2": "ibm.db2",
    "redshift": "aws.redshift",
    "dynamodb": "aws.dynamodb",
    "postgres": "postgresql",
    "mongo": "mongodb",
}
"""Names of database systems that changed with `db.system.name`, and other forms of them."""


class _Rule(NamedTuple):
    """How an attribute is kept: under which name, with which cleaning, and whether its own name is an older one."""

    name: str
    clean: Callable[[object], Value | None]
    is_old: bool


class AttributeFilter:
    """Keeps the attributes of the semantic conventions, and those that `keep` names.

    keep: names, or patterns such as "app.*". A pattern never matches names of secrets, headers, parameters, queries
    and messages: each of these is kept only if `keep` has its full name.
    """

    __slots__ = ("_exact", "_patterns", "_rules", "processes", "spans")

    def __init__(self, keep: Sequence[str] = ()) -> None:
        self._exact = frozenset(name for name in keep if "*" not in name)
        patterns = [translate(name) for name in keep if "*" in name]
        self._patterns = re.compile("|".join(patterns)) if patterns else None
        self._rules: dict[str, _Rule | None] = {}
        self.spans: dict[bytes, tuple[dict[str, Value], int]] = {}
        """The attributes of spans that were read before, by their bytes: attributes and resolution, ns."""
        self.processes: dict[bytes, tuple[str, dict[str, Value]]] = {}
        """The same of processes: service and attributes."""

    def kept(self, pairs: Iterable[tuple[str, object]]) -> dict[str, Value]:
        """Return the attributes to keep, cleaned. HOT: once for each span; 0.1 to 0.3 µs for each attribute.

        pairs: names, and values as the format has them. Values that are not text, number, bool or a list of these are
        dropped. The first `MOST_ATTRIBUTES` names are kept.
        """
        rules = self._rules
        found: dict[str, Value] = {}
        for given, raw in pairs:
            try:
                rule = rules[given]
            except KeyError:
                rule = self._rule(given)
            if rule is None:
                continue
            name = rule.name
            if name in found:
                if rule.is_old:
                    continue
            elif len(found) >= MOST_ATTRIBUTES:
                continue
            if (value := rule.clean(raw)) is not None:
                found[name] = value
        if QUERY_TEXT in found:
            found[QUERY_TEXT] = clean_statement(str(found[QUERY_TEXT]), str(found.get(SYSTEM, "")))
        return found

    def _rule(self, given: str) -> _Rule | None:
        """Return how to keep attributes with this name; None if they are dropped."""
        name = OLD_NAMES.get(given, given)
        rule = None
        if name in NAMES:
            rule = _Rule(name, _CLEANERS.get(name, _cleaned), name != given)
        elif self._is_asked_for(given):
            rule = _Rule(given, _cleaned, False)
        if len(self._rules) < _REMEMBERED:
            self._rules[given] = rule
        return rule

    def _is_asked_for(self, name: str) -> bool:
        if len(name) > _LONGEST_NAME or clean_text(name) != name:
            return False
        if name in self._exact:
            return True
        if self._patterns is None or is_secret_name(name) or name.startswith(NEVER_BY_PATTERN):
            return False
        return self._patterns.match(name) is not None


@lru_cache(64)
def attribute_filter(keep: tuple[str, ...]) -> AttributeFilter:
    """Return the filter for this `keep`; one is made once, because it remembers what it decided about names."""
    return AttributeFilter(keep)


def divided(tags: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return (attributes of the span, attributes of its process), for formats that do not separate them."""
    span = {name: value for name, value in tags.items() if not is_resource_name(name)}
    if len(span) == len(tags):
        return span, {}
    return span, {name: value for name, value in tags.items() if is_resource_name(name)}


def operation_of(name: str, kind: Kind, attributes: Mapping[str, Value]) -> str:
    """Return the operation of a span: `POST /checkout` of a server with a route, `shop.Stock/Reserve` of a remote
    call, the summary of a statement, or else the name of the span. Ids in it become `{n}`. The summary is made from the
    statement if the span has none, and a name of one word.

    Only servers are named by their route: frameworks also write it to the spans of their parts.

    attributes: as `AttributeFilter.kept` returned them. name: as the format has it.
    """
    if kind == "server" and (route := attributes.get("http.route")):
        return _routed(str(attributes.get("http.request.method", "")), str(route))
    if kind != "internal" and (method := attributes.get("rpc.method")):
        return _remote(str(attributes.get("rpc.service", "")), str(method))
    if summary := attributes.get("db.query.summary"):
        name = str(summary)
    elif (statement := attributes.get(QUERY_TEXT)) and " " not in name:
        # Older instrumentation names all of its spans "SELECT", or by the database.
        name = _summary(str(statement)) or name
    return clean_name(name, str(attributes.get(SYSTEM, "")))


@lru_cache(_REMEMBERED)
def _routed(method: str, route: str) -> str:
    return clean_name(f"{method} {route}" if method and not route.startswith(f"{method} ") else route)


_summary = lru_cache(_REMEMBERED)(summary_of)


@lru_cache(_REMEMBERED)
def _remote(service: str, method: str) -> str:
    return clean_name(f"{service}/{method}" if service and "/" not in method else method)


def _cleaned(raw: object) -> Value | None:
    """Return a value without secrets; None if it has no form that is kept."""
    if isinstance(raw, str):
        return clean_text(raw)
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int):
        if not -_LAST_INT <= raw < _LAST_INT:
            return None
        return raw if -(10**12) < raw < 10**12 or clean_text(str(raw)) == str(raw) else clean_text(str(raw))
    if isinstance(raw, float):
        return raw if isfinite(raw) else None
    if isinstance(raw, list):
        parts = [str(part) for part in raw[:MOST_ATTRIBUTES] if isinstance(part, str | int | float)]
        return clean_text(", ".join(parts)) if parts else None
    return None


def _whole(raw: object) -> Value | None:
    if isinstance(raw, str) and len(raw) <= 12 and raw.isascii() and raw.isdecimal():
        return int(raw)
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < 10**12:
        return int(raw)
    return _cleaned(raw)


def _truth(raw: object) -> Value | None:
    return raw == "true" if raw in ("true", "false") else _cleaned(raw)


def _url(raw: object) -> Value | None:
    return clean_url(raw) if isinstance(raw, str) else _cleaned(raw)


def _path(raw: object) -> Value | None:
    return clean_path(raw) if isinstance(raw, str) else _cleaned(raw)


def _destination(raw: object) -> Value | None:
    """Return the name of a queue or topic without a query, in which clients put credentials."""
    return clean_text(raw.partition("?")[0]) if isinstance(raw, str) else _cleaned(raw)


def _collection(raw: object) -> Value | None:
    """Return the name of a table without literals: some clients put a part of the statement here."""
    return clean_text(_LITERAL.sub("?", raw[: 4 * MOST_TEXT])) if isinstance(raw, str) else _cleaned(raw)


def _statement(raw: object) -> Value | None:
    """Return the text as it is: it is cleaned when the system of the database is known."""
    return raw if isinstance(raw, str) else None


def _host(raw: object) -> Value | None:
    """Return a host without port. `http.host` has one, today's `server.address` has not."""
    if isinstance(raw, str) and raw.count(":") == 1:
        host, _, port = raw.partition(":")
        raw = host if port.isdecimal() else raw
    return _cleaned(raw)


def _transport(raw: object) -> Value | None:
    return _cleaned(raw.removeprefix("ip_").lower() if isinstance(raw, str) else raw)


def _version(raw: object) -> Value | None:
    return {"2.0": "2", "3.0": "3", 2: "2", 3: "3"}.get(raw) if raw in ("2.0", "3.0", 2, 3) else _cleaned(raw)


def _system(raw: object) -> Value | None:
    return _cleaned(_SYSTEMS.get(raw.lower(), raw.lower()) if isinstance(raw, str) else raw)


_CLEANERS: Final[dict[str, Callable[[object], Value | None]]] = {
    **dict.fromkeys(WHOLE_NUMBERS, _whole),
    "faas.coldstart": _truth,
    "cache.hit": _truth,
    "url.full": _url,
    "url.path": _path,
    "url.template": _path,
    "http.route": _path,
    "messaging.destination.name": _destination,
    "db.collection.name": _collection,
    "server.address": _host,
    "network.transport": _transport,
    "network.protocol.version": _version,
    SYSTEM: _system,
    QUERY_TEXT: _statement,
}
