"""Answers a shell that completes a command line: one line for each candidate, with a tab before its help.

The scripts of `shell_scripts.py` ask for it. A shell may put a candidate into the command line as it is, so file names
are quoted, and names with control characters are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from loadgen_controller.completion.command_table import command_table
from loadgen_controller.completion.line_parsing import Wanted, split_line, wanted
from loadgen_controller.completion.names_in_folder import (
    environments,
    loads_of_run,
    loads_of_scenario,
    paths,
    plans,
    runs,
)

__all__ = ["answer", "candidates"]

_RUN: Final = frozenset({"ID", "RUN", "[RUN]", "[FACTOR] [RUN]", "BASE NEW [NEW ...]", "RUNS|weekly"})
_FOLDER: Final = frozenset({"DIR", "DIR|s3://"})
_FILE: Final = frozenset({"FILE", "PATH", "PEM", "FLEET"})
_RISKY: Final = re.compile(r"[^\w@%+=:,./\[\]-]")
"""Characters that a shell may interpret."""


def answer(environ: Mapping[str, str]) -> str:
    """Return the lines that a shell's script reads. It asks with `_LOADGEN_COMPLETE` and `_LOADGEN_LINE`."""
    shell = environ.get("_LOADGEN_COMPLETE", "")
    words = split_line(environ.get("_LOADGEN_LINE", ""))
    at = wanted(words[1:] or [""], command_table())
    cut = _cut_by_bash(words[-1], environ.get("_LOADGEN_BREAKS", ":=")) if shell == "bash" else 0
    found = ((at.before + word, text) for word, text in candidates(at) if word.startswith(at.text))
    return "".join(f"{_quoted(word[cut:], shell)}\t{text}\n" for word, text in found if word.isprintable())


def candidates(at: Wanted) -> Iterable[tuple[str, str]]:
    """Return the words that can stand at the cursor, each with its help; also some that do not begin with its text."""
    return at.words.items() if at.words else ((word, "") for word in dict.fromkeys(_values(at)))


def _values(at: Wanted) -> Iterator[str]:
    form = at.value.removesuffix("...")
    runs_dir = Path(at.given.get("--runs-dir", "runs"))
    if form.startswith(("FILE[:PLAN]", "RUN...|FILE")):
        if form.startswith("RUN"):
            yield from runs(runs_dir)
        yield from _scenarios(at.text)
    elif form in _RUN:
        yield from runs(runs_dir)
    elif at.option == "--load":
        yield from _loads(at, runs_dir)
    elif at.option == "--env":
        scenario = Path(at.arguments[0].rpartition(":")[0] or at.arguments[0]) if at.arguments else Path("scenario.py")
        yield from environments(scenario.absolute().parent)
    elif form in _FOLDER:
        yield from paths(at.text, only_folders=True)
    elif form in _FILE:
        yield from paths(at.text)


def _scenarios(text: str) -> Iterator[str]:
    """Yield scenario files; of the file before a colon its plans, and of a complete name also each plan."""
    file, colon, _ = text.rpartition(":")
    if colon:
        yield from (f"{file}:{name}" for name in plans(Path(file)))
        return
    yield from paths(text, suffix=".py")
    if text.endswith(".py"):
        yield from (f"{text}:{name}" for name in plans(Path(text)))


def _loads(at: Wanted, runs_dir: Path) -> Iterator[str]:
    if at.arguments and ".py" in at.arguments[0]:
        file, _, plan = at.arguments[0].rpartition(".py")
        yield from loads_of_scenario(Path(f"{file}.py"), plan.removeprefix(":") or None)
    else:
        yield from loads_of_run(runs_dir, at.arguments[-1] if at.arguments else None)


def _cut_by_bash(word: str, breaks: str) -> int:
    """Return the length of the part that bash keeps: it splits words at ":" and "=", and replaces the last part."""
    return max((word.rfind(sign) + 1 for sign in ":=" if sign in breaks), default=0)


def _quoted(word: str, shell: str) -> str:
    """Return the word so that the shell takes it literally. zsh and fish quote candidates themselves."""
    if shell == "bash":
        return _RISKY.sub(r"\\\g<0>", word)
    if shell == "powershell" and _RISKY.search(word):
        return "'" + word.replace("'", "''") + "'"
    return word
