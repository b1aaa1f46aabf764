"""Builds the families of names that are judged together, and runs the statistical tests on them. Pure.

There is a family for each baseline at the deciding percentile, one for the other percentiles, and one for errors.

All baselines share one false-alarm probability in equal parts, so pinning more releases causes no more false alarms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from loadgen.analysis.error_ratio_gate import Counts, RatioEffect, judge_ratios
from loadgen.analysis.gate import Began, Effect, Judgement, Outcome, judge, judge_pairs, judge_reference
from loadgen.history.gate.baseline_selection import Level, Named, least_count, levels_of, rows_of
from loadgen.history.gate.gate_result import Begin, Family, Settings
from loadgen.history.store.names_in_sentence import listed
from loadgen.history.store.stored_run import ALL, PERCENTILES, Accepted, Reference
from loadgen.units import format_change, quantity

__all__ = ["HISTORY", "Families", "errors_of", "pairs_of", "rare_in_pairs"]

HISTORY = "history"
_LEAST_PART = 0.5
"""New runs need this part of the samples that accepted runs need. With all of them, a name with barely enough samples
would be judged in one gate and not in the next one."""
_OF_ERRORS = 0.2
"""Part of alpha, the false-alarm probability of the whole gate, that error ratios get. Latency gets the rest."""

Values = Mapping[str, npt.ArrayLike]


class _Effects(TypedDict):
    delta: float
    tolerate: float
    alpha: float


@dataclass(slots=True)
class Families:
    """New runs and the runs with which they are compared, all of one key, fit to measure, and oldest first.

    Creating one finds the current levels, which takes some ms for each name.
    """

    settings: Settings
    history: Sequence[Accepted]
    new: Sequence[Accepted]
    begins: Sequence[Begin] = ()
    levels: dict[str, Level] = field(init=False)
    """Current level of each name at the deciding percentile."""
    left_out: dict[str, str] = field(init=False)
    """For each name without a level, why it has none."""
    _old: list[Named] = field(init=False)
    _fresh: list[Named] = field(init=False)

    def __post_init__(self) -> None:
        self._old, self._fresh = [rows_of(run) for run in self.history], [rows_of(run) for run in self.new]
        self.levels, self.left_out = self._levels(self.settings.percentile)

    def families(self, references: Sequence[tuple[Reference, Sequence[Accepted]]], wanted: str) -> Iterator[Family]:
        """Yield the test results against the history, then against each reference, if any name can be judged.

        wanted: name of the reference whose undecided results make the verdict INCONCLUSIVE.
        """
        percentile = self.settings.percentile
        old = {name: level.values for name, level in self.levels.items()}
        fresh = self._judged_values(percentile, self.levels)
        strange = self._strangers(percentile)
        if not self.history or (not old and not strange):
            return
        # Bonferroni's correction: `alpha` is the probability of a false alarm in all families together.
        alpha = self.settings.alpha * (1 - _OF_ERRORS) / (1 + len(references))
        began = self._began({name: level.run_ids for name, level in self.levels.items()}, percentile)
        judgement = self._named(judge(old, fresh | strange, began=began, **self._effects(alpha)))
        ids = {run_id for level in self.levels.values() for run_id in level.run_ids}
        yield Family(HISTORY, judgement, tuple(run.run_id for run in self.history if run.run_id in ids))
        for reference, runs in references:
            rows = [rows_of(run) for run in runs]
            names = [name for name in self.levels if not self._is_renewed(name, reference)]
            fixed = {name: values for name in names if (values := _logs(rows, percentile, name))}
            if fixed:
                of = {name: fresh[name] for name in fixed if name in fresh}
                judgement = self._named(judge_reference(fixed, of, old, **self._effects(alpha)))
                ids_ = tuple(run.run_id for run in runs)
                yield Family(reference.name, judgement, ids_, is_wanted=reference.name == wanted)

    def secondary(self) -> tuple[Effect, ...]:
        """Judge the percentiles that do not decide against the history, and return a result for each.

        They form one family. Names in the results are such as "p99 of checkout".
        """
        old: dict[str, npt.ArrayLike] = {}
        fresh: dict[str, npt.ArrayLike] = {}
        before: dict[str, npt.ArrayLike] = {}
        after: dict[str, npt.ArrayLike] = {}
        for percentile in PERCENTILES:
            if percentile != self.settings.percentile:
                levels, _ = self._levels(percentile)
                values = self._judged_values(percentile, levels)
                began = self._began({name: levels[name].run_ids for name in values}, percentile)
                old |= {f"{percentile} of {name}": levels[name].values for name in values}
                fresh |= {f"{percentile} of {name}": of for name, of in values.items()}
                before |= {f"{percentile} of {name}": of for name, of in began.history.items()}
                after |= {f"{percentile} of {name}": of for name, of in began.new.items()}
        effects = self._effects(self.settings.alpha)
        return judge(old, fresh, began=Began(before, after), **effects).names if old else ()

    def errors(self) -> tuple[RatioEffect, ...]:
        """Judge the error ratio of each name against the newest runs of the history, and return the results."""
        return errors_of(self.history[-self.settings.newest :], self.new, self.settings.alpha)

    def notes(self) -> Iterator[str]:
        """Yield sentences for the report about journeys, steps and requests.

        They say which are not judged, and why; and which changed their level, with the run that began the new one. New
        runs are compared with the runs since then.
        """
        reasons: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            yield f"not judged at {self.settings.percentile}: {listed(names)} ({why})"
        since: dict[str, list[Level]] = {}
        for level in self.levels.values():
            if level.since:
                since.setdefault(level.since, []).append(level)
        for run_id, levels in since.items():
            most = max(levels, key=lambda one: abs(one.change))
            size = f" by up to {format_change(most.change)}" if most.change else ""
            shown = listed(one.name for one in levels)
            yield f"compared with runs since {run_id}, where the level changed{size}: {shown}"

    # -- within -----------------------------------------------------------------------------------

    def _effects(self, alpha: float) -> _Effects:
        return {"delta": self.settings.delta, "tolerate": self.settings.tolerate, "alpha": alpha}

    def _began(self, run_ids: Mapping[str, Sequence[str]], percentile: str) -> Began:
        """Return when the runs of each name began. run_ids: the runs of the history, by name."""
        at = {run.run_id: _epoch_s(run.started_at) for run in (*self.history, *self.new)}
        new = {
            name: [
                at[run.run_id]
                for run, row in zip(self.new, self._fresh, strict=True)
                if (one := row.get((percentile, name))) is not None and one.log_value is not None
            ]
            for name in run_ids
        }
        return Began({name: [at[one] for one in ids] for name, ids in run_ids.items()}, new)

    def _levels(self, percentile: str) -> tuple[dict[str, Level], dict[str, str]]:
        begins: dict[str, str] = {}
        for begin in self.begins:
            # Run ids sort by time, so the largest one is the newest.
            begins |= {name: max(begin.run_id, begins.get(name, "")) for name in begin.names}
        return levels_of(self.history, self._old, percentile, newest=self.settings.newest, begins=begins)

    def _named(self, judgement: Judgement) -> Judgement:
        """Return the judgement in which no name passes of which a new run has no value, with the reason of each.

        Without this, a release whose percentile is only a lower bound in two of three runs would pass by the third.
        """
        names = []
        for one in judgement.names:
            why = self._incomplete(one.name)
            if why and one.outcome is not Outcome.FAIL:
                names.append(replace(one, outcome=Outcome.INCONCLUSIVE, reason=why, is_blind=False))
            else:
                names.append(one)
        return replace(judgement, outcome=Outcome.worst(one.outcome for one in names), names=tuple(names))

    def _incomplete(self, name: str) -> str:
        """Return why the new runs do not all have a value of this name; empty if they do, or if none has the name."""
        percentile, runs = self.settings.percentile, len(self._fresh)
        found = [one for row in self._fresh if (one := row.get((percentile, name))) is not None]
        bounds = sum(one.log_value is None for one in found)
        if not found or name not in self.levels:
            return ""
        if (count := median(one.count for one in found)) < _LEAST_PART * least_count(percentile):
            return _few(count, percentile)
        if bounds:
            where = "" if bounds == runs else f" in {bounds} of {quantity(runs, 'new run')}"
            return f"{percentile} falls among cut-off or missed iterations{where}, so its value is unknown"
        if len(found) < runs:
            return f"the name is missing in {runs - len(found)} of {quantity(runs, 'new run')}"
        return ""

    def _judged_values(self, percentile: str, names: Iterable[str]) -> dict[str, npt.ArrayLike]:
        """Return the new runs' values of names with enough samples, by name: logarithms of ms."""
        found = self._new_values(percentile, names)
        counts = {
            name: median(one.count for row in self._fresh if (one := row.get((percentile, name))) is not None)
            for name in found
        }
        least = _LEAST_PART * least_count(percentile)
        return {name: values for name, values in found.items() if counts[name] >= least}

    def _new_values(self, percentile: str, names: Iterable[str]) -> dict[str, npt.ArrayLike]:
        found = {name: _logs(self._fresh, percentile, name) for name in names}
        return {name: np.array(values) for name, values in found.items() if values}

    def _strangers(self, percentile: str) -> dict[str, npt.ArrayLike]:
        """Return the new runs' values of names that no accepted run has, by name: logarithms of ms."""
        known = {name for row in self._old for _, name in row}
        names = dict.fromkeys(name for row in self._fresh for of, name in row if of == percentile and name not in known)
        return self._new_values(percentile, names)

    def _is_renewed(self, name: str, reference: Reference) -> bool:
        """Return whether a new level of this name was accepted (in spite of a FAIL) after the reference was pinned."""
        return any(name in begin.names and begin.at > reference.pinned_at for begin in self.begins)


