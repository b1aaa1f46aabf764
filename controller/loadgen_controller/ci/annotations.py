"""Errors that GitHub shows at a line of a file: `::error file=shop.py,line=12,title=loadgen::message`.

Messages contain texts from scenarios and targets, so everything in them that could begin another command is escaped.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from loadgen.errors import Fault, ScenarioError, errors_in
from loadgen.outside_text import block, one_line

__all__ = ["annotation", "annotations_of", "is_wanted", "lines_of_objectives"]

MOST: Final = 10
"""GitHub shows ten errors of a step."""
_LOADGEN: Final = "loadgen"


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the program runs in a job of GitHub Actions, which reads annotations from the output."""
    return environ.get("GITHUB_ACTIONS") == "true"


def annotation(file: str, line: int, message: str, workspace: Path) -> str:
    """Return the command for an error at a line of a file. line: from 1; 0 for the whole file.

    GitHub needs a path below the workspace, the folder of the checkout; other paths are shown as they are.
    """
    try:
        path = str(Path(file).resolve().relative_to(workspace.resolve()))
    except ValueError:
        path = file
    at = f",line={line}" if line else ""
    shown = _in_message("\n".join(block(message)))
    return f"::error file={_in_property(one_line(path))}{at},title={_LOADGEN}::{shown}"


def annotations_of(error: Exception, workspace: Path) -> Iterator[str]:
    """Yield an annotation for each fault of a scenario in an error or in a group of errors, at most ten."""
    found = (fault for one in errors_in(error) if isinstance(one, ScenarioError) for fault in one.faults)
    for _, fault in zip(range(MOST), found, strict=False):
        yield annotation(fault.file, fault.line, _text(fault), workspace)


def lines_of_objectives(source: str, objectives: Iterable[str]) -> dict[str, int]:
    """Return the line of each objective in a scenario's source.

    The source is parsed and not run. An objective that stands in several places, or is written in another way, has the
    line of the only `slos=`; it is left out if there are several of them.

    objectives: as in `summary.json`, such as "p(95) < 300ms of checkout".
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    compared = [(_bare(ast.unparse(node)), node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    lists = [node.value.lineno for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "slos"]
    found: dict[str, int] = {}
    for objective in objectives:
        lines = {line for text, line in compared if _bare(objective).startswith(text)} or set(lists)
        if len(lines) == 1:
            found[objective] = lines.pop()
    return found


def _bare(text: str) -> str:
    """Return an objective without spaces and quotes, which differ between a source and a summary."""
    return re.sub(r"[\s\"']", "", text)


def _text(fault: Fault) -> str:
    return f"{fault.message}\n{fault.hint}" if fault.hint else fault.message


def _in_message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _in_property(text: str) -> str:
    return _in_message(text).replace(":", "%3A").replace(",", "%2C")
