"""Finds the runs of a release in a folder of runs, for `loadgen decide`. It reads manifests, notes and summaries."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from loadgen.errors import LoadgenError
from loadgen.measure.run_folder.rundir import list_runs
from loadgen.programme.recommending.facts import Condition, RunFact, time_of
from loadgen.programme.recommending.gather import RELEASE
from loadgen.report.summary_reader import Summary, read
from loadgen_controller.past_runs.listing import is_running, labels_of

__all__ = ["release_runs"]

_MOST: Final = 5_000
"""The newest run folders that are looked at."""


def release_runs(runs_dir: Path, release: str, as_of: datetime | None = None) -> tuple[list[RunFact], list[str]]:
    """Return the ended runs of a release, newest first, and a sentence for each folder that cannot be read.

    as_of: only those that had begun then; None: all.

    A run that has not ended, but is not running, was killed: it counts as incomplete.

    Raises:
        StorageError: the folder itself cannot be read.
    """
    found: list[RunFact] = []
    troubles: list[str] = []
    for path in list_runs(runs_dir)[:_MOST]:
        try:
            notes, planned = labels_of(path)
            if notes.over(planned).get(RELEASE) != release or is_running(path):
                continue
            found.append(_fact(path, release))
        except (LoadgenError, ValueError) as error:
            troubles.append(f"{path.name} cannot be read: {error}")
    return [one for one in found if as_of is None or one.at <= as_of], troubles


def _fact(path: Path, release: str) -> RunFact:
    file = path / "summary.json"
    if not file.exists():
        at = time_of(f"{path.name[:4]}-{path.name[4:6]}-{path.name[6:8]}T00:00:00Z")
        return RunFact(path.name, at, release, "incomplete", frozenset(), None, "it was killed")
    summary = read(file)
    journeys = {one.journey for one in summary.series} | {one.journey for one in summary.slos if one.journey}
    condition = _condition(summary)
    return RunFact(
        summary.run_id,
        time_of(summary.started_at),
        release,
        condition,
        frozenset(journeys),
        tuple((one.journey, one.verdict) for one in summary.slos),
        "" if condition == "valid" else "; ".join(dict.fromkeys((*summary.reasons, *summary.validity.reasons))),
        f"{summary.scenario}:{summary.plan}",
        summary.duration_s / 60,
        max(len({(one.journey, one.step, one.request) for one in summary.series}), 1),
    )


def _condition(summary: Summary) -> Condition:
    if summary.result in ("incomplete", "interrupted", "error"):
        return "incomplete"
    if summary.result == "invalid" or summary.validity.verdict == "invalid":
        return "invalid"
    return "valid" if summary.validity.verdict == "valid" else "suspect"
