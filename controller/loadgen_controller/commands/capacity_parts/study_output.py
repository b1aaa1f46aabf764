"""Where the result of a study goes: the terminal, HTML, JSON, CSV, and the store; options and writing.

All subcommands of `loadgen capacity`, and `loadgen sweep`, end with `end_study`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from loadgen.history.store.store import Store
from loadgen.studies.files import as_csv, as_document, as_json
from loadgen.studies.page import as_page
from loadgen.studies.report import as_report
from loadgen.studies.study import Study, exit_code_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.past_runs.read_run_for_history import who
from loadgen_controller.planning.option_parsing import places_of
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.terminal_report import Output, print_report

__all__ = [
    "CsvOption",
    "HtmlOption",
    "JsonOption",
    "StudyOutput",
    "StudyStoreOption",
    "check_different",
    "end_study",
    "study_output_of",
]

HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write the result as one HTML page with charts.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the whole result as JSON; - is stdout.")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write the rows of the result as CSV; - is stdout.")
]
StudyStoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="LOADGEN_STORE",
        metavar="DIR|s3://...",
        help="Store the result in this history, too. Default: the store in loadgen.toml, or no store.",
    ),
]


@dataclass(frozen=True, slots=True)
class StudyOutput:
    """Where a study goes besides the terminal. None: not there."""

    html: Path | None = None
    json: Path | None = None
    csv: Path | None = None
    store: Store | None = None

    @property
    def console(self) -> Output:
        """Return the console for the text output: stdout, or stderr if a document is written to stdout."""
        return Output(stderr="-" in (str(self.json), str(self.csv)))


def study_output_of(
    errors: CollectedErrors,
    *,
    html: Path | None,
    json: Path | None,
    csv: Path | None,
    store: str | None,
    env: str | None = None,
    scenario: Path | None = None,
) -> StudyOutput:
    """Return where a study goes, from its options. Invalid ones are added to `errors`, before anything runs.

    scenario: whose `loadgen.toml` may name a store; None: that of the working folder.
    """
    _check_files(errors, {"--html": html, "--json": json, "--csv": csv})
    url = store if store and env is None else (store or places_of(errors, scenario, env).store)
    opened = errors.catch(lambda: Store.open(url)) if url else None
    return StudyOutput(html, json, csv, opened)


def _check_files(errors: CollectedErrors, files: Mapping[str, Path | None]) -> None:
    given = {option: path for option, path in files.items() if path is not None}
    if str(given.get("--html")) == "-":
        errors.add("--html cannot write to stdout", "name a file: --html capacity.html")
    if [str(path) for path in given.values()].count("-") > 1:
        errors.add("--json and --csv cannot both write to stdout", "name a file for one of them")
    for option, path in given.items():
        if str(path) != "-" and path.is_dir():
            errors.add(f"{option}: {path} is a folder", f"name a file: {option} {path / 'capacity'}")
        elif str(path) != "-" and not path.parent.is_dir():
            errors.add(f"{option}: there is no folder {path.parent}", "create it, or name another file")
    check_different(errors, given)


def check_different(errors: CollectedErrors, files: Mapping[str, Path | None]) -> None:
    """Add an error for each option that names the file of an option before it: the second would replace the first."""
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is None or str(path) == "-":
            continue
        before = seen.setdefault(path.resolve(), option)
        if before != option:
            errors.add(f"{before} and {option} both name {path}", "name two files")


def end_study(output: StudyOutput, study: Study) -> int:
    """Print a study, write its files, store it, and return its exit code.

    Raises:
        StorageError: a file or the store cannot be written. The study is printed before that.
    """
    console = output.console
    print_report(console, as_report(study))
    if output.html is not None:
        write(output.html, as_page(study))
    if output.json is not None:
        write(output.json, as_json(study))
    if output.csv is not None:
        write(output.csv, as_csv(study))
    if output.store is not None:
        study_id = output.store.add_study(as_document(study), by=who())
        console.print(f"stored as {study_id} in {output.store}", soft_wrap=True)
    return exit_code_of(study.result)
