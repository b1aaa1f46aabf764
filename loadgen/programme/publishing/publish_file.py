"""Reads where pages go: the table `[publish]` of `programme.toml`.

    [publish]
    to = "s3://shop-reports/performance"      # or a folder, relative to this file
    channels = ["team", "mail"]               # names of [notify.NAME] in loadgen.toml
    link = "https://reports.shop.example/performance"   # where people find the files of `to`

All errors of the table are reported at once, with their lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from loadgen.aws.storage.s3 import parse_url
from loadgen.errors import ScenarioError, UsageError
from loadgen.notify.event import PAGES
from loadgen.notify.settings import Channel
from loadgen.outside_text import one_line
from loadgen.programme.programme_toml import read_programme_toml, unknown_keys
from loadgen.similar_names import did_you_mean

__all__ = ["PublishSettings", "read_publish"]

_KEYS: Final = ("to", "channels", "link")
_EXAMPLE: Final = 'give it to = "s3://bucket/prefix", channels = ["team"], or both'
_ERRORS = Iterator[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """Where pages go. to: "s3://bucket/prefix", the path of a folder, or "": nowhere. link: its address, or ""."""

    to: str = ""
    channels: tuple[Channel, ...] = ()
    link: str = ""


def read_publish(path: Path, channels: Mapping[str, Channel]) -> PublishSettings:
    """Return the table of a `programme.toml`. channels: those of loadgen.toml, by name.

    Raises:
        ScenarioError: all errors of the table at once.
        UsageError: the file or the table does not exist.
    """
    if not path.exists():
        raise UsageError(f"there is no {one_line(str(path), 200)}", hint=f"publishing needs its [publish]: {_EXAMPLE}")
    document, faults = read_programme_toml(path)
    table = document.content.get("publish")
    if table is None:
        where = one_line(str(path), 200)
        raise UsageError(f"{where} has no [publish]", hint=f"add [publish], and {_EXAMPLE}")
    if not isinstance(table, dict):
        raise ScenarioError(
            [*faults, document.fault(("publish",), "publish: not a table", f"[publish], and {_EXAMPLE}")]
        )
    faults += unknown_keys(document, ("publish",), table, _KEYS)
    errors = (*_place_errors(table), *_channel_errors(table, channels), *_link_errors(table))
    faults += [document.fault(("publish", key), f"{key}: {message}", hint) for key, message, hint in errors]
    if not faults and not table.get("to") and not table.get("channels"):
        faults.append(document.fault(("publish",), "[publish] has neither to nor channels", _EXAMPLE))
    if faults:
        raise ScenarioError(faults)
    to = table.get("to", "")
    if to and not to.startswith("s3://"):
        to = str(path.parent / to)
    chosen = dict.fromkeys(table.get("channels", ()))
    return PublishSettings(to, tuple(channels[name] for name in chosen), table.get("link", "").rstrip("/"))


def _place_errors(table: Mapping[str, Any]) -> _ERRORS:
    if "to" not in table:
        return
    to = table["to"]
    hint = 'write to = "s3://bucket/prefix", or the path of a folder'
    if not _is_text(to):
        yield "to", "not a text", hint
        return
    try:
        if to.startswith("s3://"):
            parse_url(to)
        elif "://" in to:
            yield "to", f'"{one_line(to, 80)}" is neither an address of S3 nor a folder', hint
    except ValueError as error:
        yield "to", one_line(str(error), 160), hint


def _channel_errors(table: Mapping[str, Any], channels: Mapping[str, Channel]) -> _ERRORS:
    names = table.get("channels", [])
    if not isinstance(names, list) or not all(map(_is_text, names)):
        yield "channels", "not a list of names", 'write channels = ["team"]'
        return
    for name in names:
        shown = one_line(name, 60)
        if name not in channels:
            nearest = did_you_mean(name, channels) or f"write [notify.{shown}] in loadgen.toml"
            yield "channels", f'no channel "{shown}" in loadgen.toml', nearest
        elif not channels[name].events & PAGES:
            kinds = ", ".join(f'"{kind.value}"' for kind in sorted(PAGES))
            yield "channels", f'the channel "{shown}" sends no pages', f"add some of {kinds} to its events"


def _link_errors(table: Mapping[str, Any]) -> _ERRORS:
    link = table.get("link", "")
    hint = 'write link = "https://reports.example/performance"'
    if not isinstance(link, str) or len(link) > 1_000 or not link.isprintable():
        yield "link", "not a text", hint
        return
    try:
        parts = urlsplit(link)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if link and not is_address:
        yield "link", "must begin with https:// or http://", hint
    elif link and ("@" in parts.netloc or parts.query or parts.fragment):
        yield "link", "must not have a user, a query or a fragment", hint


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1_000 and value.isprintable()
