"""`loadgen slo export`: promises for other tools, with a line for every loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.errors import ExitCode, ScenarioError, UsageError
from loadgen.programme.load_tests.of_sources import with_source_settings
from loadgen.programme.openslo.readers import READERS, losses_for
from loadgen.programme.openslo.write import as_openslo, openslo_losses
from loadgen.programme.programme_toml import FILE_NAME
from loadgen.programme.prometheus_rules import as_prometheus, prometheus_losses
from loadgen.programme.promises.slo_set import Loss, SloSet
from loadgen.programme.pulling.source_settings import read_sources
from loadgen.programme.sloth.write import as_sloth, sloth_losses
from loadgen.similar_names import did_you_mean
from loadgen.units import quantity
from loadgen_controller.commands.slo_parts.files import (
    ExplainPromisesOption,
    FilesArgument,
    FormatOption,
    StrictOption,
    WindowsOption,
    check_format,
    read_slos,
)
from loadgen_controller.commands.slo_parts.shown import (
    print_document,
    print_explained,
    print_losses,
    print_notes,
    written_document,
)
from loadgen_controller.screen.output_file import write

__all__ = ["EXPORT", "FORMS", "Form", "export"]

EXPORT = """[bold]Examples[/bold]

loadgen slo export slos/ --to openslo -o openslo.yaml

loadgen slo export slos/ --to sloth --strict

loadgen slo export slos/ --to prometheus -o rules.yaml && promtool check rules rules.yaml

loadgen slo export slos/ --to openslo --for dash0"""


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of file that can be written: its text, and what it cannot express."""

    text: Callable[[SloSet], str]
    losses: Callable[[SloSet], list[Loss]]
    has_conditions: bool = True
    """Whether its queries have the conditions of the sources that leave load tests out."""


FORMS: Final[dict[str, Form]] = {
    "openslo": Form(as_openslo, openslo_losses, has_conditions=False),
    "sloth": Form(as_sloth, sloth_losses),
    "prometheus": Form(as_prometheus, prometheus_losses),
}


_UNREAD: Final = Loss(
    "",
    "load_tests of the sources",
    f"{FILE_NAME} has errors: `loadgen slo pull --plan` shows them",
    "the exported queries may count load tests",
)


def export(
    files: FilesArgument = None,
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", help=f"Kind of file to write: {', '.join(FORMS)}.")
    ] = "openslo",
    reader: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="NAME",
            help=f"Also show what this tool would reject when it reads the file: {', '.join(READERS)}.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write. Default: stdout.")
    ] = None,
    windows: WindowsOption = None,
    strict: StrictOption = False,
    explained: ExplainPromisesOption = False,
    output_format: FormatOption = "text",
) -> int:
    """Write promises as files of another tool.

    Everything that the other tool cannot express is a line on stderr: the field, the reason, and the effect. The same
    promises give the same bytes.

    Rules for Prometheus and files of sloth leave load tests out of each query, as load_tests of its source does.

    Exit code 0: written. 2: a fault in the files; with --strict, also a loss, and nothing is written.
    """
    form = FORMS.get(to)
    if form is None:
        raise UsageError(f"--to {to} is unknown", hint=did_you_mean(to, FORMS))
    if reader is not None and reader not in READERS:
        raise UsageError(f"--for {reader} is unknown", hint=did_you_mean(reader, READERS))
    if reader is not None and to != "openslo":
        raise UsageError(f"--for {reader} needs --to openslo", hint="add --to openslo, or remove --for")
    check_format(output_format)
    is_text = output_format == "text"
    reading = read_slos(files, windows)
    print_notes(reading.notes if is_text else ())
    slos = reading.check()
    unread: list[Loss] = []
    if form.has_conditions:
        try:
            slos = with_source_settings(slos, read_sources(Path(FILE_NAME)))
        except ScenarioError:
            unread = [_UNREAD]
    losses = unread + form.losses(slos) + (losses_for(reader, slos) if reader is not None else [])
    if explained and is_text:
        print_explained(slos.objectives)
    print_losses(losses if is_text or strict else ())
    if strict and losses:
        raise UsageError(
            f"{quantity(len(losses), 'field')} would be lost, so nothing was written",
            hint="remove --strict, or change the promises",
        )
    text = form.text(slos)
    if not text:
        raise UsageError(
            f"no promise can be written for {to}", hint='the lines above that begin with "lost:" have the reasons'
        )
    if output is not None or is_text:
        write(output, text.encode())
    if not is_text:
        print_document(written_document(reading, output, text, losses, is_explained=explained))
    return ExitCode.PASSED
