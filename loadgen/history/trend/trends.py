"""Finds, for each name of a history, its levels, the changes between them with their commits, and outliers. Pure.

    found = trends(store.runs(key), Look(percentile="p95"))
    found[0].changes[0].change, found[0].changes[0].commits      # 0.098, "abc1234..def5678"

A series has one value for each run: the natural logarithm of one percentile of one name. Nothing is dropped silently.
Runs without a value are in `Trend.left_out` with the reason; outliers stay in the series and are named.

The arithmetic is in `loadgen.analysis`.
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
from loadgen.analysis.history_segments import Level, between, levels, outliers, steps
from loadgen.analysis.season import Parts, by_day, decompose
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.stored_run import ALL, PERCENTILES, Accepted, Figure, Reference

__all__ = ["WEEKLY", "Against", "Change", "Outlying", "Season", "Trend", "TrendSettings", "commits_between", "trends"]

Array = npt.NDArray[np.float64]

WEEKLY: Final = 0
"""Value of `TrendSettings.season`: by day of the week, for any number of runs a day."""
_WEEK: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHORT: Final = 9
"""Number of digits of a commit that are shown."""


@dataclass(frozen=True, slots=True)
class TrendSettings:
    """The settings of `trends`. `loadgen.analysis.changepoint.scan` explains `alpha`, `min_effect` and `ar`."""

    percentile: str = "p95"
    alpha: float = 0.01
    min_effect: float = 0.03
    ar: bool = False
    season: int | None = None
    """Period of a season in runs, or `WEEKLY`; None: do not search for a season."""
    name: re.Pattern[str] | None = None
    """Only names that contain a match; None: all names."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level between the runs `before` and `after`. Changes are relative: 0.1 is 10 % slower."""

    at: int
    """The index of `after` in the series."""
    change: float
    low: float
    high: float
    """The 95 % interval of the change."""
    before: Accepted
    after: Accepted

    @property
    def commits(self) -> str:
        """Return the commits from the run before to the run after the change: "abc1234..def5678"; "" if unknown."""
        return commits_between(self.before, self.after)

    @property
    def labels(self) -> str:
        """Return the labels that differ between the runs before and after the change, such as "release 1.4 -> 1.5"."""
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
    """Its index in the series."""
    run: Accepted
    change: float
    """Relative difference from the median of its level."""
    deviations: float
    """The difference in standard deviations of its level."""


@dataclass(frozen=True, slots=True)
class Against:
    """The relative difference of the newest level from a pinned release."""

    reference: str
    runs: int
    """Runs of the reference that have the name."""
    change: float
    """nan if there are no such runs."""
    low: float
    high: float
    """The 95 % interval; nan if the level or the reference has a single run."""


@dataclass(frozen=True, slots=True)
class Season:
    """A pattern that repeats, such as slow Mondays."""

    is_clear: bool
    """Whether it is more than chance. Then it was subtracted before the search for levels; else it was left in."""
    p: float
    strength: float
    places: Mapping[str, float]
    """Relative difference from the mean by day, {"Mon": 0.04, ...}, or by run, {"1 of 5": 0.04, ...}."""
    trend: tuple[float, ...]
    """The trend without the season, logarithms, one for each run."""
    rest: tuple[float, ...]
    """The remainder, logarithms, one for each run."""
    filled: int = 0
    """Days without a run, which were interpolated."""

    def seasonal(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return how much the season adds to each value, as logarithms. values: the values that were decomposed."""
        parts = zip(values, self.trend, self.rest, strict=True)
        return tuple(value - trend - rest for value, trend, rest in parts)


@dataclass(frozen=True, slots=True)
class Trend:
    """The series of one name at one percentile, with everything that was found in it."""

    name: str
    kind: str
    percentile: str
    runs: tuple[Accepted, ...]
    """Oldest first."""
    values: tuple[float, ...]
    """The measured values, natural logarithm of ms, one for each run."""
    adjusted: tuple[float, ...]
    """The values without the season if it is clear, else `values`. Levels, changes and outliers were found in these."""
    levels: tuple[Level, ...]
    changes: tuple[Change, ...] = ()
    outliers: tuple[Outlying, ...] = ()
    against: tuple[Against, ...] = ()
    season: Season | None = None
    no_season: str = ""
    """Why the search for a season was impossible; empty if it was possible or not requested."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(run id, reason) for each run that is not in the series, oldest first."""

    @property
    def level(self) -> Level:
        """Return the newest level: the stretch without change at the end of the series."""
        return self.levels[-1]

    @property
    def now_ms(self) -> float:
        """Return the height of the newest level in ms."""
        return exp(self.level.height)


def trends(
    runs: Sequence[Accepted],
    look: TrendSettings | None = None,
    references: Sequence[tuple[Reference, Sequence[Accepted]]] = (),
) -> tuple[Trend, ...]:
    """Return the trend of every name that at least one fit run has: its levels, changes and outliers.

    Args:
        runs: runs of one key, oldest first.
        look: the settings; None: the defaults.
        references: pinned releases with their runs.

    Returns:
        The trends in the order of the newest run's names; names that this run lacks come last.

    Raises:
        ValueError: a setting is out of range.

    Cost: some ms for each name with 100 runs, and up to 0.5 s once a process for each length of series.
    """
    look = look or TrendSettings()
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
    """Return the commits between two runs as `git log` accepts them, such as "abc1234..def5678".

    A single commit if both runs have the same one; "" if one is unknown. A commit is that of the scenario's folder,
    with "+" at its end if there were uncommitted changes.
    """
    old, new = (_short(run.commit) for run in (before, after))
    if not old or not new:
        return ""
    return old if old == new else f"{old}..{new}"


def _short(commit: str) -> str:
    digits = commit.removesuffix("+")
    return digits[:_SHORT] + commit[len(digits) :]


def _figures(run: Accepted, look: TrendSettings) -> Iterator[Figure]:
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
    look: TrendSettings,
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
    """Return the natural logarithm of a figure in ms; if it is missing or only a bound, the reason as a text."""
    if figure is None:
        return "it has no such name"
    if not 0 < figure.value_ms < np.inf:
        beyond = _share_beyond(figure.percentile)
        return f"more than {beyond} of its values are only bounds, so its {figure.percentile} is unknown"
    return float(np.log(figure.value_ms))


def _share_beyond(percentile: str) -> str:
    return f"{100 - float(percentile[1:]):g} %" if percentile in PERCENTILES else "none"


def _against(
    name: str, now: Array, reference: Reference, rows: Sequence[Mapping[str, Figure]], look: TrendSettings
) -> Against:
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
    """Return the date on which the run started, UTC."""
    return datetime.fromisoformat(run.started_at).date()
