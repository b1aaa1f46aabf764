"""Runs `loadgen gate` after its options are read: finds or makes runs, judges them, and stores the verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from secrets import randbelow
from typing import Any, Final

from loadgen.errors import ExitCode, LoadgenError
from loadgen.history.gate.evaluate_gate import decide_pairs
from loadgen.history.gate.gate_result import Decision, Settings, Verdict
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted
from loadgen.measure.run_folder.rundir import find_run
from loadgen.notify.notifier import Notifier
from loadgen.outside_text import in_json
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.gating.execute_gate_runs import Interrupted, Maker
from loadgen_controller.commands.gating.judge_against_history import accept, judge_in, note_verdict
from loadgen_controller.commands.gating.notification import gate_event
from loadgen_controller.commands.gating.result_file_formats import as_json, as_junit, as_markdown
from loadgen_controller.commands.gating.text import explained, headline, report_of
from loadgen_controller.console_output import Text, verdict
from loadgen_controller.launch.run_location import Placement
from loadgen_controller.past_runs.read_run_for_history import accepted_in, promises_here, who
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.terminal_report import Output, print_report

__all__ = ["GateOptions", "accept_runs", "judge_made", "judge_runs", "judge_sides", "maker_of"]

_MOST_ROWS: Final = 30


@dataclass(frozen=True, slots=True)
class GateOptions:
    """The options of `loadgen gate`, except those that say how runs are made."""

    store: str
    settings: Settings
    against: str = ""
    is_added: bool = False
    because: str = ""
    json_path: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    is_explained: bool = False
    is_quiet: bool = False
    notifier: Notifier = field(default_factory=Notifier)

    @property
    def console(self) -> Output:
        """Return the console for the text output: stdout, or stderr if a document is written to stdout."""
        return Output(stderr="-" in (str(self.json_path), str(self.markdown)))


def maker_of(options: GateOptions, file: str, load: Mapping[str, Any], placement: Placement) -> Maker:
    """Return an object that makes the runs which the gate judges. load: keyword arguments of `load_scenario`."""
    is_watched = sys.stdout.isatty() and not options.is_quiet  # a live view would fill the log of a CI with lines
    return Maker(file, dict(load), placement, options.console, is_quiet=not is_watched)


def judge_runs(errors: CollectedErrors, options: GateOptions, names: Sequence[str], runs_dir: Path) -> int:
    """Judge the named past runs, print and store the verdict, and return the verdict's exit code."""
    new = _found(errors, names, runs_dir)
    store = _opened(errors, options)
    return _ended(options, store, judge_in(store, new, options.settings, against=options.against))


def judge_made(errors: CollectedErrors, options: GateOptions, maker: Maker, runs: int, confirm: int) -> int:
    """Make runs of a scenario and judge them; return the exit code.

    confirm: number of extra runs to make if the result is suspect.
    """
    opened = errors.catch(lambda: Store.open(options.store))
    spec = maker.check(errors)
    assert opened is not None
    store = opened
    later = f", and {maker.budget(confirm, spec)} more if the result is suspect" if confirm else ""
    if not store.keys():
        maker.console.print(
            f"note: {store} has no accepted runs yet, so these runs have nothing to be compared with, and the verdict"
            f" will be INCONCLUSIVE. Accept ten runs first: loadgen history add RUN --store {store}",
            soft_wrap=True,
        )
    maker.console.print(f"{maker.budget(runs, spec)}{later}")

    def decided() -> Decision:
        with maker.staffed(errors, spec, runs + confirm):
            new = list(maker.series(runs))
            decision = judge_in(store, new, options.settings, against=options.against)
            if confirm and decision.more_runs and decision.verdict is Verdict.INCONCLUSIVE:
                maker.console.print(verdict(headline(decision)))
                new += maker.series(confirm, first=runs + 1)
                decision = judge_in(store, new, options.settings, against=options.against)
        return decision

    return _naming_folders(maker, lambda: _ended(options, store, decided()))


