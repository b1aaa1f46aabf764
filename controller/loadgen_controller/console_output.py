"""Printing on the terminal. All commands print through `Text`, `echo` and `Output`, and through nothing else.

Each of them is safe for text from outside, such as names and bodies that a target sent: see `loadgen.outside_text`. A
test checks that no other module imports rich's `Text`, calls `typer.echo` or creates a `Console`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, Final

import typer
from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType, RenderResult
from rich.containers import Lines
from rich.segment import Segment
from rich.style import Style
from rich.text import Text as RichText

from loadgen.outside_text import block, in_json, is_plain, one_line

__all__ = [
    "Output",
    "RichText",
    "Text",
    "ask_on_stderr",
    "ask_text_on_stderr",
    "echo",
    "echo_error",
    "echo_json",
    "echo_stage",
    "echo_warning",
    "echo_wrapped",
    "text_block",
    "verdict",
]

PLAIN_WIDTH: Final = 120
"""Width in columns if the output is not a terminal (a log, for instance) and `COLUMNS` is not set."""
_VERDICT: Final = re.compile(r"(\s*)(?=[A-Z]+ \(exit\b|(?:PASS|FAIL|INCONCLUSIVE|INVALID): )([A-Z])")
"""Matches the beginning of a verdict line of a run or a gate."""


class Text(RichText):
    """One line of a command's output, safe for text from outside.

    No line of it can look like a verdict such as "PASSED (exit code 0)", whatever names it contains and wherever it
    wraps. Only `verdict` makes such a line.
    """

    def __init__(self, text: str = "", style: str | Style = "", **options: Any) -> None:
        super().__init__(_no_verdict(one_line(text)), style, **options)

    def append(self, text: RichText | str, style: str | Style | None = None) -> Text:
        super().append(one_line(text) if isinstance(text, str) else text, style)
        return self

    def wrap(
        self,
        console: Console,
        width: int,
        *,
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        tab_size: int = 8,
        no_wrap: bool | None = None,
    ) -> Lines:
        def wrapped(columns: int) -> Lines:
            return RichText.wrap(
                self, console, columns, justify=justify, overflow=overflow, tab_size=tab_size, no_wrap=no_wrap
            )

        lines = wrapped(width)
        if len(lines) > 1 and any(_VERDICT.match(line.plain) for line in lines[1:]):
            lines = wrapped(max(1, width - 2))
            for line in lines[1:]:
                line.pad_left(1, "…")
        return lines


def verdict(headline: str, style: str = "") -> RichText:
    """Return the line that states the verdict of a run or a gate, the only one that may look like a verdict."""
    return RichText(one_line(headline), style)


def text_block(text: str, indent: str = "  ", style: str = "") -> RichText:
    """Return text of several lines, such as a body or a traceback, with each line indented."""
    return RichText("\n".join(f"{indent}{line}" for line in block(text)), style)


def _no_verdict(line: str) -> str:
    """Return the line unchanged, unless it looks like a verdict: then its first letter is escaped (`\\x50` for P)."""
    if (found := _VERDICT.match(line)) is None:
        return line
    return f"{found[1]}\\x{ord(found[2]):02x}{line[found.end() :]}"


def echo(text: str, *, err: bool = False) -> None:
    """Print one line to stdout, or to stderr. Line breaks and control characters in it are escaped."""
    typer.echo(_no_verdict(one_line(text)), err=err)


def echo_stage(text: str) -> None:
    """Print what a slow command does now, on stderr, if a person watches: logs of cron and CI stay short."""
    if sys.stderr.isatty():
        echo(f"{text} ...", err=True)


def echo_wrapped(text: str, *, indent: int = 2) -> None:
    """Print a text to stdout as lines that fit the terminal. indent: of all lines but the first."""
    for line in wrap(text, get_terminal_size().columns, subsequent_indent=" " * indent):
        echo(line)


def echo_json(document: str) -> None:
    """Print a JSON document to stdout, with control characters escaped."""
    typer.echo(in_json(document))


def echo_error(message: str, hint: str = "") -> None:
    """Print an error message and a hint on stderr.

    Further lines of a message are indented, so that text from outside cannot imitate one of our own lines.
    """
    typer.secho("error: ", err=True, fg="red", bold=True, nl=False)
    typer.echo("\n    ".join(block(message)), err=True)
    if hint:
        typer.echo("\n    ".join(block(f"  hint: {hint}")), err=True)


def echo_warning(message: str, hint: str = "") -> None:
    """Print a warning and its hint on stderr, as two lines. Line breaks and control characters in them are escaped."""
    typer.echo(one_line(f"warning: {message}"), err=True)
    if hint:
        typer.echo(one_line(f"  hint: {hint}"), err=True)


def ask_on_stderr(question: str) -> bool:
    """Ask a yes-or-no question on stderr, and return whether the answer is yes.

    Raises:
        typer.Abort: stdin ended, or Ctrl-C was pressed, before an answer.
    """
    return typer.confirm(one_line(question), err=True)


def ask_text_on_stderr(question: str, default: str = "") -> str:
    """Ask for a text on stderr, and return it; the default if the answer is empty.

    Raises:
        typer.Abort: stdin ended, or Ctrl-C was pressed, before an answer.
    """
    return str(typer.prompt(one_line(question), default=default, show_default=bool(default), err=True)).strip()


class Output(Console):
    """The console of a command: stdout, or stderr. It never interprets text as rich markup.

    When the reader of the output leaves (`loadgen run shop.py | head`), the rest of the output is discarded, and the
    command continues and ends with its own exit code. Rich would end the program with 1, which means "failed" here.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, stderr=stderr)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = PLAIN_WIDTH

    def print(self, *objects: Any, **options: Any) -> None:
        """Print like rich, except that a plain string is printed as one safe line."""
        texts = (Text(each) if isinstance(each, str) else each for each in objects)
        super().print(*(_Whole(each) if isinstance(each, Text) else each for each in texts), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render like rich, and escape all control characters, whichever renderable they came from."""
        for segment in super().render(renderable, options):
            text = segment.text
            yield segment if segment.control or text == "\n" or is_plain(text) else _safe(segment)

    def on_broken_pipe(self) -> None:
        """Discard all further output, because the reader of the pipe is gone."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # else Python fails at exit, when it flushes the buffer
        os.close(nowhere)


class _Whole:
    """Wraps a `Text` so that rich does not join it with its neighbours: rich would then use its own wrapping."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._text


def _safe(segment: Segment) -> Segment:
    return Segment("\n".join(block(segment.text)), segment.style)
