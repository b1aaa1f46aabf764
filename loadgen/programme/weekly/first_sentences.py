"""The first sentences of the page: at most three, chosen in a fixed order, never good news above bad. Pure.

1. promises that were not kept, or that are undecided    5. a headroom below the policy
2. a budget that will be gone within its window          6. missing data
3. a certain slow-down, with its commit                  7. that all promises were kept
4. a launch without a GO                                 8. a launch with a GO

A gate that is not healthy, or whose controls are old, has a sentence as soon as the page quotes a verdict of it: such a
verdict has no weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from loadgen.analysis.attainment.incident import incident_of
from loadgen.analysis.attainment.shown import budget_text
from loadgen.history.gate.aa_test_health import Health, State
from loadgen.history.store.stored_run import Event
from loadgen.outside_text import one_line
from loadgen.programme.estimates.sentences import is_left_open
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.recommending.record import RECOMMENDED, document_of
from loadgen.programme.weekly.cells.capacity_cells import headroom_floor
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import is_gone_soon, percent, when
from loadgen.programme.weekly.changed import ChangeFound
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Said, Tone
from loadgen.programme.weekly.rows import PromiseRow
from loadgen.programme.weekly.wording import about
from loadgen.units import quantity

__all__ = ["MOST", "Facts", "first_sentences", "health_said", "late_of", "recommendation_said", "sources_evidence"]

MOST: Final = 3
LATE_S: Final = 3_600
_NAMED: Final = 3
_TROUBLES: Final = 100
_LAUNCH_S: Final = 14 * 86_400


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that sentences are chosen from."""

    gathered: Gathered
    rows: Sequence[PromiseRow]
    changes: Sequence[ChangeFound]
    health: Health


def first_sentences(facts: Facts, book: EvidenceBook) -> tuple[Said, ...]:
    """Return the sentences, at most three."""
    promises, slower, launches = list(_promises(facts)), list(_slower(facts)), list(_launches(facts, book))
    bad = [*promises, *_budgets(facts), *slower, *(one for one in launches if one.tone != "good")]
    bad += [*_headrooms(facts), *_missing(facts, book)]
    gate = list(_gate(facts, book))
    good = [] if promises else list(_all_kept(facts, is_slower=bool(slower)))
    good += [one for one in launches if one.tone == "good"]
    return (*bad[: MOST - len(gate)], *gate, *good)[:MOST]


def late_of(gathered: Gathered) -> tuple[str, ...]:
    """Return the sources whose newest counts end more than an hour before the end of the page's time."""
    return tuple(name for name, end in gathered.sources.items() if gathered.at - end > LATE_S)


# -- 1: promises ----------------------------------------------------------------------------------


def _promises(facts: Facts) -> Iterator[Said]:
    states = [one.promise.state for one in facts.rows if one.promise.state.word != "not judged"]
    broken = [one for one in facts.rows if one.promise.state.word == "not kept"]
    unsure = [one for one in facts.rows if one.promise.state.word in ("undecided", "no data", "no traffic")]
    if not broken and not unsure:
        return
    kept = sum(one.word == "kept" for one in states)
    count = f"{kept} of {quantity(len(states), 'promise')} {'was' if len(states) == 1 or kept == 1 else 'were'} kept"
    evidence = tuple(dict.fromkeys(id_ for one in facts.rows for id_ in one.row.kept.evidence))
    undecided = f"; not decided: {_names(unsure)}" if unsure else ""
    if not broken:
        text = f"{count}, and none was broken{undecided}{_why_undecided(unsure)}."
        yield Said(text, "open", evidence, unsure[0].row.owner, "promise undecided")
        return
    parts = [_broken(one, facts.gathered) for one in broken[:_NAMED]]
    more = f"; {len(broken) - _NAMED} more were not kept" if len(broken) > _NAMED else ""
    owners = ", ".join(dict.fromkeys(one.row.owner for one in broken[:_NAMED] if one.row.owner))
    evidence += tuple(id_ for one in broken[:_NAMED] for id_ in one.row.budget_left.evidence)
    yield Said(
        f"{count}{undecided}. {' '.join(parts)[:-1]}{more}.",
        "bad",
        tuple(dict.fromkeys(evidence)),
        owners,
        "promise not kept",
    )


