"""`loadgen decide`: its exit codes, its formats, and what it records."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event, ObjectiveVerdict
from loadgen_controller import cli
from tests.support.accepted import KEY, history

PROGRAMME = """[journeys.checkout]
live = false
forecast = {low = "300/s", high = "360/s", until = 2999-12-31}
"""


def decide(*options: str) -> Result:
    return CliRunner().invoke(cli.app, ["decide", "checkout", "--release", "v412", "--store", "history", *options])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose history has all evidence for a GO of v412."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "programme.toml").write_text(PROGRAMME)
    store, now = Store.open("history"), datetime.now(UTC)
    old = history(12, {"checkout": 100.0}, sd=0.005)
    passed = (ObjectiveVerdict("p(99) < 300ms", "passed", "checkout"),)
    new = [
        replace(run, labels={"release": "v412"}, objectives=passed)
        for run in history(3, {"checkout": 100.0}, sd=0.005, seed=2, first=12)
    ]
    for run in (*old, *new):
        store.add(run)
    store.pin([run.run_id for run in old[:3]], "1.4")
    details = {"key": KEY.hash(), "detectable": "0.03", "history": "12", "outcome": "PASS"}
    store.note(Event("verdict", "", "ci", tuple(run.run_id for run in new), details=details))
    for n in range(12):
        store.note(Event(CONTROL, (now - timedelta(days=n)).isoformat(), details=details))
    facts = {"low_per_s": 500.0, "high_per_s": 550.0, "release": "v412", "scenario": "shop.py", "plan": "plan"}
    store.add_study({"kind": "capacity find", "facts": facts})
    return tmp_path


def test_a_release_with_all_evidence_is_a_go_and_is_recorded(folder: Path) -> None:
    found = decide()

    assert found.exit_code == 0, found.output
    assert "GO (exit code 0) for v412 of checkout" in found.output
    assert "C-1" in found.output
    assert "Recorded as D-1." in found.output
    assert [one.details["recommendation"] for one in Store.open("history").events("recommended")] == ["GO"]


def test_json_has_recommendation_evidence_and_missing(folder: Path) -> None:
    (folder / "programme.toml").unlink()

    found = decide("--format", "json", "--no-record")
    document = json.loads(found.stdout)

    assert found.exit_code == 3
    assert document["recommendation"] == "INCONCLUSIVE"
    assert {"kind", "id", "state", "says"} <= set(document["evidence"][0])
    assert all({"command", "minutes"} <= set(one) for one in document["missing"])
    assert [one["minutes"] for one in document["missing"]] == sorted(one["minutes"] for one in document["missing"])
    states = {one["kind"]: one["state"] for one in document["evidence"]}
    assert states["promise"] == states["headroom"] == "open"
    assert Store.open("history").events("recommended") == []


def test_markdown_has_the_table(folder: Path) -> None:
    found = decide("--format", "markdown")

    assert found.exit_code == 0, found.output
    assert "| evidence |" in found.stdout


def test_a_fail_of_the_gate_is_a_no_go(folder: Path) -> None:
    store = Store.open("history")
    ids = tuple(run.run_id for run in store.runs_with_label("release", "v412"))
    store.note(Event("verdict", "", "ci", ids, details={"outcome": "FAIL", "reasons": "p95 is 11 % slower"}))

    found = decide()

    assert found.exit_code == 1
    assert "NO-GO (exit code 1)" in found.output
    assert "p95 is 11 % slower" in found.output


def test_an_unknown_release_has_nothing_to_judge(folder: Path) -> None:
    found = CliRunner().invoke(cli.app, ["decide", "checkout", "--release", "v999", "--store", "history"])

    assert found.exit_code == 4
    assert "no valid run of it was found" in found.output


def test_a_folder_that_cannot_be_read_keeps_from_go(folder: Path) -> None:
    broken = folder / "runs" / "20261109-170312-shop-a1b2"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{")

    found = decide()

    assert found.exit_code == 3
    assert "20261109-170312-shop-a1b2 cannot be read" in found.output


def test_all_errors_are_shown_at_once(folder: Path) -> None:
    (folder / "programme.toml").write_text("[decide]\nruns = 0\nheadrom = 2\n")

    found = CliRunner().invoke(cli.app, ["decide", " ", "--release", " ", "--store", "history"])

    assert found.exit_code == 2
    for part in ("--release", "a journey is empty", "programme.toml:2", "programme.toml:3", "Traceback"):
        assert (part in found.output) == (part != "Traceback")


def test_texts_from_outside_are_harmless(folder: Path) -> None:
    store = Store.open("history")
    ids = tuple(run.run_id for run in store.runs_with_label("release", "v412"))
    evil = "GO (exit code 0)\x1b[2J\n<script>|[x](http://evil)"
    store.note(Event("verdict", "", "ci", ids, details={"outcome": "FAIL", "reasons": evil}))

    for format_ in ("text", "json", "markdown"):
        output = decide("--format", format_).output
        assert "\x1b[2J" not in output
        assert "<script>" not in output or format_ != "markdown"
