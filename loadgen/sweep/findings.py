"""Puts what was found into sentences: an interaction by its simple effects, a main effect by its change.

    payout matters only when settle is 8: +412 ms (360 to 470); at 0: -1 ms (-9 to 7)

An interaction stands before the main effects of its factors. If one factor does nothing at some level of the other, an
interaction explains its main effect, and the main effect is no finding of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.factors.terms import FactorAnalysis, SimpleEffect, Term
from loadgen.report.report_parts import PLACEHOLDER
from loadgen.sweep.responses import Response
from loadgen.sweep.texts import change_text, effect_text

__all__ = ["Finding", "findings_of", "kind_of", "simple_effect_sentence"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A found term, and what it says."""

    term: Term
    sentences: tuple[str, ...]
    """The first one is the headline. None ends with a stop."""
    explains: tuple[str, ...] = ()
    """Names of the main effects that this interaction explains."""


def findings_of(analysis: FactorAnalysis, response: Response) -> tuple[Finding, ...]:
    """Return the found terms by rank, the strongest first."""
    found = [one for one in analysis.found if not one.explained_by]
    return tuple(_finding(one, analysis, response) for one in _interactions_first(found))


def _interactions_first(terms: Sequence[Term]) -> list[Term]:
    """Return the terms in their order, but each interaction before the main effects of its factors."""
    ordered: list[Term] = []
    for term in terms:
        if term.order == 1:
            mine = (
                one
                for one in terms
                if one.order == 2 and len(one.factors) == 2 and set(term.factors) < set(one.factors)
            )
            ordered += [one for one in mine if one not in ordered]
        if term not in ordered:
            ordered.append(term)
    return ordered


def _finding(term: Term, analysis: FactorAnalysis, response: Response) -> Finding:
    explains = tuple(one.name for one in analysis.terms if term.name in one.explained_by)
    effects = [one for one in analysis.simple_effects if one.interaction == term.name]
    if not effects:
        return Finding(term, (_change_sentence(term, response),), explains)
    by_factor = [[one for one in effects if one.factor == factor] for factor in term.factors]
    sentences = [simple_effect_sentence(group, response) for group in sorted(by_factor, key=_clearness) if group]
    return Finding(term, tuple(sentences), explains)


def _clearness(effects: Sequence[SimpleEffect]) -> tuple[int, float]:
    """Return a key by which the factor with the clearest contrast comes first: it matters at some levels only."""
    absent = sum(one.includes_zero for one in effects)
    is_mixed = 0 < absent < len(effects)
    return 0 if is_mixed else 1, -max((abs(one.change) for one in effects), default=0.0)


def simple_effect_sentence(effects: Sequence[SimpleEffect], response: Response) -> str:
    """Return a sentence about what one factor does at each level of another one.

    effects: those of one factor, at least one; each holds the other factor at another level.
    """
    factor = effects[0].factor
    other = next(iter(effects[0].at))
    clear = [one for one in effects if not one.includes_zero]
    rest = [one for one in effects if one.includes_zero]
    clear.sort(key=lambda one: -abs(one.change))
    if len(effects[0].at) != 1 or not clear:
        shown = "; ".join(_at(one, response) for one in effects)
        return f"the effect of {factor} depends on {other}: {shown}"
    shown = "; ".join(
        (_change(one, response) if n == 0 else _at(one, response)) for n, one in enumerate([*clear, *rest])
    )
    if rest and len(clear) == 1:
        return f"{factor} matters only when {other} is {clear[0].at[other]}: {shown}"
    if rest:
        levels = [one.at[other] for one in effects if one in clear]
        shown = "; ".join(_at(one, response) for one in effects)
        return f"{factor} matters only when {other} is {', '.join(levels[:-1])} or {levels[-1]}: {shown}"
    are_opposite = min(one.change for one in clear) < 0 < max(one.change for one in clear)
    if are_opposite:
        shown = "; ".join(_at(one, response) for one in clear)
        return f"{factor} has opposite effects at levels of {other}: {shown}"
    return f"{factor} matters most when {other} is {clear[0].at[other]}: {shown}"


def _at(effect: SimpleEffect, response: Response) -> str:
    return f"at {', '.join(effect.at.values())}: {_change(effect, response)}"


def _change(effect: SimpleEffect, response: Response) -> str:
    return change_text(effect.change, effect.low, effect.high, response)


def _change_sentence(term: Term, response: Response) -> str:
    """Return a sentence about a main effect, a square, or an interaction without simple effects."""
    effect, interval = effect_text(term, response)
    percent = f"{effect} ({interval})" if interval != PLACEHOLDER else effect
    if term.order == 1 and term.levels:
        (first, last), change = term.levels[0], ""
        if term.change is not None:
            change = change_text(term.change, term.change_low, term.change_high, response)
        shown = f"{change}, or {percent}" if change and response.is_log else change or percent
        return f"{term.factors[0]} matters: from {first} to {last} {shown}"
    if term.name.endswith("²"):
        return f"{term.factors[0]} acts along a curve: {term.name} {percent}".rstrip()
    return f"the factors of {term.name} interact: {percent}"


def kind_of(term: Term) -> str:
    """Return what a term is, in words: "main effect", "interaction", "curvature"."""
    if term.order == 1:
        return "main effect"
    return "curvature" if len(term.factors) == 1 else "interaction"
