"""Makes the runs of a gate one after another, each like `loadgen run`, on this machine or at a controller.

All run folders are kept, whatever happens. Ctrl-C drains the running run and ends the series, and the folders made so
far are printed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.history.store.extract import accepted_of, unfit_of
from loadgen.history.store.stored_run import Accepted
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S, format_duration
from loadgen_controller.api.remote import check_there
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.launch.launcher import make_run
from loadgen_controller.launch.run_location import Placement
from loadgen_controller.planning.scenario import load_scenario

__all__ = ["Interrupted", "Maker"]


class Interrupted(Exception):
    """Ctrl-C or a stop has ended the series. `Maker.folders` has the runs made so far."""


@dataclass(slots=True)
class Maker:
    """Makes runs of one scenario with the same options. `folders` are the run folders made so far."""

    file: str
    options: dict[str, Any]
    """Keyword arguments of `load_scenario`, except seed and allow-list."""
    placement: Placement
    console: Console
    is_quiet: bool = False
    folders: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Warnings about the runs, to be added to the decision."""

    def check(self, errors: CollectedErrors, targets: tuple[str | None, ...] = (None,)) -> PlanSpec:
        """Check the scenario and the options before the first run, and return the spec of the plan.

        targets: the targets that will be used; None: the plan's own.

        Raises:
            LoadgenError, ExceptionGroup: all errors found so far, in the scenario, or at the controller.
        """
        place = self.placement.place
        if place is not None and not errors.found:
            errors.catch(lambda: check_there(place))
        specs = [self._load(errors, target, secrets.randbelow(2**32)).plan.spec() for target in targets]
        return specs[0]

    def staffed(self, errors: CollectedErrors, spec: PlanSpec, runs: int) -> AbstractContextManager[None]:
        """Keep the agents that --scale requests running within the `with` block, which makes `runs` runs.

        Without --scale nothing is started.
        """
        return self.placement.staffed(errors, spec, runs=runs, is_quiet=False)

    def make(self, target: str | None = None, *, seed: int | None = None, called: str = "") -> Accepted:
        """Make one run, print its folder and result, and return it as the history stores runs.

        Args:
            target: replaces the target of the plan and of the options.
            seed: seed of the run, if the plan has none; None: a random one.
            called: how the printed line names the run.
        Raises:
            Interrupted: the run was stopped; its folder is in `folders` if it ended.
        """
        scenario = self._load(CollectedErrors(), target, secrets.randbelow(2**32) if seed is None else seed)
        try:
            made = make_run(scenario, self.placement, self.console, is_quiet=self.is_quiet)
        except KeyboardInterrupt:
            raise Interrupted from None
        self.folders.append(made.run_dir)
        self.console.print(f"{called or 'run'}: {made.run_dir}: {made.result}", soft_wrap=True)
        if made.was_stopped:
            raise Interrupted
        return accepted_of(open_run(made.run_dir))

    def series(self, runs: int, first: int = 1) -> Iterator[Accepted]:
        """Make up to `runs` runs, and yield each when it has ended. Stop after the first invalid one.

        first: number of the first run in the output.
        """
        for n in range(first, first + runs):
            run = self.make(called=f"run {n}")
            yield run
            if unfit_of(run):
                return

    def pairs(self, targets: tuple[str, str], pairs: int, seed: int) -> tuple[list[Accepted], list[Accepted]]:
        """Make pairs of runs, one of each target, in the order A B B A or B A A B ...; a pair has one seed.

        The series ends with the first pair that has an invalid run. Returns the runs of A and those of B, equally many.
        If the runs of a pair had different agents, a warning is added to `notes`: the agents may cause a difference.
        """
        sides: tuple[list[Accepted], list[Accepted]] = ([], [])
        for n, order in enumerate(_order_of_pairs(pairs, seed), 1):
            for side in order:
                name = "AB"[side]
                sides[side].append(self.make(targets[side], seed=seed + n, called=f"pair {n} of {pairs}, {name}"))
            if self.placement.place is not None:
                self._compare_agents(n)
            if any(unfit_of(runs[-1]) for runs in sides):
                break
        return sides

    def _compare_agents(self, pair: int) -> None:
        """Add a warning to `notes` if the two runs of this pair had different agents.

        A controller assigns idle agents, and other runs may have taken some.
        """
        one, other = ({agent.id for agent in open_run(folder).agents} for folder in self.folders[-2:])
        if one != other:
            differ = ", ".join(sorted(one ^ other)[:5])
            self.notes.append(f"the runs of pair {pair} had different agents: only one of them had {differ}")

    def budget(self, runs: int, spec: PlanSpec) -> str:
        """Return number and length of the runs as text: "10 runs of 30 s: 5 min of load, and the start of each run".

        Without a fixed duration only "10 runs".
        """
        length_s = (spec.duration_ns or 0) / NS_PER_S
        each = "one run" if runs == 1 else f"{runs} runs"
        if not length_s:
            return each
        whole = format_duration(runs * length_s * NS_PER_S)
        return f"{each} of {format_duration(length_s * NS_PER_S)}" + (
            f": {whole} of load, and the start of each run" if runs > 1 else ""
        )

    def _load(self, errors: CollectedErrors, target: str | None, seed: int) -> Scenario:
        options = self.options | ({} if target is None else {"target": target})
        return load_scenario(errors, self.file, seed=seed, allow=self.placement.allow, **options)


def _order_of_pairs(pairs: int, seed: int) -> list[tuple[int, int]]:
    """Return the order of the two sides, (0, 1) or (1, 0), for each pair.

    It is random in the first pair, then alternating.

    With alternation, a drift of the machines over time does not favour one side.
    """
    first = Random(seed).randrange(2)  # noqa: S311  # no secret
    return [((first + n) % 2, (first + n + 1) % 2) for n in range(pairs)]