def errors_of(old: Sequence[Accepted], new: Sequence[Accepted], alpha: float) -> tuple[RatioEffect, ...]:
    """Judge the error ratio of each name that both sides have, and return the results.

    alpha: the gate's probability of a false alarm, of which error ratios get a fifth.
    """
    sides = [_counts(old), _counts(new)]
    return judge_ratios(*sides, alpha=alpha * _OF_ERRORS)


def pairs_of(
    before: Sequence[Accepted], after: Sequence[Accepted], percentiles: Sequence[str], settings: Settings
) -> Judgement | None:
    """Judge alternating runs of two sides at several percentiles, as one family; None if no name has enough values.

    A name that some runs of a side lack, or that has far fewer samples than needed on one side, counts as missing on
    that side. A name with too few samples on both sides is left out (`rare_in_pairs`). With several percentiles, names
    are such as "p99 of checkout".
    """
    sides: list[dict[str, npt.ArrayLike]] = []
    few: list[dict[str, str]] = []
    left_out = {percentile: rare_in_pairs(before, after, percentile) for percentile in percentiles}
    for runs in (before, after):
        rows = [rows_of(run) for run in runs]
        side: dict[str, npt.ArrayLike] = {}
        rare: dict[str, str] = {}
        for percentile in percentiles:
            scarce = _scarce(rows, percentile, _LEAST_PART)
            for name in dict.fromkeys(name for row in rows for of, name in row if of == percentile):
                if name in left_out[percentile]:
                    continue
                shown = f"{percentile} of {name}" if len(percentiles) > 1 else name
                if name in scarce:
                    rare[shown] = scarce[name]
                elif len(values := _logs(rows, percentile, name)) == len(rows):
                    side[shown] = values
        sides.append(side)
        few.append(rare)
    if not any(sides):
        return None
    alpha = settings.alpha * (1 - _OF_ERRORS)
    found = judge_pairs(*sides, delta=settings.delta, tolerate=settings.tolerate, alpha=alpha)
    reasons = {name: f"{side}: {why}" for side, rare in zip("AB", few, strict=True) for name, why in rare.items()}
    names = [replace(one, reason=reasons.get(one.name, one.reason)) if one.reason else one for one in found.names]
    return replace(found, names=tuple(names))


