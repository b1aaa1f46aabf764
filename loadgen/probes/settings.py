"""Checks the settings of a probe: from `probes=` of a plan, from `[probes.NAME]` of `loadgen.toml`, or from a client.

    [probes.vllm]
    kind = "metrics"                     # the default; each kind has keys of its own, see `kinds.py`
    url = "http://10.0.0.7:8000/metrics"
    preset = "vllm"
    every = "1s"
    at = "controller"                    # or "apart": `loadgen probe run` reads it, beside the server
    stop_when = "waiting > 200 for 30s"  # drains the run

All errors are reported together, so that one wrong key does not hide another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, get_args

import msgspec

from loadgen.probes.checks import Wrong
from loadgen.probes.kinds import KINDS
from loadgen.probes.limits.limit_text import limit_wrong, parse_stop
from loadgen.probes.limits.row_names import names_of
from loadgen.probes.running.http_place import place_of
from loadgen.probes.spec import ProbeSpec, Where
from loadgen.units import NS_PER_MS, NS_PER_S, parse_duration

__all__ = [
    "COMMON",
    "PROBES_MOST",
    "CommonTable",
    "ProbeSpec",
    "names_wrong",
    "place_of",
    "probe_of",
    "table_of",
    "wrongs_of",
]

PROBES_MOST: Final = 16
_EVERY_NS: Final = (200 * NS_PER_MS, 3_600 * NS_PER_S)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_SUFFIX: Final = re.compile(r"_(bucket|total)$")
_SPEC: Final = ("url", "preset", "metrics", "auth_secret", "auth_header")
"""Keys of kinds that are fields of `ProbeSpec`; all others are in `own`."""


class CommonTable(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of all kinds."""

    kind: str = ""
    every: str | float = ""
    at: str = ""
    stop_when: str = ""


COMMON: Final = tuple(one.name for one in msgspec.structs.fields(CommonTable))


@cache
def table_of(kind: str) -> type[msgspec.Struct]:
    """Return the struct with all keys of `[probes.NAME]` for a known kind."""
    fields = [*msgspec.structs.fields(CommonTable), *msgspec.structs.fields(KINDS[kind].table)]
    return msgspec.defstruct("ProbeTable", [(one.name, one.type, one.default) for one in fields], kw_only=True)


def probe_of(name: object, given: Mapping[str, Any]) -> tuple[ProbeSpec | None, list[Wrong]]:
    """Return the probe with these settings, or None and all errors in them as (key, message, hint).

    given: values as written, by key. Values of None count as absent.
    """
    values = {key: value for key, value in given.items() if value is not None}
    wrong = list(_wrongs(name, values))
    if wrong:
        return None, wrong
    kind = values.get("kind", "metrics")
    preset = values.get("preset", "")
    metrics = tuple(dict.fromkeys(_SUFFIX.sub("", one) for one in values.get("metrics", ())))
    own = {key: value for key, value in values.items() if key not in (*COMMON, *_SPEC)}
    spec = ProbeSpec(
        name=str(name or preset or kind),
        kind=kind,
        url=values.get("url", ""),
        preset=preset,
        metrics=metrics,
        every_ns=parse_duration(values.get("every", KINDS[kind].every)),
        auth_secret=values.get("auth_secret", ""),
        auth_header=values.get("auth_header", "Authorization"),
        at=values.get("at", "controller"),
        own=msgspec.to_builtins(own),
        stop_when=values.get("stop_when", ""),
    )
    wrong = list(_stop_row_wrongs(spec))
    return (None, wrong) if wrong else (spec, [])


