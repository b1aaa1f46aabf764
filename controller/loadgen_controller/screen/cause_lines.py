"""Prints the causes of slow requests, and single traces as waterfalls, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from rich.cells import cell_len

from loadgen.outside_text import one_line
from loadgen.report.short_texts import cut_in_middle
from loadgen.report.why_slow.cause_file import CauseFile, Example, WaterfallRow
from loadgen.report.why_slow.in_one_sentence import sentence_line
from loadgen.report.why_slow.lines import (
    added_text,
    database_lines,
    detail_parts,
    example_title,
    foot_lines,
    headline,
    ms_text,
    path_text,
    pool_lines,
    sure_text,
    without_text,
)
from loadgen_controller.console_output import Output, Text

__all__ = ["print_causes", "print_conclusions", "print_waterfall"]

_SHOWN: Final = 5
"""Ranked paths on the terminal; cause.json and the page have all."""
_NARROW: Final = 60
_MOST_INDENT: Final = 12
_TICKS: Final = 24
"""Columns between two marks of the scale."""


def print_causes(console: Output, causes: CauseFile) -> None:
    """Print the headline, the ranked paths with their figures, and the lines below them."""
    width = max(_NARROW, console.width)
    _print_wrapped(console, headline(causes), width, style="bold")
    if causes.chosen.why:
        _print_wrapped(console, f"chosen: {causes.chosen.why}", width, style="dim")
    console.print()
    for number, one in enumerate(causes.ranked[:_SHOWN], 1):
        first = f"{number}  {path_text(one.path, 2 * width)}"
        _print_wrapped(console, first, width, indent=3, style="bold")
        figures = (added_text(one, causes), without_text(one, causes), sure_text(one, causes))
        for line in (
            *_joined([text for text in figures if text], "; ", width - 3),
            *_joined(list(detail_parts(one, causes)), " | ", width - 3),
        ):
            console.print(Text(f"   {line}"), soft_wrap=True)
        for line in database_lines(one, causes):
            _print_wrapped(console, f"   {one_line(line)}", width, indent=5)
    if len(causes.ranked) > _SHOWN:
        console.print(f"   and {len(causes.ranked) - _SHOWN} more, in cause.json and on the page")
    for line in (*pool_lines(causes), *foot_lines(causes)):
        is_command = line.startswith("to ")
        if is_command:
            console.print(Text(line), soft_wrap=True)  # not broken, so that it can be copied
        else:
            _print_wrapped(console, line, width, indent=2)


def print_conclusions(console: Output, sentence: str, gone: Sequence[str]) -> None:
    """Print what the kinds of evidence say together, and what a repeated run says; "" and () for nothing."""
    for line in (*sentence_line(sentence), *gone):
        console.print()
        _print_wrapped(console, line, max(_NARROW, console.width), indent=2, style="bold")


def _print_wrapped(console: Output, text: str, width: int, *, indent: int = 0, style: str = "") -> None:
    for line in wrap(one_line(text), width, subsequent_indent=" " * indent) or [""]:
        console.print(Text(line, style=style), soft_wrap=True)


def _joined(parts: list[str], separator: str, width: int) -> Iterator[str]:
    """Yield the parts on as few lines as fit; a part that is longer than a line is wrapped."""
    line = ""
    for part in map(one_line, parts):
        longer = f"{line}{separator}{part}" if line else part
        if cell_len(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        *whole, line = wrap(part, width) or [""]
        yield from whole
    if line:
        yield line


# -- waterfalls ---------------------------------------------------------------------------------------


def print_waterfall(console: Output, example: Example, kind: str) -> None:
    """Print one trace: a row for each span, with its time on the critical path, and a bar on a common scale."""
    _print_wrapped(console, example_title(example, kind), console.width, style="bold")
    low = min([0, *(row.begin_ns for row in example.rows)])
    high = max([1, example.response_ns, *(row.end_ns for row in example.rows)])
    width = max(_NARROW, console.width)
    name_width = min(60, width * 9 // 20)
    bar_width = width - name_width - 11
    client = WaterfallRow(
        name="loadgen: due to done", depth=0, begin_ns=0, end_ns=example.response_ns, own_ns=example.response_ns
    )
    for row in (client, *example.rows):
        label = _label(row, name_width)
        bar = _bar(row, low, high, bar_width)
        own = ms_text(row.own_ns) if row.own_ns else ""
        style = "red" if row.is_error else ""
        console.print(Text(f"{label}{own:>8}   {bar}", style=style), soft_wrap=True)
    console.print(Text(" " * (name_width + 11) + _scale(low, high, bar_width), style="dim"), soft_wrap=True)
    console.print("█ the response waited for this span; ─ the span was open; ms: total time of █")
    if example.left_out:
        console.print(f"{example.left_out:,} spans with less time are not shown")


def _label(row: WaterfallRow, width: int) -> str:
    indent = " " * min(2 * row.depth, _MOST_INDENT)
    more = f" ({row.more + 1})" if row.more else ""
    error = " !" if row.is_error else ""
    room = width - len(indent) - len(more) - len(error)
    name = cut_in_middle(one_line(row.name), max(4, room))
    text = f"{indent}{name}{more}{error}"
    return text + " " * max(0, width - cell_len(text))


def _bar(row: WaterfallRow, low: int, high: int, width: int) -> str:
    def at(ns: int) -> int:
        return min(width - 1, max(0, (ns - low) * width // (high - low)))

    cells = [" "] * width
    for n in range(at(row.begin_ns), max(at(row.begin_ns), at(row.end_ns - 1)) + 1):
        cells[n] = "─"
    for begin, end in row.pieces:
        for n in range(at(begin), max(at(begin), at(end - 1)) + 1):
            cells[n] = "█"
    return "".join(cells).rstrip()


def _scale(low: int, high: int, width: int) -> str:
    """Return marks at equal distances, with their times: the last one stands before its mark, at the right end."""
    last = f"{ms_text(high)} ms|"
    marks = max(1, (width - len(last)) // _TICKS)
    line = ""
    for n in range(marks):
        line = line.ljust(n * width // marks) + f"|{ms_text(low + (high - low) * n // marks)}"
    return f"{line[: width - len(last) - 1].ljust(width - len(last))}{last}"
