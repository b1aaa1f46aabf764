"""What a page does with changes, in a few lines: the oracle of `document.changes`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

ADDED = ("count", "censored")


def apply(document: dict[str, Any], event: str, data: dict[str, Any]) -> dict[str, Any]:
    """The document with one change in it. Columns that are new are 0 or null before their first slot."""
    made = deepcopy(document)
    if event == "now":
        return made | data
    assert event == "slots"
    first, end = data["from"], data["to"]
    length = max(made["slots"]["count"], end)
    made["slots"]["count"] = length
    unfit = {at: text for at, text in made["slots"]["unfit"].items() if not first <= int(at) < end}
    _splice(made["slots"], data["slots"], first, end, length)
    made["slots"]["unfit"] = unfit | data["slots"]["unfit"]
    _splice(made["response"], data["response"], first, end, length)
    _splice(made["errors"], data["errors"], first, end, length, fill=0)
    _splice(made["heatmap"], data["heatmap"], first, end, length)
    return made


def _splice(into: dict[str, Any], of: dict[str, Any], first: int, end: int, length: int, fill: Any = None) -> None:
    for name, values in of.items():
        if name == "unfit":
            continue
        if isinstance(values, dict):
            _splice(into.setdefault(name, {}), values, first, end, length)
            continue
        empty = 0 if name in ADDED else fill
        column = into.setdefault(name, [])
        column.extend([empty] * (length - len(column)))
        column[first:end] = values
