"""How one run stands in its history: each name at each percentile beside the accepted runs before it.

    found = standings(store.runs(key), accepted_of(run))
    found.rows[0].effect.change, found.rows[0].is_clear      # 0.041, True

The figures are the gate's (`families.py`): the newest 20 runs since the level of a name last changed, pinned releases,
intervals that hold how much runs of the same code differ. So report and gate never say two things of one run. It is no
verdict: one run decides nothing, and whether a difference matters the gate says.

Pure: nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

import numpy as np

from loadgen.analysis.gate import Effect, holm
from loadgen.history.gate.baseline_level import LOOKED_AT, Named, rows_of
from loadgen.history.gate.decision import Begin, Settings
from loadgen.history.gate.test_families import HISTORY, Bench
from loadgen.history.store.baseline_run import PERCENTILES, Accepted, Reference
from loadgen.history.store.extract import unfit_of

__all__ = ["ALPHA", "ORDER", "Standing", "Standings", "standings"]

ORDER: Final = (Settings().percentile, *(one for one in PERCENTILES if one != Settings().percentile))
"""Percentiles, the one first by which the gate decides unless it is told another."""
ALPHA: Final = 0.05
"""Of all names at one percentile: how often any is called above or below though nothing has changed."""
_LEAST: Final = 2
"""Runs, without which there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One name at one percentile."""

    name: str
    kind: str
    percentile: str
    value_ms: float
    effect: Effect
    """Against the accepted runs of its level."""
    against: tuple[tuple[str, Effect], ...]
    """Against pinned releases, by their names."""
    since: str
    """The run with which that level began; "" where it did not change."""
    step: float
    """By how much it changed there; 0 where nothing is known before."""
    is_clear: bool = False
    """More than chance, with all names of the percentile (Holm, two-sided)."""


@dataclass(frozen=True, slots=True)
class Standings:
    """A run and what it is held against."""

    run: Accepted
    history: tuple[Accepted, ...]
    """Fit runs that were started before it, the newest 100, oldest first."""
    references: tuple[tuple[Reference, tuple[Accepted, ...]], ...]
    rows: tuple[Standing, ...]
    """By percentile as in `ORDER`, within it by name as the history has them."""
    missing: tuple[str, ...]
    """Names that most of the accepted runs have, and this one has not."""
    new: tuple[str, ...]
    """Names that none of them has."""
    unfit: tuple[str, ...]
    """Why it can be held against nothing; then there are no rows."""


def standings(
    history: Sequence[Accepted],
    run: Accepted,
    references: Sequence[tuple[Reference, Sequence[Accepted]]] = (),
    *,
    begins: Sequence[Begin] = (),
) -> Standings | None:
    """Hold a run against the accepted runs that were started before it.

    Args:
        history: of its key, oldest first; whether the run is among them does not matter.
        references: pinned releases with their runs, of the same key.
        begins: runs that were accepted though slower: there levels begin, as for the gate.

    Returns:
        None where there is nothing to hold it against: fewer than two fit runs before it.

    Cost: of 60 names and 100 runs 1 s, most of it what `judge` and `scan` simulate once a process.
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
        bench = Bench(Settings(percentile=percentile), fit, [run], begins)
        rows += _marked(list(_rows(bench, figures, percentile, pinned)))
    names = {name: None for _, name in figures}
    known = [{one.name for one in of.figures} for of in fit]
    usual = dict.fromkeys(name for of in known for name in of if 2 * sum(name in one for one in known) > len(known))
    missing = tuple(name for name in sorted(usual) if name not in names)
    new = tuple(name for name in names if not any(name in of for of in known))
    return Standings(run, fit, pinned, tuple(rows), missing, new, ())


def _rows(
    bench: Bench, figures: Named, percentile: str, references: Sequence[tuple[Reference, Sequence[Accepted]]]
) -> Iterator[Standing]:
    families = {one.against: {of.name: of for of in one.judgement.names} for one in bench.families(references, "")}
    for name, effect in families.pop(HISTORY, {}).items():
        figure, level = figures.get((percentile, name)), bench.levels.get(name)
        if figure is None or level is None or not isfinite(effect.change):
            continue
        held = ((reference, of[name]) for reference, of in families.items() if name in of)
        yield Standing(
            name=name,
            kind=figure.kind,
            percentile=percentile,
            value_ms=figure.value_ms,
            effect=effect,
            against=tuple((reference, one) for reference, one in held if isfinite(one.change)),
            since=level.since,
            step=level.change,
        )


def _marked(rows: Sequence[Standing]) -> list[Standing]:
    """Those that are more than chance. The gate asks for slower alone; here both sides count."""
    if not rows:
        return []
    p = np.array([2 * min(row.effect.p, 1 - row.effect.p) for row in rows])
    return [replace(row, is_clear=bool(of < ALPHA)) for row, of in zip(rows, holm(p), strict=True)]
