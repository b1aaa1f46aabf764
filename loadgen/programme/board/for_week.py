"""The sentence of coverage for the weekly page, from the same files and history as `loadgen board`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from loadgen.history.store.store import Store
from loadgen.history.store.write_once_storage import Place
from loadgen.programme.board.board import board_of
from loadgen.programme.board.gather import Inputs, gather
from loadgen.programme.board.standard_file import StandardFile, read_standard
from loadgen.programme.board.strip import coverage_evidence, coverage_strip
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.weekly.page_values import Said

__all__ = ["coverage_for_week"]


def coverage_for_week(
    place: Place,
    objectives: Sequence[Objective],
    programme: Path | None,
    now: datetime,
    *,
    until: str = "",
    team: str = "",
    store: Store | None = None,
) -> tuple[Said, EvidenceEntry]:
    """Return the sentence and its evidence.

    Args:
        objectives: all promises, also those of other teams, because shares are shares of all requests without a team.
        programme: the file, or None without one. now: the end of the week, or earlier. until: only revisions
            of the ledger that were written until then count, RFC 3339; "": all. store: the history, if it is open.
    Raises:
        ScenarioError: the file has errors.
        StorageError, CloudError: the history cannot be listed.

    Cost: reads the ledger once more, and the runs that the store has not read yet: 2 ms for each run of 60 names.
    """
    file = StandardFile() if programme is None else read_standard(programme)
    inputs = Inputs(now, tuple(objectives), file, weeks=0, until=until)
    board = board_of(gather(place, inputs, store), file, weeks=0, team=team)
    return coverage_strip(board), coverage_evidence(board)
