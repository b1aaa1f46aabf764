"""`loadgen slo import`: a file of promises as canonical OpenSLO, with a line for everything that is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import ExitCode
from loadgen.programme.openslo.write import as_openslo
from loadgen_controller.commands.slo_parts.files import (
    ExplainPromisesOption,
    FormatOption,
    StrictOption,
    WindowsOption,
    check_format,
    read_slos,
)
from loadgen_controller.commands.slo_parts.shown import print_document, print_explained, print_notes, written_document
from loadgen_controller.screen.output_file import write

__all__ = ["IMPORT", "import_file"]

IMPORT = """[bold]Examples[/bold]

loadgen slo import openslo.yaml -o slos/shop.yaml

loadgen slo import sloth.yaml --windows sloth_7d.yaml -o slos/imported.yaml

loadgen slo import sloth.yaml --strict --explain"""


def import_file(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of OpenSLO v1, or of sloth.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write. Default: stdout.")
    ] = None,
    windows: WindowsOption = None,
    strict: StrictOption = False,
    explained: ExplainPromisesOption = False,
    output_format: FormatOption = "text",
) -> int:
    """Read promises of OpenSLO v1 or sloth (prometheus/v1), and write them as OpenSLO v1.

    The kind of a file is found by its content. The output is canonical: sorted, one document for each promise, and
    the same bytes for the same promises. Each lost field is a note on stderr, with its line.

    Exit code 0: written. 2: a fault; with --strict, also a note.
    """
    check_format(output_format)
    reading = read_slos(list(files), windows)
    if not strict and output_format == "text":
        print_notes(reading.notes)
    slos = reading.check(strict=strict)
    text = as_openslo(slos)
    if output is not None or output_format == "text":
        write(output, text.encode())
    if output_format == "json":
        print_document(written_document(reading, output, text, is_explained=explained))
    elif explained:
        print_explained(slos.objectives)
    return ExitCode.PASSED
