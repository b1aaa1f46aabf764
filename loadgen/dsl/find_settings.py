"""Finds the `loadgen.toml` that applies to a scenario. `plans/loadgen_toml.py` reads it.

Commands that only need to know whether there is one import this module: to read the file takes the settings of all
parts of a plan, which take 0.3 s to import.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

__all__ = ["FILE_NAME", "find_settings"]

FILE_NAME: Final = "loadgen.toml"


def find_settings(scenario: Path) -> Path | None:
    """Return the path of the nearest `loadgen.toml`; None if no folder has one.

    The search starts in the scenario's folder and goes up to the repository's root. A world-writable folder above the
    scenario's, such as /tmp, ends the search, because anybody could put a file there.
    """
    folder = scenario.absolute().parent
    for place in (folder, *folder.parents):
        if place != folder and _is_anybodys(place):
            break
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
        if (place / ".git").exists():
            break
    return None


def _is_anybodys(folder: Path) -> bool:
    """Return True if everybody may put files into a folder: it is world-writable and has the sticky bit.

    The sticky bit is checked because mounts of foreign file systems, where all files are world-writable, lack it.
    """
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)
