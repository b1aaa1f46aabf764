"""What changed in the load tests of the last 13 weeks: changes of level of each journey's p95, with commits. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.history_segments import Level
from loadgen.history.store.stored_run import Accepted
from loadgen.history.trend.trends import Change as Step
from loadgen.history.trend.trends import Trend, trends
from loadgen.outside_text import one_line
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import when
from loadgen.programme.weekly.cells.run_cells import key_of
from loadgen.programme.weekly.gather import PERCENTILE, Gathered
from loadgen.programme.weekly.wording import Change, certainty_of, worded

__all__ = ["ChangeFound", "Drift", "changes_of", "commit_of", "drifts_of", "trends_of"]


@dataclass(frozen=True, slots=True)
class ChangeFound:
    """A change of level. at: the start of the first run after it, Unix time, s. commits: "abc..def"; "abc" if the runs
    before and after it have the same commit; "" if unknown. commit: of the run after, "" if it is the same.

    is_newest: whether the journey's level has not changed since. accepted: the reason of a person who accepted it.
    """

    journey: str
    change: Change
    at: int
    commits: str
    commit: str
    labels: str
    evidence: str
    is_newest: bool
    accepted: str = ""

    @property
    def code(self) -> str:
        """Return what is known of the code: "commits abc..def", or that no commit lies between the runs."""
        if not self.commits:
            return "commit unknown"
        return f"commits {self.commits}" if ".." in self.commits else f"the same commit {self.commits} before and after"

    @property
    def is_slower(self) -> bool:
        """Return whether it is certainly slower."""
        return certainty_of(self.change) == "certain" and self.change.change > 0


@dataclass(frozen=True, slots=True)
class Drift:
    """The newest level of a journey against a pinned release."""

    journey: str
    reference: str
    change: Change
    evidence: str


def trends_of(gathered: Gathered) -> dict[str, Trend]:
    """Return the trend of each journey that has a promise and runs, from the runs with the key of its newest run.

    Cost: some ms for each journey with 100 runs.
    """
    by_key: dict[str, list[str]] = {}
    for journey in dict.fromkeys(one.journey for one in gathered.promises):
        if key := key_of(gathered.runs, journey):
            by_key.setdefault(key, []).append(journey)
    found: dict[str, Trend] = {}
    for key, journeys in by_key.items():
        ours = [run for run in gathered.runs if run.key.hash() == key]
        references = [
            (one, runs) for one, runs in gathered.references if runs and any(run.key.hash() == key for run in runs)
        ]
        found |= {one.name: one for one in trends(ours, references=references) if one.name in journeys}
    return found


def changes_of(gathered: Gathered, found: dict[str, Trend], book: EvidenceBook) -> tuple[ChangeFound, ...]:
    """Return the changes of level, the newest first."""
    made = [
        _change(gathered, trend, step, n + 1 == len(trend.changes), book)
        for trend in found.values()
        for n, step in enumerate(trend.changes)
    ]
    return tuple(sorted(made, key=lambda one: (-one.at, one.journey)))


def drifts_of(found: dict[str, Trend], book: EvidenceBook) -> tuple[Drift, ...]:
    """Return for each journey how its newest level differs from the newest pinned release."""
    made = []
    for journey, trend in found.items():
        known = [one for one in trend.against if one.runs and one.change == one.change]
        if not known:
            continue
        last = known[-1]
        change = Change(last.change, last.low, last.high, len(trend.runs) - trend.level.start)
        name = one_line(last.reference, 60)
        says = f"{journey}: against the pinned release {name}, {PERCENTILE} {worded(change)}"
        id_ = book.add(
            "runs",
            says,
            "the median of the newest level against the median of the pinned runs; 95 % interval",
            (
                ("journey", journey),
                ("reference", name),
                ("change", f"{last.change:.6g}"),
                ("low", f"{last.low:.6g}"),
                ("high", f"{last.high:.6g}"),
            ),
            run_ids=tuple(run.run_id for run in trend.runs[trend.level.start :]),
            see="loadgen history trend",
        )
        made.append(Drift(journey, name, change, id_))
    return tuple(made)


def commit_of(run: Accepted) -> str:
    """Return the first 7 digits of the commit of a run; "" if it is unknown."""
    return one_line(run.commit.removesuffix("+"), 60)[:7]


def _change(gathered: Gathered, trend: Trend, step: Step, is_newest: bool, book: EvidenceBook) -> ChangeFound:
    before, after = (_level_at(trend.levels, n) for n in (step.at - 1, step.at))
    runs = trend.runs[before.start : after.start + _length(trend, after)]
    change = Change(step.change, step.low, step.high, _length(trend, after))
    at = int(time_of(step.after.started_at).timestamp())
    commits = _commits(step)
    zone = gathered.settings.tz
    says = f"{trend.name}: {PERCENTILE} {worded(change)} from {when(at, zone)} on"
    id_ = book.add(
        "runs",
        says,
        f"change = exp(median of the level after - median of the level before) - 1 = {step.change:.6g}, of the"
        f" logarithms of {PERCENTILE}; change points by binary segmentation; 95 % interval {step.low:.6g} to"
        f" {step.high:.6g}",
        (
            ("journey", trend.name),
            ("change", f"{step.change:.6g}"),
            ("low", f"{step.low:.6g}"),
            ("high", f"{step.high:.6g}"),
            ("last run before", step.before.run_id),
            ("first run after", step.after.run_id),
            ("commits", commits or "unknown"),
            ("labels that differ", one_line(step.labels, 200) or "none"),
        ),
        run_ids=tuple(run.run_id for run in runs),
        see=f"loadgen compare {step.before.run_id} {step.after.run_id}",
    )
    accepted = _accepted(gathered, trend.name, step.after, at)
    labels = one_line(step.labels, 120)
    commit = commit_of(step.after) if ".." in commits else ""
    return ChangeFound(trend.name, change, at, commits, commit, labels, id_, is_newest, accepted)


def _commits(step: Step) -> str:
    old, new = commit_of(step.before), commit_of(step.after)
    if not old or not new:
        return ""
    return old if old == new else f"{old}..{new}"


def _level_at(found: Sequence[Level], index: int) -> Level:
    return max((one for one in found if one.start <= index), key=lambda one: one.start)


def _length(trend: Trend, level: Level) -> int:
    following = [one.start for one in trend.levels if one.start > level.start]
    return min(following, default=len(trend.runs)) - level.start


def _accepted(gathered: Gathered, journey: str, after: Accepted, at: int) -> str:
    """Return why somebody accepted the new level of a journey; "" if nobody did."""
    for verdict in gathered.verdicts:
        event = verdict.event
        if not event.because or verdict.at < at or not any(run_id >= after.run_id for run_id in event.run_ids):
            continue
        try:
            names = json.loads(event.details.get("names", "[]"))
        except (ValueError, RecursionError):
            continue
        if isinstance(names, list) and any(str(one).split(" > ")[0] == journey for one in names):
            return one_line(event.because, 200)
    return ""
