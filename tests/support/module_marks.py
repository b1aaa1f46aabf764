"""Which test modules have no test for a marker expression (`pytest -m`), by their text: these are not even imported.

Each worker of pytest imports all modules of a run, and there are more than 500. Most of them have no quiet test, so the
workers of quiet tests would import ten times what they run.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["DECIDING", "has_no_test", "is_of_processes", "missing"]

DECIDING: Final = ("process", "quiet", "slow", "peers")
"""Marks that a module has only if it names them, as `mark.slow`, or by the two rules below. Others can be anywhere."""
_HELPERS: Final = (
    "aws|aws_fleet|aws_machines|browser|cgroups|clocks|fake_worker|first_boot|hosts|leaving_worker|mm1|namespace|nginx"
    "|pcap|prometheus|reckoning|run|target|tinyproxy|traced_shop|typed"
    "|pgbouncer_server|postgres_server|varnish_server"
)
_STARTS_PROCESSES: Final = re.compile(
    rf"\btests\.support\.(?:{_HELPERS})\b|\bfrom tests\.support import .*\b(?:{_HELPERS})\b"
    r"|\bfrom tools\.deploy import .*\boutside\b|\bsubprocess\b|\bmultiprocessing\b|\bos\.fork\b|\bcreate_subprocess_"
)
_FOLDERS: Final = ("integration", "chaos")


@cache
def is_of_processes(path: Path) -> bool:
    """Return whether all tests of this module start processes: because of its folder, or of what it imports."""
    return any(part in _FOLDERS for part in path.parts) or _STARTS_PROCESSES.search(_text(path)) is not None


def has_no_test(path: Path, expression: str) -> bool:
    """Return whether no test of this module can be among those that `pytest -m EXPRESSION` runs."""
    try:
        code = compile(expression.strip(), "-m", "eval")
        marks = dict.fromkeys(code.co_names, (False, True)) | {name: _possible(path, name) for name in DECIDING}
        return not any(eval(code, {}, one) for one in _all_of(marks))
    except (SyntaxError, TypeError):
        return False  # no expression, or one that pytest understands and we do not: `fault(row="F12")`


def missing(path: Path, name: str) -> bool:
    """Return whether this module cannot have tests with this mark, which is one of DECIDING."""
    return _possible(path, name) == (False,)


def _possible(path: Path, name: str) -> tuple[bool, ...]:
    """Whether a test of this module has the mark: certainly, certainly not, or both are possible."""
    if name == "process" and is_of_processes(path):
        return (True,)
    # What a folder adds to all of its tests: see tests/chaos/conftest.py.
    if name == "quiet" and "chaos" in path.parts:
        return (True,)
    return (False, True) if f"mark.{name}" in _text(path) else (False,)


def _all_of(marks: Mapping[str, tuple[bool, ...]]) -> list[dict[str, bool]]:
    return [dict(zip(marks, one, strict=True)) for one in itertools.product(*marks.values())]


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
