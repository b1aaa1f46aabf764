"""Shows which series of the target go with the slow requests of a run, below the ranked causes of `loadgen trace`."""

from __future__ import annotations

from textwrap import wrap
from typing import Final

from loadgen.report.goes_with.file import GoesWithFile, write_goes_with
from loadgen.report.goes_with.lines import lines_of
from loadgen.report.run_as_dataframes import Run
from loadgen.report.why_slow.choice import Chosen
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.console_output import Output, Text

__all__ = ["show_goes_with"]

_NARROW: Final = 60


def show_goes_with(console: Output, run: Run, chosen: Chosen) -> GoesWithFile | None:
    """Compare the run's series of the target with the chosen requests, write goes_with.json, and print its lines.

    A run without such series prints nothing, and the result is None.

    Raises:
        StorageError: the run's log cannot be read, or the file cannot be written.
        UsageError: the extra `analysis` is not installed.
    """
    with needing_analysis("loadgen trace"):
        from loadgen.report.goes_with.of_run import goes_with_of_run
    found = goes_with_of_run(run, chosen)
    if found is None:
        return None
    write_goes_with(run.path, found)
    console.print()
    for line in lines_of(found):
        for part in wrap(line, max(_NARROW, console.width), subsequent_indent="   "):
            console.print(Text(part), soft_wrap=True)
    return found
