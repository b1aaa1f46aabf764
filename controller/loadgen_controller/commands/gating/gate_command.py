"""What `loadgen gate` does once its options are read: runs found or made, judged, told, and noted in the store."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import randbelow
from typing import Any, Final

from loadgen.errors import ExitCode, LoadgenError
from loadgen.history.gate.decision import Decision, Settings, Verdict
from loadgen.history.gate.gate_verdict import decide_pairs
from loadgen.history.store.baseline_run import Accepted
from loadgen.history.store.store import Store
from loadgen.measure.run_folder.rundir import find_run
from loadgen.outside_text import in_json
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.gating.documents import as_json, as_junit, as_markdown
from loadgen_controller.commands.gating.gate_runs import Interrupted, Maker
from loadgen_controller.commands.gating.text import explained, headline, report_of
from loadgen_controller.commands.gating.verdict import accept, judge_in, note_verdict
from loadgen_controller.launch.placement import Placement
from loadgen_controller.past_runs.accepting import accepted_in, who
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.terminal_report import Output, print_report
from loadgen_controller.terminal import Text, verdict

__all__ = ["Asked", "accept_runs", "judge_made", "judge_runs", "judge_sides", "maker_of"]

_MOST_ROWS: Final = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that do not say how runs are made."""

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

    @property
    def console(self) -> Output:
        return Output(stderr="-" in (str(self.json_path), str(self.markdown)))


def maker_of(asked: Asked, file: str, options: Mapping[str, Any], placement: Placement) -> Maker:
    is_watched = sys.stdout.isatty() and not asked.is_quiet  # else a line each second would fill the log of a CI
    return Maker(file, dict(options), placement, asked.console, is_quiet=not is_watched)


def judge_runs(wrongs: CollectedErrors, asked: Asked, names: Sequence[str], runs_dir: Path) -> int:
    """Runs that are there."""
    new = _found(wrongs, names, runs_dir)
    store = _opened(wrongs, asked)
    return _ended(asked, store, judge_in(store, new, asked.settings, against=asked.against))


def judge_made(wrongs: CollectedErrors, asked: Asked, maker: Maker, runs: int, confirm: int) -> int:
    """Runs of a scenario, and more of them where these are too few to say."""
    opened = wrongs.catch(lambda: Store.open(asked.store))
    spec = maker.check(wrongs)
    assert opened is not None
    store = opened
    later = f", and {maker.budget(confirm, spec)} more where it is suspect" if confirm else ""
    maker.console.print(f"{maker.budget(runs, spec)}{later}")

    def decided() -> Decision:
        with maker.staffed(wrongs, spec, runs + confirm):
            new = list(maker.series(runs))
            decision = judge_in(store, new, asked.settings, against=asked.against)
            if confirm and decision.more_runs and decision.verdict is Verdict.INCONCLUSIVE:
                maker.console.print(verdict(headline(decision)))
                new += maker.series(confirm, first=runs + 1)
                decision = judge_in(store, new, asked.settings, against=asked.against)
        return decision

    return _kept(maker, lambda: _ended(asked, store, decided()))


def judge_sides(
    wrongs: CollectedErrors, asked: Asked, maker: Maker, targets: tuple[str, str], pairs: int, seed: int | None
) -> int:
    """Two targets in turns. There is no history in this, so nothing is noted."""
    spec = maker.check(wrongs, targets)
    seed = randbelow(2**31) if seed is None else seed
    maker.console.print(f"{maker.budget(2 * pairs, spec)}; A is {targets[0]}, B is {targets[1]}, seed {seed}")

    def ended() -> int:
        with maker.staffed(wrongs, spec, 2 * pairs):
            before, after = maker.pairs(targets, pairs, seed)
        decision = decide_pairs(before, after, asked.settings)
        return _ended(asked, None, replace(decision, warnings=(*decision.warnings, *maker.notes)))

    return _kept(maker, ended)


def accept_runs(wrongs: CollectedErrors, asked: Asked, names: Sequence[str], runs_dir: Path) -> int:
    """Into the history, whatever the gate says."""
    new = _found(wrongs, names, runs_dir)
    store = _opened(wrongs, asked)
    decision, added = accept(store, new, asked.settings, asked.because, who())
    console = asked.console
    console.print(Text(f"accepted {added} of {len(new)} into {store}; the gate says {headline(decision)}"))
    if decision.failed_names:
        console.print(Text(f"a new level from here on: {', '.join(sorted(decision.failed_names))}"))
    return ExitCode.PASSED


# -- within -----------------------------------------------------------------------------------------


def _opened(wrongs: CollectedErrors, asked: Asked) -> Store:
    store = wrongs.catch(lambda: Store.open(asked.store))
    wrongs.check()
    assert store is not None
    return store


def _found(wrongs: CollectedErrors, names: Sequence[str], runs_dir: Path) -> list[Accepted]:
    """The runs, once each; what is wrong with any of them is among `wrongs`."""
    paths: dict[Path, None] = {}
    for name in names:
        path = wrongs.catch(lambda name=name: find_run(name, runs_dir))  # type: ignore[misc]
        if path is None:
            continue
        if path.resolve() in paths:
            wrongs.add(f"{name} is there twice")
        paths[path.resolve()] = None
    read = [wrongs.catch(lambda path=path: accepted_in(str(path), runs_dir)) for path in paths]  # type: ignore[misc]
    return [one for one in read if one is not None]


def _kept(maker: Maker, action: Callable[[], int]) -> int:
    """Nothing of what was made is lost, however it ends."""
    try:
        return action()
    except (Interrupted, KeyboardInterrupt):
        maker.console.print("interrupted: nothing is judged" + _made(maker), soft_wrap=True)
        return ExitCode.INTERRUPTED
    except LoadgenError:
        if maker.folders:
            maker.console.print("not judged" + _made(maker), soft_wrap=True)
        raise


def _made(maker: Maker) -> str:
    return "; made so far: " + " ".join(map(str, maker.folders)) if maker.folders else "; no run was made"


def _ended(asked: Asked, store: Store | None, decision: Decision) -> int:
    """Say it, write it, note it, and take the runs in where that was asked for."""
    console = asked.console
    print_report(console, report_of(decision, _MOST_ROWS))
    if asked.is_explained:
        for line in explained(decision):
            console.print(Text(line))
    if asked.json_path is not None:
        write(asked.json_path, (in_json(json.dumps(as_json(decision), indent=2)) + "\n").encode())
    if asked.junit is not None:
        write(asked.junit, as_junit(decision))
    if asked.markdown is not None:
        write(asked.markdown, as_markdown(decision).encode("utf-8", "replace"))
    if store is not None:
        note_verdict(store, decision, who())
        if asked.is_added and decision.verdict is Verdict.PASS:
            added = sum(store.add(run, by=who()) for run in decision.new)
            console.print(f"{added} of {len(decision.new)} runs accepted into {store}")
        elif asked.is_added:
            console.print(f"nothing is accepted into {store}: no PASS")
    return decision.verdict.exit_code
