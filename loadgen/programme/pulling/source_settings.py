"""The sources of production's counts: the tables `[sources.NAME]` of `programme.toml`, and DataSources in files.

    [sources.prod-prometheus]
    kind = "prometheus"
    url = "https://prometheus.shop.example"
    auth_secret = "prometheus-login"          # the name of a secret, whose value is the value of the header
    auth_header = "Authorization"
    tenant = "shop"                           # the header X-Scope-OrgID
    ca = "ca.pem"                             # a certificate to trust instead of the system's
    late = "10m"                              # how long counts may still change: they are read again
    load_tests = 'client!="loadgen"'          # leaves load tests out: load_tests/leave_out.py has it for each kind

    [sources.aws]
    kind = "cloudwatch"                       # credentials are those that boto3 finds
    region = "eu-west-1"
    absent = "zero"                           # an absent point is zero requests; without it, it is missing

    [sources.datadog]
    kind = "datadog"
    site = "datadoghq.eu"
    api_key_secret = "datadog-api-key"
    application_key_secret = "datadog-application-key"

    [sources.till]
    kind = "csv"                              # or "parquet", which also has zone = "Europe/Berlin"
    file = "counts.csv"
    gaps = "missing"                          # gaps are missing slices; without it, a gap is a fault

Each source can state how far its counts may be from the truth (estimates/stated_error.py):

    sampled = "10 %"                          # it keeps this part of the requests, and scales its counts up
    error = "0.2 %"                           # at most this part of all requests is on the wrong side of good
    resolution = "10 %"                       # cloudwatch, datadog: the widest bucket, relative to its value

The file has names of secrets, and never secrets. All errors are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from loadgen.errors import ScenarioError
from loadgen.outside_text import one_line
from loadgen.programme.ledger.slices import ALL_KEPT_PPM
from loadgen.programme.load_tests.leave_out import ABSENT, CHECKS, condition_of, reason_of
from loadgen.programme.programme_toml import FILE_NAME, read_programme_toml
from loadgen.programme.promises.objectives import DataSource
from loadgen.programme.pulling.source_kinds import KINDS
from loadgen.units import NS_PER_S, parse_duration, parse_ratio

__all__ = ["Source", "read_sources", "source_of"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_URL: Final = re.compile(r"https?://[^\s/@?#]+[^\s@?#]*")
_SECURE: Final = re.compile(r"https://.*|http://(localhost|127\.0\.0\.1|\[::1\])([:/].*)?")
_SITE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{2,99}")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2}")
_IN_FILES: Final = {"prometheus": "url", "cloudwatch": "region"}
"""The kinds that a DataSource of the files can have, which has no secrets, and the key of its connection."""
_WORDS: Final = {"gaps": "missing", "absent": "zero"}
_SHARES: Final = {"sampled": "10 %", "error": "0.2 %", "resolution": "10 %"}
"""The keys whose value is a part of something, each with an example."""
_EXAMPLES: Final = {
    "url": "http://prometheus:9090",
    "file": "counts.csv",
    "api_key_secret": "datadog-api-key",
    "application_key_secret": "datadog-application-key",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A source. kind: of `source_kinds.KINDS`. late_s: how long its counts may still change, s.

    absent_is_zero: take an absent point as zero requests. Names of secrets are not their values.
    load_tests: what leaves load tests out of its counts, or "absent: REASON"; "": nothing is set.
    """

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
    region: str = ""
    site: str = ""
    api_key_secret: str = ""
    application_key_secret: str = ""
    zone: str = ""
    absent_is_zero: bool = False
    kept_ppm: int = ALL_KEPT_PPM
    """The part of the requests that it samples, in millionths."""
    error: float | None = None
    """The largest part of all requests that it counts on the wrong side of good, 0 to 1; None: not stated."""
    resolution: float | None = None
    """The relative width of the buckets between which it interpolates; None: the one of its kind."""
    load_tests: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of its secrets."""
        return tuple(one for one in (self.auth_secret, self.api_key_secret, self.application_key_secret) if one)


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
        kind = one.type.lower()
        if kind not in _IN_FILES:
            return (
                f"the source {shown} has the type {one_line(one.type, 40)}, which is not read from a DataSource:"
                f" write [sources.{shown}] in {FILE_NAME}"
            )
        key = _IN_FILES[kind]
        errors, source = _checked(name, {"kind": kind, key: one.connection.get(key, "")})
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
    word = table.get("kind")
    kind = KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        known = ", ".join(f'"{one}"' for one in KINDS)
        return [*errors, (f"kind: {one_line(str(word), 40)!r} is unknown", f"write kind = one of {known}")], None
    for key in sorted(table.keys() - kind.keys - {"kind"}):
        errors.append((f"unknown key {one_line(str(key), 40)!r}", f"use {', '.join(sorted(kind.keys))}"))
    texts: dict[str, Any] = {key: value for key, value in table.items() if key in kind.keys and key != "late"}
    shares, wrong = _read_shares(texts)
    errors += wrong
    for key, value in texts.items():
        if not isinstance(value, str) or not value or len(value) > 2_000 or not value.isprintable():
            errors.append((f"{key}: not a text", f'write {key} = "..."'))
    for key in kind.needs:
        if key not in texts and key != "url":
            errors.append((f"{key} is missing", f'write {key} = "{_EXAMPLES[key]}"'))
    errors += _invalid(texts, word == "datadog", "url" in kind.needs)
    errors += _load_tests(str(word), texts.get("load_tests", ""))
    words = {key: texts.pop(key, "") for key in _WORDS}
    for key, value in words.items():
        if value not in ("", _WORDS[key]):
            errors.append((f"{key}: unknown", f'write {key} = "{_WORDS[key]}", or leave it out'))
    late_s = kind.late_s
    if "late" in table:
        try:
            late_s = parse_duration(table["late"]) // NS_PER_S
        except (ValueError, OverflowError, TypeError) as exc:
            errors.append((f"late: {one_line(str(exc), 100)}", 'write late = "10m"'))
    if errors:
        return errors, None
    return [], Source(
        str(name),
        str(word),
        takes_gaps=bool(words["gaps"]),
        late_s=late_s,
        absent_is_zero=bool(words["absent"]),
        kept_ppm=round(shares.get("sampled", 1.0) * ALL_KEPT_PPM),
        error=shares.get("error"),
        resolution=shares.get("resolution"),
        **texts,
    )


def _read_shares(texts: dict[str, Any]) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Take the parts out of the texts, and return them with the errors in them."""
    shares: dict[str, float] = {}
    errors: list[tuple[str, str]] = []
    for key in _SHARES.keys() & texts.keys():
        text = texts.pop(key)
        try:
            shares[key] = parse_ratio(text if isinstance(text, str) else "")
        except ValueError:
            shares[key] = -1.0
        # An error of 0 is a statement: the counts are exact. Nothing can be sampled at 0.
        if shares[key] < (0.0 if key == "error" else 1e-6):
            errors.append((f"{key}: not a part such as {_SHARES[key]}", f'write {key} = "{_SHARES[key]}"'))
    return shares, errors


