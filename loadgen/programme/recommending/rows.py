"""Judges each piece of evidence by its rule: the rows of the table in docs/decide.md. Pure.

Each function returns the row and the commands that would settle it. A row for which there is nothing is "open".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isfinite, log1p
from typing import Any, Final

from loadgen.analysis.gate import detectable
from loadgen.analysis.recommending.more_runs import Advice, advise, level_of_names
from loadgen.history.gate.aa_test_health import Health, State
from loadgen.history.store.study_records import StudyRecord
from loadgen.programme.recommending.facts import Forecast, Rules, RunFact, time_of
from loadgen.programme.recommending.recommendation import Evidence, Missing
from loadgen.units import format_rate, format_share, quantity

__all__ = [
    "GateFact",
    "Row",
    "gate_row",
    "headroom_row",
    "health_row",
    "objectives_row",
    "row_of",
    "runs_command",
    "validity_row",
]

Row = tuple[Evidence, tuple[Missing, ...]]
_SHOWN: Final = 3
_EDIT_MINUTES: Final = 2.0
_FIND_MINUTES: Final = 60.0


@dataclass(frozen=True, slots=True)
class GateFact:
    """One verdict of the gate, as the history stores it."""

    id: str
    at: datetime
    outcome: str
    run_ids: tuple[str, ...]
    detectable: float
    """nan: unknown."""
    history: int
    """With how many accepted runs it compared; 0: unknown."""
    accepted_because: str = ""
    """Why the runs were accepted in spite of it."""
    reasons: str = ""
    lost: tuple[str, ...] = ()
    """Those of its runs that are gone, or no longer of the release; without struck ones. Only of a FAIL."""
    failed: frozenset[str] = frozenset()
    """The journeys that are too slow, if it is known to be about this release though all of its runs are gone."""


# -- runs -----------------------------------------------------------------------------------------


def validity_row(journey: str, release: str, runs: Sequence[RunFact], rules: Rules) -> Row:
    """GO if all runs of the release with this journey are valid. Never NO-GO."""
    if not runs:
        says = f"no run of {release} has this journey"
        return row_of("validity", journey, release, says=says), (runs_command(runs, release, rules.least_runs),)
    bad = [run for run in runs if run.condition != "valid"]
    if not bad:
        says = f"{quantity(len(runs), 'run')}, all valid"
        return row_of("validity", journey, release, runs, "go", says), ()
    first = bad[0]
    why = f" ({first.why})" if first.why else ""
    says = f"{len(bad)} of {quantity(len(runs), 'run')} not valid: {first.run_id} is {first.condition}{why}; repeat it"
    fixes = (
        runs_command(runs, release, len(bad)),
        *(Missing(f"loadgen runs label {run.run_id} release=", 1, "leave it out, once repeated") for run in bad),
    )
    return row_of("validity", journey, release, runs, "open", says), fixes


def objectives_row(journey: str, release: str, runs: Sequence[RunFact], rules: Rules) -> Row:
    """GO if every run of the release passed all objectives, and there are enough. NO-GO if 2 failed, or all that count.

    Runs that were not measured properly neither pass nor fail.
    """
    if not runs:
        return row_of("objectives", journey, release, says="no run, so no objective was judged"), ()
    measured = [run for run in runs if run.condition in ("valid", "suspect")]
    verdicts = {run.run_id: run.verdicts(journey) for run in measured}
    judged = [run for run in measured if verdicts[run.run_id]]
    failed = [run for run in judged if "failed" in (verdicts[run.run_id] or ())]
    passed = [run for run in judged if set(verdicts[run.run_id] or ()) == {"passed"}]
    least = rules.least_runs
    if failed and (len(failed) >= 2 or len(failed) == len(judged)):
        says = f"objectives failed in {len(failed)} of {quantity(len(judged), 'judged run')}: {_ids(failed)}"
        return row_of("objectives", journey, release, runs, "no-go", says), ()
    count = f"passed in {len(passed)} of {quantity(len(runs), 'run')}"
    if len(passed) == len(runs) and len(passed) >= least:
        return row_of("objectives", journey, release, runs, "go", f"all objectives {count}"), ()
    if measured and not judged:
        if any(of is None for of in verdicts.values()):
            says = "the history does not say whether these runs had objectives: an older version stored them"
        else:
            says = "the runs have no objectives for this journey, so nothing was promised"
        return row_of("objectives", journey, release, runs, "open", says), (runs_command(runs, release, least),)
    why = f"objectives {count}; at least {least} are needed, and all must pass"
    if failed:
        why += f"; one odd run failed: {failed[0].run_id}"
    needed = max(least - len(passed), 1)
    return row_of("objectives", journey, release, runs, "open", why), (runs_command(runs, release, needed),)


def runs_command(runs: Sequence[RunFact], release: str, count: int) -> Missing:
    """Return the command that makes further runs of a release, like those that there are."""
    file, minutes = _file(runs), _minutes(runs)
    what = f"{quantity(count, 'run')} of {release}"
    return Missing(f"loadgen gate {file} --runs {count} --label release={release}", max(count * minutes, 1.0), what)


# -- gate -----------------------------------------------------------------------------------------


def gate_row(journey: str, release: str, runs: Sequence[RunFact], verdicts: Iterable[GateFact], rules: Rules) -> Row:
    """GO if the newest verdict is PASS and would have found a slow-down of `rules.detectable`. NO-GO if one FAILed.

    A FAIL stands until a newer verdict judged all of its runs again, perhaps with more runs. A FAIL of which runs are
    gone, or are of another release, is no NO-GO; but it keeps from GO, or removing a run would give a GO.
    """
    ours = {run.run_id for run in runs}
    every = sorted(verdicts, key=lambda one: one.at)
    found = [one for one in every if one.run_ids and ours.issuperset(one.run_ids)]
    judge = _judge_all(runs, release)
    standing = [one for one in every if one.outcome == "FAIL" and not _is_judged_again(one, ours, found)]
    if whole := [one for one in standing if one in found]:
        last = whole[-1]
        says = f"FAIL{f': {last.reasons}' if last.reasons else ''}"
        if last.accepted_because:
            says += f"; accepted because {last.accepted_because}"
        return _gate(journey, release, last, "no-go", says), ()
    if partly := [one for one in standing if journey in one.failed or not ours.isdisjoint(one.run_ids)]:
        last = partly[-1]
        if last.lost:
            some = f"{', '.join(last.lost[:_SHOWN])}{' ...' if len(last.lost) > _SHOWN else ''}"
            says = f"FAIL of runs that are gone, or no longer of {release}: {some}; restore them"
            return _gate(journey, release, last, "open", says), ()
        says = f"the FAIL that stands is also about runs of other releases; judge the runs of {release} alone"
        return _gate(journey, release, last, "open", says), (judge,)
    if not found:
        says = f"the gate gave no verdict on runs of {release}"
        return row_of("gate", journey, release, says=says), (judge,) if runs else ()
    last = found[-1]
    if last.outcome != "PASS":
        says = f"{last.outcome}{f': {last.reasons}' if last.reasons else ''}"
        return _gate(journey, release, last, "open", says), (_more(runs, release, last, rules)[0] or judge,)
    if not isfinite(last.detectable):
        return _gate(journey, release, last, "open", "PASS, but the smallest slow-down it finds is unknown"), (judge,)
    finds = f"PASS; a slow-down of {format_share(last.detectable)} would have been found"
    if last.detectable <= rules.detectable:
        how = f"PASS, and {format_share(last.detectable)} is at most {format_share(rules.detectable)}"
        how += f"; {quantity(len(last.run_ids), 'run')} against {quantity(last.history, 'accepted run')}"
        return replace(_gate(journey, release, last, "go", finds), arithmetic=how), ()
    more, advice = _more(runs, release, last, rules)
    says = f"{finds}, and {format_share(rules.detectable)} must be{f': {advice}' if advice else ''}"
    return _gate(journey, release, last, "open", says), (more or judge,)


def _is_judged_again(one: GateFact, ours: set[str], found: Sequence[GateFact]) -> bool:
    """Return whether a later verdict of `found` has all of its runs that are ours."""
    rest = ours.intersection(one.run_ids)
    return not one.lost and any(later.at > one.at and rest.issubset(later.run_ids) for later in found)


def _more(runs: Sequence[RunFact], release: str, last: GateFact, rules: Rules) -> tuple[Missing | None, str]:
    """Return the further runs that a verdict needs, and the advice in words. None: they are not known."""
    advice = further_runs(len(last.run_ids), last.history, last.detectable, rules.detectable, _names(runs))
    if advice is None:
        return None, ""
    if advice.runs is not None:
        further = max(advice.runs - len(last.run_ids), 1)
        text = f"{quantity(advice.runs, 'run')} of the release would find it"
        return runs_command(runs, release, further), text
    ways = []
    if advice.quieter is not None:
        ways.append(f"runs that differ half as much ({quantity(advice.quieter[1], 'run')})")
    if advice.wider is not None:
        ways.append(f"{format_share(advice.wider[0])} as the limit ({quantity(advice.wider[1], 'run')})")
    if advice.history is not None:
        ways.append(f"{advice.history[0]} accepted runs ({quantity(advice.history[1], 'new run')})")
    text = "no number of runs of the release finds it, since the error of the history remains"
    text += f"; what helps: {', or '.join(ways)}" if ways else ""
    longer = runs_command(runs, release, advice.quieter[1]) if advice.quieter is not None else None
    if longer is not None:
        minutes = 4 * _minutes(runs)
        command = f"{longer.command} --duration {max(round(minutes * 60), 1)}s"
        longer = Missing(command, 4 * longer.minutes, "runs of four times the length differ about half as much")
    return longer, text


def further_runs(new: int, history: int, found: float, limit: float, names: int) -> Advice | None:
    """Return how the gate would find `limit`, from what it finds now with these numbers of runs; None if unknown.

    The deviation between runs is the one that explains `found`, the smallest detectable slow-down.
    """
    if not (history >= 2 and new >= 1 and isfinite(found) and found > 0):
        return None
    level = level_of_names(names)
    unit = log1p(detectable(history, new, 0.01, level=level)) / 0.01
    deviation = log1p(found) / unit
    return advise(history, deviation, limit, level=level) if isfinite(deviation) else None


def _gate(journey: str, release: str, of: GateFact, state: str, says: str) -> Evidence:
    return Evidence("gate", of.id, state, says, of.at, release, journey=journey)  # type: ignore[arg-type]


def _judge_all(runs: Sequence[RunFact], release: str) -> Missing:
    """Return the command that judges all runs of a release again. The gate reads run folders, which may be gone."""
    why = "judge all its runs"
    if gone := sum(not run.has_folder for run in runs):
        why += f"; it reads their run folders, and {gone} of {quantity(len(runs), 'folder')} {_is(gone)} not here:"
        why += f" copy what is gone to --runs-dir, or make new runs with --label release={release}"
    return Missing(f"loadgen gate {' '.join(run.run_id for run in runs)}", 1, why)


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


# -- headroom, health ----------------------------------------------------------


def headroom_row(
    journey: str,
    release: str,
    plan: str,
    studies: Iterable[StudyRecord],
    forecast: Forecast | None,
    rules: Rules,
    now: datetime,
) -> Row:
    """GO if the lower end of the capacity is enough for the upper end of the forecast; NO-GO if the upper end of the
    capacity is not enough for the lower end of the forecast.

    studies: the stored capacities, oldest first; plan: "shop.py:peak", or empty if there is only one.
    """
    known = [one for one in studies if _is_of(one, plan)]
    plans = sorted({_plan_of(one) for one in known})
    find = Missing(
        f"loadgen capacity find {plan or (plans[0] if len(plans) == 1 else 'FILE:PLAN')} --label release={release}",
        _FIND_MINUTES,
        "measure its capacity",
    )
    name = Missing(f"write forecast into [journeys.{journey}] of programme.toml", _EDIT_MINUTES, "the expected peak")
    open_ = tuple(one for one, is_open in ((find, False), (name, forecast is None)) if is_open)
    if len(plans) > 1:
        text = f"capacities of several plans: {', '.join(plans[:_SHOWN])}; write plan into [journeys.{journey}]"
        return row_of("headroom", journey, release, says=text), (*open_, Missing(text, _EDIT_MINUTES))
    ours = [one for one in known if _facts(one).get("release") == release] or known
    if not ours:
        return row_of("headroom", journey, release, says="no capacity was measured"), (find, *open_)
    last = ours[-1]
    facts, at = _facts(last), time_of(last.at)
    low, high = _positive(facts.get("low_per_s")), _positive(facts.get("high_per_s"))
    of = str(facts.get("release") or "")

    def row(state: str, says: str) -> Evidence:
        return Evidence("headroom", last.id, state, says, at, of, journey=journey)  # type: ignore[arg-type]

    if low is None or high is None or low > high:
        return row("open", "the study has no capacity with an interval"), (find, *open_)
    capacity = f"capacity {format_rate(low)} to {format_rate(high)}"
    if facts.get("is_confirmed") is False:
        return row("open", f"{capacity}, but the target did not hold its lower end"), (find, *open_)
    if forecast is None:
        return row("open", f"{capacity}, and no forecast to compare with"), (
            *open_,
            *_if_old(find, at, of, release, rules, now),
        )
    if forecast.until < now:
        return row("open", f"{capacity}; the forecast ended on {forecast.until:%Y-%m-%d}"), (name,)
    least, most = low / forecast.high, high / forecast.low
    text = f"{capacity}, forecast {format_rate(forecast.low)} to {format_rate(forecast.high)}:"
    text += f" headroom {least:.2f} to {most:.2f}, needed {rules.headroom:g}"
    state = "go" if least >= rules.headroom else "no-go" if most < rules.headroom else "open"
    how = f"{format_rate(low)} / {format_rate(forecast.high)} = {least:.3f}, and"
    how += f" {format_rate(high)} / {format_rate(forecast.low)} = {most:.3f}"
    judged = replace(row(state, text), arithmetic=how)
    return judged, (find,) if state == "open" else _if_old(find, at, of, release, rules, now)


def _if_old(find: Missing, at: datetime, of: str, release: str, rules: Rules, now: datetime) -> tuple[Missing, ...]:
    is_old = now - at > rules.ages.get("headroom", timedelta(days=90))
    return (find,) if is_old or of != release else ()


def health_row(journey: str, health: Health, runs: Sequence[RunFact], now: datetime) -> Row:
    """GO if the A/A controls show a healthy gate."""
    control = Missing(f"loadgen history control {_file(runs)}", max(3 * _minutes(runs), 1.0), "check the gate itself")
    if not health.newest:
        return Evidence("health", "", "open", health.said(), journey=journey), (control,)
    at = time_of(health.newest[0].at)
    state = "go" if health.state is State.HEALTHY else "open"
    id_ = f"{quantity(health.controls, 'control')}"
    needs = state == "open" or health.is_stale(now)
    row = Evidence("health", id_, state, health.said(), at, journey=journey)  # type: ignore[arg-type]
    return row, (control,) if needs else ()


# -- helpers --------------------------------------------------------------------------------------


def row_of(
    kind: str, journey: str, release: str, runs: Sequence[RunFact] = (), state: str = "open", says: str = ""
) -> Evidence:
    """Return a row about runs of a release, with the time of the newest of them."""
    at = max((run.at for run in runs), default=None)
    return Evidence(kind, _ids(runs), state, says, at, release, journey=journey)  # type: ignore[arg-type]


def _ids(runs: Sequence[RunFact]) -> str:
    more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
    return ", ".join(run.run_id for run in runs[:_SHOWN]) + more


def _file(runs: Sequence[RunFact]) -> str:
    return next((run.file for run in reversed(runs) if run.file), "FILE:PLAN")


def _minutes(runs: Sequence[RunFact]) -> float:
    return max((run.minutes for run in runs), default=10.0)


def _names(runs: Sequence[RunFact]) -> int:
    return max((run.names for run in runs), default=1)


def _facts(study: StudyRecord) -> Mapping[str, Any]:
    facts = study.study.get("facts")
    return facts if isinstance(facts, Mapping) else {}


def _plan_of(study: StudyRecord) -> str:
    facts = _facts(study)
    return f"{facts.get('scenario', '')}:{facts.get('plan', '')}"


def _is_of(study: StudyRecord, plan: str) -> bool:
    if study.kind != "capacity find":
        return False
    return not plan or _plan_of(study) == plan or _plan_of(study).endswith(f"/{plan}")


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if isfinite(number) and number > 0 else None