def _why_undecided(unsure: Iterable[PromiseRow]) -> str:
    is_vague = [is_left_open(one.promise.state) for one in unsure if one.promise.state.word == "undecided"]
    reasons = {"counts are missing": not all(is_vague), "the error of estimated counts is too large": any(is_vague)}
    named = [text for text, applies in reasons.items() if applies]
    return f" ({', and '.join(named)})" if named else ""


def _broken(one: PromiseRow, gathered: Gathered) -> str:
    state, objective = one.promise.state, one.promise.objective
    left = None if state.budget is None else state.budget.left
    text = f"{_title(one, gathered)} was not: {state.figure} against {percent(objective)}"
    text += _cause(one.promise, gathered)
    if left is not None and left < 0:
        text += f"; its budget is overspent ({budget_text(left)})"
    return f"{text}."


def _cause(promise: Promise, gathered: Gathered) -> str:
    """Return where the bad requests come from, if the slices show an incident; else ""."""
    state, units = promise.state, promise.units
    if units is None:
        return ""
    inside = units.take((units.start >= state.start) & (units.start < state.end))
    found = incident_of(inside, promise.objective.target)
    if found is None:
        return ""
    zone = gathered.settings.tz
    begin, end = (datetime.fromtimestamp(at, zone) for at in (found.start, found.end))
    day = f"{begin:%A}"
    if found.start < gathered.period.start:
        day += f", {begin.day} {begin:%b},"
    until = f"{end:%H:%M}" if end.date() == begin.date() else f"{end:%A %H:%M}"
    # The share is rounded down: "at least" must be true.
    return f", from the incident of {day} {begin:%H:%M} to {until} ({int(100 * found.share)} % of the bad requests)"


def _title(one: PromiseRow, gathered: Gathered) -> str:
    """Return the name of a promise as a possessive: "Checkout's", or that of the objective if its journey has two."""
    journey = one.row.journey
    several = sum(other.journey == one.promise.journey for other in gathered.promises) > 1
    name = one.row.slo if several else journey
    return f"{name[:1].upper()}{name[1:]}'s"


def _names(some: Sequence[PromiseRow]) -> str:
    names = [one.row.journey or one.row.slo for one in some]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(dict.fromkeys(names[:_NAMED])) + more


# -- 2 to 6 ---------------------------------------------------------------------------------------


def _budgets(facts: Facts) -> Iterator[Said]:
    soon = [one for one in facts.rows if one.promise.state.word != "not kept" and is_gone_soon(one.promise.state)]
    if not soon:
        return
    first = min(soon, key=lambda one: (one.row.gone.value or 0.0, one.row.journey))
    text = f"{_title(first, facts.gathered)} error budget will be gone {first.row.gone.text}, if this goes on"
    text += f" ({first.row.budget_left.text} is left)"
    text += f"; {quantity(len(soon) - 1, 'more budget')} too" if len(soon) > 1 else ""
    evidence = (*first.row.gone.evidence, *first.row.budget_left.evidence)
    yield Said(f"{text}.", "bad", evidence, first.row.owner, "budget gone soon")


