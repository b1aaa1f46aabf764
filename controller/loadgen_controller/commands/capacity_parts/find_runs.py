"""Makes the runs of `loadgen capacity find`: searches, the command and the wait between them, and a confirmation.

All run folders are kept, whatever happens. Ctrl-C drains the running run and ends the series.
"""

from __future__ import annotations

import shlex
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen.capacity.find.finished_runs import HeldRun, SearchRun, read_held, read_search
from loadgen.capacity.find.found_capacity import combined_of, stops_series
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.spec import Overrides, PlanSpec, SteeredLoad
from loadgen.outside_text import one_line
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S, format_duration, format_rate, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.user_command import UserCommand
from loadgen_controller.launch.run_maker import Interrupted, RunMaker

__all__ = ["RESTART_S", "FindRuns"]

RESTART_S: Final = 600.0
"""The longest time of the restart command, in seconds."""


@dataclass(slots=True)
class FindRuns:
    """Makes searches one after another, and a confirmation. Finished runs stay in its lists after an error."""

    maker: RunMaker
    search: SteeredLoad
    wanted: int
    confirm_s: float
    """Length of the confirmation; 0: none."""
    cool_down_s: float
    restart: UserCommand | None
    searches: list[SearchRun] = field(default_factory=list)
    """All searches, those of `--from` first."""
    held: HeldRun | None = None
    trouble: str = ""
    """Why the series ended before its end; "" if it did not."""
    was_interrupted: bool = False
    _is_target_used: bool = False
    """Whether this series has already put load on the target."""

    def check(self, errors: CollectedErrors) -> Scenario:
        """Check the scenario and the options before the first run, and return the scenario with its search.

        Raises:
            LoadgenError, ExceptionGroup: all errors found so far.
        """
        self.maker.check_place(errors)
        return self.maker.load(errors, _changes(self.search))

    def make(self, spec: PlanSpec) -> None:
        """Make the missing searches and the confirmation. A search without a rate ends the series.

        Raises:
            LoadgenError: a run could not be made; what was made before stays in the lists.
        """
        missing = self.wanted - len(self.searches) + (1 if self.confirm_s else 0)
        if missing <= 0:
            return
        with self.maker.staffed(CollectedErrors(), spec, missing):
            try:
                self._make_all()
            except (Interrupted, KeyboardInterrupt):
                self.was_interrupted, self.trouble = True, "it was interrupted by Ctrl-C"

    def _make_all(self) -> None:
        while len(self.searches) < self.wanted and not self.trouble:
            n = len(self.searches) + 1
            if not self._is_ready():
                return
            folder, was_stopped = self._run(self.search, f"search {n} of {self.wanted}")
            self.searches.append(read_search(open_run(folder)))
            self._print(f"search {n} of {self.wanted}: {self.searches[-1].why}")
            if was_stopped:
                self.was_interrupted, self.trouble = True, f"search {n} was stopped"
            elif stops_series(self.searches[-1]):
                return
        combined = combined_of(self.searches)
        if self.trouble or not self.confirm_s or combined is None or any(map(stops_series, self.searches)):
            return
        if self._is_ready():
            low = combined.low_per_s
            held = SteeredLoad(
                word="constant", objectives=self.search.objectives, upto_per_s=low, duration_s=self.confirm_s
            )
            folder, was_stopped = self._run(held, f"confirmation at {format_rate(low)}")
            self.held = read_held(open_run(folder), low, self.searches[-1].objectives)
            self._print(f"confirmation: {self.held.why}")
            if was_stopped:
                self.was_interrupted, self.trouble = True, "the confirmation was stopped"

    def _run(self, steered: SteeredLoad, called: str) -> tuple[Path, bool]:
        """Make one run; return its folder, and whether a person stopped it."""
        self._print(called)
        self._is_target_used = True
        made = self.maker.make_folder(_changes(steered))
        self._print(f"{called}: {made.run_dir}: {made.result}")
        return made.run_dir, made.was_stopped

    def _is_ready(self) -> bool:
        """Restart the target and wait, unless it has had no load yet. Return False if the restart failed."""
        if not self._is_target_used:
            return True
        if self.restart is not None and not self._restarted(self.restart):
            return False
        if self.cool_down_s:
            self._print(f"waiting {format_duration(self.cool_down_s * NS_PER_S)} without load")
            time.sleep(self.cool_down_s)
        return True

    def _restarted(self, command: UserCommand) -> bool:
        self._print(f"restarting the target: {shlex.join(command.words)}")
        with tempfile.TemporaryDirectory(prefix="loadgen-restart-") as folder:
            why = command.run(Path(folder) / "restart.log")
        if why:
            self.trouble = f"the restart command failed: {' '.join(why.split())}"
        return not why

    def _print(self, text: str) -> None:
        self.maker.console.print(one_line(text), soft_wrap=True, markup=False, highlight=False)

    def resume_hint(self, command: str) -> tuple[str, ...]:
        """Return the lines that tell how to go on without repeating what was measured; () if nothing is usable.

        command: the command line so far, such as "loadgen capacity find shop.py:peak".
        """
        usable = [one.folder for one in self.searches if one.is_found]
        if not usable:
            return ()
        given = " ".join(f"--from {folder}" for folder in usable)
        return (f"{quantity(len(usable), 'search')} can be used again: {command} {given}",)


def _changes(steered: SteeredLoad) -> dict[str, Overrides]:
    """Return the change of a plan's options that puts this load in the place of its own."""
    return {"base": Overrides(steered=steered)}
