"""Readers pass over kinds of events and folders that they do not know: no answer changes, and nothing is unreadable."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.history.gate.aa_test_health import health_of
from loadgen.history.gate.gate_result import Settings
from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen_controller import cli
from loadgen_controller.commands.gating.judge_against_history import begins_of, judge_in
from tests.support.accepted import KEY, history
from tests.support.newer_kinds import KINDS, add_newer_kinds

RUNS = history(11, {"checkout": 100.0}, sd=0.01)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    made = Store.open("history")
    for run in RUNS[:10]:
        made.add(run)
    made.pin([run.run_id for run in RUNS[:3]], "1.4")
    made.strike(RUNS[5].run_id, "a restore")
    for kind in ("verdict", "control"):
        made.note(Event(kind, "", "ci", (RUNS[9].run_id,), details={"key": KEY.hash(), "outcome": "PASS"}))
    return made


def shown(*args: str) -> str:
    result = CliRunner().invoke(cli.app, ["history", *args], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


def answers(store: Store) -> list[object]:
    """All that `history`, `history runs`, the health of the gate, and the gate read from a store."""
    decision = judge_in(store, [RUNS[10]], Settings())
    return [
        shown("--json"),
        shown("runs", "--json"),
        str(decision),
        begins_of(store, KEY.hash()),
        health_of(store.events()),
        numbered_verdicts(store),
        store.struck(),
        store.referred(),
        store.unreadable,
    ]


def test_unknown_kinds_and_folders_change_no_answer(store: Store) -> None:
    before = answers(store)

    add_newer_kinds(Path("history"), tuple(run.run_id for run in RUNS))

    assert answers(Store.open("history")) == before
    assert {one.kind for one in store.events()} > set(KINDS)
