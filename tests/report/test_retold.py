"""A run told again from its folder is the run as it was, also where it was killed or cut off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen.errors import StorageError, UsageError
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.charts.timeline_data import History
from loadgen.report.from_run_folder import document_of, history_of
from loadgen.report.run_as_dataframes import Run, open_run
from loadgen.report.run_json_document import Facts, document, encode
from loadgen.report.run_page_table import Table
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from tests.support.deltas import FakeAgent, journey_key, request_key

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
WITH_PHASES = OLD.with_name("20261125-phases-format-1")
AGENTS = {"eu": True, "us": True}


def folder_of(tmp_path: Path, deltas: list[Delta], events: list[tuple[str, dict[str, Any]]] | None = None) -> Run:
    folder = RunDir.create(tmp_path / "runs", "20261124-170312-checkout-a1b2")
    agents = [{"id": name, "region": name} for name in AGENTS]
    folder.write_manifest({"format": 1, "run_id": folder.run_id, "interval_ns": NS_PER_S, "agents": agents})
    for delta in deltas:
        folder.append(codec.encode(delta))
    for kind, fields in events or []:
        folder.event(kind, **fields)
    folder.sync()
    folder.close()
    return open_run(folder.path)


def told(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode(document_of(run)))
    return found


def a_second(agent: FakeAgent, k: int, *values_ms: float, health: Health | None = None) -> Delta:
    values = [round(ms * NS_PER_MS) for ms in values_ms]
    return agent.delta({journey_key(): values, request_key(): values}, k=k, health=health or Health(users=3))


def some_deltas(seconds: int = 50) -> list[Delta]:
    agents = [FakeAgent(name) for name in AGENTS]
    return [a_second(agent, k, k + 1, 2 * k + 1) for k in range(seconds) for agent in agents]


def test_the_log_tells_what_the_live_run_saw(tmp_path: Path) -> None:
    deltas = some_deltas()
    merge, live = Merge(), History()
    for delta in deltas:
        merge.accept(delta.agent, delta)
        live.look(merge)
    live.look(merge, is_over=True)
    table = Table(live)
    table.look(merge, at_once=None)
    seen = json.loads(encode(document(live, table, Facts(run={}, done=AGENTS))))

    found = told(folder_of(tmp_path, deltas))
    for key in ("slots", "response", "errors", "heatmap", "rows", "spectrum", "exemplars", "curve"):
        assert found[key] == seen[key]


def test_seconds_at_the_end_in_which_nothing_ended_are_in_the_sparklines_too(tmp_path: Path) -> None:
    eu = FakeAgent("eu")
    found = told(folder_of(tmp_path, [a_second(eu, 0, 10), a_second(eu, 1)]))
    assert found["rows"][0]["spark"] == {"p95": [10.111, None], "count": [1, 0]}


def test_what_came_minutes_late_is_in_the_slot_of_its_second(tmp_path: Path) -> None:
    eu, us = FakeAgent("eu"), FakeAgent("us")
    deltas = [a_second(eu, k, 10) for k in range(100)] + [a_second(us, k, 20, 30) for k in range(2)]
    run = folder_of(tmp_path, deltas)

    history, _ = history_of(run)
    assert history.is_exact
    assert told(run)["slots"]["requests"] == [3, 3, *([1] * 98)]
    assert told(run)["slots"]["reported"][:3] == [2, 2, 1]


def test_a_report_of_several_seconds_is_spread_over_them_as_the_merge_does(tmp_path: Path) -> None:
    eu = FakeAgent("eu", interval_ns=3 * NS_PER_S)
    delta = a_second(eu, 0, *range(1, 11), health=Health(users=4, websockets=7, intervals=3))
    merge, live = Merge(), History()
    merge.accept("eu", delta)
    live.look(merge, is_over=True)

    slots = told(folder_of(tmp_path, [delta]))["slots"]
    assert slots["requests"] == [3, 3, 4] == live.columns(AGENTS)["requests"]
    assert slots["users"] == [4, 4, 4]
    assert slots["websockets"] == [7, 7, 7]
    assert slots["reported"] == [1, 1, 1]


@pytest.mark.parametrize("path", [OLD, WITH_PHASES])
def test_a_run_of_a_loadgen_of_before_agrees_with_its_summary(path: Path) -> None:
    found, summary = told(open_run(path)), json.loads((path / "summary.json").read_bytes())

    assert sum(found["slots"]["requests"]) == summary["requests"]["finished"]
    assert sum(found["slots"]["finished"]) == summary["iterations"]["finished"]
    assert found["verdict"]["result"] == summary["result"]
    rows = {(s["kind"], s["request"]): s for s in summary["series"] if s["region"] == s["outcome"] == "*"}
    for row in found["rows"]:
        assert row["response_ms"] == rows[row["kind"], row["request"]]["response_ms"]
    assert found["slots"]["offered_per_s"][0] == {OLD: 20.0, WITH_PHASES: 40.0}[path]


def test_a_run_that_was_killed_is_told_up_to_there_and_without_a_verdict(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()

    found = told(open_run(tmp_path / "run"))
    assert found["verdict"] is None
    assert found["run"]["phase"] == "ended by force"
    assert sum(found["slots"]["requests"]) == 79
    assert "ended by force" in found["notes"][0]


def test_a_log_that_is_cut_off_in_mid_write_is_told_up_to_its_last_whole_record(tmp_path: Path) -> None:
    run = folder_of(tmp_path, some_deltas(10))
    log = run.path / "deltas.log"
    log.write_bytes(log.read_bytes()[:-7])

    assert sum(told(open_run(run.path))["slots"]["requests"]) == 2 * 20 - 2


def test_an_empty_log_makes_an_empty_document(tmp_path: Path) -> None:
    run = folder_of(tmp_path, [])
    found = told(run)
    assert (found["slots"]["count"], found["rows"], found["heatmap"]["slots"]) == (0, [], [])

    (run.path / "deltas.log").write_bytes(b"")
    assert told(open_run(run.path))["slots"]["count"] == 0


def test_a_summary_of_a_newer_loadgen_is_refused(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    path = tmp_path / "run" / "summary.json"
    path.write_bytes(msgspec.json.encode(json.loads(path.read_bytes()) | {"format": 99}))

    with pytest.raises(StorageError, match="format 99"):
        document_of(open_run(tmp_path / "run"))


def test_a_log_of_a_newer_loadgen_is_refused(tmp_path: Path) -> None:
    run = folder_of(tmp_path, some_deltas(2))
    (run.path / "deltas.log").write_bytes(b"lgdelta9" + b"x" * 40)

    with pytest.raises(StorageError, match="newer loadgen"):
        document_of(open_run(run.path))


@pytest.mark.parametrize("name", ["manifest.json", "deltas.log"])
def test_a_folder_without_its_log_or_manifest_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    (tmp_path / "run" / name).unlink()

    with pytest.raises((StorageError, UsageError)):
        document_of(open_run(tmp_path / "run"))


def test_agents_that_were_lost_and_came_back_are_marks(tmp_path: Path) -> None:
    lost: dict[str, Any] = {"name": "AgentLost", "event": {"agent": "us", "text": "silent for 5 s"}}
    back: dict[str, Any] = {"name": "AgentReturned", "event": {"agent": "us"}}
    events = [("phase", {"was": "starting", "phase": "running"}), ("event", lost), ("event", back)]

    marks = told(folder_of(tmp_path, some_deltas(2), events))["marks"]
    assert [(mark["kind"], mark["text"]) for mark in marks] == [
        ("agent lost", "agent us is lost: silent for 5 s"),
        ("agent back", "agent us is back"),
    ]


def test_what_is_offered_is_not_known_from_the_first_adjustment_on(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    path = tmp_path / "run" / "summary.json"
    adjusted = [{"at_s": 1.5, "kind": "scale", "text": "scaled by 2"}]
    path.write_bytes(msgspec.json.encode(json.loads(path.read_bytes()) | {"adjustments": adjusted}))

    found = told(open_run(tmp_path / "run"))
    assert found["slots"]["offered_per_s"] == [20.0, None, None, None]
    assert found["marks"] == adjusted
