"""What a history of runs has done: of each name its levels, the changes between them with commits, what stands out.

    found = trends(store.runs(key), Look(percentile="p95"))
    found[0].changes[0].change, found[0].changes[0].commits      # 0.098, "abc1234..def5678"

A series has one value a run: the natural logarithm of one percentile of one name. Nothing is dropped silently: what has
no place in a series is in `Trend.left_out` with its reason, and an outlier stays in it and is named.

Pure: nothing is read or written here. The arithmetic is that of `loadgen.analysis`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import exp, nan
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.changepoint import scan
from loadgen.analysis.levels import Level, between, levels, outliers, steps
from loadgen.analysis.season import Parts, by_day, decompose
from loadgen.history.store.baseline_run import ALL, PERCENTILES, Accepted, Figure, Reference
from loadgen.history.store.extract import unfit_of

__all__ = ["WEEKLY", "Against", "Change", "Look", "Outlying", "Season", "Trend", "commits_between", "trends"]

Array = npt.NDArray[np.float64]

WEEKLY: Final = 0
"""As `Look.season`: by the days of the week, however many runs a day has."""
_WEEK: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHORT: Final = 9
"""Digits of a commit."""


@dataclass(frozen=True, slots=True)
class Look:
    """How to look at a history. `alpha`, `min_effect` and `ar`: see `loadgen.analysis.changepoint.scan`."""

    percentile: str = "p95"
    alpha: float = 0.01
    min_effect: float = 0.03
    ar: bool = False
    season: int | None = None
    """Runs after which what happens happens again, or `WEEKLY`; None: no season is looked for."""
    name: re.Pattern[str] | None = None
    """Only names in which it is found."""


@dataclass(frozen=True, slots=True)
class Change:
    """The level before ended with the run `before`, the next begins with `after`. Relative: 0.1 is 10 % slower."""

    at: int
    """The index of `after` in the series."""
    change: float
    low: float
    high: float
    """The 95 % interval."""
    before: Accepted
    after: Accepted

    @property
    def commits(self) -> str:
        return commits_between(self.before, self.after)

    @property
    def labels(self) -> str:
        """Those that differ: "release 1.4 -> 1.5"."""
        old, new = self.before.labels, self.after.labels
        names = [*old, *(name for name in new if name not in old)]
        return ", ".join(
            f"{name} {old.get(name) or 'none'} -> {new.get(name) or 'none'}"
            for name in names
            if old.get(name) != new.get(name)
        )


@dataclass(frozen=True, slots=True)
class Outlying:
    """A run that is far from the others of its level."""

    at: int
    run: Accepted
    change: float
    """Against the median of its level, relative."""
    deviations: float


@dataclass(frozen=True, slots=True)
class Against:
    """Where the newest level stands against a pinned release. Relative."""

    reference: str
    runs: int
    """Of the reference, that have the name."""
    change: float
    low: float
    high: float
    """nan where either has one run."""


@dataclass(frozen=True, slots=True)
class Season:
    """What comes round again."""

    is_clear: bool
    """It was taken out before levels were looked for; else it is chance as far as one can tell, and was left in."""
    p: float
    strength: float
    places: Mapping[str, float]
    """Relative to what is in the middle: {"Mon": 0.04, ...}, or {"1st": ...} of a season counted in runs."""
    trend: tuple[float, ...]
    """By run; logarithms."""
    rest: tuple[float, ...]
    filled: int = 0
    """Days without a run."""

    def seasonal(self, values: Sequence[float]) -> tuple[float, ...]:
        """What is neither trend nor rest, by run; values: those that were taken apart."""
        parts = zip(values, self.trend, self.rest, strict=True)
        return tuple(value - trend - rest for value, trend, rest in parts)


@dataclass(frozen=True, slots=True)
class Trend:
    """One name at one percentile."""

    name: str
    kind: str
    percentile: str
    runs: tuple[Accepted, ...]
    """Oldest first."""
    values: tuple[float, ...]
    """Of each run, natural logarithm of ms, as measured."""
    adjusted: tuple[float, ...]
    """Without the season, where there is a clear one; else as measured. Levels, changes and outliers are of these."""
    levels: tuple[Level, ...]
    changes: tuple[Change, ...] = ()
    outliers: tuple[Outlying, ...] = ()
    against: tuple[Against, ...] = ()
    season: Season | None = None
    no_season: str = ""
    """Why there is none although it was asked for."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(run id, why), oldest first."""

    @property
    def level(self) -> Level:
        """Where it stands now."""
        return self.levels[-1]

    @property
    def now_ms(self) -> float:
        """The newest level's height."""
        return exp(self.level.height)


def trends(
    runs: Sequence[Accepted],
    look: Look | None = None,
    references: Sequence[tuple[Reference, Sequence[Accepted]]] = (),
) -> tuple[Trend, ...]:
    """The trend of every name, in the order of the newest run; names that it does not have come last.

    Args:
        runs: of one key, oldest first.
        references: pinned releases with their runs.

    Returns:
        Of names that at least one fit run has.

    Raises:
        ValueError: settings out of range.

    Cost: some ms a name for 100 runs; the first time in a process up to 0.5 s for each length of series.
    """
    look = look or Look()
    kinds: dict[str, str] = {}
    rows: list[dict[str, Figure]] = []
    for run in runs:
        rows.append({one.name: one for one in _figures(run, look)})
        kinds |= {name: one.kind for name, one in rows[-1].items()}
    newest = list(rows[-1]) if rows else []
    names = [*newest, *(name for name in kinds if name not in rows[-1])] if rows else []
    unfit = {run.run_id: why for run in runs if (why := "; ".join(unfit_of(run)))}
    pinned = [
        (reference, [{one.name: one for one in _figures(run, look)} for run in of_it])
        for reference, of_it in references
    ]
    found = (_trend(name, kinds[name], runs, rows, unfit, look, pinned) for name in names)
    return tuple(one for one in found if one is not None)


