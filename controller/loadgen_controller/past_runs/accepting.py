"""A run as the history stores it, and the name of the person who decided that."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from loadgen.history.store.baseline_run import Accepted
from loadgen.history.store.extract import accepted_of
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.notebook import open_run
from loadgen_controller.past_runs.notes import read_notes

__all__ = ["accepted_in", "who"]

_IN_A_CI: Final = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN")


def who(given: str = "") -> str:
    """Whose decision it is; in a CI, of whoever made it run. A machine without a name for its user has no answer."""
    given = given or next((os.environ[name] for name in _IN_A_CI if os.environ.get(name)), "")
    try:
        return given or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def accepted_in(run: str, runs_dir: Path) -> Accepted:
    """What the history would keep of the run, with the labels that it was given afterwards.

    Raises:
        UsageError: no such run.
        IncompleteError, StorageError: as `accepted_of`.
    """
    path = find_run(run, runs_dir)
    made = accepted_of(open_run(path))
    return replace(made, labels=read_notes(path).over(made.labels))
