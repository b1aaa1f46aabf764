"""Lines on the terminal. All commands print through `Text`, `echo` and `Output`, and through nothing else.

Each is safe with a text from outside in it: see `loadgen.outside_text`. A test holds that no other module imports
rich's `Text`, calls `typer.echo` or makes a `Console`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
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
    "echo",
    "echo_error",
    "echo_json",
    "no_verdict",
    "text_block",
    "verdict",
]

PLAIN_WIDTH: Final = 120
"""Columns where there is no terminal to ask, a log for instance, and no `COLUMNS`."""
_VERDICT: Final = re.compile(r"(\s*)(?=[A-Z]+ \(exit\b|(?:PASS|FAIL|INCONCLUSIVE|INVALID): )([A-Z])")
"""How a run's headline begins, and a gate's."""


class Text(RichText):
    """One line of a command's output.

    Neither a name in it nor the place where it wraps can make a line that reads like a verdict, "PASSED (exit code 0)".
    `verdict` makes the real one.
    """

    def __init__(self, text: str = "", style: str | Style = "", **options: Any) -> None:
        super().__init__(no_verdict(one_line(text)), style, **options)

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
    """The line that says how a run or a gate ended."""
    return RichText(one_line(headline), style)


def text_block(text: str, indent: str = "  ", style: str = "") -> RichText:
    """A body or a traceback, each line indented."""
    return RichText("\n".join(f"{indent}{line}" for line in block(text)), style)


def no_verdict(line: str) -> str:
    """The line, with its first letter as a code where it would read like a verdict."""
    if (found := _VERDICT.match(line)) is None:
        return line
    return f"{found[1]}\\x{ord(found[2]):02x}{line[found.end() :]}"


def echo(text: str, *, err: bool = False) -> None:
    """Print one line to stdout, or to stderr."""
    typer.echo(no_verdict(one_line(text)), err=err)


def echo_json(document: str) -> None:
    """Print a JSON document to stdout."""
    typer.echo(in_json(document))


def echo_error(message: str, hint: str = "") -> None:
    """Print on stderr what is wrong and what to do. Further lines are indented, so none can pass for one of ours."""
    typer.secho("error: ", err=True, fg="red", bold=True, nl=False)
    typer.echo("\n    ".join(block(message)), err=True)
    if hint:
        typer.echo("\n    ".join(block(f"  hint: {hint}")), err=True)


def ask_on_stderr(question: str) -> bool:
    """Whether the person at the terminal says yes.

    Raises:
        typer.Abort: nobody answered.
    """
    return typer.confirm(one_line(question), err=True)


class Output(Console):
    """Stdout, or stderr, of a command. Nothing that it prints is markup.

    When its reader leaves (`loadgen run shop.py | head`), what is still to be said goes nowhere; the command goes on
    and its exit code is what it found. Rich would end the program with 1, which means "failed" here.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, stderr=stderr)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = PLAIN_WIDTH

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does; a plain string is one line."""
        texts = (Text(each) if isinstance(each, str) else each for each in objects)
        super().print(*(_Whole(each) if isinstance(each, Text) else each for each in texts), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The last net: no control character of a text reaches the terminal, whatever printed it."""
        for segment in super().render(renderable, options):
            text = segment.text
            yield segment if segment.control or text == "\n" or is_plain(text) else _safe(segment)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # what is left in its buffer is written when Python ends
        os.close(nowhere)


class _Whole:
    """A text that rich must not join with others first: they would be wrapped as rich does it."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._text


def _safe(segment: Segment) -> Segment:
    return Segment("\n".join(block(segment.text)), segment.style)
