"""The model of a real log whose times were edited: its names, its check, and the coverage of its scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen_controller import cli

# This log has names such as /blog/{slug}.html and /blog/one.html, /docs and /docs/.
LOG = Path(__file__).parents[1] / "data/logs/apache_logs_elastic.log.gz"


def loadgen(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, [*map(str, args)], env={"COLUMNS": "160"})
    return done.exit_code, done.output


def facts_in(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output[output.index("{") :])
    return found


@pytest.fixture(scope="module")
def blog(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the model, which takes seconds to make, and what the command printed."""
    folder = tmp_path_factory.mktemp("model") / "blog"
    code, output = loadgen("model", LOG, "-o", folder / "blog.py")
    assert code == 0, output
    return folder, output


def test_the_log_with_edited_times_has_no_times_and_is_judged_for_the_rest(blog: tuple[Path, str]) -> None:
    folder, output = blog

    assert "fidelity: partly" in output
    facts = json.loads((folder / "traffic.json").read_text())
    rows = {row["property"]: row for row in facts["fidelity"]["rows"]}
    assert rows["inter-arrival"]["distance"] is None
    assert rows["inter-arrival"]["why"] == "the log has rounded or missing times"
    passed = {name for name, row in rows.items() if row["passed"]}
    assert passed == {"request mix", "transitions", "edges", "session length", "status", "bytes"}


def test_the_log_of_the_model_has_the_names_of_the_model(blog: tuple[Path, str]) -> None:
    _, output = loadgen("model", "check", blog[0] / "blog.py", "--log", LOG, "--format", "json")

    rows = {row["property"]: row for row in facts_in(output)["rows"]}
    failed = {name for name, row in rows.items() if not row["passed"]}
    assert failed.isdisjoint({"request mix", "transitions", "edges", "session length", "status", "bytes"})
    assert rows["request mix"]["distance"] < 0.005, "names with equal counts at the end of the 40 may differ"
    assert rows["session length"]["distance"] == 0


def test_the_names_of_a_real_log_are_covered_with_those_that_are_no_nodes(blog: tuple[Path, str]) -> None:
    code, output = loadgen("coverage", blog[0], "--traffic", blog[0] / "traffic.json", "--format", "json")

    assert code == 0, output
    facts = facts_in(output)
    assert len(facts["endpoints"]) > 40, "data/other.csv has those beyond the 40 nodes"
    assert [one["path"] for one in facts["not_exercised"] if one["method"] == "GET"] == []
