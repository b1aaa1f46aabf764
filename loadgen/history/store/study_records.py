"""Encodes and decodes studies in a history: results of `loadgen capacity` and `loadgen sweep`, for decisions and pages.

    studies/C-12.json     one study, with its number, its author and its time; never changed

The number is one more than the highest one in the store. Two writers that choose the same number do not harm each
other: one of them gets the next number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from loadgen.history.store.json_file import decoded_file
from loadgen.outside_text import in_json

__all__ = ["FOLDER", "StudyRecord", "decoded_study", "encoded_study", "name_of", "next_number", "studies_in"]

FOLDER: Final = "studies/"
FORMAT: Final = 1
_NAME: Final = re.compile(r"studies/C-([1-9][0-9]{0,8})\.json")


class _File(msgspec.Struct, frozen=True):
    format: int
    id: str
    at: str
    by: str
    study: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A stored study."""

    id: str
    """Such as "C-12"."""
    at: str
    """RFC 3339, UTC."""
    by: str
    study: Mapping[str, Any]
    """The JSON document of the study: "kind", "result", "headline", "facts", "rows" ..."""

    @property
    def kind(self) -> str:
        """Return what it is a study of, such as "capacity find"."""
        return str(self.study.get("kind", ""))


def next_number(names: Iterable[str]) -> int:
    """Return the number of the next study, given the names of the files in the store."""
    return 1 + max((int(match[1]) for name in names if (match := _NAME.fullmatch(name))), default=0)


def name_of(study_id: str) -> str | None:
    """Return the file name of a study's id such as "C-12", whatever the case of its letter; None for other texts."""
    name = f"{FOLDER}{study_id.strip().upper()}.json"
    return name if _NAME.fullmatch(name) else None


def studies_in(names: Iterable[str]) -> list[str]:
    """Return the names that belong to studies, by number."""
    found = ((int(match[1]), name) for name in names if (match := _NAME.fullmatch(name)))
    return [name for _, name in sorted(found)]


def encoded_study(record: StudyRecord) -> bytes:
    """Return the content of the file of a study.

    Raises:
        ValueError: a number in the study is not finite.
    """
    document = {"format": FORMAT, "id": record.id, "at": record.at, "by": record.by, "study": record.study}
    return (in_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)) + "\n").encode(
        "utf-8", "replace"
    )


def decoded_study(data: bytes) -> StudyRecord:
    """Return the study that a file contains.

    Raises:
        ValueError: the file is damaged.
        NewerFormat: the file was written by a newer loadgen.
    """
    file = decoded_file(data, _File, FORMAT)
    return StudyRecord(file.id, file.at, file.by, file.study)
