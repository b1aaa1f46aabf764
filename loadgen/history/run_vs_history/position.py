"""Compares one run with the accepted runs before it: each name at each percentile. Pure.

    found = standings(store.runs(key), accepted_of(run))
    found.rows[0].effect.change, found.rows[0].is_clear      # 0.041, True

The figures come from the code of the gate (`hypothesis_families.py`), so report and gate never contradict each other.
They use the newest 20 runs of the current level and the pinned releases, and their intervals include the run-to-run
variation.

This is no verdict: a single run decides nothing, and the gate decides whether a difference matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

import numpy as np

from loadgen.analysis.gate import Effect, holm
from loadgen.history.gate.baseline_selection import LOOKED_AT, Named, rows_of
from loadgen.history.gate.gate_result import Begin, Settings
from loadgen.history.gate.hypothesis_families import HISTORY, Families
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.stored_run import PERCENTILES, Accepted, Reference

__all__ = ["ALPHA", "ORDER", "Standing", "Standings", "standings"]

ORDER: Final = (Settings().percentile, *(one for one in PERCENTILES if one != Settings().percentile))
"""The percentiles, beginning with the one by which the gate decides by default."""
ALPHA: Final = 0.05
"""Probability that any name at one percentile is marked as different although nothing has changed."""
_LEAST: Final = 2
"""Least number of accepted runs for a comparison."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One name of the run at one percentile, compared with its history."""

    name: str
    kind: str
    percentile: str
    value_ms: float
    effect: Effect
    """Difference from the accepted runs of its current level."""
    against: tuple[tuple[str, Effect], ...]
    """(release, difference from it) for each pinned release."""
    since: str
    """The run with which the level began; "" if the level did not change."""
    step: float
    """Relative change of the level at that run; 0 if nothing is known before it."""
    is_clear: bool = False
    """Whether the difference is more than chance, given all names of the percentile (Holm, two-sided)."""


@dataclass(frozen=True, slots=True)
class Standings:
    """A run and its comparison with the history."""

    run: Accepted
    history: tuple[Accepted, ...]
    """The newest 100 accepted runs that were fit to measure and started before it, oldest first."""
    references: tuple[tuple[Reference, tuple[Accepted, ...]], ...]
    """Pinned releases with their runs."""
    rows: tuple[Standing, ...]
    """Sorted by percentile as in `ORDER`, then by name in the order of the history."""
    missing: tuple[str, ...]
    """Names that most accepted runs have and this run lacks."""
    new: tuple[str, ...]
    """Names that no accepted run has."""
    unfit: tuple[str, ...]
    """Why the run cannot be compared; then there are no rows."""


def standings(
    history: Sequence[Accepted],
    run: Accepted,
    references: Sequence[tuple[Reference, Sequence[Accepted]]] = (),
    *,
    begins: Sequence[Begin] = (),
) -> Standings | None:
    """Compare a run with the accepted runs that were started before it, and return the differences of each name.

    The result is None if fewer than two earlier runs were fit to measure.

    Args:
        history: accepted runs of the same key, oldest first; it may contain the run itself.
        references: pinned releases with their runs, of the same key.
        begins: runs that were accepted in spite of a FAIL, with which levels begin, as for the gate.

    Cost: 1 s for 60 names and 100 runs, mostly for the simulations that `judge` and `scan` do once a process.
    """
    before = [one for one in history if one.started_at < run.started_at and one.run_id != run.run_id]
    fit = tuple(one for one in before[-LOOKED_AT:] if not unfit_of(one))
    if len(fit) < _LEAST:
        return None
    pinned = tuple((reference, tuple(of)) for reference, of in references)
    if unfit := unfit_of(run):
        return Standings(run, fit, pinned, (), (), (), unfit)
    figures = rows_of(run)
    rows: list[Standing] = []
    for percentile in ORDER:
        built = Families(Settings(percentile=percentile), fit, [run], begins)
        rows += _marked(list(_rows(built, figures, percentile, pinned)))
    names = {name: None for _, name in figures}
    known = [{one.name for one in of.figures} for of in fit]
    usual = dict.fromkeys(name for of in known for name in of if 2 * sum(name in one for one in known) > len(known))
    missing = tuple(name for name in sorted(usual) if name not in names)
    new = tuple(name for name in names if not any(name in of for of in known))
    return Standings(run, fit, pinned, tuple(rows), missing, new, ())


def _rows(
    built: Families, figures: Named, percentile: str, references: Sequence[tuple[Reference, Sequence[Accepted]]]
) -> Iterator[Standing]:
    families = {one.against: {of.name: of for of in one.judgement.names} for one in built.families(references, "")}
    for name, effect in families.pop(HISTORY, {}).items():
        figure, level = figures.get((percentile, name)), built.levels.get(name)
        if figure is None or level is None or not isfinite(effect.change):
            continue
        others = ((reference, of[name]) for reference, of in families.items() if name in of)
        yield Standing(
            name=name,
            kind=figure.kind,
            percentile=percentile,
            value_ms=figure.value_ms,
            effect=effect,
            against=tuple((reference, one) for reference, one in others if isfinite(one.change)),
            since=level.since,
            step=level.change,
        )


def _marked(rows: Sequence[Standing]) -> list[Standing]:
    """Return the rows, with `is_clear` set where the difference is more than chance. Faster names are marked, too."""
    if not rows:
        return []
    p = np.array([2 * min(row.effect.p, 1 - row.effect.p) for row in rows])
    return [replace(row, is_clear=bool(of < ALPHA)) for row, of in zip(rows, holm(p), strict=True)]
