"""The sources of production's counts: the tables `[sources.NAME]` of `programme.toml`, and DataSources in files.

    [sources.prod-prometheus]
    kind = "prometheus"
    url = "https://prometheus.shop.example"
    auth_secret = "prometheus-login"          # the name of a secret, whose value is the value of the header
    auth_header = "Authorization"
    tenant = "shop"                           # the header X-Scope-OrgID
    ca = "ca.pem"                             # a certificate to trust instead of the system's
    late = "10m"                              # how long counts may still change: they are read again

    [sources.till]
    kind = "csv"
    file = "counts.csv"
    gaps = "missing"                          # gaps are missing slices; without it, a gap is a fault

The file has names of secrets, and never secrets. All errors are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.errors import ScenarioError
from loadgen.outside_text import one_line
from loadgen.programme.objectives import DataSource
from loadgen.programme.programme_toml import FILE_NAME, read_programme_toml
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["Source", "read_sources", "source_of"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_KEYS: Final = {
    "prometheus": {"url", "auth_secret", "auth_header", "tenant", "ca", "late"},
    "csv": {"file", "gaps", "late"},
}
_LATE_S: Final = {"prometheus": 600, "csv": 0}


@dataclass(frozen=True, slots=True)
class Source:
    """A source. kind: "prometheus" or "csv". late_s: how long its counts may still change, s."""

    name: str
    kind: str
    url: str = ""
    auth_secret: str = ""
    auth_header: str = "Authorization"
    tenant: str = ""
    ca: str = ""
    file: str = ""
    takes_gaps: bool = False
    late_s: int = 600


def read_sources(path: Path) -> dict[str, Source]:
    """Return the sources of a `programme.toml` by name; {} if there is no such file.

    Raises:
        ScenarioError: all errors of the file at once.
    """
    if not path.exists():
        return {}
    document, faults = read_programme_toml(path)
    found: dict[str, Source] = {}
    tables = document.content.get("sources", {})
    for name, table in tables.items() if isinstance(tables, dict) else [("", tables)]:
        errors, source = _checked(name, table)
        label = f"sources.{one_line(str(name), 100)}"
        faults += [document.fault(("sources", name), f"[{label}] {text}", hint) for text, hint in errors]
        if source is not None:
            found[name] = source
    if faults:
        raise ScenarioError(faults)
    return found


def source_of(name: str, sources: Mapping[str, Source], data_sources: Iterable[DataSource]) -> Source | str:
    """Return the source with this name: of `programme.toml`, or else a DataSource with a URL. Without one, return the
    reason as a text.
    """
    if name in sources:
        return sources[name]
    shown = one_line(name, 100)
    for one in data_sources:
        if one.name != name:
            continue
        url = one.connection.get("url", "")
        if one.type.lower() != "prometheus":
            return f"the source {shown} has the type {one_line(one.type, 40)}, which is not read yet"
        errors, source = _checked(name, {"kind": "prometheus", "url": url})
        return source if source is not None else f"the source {shown}: {errors[0][0]}"
    return f"the source {shown} is neither in {FILE_NAME} nor a DataSource of the files"


def _checked(name: object, table: object) -> tuple[list[tuple[str, str]], Source | None]:
    """Return the errors of a table with their hints, and the source if the table has no error."""
    hint = 'write [sources.prod] with kind = "prometheus" and url = "http://prometheus.example:9090"'
    if not isinstance(table, dict):
        return [("is not a table", hint)], None
    errors: list[tuple[str, str]] = []
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        errors.append(("has an invalid name", "use lower-case letters, digits, '.', '_' and '-'"))
    kind = table.get("kind")
    if kind not in _KEYS:
        return [*errors, (f"kind: {one_line(str(kind), 40)!r} is unknown", 'write kind = "prometheus" or "csv"')], None
    known = _KEYS[kind]
    for key in sorted(table.keys() - known - {"kind"}):
        errors.append((f"unknown key {one_line(str(key), 40)!r}", f"use {', '.join(sorted(known))}"))
    texts: dict[str, Any] = {key: value for key, value in table.items() if key in known and key != "late"}
    for key, value in texts.items():
        if not isinstance(value, str) or not value or len(value) > 2_000 or not value.isprintable():
            errors.append((f"{key}: not a text", f'write {key} = "..."'))
    if kind == "prometheus" and not re.fullmatch(r"https?://[^\s/@?#]+[^\s@?#]*", str(texts.get("url", ""))):
        errors.append(
            ("url: not an http or https URL without user, password and query", 'write url = "http://prometheus:9090"')
        )
    if kind == "csv" and "file" not in texts:
        errors.append(("file is missing", 'write file = "counts.csv"'))
    gaps = texts.pop("gaps", "")
    if gaps not in ("", "missing"):
        errors.append(("gaps: unknown", 'write gaps = "missing", or leave it out'))
    late_s = _LATE_S[kind]
    if "late" in table:
        try:
            late_s = parse_duration(table["late"]) // NS_PER_S
        except (ValueError, OverflowError, TypeError) as exc:
            errors.append((f"late: {one_line(str(exc), 100)}", 'write late = "10m"'))
    if errors:
        return errors, None
    return [], Source(str(name), kind, takes_gaps=gaps == "missing", late_s=late_s, **texts)
