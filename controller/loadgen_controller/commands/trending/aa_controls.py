"""A/A controls: judges runs in which nothing has changed, as if they were those of a release.

The verdict is stored and becomes part of the gate's health. The runs are not accepted into the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from rich.console import Console

from loadgen.analysis.gate import LEAST_HISTORY
from loadgen.errors import ExitCode, IncompleteError, UsageError
from loadgen.history.gate.aa_test_health import CONTROL, State, health_of
from loadgen.history.gate.evaluate_gate import decide
from loadgen.history.gate.gate_result import Decision, Settings, Verdict
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.gating.execute_gate_runs import Interrupted, Maker
from loadgen_controller.commands.gating.judge_against_history import judge_in, note_verdict
from loadgen_controller.commands.gating.text import headline
from loadgen_controller.commands.trending.select_runs import chosen
from loadgen_controller.commands.trending.show_history import print_health
from loadgen_controller.console_output import Text
from loadgen_controller.past_runs.read_run_for_history import who
from loadgen_controller.screen.terminal_report import Output

__all__ = ["of_made", "of_newest"]


def of_made(errors: CollectedErrors, store: Store | None, maker: Maker, runs: int, percentile: str) -> int:
    """Make runs of an unchanged scenario, and judge them as a control of the gate.

    All errors in the options are raised before the first run.

    Returns the exit code: it states the health of the gate, not the verdict of this control.
    """
    spec = maker.check(errors)
    errors.check()
    assert store is not None
    if not store.keys():
        raise IncompleteError(
            f"a control needs accepted runs to compare with, and {store} has none yet",
            hint=f"add some with: loadgen history add RUN --store {store}",
        )
    maker.console.print(f"{maker.budget(runs, spec)}, in which nothing should have changed")
    try:
        with maker.staffed(errors, spec, runs):
            new = list(maker.series(runs))
    except Interrupted:
        made = " ".join(map(str, maker.folders)) or "none"
        maker.console.print(f"interrupted: nothing was judged; runs made so far: {made}", soft_wrap=True)
        return ExitCode.INTERRUPTED
    if why := store.why_none(new[0].key):
        raise IncompleteError(
            f"a control needs accepted runs to compare with: {why}",
            hint=f"add some with: loadgen history add RUN --store {store}",
        )
    return _ended(store, judge_in(store, new, Settings(percentile=percentile)), maker.console)


def of_newest(store: Store, runs: int, percentile: str, key: str, target: str) -> int:
    """Judge the newest accepted runs as a control of the gate, against at least 10 earlier runs of the same release.

    key, target: choose the kind of runs, as in `chosen`. Returns the exit code, as `of_made`.

    Raises:
        UsageError: there are not enough runs, or some of them have been a control before.
    """
    kind = chosen(store, key, target)
    assert kind is not None
    same = _same_release(store.runs(kind, newest=100))
    if len(same) < LEAST_HISTORY + runs:
        raise UsageError(
            f"only the newest {len(same)} runs have one commit and the same labels; a control of {runs} needs"
            f" {LEAST_HISTORY + runs} runs of one release",
            hint="name a scenario instead of --last, to make new runs",
        )
    new = same[-runs:]
    ids = tuple(run.run_id for run in new)
    if any(set(ids) & set(event.run_ids) for event in store.events(CONTROL)):
        raise UsageError(
            f"some of these runs have already been a control: {', '.join(ids)}",
            hint="accept new runs first, or name a scenario instead of --last",
        )
    return _ended(store, decide(same[:-runs], new, settings=Settings(percentile=percentile)), Output())


def _same_release(runs: Sequence[Accepted]) -> list[Accepted]:
    """Return the newest runs that share commit and labels with the newest one of all, oldest first."""
    if not runs:
        return []
    last = runs[-1]
    alike = takewhile(lambda run: (run.commit, run.labels) == (last.commit, last.labels), reversed(runs))
    return list(alike)[::-1]


def _ended(store: Store, decision: Decision, console: Console) -> int:
    """Store the control's verdict and print it; return the exit code, which states the health of the gate."""
    note_verdict(store, decision, who(), kind=CONTROL)
    console.print(Text(f"A/A control: {headline(decision)}"))
    for reason in decision.reasons:
        console.print(Text(f"  {reason}"))
    health = health_of(store.events(CONTROL), decision.new[0].key.hash())
    print_health(console, health)
    if decision.verdict is Verdict.INVALID:
        return ExitCode.INVALID
    return ExitCode.FAILED if health.state is State.ILL else ExitCode.PASSED
