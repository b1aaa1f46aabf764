"""Puts the figures of newer logs into a scenario that exists, and leaves everything else of it as it is.

Only the block between the marks is replaced, so that edits by hand are never lost. Nodes that the new logs need and
the file lacks are added as functions before the block.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadgen.errors import UsageError
from loadgen.traffic.scenario.draft import Draft
from loadgen.traffic.scenario.write_scenario import (
    BEGIN,
    BEGIN_SESSION,
    END,
    begin_lines,
    block_hash,
    block_lines,
    block_words,
    imported,
    node_lines,
)

__all__ = ["Take", "Updated", "updated_scenario"]

Take = Literal["", "mine", "theirs"]
"""The choice for a block that was edited by hand: refuse the update, keep the block, or replace it."""
_MOST_DIFFERENCES = 40


@dataclass(frozen=True)
class Updated:
    """The new text of a scenario. added: functions that it got. kept: whether the block is still the edited one."""

    text: str
    added: tuple[str, ...]
    kept: bool


def updated_scenario(text: str, path: str, draft: Draft, take: Take = "") -> Updated:
    """Return a scenario with the block of this draft.

    path: of the file, for messages.

    Raises:
        UsageError: the file is not valid Python, it has no marks, or its block was edited by hand and `take` is empty.
    """
    lines = text.splitlines()
    begin, end = _marks(lines, path)
    mine = lines[begin + 1 : end]
    is_edited = lines[begin].removeprefix(BEGIN).strip() != block_hash(mine)
    new = block_lines(draft)
    defined = _defined(text, path)
    if is_edited and not take:
        raise UsageError(
            f"{path}:{begin + 1}: the lines between the marks were changed by hand. The update would write:\n"
            + _difference(mine, new[1:-1]),
            hint="keep your lines with --take-mine, or overwrite them with --take-theirs",
        )
    if is_edited and take == "mine":
        return Updated(text, (), kept=True)
    stubs: list[str] = []
    added = []
    if BEGIN_SESSION not in defined:
        stubs += [*begin_lines(draft.session_header), "", ""]
    for node in draft.nodes:
        if node.name not in defined:
            choices = [one for one in draft.choices if one.variable in node.picks - defined]
            stubs += node_lines(node, choices)
            defined |= {node.name, *(one.variable for one in choices)}
            added.append(node.name)
    needed = {*block_words(draft), *(("node", "User", "choices") if stubs else ())}
    missing = needed - defined
    extra = [*imported(missing), ""] if missing else []
    done = [*lines[:begin], *extra, *stubs, *new, *lines[end + 1 :]]
    return Updated("\n".join(done) + "\n", tuple(added), kept=False)


def _marks(lines: Sequence[str], path: str) -> tuple[int, int]:
    begins = [number for number, line in enumerate(lines) if line.startswith(BEGIN.rstrip())]
    ends = [number for number, line in enumerate(lines) if line.rstrip() == END]
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise UsageError(
            f'{path}: the marks "{BEGIN.rstrip()} ..." and "{END}" must occur once each, in this order; found '
            f"{len(begins)} and {len(ends)}",
            hint="make a new scenario in another folder: `loadgen model LOG... -o FILE.py`",
        )
    return begins[0], ends[0]


def _defined(text: str, path: str) -> set[str]:
    """Return the names that a module defines or imports at its top level."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise UsageError(
            f"{path}:{error.lineno}: not valid Python: {error.msg}", hint="correct the file first"
        ) from None
    found: set[str] = set()
    for one in tree.body:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(one.name)
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in one.names}
        elif isinstance(one, (ast.Assign, ast.AnnAssign)):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def _difference(mine: Sequence[str], new: Sequence[str]) -> str:
    lines = list(difflib.unified_diff(mine, new, "your lines", "new lines", lineterm="", n=1))
    more = [f"... {len(lines) - _MOST_DIFFERENCES} more lines"] if len(lines) > _MOST_DIFFERENCES else []
    return "\n".join([*lines[:_MOST_DIFFERENCES], *more])
