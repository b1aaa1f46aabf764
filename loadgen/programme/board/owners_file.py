"""Reads who is still there: the owners of a CODEOWNERS file, or of a list with one owner a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from loadgen.errors import UsageError
from loadgen.programme.board.coverage import key_of_owner

__all__ = ["read_owners"]

_MOST_BYTES: Final = 4 << 20
_SECTION: Final = re.compile(r"\^?\[[^\]]*\](\[\d+\])?")
"""A section of GitLab's CODEOWNERS, such as `^[Payments][2] @pay`; the owners follow it."""


def read_owners(path: Path) -> frozenset[str]:
    """Return the owners in a file, in the form of `key_of_owner`.

    A file named CODEOWNERS has a pattern and owners in each line: names after an @, or e-mail addresses. Any other file
    is a list with one owner a line. `#` begins a comment.

    Raises:
        UsageError: the file cannot be read, or has no owner.
    """
    hint = "name CODEOWNERS, or a file with one owner a line"
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"{path}: cannot be read: {why}", hint=hint) from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path} is larger than {_MOST_BYTES >> 20} MiB", hint=hint)
    is_codeowners = path.name.upper() == "CODEOWNERS"
    found: set[str] = set()
    for line in text.splitlines():
        words = _SECTION.sub(" ", line) if is_codeowners else line
        words = re.sub(r"(^|\s)#.*", "", words)
        if is_codeowners:
            found |= {key_of_owner(one) for one in words.split() if "@" in one[:-1]}
        elif words.strip():
            found.add(key_of_owner(words))
    if not found:
        raise UsageError(f"{path} has no owners", hint=hint)
    return frozenset(found)
