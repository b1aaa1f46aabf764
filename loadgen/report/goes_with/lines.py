"""Series that go with slow requests, as lines of text: the same words on the terminal, the page and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from loadgen.ladder import NOT_PROOF
from loadgen.outside_text import one_line
from loadgen.report.goes_with.file import GoesWithFile, Line
from loadgen.report.report_parts import milliseconds
from loadgen.units import format_count

__all__ = ["lines_of", "sentence_of"]

_SHOWN: Final = 5
_REASONS: Final = 3
_TOGETHER: Final = 3
_TITLE_MOST: Final = 120


def lines_of(file: GoesWithFile) -> Iterator[str]:
    """Yield the named series, the strongest first, and reasons of those not compared. Each line is safe to print."""
    if file.not_tested:
        yield f"the target's series were not compared with {_safe(file.objective)}: {_safe(file.not_tested)}"
    elif not file.named:
        compared = f"of {format_count(file.tested)} series of the target"
        yield f"{compared}, none goes with the slow requests beyond what the load explains"
    else:
        yield f"goes with the slow requests, beyond what the load explains ({NOT_PROOF}):"
        yield from (sentence_of(number, one, file) for number, one in enumerate(file.named[:_SHOWN], 1))
        if len(file.named) > _SHOWN:
            yield f"and {len(file.named) - _SHOWN} more in goes_with.json"
    reasons = Counter(_safe(one.why.partition(":")[0]) for one in file.left_out)
    if reasons and not file.not_tested:
        texts = [f"{format_count(count)} {why}" for why, count in reasons.most_common(_REASONS)]
        more = f"; {len(reasons) - _REASONS} more reasons in goes_with.json" if len(reasons) > _REASONS else ""
        yield f"series that were not compared: {', '.join(texts)}{more}"


def sentence_of(number: int, one: Line, file: GoesWithFile) -> str:
    """Return one series with all its figures in one line."""
    name = f"{_safe(one.title)} of {_safe(one.host)}" if one.host else _safe(one.title)
    parts = [_size_text(one), _lag_text(one), f"{one.share * 100:.0f} % of the rest after the load"]
    parts.append(f"n = {format_count(one.n)}, p = {one.p:.2g} over {format_count(file.tested)} series")
    if one.together:
        more = f" and {len(one.together) - _TOGETHER} more" if len(one.together) > _TOGETHER else ""
        parts.append(f"moves together with {', '.join(map(_safe, one.together[:_TOGETHER]))}{more}")
    return f"{number}. {name}: {'; '.join(part for part in parts if part)}"


def _size_text(one: Line) -> str:
    """Return the size: "when it rises from 0 to 6, the share above 300 ms rises from 1.8 to 22 %"."""
    judged = _safe(one.judged)
    if one.low is None or one.high is None or one.judged_low is None or one.judged_high is None:
        return f"{judged} {'rises' if one.sign > 0 else 'falls'} with it"
    unit = f" {_safe(one.unit)}" if one.unit else ""
    verb = "rises" if one.judged_high >= one.judged_low else "falls"
    low, high = _judged_text(one, one.judged_low), _judged_text(one, one.judged_high)
    seconds = f"({format_count(one.n_low)} and {format_count(one.n_high)} steps)"
    figures = f"from {low} to {high} {_safe(one.judged_unit)}"
    return f"when it rises from {one.low:.3g} to {one.high:.3g}{unit}, {judged} {verb} {figures} {seconds}"


def _judged_text(one: Line, value: float) -> str:
    return f"{value * 100:.2g}" if one.judged_unit == "%" else milliseconds(value)


def _lag_text(one: Line) -> str:
    """Return the lag; within the error of the clocks it has no direction."""
    error = f"± {one.lag_error_s:.2g} s"
    if one.comes_first is None:
        return f"at the same time ({error})"
    return f"{'comes first' if one.comes_first else 'comes after'} by {abs(one.lag_s):.2g} s ({error})"


def _safe(text: str) -> str:
    return one_line(text, _TITLE_MOST)
