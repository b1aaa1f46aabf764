"""Numbers of a history that no two writers share, such as 207 of the recommendation D-207.

    numbers/D-207.json     the number 207 is taken; never changed

The name of an event has no number, so its writer first takes a number by writing this file: only one writer can. A
writer that stops between the two leaves a number without an event, which is a gap and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["FOLDER", "encoded_number", "next_free", "number_name"]

FOLDER: Final = "numbers/"
FORMAT: Final = 1
_NAME: Final = re.compile(r"numbers/([A-Z])-([1-9][0-9]{0,8})\.json")


def number_name(letter: str, number: int) -> str:
    """Return the name of the file that takes a number. letter: "D" for recommendations."""
    return f"{FOLDER}{letter}-{number}.json"


def next_free(names: Iterable[str], letter: str) -> int:
    """Return the number after the highest one that is taken, given the names of the files in the store; 1: none is."""
    found = (match for name in names if (match := _NAME.fullmatch(name)))
    return 1 + max((int(match[2]) for match in found if match[1] == letter), default=0)


def encoded_number(letter: str, number: int, at: str) -> bytes:
    """Return the content of the file. Nothing reads it but people: the name says everything."""
    return (json.dumps({"format": FORMAT, "id": f"{letter}-{number}", "at": at}) + "\n").encode()