def _load_tests(kind: str, given: Any) -> list[tuple[str, str]]:
    """Return the errors in the setting that leaves load tests out."""
    if not isinstance(given, str) or not given:
        return []
    if given.startswith(ABSENT) and not reason_of(given):
        return [("load_tests: the reason is missing", f'write load_tests = "{ABSENT} they run in staging"')]
    try:
        if condition := condition_of(given):
            CHECKS[kind](condition)
    except ValueError as error:
        text, _, hint = str(error).partition("; ")
        return [(text, hint)]
    return []


def _invalid(texts: Mapping[str, Any], has_site: bool, needs_url: bool) -> list[tuple[str, str]]:
    """Return the errors in texts that have a form: URLs, regions, sites and zones."""
    errors: list[tuple[str, str]] = []
    url = str(texts.get("url", ""))
    if (url or needs_url) and not _URL.fullmatch(url):
        errors.append(
            ("url: not an http or https URL without user, password and query", 'write url = "http://prometheus:9090"')
        )
    if has_site and bool(url) == ("site" in texts):
        errors.append(("it needs site or url, and not both", 'write site = "datadoghq.com", or "datadoghq.eu"'))
    elif has_site and url and not _SECURE.fullmatch(url):
        errors.append(("url: the keys would be sent without encryption", "write https://"))
    if "site" in texts and not _SITE.fullmatch(str(texts["site"])):
        errors.append(("site: not the name of a site", 'write site = "datadoghq.com", or "datadoghq.eu"'))
    if "region" in texts and not _REGION.fullmatch(str(texts["region"])):
        errors.append(("region: not the name of a region", 'write region = "eu-west-1"'))
    if "zone" in texts:
        try:
            ZoneInfo(str(texts["zone"]))
        except (OSError, ValueError, KeyError):
            errors.append(("zone: unknown", 'write zone = "Europe/Berlin", or "UTC"'))
    return errors
