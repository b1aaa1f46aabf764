"""Runs as a collection: found again by what they were and by what was said of them, and deleted with care."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import StorageError
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.measure.run_folder.rundir import RunDir
from loadgen_controller import cli
from loadgen_controller.past_runs.index import FILE
from loadgen_controller.past_runs.listing import entries, parse_since
from loadgen_controller.past_runs.user_notes import Notes, parse_label, read_notes, write_notes

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
PHASES = OLD.with_name("20261125-phases-format-1")
BROWSE, TWO_GETS = "20261124-210823-browse-1ba6", "20261125-014142-phases-fab5"


def loadgen(*args: str | Path, say: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in args], input=say, env={"COLUMNS": "200"})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, tmp_path / "runs" / BROWSE)
    shutil.copytree(PHASES, tmp_path / "runs" / TWO_GETS)
    return Path("runs")


def listed(*options: str) -> list[str]:
    """Names, as found; newest first."""
    result = loadgen("runs", "list", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [entry["run_id"] for entry in json.loads(result.stdout)]


def plan_labels(path: Path, **labels: str) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["spec"]["labels"] = labels
    (path / "manifest.json").write_text(json.dumps(manifest))


# -- labels and notes -------------------------------------------------------------------------------


def test_labels_and_notes_find_a_run_again_and_leave_its_summary_as_it_was(runs: Path) -> None:
    before = (runs / BROWSE / "summary.json").read_bytes()
    assert (
        loadgen("runs", "label", "20261124", "release=1.4", "team=shop").output == f"{BROWSE}: release=1.4 team=shop\n"
    )
    assert loadgen("runs", "note", "20261124", "with the New pool").exit_code == 0

    assert (runs / BROWSE / "summary.json").read_bytes() == before
    assert listed("--label", "release=1.4", "--label", "team") == [BROWSE]
    assert listed("--label", "release=1.5") == listed("--label", "nothing") == []
    assert listed("--search", "new POOL") == listed("--search", "team=shop") == [BROWSE]
    table = loadgen("runs", "list").output
    assert "release=1.4 team=shop with the New pool" in table
    assert "labels and note" in table


def test_label_is_taken_away_and_that_of_the_plan_is_hidden(runs: Path) -> None:
    plan_labels(runs / BROWSE, service="checkout", team="shop")
    assert listed("--label", "service=checkout") == [BROWSE]
    loadgen("runs", "label", "20261124", "service=", "team=search", "x=1")
    assert listed("--label", "service") == []
    assert listed("--label", "team=search") == [BROWSE]
    assert loadgen("runs", "label", "20261124", "team=", "x=").output == f"{BROWSE}: no labels\n"
    assert loadgen("runs", "note", "last", "").exit_code == 0


def test_wrong_labels_are_said_at_once_and_change_nothing(runs: Path) -> None:
    result = loadgen("runs", "label", "none", "a=1", "b", "=c", "a b=c")

    assert result.exit_code == 2
    assert [f'invalid label "{text}"' in result.stderr for text in ("b", "=c", "a b=c")] == [True] * 3
    assert "no run none" in result.stderr
    assert not (runs / BROWSE / "notes.json").exists()
    assert loadgen("runs", "note", "last", "x" * 5000).exit_code == 2
    assert loadgen("runs", "label", "last", "a=" + "x" * 5000).exit_code == 2


def test_notes_of_a_newer_loadgen_or_torn_ones_are_named_and_the_run_is_still_listed(runs: Path) -> None:
    (runs / BROWSE / "notes.json").write_text('{"format": 9}')
    (runs / TWO_GETS / "notes.json").write_text("{")
    assert listed() == [TWO_GETS, BROWSE]
    for run, what in ((BROWSE, "unknown format 9"), (TWO_GETS, "cannot read")):
        result = loadgen("runs", "label", run, "a=b")
        assert (result.exit_code, what in result.stderr) == (5, True)
        with pytest.raises(StorageError):
            read_notes(runs / run)


def test_markup_and_controls_in_notes_do_not_steer_the_terminal(runs: Path) -> None:
    write_notes(runs / BROWSE, Notes(note="[red]x[/red] \x1b[31m"))
    output = loadgen("runs", "list").output
    assert "[red]x[/red] \\x1b[31m" in output


def test_parse_label_takes_what_is_after_the_first_sign() -> None:
    assert parse_label("a=b=c") == ("a", "b=c")
    assert parse_label("a=") == ("a", None)


# -- looking for runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("browse", [BROWSE]),
        ("FAILED", [BROWSE]),
        ("passed", [TWO_GETS]),
        ("phases.py", [TWO_GETS]),
        ("2026", [TWO_GETS, BROWSE]),
    ],
)
def test_search_looks_into_name_scenario_and_result(runs: Path, text: str, found: list[str]) -> None:
    assert listed("--search", text) == found
    assert "match" in loadgen("runs", "list", "--search", "nowhere").output


def test_since_is_a_day_a_time_or_how_long_ago(runs: Path) -> None:
    assert listed("--since", "2026-11-25") == [TWO_GETS]
    assert listed("--since", "2026-11-24T21:00") == [TWO_GETS, BROWSE]
    assert listed("--since", "2026-11-25T09:00+08:00") == [TWO_GETS]
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert parse_since("2h", now) == datetime(2026, 11, 25, 10, tzinfo=UTC)
    for long in ("99999999999d", "999999d"):
        with pytest.raises(ValueError, match="invalid time"):
            parse_since(long, now)
    assert parse_since("7d", now) == datetime(2026, 11, 18, 12, tzinfo=UTC)
    result = loadgen("runs", "list", "--since", "lately")
    assert (result.exit_code, 'invalid time "lately"' in result.stderr) == (2, True)


def test_search_is_not_for_the_runs_of_a_controller() -> None:
    result = loadgen("runs", "list", "--search", "x", "--controller", "127.0.0.1:5558", "--since", "lately")
    assert result.exit_code == 2
    assert "cannot be used with --controller" in result.stderr
    assert "invalid time" in result.stderr


def test_json_has_what_the_table_has_and_more(runs: Path) -> None:
    (first, second) = json.loads(loadgen("runs", "list", "--json").stdout)
    assert second == {
        "run_id": BROWSE,
        "path": f"runs/{BROWSE}",
        "result": "failed",
        "scenario": "browse.py",
        "plan": "plan",
        "started_at": "2026-11-24T21:08:25.789Z",
        "duration_s": 3.106,
        "iterations": 60,
        "requests": 79,
        "errors": 19,
        "agents": 2,
        "agents_complete": 2,
        "labels": {},
        "note": "",
        "trouble": "",
    }
    assert first["result"] == "passed"


def test_runs_that_are_not_whole_are_listed_with_why(runs: Path) -> None:
    (runs / BROWSE / "summary.json").write_text("{")
    (runs / TWO_GETS / "manifest.json").write_text("[]")
    (runs / "20261126-empty").mkdir()
    made = RunDir.create(runs, "20261126-000000-shop-0000")
    made.write_manifest({"format": 1, "scenario": "shop.py", "created_at": "2026-11-26T00:00:00.000Z"})

    found = {entry.run_id: (entry.result, bool(entry.trouble)) for entry in entries(runs)}
    assert found == {
        "20261126-000000-shop-0000": ("going on", False),
        TWO_GETS: ("passed", True),
        BROWSE: ("unreadable", True),
    }
    made.close()
    assert next(iter(entries(runs))).result == "not ended"
    told = loadgen("runs", "list")
    assert told.exit_code == 0
    assert any(line.startswith(f"{BROWSE}  unreadable") for line in told.output.splitlines())
    assert f"{BROWSE}: cannot read" in told.output
    assert f"{TWO_GETS}: cannot read" in told.output


def test_a_note_of_several_lines_is_one_line_of_the_list(runs: Path) -> None:
    before = len(loadgen("runs", "list").output.splitlines())
    assert loadgen("runs", "note", "last", "two\nlines").exit_code == 0
    told = loadgen("runs", "list").output
    assert "two lines" in told
    assert len(told.splitlines()) == before


# -- the index --------------------------------------------------------------------------------------


@pytest.fixture
def many(runs: Path) -> Path:
    for n in range(20):
        shutil.copytree(OLD, runs / f"20261123-{n:06d}-browse-0000")
    return runs


def test_index_is_made_anew_when_it_is_lost_torn_or_of_another_version(many: Path) -> None:
    before = entries(many)
    index = many / FILE
    whole = index.read_bytes()
    assert [entry.result for entry in before] == ["passed"] + ["failed"] * 21
    for damage in (b"", b"{", b'{"version": 99, "runs": {}}', whole.replace(b'"failed"', b'"failed', 1)):
        index.write_bytes(damage)
        assert entries(many) == before
        assert json.loads(index.read_bytes()) == json.loads(whole)
    index.unlink()
    assert entries(many) == before
    assert index.exists()


def test_index_is_used_for_what_has_not_changed_and_for_nothing_else(many: Path) -> None:
    entries(many)
    index = many / FILE
    index.write_bytes(index.read_bytes().replace(b'"failed"', b'"seen in the index"'))
    assert {entry.result for entry in entries(many)} == {"passed", "seen in the index"}
    summary: dict[str, Any] = json.loads((many / BROWSE / "summary.json").read_text())
    (many / BROWSE / "summary.json").write_text(json.dumps(summary | {"result": "invalid"}))
    assert next(entry.result for entry in entries(many) if entry.run_id == BROWSE) == "invalid"
    shutil.rmtree(many / BROWSE)
    entries(many)
    assert BROWSE not in json.loads(index.read_bytes())["runs"]


def test_few_runs_have_no_index(runs: Path) -> None:
    entries(runs)
    assert not (runs / FILE).exists()


# -- deleting ---------------------------------------------------------------------------------------


def test_deleting_asks_and_no_is_no(runs: Path) -> None:
    result = loadgen("runs", "delete", "20261124", say="n\n")
    assert (result.exit_code, "nothing was deleted" in result.stderr) == (0, True)
    assert f"delete {BROWSE} (" in result.stderr
    silent = loadgen("runs", "delete", "20261124", say="")
    assert (silent.exit_code, "add --yes to delete without asking" in silent.stderr) == (2, True)
    assert listed() == [TWO_GETS, BROWSE]
    assert loadgen("runs", "delete", "20261124", say="y\n").output.endswith(f"deleted {BROWSE}\n")
    assert listed() == [TWO_GETS]
    assert sorted(path.name for path in runs.iterdir()) == [TWO_GETS]


def test_several_are_deleted_at_once_or_none(runs: Path) -> None:
    result = loadgen("runs", "delete", BROWSE, "nothing", "--yes")
    assert (result.exit_code, "no run nothing" in result.stderr) == (2, True)
    assert listed() == [TWO_GETS, BROWSE]
    assert loadgen("runs", "delete", BROWSE, TWO_GETS, BROWSE, "--yes").exit_code == 0
    assert listed() == []


def test_run_that_goes_on_is_never_deleted(runs: Path) -> None:
    made = RunDir.create(runs, "20261126-000000-shop-0000")
    made.write_manifest({"format": 1})
    result = loadgen("runs", "delete", "20261126", BROWSE, "--yes")
    assert (result.exit_code, "is still going on" in result.stderr) == (2, True)
    assert made.path.exists()
    assert (runs / BROWSE).exists()
    made.close()
    assert loadgen("runs", "delete", "20261126", "--yes").exit_code == 0


def test_nothing_outside_of_the_folder_of_runs_is_deleted(runs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "precious"
    shutil.copytree(OLD, outside)
    (runs / "20261130-link").symlink_to(outside)
    for what in (
        outside,
        f"runs/../elsewhere/{outside.name}",
        "20261130-link",
        f"runs/{BROWSE}/../../elsewhere/precious",
    ):
        result = loadgen("runs", "delete", what, "--yes")
        assert (result.exit_code, "is not in runs" in result.stderr) == (2, True), what
    assert (outside / "summary.json").exists()
    (runs / BROWSE / "link").symlink_to(outside)
    assert loadgen("runs", "delete", BROWSE, "--yes").exit_code == 0
    assert (outside / "summary.json").exists()


# -- pruning ----------------------------------------------------------------------------------------


def test_prune_shows_what_it_would_delete_and_deletes_it_only_with_yes(runs: Path) -> None:
    size = sum(path.stat().st_size for path in (runs / BROWSE).rglob("*") if path.is_file())
    shown = loadgen("runs", "prune", "--older", "2026-11-25")
    assert shown.output.splitlines() == [
        f"would delete {BROWSE} (failed, {size / 1e6:.1f} MB)",
        f"would delete 1 run, {size:,} bytes; add --yes to delete",
    ]
    assert listed() == [TWO_GETS, BROWSE]
    done = loadgen("runs", "prune", "--older", "2026-11-25", "--yes")
    assert done.output.splitlines()[-1] == f"deleted 1 run, {size:,} bytes"
    assert listed() == [TWO_GETS]
    assert sorted(path.name for path in runs.iterdir()) == [TWO_GETS]


def test_prune_keeps_young_runs_and_says_so_when_nothing_is_old(runs: Path) -> None:
    assert loadgen("runs", "prune", "--older", "2026-11-01", "--yes").output == "deleted 0 runs, 0 bytes\n"
    assert loadgen("runs", "prune", "--older", "soon", "--yes").exit_code == 2
    assert loadgen("runs", "prune").exit_code == 2
    assert listed() == [TWO_GETS, BROWSE]


def test_prune_keeps_a_run_in_progress_a_link_and_one_without_a_start(runs: Path, tmp_path: Path) -> None:
    made = RunDir.create(runs, "20261101-000000-shop-0000")
    made.write_manifest({"format": 1, "created_at": "2026-11-01T00:00:00Z"})
    unknown = RunDir.create(runs, "20261102-000000-shop-0000")
    unknown.write_manifest({"format": 1})
    unknown.close()
    shutil.copytree(OLD, tmp_path / "elsewhere")
    (runs / "20261103-link").symlink_to(tmp_path / "elsewhere")
    lines = loadgen("runs", "prune", "--older", "2026-11-30", "--yes").output.splitlines()
    assert "kept 20261101-000000-shop-0000: it is in progress" in lines
    assert "kept 20261102-000000-shop-0000: its start is unknown" in lines
    assert "kept 20261103-link: it is a symbolic link" in lines
    assert sorted(listed()) == ["20261101-000000-shop-0000", "20261102-000000-shop-0000", "20261103-link"]
    made.close()
    loadgen("runs", "prune", "--older", "2026-11-30", "--yes")
    assert not made.path.exists()
    assert (tmp_path / "elsewhere" / "summary.json").exists()


@pytest.mark.parametrize("named", ["history", "option", "environment"])
def test_prune_keeps_runs_that_any_history_accepted_or_pinned(runs: Path, tmp_path: Path, named: str) -> None:
    store = "history" if named == "history" else str(tmp_path / "accepted")
    if named == "environment":
        (tmp_path / "loadgen.toml").write_text('[env.staging]\nstore = "accepted"\n')
    opened = Store.open(store)
    opened.note(Event("pinned", "", "me", (BROWSE,), details={"name": "1.4", "key": "x"}))
    options = ["--store", store] if named == "option" else []
    lines = loadgen("runs", "prune", "--older", "2026-11-30", "--yes", *options).output.splitlines()
    assert lines[-2].startswith(f"kept {BROWSE}: pinned as 1.4 in ")
    assert lines[-1].startswith("deleted 1 run, ")
    assert listed() == [BROWSE]


def test_prune_deletes_nothing_if_a_history_or_loadgen_toml_cannot_be_read(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "runs").write_text("not a folder")
    assert loadgen("runs", "prune", "--older", "2026-11-30", "--yes").exit_code == 5
    shutil.rmtree(tmp_path / "history")
    (tmp_path / "loadgen.toml").write_text("[history\n")
    assert loadgen("runs", "prune", "--older", "2026-11-30", "--yes").exit_code == 2
    assert listed() == [TWO_GETS, BROWSE]


# -- variables ----------------------------------------------------------------------------------------


def test_variables_replace_the_options_of_a_controller(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_CA", "none.pem")
    assert loadgen("runs", "list").exit_code == 0, "a certificate alone changes nothing"

    monkeypatch.setenv("LOADGEN_CONTROLLER", "not a place")
    result = loadgen("runs", "list")

    assert result.exit_code == 2
    assert "--controller: " in result.stderr
    assert "--ca: cannot read none.pem" in result.stderr
    monkeypatch.setenv("LOADGEN_CONTROLLER", "")
    assert loadgen("runs", "list").exit_code == 0


def test_all_errors_in_the_options_of_a_controller_are_reported_with_the_others(runs: Path) -> None:
    result = loadgen("runs", "list", "--ca", "ca.pem", "--token-file", "token", "--since", "soon")
    assert result.exit_code == 2
    for option in ("--ca needs a controller", "--token-file needs a controller", "--since"):
        assert option in result.stderr
