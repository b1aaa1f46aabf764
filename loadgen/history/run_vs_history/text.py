"""Describes how a run compares with its history, in sentences and as JSON. All outputs use the same sentences."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, log1p
from typing import Final

from loadgen.analysis.gate import Effect
from loadgen.history.run_vs_history.position import ORDER, Standing, Standings
from loadgen.history.store.names_in_sentence import listed
from loadgen.units import format_change, format_changes, format_count

__all__ = ["document_of", "sentences", "sorted_rows"]

_SENTENCES: Final = 5
"""Most names that get a sentence of their own."""
_JOURNEYS: Final = 3
"""Most journeys among them that do not differ."""


def sentences(found: Standings, gate: str) -> tuple[str, ...]:
    """Return sentences that describe how the run compares with its history, the most important first.

    gate: the command line that judges the run, for the last sentence.
    """
    return tuple(_sentences(found, gate))


def sorted_rows(found: Standings) -> list[Standing]:
    """Return the rows sorted for readers: clear differences first, the largest first; then journeys, then the rest."""
    return sorted(found.rows, key=_rank)


def _rank(row: Standing) -> tuple[bool, float, bool]:
    return not row.is_clear, -abs(log1p(row.effect.change)) if row.is_clear else 0.0, row.kind != "journey"


def document_of(found: Standings, gate: str) -> dict[str, object]:
    """Return the value of `in_history` in the run's JSON document (docs/live-page.md).

    Keys may be added and must not be removed: programs read them.

    gate: the command line that judges the run.
    """
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


def _sentences(found: Standings, gate: str) -> Iterator[str]:
    runs = f"{format_count(len(found.history))} accepted runs"
    if found.unfit:
        yield f"This run cannot be compared with the {runs} before it: {'; '.join(found.unfit)}."
        return
    differing: dict[str, Standing] = {}
    for row in sorted_rows(found):
        if row.is_clear and (row.percentile == ORDER[0] or row.name not in differing):
            differing[row.name] = row
    first = [row for row in found.rows if row.percentile == ORDER[0]]
    journeys = [row for row in first if row.kind == "journey" and row.name not in differing]
    shown = [*differing.values(), *journeys[:_JOURNEYS]][:_SENTENCES]
    yield from (_sentence(row, is_one_of_many=len(first) > 1) for row in shown)
    if more := [name for name in differing if name not in {row.name for row in shown}]:
        yield f"These names also differ by more than chance: {listed(more)}."
    names = {row.name for row in shown} | set(differing)
    if rest := [row for row in first if row.name not in names]:
        others = "1 name" if len(rest) == 1 else f"{format_count(len(rest))} names"
        others = f"the other {others.removeprefix('1 ')}" if shown else others
        yield f"{ORDER[0]} of {others} shows no clear difference from the accepted runs."
    if not found.rows:
        yield f"No name can be compared with the {runs} before it: too few samples in a run, or no common names."
    if found.missing:
        yield f"Missing in this run, but present in most accepted runs: {listed(found.missing)}."
    if found.new:
        yield f"New in this run, and in none of the accepted runs: {listed(found.new)}."
    yield f"A single run decides nothing. To judge whether this is a regression: {gate}"


def _sentence(row: Standing, *, is_one_of_many: bool) -> str:
    """Return a sentence that compares one name of the run with its level and with the pinned releases.

    is_one_of_many: whether many names are compared, of which some differ by chance.
    """
    runs = f"{format_count(row.effect.history)} accepted runs"
    what = f"{row.percentile} of {row.name}"
    if not row.effect.low <= 0 <= row.effect.high:
        change, *ends = (format_change(abs(of)) for of in (row.effect.change, row.effect.low, row.effect.high))
        low, high = ends if row.effect.change > 0 else reversed(ends)
        size = f"{change} (95 %: {low.removesuffix(' %')} to {high})".replace("+", "")
        text = f"{what} is {size} {'above' if row.effect.change > 0 else 'below'} {runs}"
        if not row.is_clear:
            text += ", which may be chance among this many names" if is_one_of_many else ", which may be chance"
    else:
        text = f"{what} shows no clear difference from {runs}: {format_change(row.effect.change)}"
        text += f" ({_interval(row.effect)})"
    more = [f"compared with {name} it is {format_change(of.change)} ({_interval(of)})" for name, of in row.against]
    if row.since:
        changed = f", where the level changed by {format_change(row.step)}" if row.step else ""
        more.append(f"these runs begin with {row.since}{changed}")
    return "; ".join((text, *more)) + "."


def _interval(effect: Effect) -> str:
    return f"95 %: {format_changes(effect.low, effect.high)}"
