"""Makes the runs of a gate: a series of runs, or pairs of runs against two targets in turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.stored_run import Accepted
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S, format_duration
from loadgen_controller.launch.run_maker import Interrupted, RunMaker

__all__ = ["Interrupted", "Maker"]


@dataclass(slots=True)
class Maker(RunMaker):
    """Makes the runs of a gate."""

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

    def _compare_agents(self, pair: int) -> None:
        """Add a warning to `notes` if the two runs of this pair had different agents.

        A controller assigns idle agents, and other runs may have taken some.
        """
        one, other = ({agent.id for agent in open_run(folder).agents} for folder in self.folders[-2:])
        if one != other:
            differ = ", ".join(sorted(one ^ other)[:5])
            self.notes.append(f"the runs of pair {pair} had different agents: only one of them had {differ}")


def _order_of_pairs(pairs: int, seed: int) -> list[tuple[int, int]]:
    """Return the order of the two sides, (0, 1) or (1, 0), for each pair.

    The order of the first pair is random; then the order alternates.

    With alternation, a drift of the machines over time does not favour one side.
    """
    first = Random(seed).randrange(2)  # noqa: S311  # no secret
    return [((first + n) % 2, (first + n + 1) % 2) for n in range(pairs)]
