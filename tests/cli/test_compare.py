"""`loadgen compare`: from run folders to words, files and exit codes; and what it makes of bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.extract import accepted_of
from loadgen.history.store.store import Store
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller import cli
from tests.support.run import loadgen as loadgen_process
from tests.support.target import running_target

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
PHASES = OLD.with_name("20261125-phases-format-1")
A, B, C = "20261124-210823-browse-1ba6", "20261124-220823-browse-2ba6", "20261124-230823-browse-3ba6"


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in args], env={"COLUMNS": "200"})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three times the same run."""
    monkeypatch.chdir(tmp_path)
    for name in (A, B, C):
        shutil.copytree(OLD, Path("runs") / name)
        change(name, "manifest.json", run_id=name)
    return Path("runs")


def change(name: str, file: str, **values: object) -> None:
    path = Path("runs") / name / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def told(*args: str) -> dict[str, Any]:
    result = loadgen("compare", *args, "--format", "json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["exit_code"] == result.exit_code
    return document


# -- what it ends with ----------------------------------------------------------------------------


def test_one_run_beside_one_is_inconclusive_and_says_what_would_tell(runs: Path) -> None:
    result = loadgen("compare", A, B)
    assert result.exit_code == 3, result.output
    assert "the run-to-run variation of this code is unknown" in result.stdout
    assert "--between 3%" in result.stdout


def test_equal_runs_do_not_differ(runs: Path) -> None:
    result = loadgen("compare", f"{A},{B}", C)
    assert result.exit_code == 0, result.output
    assert "without a clear difference" in result.stdout
    assert "slower" not in result.stdout
    assert "Difference at each quantile of browse" in result.stdout


def test_runs_too_short_for_their_own_error_are_not_decided_by_what_is_stated(runs: Path) -> None:
    result = loadgen("compare", A, B, "--between", "3%")
    assert result.exit_code == 3, result.output
    assert "Inconclusive: one run against one run" in result.stdout


def test_several_runs_a_side_are_known_by_themselves(runs: Path) -> None:
    (one,) = told(f"{A},{B}", C)["comparisons"]
    assert {row["known_from"] for row in one["rows"] if row["change"] is not None} == {"runs"}
    assert [len(one[side]["runs"]) for side in ("base", "new")] == [2, 1]


def test_runs_that_took_turns_are_compared_in_pairs(runs: Path) -> None:
    shutil.copytree(OLD, runs / "20261125-000823-browse-4ba6")
    (one,) = told(f"{A},{C}", f"{B},20261125", "--paired")["comparisons"]
    assert {row["known_from"] for row in one["rows"] if row["change"] is not None} == {"pairs"}
    assert "cannot pair" in loadgen("compare", A, B, "--paired").stderr


def test_first_side_is_the_base_of_all_others(runs: Path) -> None:
    found = told(A, B, C, "--between", "3%")["comparisons"]
    assert [(one["base"]["label"], one["new"]["label"]) for one in found] == [(A, B), (A, C)]


def test_run_that_was_not_fit_is_shown_and_exits_with_4(runs: Path) -> None:
    summary = json.loads((runs / B / "summary.json").read_text())
    change(B, "summary.json", result="invalid", validity={**summary["validity"], "verdict": "invalid"})
    result = loadgen("compare", A, B, "--between", "3%")
    assert result.exit_code == 4, result.output
    assert f"Invalid: {B}" in result.stdout
    assert "not fit" in result.stdout
    assert "95 % interval" in result.stdout


def test_run_that_is_not_whole_is_shown_and_exits_with_3(runs: Path) -> None:
    change(B, "summary.json", result="incomplete")
    result = loadgen("compare", A, B, "--between", "3%")
    assert result.exit_code == 3, result.output
    assert f"Inconclusive: {B}" in result.stdout
    assert "data are missing" in result.stdout


def test_run_without_a_summary_cannot_be_compared(runs: Path) -> None:
    (runs / B / "summary.json").unlink()
    result = loadgen("compare", A, B)
    assert result.exit_code == 3
    assert f"{B} has no summary" in result.stderr


# -- what is asked for ----------------------------------------------------------------------------


def test_label_picks_all_runs_that_have_it(runs: Path) -> None:
    for name, release in ((A, "1.4"), (B, "1.4"), (C, "1.5")):
        assert loadgen("runs", "label", name, f"release={release}").exit_code == 0
    (one,) = told("release=1.4", "release=1.5")["comparisons"]
    assert [run["run_id"] for run in one["base"]["runs"]] == [A, B]
    assert one["new"]["label"] == "release=1.5"


def test_other_plans_are_told_before_any_figure(runs: Path) -> None:
    spec = json.loads((runs / B / "manifest.json").read_text())["spec"]
    change(B, "manifest.json", spec={**spec, "target": "http://10.0.0.9:81"})
    out = loadgen("compare", A, B, "--between", "3%").stdout
    assert "10.0.0.9:81 there" in out
    assert out.index("Different conditions: target") < out.index("Response times")


def test_another_build_of_python_is_a_different_condition_and_no_other_key(runs: Path) -> None:
    manifests = [json.loads((runs / name / "manifest.json").read_text()) for name in (A, B)]
    for name, manifest, python in zip((A, B), manifests, ("CPython 3.11.7 with PGO", "CPython 3.13.5"), strict=True):
        change(name, "manifest.json", agents=[{**agent, "python": python} for agent in manifest["agents"]])
    (one,) = told(A, B, "--between", "3%")["comparisons"]
    assert one["differences"] == ["Python: CPython 3.11.7 with PGO here, CPython 3.13.5 there"]


def test_runs_of_different_scenarios_have_nothing_to_compare(runs: Path) -> None:
    shutil.copytree(PHASES, runs / "20261125-014142-phases-fab5")
    result = loadgen("compare", A, "20261125")
    assert result.exit_code == 2
    assert "have no name in common" in result.stderr


def test_all_that_is_wrong_is_said_at_once(runs: Path) -> None:
    result = loadgen("compare", "none", "release=9", "--between", "300", "-o", "no/such.foo")
    assert result.exit_code == 2
    for what in (
        "no run none in runs",
        "no run in runs or in history has the label release=9",
        "--between: ",
        "cannot derive the format from the name no/such.foo",
        "-o: there is no folder no",
    ):
        assert what in result.stderr, what


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((A,), "only one side was given"),
        ((A, A), "is on two sides"),
        ((A, ","), "names no run"),
        ((A, B, "--paired", "--between", "3%"), "pairs show by themselves"),
        ((A, B, "--between", "0%"), "always differ a little"),
        ((A, B, "--curve", "nobody"), "nobody: not found on both sides"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs: Path, args: tuple[str, ...], said: str) -> None:
    result = loadgen("compare", *args)
    assert result.exit_code == 2
    assert said in result.stderr


def test_name_that_is_asked_for_is_drawn(runs: Path) -> None:
    found = told(A, B, "--curve", "browse", "--between", "3%")["comparisons"][0]["curves"]
    assert [one["name"] for one in found] == ["browse"]
    assert found[0]["change"] == [0.0] * 99


# -- with a history -------------------------------------------------------------------------------


@pytest.fixture
def store(runs: Path) -> Store:
    """Ten accepted runs like the first, each a little slower or faster than it."""
    run, made = accepted_of(open_run(runs / A)), Store.open("history")
    chance = np.random.default_rng(1)
    for n in range(10):
        off = float(np.exp(chance.normal(0, 0.02)))
        figures = tuple(replace(one, value_ms=one.value_ms * off) for one in run.figures)
        assert made.add(replace(run, run_id=f"20261101-{n:02}0000-browse-0000", figures=figures, labels={"at": "base"}))
    return made


def test_history_tells_how_much_runs_differ(store: Store) -> None:
    (one,) = told(A, B)["comparisons"]
    assert one["outcome"] == "compared"
    assert {row["known_from"] for row in one["rows"] if row["change"] is not None} == {"history"}
    assert all(0.005 <= row["runs_differ"] < 0.04 for row in one["rows"] if row["runs_differ"] is not None)
    assert "10 runs of the history" in loadgen("compare", A, B).stdout


def test_run_whose_folder_is_gone_is_taken_from_the_history_without_its_distribution(store: Store) -> None:
    (one,) = told(A, "20261101-03")["comparisons"]
    assert [run["run_id"] for run in one["new"]["runs"]] == ["20261101-030000-browse-0000"]
    assert one["curves"] == []
    (one,) = told("at=base", A)["comparisons"]
    assert len(one["base"]["runs"]) == 10


def test_history_without_runs_of_the_kind_is_told(store: Store) -> None:
    for name in (A, B):
        spec = json.loads((Path("runs") / name / "manifest.json").read_text())["spec"]
        change(name, "manifest.json", spec={**spec, "target": "http://10.0.0.9:81"})
    result = loadgen("compare", A, B)
    assert result.exit_code == 3
    assert "note: none of the 10 accepted runs in history can be compared with it" in result.stderr
    assert "target" in result.stderr


def test_damaged_file_of_the_history_is_named_and_left_out(store: Store) -> None:
    path = next(Path("history").glob("runs/*/20261101-05*.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    result = loadgen("compare", A, B)
    assert result.exit_code == 0, result.output
    assert "note: runs/" in result.stderr
    assert "damaged" in result.stderr
    assert "9 runs of the history" in result.stdout


def test_a_place_that_is_none_is_refused(runs: Path) -> None:
    assert loadgen("compare", A, B, "--store", "gs://bucket/x").exit_code == 2


# -- where it is written --------------------------------------------------------------------------


def test_format_follows_from_the_name_of_the_file(runs: Path) -> None:
    for name in ("a.html", "a.json", "a.md", "a.txt"):
        result = loadgen("compare", f"{A},{B}", C, "-o", name)
        assert (result.exit_code, result.stdout) == (0, ""), result.stderr
        assert result.stderr == f"wrote {name}\n"
    assert Path("a.html").read_bytes().startswith(b"<!doctype html>")
    assert json.loads(Path("a.json").read_text())["format"] == 1
    assert Path("a.md").read_text().startswith("### ")
    assert "Difference at each quantile" in Path("a.txt").read_text()
    assert not list(Path().glob(".*.tmp"))


def test_a_format_that_contradicts_the_name_of_the_file_is_an_error_before_it_is_written(runs: Path) -> None:
    refused = loadgen("compare", f"{A},{B}", C, "--format", "json", "-o", "a.html")
    assert refused.exit_code == 2
    assert "--format json contradicts the name a.html, which ends in .html" in refused.stderr
    assert "hint: remove --format to write html, or end the name in .json" in refused.stderr
    assert not Path("a.html").exists()


# -- with real runs -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.quiet
def test_target_that_takes_half_as_long_again_is_slower_in_real_runs(tmp_path: Path) -> None:
    """Two runs of 5 s a side, in turns; one run of either side is not enough, nor is its own interval used."""
    sides: dict[str, list[str]] = {"40ms": [], "60ms": []}
    for _ in range(2):
        for latency, ran in sides.items():
            with running_target("--latency", latency) as target:
                done = loadgen_process(
                    "run", target.url, "--rate", "20/s", "--duration", "5s", runs_dir=tmp_path / latency
                )
            assert done.exit_code in (0, 4), done.err
            ran[:] = sorted(str(path) for path in (tmp_path / latency).iterdir())
    base, new = (",".join(ran) for ran in sides.values())

    alone = told(sides["40ms"][0], sides["60ms"][0])
    (found,) = told(base, new)["comparisons"]

    assert alone["outcome"] in ("inconclusive", "invalid")
    row = next(row for row in found["rows"] if row["percentile"] == "p50" and row["region"] == "*")
    assert row["verdict"] == "slower"
    assert 0.35 < row["change"] < 0.60
    assert any("target" in words for words in found["differences"])
