"""`loadgen history` over stores on disk: what it says, writes and refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen_controller import cli
from tests.support.accepted import KEY, history

OLD = {"checkout": 100.0, "checkout > pay": 40.0}
NEW = {"checkout": 104.5, "checkout > pay": 44.0}


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["history", *(str(a) for a in args)], env={"COLUMNS": "160"})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """15 runs of 1.4, 8 of 1.5, which is slower; 1.4 is pinned; a run is an outlier, one was struck. In `./history`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    made = Store.open("history")
    runs = history(15, OLD, sd=0.01, commit="a" * 40, labels={"release": "1.4"})
    odd = runs[4].figures
    runs[4] = replace(runs[4], figures=tuple(replace(one, value_ms=one.value_ms * 1.3) for one in odd))
    runs += history(8, NEW, sd=0.01, first=15, seed=2, commit="b" * 40, labels={"release": "1.5"})
    for run in runs:
        made.add(run)
    made.pin([run.run_id for run in runs[:3]], "1.4")
    made.strike(runs[7].run_id, "the database was restored meanwhile", by="ann")
    return made


def test_it_names_the_change_its_runs_commits_and_labels_the_outlier_the_reference_and_the_struck_run(
    store: Store,
) -> None:
    said = loadgen()
    assert said.exit_code == 0, said.stderr
    text = said.stdout
    assert "since 20261101-150000-shop-000f (2026-11-01 15:00); previous run 20261101-140000-shop-000e" in text
    assert "commits aaaaaaaaa..bbbbbbbbb; release 1.4 -> 1.5" in text
    assert "checkout > pay" in text
    assert "Against 1.4" in text
    assert "Outliers" in text
    assert "20261101-040000-shop-0004 (2026-11-01 04:00): checkout +3" in text
    assert "20261101-070000-shop-0007: the database was restored meanwhile (ann, " in text
    assert "22 accepted runs" in text
    assert "The gate's health is unknown" in text


def test_what_is_as_it_was_is_said_in_tenths_with_its_interval(store: Store) -> None:
    store.pin([run.run_id for run in store.runs(KEY)[-8:]], "1.5")
    text = loadgen().stdout
    assert "Against 1.5" in text
    assert len(re.findall(r"0\.0 % \(-\d\.\d to \+\d\.\d %\)", text)) == 2


def test_as_json_it_has_the_same_and_no_number_that_json_does_not_know(store: Store) -> None:
    said = loadgen("--json", "--name", "pay$")
    document = json.loads(said.stdout, parse_constant=pytest.fail)
    (pay,) = document["names"]
    (change,) = pay["changes"]
    assert change["after"] == "20261101-150000-shop-000f"
    assert change["low"] < 0.10 < change["high"]
    assert "20261101-040000-shop-0004" in [run["run_id"] for run in pay["runs"] if run["is_outlier"]]
    assert pay["against"][0]["reference"] == "1.4"
    assert [level["runs"] for level in pay["levels"]] == [14, 8]
    assert list(document["struck"]) == ["20261101-070000-shop-0007"]
    assert document["gate"]["state"] == "unknown"


def test_as_a_page_it_is_written_whole_and_nothing_is_on_the_terminal(store: Store) -> None:
    said = loadgen("--html", "history.html")
    assert said.stdout == ""
    assert said.stderr == "wrote history.html\n"
    assert Path("history.html").read_bytes().endswith(b"</html>\n")


def test_a_larger_least_effect_and_a_later_begin_show_less(store: Store) -> None:
    assert "No name has a change of level" in loadgen("--min-effect", "30%").stdout
    assert "7 accepted runs" in loadgen("--since", "2026-11-01T16:00").stdout
    assert loadgen("--since", "2026-12-01").exit_code == 2


def test_controls_tell_whether_the_gate_is_healthy(store: Store) -> None:
    for _ in range(4):
        store.note(Event("control", "", "ci", ("one",), details={"outcome": "FAIL", "key": KEY.hash()}))
    assert "The gate is not healthy: 4 of 4 A/A controls failed" in loadgen().stdout


def test_of_several_kinds_of_runs_one_is_chosen(store: Store) -> None:
    other = replace(KEY, target="shop.test:80")
    for run in history(2, OLD, first=100, key=other):
        store.add(run)
    listed = loadgen()
    assert listed.exit_code == 0
    assert "2 kinds of runs in history" in listed.stdout
    assert other.hash() in listed.stdout
    assert "22 accepted runs" in loadgen("--target", "example").stdout
    assert "2 accepted runs" in loadgen("--key", other.hash()[:6]).stdout
    for options in (("--json",), ("--html", "h.html")):
        refused = loadgen(*options)
        assert refused.exit_code == 2
        assert f"choose one with --key: {KEY.hash()}" in refused.stderr
    nothing = loadgen("--target", "elsewhere")
    assert nothing.exit_code == 2
    assert "have target elsewhere" in nothing.stderr
    assert KEY.hash() in nothing.stderr


def test_an_empty_store_says_how_to_begin(tmp_path: Path) -> None:
    said = loadgen("--store", tmp_path / "none")
    assert said.exit_code == 2
    assert "there are no accepted runs" in said.stderr
    assert "loadgen history add RUN" in said.stderr
    assert not (tmp_path / "none").exists()


def test_a_damaged_run_is_named_and_the_others_are_shown(store: Store) -> None:
    next(Path("history").rglob("20261101-050000*.parquet")).write_bytes(b"PAR1 no more")
    said = loadgen()
    assert said.exit_code == 0
    assert "warning: left out: runs/key=" in said.stderr
    assert "20261101-050000-shop-0005" in said.stderr
    assert "21 accepted runs" in said.stdout


def test_everything_that_is_wrong_with_the_options_is_said_at_once() -> None:
    said = loadgen(
        *("--name", "(", "--since", "yesterday", "--season", "1", "--percentile", "p90"),
        *("--min-effect", "x", "--html", "nowhere/h.html"),
    )
    assert said.exit_code == 2
    assert said.stderr.count("error: ") == 6
    for word in ("--name", "--since", "--season", "--percentile", "--min-effect", "--html"):
        assert f"error: {word}" in said.stderr


def test_a_name_or_a_figure_that_no_run_has_is_told(store: Store) -> None:
    assert "nothing in these 22 runs matches --name" in loadgen("--name", "refund").stderr


@pytest.mark.parametrize("season", ["weekly", "7"])
def test_too_few_runs_for_a_season_are_no_fault(store: Store, season: str) -> None:
    said = loadgen("--season", season)
    assert said.exit_code == 0
    assert "Seasons" in said.stdout


def test_a_regular_wave_is_shown_as_a_season_and_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Store.open("history")
    for run in history(30, {"checkout": [100.0 * (1 + 0.08 * (n % 3 == 0)) for n in range(30)]}, sd=0.01):
        made.add(run)
    said = loadgen("--season", "3")
    assert "checkout: 1 of 3 +" in said.stdout
    assert "subtracted above" in said.stdout
    assert re.search("season +█?[▁▂][▁▂]█[▁▂][▁▂]█", said.stdout)


def test_names_out_of_a_store_do_not_steer_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Store.open("history")
    for run in history(4, {"a\x1b[2Jb": 10.0}, labels={"x": "\x1b[31m"}):
        made.add(run)
    assert "\x1b" not in loadgen().output
