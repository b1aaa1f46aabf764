"""Decides whether a release may go out, from its new runs and the history of accepted runs. Pure.

    decision = decide(store.runs(key), [accepted_of(run)])
    decision.verdict, decision.reasons        # FAIL, ("checkout > login is 11.8 % slower ...",)

1. Validity comes first: if the generator could not measure in a run, the verdict is INVALID.
2. The p95 of all journeys, steps and requests is compared with the newest 20 accepted runs of the current level of each
   name, and with each pinned reference. The references reveal many small slow-downs in a row.
3. Errors: more errors are a FAIL, however fast the successful requests have become.
4. p50 and p99 form a family of their own and only cause warnings.

One or two new runs cannot FAIL for latency, since one run in thirty is slow by chance. They are *suspect*, and more
runs decide. FAIL outranks INCONCLUSIVE, and INCONCLUSIVE outranks PASS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log1p, sqrt
from typing import Final

from loadgen.analysis.error_ratio_gate import RatioEffect
from loadgen.analysis.gate import LEAST_HISTORY, Effect, Outcome
from loadgen.history.gate.baseline_selection import LOOKED_AT, least_count
from loadgen.history.gate.gate_result import Begin, Decision, Family, Settings, Verdict
from loadgen.history.gate.hypothesis_families import HISTORY, Families, errors_of, pairs_of, rare_in_pairs
from loadgen.history.gate.outlier_agents import Outlier, odd_agents, odd_regions, rest_is_slower
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.names_in_sentence import listed
from loadgen.history.store.stored_run import PERCENTILES, Accepted, Reference
from loadgen.units import format_changes, format_share

__all__ = ["DECIDING", "decide", "decide_pairs"]

DECIDING: Final = 3
"""Least number of new runs for a FAIL because of latency."""
_CLEAR_EXCESS: Final = 0.01
"""Rise of the error ratio that is a FAIL even with a single new run: one percentage point."""


def decide(
    history: Sequence[Accepted],
    new: Sequence[Accepted],
    references: Sequence[tuple[Reference, Sequence[Accepted]]] = (),
    settings: Settings | None = None,
    *,
    begins: Sequence[Begin] = (),
    wanted: str = "",
) -> Decision:
    """Judge whether a release may go out, and return the verdict with its reasons and all test results.

    The same arguments give the same decision.

    Args:
        history: accepted runs of the same key, oldest first. Runs that are also in `new` are ignored.
        new: the runs of the release, oldest first.
        references: pinned releases with their runs, of the same key.
        begins: runs that were accepted in spite of a FAIL.
        wanted: name of the reference that the operator named: an undecided comparison with it is INCONCLUSIVE, too.

    Raises:
        ValueError: there is no new run, or a setting is out of range.

    Cost: some 0.3 s for 60 names and 100 runs, mostly for the simulations that `judge` and `scan` do once a process.
    """
    settings = settings or Settings()
    if not new:
        raise ValueError("no new run")
    if reasons := _invalid(new):
        return Decision(Verdict.INVALID, reasons, settings, tuple(new))
    ours = {run.run_id for run in new}
    looked = [run for run in history if run.run_id not in ours][-LOOKED_AT:]
    unfit = {run.run_id for run in looked if unfit_of(run)}
    old = [run for run in looked if run.run_id not in unfit]
    built = Families(settings, old, new, begins)
    families = tuple(built.families(references, wanted))
    notes = tuple(built.notes())
    if unfit:
        notes = (*notes, f"left out of the history, since not fit to measure: {listed(sorted(unfit))}")
    decision = Decision(
        Verdict.PASS, (), settings, tuple(new), families, built.secondary(), built.errors(), notes=notes
    )
    return _concluded(decision, old)


def decide_pairs(before: Sequence[Accepted], after: Sequence[Accepted], settings: Settings | None = None) -> Decision:
    """Judge release B (`after`) against release A (`before`), whose runs alternated, pair by pair. Return the decision.

    Raises:
        ValueError: the sides have no runs or different numbers of runs, or a setting is out of range.
    """
    settings = settings or Settings()
    if not before or len(before) != len(after):
        raise ValueError(f"{len(before)} runs of A and {len(after)} of B: give the same number of each, at least one")
    if reasons := _invalid((*before, *after)):
        return Decision(Verdict.INVALID, reasons, settings, tuple(after))
    found = pairs_of(before, after, (settings.percentile,), settings)
    families = () if found is None else (Family("A", found, tuple(run.run_id for run in before)),)
    others = pairs_of(before, after, [one for one in PERCENTILES if one != settings.percentile], settings)
    secondary = () if others is None else others.names
    errors = errors_of(before, after, settings.alpha)
    rare = rare_in_pairs(before, after, settings.percentile)
    why = f"fewer than {least_count(settings.percentile)} samples a run"
    notes = (f"not judged at {settings.percentile}: {listed(rare)} ({why})",) if rare else ()
    decision = Decision(Verdict.PASS, (), settings, tuple(after), families, secondary, errors, notes=notes)
    return _concluded(decision, before)


def _invalid(runs: Sequence[Accepted]) -> tuple[str, ...]:
    return tuple(f"{run.run_id}: {why}" for run in runs for why in unfit_of(run))


def _concluded(decision: Decision, old: Sequence[Accepted]) -> Decision:
    """Return the decision completed with verdict, reasons and warnings, which follow from its test results.

    old: the runs with which the new ones were compared.
    """
    settings, new = decision.settings, decision.new
    missing = max(DECIDING - len(new), 0)
    odd = [one for run in new for one in odd_agents(run, settings.percentile)]
    failing: list[str] = []
    names: set[str] = set()
    soft: dict[str, str] = {}
    suspects: list[str] = []
    unsure: list[str] = []
    for family in decision.families:
        looking = family.judgement.failed if not missing else (*family.judgement.failed, *family.judgement.suspects)
        for one in dict.fromkeys(looking):
            names.add(one.name)
            if _is_of_agents(decision, old, odd, one.name):
                soft[one.name] = "slower only at outlier agents, which a warning names"
                unsure.append(
                    f"{one.name} is slower only at outlier agents, which a warning names: make the new runs again"
                )
            elif missing:
                soft[one.name] = f"suspect: {missing} more {'run decides' if missing == 1 else 'runs decide'}"
                suspects.append(_slower(one, family, settings, f"p {one.p:.2g}"))
            else:
                p = f"p {one.p_adjusted:.2g} among {_tested(family)}"
                failing.append(_slower(one, family, settings, p))
    for error in decision.errors:
        if error.has_failed:
            names.add(error.name)
            is_clear = not missing or error.excess >= _CLEAR_EXCESS
            (failing if is_clear else suspects).append(_more_errors(error))
    warnings = [*_odd_warnings(decision, old, odd), *_tails(decision, names), *_doubts(new)]
    if not decision.families:
        unsure.append(_nothing(settings, old))
    for family in decision.families:
        (unsure if family.is_wanted else warnings).extend(_unsure(family))
    more = missing if suspects or _would_do(decision) else 0
    if more:
        runs = "one more run" if more == 1 else f"{more} more runs"
        unsure.append(f"{runs} would decide it: --confirm {more} makes them now; runs on other days say more")
    verdict = Verdict.FAIL if failing else Verdict.INCONCLUSIVE if suspects or unsure else Verdict.PASS
    return replace(
        decision,
        families=tuple(_softened(family, soft) for family in decision.families),
        verdict=verdict,
        reasons=(*failing, *(f"suspect: {text}" for text in suspects), *unsure),
        warnings=tuple(warnings),
        is_suspect=bool(suspects),
        more_runs=more,
        failed_names=frozenset(names),
    )


def _softened(family: Family, soft: dict[str, str]) -> Family:
    """Return the family with FAIL changed into INCONCLUSIVE for names that do not make the gate fail.

    soft: for each such name, the reason.
    """
    names = [
        replace(one, outcome=Outcome.INCONCLUSIVE, reason=soft[one.name])
        if one.name in soft and (one.outcome is Outcome.FAIL or one in family.judgement.suspects)
        else one
        for one in family.judgement.names
    ]
    worst = Outcome.worst(one.outcome for one in names)
    return replace(family, judgement=replace(family.judgement, outcome=worst, names=tuple(names)))


def _would_do(decision: Decision) -> bool:
    """Return whether a total of `DECIDING` new runs would decide all undecided names.

    False if there are enough new runs already, nothing is undecided, or a name lacks accepted values or the value of a
    new run.
    """
    k = len(decision.new)
    unseen = [
        one
        for family in decision.families
        if family.is_wanted
        for one in family.judgement.names
        if one.outcome is Outcome.INCONCLUSIVE
    ]
    if k >= DECIDING or not unseen or any(one.history < LEAST_HISTORY or one.new < k for one in unseen):
        return False
    tolerate = log1p(decision.settings.tolerate)
    return all(
        # The detectable effect is proportional to sqrt(1 / new + 1 / history). The few more degrees of freedom are
        # ignored.
        log1p(one.detectable) * sqrt((1 / DECIDING + 1 / one.history) / (1 / k + 1 / one.history)) <= tolerate
        for one in unseen
    )


def _nothing(settings: Settings, old: Sequence[Accepted]) -> str:
    if not old:
        return "there are no accepted runs to compare with"
    return f"no name has enough samples: {settings.percentile} needs {least_count(settings.percentile)} in each run"


def _unsure(family: Family) -> Iterator[str]:
    """Yield a sentence for each reason why names of the family are undecided, with all names that it concerns."""
    against = "" if family.against in (HISTORY, "A") else f" (against {family.against})"
    unseen: list[Effect] = []
    reasons: dict[str, list[str]] = {}
    for one in family.judgement.names:
        if one.outcome is not Outcome.INCONCLUSIVE:
            continue
        if one.is_blind:
            unseen.append(one)
        else:
            reasons.setdefault(one.reason, []).append(one.name)
    for why, names in reasons.items():
        yield f"{listed(names)}: {why}{against}"
    if unseen:
        unseen.sort(key=lambda one: -one.detectable)
        yield (
            f"{listed(one.name for one in unseen)}: only a slow-down of {format_share(unseen[0].detectable)} or more"
            f" would have been found, but at most {format_share(family.judgement.tolerate)} is tolerated{against}"
        )


def _tails(decision: Decision, known: set[str]) -> Iterator[str]:
    """Yield a warning for each name that is slower at a percentile that does not decide, and is not in `known`."""
    for one in decision.secondary:
        if one.outcome is Outcome.FAIL and one.name.partition(" of ")[2] not in known:
            yield f"{one.name} is {format_share(one.change)} slower (95 %: {format_changes(one.low, one.high)})"


def _doubts(new: Sequence[Accepted]) -> Iterator[str]:
    for run in new:
        if run.validity == "suspect":
            why = "; ".join(run.reasons) or "its generator may not have been fit to measure"
            yield f"{run.run_id} is suspect: {why}"


def _is_of_agents(decision: Decision, old: Sequence[Accepted], odd: Sequence[Outlier], name: str) -> bool:
    """Return whether outlier agents alone make this name slower: most new runs have one, not always the same, and
    without them the name is not slower.

    odd: agents that are slower than the others of their region, in each run.
    """
    runs = {one.run_id for one in odd if one.name == name}
    if 2 * len(runs) <= len(decision.new):
        return False
    settings = decision.settings
    return not rest_is_slower(old, decision.new, odd, name, settings.percentile, settings.delta)


def _odd_warnings(decision: Decision, old: Sequence[Accepted], odd: Sequence[Outlier]) -> Iterator[str]:
    by_agent: dict[tuple[str, str], list[Outlier]] = {}
    for one in odd:
        by_agent.setdefault((one.agent, one.region), []).append(one)
    for (agent, region), found in by_agent.items():
        most = max(found, key=lambda one: one.gap)
        yield (
            f"one agent differs: {agent} in {region} is {format_share(most.gap)} slower than the other agents there"
            f" at {listed(dict.fromkeys(one.name for one in found))} ({len({o.run_id for o in found})} of"
            f" {len(decision.new)} runs)"
        )
    settings = decision.settings
    by_region: dict[str, list[Outlier]] = {}
    for one in odd_regions(old[-settings.newest :], decision.new, settings.percentile, settings.delta):
        by_region.setdefault(one.region, []).append(one)
    for region, found in by_region.items():
        most = max(found, key=lambda one: one.gap)
        yield (
            f"one region differs: only {region} is slower than before, by {format_share(most.gap)}"
            f" at {listed(one.name for one in found)}"
        )


def _slower(one: Effect, family: Family, settings: Settings, p: str) -> str:
    against = {HISTORY: f"than {one.history} accepted runs", "A": "than A"}.get(
        family.against, f"than {family.against} ({one.history} runs)"
    )
    text = f"{settings.percentile} of {one.name} is {format_share(one.change)} slower {against}"
    return f"{text} (95 %: {format_changes(one.low, one.high)}; {p})"


def _more_errors(one: RatioEffect) -> str:
    after, before = format_share(one.after), format_share(one.before)
    return f"{one.name} has {after} errors, up from {before} (p {one.p_adjusted:.2g})"


def _tested(family: Family) -> int:
    """Return the number of compared names, for which the p-values are adjusted."""
    return sum(1 for one in family.judgement.names if one.history and one.new)
