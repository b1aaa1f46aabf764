"""A/A controls: runs of something in which nothing has changed, judged as those of a release are.

The verdict is noted in the store and becomes part of the gate's health. The runs are not accepted into the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from rich.console import Console

from loadgen.analysis.gate import LEAST_HISTORY
from loadgen.errors import ExitCode, IncompleteError, UsageError
from loadgen.history.gate.decision import Decision, Settings, Verdict
from loadgen.history.gate.gate_verdict import decide
from loadgen.history.gate.health import CONTROL, State, health_of
from loadgen.history.store.baseline_run import Accepted
from loadgen.history.store.store import Store
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.gating.gate_runs import Interrupted, Maker
from loadgen_controller.commands.gating.text import headline
from loadgen_controller.commands.gating.verdict import judge_in, note_verdict
from loadgen_controller.commands.trending.select_runs import chosen
from loadgen_controller.commands.trending.trend_command import print_health
from loadgen_controller.past_runs.accepting import who
from loadgen_controller.screen.terminal_report import Output
from loadgen_controller.terminal import Text

__all__ = ["of_made", "of_newest"]


def of_made(wrongs: CollectedErrors, store: Store | None, maker: Maker, runs: int, percentile: str) -> int:
    """Runs that are made now. Everything that is wrong is said before the first."""
    spec = maker.check(wrongs)
    wrongs.check()
    assert store is not None
    if not store.keys():
        raise IncompleteError(
            f"there is nothing to hold a control against: there are no accepted runs in {store} yet",
            hint=f"begin with loadgen history add RUN --store {store}",
        )
    maker.console.print(f"{maker.budget(runs, spec)}, of what has not changed")
    try:
        with maker.staffed(wrongs, spec, runs):
            new = list(maker.series(runs))
    except Interrupted:
        made = " ".join(map(str, maker.folders)) or "none"
        maker.console.print(f"interrupted: no control; runs made so far: {made}", soft_wrap=True)
        return ExitCode.INTERRUPTED
    if why := store.why_none(new[0].key):
        raise IncompleteError(f"there is nothing to hold a control against: {why}")
    return _ended(store, judge_in(store, new, Settings(percentile=percentile)), maker.console)


def of_newest(store: Store, runs: int, percentile: str, key: str, target: str) -> int:
    """The newest accepted runs, where at least 10 before them are of the same release.

    Raises:
        UsageError: they are not, or have been a control before.
    """
    kind = chosen(store, key, target)
    assert kind is not None
    same = _same_release(store.runs(kind, newest=100))
    if len(same) < LEAST_HISTORY + runs:
        raise UsageError(
            f"the newest {len(same)} runs have one commit and the same labels, and a control of {runs} needs"
            f" {LEAST_HISTORY + runs} of one release",
            hint="name a scenario, and the runs are made",
        )
    new = same[-runs:]
    ids = tuple(run.run_id for run in new)
    if any(set(ids) & set(event.run_ids) for event in store.events(CONTROL)):
        raise UsageError(f"{', '.join(ids)}: of these runs some have been a control already", hint="wait for new ones")
    return _ended(store, decide(same[:-runs], new, settings=Settings(percentile=percentile)), Output())


def _same_release(runs: Sequence[Accepted]) -> list[Accepted]:
    """The newest runs with one commit and the same labels, oldest first."""
    if not runs:
        return []
    last = runs[-1]
    alike = takewhile(lambda run: (run.commit, run.labels) == (last.commit, last.labels), reversed(runs))
    return list(alike)[::-1]


def _ended(store: Store, decision: Decision, console: Console) -> int:
    """Noted, told; the exit code is what is to be thought of the gate, and not the verdict of one control."""
    note_verdict(store, decision, who(), kind=CONTROL)
    console.print(Text(f"A/A control: {headline(decision)}"))
    for reason in decision.reasons:
        console.print(Text(f"  {reason}"))
    health = health_of(store.events(CONTROL), decision.new[0].key.hash())
    print_health(console, health)
    if decision.verdict is Verdict.INVALID:
        return ExitCode.INVALID
    return ExitCode.FAILED if health.state is State.ILL else ExitCode.PASSED
