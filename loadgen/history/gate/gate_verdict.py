"""May this release go out? New runs are held against the history, and one of four words comes of it.

    decision = decide(store.runs(key), [accepted_of(run)])
    decision.verdict, decision.reasons        # FAIL, ("checkout > login is 11.8 % slower ...",)

1. Validity first: of a run that was not fit to measure nothing is said but INVALID.
2. p95 of all journeys, steps and requests against the newest 20 accepted runs since the level of each last changed, and
   against each pinned reference, so that what creeps is seen.
3. Errors: more of them fail, however fast the rest has become.
4. p50 and p99 are a family of their own, and only warn.

One or two new runs cannot FAIL for latency, since one run in thirty is slow by itself: they are *suspect*, and
more runs decide. FAIL outranks INCONCLUSIVE, which replaces only PASS. Pure: nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log1p, sqrt
from typing import Final

from loadgen.analysis.gate import LEAST_HISTORY, Effect, Outcome
from loadgen.analysis.ratios import RatioEffect
from loadgen.history.gate.baseline_level import LOOKED_AT, least_count
from loadgen.history.gate.decision import Begin, Decision, Family, Settings, Verdict
from loadgen.history.gate.outlier_agents import Apart, odd_agents, odd_regions, rest_is_slower
from loadgen.history.gate.test_families import HISTORY, Bench, errors_of, pairs_of
from loadgen.history.store.baseline_run import PERCENTILES, Accepted, Reference
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.text import listed
from loadgen.units import format_changes, format_share

__all__ = ["DECIDING", "decide", "decide_pairs"]

DECIDING: Final = 3
"""New runs with which latency can FAIL."""
_CLEAR_EXCESS: Final = 0.01
"""A point more of errors needs no second run."""


def decide(
    history: Sequence[Accepted],
    new: Sequence[Accepted],
    references: Sequence[tuple[Reference, Sequence[Accepted]]] = (),
    settings: Settings | None = None,
    *,
    begins: Sequence[Begin] = (),
    wanted: str = "",
) -> Decision:
    """Judge `new`, which are runs of one key.

    Args:
        history: accepted runs of the same key, oldest first. Those that are among `new` do not count.
        references: pinned releases with their runs, of the same key.
        begins: runs that were accepted though slower.
        wanted: the name of the reference that was asked for: it has to tell, too.

    Returns:
        The same runs give the same decision.

    Raises:
        ValueError: no new run, or settings out of range.

    Cost: of 60 names and 100 runs some 0.3 s, most of it what `judge` and `scan` simulate once a process.
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
    bench = Bench(settings, old, new, begins)
    families = tuple(bench.families(references, wanted))
    notes = tuple(bench.notes())
    if unfit:
        notes = (*notes, f"not compared with, since not fit: {listed(sorted(unfit))}")
    decision = Decision(
        Verdict.PASS, (), settings, tuple(new), families, bench.secondary(), bench.errors(), notes=notes
    )
    return _concluded(decision, old)


def decide_pairs(before: Sequence[Accepted], after: Sequence[Accepted], settings: Settings | None = None) -> Decision:
    """Judge runs of B (`after`) that took turns with runs of A: the n-th of one beside the n-th of the other.

    Raises:
        ValueError: not as many runs of either, or none; settings out of range.
    """
    settings = settings or Settings()
    if not before or len(before) != len(after):
        raise ValueError(f"{len(before)} runs of A and {len(after)} of B")
    if reasons := _invalid((*before, *after)):
        return Decision(Verdict.INVALID, reasons, settings, tuple(after))
    found = pairs_of(before, after, (settings.percentile,), settings)
    families = () if found is None else (Family("A", found, tuple(run.run_id for run in before)),)
    others = pairs_of(before, after, [one for one in PERCENTILES if one != settings.percentile], settings)
    secondary = () if others is None else others.names
    errors = errors_of(before, after, settings.alpha)
    decision = Decision(Verdict.PASS, (), settings, tuple(after), families, secondary, errors)
    return _concluded(decision, before)


def _invalid(runs: Sequence[Accepted]) -> tuple[str, ...]:
    return tuple(f"{run.run_id}: {why}" for run in runs for why in unfit_of(run))


