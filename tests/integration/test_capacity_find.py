"""`loadgen capacity find` with real agents, against a shop that serves four at a time for 20 ms each: 200/s."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.run import DATA, loadgen
from tests.support.target import running_target

FILE = f"{DATA}/searched.py"
LIMIT_PER_S = 200.0


@pytest.mark.quiet
def test_two_searches_and_a_confirmation_find_the_limit_of_the_shop(tmp_path: Path) -> None:
    with running_target("--slots", "4", "--latency", "20ms") as target:
        run = loadgen(
            "capacity", "find", f"{FILE}:short", "--target", target.url, "--repeat", "2", "--cool-down", "1s",
            "--confirm", "5s", "--quiet", "--runs-dir", str(tmp_path / "runs"), "--json", str(tmp_path / "out.json"),
            "--html", str(tmp_path / "out.html"), runs_dir=tmp_path,
        )  # fmt: skip
    study = json.loads((tmp_path / "out.json").read_text())
    facts = study["facts"]

    if run.exit_code == 4:
        assert study["result"] == "invalid"
        pytest.skip(f"the machine is too busy to measure: {study['lines']}")
    assert run.exit_code == 0, run.out
    assert study["result"] == "decided"
    assert facts["low_per_s"] < LIMIT_PER_S * 1.1
    assert facts["rate_per_s"] == pytest.approx(LIMIT_PER_S, rel=0.2)
    assert facts["repeats"] == 2
    assert facts["confirmation"]["rate_per_s"] == facts["low_per_s"]
    assert facts["is_confirmed"] is True
    assert [len(study["run_ids"]), len(facts["searches"])] == [3, 2]
    assert {row["of"] for row in study["rows"]} == {"tested", "search", "confirmation"}
    assert "<svg" in (tmp_path / "out.html").read_text()


def test_a_limit_above_the_highest_rate_is_not_a_capacity(tmp_path: Path) -> None:
    with running_target("--no-latency") as target:
        run = loadgen(
            "capacity", "find", f"{FILE}:short", "--of", "error_ratio()<50%", "--between", "5/s", "10/s", "--target",
            target.url, "--quiet", "--runs-dir", str(tmp_path / "runs"), "--json", str(tmp_path / "out.json"),
            runs_dir=tmp_path,
        )  # fmt: skip
    study = json.loads((tmp_path / "out.json").read_text())

    assert run.exit_code in (3, 4), run.out
    assert study["facts"]["low_per_s"] is None
    if run.exit_code == 3:
        assert study["headline"] == "Not reached: the capacity for error_ratio() < 50% is at least 10.0/s"
        assert study["facts"]["at_least_per_s"] == 10
        assert len(study["run_ids"]) == 1
