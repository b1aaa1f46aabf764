"""`loadgen history add`, `pin`, `strike`, `runs` on folders of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from loadgen.history.store.store import Store
from loadgen_controller.cli import Program
from loadgen_controller.cli import app as cli_app
from loadgen_controller.commands import history_baselines
from tests.support.past_runs import past_run

ONE, TWO, THREE = (f"20261124-1{n}0000-shop-000{n}" for n in (1, 2, 3))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    return tmp_path


def history(*args: str) -> Result:
    app = typer.Typer(cls=Program)
    history_baselines.register(app)
    return CliRunner().invoke(app, args, env={"COLUMNS": "200"})


def made(run_id: str, **how: object) -> None:
    past_run(Path("runs"), run_id, **how)


def test_runs_are_accepted_and_listed() -> None:
    for run_id in (ONE, TWO):
        made(run_id, spec={"labels": {"release": "1.4"}, "commit": "4f2a81c09d3377aa+"})

    added = history("add", ONE, "last", "--by", "ana")
    listed = history("runs")

    assert added.exit_code == 0, added.stderr
    assert [line.partition(",")[0] for line in added.stdout.splitlines()] == [f"{ONE}: accepted", f"{TWO}: accepted"]
    assert "shop.example:443, 40/s, embedded in eu=0.5,us=0.5, x86_64, 2 cpus" in listed.stdout
    (line,) = (one for one in listed.stdout.splitlines() if one.lstrip().startswith(ONE))
    assert line.split() == [ONE, "passed", "4f2a81c09d33", "release=1.4", "3"]
    assert {event.by for event in Store.open("history").events()} == {"ana"}


def test_a_run_is_not_accepted_twice() -> None:
    made(ONE)
    history("add", ONE)

    again = history("add", ONE)

    assert again.exit_code == 0
    assert "was already accepted" in again.stdout


def test_labels_of_afterwards_are_kept() -> None:
    made(ONE, spec={"labels": {"release": "1.4", "team": "shop"}})
    Path("runs", ONE, "notes.json").write_text('{"format": 1, "labels": {"release": "1.5", "team": null}}')

    history("add", ONE)

    (run,) = Store.open("history").get([ONE])
    assert run.labels == {"release": "1.5"}


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_written(here: Path) -> None:
    made(ONE, is_sealed=False)

    wrong = history("add", ONE, "19991231", "last")

    assert wrong.exit_code == 2
    assert wrong.stderr.count("error: ") == 3
    assert "no run 19991231" in wrong.stderr
    assert not (here / "history").exists()


def test_an_invalid_run_is_refused_with_exit_code_4() -> None:
    made(ONE, facts={"result": "invalid", "validity": "invalid", "validity_reasons": ("generator lag",)})

    refused = history("add", ONE, "--because", "I want it")

    assert refused.exit_code == 4
    assert "cannot be accepted: the generator was not fit to measure: generator lag" in refused.stderr


def test_a_run_that_something_speaks_against_needs_a_reason_which_is_shown() -> None:
    made(ONE, started=0.9)

    refused = history("add", ONE)
    taken = history("add", ONE, "--because", "the target was known to be slow")

    assert refused.exit_code == 4
    assert "--because" in refused.stderr
    assert taken.exit_code == 0
    assert "accepted because: the target was known to be slow" in history("runs").stdout


def test_the_first_run_of_a_changed_plan_is_told_what_changed() -> None:
    made(ONE)
    made(TWO, per_s=80)
    history("add", ONE)

    added = history("add", TWO)

    assert (
        "the first run of its kind; it differs from the nearest 1 in: plan: load: arrivals: hold 80/s" in added.stdout
    )


def test_a_release_is_pinned_and_a_run_is_struck() -> None:
    for run_id in (ONE, TWO, THREE):
        made(run_id)
        history("add", run_id)

    pinned = history("pin", "20261124-11", "20261124-12", "--name", "1.4")
    struck = history("strike", "last", "--because", "wrong target", "--by", "ana")
    again = history("strike", THREE, "--because", "wrong target")
    listed = history("runs").stdout

    assert pinned.stdout == f"1.4: {ONE}, {TWO}\n"
    assert struck.stdout == f"{THREE}: struck\n"
    assert again.stdout == f"{THREE}: was already struck\n"
    assert listed.count("reference 1.4") == 2
    assert f"struck: {THREE}: wrong target (ana, " in listed


def test_a_list_as_json_has_the_keys_with_their_runs() -> None:
    for run_id in (ONE, TWO):
        made(run_id)
    history("add", ONE, TWO)
    history("pin", ONE, "--name", "1.4")

    (key,) = json.loads(history("runs", "--json", "--newest", "1").stdout)

    assert (key["rate"], key["target"]) == ("40/s", "shop.example:443")
    assert [(run["run_id"], run["is"]) for run in key["runs"]] == [(TWO, "")]
    assert json.loads(history("runs", "--json").stdout)[0]["runs"][1]["is"] == "reference 1.4"


def test_an_empty_store_says_how_to_begin() -> None:
    listed = history("runs")

    assert listed.exit_code == 0
    assert listed.stdout == "no accepted runs in history; add one with: loadgen history add RUN --store history\n"


def test_a_key_that_is_not_there_is_told() -> None:
    wrong = history("runs", "--key", "ffff")

    assert wrong.exit_code == 2
    assert "no accepted run in history has a key that begins with ffff" in wrong.stderr


def test_a_damaged_file_is_warned_of_by_every_command() -> None:
    for run_id in (ONE, TWO):
        made(run_id)
    history("add", ONE, TWO)
    (path,) = Path("history").glob(f"runs/*/{TWO}.parquet")
    path.write_bytes(path.read_bytes()[:100])

    listed = history("runs")

    assert listed.exit_code == 0
    assert f"warning: {path.relative_to('history')} is damaged" in listed.stderr
    assert ONE in listed.stdout


def test_the_store_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    made(ONE)
    monkeypatch.setenv("LOADGEN_STORE", "elsewhere")

    assert history("add", ONE).exit_code == 0
    assert Path("elsewhere/runs").is_dir()


def test_they_are_sub_commands_of_the_history(here: Path) -> None:
    made(ONE)

    added = CliRunner().invoke(cli_app, ["history", "add", "last", "--store", "elsewhere"])

    assert added.exit_code == 0, added.stderr
    assert list((here / "elsewhere").glob(f"runs/*/{ONE}.parquet"))
