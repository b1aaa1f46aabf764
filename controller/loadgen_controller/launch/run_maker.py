"""Makes runs of one scenario one after another, each like `loadgen run`, on this machine or at a controller.

A gate and a sweep make their runs with it. All run folders are kept, whatever happens. Ctrl-C drains the running run
and ends the series.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.history.store.extract import accepted_of
from loadgen.history.store.stored_run import Accepted
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller.api.remote import check_there
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.launch.launcher import Made, make_run
from loadgen_controller.launch.run_location import Placement
from loadgen_controller.past_runs.read_run_for_history import promises_here, with_promises
from loadgen_controller.planning.scenario import load_scenario

__all__ = ["Interrupted", "RunMaker"]


class Interrupted(Exception):
    """Ctrl-C or a stop has ended the series. `RunMaker.folders` has the runs made so far."""


@dataclass(slots=True)
class RunMaker:
    """Makes runs of one scenario with the same options. `folders` are the run folders made so far."""

    file: str
    options: dict[str, Any]
    """Keyword arguments of `load_scenario`, except seed and allow-list."""
    placement: Placement
    console: Console
    is_quiet: bool = False
    folders: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Warnings about the runs, to be added to the result."""

    def check(self, errors: CollectedErrors, targets: tuple[str | None, ...] = (None,)) -> PlanSpec:
        """Check the scenario and the options before the first run, and return the spec of the plan.

        targets: the targets that will be used; None: the plan's own.

        Raises:
            LoadgenError, ExceptionGroup: all errors found so far, in the scenario, or at the controller.
        """
        self.check_place(errors)
        seed = secrets.randbelow(2**32)
        specs = [self.load(errors, _changed_target(target), seed=seed).plan.spec() for target in targets]
        return specs[0]

    def check_place(self, errors: CollectedErrors) -> None:
        """Add an error if the controller cannot be reached. Without a controller, or after another error: nothing."""
        place = self.placement.place
        if place is not None and not errors.found:
            errors.catch(lambda: check_there(place))

    def load(
        self, errors: CollectedErrors, changes: Mapping[str, Any] | None = None, *, seed: int | None = None
    ) -> Scenario:
        """Return the scenario with the options. changes: options that replace those of all runs.

        Raises:
            LoadgenError, ExceptionGroup: all errors found so far, and those in the scenario.
        """
        options = self.options | dict(changes or {})
        return load_scenario(errors, self.file, seed=seed, allow=self.placement.allow, **options)

    def staffed(self, errors: CollectedErrors, spec: PlanSpec, runs: int) -> AbstractContextManager[None]:
        """Keep the agents that --scale requests running within the `with` block, which makes `runs` runs.

        Without --scale nothing is started.
        """
        return self.placement.staffed(errors, spec, runs=runs, is_quiet=False)

    def make_folder(self, changes: Mapping[str, Any] | None = None, *, seed: int | None = None) -> Made:
        """Make one run and return where it is. changes: options that replace those of all runs.

        seed: seed of the run, if the plan has none; None: a random one.

        Raises:
            Interrupted: the run was stopped; its folder is in `folders` if it ended.
        """
        seed = secrets.randbelow(2**32) if seed is None else seed
        scenario = self.load(CollectedErrors(), changes, seed=seed)
        try:
            made = make_run(scenario, self.placement, self.console, is_quiet=self.is_quiet)
        except KeyboardInterrupt:
            raise Interrupted from None
        self.folders.append(made.run_dir)
        return made

    def make(self, target: str | None = None, *, seed: int | None = None, called: str = "") -> Accepted:
        """Make one run, print its folder and result, and return it as the history stores runs.

        Args:
            target: replaces the target of the plan and of the options.
            seed: seed of the run, if the plan has none; None: a random one.
            called: how the printed line names the run.
        Raises:
            Interrupted: the run was stopped; its folder is in `folders` if it ended.
        """
        made = self.make_folder(_changed_target(target), seed=seed)
        self.console.print(f"{called or 'run'}: {made.run_dir}: {made.result}", soft_wrap=True)
        if made.was_stopped:
            raise Interrupted
        run = open_run(made.run_dir)
        return with_promises(accepted_of(run), run, promises_here())


def _changed_target(target: str | None) -> dict[str, str]:
    return {} if target is None else {"target": target}
