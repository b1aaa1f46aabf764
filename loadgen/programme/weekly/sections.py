"""The sections below the charts: what changed, what is open, anomalies, recommendations, coverage, certainty. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from loadgen.analysis.burn.firing import sums_before
from loadgen.history.store.stored_run import Event
from loadgen.outside_text import one_line
from loadgen.programme.composites.attained import composite_states
from loadgen.programme.estimates.sentences import minutes_text, undecided_text
from loadgen.programme.load_tests.said import LoadTests, older_slices, older_text
from loadgen.programme.promises.objectives import RollingWindow
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.recommending.overrides import OVERRIDDEN
from loadgen.programme.recommending.record import RECOMMENDED
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import percent, when
from loadgen.programme.weekly.cells.run_cells import has_journey
from loadgen.programme.weekly.cells.run_samples import samples_said
from loadgen.programme.weekly.cells.weeks_of_production import levels_said, months_said
from loadgen.programme.weekly.cells.weeks_of_quarter import weeks_of_quarter
from loadgen.programme.weekly.changed import Drift
from loadgen.programme.weekly.first_sentences import Facts, health_said, late_of, recommendation_said, sources_evidence
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Said, Section, Tone
from loadgen.programme.weekly.rows import FromOthers, PromiseRow
from loadgen.programme.weekly.wording import RULE, certainty_of, worded
from loadgen.units import quantity

__all__ = ["ANOMALIES", "COMPOSITES", "COVERAGE", "sections_of"]

ANOMALIES: Final = "Anomalies"
COMPOSITES: Final = "Composites"
COVERAGE: Final = "Coverage"
_DAY_S: Final = 86_400
_FRESH_S: Final = 7 * _DAY_S
_MOST: Final = 30


def sections_of(
    facts: Facts, drifts: tuple[Drift, ...], book: EvidenceBook, others: FromOthers | None = None
) -> tuple[Section, ...]:
    """Return the sections in the order of the page."""
    others = others or FromOthers()
    gathered = facts.gathered
    anomalies = others.anomalies or Section(ANOMALIES, none="Not looked for.")
    coverage = tuple(_coverage(facts, book)) if others.coverage is None else others.coverage
    composites = tuple(_composites(facts, book))
    return (
        *([Section(COMPOSITES, composites)] if composites else []),
        Section(
            "What changed",
            (*_changed(facts), *others.changed)[:_MOST],
            "No load test became slower or faster for certain.",
        ),
        *(
            [Section("Week by week", tuple(_week_by_week(facts, book)), "No promise has counts of this quarter.")]
            if gathered.period.is_quarter
            else []
        ),
        Section("What is open", tuple(_open(facts, drifts, book))[:_MOST], "Nothing."),
        anomalies,
        Section(
            "Recommendations and overrides in force",
            (*_recommendations(gathered, book), *others.outcomes),
            "No recommendation in two weeks, and no override in force.",
        ),
        Section(COVERAGE, coverage, "Every journey has valid runs in the last 7 days."),
        Section("How sure we are", tuple(_certainty(facts, book))),
    )


def _composites(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    """Yield each composite with its parts. Each part also has its own row."""
    rows = {one.promise.objective.name: one for one in facts.rows}
    states = [one.promise.state for one in facts.rows]
    for one in composite_states(facts.gathered.composites, states):
        found = [rows[part.objective.name] for part in one.parts]
        figures = [
            (n.row.slo, f"{share} · {n.row.kept.text}") for share, n in zip(one.composite.shares, found, strict=True)
        ]
        id_ = book.add(
            "facts",
            f"{one_line(one.composite.name, 63)}: {one.says}",
            "the sum of weight · attainment of the parts, with weights as shares of their sum; bounds and target are"
            " the same sums of the bounds and targets of the parts",
            tuple(figures),
            see="loadgen slo status --explain",
        )
        tone: Tone = "good" if one.word == "kept" else "bad" if one.word == "not kept" else "open"
        ids = (id_, *(each for n in found for each in n.row.kept.evidence))
        yield Said(f"{one_line(one.composite.name, 63)}: {one.says}.", tone, ids, "", "composite")


# -- what changed ---------------------------------------------------------------------------------


def _changed(facts: Facts) -> Iterator[Said]:
    zone = facts.gathered.settings.tz
    owners = {one.row.journey: one.row.owner for one in facts.rows}
    for one in facts.changes:
        if certainty_of(one.change) not in ("certain", "leans"):
            continue
        text = f"{one.journey} {worded(one.change)} from {when(one.at, zone)} on"
        text += f", {one.code}"
        text += f" ({one.labels})" if one.labels else ""
        text += f"; accepted: {one.accepted}" if one.accepted else ""
        owner = owners.get(one.journey, "") if one.is_slower and not one.accepted else ""
        yield Said(f"{text}.", "bad" if one.is_slower else "plain", (one.evidence,), owner, "change")


def _week_by_week(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    yield from _by_week(facts.gathered, book)
    for one in facts.gathered.promises:
        yield from levels_said(one, facts.gathered, book)
    for one in facts.gathered.promises:
        yield from months_said(one, facts.gathered, book)


def _by_week(gathered: Gathered, book: EvidenceBook) -> Iterator[Said]:
    """Yield for each promise in how many weeks of the quarter it was reached, and whether it became more reliable."""
    for one in gathered.promises:
        if (weeks := weeks_of_quarter(one, gathered, book)) is not None:
            owner = one_line(one.objective.owner, 120)
            yield Said(f"{weeks.text}.", weeks.tone, (weeks.id,), owner, "week by week")


# -- what is open ---------------------------------------------------------------------------------


def _open(facts: Facts, drifts: tuple[Drift, ...], book: EvidenceBook) -> Iterator[Said]:
    gathered = facts.gathered
    for one in facts.rows:
        yield from _promise(one, gathered)
    yield from _regressions(facts, drifts)
    yield from _failed(facts, book)
    for one in facts.rows:
        if one.row.headroom.tone in ("bad", "open"):
            text = f"{one.row.journey}: headroom {one.row.headroom.text}"
            yield Said(f"{text}.", one.row.headroom.tone, one.row.headroom.evidence, one.row.owner, "headroom")


def _promise(one: PromiseRow, gathered: Gathered) -> Iterator[Said]:
    state, row = one.promise.state, one.row
    name, zone = row.slo, gathered.settings.tz
    cost = f"; {row.at_stake.text} this {_word(gathered)}" if row.at_stake.evidence else ""
    evidence = (*row.kept.evidence, *row.at_stake.evidence)
    if state.word == "not kept":
        since = _spent_since(one.promise)
        age = "" if since is None else f" since {when(since, zone)}"
        text = f"{name} is not kept{age}: {state.figure} against {percent(state.objective)}{cost}"
        yield Said(f"{text}.", "bad", evidence, row.owner, "promise not kept")
    elif state.word == "undecided" and state.judgement is not None:
        yield Said(
            f"{name} is undecided: {undecided_text(state)}.", "open", row.kept.evidence, row.owner, "promise undecided"
        )
    elif state.word in ("no data", "no traffic"):
        why = f": {one_line(state.why, 200)}" if state.why else ""
        yield Said(f"{name} has {state.word}{why}.", "open", row.kept.evidence, row.owner, "no data")
    for fire in state.fires[:1]:
        if fire.long_burn is not None and row.burn.evidence:
            text = f"{name} burns its budget {fire.long_burn:.3g} times as fast as allowed over"
            text += f" {RollingWindow(fire.rule.long_s).text}{cost}"
            yield Said(f"{text}.", "bad", (*row.burn.evidence, *row.at_stake.evidence), row.owner, "burn")


def _spent_since(promise: Promise) -> float | None:
    """Return the end of the slice with which the budget was spent for the last time; None: not within 28 days."""
    units, state, objective = promise.units, promise.state, promise.objective
    if units is None or not isinstance(objective.window, RollingWindow):
        return None
    ends = units.end[(units.end > state.end - 28 * _DAY_S) & (units.end <= state.end)]
    bad, of = sums_before(units, ends, objective.window.nominal_s)
    is_spent = bad > float(objective.budget) * of
    within = np.flatnonzero(~is_spent)
    first = int(within[-1]) + 1 if len(within) else 0
    return float(ends[first]) if within.size and first < len(ends) else None


def _regressions(facts: Facts, drifts: tuple[Drift, ...]) -> Iterator[Said]:
    zone, owners = facts.gathered.settings.tz, {one.row.journey: one.row.owner for one in facts.rows}
    slower = [one for one in facts.changes if one.is_slower and one.is_newest and not one.accepted]
    for one in slower:
        days = max(int(facts.gathered.at - one.at) // _DAY_S, 0)
        text = f"{one.journey} is slower since {when(one.at, zone)} ({quantity(days, 'day')}): it {worded(one.change)}"
        text += f", {one.code}"
        yield Said(f"{text}; nobody accepted it.", "bad", (one.evidence,), owners.get(one.journey, ""), "regression")
    named = {one.journey for one in slower}
    for drift in drifts:
        change = drift.change
        if change.is_known and change.low > 0 and change.change >= RULE and drift.journey not in named:
            text = f"{drift.journey} drifted: against the pinned release {drift.reference} it {worded(change)}"
            text += ", and no accepted change explains it"
            yield Said(f"{text}.", "bad", (drift.evidence,), owners.get(drift.journey, ""), "drift")


def _failed(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    """Yield each FAIL of the gate that stands: nobody accepted it, and no newer verdict judged all of its runs."""
    gathered = facts.gathered
    ours = {run.run_id for run in gathered.runs}
    found = [one for one in gathered.verdicts if ours.intersection(one.event.run_ids)]
    for n, one in enumerate(found):
        details = one.event.details
        runs = set(one.event.run_ids)
        is_judged_again = any(runs <= set(later.event.run_ids) for later in found[n + 1 :])
        if details.get("outcome") != "FAIL" or one.event.because or is_judged_again:
            continue
        days = max((gathered.at - one.at) // _DAY_S, 0)
        reasons = one_line(details.get("reasons", ""), 200)
        id_ = book.add(
            "gate",
            f"the gate's verdict on {quantity(len(runs), 'run')}: FAIL",
            "the gate compares the figures of each name with accepted runs of the same key",
            (("reasons", reasons), ("at", one_line(one.event.at, 40))),
            run_ids=one.event.run_ids,
            see=f"loadgen gate {' '.join(one.event.run_ids)}",
            id_=one.id,
        )
        text = f"{one.id}: the gate failed{f': {reasons}' if reasons else ''} ({quantity(days, 'day')} ago)"
        yield Said(f"{text}; nobody accepted it.", "bad", (id_,), "", "gate")


# -- recommendations ------------------------------------------------------------------------------


def _recommendations(gathered: Gathered, book: EvidenceBook) -> Iterator[Said]:
    first = gathered.period.start - 14 * _DAY_S
    known: dict[str, Event] = {}
    for event in gathered.decisions:
        if event.kind == RECOMMENDED:
            known[event.details.get("id", "")] = event
            if time_of(event.at).timestamp() >= first:
                yield recommendation_said(event, book)
    for event in gathered.decisions:
        if event.kind == OVERRIDDEN and (until := _until(event.details)) is not None and until > gathered.at:
            id_ = one_line(event.details.get("id", ""), 20)
            text = f"{id_} ({one_line(event.details.get('release', ''), 60)}) is overridden until"
            text += f" {when(until, gathered.settings.tz)} by {one_line(event.by, 80)}, because"
            text += f" {one_line(event.because, 200).rstrip('.')}"
            recommended = known.get(event.details.get("id", ""))
            evidence = recommendation_said(recommended, book).evidence if recommended is not None else ()
            yield Said(f"{text}.", "open", evidence, one_line(event.by, 80), "override")


def _until(details: Mapping[str, str]) -> float | None:
    try:
        return time_of(details.get("until", "")).timestamp()
    except ValueError:
        return None


# -- coverage, certainty --------------------------------------------------------------------------


def _coverage(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    """Yield the short form, without traffic and value: journeys without a valid run in 7 days."""
    gathered = facts.gathered
    since = gathered.at - _FRESH_S
    fresh = [run for run in gathered.runs if time_of(run.started_at).timestamp() >= since and run.validity == "valid"]
    journeys = list(dict.fromkeys(one.promise.journey for one in facts.rows))
    without = [one for one in journeys if not any(has_journey(run, one) for run in fresh)]
    id_ = book.add(
        "facts",
        f"{len(journeys) - len(without)} of {quantity(len(journeys), 'journey')} have a valid run in the last 7 days",
        "a journey counts if a valid accepted run of the last 7 days has its p95",
        (("journeys with runs", str(len(journeys) - len(without))), ("without", ", ".join(without)[:300] or "none")),
        run_ids=tuple(run.run_id for run in fresh),
    )
    verb = "has" if 1 in (len(journeys) - len(without), len(journeys)) else "have"
    text = (
        f"{len(journeys) - len(without)} of {quantity(len(journeys), 'journey')} {verb} valid runs in the last 7 days"
    )
    if without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        text += f"; without: {', '.join(one_line(one, 63) for one in without[:5])}{more}"
    yield Said(f"{text}.", "open" if without else "good", (id_,), "", "coverage")


def _certainty(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    gathered = facts.gathered
    yield health_said(facts, book)
    late = late_of(gathered)
    sources = sources_evidence(gathered, book)
    if gathered.sources:
        complete = len(gathered.sources) - len(late)
        verb = "is" if 1 in (complete, len(gathered.sources)) else "are"
        text = f"{complete} of {quantity(len(gathered.sources), 'source')} {verb} complete"
        text += f"; late: {', '.join(one_line(one, 60) for one in late)}" if late else ""
        yield Said(f"{text}.", "open" if late else "good", (sources,), "", "sources")
    gaps = [one for one in facts.rows if _gap(one) >= 60]
    for one in gaps[:5]:
        minutes = minutes_text(_gap(one))
        text = f"{one.row.slo}: {minutes} of its window have no counts; its bounds contain both cases"
        yield Said(f"{text}.", "open", one.row.kept.evidence, "", "missing data")
    if len(gaps) > 5:
        ids = tuple(id_ for one in gaps[5:] for id_ in one.row.kept.evidence)
        yield Said(f"{len(gaps) - 5} more promises have time without counts.", "open", ids, "", "missing data")
    estimates = [one for one in facts.rows if one.row.kept.is_estimate]
    if estimates:
        ids = tuple(id_ for one in estimates for id_ in one.row.kept.evidence)
        are = "is an estimate" if len(estimates) == 1 else "are estimates"
        text = f"{len(estimates)} of {quantity(len(facts.rows), 'attainment')} {are}, from counts that a source"
        text += " interpolated or sampled; each is shown with the interval of its error"
        yield Said(f"{text}.", "open", ids, "", "estimates")
    yield from _load_tests(facts, book)
    for found in gathered.exclusions[:10]:
        zone, of = gathered.settings.tz, ", ".join(found.slos) or "all promises"
        text = f"{when(found.start, zone)} to {when(found.end, zone)} is excluded for {one_line(of, 200)}"
        text += f", by {found.by}" if found.by else ""
        named = [row for row in facts.rows if not found.slos or row.promise.objective.name in found.slos]
        ids = tuple(id_ for row in named if row.promise.state.excluded for id_ in row.row.kept.evidence)
        yield Said(f"{text}, because {found.because.rstrip('.')}.", "plain", ids, "", "excluded")
    yield from samples_said(((one.promise, one.row.kept.evidence) for one in facts.rows), gathered, book)
    methods = list(dict.fromkeys(one.row.method for one in facts.rows))
    text = (
        f"Attainment by {', '.join(methods)}: a fact of all requests, without an interval, with bounds for missing time"
    )
    text += " and for the error of estimates" if estimates else ""
    yield Said(f"{text}.", key="methods")
    yield Said("Changes of load tests have 95 % intervals that include the variation between runs.", key="methods")


def _load_tests(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    """Yield how load tests are left out of the counts, so that they spend no error budget, or that nobody knows."""
    known = facts.gathered.load_tests
    if not known:
        return
    rows = [(one, known.get(one.promise.objective.name, LoadTests("unknown", ""))) for one in facts.rows]
    older = {
        one.row.slo: older_slices(said, one.promise.counts, one.promise.state.start, one.promise.state.end)
        for one, said in rows
    }
    without = sum(said.state != "unknown" for _, said in rows)
    how = dict.fromkeys(said.says for _, said in rows if said.state != "unknown")
    text = f"Load tests spend no error budget of {without} of {quantity(len(rows), 'promise')}"
    id_ = book.add(
        "facts",
        text,
        "load_tests at the source in programme.toml, or the annotation loadgen.dev/load-tests of the promise",
        tuple((one.row.slo, _joined(said.says, older[one.row.slo])) for one, said in rows),
        see="loadgen slo status --explain",
    )
    text += f": {'; '.join(list(how)[:3])}" if how else ""
    yield Said(f"{text}.", "open" if without < len(rows) else "good", (id_,), "", "load tests")
    if unknown := [one.row.slo for one, said in rows if said.state == "unknown"]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        text = f"Load tests are not known to be left out of {', '.join(unknown[:5])}{more}"
        yield Said(f"{text}: they may spend these error budgets.", "open", (id_,), "", "load tests")
    for slo, count in older.items():
        if count:
            yield Said(f"{slo}: {older_text(count)}, so they may contain load tests.", "open", (id_,), "", "load tests")


def _joined(says: str, older: int) -> str:
    return f"{says}; {older_text(older)}" if older else says


def _gap(one: PromiseRow) -> float:
    judgement = one.promise.state.judgement
    return 0.0 if judgement is None else judgement.missing_s


def _word(gathered: Gathered) -> str:
    return "quarter" if gathered.period.is_quarter else "week"