def names_wrong(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (message, hint) for names that occur twice, and for too many probes."""
    given = list(names)
    for twice in sorted({name for name in given if given.count(name) > 1}):
        yield f'two probes are named "{twice}"', "give one of them another name="
    if len(given) > PROBES_MOST:
        yield f"{len(given)} probes, but at most {PROBES_MOST} are possible", "remove some of them"


def wrongs_of(spec: ProbeSpec) -> Iterator[str]:
    """Yield a message for each error in a probe that another process has sent."""
    values: dict[str, Any] = {**spec.own, "kind": spec.kind, "every": spec.every_ns / NS_PER_S, "at": spec.at}
    values |= {"stop_when": spec.stop_when} if spec.stop_when else {}
    values |= {key: value for key in _SPEC if (value := getattr(spec, key))}
    if values.get("auth_header") == "Authorization" and not spec.auth_secret:
        del values["auth_header"]  # the default, which is no key of kinds without a URL
    if kept := sorted({*COMMON, *_SPEC} & set(spec.own)):
        yield f"{', '.join(kept)[:80]}: given twice"
        return
    wrong = [message for _, message, _ in _wrongs(spec.name, values)]
    yield from wrong
    if spec.kind in KINDS:
        try:
            spec.table(KINDS[spec.kind].table)
        except msgspec.ValidationError as error:
            yield str(error)[:200]
            return
    if not wrong:
        yield from (message for _, message, _ in _stop_row_wrongs(spec))


def _wrongs(name: object, values: Mapping[str, Any]) -> Iterator[Wrong]:
    if name and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        yield "name", f"name: {str(name)[:40]!r} is not a valid name of a probe", "use letters, digits, -, _ and dots"
    kind = values.get("kind", "metrics")
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(KINDS)
        yield "kind", f"kind: unknown kind {str(kind)[:40]!r}", f"use one of {known}"
        return
    keys = [one.name for one in msgspec.structs.fields(table_of(kind))]
    for key in values:
        if key not in keys:
            yield key, f"unknown key {key[:40]} of a probe of the kind {kind}", f"use {', '.join(keys)}"
    yield from KINDS[kind].wrongs(values)
    every = values.get("every", KINDS[kind].every)
    try:
        if isinstance(every, bool) or not isinstance(every, str | int | float):
            raise ValueError(f"{every!r} is not a duration")
        if not _EVERY_NS[0] <= parse_duration(every) <= _EVERY_NS[1]:
            raise ValueError(f"{every} is out of range: must be from 200 ms to 1 h")
    except (ValueError, OverflowError) as error:
        yield "every", f"every: {error}", 'write every="1s"'
    at = values.get("at", "controller")
    if at not in get_args(Where):
        yield "at", f"at: unknown place {str(at)[:40]!r}", 'write at = "controller", or at = "apart"'
    if (stop_when := values.get("stop_when", "")) != "":
        _, errors = parse_stop(stop_when)
        yield from (("stop_when", f"stop_when: {message}", hint) for message, hint in errors)
        if at == "apart":
            message = "stop_when: the controller cannot watch a probe that is read apart"
            yield "stop_when", message, 'leave it out, or write at = "controller"'


def _stop_row_wrongs(spec: ProbeSpec) -> Iterator[Wrong]:
    """Check the row, the unit and the percentile of `stop_when` of a probe that has no other errors."""
    rule, _ = parse_stop(spec.stop_when) if spec.stop_when else (None, [])
    if rule is None:
        return
    names = names_of(spec)
    row = names.find(rule.row)
    if row is None:
        message = f'stop_when: the probe has no row "{rule.row[:80]}"'
        near = get_close_matches(rule.row, names.texts, n=1, cutoff=0.5)
        known = ", ".join(f'"{one}"' for one in names.texts[:12]) + (", ..." if len(names.texts) > 12 else "")
        yield "stop_when", message, f'did you mean "{near[0]}"?' if near else f"use one of {known}"
        return
    if row.unit is not None and (wrong := limit_wrong(rule.bound, row.unit, row.title)) is not None:
        yield "stop_when", f"stop_when: {wrong[0]}", wrong[1]
    if rule.q is not None and row.kind not in ("histogram", "any"):
        yield "stop_when", f'stop_when: "{row.title}" has no percentiles', f"leave out p{rule.q:g}"
