"""Reads a run in the form in which the history stores it, and finds the name of the person who decides."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen.errors import ScenarioError, UsageError
from loadgen.history.store.extract import accepted_of
from loadgen.history.store.stored_run import Accepted
from loadgen.measure.run_folder.rundir import find_run
from loadgen.outside_text import one_line
from loadgen.report.run_as_dataframes import Run, open_run
from loadgen_controller.console_output import echo
from loadgen_controller.past_runs.user_notes import read_notes

if TYPE_CHECKING:
    from loadgen.programme.promises.objectives import Objective

__all__ = ["accepted_in", "promises_here", "who", "with_promises"]

_FOLDER: Final = Path("slos")
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


def promises_here() -> tuple[Objective, ...]:
    """Return the promises in the folder `slos`; () without such a folder. Faults are a note on stderr, since promises
    are not what a run is accepted for.
    """
    if not _FOLDER.is_dir():
        return ()
    # Most commands that import this module read no promises, and the import takes longer than they do.
    from loadgen.programme.slo_files.read_any import files_in, read_objectives

    try:
        return read_objectives(files_in([_FOLDER])).check().objectives
    except (ScenarioError, UsageError) as error:
        text = f"the history gets no counts for promises: the files in {_FOLDER} cannot be read: {error.message}"
        echo(f"note: {one_line(text, 400)}; run loadgen slo check", err=True)
        return ()


def with_promises(made: Accepted, run: Run, promises: Sequence[Objective]) -> Accepted:
    """Return a run as the history stores it, with its samples for the promises whose journey it has.

    A run that cannot be counted for promises is stored without them, with a note on stderr.
    """
    if not promises:
        return made
    # It imports scipy, which only runs with promises need.
    from loadgen.programme.runs.against_promises import run_against, slo_counts

    try:
        return replace(made, slos=slo_counts(run_against(run, promises)))
    except ValueError as error:
        echo(f"note: the history gets no counts for promises: {one_line(str(error), 300)}", err=True)
        return made


def accepted_in(run: str, runs_dir: Path, promises: Sequence[Objective] = ()) -> Accepted:
    """Read a run in the form in which the history stores it, with the labels that were set after the run.

    promises: those of production for which the samples of the run are stored; see `promises_here`.

    Raises:
        UsageError: there is no such run.
        IncompleteError, StorageError: the run cannot be accepted or read, as in `accepted_of`.
    """
    path = find_run(run, runs_dir)
    opened = open_run(path)
    made = with_promises(accepted_of(opened), opened, promises)
    return replace(made, labels=read_notes(path).over(made.labels))
