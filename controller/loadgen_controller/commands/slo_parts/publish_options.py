"""Options and settings of the commands that publish: `slo report --publish`, `slo status --notify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.errors import ExitCode
from loadgen.outside_text import one_line
from loadgen.programme.programme_toml import FILE_NAME
from loadgen.programme.publishing.publish_file import PublishSettings, read_publish
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo

if TYPE_CHECKING:
    from loadgen.programme.publishing.publish import Published

__all__ = ["ProgrammeOption", "PublishOption", "publish_settings", "show_published"]

ProgrammeOption = Annotated[
    Path | None,
    typer.Option("--programme", metavar="FILE", help=f"The file with the table publish. Default: {FILE_NAME}."),
]
PublishOption = Annotated[
    bool,
    typer.Option(
        "--publish",
        help="Write the page to the place in the table publish of programme.toml, and send it to its channels. "
        "A second run finishes a partial one. Exit code 3: a step is not finished.",
    ),
]


def publish_settings(
    errors: CollectedErrors, programme: Path | None = None
) -> tuple[PublishSettings, dict[str, str]] | None:
    """Return the table [publish] and the values of its channels' secrets. Faults are added to `errors`; then None."""
    path = programme or Path(FILE_NAME)
    # Here, because the first imports the language and the second httpx, and most calls of the commands send nothing.
    from loadgen.dsl.find_settings import find_settings
    from loadgen.dsl.plans.loadgen_toml import read_settings
    from loadgen_controller.notifying.open_notifier import values_of

    read = errors.catch(lambda: read_publish(path, read_settings(find_settings(path)).notify))
    return None if read is None else (read, values_of(errors, read.channels))


def show_published(found: Published) -> ExitCode:
    """Print what was published, and return 0, or 3 if a step is not finished."""
    for text in found.lines():
        echo(one_line(text, 600), err=True)
    return found.exit_code