def _slower(facts: Facts) -> Iterator[Said]:
    since = facts.gathered.period.start
    found = [one for one in facts.changes if one.is_slower and one.at >= since and one.is_newest and not one.accepted]
    found.sort(key=lambda one: -one.change.change)
    if found:
        first, rows = found[0], {one.row.journey: one for one in facts.rows}
        row = rows.get(first.journey)
        day = datetime.fromtimestamp(first.at, facts.gathered.settings.tz)
        text = f"{_capital(first.journey)} became slower in the load tests by {about(first.change)} on {day:%A}"
        text += f" with commit {first.commit}" if first.commit else ""
        state = "" if row is None else row.promise.state.word
        text += "; it still keeps its promise" if state == "kept" else ""
        text += f"; so did {', '.join(one.journey for one in found[1:3])}" if len(found) > 1 else ""
        ids = tuple(one.evidence for one in found[:3]) + (() if row is None else row.row.kept.evidence)
        yield Said(f"{text}.", "bad", ids, "" if row is None else row.row.owner, "regression")
        return
    slower = [one for one in facts.rows if one.row.week_on_week.tone == "bad"]
    if slower:
        first_row = max(slower, key=lambda one: one.row.week_on_week.value or 0.0)
        word = "quarter" if facts.gathered.period.is_quarter else "week"
        text = f"{_capital(first_row.row.journey)} {first_row.row.week_on_week.text} since the {word} before"
        yield Said(f"{text}.", "bad", first_row.row.week_on_week.evidence, first_row.row.owner, "regression")


