"""How a run stands in its history, in sentences and as JSON. Markdown, JSON and the report have the same sentences."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, log1p
from typing import Final

from loadgen.analysis.gate import Effect
from loadgen.history.run_vs_history.position import ORDER, Standing, Standings
from loadgen.history.store.text import listed
from loadgen.units import format_change, format_changes, format_count

__all__ = ["document_of", "sentences", "sorted_rows"]

_TOLD: Final = 5
"""Names with a sentence of their own."""
_JOURNEYS: Final = 3
"""Of them such as do not differ."""


def sentences(found: Standings, gate: str) -> tuple[str, ...]:
    """What there is to say, most important first. gate: the command that judges the run."""
    return tuple(_said(found, gate))


def sorted_rows(found: Standings) -> list[Standing]:
    """What is more than chance first, the largest first; then as the history has them, journeys before the rest."""
    return sorted(found.rows, key=_rank)


def _rank(row: Standing) -> tuple[bool, float, bool]:
    return not row.is_clear, -abs(log1p(row.effect.change)) if row.is_clear else 0.0, row.kind != "journey"


def document_of(found: Standings, gate: str) -> dict[str, object]:
    """`in_history` of the run's document (docs/live-page.md). Keys may be added, none removed."""
    return {
        "sentences": list(sentences(found, gate)),
        "runs": [run.run_id for run in found.history],
        "names": [_of_row(row) for row in found.rows],
        "missing": list(found.missing),
        "new": list(found.new),
    }


def _of_row(row: Standing) -> dict[str, object]:
    return {
        "name": row.name,
        "kind": row.kind,
        "percentile": row.percentile,
        "ms": row.value_ms,
        **_of_effect(row.effect),
        "is_clear": row.is_clear,
        "since": row.since,
        "against": [{"reference": name, **_of_effect(effect)} for name, effect in row.against],
    }


def _of_effect(effect: Effect) -> dict[str, object]:
    low, high = (end if isfinite(end) else None for end in (effect.low, effect.high))
    return {"change": effect.change, "low": low, "high": high, "runs": effect.history}


# -- sentences ------------------------------------------------------------------------------------


def _said(found: Standings, gate: str) -> Iterator[str]:
    runs = f"{format_count(len(found.history))} accepted runs"
    if found.unfit:
        yield f"It cannot be held against the {runs} before it: {'; '.join(found.unfit)}."
        return
    differing: dict[str, Standing] = {}
    for row in sorted_rows(found):
        if row.is_clear and (row.percentile == ORDER[0] or row.name not in differing):
            differing[row.name] = row
    first = [row for row in found.rows if row.percentile == ORDER[0]]
    journeys = [row for row in first if row.kind == "journey" and row.name not in differing]
    told = [*differing.values(), *journeys[:_JOURNEYS]][:_TOLD]
    yield from (_sentence(row, is_one_of_many=len(first) > 1) for row in told)
    if more := [name for name in differing if name not in {row.name for row in told}]:
        yield f"More than chance differ, too: {listed(more)}."
    names = {row.name for row in told} | set(differing)
    if rest := [row for row in first if row.name not in names]:
        others = "1 name" if len(rest) == 1 else f"{format_count(len(rest))} names"
        others = f"the other {others.removeprefix('1 ')}" if told else others
        yield f"{ORDER[0]} of {others} cannot be told from what was accepted before."
    if not found.rows:
        yield f"No name of it can be held against the {runs} before it: too few samples a run, or other names."
    if found.missing:
        yield f"In most of the accepted runs, and not in this one: {listed(found.missing)}."
    if found.new:
        yield f"In none of the accepted runs: {listed(found.new)}."
    yield f"One run decides nothing; whether it is a regression says: {gate}"


def _sentence(row: Standing, *, is_one_of_many: bool) -> str:
    """One name, against its level and the pinned releases."""
    runs = f"{format_count(row.effect.history)} accepted runs"
    what = f"{row.percentile} of {row.name}"
    if not row.effect.low <= 0 <= row.effect.high:
        change, *ends = (format_change(abs(of)) for of in (row.effect.change, row.effect.low, row.effect.high))
        low, high = ends if row.effect.change > 0 else reversed(ends)
        size = f"{change} (95 %: {low.removesuffix(' %')} to {high})".replace("+", "")
        said = f"{what} is {size} {'above' if row.effect.change > 0 else 'below'} {runs}"
        if not row.is_clear:
            said += ", which among so many names may be chance" if is_one_of_many else ", which may be chance"
    else:
        said = f"{what} cannot be told from {runs}: {format_change(row.effect.change)} ({_interval(row.effect)})"
    held = [f"against {name} it is {format_change(of.change)} ({_interval(of)})" for name, of in row.against]
    if row.since:
        changed = f", where the level changed by {format_change(row.step)}" if row.step else ""
        held.append(f"they are those since {row.since}{changed}")
    return "; ".join((said, *held)) + "."


def _interval(effect: Effect) -> str:
    return f"95 %: {format_changes(effect.low, effect.high)}"
