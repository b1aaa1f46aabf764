"""Reads the names of requests from a `traffic.json`, with the figures that the file has for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadgen.errors import UsageError
from loadgen.traffic.coverage.endpoints import Endpoint, endpoint_of_name

__all__ = ["TrafficName", "TrafficNames", "read_traffic_names"]

_FORMAT: Final = 1
_MOST_BYTES: Final = 64 << 20
_HINT: Final = "write it with: loadgen model LOG... -o shop/shop.py"


@dataclass(frozen=True)
class TrafficName:
    """A name of the log. statuses, server_s: None if the file does not have them."""

    endpoint: Endpoint
    count: int
    statuses: Mapping[int, int] | None = None
    server_s: float | None = None

    @property
    def errors(self) -> int | None:
        """Requests with a status of 400 or more; None if the statuses are unknown."""
        return None if self.statuses is None else sum(n for status, n in self.statuses.items() if status >= 400)


@dataclass(frozen=True)
class TrafficNames:
    """The names of a log. unnamed: requests without a name of their own, which are in no share."""

    names: tuple[TrafficName, ...]
    unnamed: int
    unreadable: tuple[str, ...] = field(default=())
    """Names that are not a method and a path."""


def read_traffic_names(path: Path) -> TrafficNames:
    """Return the names of the file.

    Raises:
        UsageError: the file cannot be read, or is not a traffic.json.
    """
    facts = _facts(path)
    statuses = {one["name"]: _codes(path, one) for one in _list(path, facts, "statuses", required=False)}
    times = {one["name"]: one.get("s") for one in _list(path, facts, "server_time", required=False)}
    found, unreadable = list[TrafficName](), list[str]()
    for at, one in enumerate(_list(path, facts, "names")):
        count = one.get("count")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise UsageError(f"{path}: the count of names[{at}] must be a whole number of at least 0", hint=_HINT)
        endpoint = endpoint_of_name(one["name"])
        if endpoint is None:
            unreadable.append(one["name"])
        else:
            seconds = times.get(one["name"])
            found.append(TrafficName(endpoint, count, statuses.get(one["name"]), _seconds(seconds)))
    if not found:
        raise UsageError(
            f"{path} has no names of requests", hint="run `loadgen model` again with --least-users 1, or with more logs"
        )
    accounting = facts.get("accounting")
    taken = accounting.get("taken") if isinstance(accounting, dict) else None
    named = sum(one.count for one in found)
    return TrafficNames(tuple(found), max(0, taken - named) if isinstance(taken, int) else 0, tuple(unreadable))


def _facts(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES >> 20} MiB, the limit for a traffic.json", hint=_HINT)
        facts = json.loads(data.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}", hint=_HINT) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: invalid JSON: {error}", hint=_HINT) from None
    if not isinstance(facts, dict) or "format" not in facts or "names" not in facts:
        raise UsageError(f"{path} is not a traffic.json: it needs the keys format and names", hint=_HINT)
    if facts["format"] != _FORMAT:
        raise UsageError(
            f"{path} has the format {facts['format']!r}; this version reads format {_FORMAT}",
            hint="use the version of loadgen that wrote it, or write it again",
        )
    return facts


def _list(path: Path, facts: dict[str, Any], key: str, *, required: bool = True) -> list[dict[str, Any]]:
    """Return a list of objects with a name."""
    found = facts.get(key, None if required else [])
    if not isinstance(found, list):
        raise UsageError(f"{path}: {key} must be a list", hint=_HINT)
    for at, one in enumerate(found):
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise UsageError(f"{path}: {key}[{at}] must be an object with a name", hint=_HINT)
    return found


def _codes(path: Path, one: dict[str, Any]) -> dict[int, int]:
    codes = one.get("codes")
    if not isinstance(codes, dict) or not all(
        status.isdecimal() and isinstance(count, int) for status, count in codes.items()
    ):
        raise UsageError(f"{path}: the codes of {one['name']} must be counts of requests by status", hint=_HINT)
    return {int(status): count for status, count in codes.items()}


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None
