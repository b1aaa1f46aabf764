"""Where things are, said once in `loadgen.toml`: the history for all that read it, outputs for `loadgen run`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.store import Store
from loadgen_controller import cli
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.planning.option_parsing import outputs_of, places_of
from tests.support.accepted import history
from tests.support.run import loadgen as loadgen_process
from tests.support.scenarios import browse_with
from tests.support.target import running_target

FILE = """
[history]
store = "kept"

[env.staging]
store = "kept/of-staging"
"""


def loadgen(*args: str | Path, **environ: str) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in args], env={"COLUMNS": "160", "LOADGEN_STORE": "", **environ})


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file and three histories, of another number of runs each; we are in one below it."""
    (tmp_path / "loadgen.toml").write_text(FILE)
    for runs, where in ((3, "kept"), (4, "kept/of-staging"), (5, "else")):
        store = Store.open(str(tmp_path / where))
        for run in history(runs, {"checkout": 100.0}, sd=0.01):
            store.add(run)
    (tmp_path / "scenarios").mkdir()
    monkeypatch.chdir(tmp_path / "scenarios")
    return tmp_path


def test_history_is_where_the_file_says_counted_from_its_folder(house: Path) -> None:
    said = loadgen("history")
    assert said.exit_code == 0, said.output
    assert "3 accepted runs" in said.stdout
    assert loadgen("history", "runs").stdout.count("-shop-") == 3


def test_environment_has_another_history_the_variable_beats_both_and_the_option_all(house: Path) -> None:
    elsewhere = str(house / "else")
    assert "4 accepted runs" in loadgen("history", "--env", "staging").stdout
    assert loadgen("history", "runs", "--env", "staging").stdout.count("-shop-") == 4
    assert "5 accepted runs" in loadgen("history", "--env", "staging", LOADGEN_STORE=elsewhere).stdout
    assert "3 accepted runs" in loadgen("history", "--store", house / "kept", LOADGEN_STORE=elsewhere).stdout


@pytest.mark.parametrize(
    "command",
    [
        ("history",),
        ("history", "runs"),
        ("history", "pin", "last", "--name", "1.4"),
        ("history", "control", "--last"),
        ("gate", "last"),
        ("compare", "last", "last"),
    ],
    ids=" ".join,
)
def test_all_that_is_wrong_in_the_file_is_told_by_whoever_reads_it(house: Path, command: tuple[str, ...]) -> None:
    (house / "loadgen.toml").write_text('[history]\nstore = "ftp://x"\n\n[polcy]\n')
    said = loadgen(*command)
    assert said.exit_code == 2
    assert 'loadgen.toml:2: store: "ftp://x" is not a folder or an s3:// URL' in said.output
    assert 'loadgen.toml:4: unknown key "polcy"' in said.output


def test_environment_that_is_not_there_is_told_also_beside_a_store(house: Path) -> None:
    for command in (["history"], ["history", "runs"], ["gate", "last"], ["compare", "a", "b"]):
        said = loadgen(*command, "--env", "stagin", "--store", house / "else")
        assert said.exit_code == 2
        assert 'no environment "stagin"' in said.output
        assert 'did you mean "staging"?' in said.output


def test_faults_of_the_file_are_told_once_though_gate_reads_it_twice(house: Path) -> None:
    path = browse_with(house)
    (house / "loadgen.toml").write_text("[polcy]\n\n[env.staging]\n")
    said = loadgen("gate", path, "--env", "staging", "--alpha", "x")
    assert said.exit_code == 2
    assert said.output.count('unknown key "polcy"') == 1
    assert "--alpha" in said.output


def test_gate_of_a_scenario_asks_the_file_beside_the_scenario(house: Path) -> None:
    (house / "other").mkdir()
    path = browse_with(house / "other")
    (house / "other" / "loadgen.toml").write_text('[history]\nstore = "s3://perf/other"\n')
    wrongs = CollectedErrors()
    assert store_of(wrongs, None, None, path) == "s3://perf/other"
    assert store_of(wrongs, "given", None, path) == "given"
    assert store_of(wrongs, None, None) == str(house / "kept")
    assert not wrongs.found


def test_outputs_of_the_file_are_checked_as_options_are_and_say_where_they_stand(house: Path) -> None:
    (house / "loadgen.toml").write_text('[out]\nrun = ["prometheus=nowhere", "ndjson=gone/figures.ndjson"]\n')
    wrongs = CollectedErrors()
    outputs_of(wrongs, (), places_of(wrongs, None, None))
    assert [one.message for one in wrongs.found] == [
        f'{house / "loadgen.toml"}: out prometheus: invalid address "nowhere"',
        f"{house / 'loadgen.toml'}: out ndjson: the folder {house / 'gone'} does not exist",
    ]


def test_run_tells_the_outputs_of_the_file_unless_others_are_asked_for(house: Path) -> None:
    text = '[out]\nrun = ["ndjson=of-file.ndjson"]\n\n[env.quiet]\nout = []\n'
    (house / "loadgen.toml").write_text(text)
    found = {}
    with running_target("--no-latency") as target:
        path = browse_with(house, target=f'"{target.url}"', load='arrivals("20/s").hold("1s")')
        for name, options in (
            ("file", ()),
            ("option", ("--out", f"ndjson={house}/of-option.ndjson")),
            ("none", ("--env", "quiet")),
        ):
            done = loadgen_process("run", str(path), "--quiet", *options, runs_dir=house / name)
            assert done.exit_code in (0, 4), done.err
            found[name] = sorted(one.name for one in house.glob("*.ndjson"))
            for one in house.glob("*.ndjson"):
                one.unlink()
    assert found == {"file": ["of-file.ndjson"], "option": ["of-option.ndjson"], "none": []}