def _launches(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    gathered = facts.gathered
    found = [one for one in gathered.decisions if one.kind == RECOMMENDED]
    newest = max(found, key=lambda one: time_of(one.at), default=None)
    if newest is not None and gathered.period.start - time_of(newest.at).timestamp() < _LAUNCH_S:
        yield recommendation_said(newest, book)


def recommendation_said(event: Event, book: EvidenceBook) -> Said:
    """Return a recommendation in a sentence: "Launch of v412: INCONCLUSIVE, missing: 2 runs of v412 (D-207)."."""
    details = event.details
    id_, release = one_line(details.get("id", ""), 20), one_line(details.get("release", ""), 60)
    word = one_line(details.get("recommendation", ""), 20) or "unknown"
    document = document_of(event)
    missing = [one_line(str(one.get("why") or one.get("command", "")), 100) for one in _rows(document, "missing")]
    evidence = [one for one in _rows(document, "evidence") if one.get("required") is True]
    against = [_piece(one) for one in evidence if one.get("state") == "no-go"]
    text = f"Launch of {release}: {word}"
    if word == "NO-GO" and against:
        text += f", against it: {', '.join(against[:_NAMED])}"
    elif word == "INCONCLUSIVE" and missing:
        text += f", missing: {', '.join(missing[:_NAMED])}"
    entry = book.add(
        "recommendation",
        f"recommendation for {release}: {word}",
        "any NO-GO wins; GO only if every required piece of evidence is GO; else INCONCLUSIVE",
        (
            ("journeys", one_line(", ".join(map(str, document.get("journeys") or ())), 300)),
            ("at", one_line(event.at, 40)),
            ("by", one_line(event.by, 100)),
            *((_piece(one), one_line(f"{one.get('state', '')}: {one.get('says', '')}", 300)) for one in evidence[:50]),
        ),
        see="loadgen decide --help",
        id_=id_,
    )
    tone: Tone = "good" if word == "GO" else "bad" if word == "NO-GO" else "open"
    return Said(f"{text} ({id_}).", tone, (entry,), "", "launch")


def _headrooms(facts: Facts) -> Iterator[Said]:
    low = [one for one in facts.rows if one.row.headroom.tone == "bad"]
    if not low:
        return
    first = min(low, key=lambda one: one.row.headroom.value or 0.0)
    policy = headroom_floor(facts.gathered)
    text = (
        f"{_title(first, facts.gathered)} headroom is {first.row.headroom.text} the forecast, and {policy:g} is needed"
    )
    yield Said(f"{text}.", "bad", first.row.headroom.evidence, first.row.owner, "headroom")


def _missing(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    gathered = facts.gathered
    late = late_of(gathered)
    if late:
        count = f"{len(late)} of {quantity(len(gathered.sources), 'source')}"
        verb = "is" if len(late) == 1 else "are"
        names = ", ".join(one_line(one, 60) for one in late[:_NAMED])
        yield Said(f"{count} {verb} late: {names}.", "open", (sources_evidence(gathered, book),), "", "data missing")
    if gathered.troubles:
        # A damaged verdict or run would otherwise make the page better than the truth.
        count = quantity(len(gathered.troubles), "record")
        id_ = book.add(
            "facts",
            "records that cannot be read",
            "the notes of this page name each of them",
            tuple((str(n), text) for n, text in enumerate(gathered.troubles[:_TROUBLES], 1)),
            see="loadgen history health",
        )
        text = f"{count} of the history or the ledger cannot be used, and may have bad news: see the notes."
        yield Said(text, "open", (id_,), "", "data missing")


def sources_evidence(gathered: Gathered, book: EvidenceBook) -> str:
    """Add the end of the counts of each source as evidence, and return its id."""
    zone = gathered.settings.tz
    return book.add(
        "facts",
        f"newest counts of {quantity(len(gathered.sources), 'source')}",
        f"a source is late if its newest counts end more than {LATE_S // 60} minutes before {when(gathered.at, zone)}",
        tuple((one_line(name, 100), when(end, zone)) for name, end in gathered.sources.items()),
        see="loadgen slo pull --plan",
    )


def _gate(facts: Facts, book: EvidenceBook) -> Iterator[Said]:
    is_quoted = any(id_.startswith("G-") for one in facts.rows for id_ in one.row.gate.evidence)
    if is_quoted and (facts.health.state is not State.HEALTHY or facts.health.is_stale(facts.gathered.now)):
        yield health_said(facts, book)


def health_said(facts: Facts, book: EvidenceBook) -> Said:
    """Return the health of the gate in a sentence, with the age of its newest control if that is too old."""
    health, now = facts.health, facts.gathered.now
    text = health.said().replace("the gate's", "The gate's", 1).replace("the gate", "The gate", 1)
    text = text[:1].upper() + text[1:]
    is_stale = health.is_stale(now)
    if is_stale:
        days = (now - time_of(health.newest[0].at)).days
        text += f"; its newest control is {quantity(days, 'day')} old, so run loadgen history control"
    id_ = book.add(
        "controls",
        health.said(),
        "the 95 % interval of Clopper and Pearson for failed / controls; a gate is ill if its lower end is above 5 %",
        (
            ("controls", str(health.controls)),
            ("failed", str(health.failed)),
            ("inconclusive", str(health.inconclusive)),
            ("invalid", str(health.invalid)),
            ("low", f"{health.low:.4f}"),
            ("high", f"{health.high:.4f}"),
            ("newest", one_line(health.newest[0].at, 40) if health.newest else "none"),
        ),
        run_ids=tuple(dict.fromkeys(run_id for one in health.newest for run_id in one.run_ids)),
        see="loadgen history",
    )
    tone: Tone = "good" if health.state is State.HEALTHY and not is_stale else "bad"
    tone = "open" if health.state is State.UNKNOWN else tone
    return Said(f"{text}.", tone, (id_,), "", "gate health")


def _all_kept(facts: Facts, *, is_slower: bool) -> Iterator[Said]:
    judged = [one for one in facts.rows if one.promise.state.word != "not judged"]
    if not judged:
        return
    evidence = tuple(dict.fromkeys(id_ for one in judged for id_ in one.row.kept.evidence))
    count = "The promise was" if len(judged) == 1 else f"All {len(judged)} promises were"
    measured = any(one.row.week_on_week.value is not None for one in facts.rows)
    end = "; nothing is certain to have become slower" if measured else "; no load test was compared"
    yield Said(f"{count} kept{'' if is_slower else end}.", "good", evidence, "", "all kept")


def _capital(name: str) -> str:
    return f"{name[:1].upper()}{name[1:]}"


def _rows(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = document.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _piece(one: Mapping[str, Any]) -> str:
    return one_line(f"{one.get('kind', '')} of {one.get('journey', '')}".removesuffix(" of "), 100)
