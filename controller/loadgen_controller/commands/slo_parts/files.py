"""Arguments and options that the subcommands of `loadgen slo` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.errors import ScenarioError, UsageError
from loadgen.programme.promises.slo_set import Reading
from loadgen.programme.slo_files.read_any import files_in, read_objectives
from loadgen.programme.sloth.alert_windows import GOOGLE_30D, AlertWindows, read_alert_windows

__all__ = [
    "FORMATS",
    "ExplainPromisesOption",
    "FilesArgument",
    "FormatOption",
    "StrictOption",
    "WindowsOption",
    "check_format",
    "read_slos",
    "slo_files",
]

FORMATS: Final = ("text", "json")
FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE|DIR...", help="Files of promises, or folders with them. Default: slos"),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Treat notes and losses as faults: exit code 2 if there is one.")
]
ExplainPromisesOption = Annotated[
    bool, typer.Option("--explain", help="Show the arithmetic of each promise, on stderr.")
]
FormatOption = Annotated[str, typer.Option("--format", metavar="NAME", help=f"Output: {', '.join(FORMATS)}.")]
WindowsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="AlertWindows of sloth: the period and the alerts of promises in files of sloth. Default: 30 days.",
    ),
]


def check_format(name: str) -> None:
    """Check an output format.

    Raises:
        UsageError: it is unknown.
    """
    if name not in FORMATS:
        raise UsageError(f"--format {name} is unknown", hint=f"use one of {', '.join(FORMATS)}")


def read_slos(paths: list[Path] | None, windows: Path | None = None) -> Reading:
    """Read all files of promises together.

    Raises:
        UsageError: a folder has no YAML file, or PyYAML is not installed.
        ScenarioError: the alert windows have faults.
    """
    return read_objectives(slo_files(paths), _windows(windows))


def slo_files(paths: list[Path] | None) -> list[Path]:
    """Return the files that the arguments name; without arguments, those in the folder `slos`.

    Raises:
        UsageError: a folder has no YAML file.
    """
    return files_in(paths or [Path("slos")])


def _windows(path: Path | None) -> AlertWindows:
    if path is None:
        return GOOGLE_30D
    windows, faults = read_alert_windows(path)
    if windows is None:
        raise ScenarioError(faults)
    return windows
