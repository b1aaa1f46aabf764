"""Logs with one JSON object a line: nginx, Caddy, Traefik, Google Cloud, Cloudflare, CloudFront 2.

A mapping has, for each field, the member of the object that contains it. The mapping is guessed from well-known names
of members, and the user can set each entry (`--field`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import median
from typing import Any, Final

import msgspec

from loadgen.traffic.formats.cloudfront import CloudFront
from loadgen.traffic.formats.log_format import NO_REQUEST, UNITS, FormatOptions, duration, whole_number
from loadgen.traffic.rows.accounting import Excluded, Rejected
from loadgen.traffic.rows.rows import Fields
from loadgen.traffic.rows.timestamps import Timestamps

__all__ = ["FIELDS", "JsonLines", "Member", "wrong_mapping"]


@dataclass(frozen=True)
class Member:
    """The path of a member, such as `request.uri`, with the unit of a duration or the kind of a stamp after a colon."""

    path: tuple[str, ...]
    unit: str = ""

    @classmethod
    def of(cls, text: str) -> Member:
        """Return the member that `path` or `path:unit` names."""
        path, _, unit = text.partition(":")
        return cls(tuple(path.split(".")), unit)

    def __str__(self) -> str:
        return ".".join(self.path) + (f":{self.unit}" if self.unit else "")


_KNOWN: Final[dict[str, tuple[str, ...]]] = {
    "time": (
        *(
            "StartUTC",
            "EdgeStartTimestamp",
            "time",
            "timestamp",
            "@timestamp",
            "ts",
            "time_iso8601",
            "time_local",
            "msec",
        ),
        *("EdgeEndTimestamp:end", "StartLocal", "date"),
    ),
    "method": (
        "method",
        "request_method",
        "RequestMethod",
        "ClientRequestMethod",
        "request.method",
        "httpRequest.requestMethod",
    ),
    "url": (
        *(
            "request_uri",
            "uri",
            "url",
            "path",
            "RequestPath",
            "ClientRequestURI",
            "request.uri",
            "httpRequest.requestUrl",
        ),
        "ClientRequestPath",
    ),
    "request": ("request",),
    "status": ("status", "status_code", "DownstreamStatus", "EdgeResponseStatus", "httpRequest.status", "code"),
    "size": (
        *("body_bytes_sent", "bytes_sent", "bytes", "size", "DownstreamContentSize", "EdgeResponseBytes"),
        "httpRequest.responseSize",
    ),
    "client": (
        *("client_ip", "remote_addr", "request.client_ip", "request.remote_ip", "remote_ip", "ClientHost", "ClientIP"),
        *("httpRequest.remoteIp", "ip"),
    ),
    "agent": (
        *("http_user_agent", "user_agent", "agent", "ClientRequestUserAgent", "httpRequest.userAgent"),
        *("request.headers.User-Agent", "request_User-Agent"),
    ),
    "took": ("request_time:s", "Duration:ns", "duration_ms:ms", "duration:s", "latency:s", "httpRequest.latency:s"),
    "user": ("user_id", "remote_user", "session_id", "ClientUsername"),
}
"""Well-known members by field, the most reliable first."""
_AT_THE_END: Final = ("time_iso8601", "time_local", "msec")
"""Members whose stamp is the end of a request: nginx writes them when the request ends."""
_WRITTEN_AT_THE_END: Final = (
    {"took": ("request_time",)},
    {"took": ("duration",), "url": ("request", "uri"), "time": ("ts",)},
)
"""Members by which a server is known that has no other stamp than the end of a request: nginx and Caddy."""
_UNITS_BY_SERVER: Final = (
    ("ns", "latency", ("latency_human",), "end"),  # Echo
    ("ms", "duration", ("response_flags",), ""),  # Envoy, Istio
    ("ms", "duration", ("controller", "action"), "end"),  # Rails with lograge
)
"""The unit of a duration whose name does not tell it, by other members that its server writes; and what the time is."""
_MOST_USUAL_S: Final = 5.0
"""A larger median of durations in s means that they are not in s: no server of users is that slow."""
_GO_UNITS: Final = {
    b"h": 3600.0,
    b"m": 60.0,
    b"\xc2\xb5s": 1e-6,  # micro sign
    b"\xce\xbcs": 1e-6,  # Greek mu
    **{name.encode(): seconds for name, seconds in UNITS.items()},
}
_WITH_PORT: Final = re.compile(rb"(\d{1,3}(?:\.\d{1,3}){3}):\d+|\[([0-9A-Fa-f:.%]+)\](?::\d+)?")
_GO_PART: Final = re.compile(rb"(\d+(?:\.\d+)?)(h|ms|m|s|us|\xc2\xb5s|\xce\xbcs|ns)")
_GO: Final = re.compile(rb"(?:%b)+" % _GO_PART.pattern)
FIELDS: Final = tuple(_KNOWN)
_MOST_DEPTH: Final = 4


def wrong_mapping(name: str, member: str) -> tuple[str, str] | None:
    """Return the error in an entry of `--field`, and its remedy; None for a valid entry."""
    if name not in FIELDS or not member:
        return f'invalid field "{name}"', f"write FIELD=MEMBER with a field of: {', '.join(FIELDS)}"
    _, colon, unit = member.partition(":")
    units = tuple(UNITS) if name == "took" else ("end",) if name == "time" else ()
    if colon and unit not in units:
        hint = f"write one of: {', '.join(f'{name}=MEMBER:{one}' for one in units)}" if units else "leave it out"
        return f'{name} has no unit "{unit}"', hint
    return None


def _guess_mapping(objects: Sequence[Any]) -> dict[str, Member]:
    """Return for each field the first well-known member that more than half of the objects have.

    A member that is an object itself is no value: the `url` of Elastic's logs is `{"path": ..., "query": ...}`.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    count = 0
    for value in objects:
        if isinstance(value, dict):
            count += 1
            seen.update(set(_paths(value, _MOST_DEPTH)))
    mapping = {}
    for name, known in _KNOWN.items():
        for text in known:
            member = Member.of(text)
            if 2 * seen[member.path] > count:
                mapping[name] = member
                break
    if "time" in mapping and mapping["time"].path[-1] in _AT_THE_END:
        mapping["time"] = Member(mapping["time"].path, "end")
    is_at_end = any(
        all(name in mapping and mapping[name].path == path for name, path in members.items())
        for members in _WRITTEN_AT_THE_END
    )
    if "time" in mapping and is_at_end:
        mapping["time"] = Member(mapping["time"].path, "end")
    if "url" in mapping:
        mapping.pop("request", None)
    if (took := mapping.get("took")) is not None and took.unit == "s":
        server = _server_of(took.path, seen)
        if server is not None and server[1] and "time" in mapping:
            mapping["time"] = Member(mapping["time"].path, server[1])
        unit = _unit_of(took.path, seen, [value for value in objects if isinstance(value, dict)])
        if unit:
            mapping["took"] = Member(took.path, unit)
        else:
            del mapping["took"]
    return mapping


