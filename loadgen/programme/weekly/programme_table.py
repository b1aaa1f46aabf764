"""Reads the table `[programme]` of `programme.toml`: how the weekly page is called, and where its weeks begin.

[programme]
title = "Payments · performance"    # default: Performance
zone = "Europe/Berlin"              # of the tz database; default: UTC
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from loadgen.errors import Fault
from loadgen.programme.programme_toml import ProgrammeToml, shown_value, unknown_keys

__all__ = ["PageSettings", "read_page_settings", "read_zone"]

_KEYS: Final = ("title", "zone")
_LONGEST: Final = 80


@dataclass(frozen=True, slots=True)
class PageSettings:
    """title: the heading of the page. zone: the name of the time zone in which weeks begin."""

    title: str = "Performance"
    zone: str = "UTC"

    @property
    def tz(self) -> ZoneInfo:
        """Return the time zone."""
        return ZoneInfo(self.zone)


def read_page_settings(document: ProgrammeToml) -> tuple[PageSettings, list[Fault]]:
    """Return the settings, with the default for each value that is missing or invalid, and all errors of the table."""
    usual = PageSettings()
    table: Any = document.content.get("programme", {})
    if not isinstance(table, Mapping):
        return usual, [document.fault(("programme",), "programme is not a table", "write [programme]")]
    faults = unknown_keys(document, ("programme",), table, _KEYS)
    title = table.get("title", usual.title)
    if not isinstance(title, str) or not title.strip() or len(title) > _LONGEST:
        hint = f"write a text of 1 to {_LONGEST} characters"
        faults.append(document.fault(("programme", "title"), f"invalid title {shown_value(title)}", hint))
        title = usual.title
    zone, wrong = read_zone(document)
    return PageSettings(" ".join(title.split()), zone), [*faults, *wrong]


def read_zone(document: ProgrammeToml) -> tuple[str, list[Fault]]:
    """Return the name of the time zone, with the default if it is missing or invalid, and the error of that key."""
    usual = PageSettings().zone
    table: Any = document.content.get("programme", {})
    zone = table.get("zone", usual) if isinstance(table, Mapping) else usual
    if isinstance(zone, str) and _is_zone(zone):
        return zone, []
    hint = 'write a name of the tz database, such as zone = "Europe/Berlin"'
    return usual, [document.fault(("programme", "zone"), f"unknown time zone {shown_value(zone)}", hint)]


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError):
        return False  # ZoneInfoNotFoundError is a KeyError
    except KeyError:
        return False
    return True