def commits_between(before: Accepted, after: Accepted) -> str:
    """ "abc1234..def5678", as `git log` takes it; one alone where both runs have it; "" where one is not known.

    It is the commit of the scenario's folder. A "+" behind it: there were changes that no commit has.
    """
    old, new = (_short(run.commit) for run in (before, after))
    if not old or not new:
        return ""
    return old if old == new else f"{old}..{new}"


def _short(commit: str) -> str:
    digits = commit.removesuffix("+")
    return digits[:_SHORT] + commit[len(digits) :]


def _figures(run: Accepted, look: Look) -> Iterator[Figure]:
    for one in run.figures:
        is_whole = one.percentile == look.percentile and one.region == ALL and one.agent == ALL
        if is_whole and (look.name is None or look.name.search(one.name)):
            yield one


def _trend(
    name: str,
    kind: str,
    runs: Sequence[Accepted],
    rows: Sequence[Mapping[str, Figure]],
    unfit: Mapping[str, str],
    look: Look,
    pinned: Sequence[tuple[Reference, Sequence[Mapping[str, Figure]]]],
) -> Trend | None:
    kept: list[Accepted] = []
    values: list[float] = []
    left_out: list[tuple[str, str]] = []
    for run, row in zip(runs, rows, strict=True):
        value = _log_of(row.get(name))
        why = unfit.get(run.run_id) or (value if isinstance(value, str) else "")
        if why:
            left_out.append((run.run_id, why))
        else:
            assert not isinstance(value, str)
            kept.append(run)
            values.append(value)
    if not kept:
        return None
    measured = np.array(values)
    season, no_season = None, ""
    if look.season is not None:
        try:
            season = _season(kept, measured, look.season)
        except ValueError as wrong:
            no_season = str(wrong)
    adjusted = np.array(season.trend) + np.array(season.rest) if season is not None and season.is_clear else measured
    at = scan(adjusted, alpha=look.alpha, min_effect=look.min_effect, ar=look.ar)
    now = adjusted[at[-1] if at else 0 :]
    return Trend(
        name,
        kind,
        look.percentile,
        tuple(kept),
        tuple(values),
        tuple(float(one) for one in adjusted),
        levels(adjusted, at),
        tuple(
            Change(one.at, one.change, one.low, one.high, kept[one.at - 1], kept[one.at])
            for one in steps(adjusted, at, ar=look.ar)
        ),
        tuple(Outlying(one.index, kept[one.index], one.change, one.deviations) for one in outliers(adjusted, at)),
        tuple(_against(name, now, reference, of_it, look) for reference, of_it in pinned),
        season,
        no_season,
        tuple(left_out),
    )


def _log_of(figure: Figure | None) -> float | str:
    """The logarithm, or why there is none."""
    if figure is None:
        return "it has no such name"
    if not 0 < figure.value_ms < np.inf:
        return f"more than {_share_beyond(figure.percentile)} of it was censored: there is no {figure.percentile}"
    return float(np.log(figure.value_ms))


def _share_beyond(percentile: str) -> str:
    return f"{100 - float(percentile[1:]):g} %" if percentile in PERCENTILES else "none"


def _against(name: str, now: Array, reference: Reference, rows: Sequence[Mapping[str, Figure]], look: Look) -> Against:
    values = [value for row in rows if not isinstance(value := _log_of(row.get(name)), str)]
    if not values:
        return Against(reference.name, 0, nan, nan, nan)
    return Against(reference.name, len(values), *between(values, now, ar=look.ar))


def _season(runs: Sequence[Accepted], values: Array, period: int) -> Season:
    if period != WEEKLY:
        parts = decompose(values, period)
        places = {f"{n + 1} of {period}": float(np.expm1(parts.season[n])) for n in range(period)}
        return _season_of(parts, places, parts.trend, values - parts.season - parts.trend)
    days = by_day([_day(run) for run in runs], values)
    parts = decompose(days.values, len(_WEEK))
    first = days.first.weekday()
    places = {day: float(np.expm1(parts.season[(n - first) % len(_WEEK)])) for n, day in enumerate(_WEEK)}
    trend = parts.trend[days.index]
    return _season_of(parts, places, trend, values - parts.season[days.index] - trend, days.filled)


def _season_of(parts: Parts, places: Mapping[str, float], trend: Array, rest: Array, filled: int = 0) -> Season:
    trends_, rests = (tuple(float(value) for value in one) for one in (trend, rest))
    return Season(parts.is_clear, parts.p, parts.strength, places, trends_, rests, filled)


def _day(run: Accepted) -> date:
    """UTC."""
    return datetime.fromisoformat(run.started_at).date()
