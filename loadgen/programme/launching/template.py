"""Writes the template of a performance review in Markdown, filled with what the store knows. Pure.

What nobody can read from a store is marked with `BLANK`, so a reader sees what is still to be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from loadgen.programme.launching.at_stake import Stake
from loadgen.programme.recommending.checklist import Check
from loadgen.programme.recommending.facts import JourneyFacts, RunFact
from loadgen.programme.recommending.recommendation import Evidence, Recommendation
from loadgen.report.exports.markdown import text as in_markdown
from loadgen.units import format_rate, quantity

__all__ = ["BLANK", "review_template"]

BLANK: Final = "**to fill in**"
_HURTS: Final = ("hot keys", "fan-out", "locks", "cold caches", "limits of dependencies")
_RESULTS: Final = ("validity", "objectives", "gate", "budget", "drift", "health")
_MOST_RUNS: Final = 10


def review_template(
    found: Recommendation,
    release: str,
    journeys: Sequence[str],
    id_: str,
    at: str,
    *,
    runs: Sequence[RunFact] = (),
    facts: Mapping[str, JourneyFacts],
    checks: Sequence[Check] = (),
    at_stake: Sequence[Stake] = (),
) -> str:
    """Return the template as Markdown, with a final line feed.

    id_: "D-207", or "" if the recommendation was not stored. at: when it was made, RFC 3339.
    """
    lines = [f"# Performance review of {_text(release)}: {_text(', '.join(journeys))}", ""]
    stored = f" ({id_})" if id_ else ""
    lines += [f"Made on {at[:10]} from the history{stored}. Parts marked {BLANK} are not in the history.", ""]
    parts: dict[str, Iterator[str]] = {
        "Purpose": iter([f"- What changes, and for whom: {BLANK}", f"- Decision that is asked for: {BLANK}"]),
        "Load and its source": _load(runs, journeys, facts),
        "What would hurt": iter([f"- {one}: {BLANK}" for one in _HURTS]),
        "Objectives": _rows(found, ("objectives", "promise")),
        "Result": _rows(found, _RESULTS),
        "Capacity": _rows(found, ("headroom",)),
        "At stake": _stakes(at_stake),
        "Unknowns": _unknown(found),
        "Asked of whom, until when": _asked(checks),
    }
    for title, made in parts.items():
        lines += [f"## {title}", "", *made, ""]
    lines += ["## Recommendation", "", f"{found.recommendation}. Signed: {BLANK}"]
    return "\n".join(lines) + "\n"


def _load(runs: Sequence[RunFact], journeys: Sequence[str], facts: Mapping[str, JourneyFacts]) -> Iterator[str]:
    if not runs:
        yield f"- Runs of the release: none in the history. {BLANK}"
    for run in runs[-_MOST_RUNS:]:
        plan = _text(run.file or "an unknown plan")
        yield f"- Run {_text(run.run_id)} of {plan}, {run.minutes:.3g} min: {run.condition}"
    for journey in journeys:
        forecast = facts.get(journey, JourneyFacts()).forecast
        if forecast is None:
            yield f"- Expected peak of {_text(journey)}: {BLANK}"
        else:
            low, high = format_rate(forecast.low), format_rate(forecast.high)
            yield f"- Expected peak of {_text(journey)}: {low} to {high}, until {forecast.until:%Y-%m-%d}"
    yield f"- Where the load model comes from, and of which day: {BLANK}"


def _rows(found: Recommendation, kinds: Sequence[str]) -> Iterator[str]:
    rows = [one for one in found.evidence if one.kind in kinds]
    if not rows:
        yield f"- {BLANK}"
    for one in rows:
        source = f" [{_text(one.id)}]" if one.id else ""
        yield f"- {_text(str(one.piece))}: {_state(one)}: {_text(one.says)}{source}"


def _state(one: Evidence) -> str:
    return one.state if one.required else "informs"


def _stakes(at_stake: Sequence[Stake]) -> Iterator[str]:
    if not at_stake:
        yield f"- {BLANK}"
    for one in at_stake:
        yield f"- {_text(one.journey)}: {_text(one.says)} [{one.entry.id}]"


def _unknown(found: Recommendation) -> Iterator[str]:
    rows = [one for one in found.evidence if one.required and one.state == "open"]
    for one in rows:
        yield f"- {_text(str(one.piece))}: {_text(one.says)}"
    for missing in found.missing:
        yield f"  - {quantity(max(round(missing.minutes), 1), 'minute')}: `{missing.command.replace('`', '')}`"
    yield f"- Anything else: {BLANK}"


def _asked(checks: Sequence[Check]) -> Iterator[str]:
    for one in checks:
        by = f"{one.answer} by {_text(one.by)} on {one.at[:10]}" if one.by else f"{BLANK} (who, until when)"
        yield f"- {_text(one.text)}: {by}"
    yield f"- {BLANK} (what, who, until when)"


def _text(text: str) -> str:
    return in_markdown(text)
