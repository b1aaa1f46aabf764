"""The conduct of a sweep as a function: which run is next, when it looks, when it ends, and what a kill changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.factors.order import Planned
from loadgen.errors import IllegalTransition
from loadgen.sweep import journal as journal_module
from loadgen.sweep.journal import FILE, RunRecord, open_journal, read_journal
from loadgen.sweep.lifecycle import (
    Begin,
    Effect,
    Ending,
    Event,
    Finish,
    Interrupted,
    Look,
    Looked,
    Made,
    Make,
    Phase,
    Prepare,
    Prepared,
    PrepareFailed,
    Rules,
    RunFailed,
    Store,
    Stored,
    SweepState,
    Task,
    new_state,
    remaining,
    step,
)


def order(cells: int = 4, repeats: int = 3, seed: int = 1) -> tuple[Planned, ...]:
    """One replicate a block, shuffled."""
    chance = Random(seed)
    found: list[Planned] = []
    for block in range(1, repeats + 1):
        for cell in chance.sample(range(cells), cells):
            found.append(Planned(len(found) + 1, cell, block, block, False))
    return tuple(found)


def record_of(task: Task, *, is_fit: bool = True) -> RunRecord:
    planned = task.planned
    return RunRecord(
        number=planned.number,
        cell=planned.cell,
        repeat=planned.repeat,
        block=task.block,
        attempt=task.attempt,
        is_fit=is_fit,
        values={"p99": 100.0 + planned.number + task.attempt / 10 if is_fit else None},
        started_at="2026-11-29T10:00:00Z",
    )


class Killed(BaseException):
    """SIGKILL: nothing handles it."""


@dataclass
class Shell:
    """Performs effects as the command does, and dies before or after the given one."""

    folder: Path
    unfit: frozenset[tuple[int, int]] = frozenset()
    """(number, attempt) of the runs that cannot be compared."""
    die_at: int = -1
    """At which boundary: two for each effect, before and after it."""
    torn: int = 0
    """Bytes of the line that reach the disk when it dies in a Store."""
    ending_of: Callable[[int], Ending | None] = lambda block: None
    boundary: int = 0
    made: list[tuple[int, int]] = field(default_factory=list)

    def live(self) -> None:
        self.boundary += 1
        if self.boundary - 1 == self.die_at:
            raise Killed

    def conduct(self, rules: Rules, today: str = "") -> Finish:
        with open_journal(self.folder) as journal:
            last_day = "" if not journal.records else journal.records[-1].started_at[:10]
            state, (effect,) = step(new_state(rules), Begin(journal.records, today, last_day))
            while not isinstance(effect, Finish):
                try:
                    self.live()
                except Killed:
                    if isinstance(effect, Store) and self.torn:
                        with (self.folder / FILE).open("ab") as file:
                            file.write(msgspec.json.encode(effect.record)[: self.torn])
                    raise
                event = self.perform(effect, journal)
                self.live()
                state, (effect,) = step(state, event)
            return effect

    def perform(self, effect: Effect, journal: journal_module.Journal) -> Event:
        match effect:
            case Prepare():
                return Prepared()
            case Make(task):
                self.made.append((task.planned.number, task.attempt))
                return Made(record_of(task, is_fit=(task.planned.number, task.attempt) not in self.unfit))
            case Store(record):
                journal.append(record)
                return Stored(0.0)
            case Look(block):
                return Looked(self.ending_of(block))
            case _:
                raise AssertionError(effect)


RULES = Rules(order(), looks=frozenset({2}), has_between=True)
UNFIT = frozenset({(2, 1), (7, 1), (7, 2), (12, 1)})


def table(folder: Path) -> list[RunRecord]:
    return sorted(read_journal(folder), key=lambda one: (one.number, one.attempt))


# -- which run is next --------------------------------------------------------------------------------


def test_all_runs_are_made_in_their_order_and_unfit_ones_once_more_at_the_end(tmp_path: Path) -> None:
    shell = Shell(tmp_path, UNFIT)

    assert shell.conduct(RULES) == Finish(Ending.COMPLETE)
    assert shell.made == [(n, 1) for n in range(1, 13)] + [(2, 2), (7, 2), (12, 2)]
    assert {one.block for one in read_journal(tmp_path) if one.attempt == 2} == {3}, "made in the last block"


def test_look_takes_place_between_two_whole_replicates_and_can_end_the_sweep(tmp_path: Path) -> None:
    shell = Shell(tmp_path, UNFIT, ending_of=lambda block: Ending.FOUND)

    assert shell.conduct(RULES) == Finish(Ending.FOUND)
    assert shell.made == [(n, 1) for n in range(1, 9)]


def test_sweep_killed_after_its_last_look_ends_early_again(tmp_path: Path) -> None:
    Shell(tmp_path, ending_of=lambda block: Ending.FUTILE).conduct(RULES)
    again = Shell(tmp_path, ending_of=lambda block: Ending.FUTILE)

    assert again.conduct(RULES) == Finish(Ending.FUTILE)
    assert again.made == []


def test_sweep_by_day_ends_after_each_block_and_repeats_its_unfit_runs_on_that_day(tmp_path: Path) -> None:
    rules = replace(RULES, is_by_day=True, looks=frozenset())
    monday, tuesday = Shell(tmp_path, UNFIT), Shell(tmp_path, UNFIT)

    assert monday.conduct(rules, "2026-11-29") == Finish(Ending.DAY_OVER)
    assert monday.made == [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2)]
    assert Shell(tmp_path).conduct(rules, "2026-11-29") == Finish(Ending.SAME_DAY)
    assert tuesday.conduct(rules, "2026-11-30") == Finish(Ending.DAY_OVER)
    assert tuesday.made == [(5, 1), (6, 1), (7, 1), (8, 1), (7, 2)]
    assert {one.block for one in read_journal(tmp_path) if one.number == 7} == {2}


def test_look_of_a_sweep_by_day_comes_before_the_end_of_the_day(tmp_path: Path) -> None:
    rules = replace(RULES, is_by_day=True, looks=frozenset({1}))

    assert Shell(tmp_path, UNFIT, ending_of=lambda block: Ending.FOUND).conduct(rules) == Finish(Ending.FOUND)


def test_budget_ends_the_sweep_before_the_run_that_would_exceed_it() -> None:
    state, (effect,) = step(new_state(Rules(order(), budget_s=100.0)), Begin())
    for n in range(1, 5):
        assert isinstance(effect, Make)
        state, _ = step(state, Made(record_of(effect.task)))
        state, (effect,) = step(state, Stored(24.0 * n))

    assert effect == Finish(Ending.BUDGET)


def test_failed_command_and_failed_run_end_the_sweep_with_the_reason() -> None:
    state, _ = step(new_state(RULES), Begin())
    assert step(state, PrepareFailed("exit code 3"))[1] == (Finish(Ending.BETWEEN_FAILED, "exit code 3"),)
    state, _ = step(state, Prepared())
    assert step(state, RunFailed("no agents"))[1] == (Finish(Ending.RUN_FAILED, "no agents"),)


def phases() -> dict[Phase, SweepState]:
    """A state of each phase."""
    new = new_state(RULES)
    preparing, (prepare,) = step(new, Begin())
    running, (make,) = step(preparing, Prepared())
    assert isinstance(prepare, Prepare)
    assert isinstance(make, Make)
    storing, _ = step(running, Made(record_of(make.task)))
    looking, _ = step(new, Begin(tuple(record_of(Task(one, 1, one.block)) for one in RULES.order[:8])))
    ended, _ = step(running, Interrupted())
    return {one.phase: one for one in (new, preparing, running, storing, looking, ended)}


LEGAL = {
    (Phase.NEW, Begin),
    (Phase.PREPARING, Prepared),
    (Phase.PREPARING, PrepareFailed),
    (Phase.RUNNING, Made),
    (Phase.RUNNING, RunFailed),
    (Phase.STORING, Stored),
    (Phase.LOOKING, Looked),
    *((phase, Interrupted) for phase in Phase if phase is not Phase.ENDED),
}
EVENTS: tuple[Event, ...] = (
    Begin(),
    Prepared(),
    PrepareFailed("why"),
    Made(record_of(Task(RULES.order[0], 1, 1))),
    RunFailed("why"),
    Stored(1.0),
    Looked(),
    Interrupted(),
)


def test_table_in_the_docstring_lists_each_pair_of_phase_and_event() -> None:
    states = phases()
    assert set(states) == set(Phase)
    for phase, event in product(Phase, EVENTS):
        if (phase, type(event)) in LEGAL:
            assert len(step(states[phase], event)[1]) == 1
        else:
            with pytest.raises(IllegalTransition):
                step(states[phase], event)
    listed = [line.split("|")[1:3] for line in (step.__doc__ or "").splitlines() if line.strip().startswith("| ")][2:]
    named = {(a.strip(), b.strip()) for a, b in listed}
    assert named == {(p.value, e.__name__) for p, e in LEGAL if e is not Interrupted} | {
        ("any but ended", "Interrupted")
    }


# -- kills ----------------------------------------------------------------------------------------------


def boundaries() -> Iterator[int]:
    """All places at which a sweep of 15 runs with a command between them, and one look, can die."""
    yield from range(2 * (15 * 3 + 1))


@pytest.fixture
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed loses nothing that it wrote; only a machine that crashes does."""
    monkeypatch.setattr("loadgen.sweep.journal.os.fsync", lambda fd: None)
    monkeypatch.setattr(journal_module, "sync_folder", lambda folder: None)