def _server_of(took: tuple[str, ...], seen: Mapping[tuple[str, ...], int]) -> tuple[str, str] | None:
    """Return the unit of a duration, and `end` if the time is that of the end, of a server that is known."""
    for unit, name, others, stamp in _UNITS_BY_SERVER:
        if took == (name,) and all(seen.get((other,)) for other in others):
            return unit, stamp
    return None


def _unit_of(path: tuple[str, ...], seen: Mapping[tuple[str, ...], int], objects: Sequence[dict[str, Any]]) -> str:
    """Return the unit of a duration whose name does not tell it; empty if it is not certain.

    Seconds have fractions. Whole numbers are ms, us or ns, and a wrong one of these makes all figures wrong.
    """
    if server := _server_of(path, seen):
        return server[0]
    values = [value for one in objects if (value := _value_at(one, path)) is not None]
    if any(isinstance(value, str) and not value.replace(".", "", 1).isdecimal() for value in values):
        return "s"  # with units of their own, or several
    numbers = [float(value) for value in values if isinstance(value, int | float | str) and not isinstance(value, bool)]
    has_fractions = any(isinstance(value, float) or (isinstance(value, str) and "." in value) for value in values)
    is_usual = bool(numbers) and median(numbers) <= _MOST_USUAL_S and (has_fractions or not any(numbers))
    return "s" if is_usual or not values else ""


