"""Judges the promises of a journey in production: the row "production promise". Pure.

GO if all promises are kept and have the required part of their error budget left. NO-GO if one is not kept, or its
budget is gone. Everything else is open, such as a promise whose counts are too old. An override that is in force turns
a NO-GO into "open", never into GO. Each promise is judged by the age of its own counts, so an old one does not hide a
broken one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from loadgen.analysis.attainment.shown import budget_text
from loadgen.programme.recommending.facts import Rules
from loadgen.programme.recommending.recommendation import AGES, CLOCK_ERROR, Evidence, Missing, State, age_text
from loadgen.programme.recommending.rows import Row
from loadgen.units import format_share, quantity

__all__ = ["PromiseFact", "promise_row"]

_NEW_MINUTES: Final = 5.0
_PULL_MINUTES: Final = 2.0


@dataclass(frozen=True, slots=True)
class PromiseFact:
    """The state of one promise in the ledger.

    word: as in `PromiseState`. says: the result in a sentence without a full stop. left: the rest of the error budget,
    1 is all of it; None: not known. at: the end of its counts; None without any. id: of its evidence, "S-1180ab3c".
    sources: that have counts for the same time; with more than one, both would be counted. rule: the arithmetic.
    is_vague: whether the error of estimated counts leaves it undecided. Then `left` is the least that may be left.
    """

    slo: str
    word: str
    says: str
    left: float | None = None
    at: datetime | None = None
    id: str = ""
    sources: int = 1
    arithmetic: str = ""
    is_vague: bool = False


def promise_row(journey: str, promises: Sequence[PromiseFact], rules: Rules, override: str, now: datetime) -> Row:
    """Return the row of a journey with users, from its promises.

    override: a sentence about the override that is in force for this release and these journeys; "" without one.
    """
    if not promises:
        says = "no promise in the files of promises names this journey, so nothing is known about production"
        new = Missing(f"loadgen slo new {journey}", _NEW_MINUTES, "promise something, with the journey's name")
        pull = Missing("loadgen slo pull", _PULL_MINUTES, "take production's counts into the ledger")
        return Evidence("promise", "", "open", says, journey=journey), (new, pull)
    judged = [(one, *_state(one, rules, now)) for one in promises]
    states = {state for _, state, _ in judged}
    state: State = "no-go" if "no-go" in states else "open" if "open" in states else "go"
    deciding = [(one, why) for one, of, why in judged if of == state]
    texts = [f"{one.says}{f' ({why})' if why else ''}" for one, why in deciding]
    others = len(judged) - len(deciding)
    says = "; ".join(texts) + (f"; {quantity(others, 'other promise')} not shown here" if others else "")
    missing = tuple(_missing(deciding)) if state == "open" else ()
    if state == "no-go" and override:
        state, says = "open", f"{says}; {override}"
    times = [one.at for one, _ in deciding if one.at is not None]
    at = None if not times or len(times) < len(deciding) else min(times)
    if state != "go":
        # What is too old was said already, by promise. The age of one promise must not hide another one.
        at = max((time for time in times if time <= now), default=None)
        at = at if at is None or now - at <= _most(rules) else None
    row = Evidence(
        "promise",
        ", ".join(dict.fromkeys(one.id for one, *_ in judged if one.id)),
        state,
        says,
        at,
        journey=journey,
        arithmetic="; ".join(f"{one.slo}: {one.arithmetic}" for one, *_ in judged if one.arithmetic),
    )
    return row, missing


def _state(one: PromiseFact, rules: Rules, now: datetime) -> tuple[State, str]:
    """Return the state of one promise, and what the sentence about it lacks."""
    if one.sources > 1:
        return "open", f"its counts come from {one.sources} sources at the same time, so both would be counted"
    if one.at is not None and one.at > now + CLOCK_ERROR:
        return "open", "its counts are dated in the future"
    if one.at is not None and now - one.at > _most(rules):
        return "open", f"its counts end {age_text(now - one.at)} ago, and at most {age_text(_most(rules))} are allowed"
    if one.at is None:
        return "open", ""
    if one.word == "not kept":
        return "no-go", ""
    if one.word != "kept" or one.left is None:
        return "open", ""
    if one.left < 0:
        return "no-go", f"its error budget is gone: {budget_text(one.left)}"
    if one.left < rules.budget_left:
        return "open", f"{budget_text(one.left)} of its error budget is left, needed {format_share(rules.budget_left)}"
    return "go", ""


def _most(rules: Rules) -> timedelta:
    return rules.ages.get("promise", AGES["promise"])


def _missing(deciding: Sequence[tuple[PromiseFact, str]]) -> list[Missing]:
    if all(one.word == "not judged" for one, _ in deciding):
        return [Missing("loadgen slo check", 1.0, "shows why a promise is not judged, and what to write")]
    if any(one.sources > 1 for one, _ in deciding):
        return [Missing("loadgen slo status --explain", 1.0, "shows which slices overlap; name one source a promise")]
    if all(one.is_vague for one, _ in deciding):
        return [
            Missing("loadgen slo status --explain", 1.0, "shows the error of estimated counts, and what settles it")
        ]
    return [Missing("loadgen slo pull", _PULL_MINUTES, "take production's counts into the ledger")]
