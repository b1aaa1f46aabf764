"""The runs of a gate: what is said of pairs that other agents made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from loadgen_controller.api.address import Place
from loadgen_controller.commands.gating.execute_gate_runs import Interrupted, Maker
from loadgen_controller.launch import run_maker
from loadgen_controller.launch.launcher import Made, was_stopped
from loadgen_controller.launch.run_location import Placement
from tests.support.scenarios import browse_with

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"


def test_a_run_that_was_stopped_ends_the_series_also_where_it_is_invalid_first_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(OLD, tmp_path / "stopped")
    assert not was_stopped(folder)
    with (folder / "events.jsonl").open("a") as events:
        events.write(
            json.dumps({"kind": "facts", "facts": {"ends": [{"reason": "stopped", "detail": "Ctrl-C"}]}}) + "\n"
        )
    assert was_stopped(folder)

    monkeypatch.setattr(run_maker, "make_run", lambda *_, **__: Made(folder, "invalid", was_stopped(folder)))
    maker = Maker(str(browse_with(tmp_path)), {}, Placement(tmp_path), Console(quiet=True))
    with pytest.raises(Interrupted):
        list(maker.series(3))
    assert maker.folders == [folder]


def test_pair_whose_runs_had_other_agents_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([("eu-1", "us-1"), ("eu-1", "us-1"), ("eu-1", "us-1"), ("eu-2", "us-1")])

    def make(*_: object, **__: object) -> Made:
        ids = next(made)
        folder = shutil.copytree(OLD, tmp_path / "-".join((*ids, str(len(list(tmp_path.iterdir()))))))
        summary = json.loads((folder / "summary.json").read_text())
        for agent, called in zip(summary["agents"], ids, strict=False):
            agent["id"] = called
        (folder / "summary.json").write_text(json.dumps(summary))
        return Made(folder, "passed")

    monkeypatch.setattr(run_maker, "make_run", make)
    path = browse_with(tmp_path)
    maker = Maker(str(path), {}, Placement(tmp_path, place=Place("127.0.0.1:1")), Console(quiet=True))
    targets = ("http://127.0.0.1:1", "http://127.0.0.1:2")
    before, after = maker.pairs(targets, 2, seed=0)
    assert (len(before), len(after)) == (2, 2)
    assert maker.notes == ["the runs of pair 2 had different agents: only one of them had eu-1, eu-2"]
