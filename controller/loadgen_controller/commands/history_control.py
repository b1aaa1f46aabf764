"""`loadgen history control`: checks the gate itself, by judging runs in which nothing has changed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from loadgen.dsl.loading.loader import split_plan
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import STATISTICS
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import RunOptions, takes_run_options
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.launch.run_location import placement_of

__all__ = ["EXAMPLES", "control"]

EXAMPLES = """[bold]Examples[/bold]

loadgen history control checkout.py --env staging --store history

loadgen history control --last --store history

[bold]Exit codes[/bold]

0 the gate is healthy, even if this control FAILs; 1 the gate is not healthy; 4 the runs were invalid"""


@takes_run_options
def control(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE[:PLAN]", help="Scenario to run; its target must not have changed since."),
    ] = None,
    last: Annotated[
        bool,
        typer.Option(
            "--last", help="Judge the newest accepted runs instead of FILE; 10 runs of the same release must precede."
        ),
    ] = False,
    runs: Annotated[
        int, typer.Option(min=1, max=20, metavar="N", help="Number of runs; a gate needs 3 to be able to FAIL.")
    ] = 3,
    percentile: Annotated[
        str, typer.Option(metavar="P", help="Statistic that decides, as in `loadgen gate`: p50, p95, p99 or mean.")
    ] = "p95",
    store: StoreOption = None,
    key: Annotated[
        str,
        typer.Option(
            metavar="HASH", help="For --last: the kind of runs, by the beginning of its key, as in `loadgen history`."
        ),
    ] = "",
    *,
    options: RunOptions,
) -> int:
    """Judge runs in which nothing has changed, to find out whether the gate itself is healthy. Once a week is enough.

    The verdict is stored in the history. `loadgen history` shows how many of these controls failed, and what that
    means. With --last, --target chooses the kind of runs by a part of its target.
    """
    errors = CollectedErrors()
    if (file is None) != last:
        errors.add(
            "name either a scenario or --last" if file is None else "a scenario and --last exclude each other",
            "FILE.py makes new runs; --last judges the newest accepted runs",
        )
    if key and not last:
        errors.add("--key needs --last", "leave --key out: new runs are compared with accepted runs of their own kind")
    if percentile not in STATISTICS:
        errors.add(f'--percentile: unknown statistic "{percentile}"', f"use one of {', '.join(STATISTICS)}")
    where = store_of(errors, store, options.env, None if file is None else split_plan(file)[0])
    opened = errors.catch(lambda: Store.open(where))
    with needing_analysis("loadgen history control"):
        from loadgen_controller.commands.gating.execute_gate_runs import Maker
        from loadgen_controller.commands.trending import aa_controls
        from loadgen_controller.screen.terminal_report import Output
    if file is None:
        errors.check()
        assert opened is not None
        return aa_controls.of_newest(opened, runs, percentile, key, options.target or "")
    placement = placement_of(errors, options.launch_request())
    load = options.scenario_options() | {"needs_secrets": placement.needs_secrets}
    is_watched = sys.stdout.isatty() and not options.quiet  # a live view would fill the log of a CI with lines
    maker = Maker(file, load, placement, Output(), is_quiet=not is_watched)
    return aa_controls.of_made(errors, opened, maker, runs, percentile)
