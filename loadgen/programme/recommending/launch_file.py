"""Reads the table `[launch]` of `programme.toml`: the checklist that people confirm, and who may sign.

    [launch]
    two_people = true               # who overrides does not sign, and the author of a release is not the only signer
    items = ["peak-tested", "kill-switch", "rollback"]      # of `STANDARD`; "standard" is all of them

    [launch.own]                    # further items: name = "what is confirmed"
    legal = "the new terms were approved"

All errors of the table are reported at once, with their lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from loadgen.errors import Fault, ScenarioError
from loadgen.outside_text import one_line
from loadgen.programme.programme_toml import ProgrammeToml, read_programme_toml, unknown_keys
from loadgen.similar_names import did_you_mean

__all__ = ["STANDARD", "Launch", "read_launch"]

STANDARD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "load-model": "the load model resembles production, and it says of which day",
        "peak-tested": "the lower end of the capacity was held at the forecast peak",
        "dependencies": "each dependency has a limit and an owner",
        "kill-switch": "the kill switch was tried",
        "rollback": "the rollback was done, and its time was taken",
        "alerts": "the alerts were tested",
        "dashboards": "the dashboards show this journey",
        "capacity-ordered": "the capacity was ordered",
        "watcher": "somebody watches the launch, by name",
    }
)
"""The items that a launch usually needs."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_MOST_ITEMS: Final = 50
_EXAMPLE: Final = 'write items = ["peak-tested", "rollback"], or items = "standard"'


@dataclass(frozen=True, slots=True)
class Launch:
    """What the table says. items: name -> what is confirmed, in their order; empty: there is no checklist."""

    items: Mapping[str, str] = field(default_factory=dict)
    two_people: bool = False


def read_launch(path: Path) -> Launch:
    """Return the content of the table; without one, there is no checklist.

    Raises:
        ScenarioError: with all errors of the table and their lines, or the file cannot be read.
    """
    document, _ = read_programme_toml(path)  # unknown tables are reported by the reader of `[decide]`
    faults: list[Fault] = []
    launch = _launch(document, document.content.get("launch", {}), faults)
    if faults:
        raise ScenarioError(faults)
    return launch


def _launch(document: ProgrammeToml, table: Any, faults: list[Fault]) -> Launch:
    at = ("launch",)
    if not isinstance(table, Mapping):
        faults.append(document.fault(at, "launch is not a table", "write [launch]"))
        return Launch()
    faults += unknown_keys(document, at, table, ("items", "own", "two_people"))
    two_people = table.get("two_people", False)
    if not isinstance(two_people, bool):
        faults.append(
            document.fault((*at, "two_people"), "two_people must be true or false", "write two_people = true")
        )
        two_people = False
    items = _standard(document, table.get("items", []), faults)
    own = table.get("own", {})
    if not isinstance(own, Mapping):
        faults.append(document.fault((*at, "own"), "launch.own is not a table", "write [launch.own]"))
        own = {}
    for name, text in own.items():
        where = (*at, "own", name)
        if not _NAME.fullmatch(name):
            message = f'invalid name of an item: "{one_line(name, 60)}"'
            faults.append(document.fault(where, message, "use lower-case letters, digits and '-', at most 40"))
        elif name in items:
            faults.append(document.fault(where, f'"{name}" is in items already', "give it another name"))
        elif not isinstance(text, str) or not text.strip():
            hint = f'write {name} = "what is confirmed"'
            faults.append(document.fault(where, f'"{name}" has no text', hint))
        else:
            items[name] = one_line(text.strip(), 200)
    if len(items) > _MOST_ITEMS:
        faults.append(document.fault(at, f"{len(items)} items, the limit is {_MOST_ITEMS}", "join some of them"))
    return Launch(items, two_people)


def _standard(document: ProgrammeToml, given: Any, faults: list[Fault]) -> dict[str, str]:
    at = ("launch", "items")
    if given == "standard":
        return dict(STANDARD)
    if not isinstance(given, list):
        faults.append(document.fault(at, "items must be a list of names", _EXAMPLE))
        return {}
    items: dict[str, str] = {}
    for name in given:
        if not isinstance(name, str) or name not in STANDARD:
            shown = one_line(str(name), 60)
            hint = did_you_mean(str(name), tuple(STANDARD)) or "further items stand in [launch.own] with their text"
            faults.append(document.fault(at, f'unknown item "{shown}"', hint))
        elif name in items:
            faults.append(document.fault(at, f'"{name}" is twice in items', "name it once"))
        else:
            items[name] = STANDARD[name]
    return items