def _concluded(decision: Decision, old: Sequence[Accepted]) -> Decision:
    """The verdict from its parts."""
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
                soft[one.name] = "it is slower only at one agent, and without that it is not"
                unsure.append(f"{one.name} is slower only at one agent, and without that it is not: run it again")
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
        unsure.append(f"{runs} would decide it: --confirm {more} makes them")
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
    """No name is shown as failed that does not make the gate fail. soft: why, by name."""
    names = [
        replace(one, outcome=Outcome.INCONCLUSIVE, reason=soft[one.name])
        if one.name in soft and (one.outcome is Outcome.FAIL or one in family.judgement.suspects)
        else one
        for one in family.judgement.names
    ]
    worst = Outcome.worst(one.outcome for one in names)
    return replace(family, judgement=replace(family.judgement, outcome=worst, names=tuple(names)))


def _would_do(decision: Decision) -> bool:
    """Are there too few new runs to see what is tolerated, and would `DECIDING` see it?"""
    k = len(decision.new)
    unseen = [
        one
        for family in decision.families
        if family.is_wanted
        for one in family.judgement.names
        if one.outcome is Outcome.INCONCLUSIVE
    ]
    if k >= DECIDING or not unseen or any(one.history < LEAST_HISTORY or not one.new for one in unseen):
        return False
    tolerate = log1p(decision.settings.tolerate)
    return all(
        log1p(one.detectable) * sqrt((1 / DECIDING + 1 / one.history) / (1 / k + 1 / one.history)) <= tolerate
        for one in unseen
    )


def _nothing(settings: Settings, old: Sequence[Accepted]) -> str:
    if not old:
        return "there are no accepted runs to compare with"
    return f"no name has the {least_count(settings.percentile)} samples a run that {settings.percentile} needs"


def _unsure(family: Family) -> Iterator[str]:
    """Names by why they cannot be told, with what they are compared with."""
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
            f" would have been found, and {format_share(family.judgement.tolerate)} is tolerated{against}"
        )


def _tails(decision: Decision, known: set[str]) -> Iterator[str]:
    """The other percentiles, where the deciding one has not said it."""
    for one in decision.secondary:
        if one.outcome is Outcome.FAIL and one.name.partition(" of ")[2] not in known:
            yield f"{one.name} is {format_share(one.change)} slower (95 %: {format_changes(one.low, one.high)})"


def _doubts(new: Sequence[Accepted]) -> Iterator[str]:
    for run in new:
        if run.validity == "suspect":
            yield f"{run.run_id} is suspect: {'; '.join(run.reasons) or 'its generator may not have been fit'}"


def _is_of_agents(decision: Decision, old: Sequence[Accepted], odd: Sequence[Apart], name: str) -> bool:
    """In most of the new runs one agent differs at this name, and without it nothing is slower."""
    runs = {one.run_id for one in odd if one.name == name}
    if 2 * len(runs) <= len(decision.new):
        return False
    settings = decision.settings
    return not rest_is_slower(old, decision.new, odd, name, settings.percentile, settings.delta)


def _odd_warnings(decision: Decision, old: Sequence[Accepted], odd: Sequence[Apart]) -> Iterator[str]:
    by_agent: dict[tuple[str, str], list[Apart]] = {}
    for one in odd:
        by_agent.setdefault((one.agent, one.region), []).append(one)
    for (agent, region), found in by_agent.items():
        most = max(found, key=lambda one: one.gap)
        yield (
            f"one agent differs: {agent} in {region} is {format_share(most.gap)} slower than the others there"
            f" at {listed(dict.fromkeys(one.name for one in found))} ({len({o.run_id for o in found})} of"
            f" {len(decision.new)} runs)"
        )
    settings = decision.settings
    by_region: dict[str, list[Apart]] = {}
    for one in odd_regions(old[-settings.newest :], decision.new, settings.percentile, settings.delta):
        by_region.setdefault(one.region, []).append(one)
    for region, found in by_region.items():
        most = max(found, key=lambda one: one.gap)
        yield (
            f"one region differs: {region} is {format_share(most.gap)} slower than before, and no other is,"
            f" at {listed(one.name for one in found)}"
        )


def _slower(one: Effect, family: Family, settings: Settings, p: str) -> str:
    against = {HISTORY: f"than {one.history} accepted runs", "A": "than A"}.get(
        family.against, f"than {family.against} ({one.history} runs)"
    )
    said = f"{settings.percentile} of {one.name} is {format_share(one.change)} slower {against}"
    return f"{said} (95 %: {format_changes(one.low, one.high)}; {p})"


def _more_errors(one: RatioEffect) -> str:
    after, before = format_share(one.after), format_share(one.before)
    return f"{one.name} has {after} errors, and had {before} (p {one.p_adjusted:.2g})"


def _tested(family: Family) -> int:
    return sum(1 for one in family.judgement.names if one.history and one.new)
