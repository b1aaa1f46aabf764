"""Reads `programme.toml` as a whole: its tables, the lines of its keys, and names that no reader knows.

    [programme]        title, time zone                   (weekly/programme_table.py)
    [sources.NAME]     where counts of production come from (pulling/source_settings.py)
    [journeys.NAME]    facts about journeys               (JOURNEY_KEYS names the reader of each)
    [decide]           thresholds of `loadgen decide`     (recommending/programme_file.py)
    [launch]           the checklist of a launch, signers (recommending/launch_file.py)
    [standard]         the house standard, with exceptions (board/standard_file.py)
    [publish]          where pages go                     (publishing/publish_file.py)

Each reader takes its own tables. A table that none of them knows is an error: a threshold with a typing error must not
be ignored.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final

from loadgen.errors import Fault, ScenarioError
from loadgen.outside_text import one_line
from loadgen.similar_names import did_you_mean
from loadgen.toml_lines import key_lines, syntax_fault

__all__ = [
    "FILE_NAME",
    "JOURNEY_KEYS",
    "TABLES",
    "ProgrammeToml",
    "end_of",
    "read_programme_toml",
    "shown_value",
    "unknown_keys",
]

FILE_NAME: Final = "programme.toml"
TABLES: Final = ("decide", "journeys", "launch", "programme", "publish", "sources", "standard")
JOURNEY_KEYS: Final = (
    "live",  # recommending/programme_file.py
    "plan",
    "forecast",
    "value",  # money_file.py
    "currency",
    "volume",
    "purchase",
    "elasticity",
    "abandoned",
    "team",  # board/standard_file.py
    "product",
    "owner",
    "scenario",
    "endpoints",
)
"""The keys of `[journeys.NAME]`. Each reader reads its own, and leaves the others alone."""
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ProgrammeToml:
    """The content of the file, and the line of each key."""

    path: Path
    content: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def line_of(self, at: Sequence[str]) -> int:
        """Return the line of a key such as ("journeys", "checkout"), or of the table around it; 0 if none is known."""
        found = (self.lines.get(tuple(at[:n])) for n in range(len(at), 0, -1))
        return next((line for line in found if line is not None), 0)

    def fault(self, at: Sequence[str], message: str, hint: str) -> Fault:
        """Return an error at the line of a key."""
        return Fault(one_line(str(self.path), 200), self.line_of(at), message, hint)


def read_programme_toml(path: Path) -> tuple[ProgrammeToml, list[Fault]]:
    """Return the content of the file, and an error for each table that no reader knows.

    Raises:
        ScenarioError: the file cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ScenarioError([Fault(str(path), 0, "larger than 1 MiB", "keep only tables of the programme in it")])
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([syntax_fault(path, error)]) from None
    except RecursionError:
        raise ScenarioError([Fault(str(path), 0, "nested too deeply", "use tables of two levels")]) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        raise ScenarioError([Fault(str(path), 0, message, "check the path; the file must be TOML in UTF-8")]) from None
    document = ProgrammeToml(path, content, dict(key_lines(text)))
    return document, unknown_keys(document, (), content, TABLES)


def unknown_keys(
    document: ProgrammeToml, at: tuple[str, ...], table: Mapping[str, Any], known: Sequence[str]
) -> list[Fault]:
    """Return an error for each key of a table that is not known, with the nearest known one. at: where the table is."""
    return [
        document.fault(
            (*at, key),
            f'unknown key "{one_line(".".join((*at, key)), 80)}"',
            did_you_mean(key, known) or f"use {', '.join(known)}",
        )
        for key in table
        if key not in known
    ]


def end_of(day: date) -> datetime:
    """Return the last second of a day in UTC; a date with a time of day as it is, in UTC if it has no zone."""
    if isinstance(day, datetime):
        return day if day.tzinfo else day.replace(tzinfo=UTC)
    return datetime.combine(day, time(23, 59, 59), UTC)


def shown_value(given: Any) -> str:
    """Return a value of the file for a message, at most 60 characters: texts in quotes, others as in TOML."""
    return one_line(f'"{given}"' if isinstance(given, str) else str(given).lower(), 60)