def rare_in_pairs(before: Sequence[Accepted], after: Sequence[Accepted], percentile: str) -> tuple[str, ...]:
    """Return the names that have too few samples on both sides, so that `pairs_of` leaves them out."""
    old, new = (_scarce([rows_of(run) for run in runs], percentile) for runs in (before, after))
    return tuple(name for name in old if name in new)


def _scarce(rows: Sequence[Named], percentile: str, part: float = 1.0) -> dict[str, str]:
    """Return the names with fewer samples than this part of those that a percentile needs, each with a sentence."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        for (of, name), figure in row.items():
            if of == percentile:
                counts.setdefault(name, []).append(figure.count)
    least = part * least_count(percentile)
    return {name: _few(median(of), percentile) for name, of in counts.items() if median(of) < least}


def _few(count: float, percentile: str) -> str:
    samples = "1 sample" if count == 1 else f"{count:g} samples"
    return f"only {samples} a run, but {percentile} needs {least_count(percentile)}"


def _epoch_s(text: str) -> float:
    """Return a time as seconds since 1970; nan if the text is no time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return float("nan")


def _logs(rows: Sequence[Named], percentile: str, name: str) -> list[float]:
    found = (row.get((percentile, name)) for row in rows)
    return [value for one in found if one is not None and (value := one.log_value) is not None]


def _counts(runs: Sequence[Accepted]) -> dict[str, Counts]:
    found: dict[str, list[tuple[int, int, float]]] = {}
    for run in runs:
        for one in run.errors:
            if one.region == ALL and one.total:
                found.setdefault(one.name, []).append((one.errors, one.total, one.error))
    return {name: Counts(*(list(column) for column in zip(*rows, strict=True))) for name, rows in found.items()}
