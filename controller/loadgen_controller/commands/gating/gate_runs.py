"""The runs that a gate makes itself: one after another, each as `loadgen run` would make it, here or at a controller.

What was made is kept, whatever happens then: a Ctrl-C drains the run that is going on, ends the
series, and every folder is named.
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
from loadgen.history.store.baseline_run import Accepted
from loadgen.history.store.extract import accepted_of, unfit_of
from loadgen.report.notebook import open_run
from loadgen.units import NS_PER_S, format_duration
from loadgen_controller.api.remote import check_there
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.launch.launcher import make_run
from loadgen_controller.launch.placement import Placement
from loadgen_controller.planning.scenario import load_scenario

__all__ = ["Interrupted", "Maker", "order_of_pairs"]


class Interrupted(Exception):
    """The person has ended the series. What was made is in `Maker.folders`."""


@dataclass(slots=True)
class Maker:
    """Makes runs of one scenario with the same options; `folders` has what was made so far."""

    file: str
    options: dict[str, Any]
    """Of `load_scenario`, but for seed and allow-list."""
    placement: Placement
    console: Console
    is_quiet: bool = False
    folders: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is to be known of the runs beside their figures."""

    def check(self, wrongs: CollectedErrors, targets: tuple[str | None, ...] = (None,)) -> PlanSpec:
        """Everything that is wrong with scenario and options, before the first run; the plan, which has one length."""
        place = self.placement.place
        if place is not None and not wrongs.found:
            wrongs.catch(lambda: check_there(place))
        specs = [self._load(wrongs, target, secrets.randbelow(2**32)).plan.spec() for target in targets]
        return specs[0]

    def staffed(self, wrongs: CollectedErrors, spec: PlanSpec, runs: int) -> AbstractContextManager[None]:
        """Within, agents that are hired for these runs are up."""
        return self.placement.staffed(wrongs, spec, runs=runs, is_quiet=False)

    def make(self, target: str | None = None, *, seed: int | None = None, called: str = "") -> Accepted:
        """One run.

        Args:
            target: instead of the plan's and of the options'.
            seed: of the run; a new one each time where none is given and the plan has none.
        Raises:
            Interrupted: it was; its folder is among `folders`.
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
        """So many runs; none after one that was not fit to measure."""
        for n in range(first, first + runs):
            run = self.make(called=f"run {n}")
            yield run
            if unfit_of(run):
                return

    def pairs(self, targets: tuple[str, str], pairs: int, seed: int) -> tuple[list[Accepted], list[Accepted]]:
        """Both targets in turns, A B B A or B A A B ...; both of a pair with the same seed.

        Where a run was not fit to measure, the series ends with its pair, and as many of either are returned. Where
        the runs of a pair had different agents, what differs may be those: that is among `notes`.
        """
        sides: tuple[list[Accepted], list[Accepted]] = ([], [])
        for n, order in enumerate(order_of_pairs(pairs, seed), 1):
            for side in order:
                name = "AB"[side]
                sides[side].append(self.make(targets[side], seed=seed + n, called=f"pair {n} of {pairs}, {name}"))
            if self.placement.place is not None:
                self._compare_agents(n)
            if any(unfit_of(runs[-1]) for runs in sides):
                break
        return sides

    def _compare_agents(self, pair: int) -> None:
        """A controller gives a run the agents that are idle, and others may have some of them meanwhile."""
        one, other = ({agent.id for agent in open_run(folder).agents} for folder in self.folders[-2:])
        if one != other:
            differ = ", ".join(sorted(one ^ other)[:5])
            self.notes.append(f"the runs of pair {pair} were not of the same agents: only one of them had {differ}")

    def budget(self, runs: int, spec: PlanSpec) -> str:
        """ "10 runs of 30 s: 5 min or more"; of a load that ends by itself only how many."""
        length_s = (spec.duration_ns or 0) / NS_PER_S
        each = "one run" if runs == 1 else f"{runs} runs"
        if not length_s:
            return each
        whole = format_duration(runs * length_s * NS_PER_S)
        return f"{each} of {format_duration(length_s * NS_PER_S)}" + (f": at least {whole}" if runs > 1 else "")

    def _load(self, wrongs: CollectedErrors, target: str | None, seed: int) -> Scenario:
        options = self.options | ({} if target is None else {"target": target})
        return load_scenario(wrongs, self.file, seed=seed, allow=self.placement.allow, **options)


def order_of_pairs(pairs: int, seed: int) -> list[tuple[int, int]]:
    """Which side goes first: by chance in the first pair, then in turns, so that a drift does neither any good."""
    first = Random(seed).randrange(2)  # noqa: S311  # no secret
    return [((first + n) % 2, (first + n + 1) % 2) for n in range(pairs)]
