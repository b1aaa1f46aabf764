"""Finds the runs that the sides of a comparison name: run folders, accepted runs of a history, runs with a label.

Run folders come first, since they contain everything. A run whose folder was deleted may still be in the history,
without its distributions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadgen.errors import UsageError
from loadgen.history.compare.comparison import Side
from loadgen.history.store.extract import counted_of
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted
from loadgen.measure.run_folder.rundir import find_run
from loadgen.measure.statistics.batch_means import Batches
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.past_runs.listing import Search, entries

__all__ = ["Counted", "sides_of"]


@dataclass(frozen=True, slots=True)
class Counted:
    """A side of a comparison with the distributions of its runs."""

    side: Side
    batches: tuple[Batches, ...]
    """The distributions of each run; empty if one of the runs is only in the history."""


def sides_of(errors: CollectedErrors, texts: Sequence[str], runs_dir: Path, store: Store) -> list[Counted]:
    """Find and read the runs of each side of a comparison; return the sides in the order of `texts`.

    texts: each is a run (its id, the beginning of it, "last", or its folder), several runs separated by commas, or a
        label ("release=1.4"), which means all runs that have it.

    Raises:
        UsageError, ExceptionGroup: all errors found so far, and in the names, before any run is read.
    """
    named = [errors.catch(partial(_named, text, runs_dir, store)) or {} for text in texts]
    for n, text in enumerate(texts):
        if both := [run_id for run_id in named[n] if any(run_id in named[k] for k in range(n))]:
            errors.add(f"run {both[0]} is on two sides: {text} and an earlier one", "name each run on one side only")
    errors.check()
    counted = [[errors.catch(partial(_counted, one)) for _, one in sorted(of.items())] for of in named]
    errors.check()
    return [
        Counted(
            Side(text, tuple(one for one, _ in runs)),
            tuple(batches for _, batches in runs if batches is not None) if all(b for _, b in runs) else (),
        )
        for text, runs in zip(texts, ([one for one in of if one is not None] for of in counted), strict=True)
    ]


def _named(text: str, runs_dir: Path, store: Store) -> dict[str, Path | Accepted]:
    """Return the runs that one side names, by id.

    Raises:
        UsageError: a run does not exist, or the beginning of its id is ambiguous.
    """
    found: dict[str, Path | Accepted] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, sign, value = part.partition("=")
        found |= (
            _labelled(name, value, runs_dir, store) if sign and not Path(part).is_dir() else _one(part, runs_dir, store)
        )
    if not found:
        raise UsageError(f'"{text}" names no run', hint="write a run id, last, or a label such as release=1.4")
    return found


def _labelled(name: str, value: str, runs_dir: Path, store: Store) -> dict[str, Path | Accepted]:
    found: dict[str, Path | Accepted] = {run.run_id: run for run in _accepted(store) if run.labels.get(name) == value}
    found |= {entry.run_id: entry.path for entry in entries(runs_dir, Search(labels=[(name, value)]))}
    if not found:
        raise UsageError(
            f"no run in {runs_dir} or in {store} has the label {name}={value}",
            hint=f"set it with: loadgen runs label RUN {name}={value}",
        )
    return found


def _one(text: str, runs_dir: Path, store: Store) -> dict[str, Path | Accepted]:
    try:
        path = find_run(text, runs_dir)
    except UsageError as not_here:
        if text == "last" or "begin with" in not_here.message:
            raise
        try:
            return {run.run_id: run for run in store.get([store.find(text)])}
        except UsageError:
            raise not_here from None
    return {path.name: path}


def _accepted(store: Store) -> Iterator[Accepted]:
    for key in store.keys():  # noqa: SIM118  # not a mapping
        yield from store.runs(key, is_whole=True)


def _counted(run: Path | Accepted) -> tuple[Accepted, Batches | None]:
    return (run, None) if isinstance(run, Accepted) else counted_of(open_run(run))
