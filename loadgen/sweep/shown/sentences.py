"""The sentences below the headline of a sweep: what was found, what could have been found, and what limits both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import expm1

from loadgen.analysis.factors.design import ONE_AT_A_TIME
from loadgen.analysis.factors.drift import Drift
from loadgen.analysis.factors.terms import FactorAnalysis
from loadgen.report.short_texts import cut_at_end
from loadgen.sweep.could_find import CouldFind
from loadgen.sweep.findings import Finding
from loadgen.sweep.journal import RunRecord
from loadgen.sweep.responses import MOST_ERRORS, Response
from loadgen.sweep.result import ResponseResult, SweepResult
from loadgen.sweep.texts import effect_numbers, levels_text
from loadgen.units import format_change, format_changes, format_ratio, format_share, quantity

__all__ = ["could_find_text", "headline_of", "joined", "lines_of", "unresolved_groups"]

_MOST_NAMED = 12
_MOST_LISTED = 4
_LONGEST_REASON = 200


def headline_of(one: ResponseResult, *, is_one_at_a_time: bool = False) -> str:
    """Return the answer about a response in one sentence without a stop."""
    label = f"For {one.response.label}"
    if one.findings:
        return f"{label}, {one.findings[0].sentences[0]}{_doubt(one)}"
    if one.analysis is None and one.is_constant:
        return f"{label}, {one.why_not}"
    if one.analysis is None:
        return f"{label}, nothing is decided, because {one.why_not}"
    if one.analysis.error_source == "none":
        return f"{label}, nothing is decided, because the error of a run is unknown: repeat the cells"
    groups = unresolved_groups(one.analysis)
    if groups:
        return f"{label}, {joined(groups[0], 'or')} has an effect, but this design cannot tell which of them"
    if is_one_at_a_time:
        return f"{label}, no effect of a single factor was found, and one at a time cannot see interactions"
    if one.analysis.not_estimable:
        names = joined(one.analysis.not_estimable, "and")
        return f"{label}, no effect was found, but {names} could not be estimated, because cells lack values"
    could = could_find_text(one.could_find)
    return f"{label}, no effect was found{'; ' + could if could else ''}"


def _doubt(one: ResponseResult) -> str:
    """Return a clause if an interaction that the design cannot tell or estimate may explain the first finding."""
    first = one.findings[0].term
    if one.analysis is None or first.order > 1:
        return ""
    for group in unresolved_groups(one.analysis):
        if any(first.name in name.split(" × ") for name in group):
            return f", on average; {joined(group, 'or')} may explain it, and this design cannot tell which of them"
    if one.lacks_terms:
        return ", on average; terms that could not be estimated seem to matter as well: read the cells"
    return ""


def could_find_text(could: CouldFind | None) -> str:
    """Return what would have been found, as a clause; "" if that is unknown."""
    if could is None:
        return ""
    parts = []
    if could.has_interaction and not could.is_aliased:
        parts.append(_least("an interaction", could.interaction))
    if could.has_main:
        parts.append(_least("a main effect", could.main))
    return f"{joined(parts, 'and')} would have been found with power 0.9" if parts else ""


def _least(what: str, effect: float | None) -> str:
    return f"{what} of more than +900 %" if effect is None else f"{what} of at least +{format_share(effect)}"


def lines_of(result: SweepResult) -> Iterator[str]:
    """Yield the sentences that follow the headline, the most important first, each with a stop at its end."""
    for line in _lines(result):
        yield line if line.endswith(".") else f"{line}."


def _lines(result: SweepResult) -> Iterator[str]:
    first, decisive = result.first, result.decisive
    yield from _of_findings(decisive.findings)
    if decisive.analysis is not None:
        yield from _not_decided(decisive)
    yield from _of_cells(result)
    yield from (headline_of(one) for one in result.responses if one is not decisive)
    yield from _of_design(result)
    yield from _of_runs(result)
    if first.analysis is not None:
        yield from _of_analysis(first.analysis, first.response)
    if first.drift is not None:
        yield _drift_sentence(first.drift, first.response)


def _of_findings(findings: Sequence[Finding]) -> Iterator[str]:
    for n, finding in enumerate(findings):
        if n:
            yield f"Also, {finding.sentences[0]}"
        yield from (f"In turn, {sentence}" for sentence in finding.sentences[1:])
        if finding.explains:
            names, are_several = joined(finding.explains, "and"), len(finding.explains) > 1
            yield (
                f"The interaction {finding.term.name} explains the main effect{'s' * are_several} of {names}:"
                f" no effect of {'their' if are_several else 'its'} own was found"
            )


def _not_decided(one: ResponseResult) -> Iterator[str]:
    assert one.analysis is not None
    groups = unresolved_groups(one.analysis)
    for group in groups if one.findings else groups[1:]:
        yield f"Moreover, {joined(group, 'or')} has an effect, but this design cannot tell which of them"
    rest = [term.name for term in one.analysis.terms if not (term.is_found or term.is_unresolved)]
    if rest and (one.findings or groups):
        could = could_find_text(one.could_find)
        names = joined(rest, "or") if len(rest) <= _MOST_LISTED else f"the {len(rest)} other terms"
        yield f"No effect of {names} was found{'; ' + could if could else ''}"
    elif not one.findings and not groups and one.analysis.error_source != "none":
        yield from _ruled_out(one.analysis, one.response)
        yield "This does not show that there is no effect: smaller ones, or effects at another load, are possible"


def _ruled_out(analysis: FactorAnalysis, response: Response) -> Iterator[str]:
    """Yield what the intervals of the terms exclude.

    On a log scale, an interaction of d / 2 is an effect of d in one corner.
    """
    parts = []
    for order, what in ((1, "a main effect"), (2, "an effect of one corner")):
        numbers = [effect_numbers(one, response) for one in analysis.terms if (one.order, one.df) == (order, 1)]
        factor = order if response.is_log else 1
        pairs = [(low * factor, high * factor) for _, low, high in numbers if low is not None and high is not None]
        if pairs:
            low, high = min(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
            shown = format_changes(expm1(low), expm1(high)) if response.is_log else _points(low, high)
            parts.append(f"{what} outside {shown}")
    if parts:
        yield f"The {analysis.level * 100:g} % intervals rule out {joined(parts, 'and')}"


def _points(low: float, high: float) -> str:
    return f"{low * 100:+.2f} to {high * 100:+.2f} percentage points"


def unresolved_groups(analysis: FactorAnalysis) -> list[tuple[str, ...]]:
    """Return the groups of aliased interactions in which something was found that no single one can be given."""
    groups: dict[frozenset[str], tuple[str, ...]] = {}
    for term in analysis.terms:
        if term.is_unresolved:
            group = tuple(dict.fromkeys((term.name, *term.alias_of)))
            groups.setdefault(frozenset(group), group)
    return list(groups.values())


def _of_cells(result: SweepResult) -> Iterator[str]:
    if result.first.response.is_time:
        for state in result.cells:
            if state.uncompared and state.error_ratio is not None and state.error_ratio > MOST_ERRORS:
                yield (
                    f"At {levels_text(state.levels)}, the error ratio is {format_ratio(state.error_ratio)}. The"
                    f" response times of {state.uncompared} of {quantity(state.fit, 'run')} are not compared,"
                    " because fast failures would look good"
                )


def _of_design(result: SweepResult) -> Iterator[str]:
    design = result.plan.design
    if design.kind == "one":
        yield "One factor at a time was varied from the first cell; this design " + ONE_AT_A_TIME.removeprefix("it ")
    yield from (note[:1].upper() + note[1:] for note in design.notes if note != ONE_AT_A_TIME)
    if design.kind == "fraction" and design.resolution is not None:
        words = f"; defining words: {', '.join(design.defining)}" if design.defining else ""
        yield f"Fraction of resolution {_roman(design.resolution)}{words}"


def _roman(number: int) -> str:
    return {3: "III", 4: "IV", 5: "V", 6: "VI", 7: "VII", 8: "VIII"}.get(number, str(number))


def _of_runs(result: SweepResult) -> Iterator[str]:
    if result.is_stopped_early:
        why = result.ending.partition(": ")[2]
        yield f"The sweep stopped early, by the rule that was fixed before its first run: {why}"
    elif result.ending not in ("", "complete"):
        yield f"The sweep ended: {result.ending}"
    if result.not_made:
        planned = len(result.plan.order)
        yield f"{len(result.runs)} of {quantity(planned, 'planned run')} were made: the figures are those of these runs"
        if not result.is_stopped_early:
            yield "Do not decide before the last run: frequent looks find something by chance in over 5 % of sweeps"
    if result.repeated:
        numbers = joined((str(one.number) for one in result.repeated), "and")
        yield f"Made again, because the first attempt could not be compared: {_runs(result.repeated)} {numbers}"
    yield from _missing(result)


def _missing(result: SweepResult) -> Iterator[str]:
    """Yield a sentence for each kind of reason why runs are missing, with the first such reason."""
    by_kind: dict[str, list[RunRecord]] = {}
    for one in result.missing:
        by_kind.setdefault((one.why or one.result).partition(":")[0], []).append(one)
    for runs in by_kind.values():
        named = [f"{one.number} ({levels_text(result.plan.levels(one.cell))})" for one in runs]
        be = "is" if len(runs) == 1 else "are"
        reason = cut_at_end(runs[0].why or runs[0].result, _LONGEST_REASON)
        yield f"{_runs(runs).capitalize()} {joined(named, 'and')} {be} missing: {reason}"


def _runs(some: Sequence[object]) -> str:
    return "run" if len(some) == 1 else "runs"


def _of_analysis(analysis: FactorAnalysis, response: Response) -> Iterator[str]:
    if analysis.sd is not None and analysis.df is not None and response.is_log:
        size = format_share(analysis.sd)
        source = {
            "replicates": "from repeated runs",
            "store": "from earlier runs in the store",
            "Lenth": "by Lenth's method",
        }
        where = source.get(analysis.error_source, "from what the terms leave unexplained")
        df = f"{analysis.df:.3g} degree{'' if analysis.df == 1 else 's'} of freedom"
        yield f"Runs of the same cell differ by {size}: standard deviation {where}, {df}"
    names = [one.name for one in analysis.terms] + [*analysis.not_estimable]
    yield from (_note(note, names) for note in analysis.notes[:_MOST_NAMED])


def _note(note: str, names: Sequence[str]) -> str:
    """Return a note as a sentence with a capital. A name at its start keeps its letters, so a word stands before it."""
    return f"Note: {note}" if note.startswith(tuple(f"{name} " for name in names)) else note[:1].upper() + note[1:]


def _drift_sentence(drift: Drift, response: Response) -> str:
    if response.is_log:
        shown = f"{format_change(expm1(drift.change))} ({format_changes(expm1(drift.low), expm1(drift.high))})"
    else:
        shown = f"{drift.change * 100:+.2f} percentage points ({drift.low * 100:+.2f} to {drift.high * 100:+.2f})"
    what = "The target drifted during the sweep" if drift.is_found else "No drift was seen during the sweep"
    kept = ". Random order and blocks keep it out of the effects" if drift.is_found else ""
    return f"{what}: {response.label} of {drift.n} control runs changed by {shown}{kept}"


def joined(names: Iterable[str], word: str) -> str:
    """Return names as a list in a sentence: "a, b and c". Beyond 12 names, their number."""
    found = list(names)
    if len(found) > _MOST_NAMED:
        found = [*found[: _MOST_NAMED - 1], f"{len(found) - _MOST_NAMED + 1} others"]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} {word} {found[-1]}" if found else ""
