"""The rule of each row and its arithmetic in words, for `loadgen decide --explain`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from loadgen.programme.recommending.facts import Rules
from loadgen.programme.recommending.recommendation import AGES, Evidence, Piece, Recommendation, age_text
from loadgen.units import format_share, quantity

__all__ = ["explained", "order_said", "rule_of"]

_INFORMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "drift": "drift = the measured change without what was accepted; shown if its interval excludes 0",
        "impact": "value x requests x change of the mean x elasticity; it never changes the recommendation",
    }
)


def explained(found: Recommendation, rules: Rules) -> dict[Piece, tuple[str, ...]]:
    """Return the lines that explain each row: its rule, how its figures meet the rule, and when it was measured."""
    return {one.piece: tuple(_lines(one, rules)) for one in found.evidence}


def order_said(found: Recommendation) -> str:
    """Return how the recommendation follows from the rows, as a sentence without a full stop."""
    rows = [one for one in found.evidence if one.required]
    counts = [f"{quantity(sum(one.state == of for one in rows), 'row')} {of}" for of in ("go", "no-go", "open")]
    text = "any no-go gives NO-GO; GO needs every row; everything else is INCONCLUSIVE"
    return f"{text}: {', '.join(counts)} gives {found.recommendation}"


def rule_of(kind: str, rules: Rules) -> str:
    """Return the rule of a kind of evidence with the thresholds of the programme; "" for kinds without one."""
    least, limit, headroom = rules.least_runs, format_share(rules.slower), f"{rules.headroom:g}"
    left, old = format_share(rules.budget_left), _age("promise", rules)
    texts = {
        "validity": "go if all runs of the release are valid; never no-go",
        "objectives": f"go if all objectives passed in each run, and in at least {quantity(least, 'run')}; no-go if"
        " they failed in 2 runs, or in all that were judged",
        "gate": f"go if the newest verdict is PASS and would have found {format_share(rules.detectable)}; no-go if a"
        " FAIL stands",
        "promise": f"go if every promise is kept with at least {left} of its error budget left; no-go if one is not"
        f" kept or its budget is gone, without an override; counts are at most {old} old",
        "budget": f"go if the upper end of the slow-down is at most {limit}; no-go if its lower end is above that;"
        " once the budget is spent, by measurement or by decisions, no-go to any certain slow-down",
        "headroom": f"go if lower end of the capacity / upper end of the forecast is at least {headroom}; no-go if"
        f" upper end / lower end is below {headroom}; at most {_age('headroom', rules)} old, and of this release",
        "health": f"go if A/A controls show a healthy gate; the newest is at most {_age('health', rules)} old",
        "checklist": "go if every item is signed; no-go if one is refused",
        "readable files": "a file that cannot be read could have a no-go, so there is no GO",
    }
    return texts.get(kind, "")


def _lines(one: Evidence, rules: Rules) -> Sequence[str]:
    rule = rule_of(one.kind, rules) if one.required else _INFORMS.get(one.kind, "")
    lines = [f"rule: {rule}"] if rule else []
    if one.arithmetic or one.required:
        lines.append(f"figures: {one.arithmetic or one.says}")
    if one.required:
        at = "" if one.at is None else f", as of {one.at:%Y-%m-%d %H:%M %Z}"
        lines.append(f"result: {one.state}{at}{f', for {one.release}' if one.release else ''}")
    return lines


def _age(kind: str, rules: Rules) -> str:
    return age_text(rules.ages.get(kind, AGES[kind]))