@pytest.mark.usefixtures("without_fsync")
def test_sweep_killed_at_any_effect_boundary_and_resumed_gives_the_same_table(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    Shell(whole, UNFIT).conduct(RULES)
    for die_at in boundaries():
        for torn in (0, 1, 40):
            folder = tmp_path / f"{die_at}-{torn}"
            folder.mkdir()
            with pytest.raises(Killed):
                Shell(folder, UNFIT, die_at, torn).conduct(RULES)
            assert Shell(folder, UNFIT).conduct(RULES) == Finish(Ending.COMPLETE)
            assert table(folder) == table(whole), (die_at, torn)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 150)), max_size=5),
    st.frozensets(st.tuples(st.integers(1, 12), st.integers(1, 2)), max_size=6),
    st.booleans(),
)
def test_sweep_killed_several_times_at_random_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory,
    kills: list[tuple[int, int]],
    unfit: frozenset[tuple[int, int]],
    has_between: bool,
) -> None:
    rules = replace(RULES, has_between=has_between)
    whole, folder = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    Shell(whole, unfit).conduct(rules)
    for die_at, torn in kills:
        try:
            Shell(folder, unfit, die_at, torn).conduct(rules)
        except Killed:
            continue
    Shell(folder, unfit).conduct(rules)

    assert table(folder) == table(whole)
    assert remaining(rules, read_journal(folder)) == ()