def judge_sides(
    errors: CollectedErrors, options: GateOptions, maker: Maker, targets: tuple[str, str], pairs: int, seed: int | None
) -> int:
    """Run a scenario against two targets in turns, and judge the second against the first; return the exit code.

    The history is not involved, so the verdict is not stored.
    """
    spec = maker.check(errors, targets)
    seed = randbelow(2**31) if seed is None else seed
    maker.console.print(f"{maker.budget(2 * pairs, spec)}; A is {targets[0]}, B is {targets[1]}, seed {seed}")

    def ended() -> int:
        with maker.staffed(errors, spec, 2 * pairs):
            before, after = maker.pairs(targets, pairs, seed)
        decision = decide_pairs(before, after, options.settings)
        return _ended(options, None, replace(decision, warnings=(*decision.warnings, *maker.notes)))

    return _naming_folders(maker, ended)


def accept_runs(errors: CollectedErrors, options: GateOptions, names: Sequence[str], runs_dir: Path) -> int:
    """Add runs to the history whatever the verdict, and return exit code 0."""
    new = _found(errors, names, runs_dir)
    store = _opened(errors, options)
    decision, added = accept(store, new, options.settings, options.because, who())
    console = options.console
    console.print(Text(f"accepted {added} of {len(new)} runs into {store}; verdict of the gate: {headline(decision)}"))
    if decision.failed_names:
        console.print(Text(f"a new level begins here for: {', '.join(sorted(decision.failed_names))}"))
    return ExitCode.PASSED


# -- details -----------------------------------------------------------------------------------------


def _opened(errors: CollectedErrors, options: GateOptions) -> Store:
    store = errors.catch(lambda: Store.open(options.store))
    errors.check()
    assert store is not None
    return store


def _found(errors: CollectedErrors, names: Sequence[str], runs_dir: Path) -> list[Accepted]:
    """Read the named past runs in the form in which the history stores them.

    Missing, unreadable and repeated ones are added to `errors`.
    """
    paths: dict[Path, None] = {}
    for name in names:
        path = errors.catch(lambda name=name: find_run(name, runs_dir))  # type: ignore[misc]
        if path is None:
            continue
        if path.resolve() in paths:
            errors.add(f"{name} was named twice", "name each run once")
        paths[path.resolve()] = None
    promises = promises_here() if paths else ()
    read = [errors.catch(partial(accepted_in, str(path), runs_dir, promises)) for path in paths]
    return [one for one in read if one is not None]


def _naming_folders(maker: Maker, action: Callable[[], int]) -> int:
    """Run the action and return its exit code.

    If it fails or is interrupted, print the run folders made so far, so that none is lost.
    """
    try:
        return action()
    except (Interrupted, KeyboardInterrupt):
        maker.console.print("interrupted: nothing was judged" + _made(maker), soft_wrap=True)
        return ExitCode.INTERRUPTED
    except LoadgenError:
        if maker.folders:
            maker.console.print("nothing was judged" + _made(maker), soft_wrap=True)
        raise


def _made(maker: Maker) -> str:
    return "; runs made so far: " + " ".join(map(str, maker.folders)) if maker.folders else "; no run was made"


def _ended(options: GateOptions, store: Store | None, decision: Decision) -> int:
    """Print the decision, write the documents, store the verdict, and accept the runs after a PASS with --add.

    Returns the exit code of the verdict.
    """
    console = options.console
    print_report(console, report_of(decision, _MOST_ROWS))
    if options.is_explained:
        for line in explained(decision):
            console.print(Text(line))
    if options.json_path is not None:
        write(options.json_path, (in_json(json.dumps(as_json(decision), indent=2)) + "\n").encode())
    if options.junit is not None:
        write(options.junit, as_junit(decision))
    if options.markdown is not None:
        write(options.markdown, as_markdown(decision).encode("utf-8", "replace"))
    if store is not None:
        note_verdict(store, decision, who())
        if options.is_added and decision.verdict is Verdict.PASS:
            added = sum(store.add(run, by=who()) for run in decision.new)
            console.print(f"{added} of {len(decision.new)} runs accepted into {store}")
        elif options.is_added:
            console.print(f"no run was accepted into {store}, because the verdict is not PASS")
    if options.notifier:
        options.notifier.offer(gate_event(decision))
    return decision.verdict.exit_code
