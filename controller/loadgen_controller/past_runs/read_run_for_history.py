"""Reads a run in the form in which the history stores it, and finds the name of the person who decides."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from loadgen.history.store.extract import accepted_of
from loadgen.history.store.stored_run import Accepted
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller.past_runs.user_notes import read_notes

__all__ = ["accepted_in", "who"]

_IN_A_CI: Final = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN")


def who(given: str = "") -> str:
    """Return the name of the person who decides: `given`, the user who triggered a CI, or the user of this machine.

    Returns the number of the user if it has no name, as in some containers.
    """
    given = given or next((os.environ[name] for name in _IN_A_CI if os.environ.get(name)), "")
    try:
        return given or getpass.getuser()
    except (KeyError, OSError):  # the user has no name, as in some containers
        return str(os.getuid())


def accepted_in(run: str, runs_dir: Path) -> Accepted:
    """Read a run in the form in which the history stores it, with the labels that were set after the run.

    Raises:
        UsageError: there is no such run.
        IncompleteError, StorageError: the run cannot be accepted or read, as in `accepted_of`.
    """
    path = find_run(run, runs_dir)
    made = accepted_of(open_run(path))
    return replace(made, labels=read_notes(path).over(made.labels))