class JsonLines:
    """Parses JSON lines. 3 to 5 µs a line."""

    name = "json"

    def __init__(self, options: FormatOptions, times: Timestamps) -> None:
        self._times = times
        self._given = {name: Member.of(text) for name, text in options.mapping}
        self._cloudfront = CloudFront(options, times)
        self._decode = msgspec.json.Decoder().decode
        self.mapping: dict[str, Member] = dict(self._given)
        self._has_objects = False

    @property
    def missing(self) -> list[str]:
        """Return the needed fields that no member was found for; none if the first lines are not JSON."""
        needed = ("time",) if "request" in self.mapping else ("time", "method", "url")
        return [name for name in needed if name not in self.mapping] if self._has_objects else []

    def guess_from(self, lines: Iterable[bytes]) -> None:
        """Guess the mapping from the first lines of a file. Entries that the user gave are kept."""
        objects = []
        for line in lines:
            try:
                objects.append(self._decode(line))
            except (msgspec.DecodeError, RecursionError):
                continue
        self._has_objects = any(isinstance(value, dict) for value in objects)
        guessed = _guess_mapping(objects)
        if "url" in self._given:
            guessed.pop("request", None)
        self.mapping = guessed | self._given

    def directive(self, line: bytes) -> None:
        """Ignore a comment."""

    def parse(self, line: bytes) -> Fields:
        """Return the fields of a line."""
        try:
            value = self._decode(line)
        except (msgspec.DecodeError, RecursionError):
            raise Rejected("invalid JSON") from None
        if not isinstance(value, dict):
            raise Rejected("not a JSON object")
        if "cs-uri-stem" in value:
            return self._of_cloudfront(value)
        mapping = self.mapping
        when = self._text(value, "time")
        if not when:
            raise Rejected("the member with the time is missing")
        start = self._stamp(when)
        request = self._text(value, "request")
        if not request:
            method, url = self._text(value, "method"), self._text(value, "url")
            if not url:
                # nginx writes an empty text for bytes of TLS, and for a client that sends nothing.
                if self._is_empty(value, "url") or self._is_empty(value, "request"):
                    raise Excluded(NO_REQUEST)
                raise Rejected("the member with the URL is missing")
            if not method:
                if "method" not in mapping:
                    raise Rejected("the member with the method is missing")
                raise Excluded(NO_REQUEST)
            request = method + b" " + url
        took = nan
        if "took" in mapping:
            took = _took(self._text(value, "took"), mapping["took"].unit)
        if mapping["time"].unit == "end" and not isnan(took):
            start -= round(took * 1e6)
        return (
            *(
                start,
                took,
                _address(self._text(value, "client")),
                self._text(value, "user"),
                self._text(value, "agent"),
                request,
            ),
            *(whole_number(self._text(value, "status")), whole_number(self._text(value, "size"))),
        )

    def _text(self, value: dict[str, Any], name: str) -> bytes:
        """Return the value of a field as text; empty if it is absent. The first value of an array counts."""
        member = self.mapping.get(name)
        if member is None:
            return b""
        found = _value_at(value, member.path)
        if isinstance(found, list):
            found = found[0] if found else None
        if isinstance(found, str):
            return found.encode("utf-8", "replace")
        if isinstance(found, bool) or not isinstance(found, int | float):
            return b""
        if isinstance(found, float):
            return (f"{found:.9f}".rstrip("0").rstrip(".") if abs(found) < 1e18 else "invalid").encode()
        return str(found).encode()

    def _is_empty(self, value: dict[str, Any], name: str) -> bool:
        """Return whether the member of a field is there, as an empty text."""
        member = self.mapping.get(name)
        return member is not None and _value_at(value, member.path) == ""

    def _stamp(self, when: bytes) -> int:
        if b"-" in when or b"/" in when:
            return self._times.clf(when)
        return self._times.number(when)

    def _of_cloudfront(self, value: dict[str, Any]) -> Fields:
        columns = CloudFront.columns_read()
        texts = [str(value.get(name.decode(), "-")).encode("utf-8", "replace") for name in columns]
        return self._cloudfront.of_values(texts.__getitem__, tuple(range(len(columns))))


def _address(text: bytes) -> bytes:
    """Return the first address of a list such as that of X-Forwarded-For, without a port: ports change with each
    connection of a client.
    """
    first = text.partition(b",")[0].strip()
    found = _WITH_PORT.fullmatch(first) if b":" in first else None
    return first if found is None else found[1] or found[2]


def _value_at(value: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at a path; None without one. A name with points at the top, `http.method`, is a path, too."""
    found: Any = value
    for key in path:
        if not isinstance(found, dict):
            found = None
            break
        found = found.get(key)
    return value.get(".".join(path)) if found is None and len(path) > 1 else found


def _took(text: bytes, unit: str) -> float:
    """Return a duration in s. Texts such as `0.06s` have their own unit.

    Several durations are added: nginx divides those of a request by `, `, and by ` : ` after an internal redirect. `-`
    is an upstream that did not answer; NaN if none did.
    """
    total = 0.0
    parts = [part for part in text.replace(b" : ", b",").split(b",") if part.strip() != b"-"]
    if not text or not parts:
        return nan
    for part in parts:
        part, of_part = part.strip(), unit or "s"
        for suffix in ("ns", "us", "ms", "s"):
            if part.endswith(suffix.encode()):
                part, of_part = part[: -len(suffix)], suffix
                break
        try:
            total += duration(part, UNITS[of_part])
        except ValueError:
            total += _of_go(part + of_part.encode())
    return total


def _of_go(text: bytes) -> float:
    """Return a duration as Go writes it, in s: `1m2.5s`, `1h0m0s`, `350µs`; NaN for another text."""
    if not _GO.fullmatch(text):
        return nan
    return sum(float(number) * _GO_UNITS[unit] for number, unit in _GO_PART.findall(text))


def _paths(value: dict[str, Any], depth: int) -> Iterable[tuple[str, ...]]:
    """Yield the paths of all values. A name with points, `http.method`, is the path that it looks like."""
    for key, inner in value.items():
        parts = tuple(key.split("."))
        if not isinstance(inner, dict):
            yield parts
        elif depth > 1:
            for path in _paths(inner, depth - 1):
                yield (*parts, *path)
