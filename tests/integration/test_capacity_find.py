"""`loadgen capacity find` with real agents, against a shop that serves four at a time for 20 ms each: 200/s."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.run import DATA, Finished, loadgen
from tests.support.target import running_target

FILE = f"{DATA}/searched.py"
LIMIT_PER_S = 200.0


def find(tmp_path: Path, *args: str) -> tuple[Finished, dict[str, Any]]:
    out = tmp_path / "out.json"
    where = ("--quiet", "--runs-dir", str(tmp_path / "runs"), "--json", str(out))
    run = loadgen("capacity", "find", *args, *where, runs_dir=tmp_path, timeout_s=900)
    study: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    if run.exit_code == 4:  # the order of reasons is tested without a clock
        assert study["result"] == "invalid"
        pytest.skip(f"the machine is too busy to measure: {study['lines']}")
    return run, study


@pytest.mark.slow  # levels whose generator was too late are run again: beside other tests that took up to 5 minutes
@pytest.mark.quiet
@pytest.mark.timeout(600)
def test_a_search_and_a_confirmation_find_the_limit_of_the_shop(tmp_path: Path) -> None:
    with running_target("--slots", "4", "--latency", "20ms") as target:
        given = (f"{FILE}:short", "--target", target.url, "--repeat", "1")
        page = tmp_path / "out.html"
        run, study = find(tmp_path, *given, "--cool-down", "1s", "--confirm", "5s", "--html", str(page))
        again, same = find(tmp_path, *given, "--from", study["run_ids"][0], "--confirm", "0")
    facts = study["facts"]

    assert run.exit_code == 0, run.out
    assert study["result"] == "decided"
    assert facts["rate_per_s"] == pytest.approx(LIMIT_PER_S, rel=0.1)
    assert facts["low_per_s"] < facts["rate_per_s"] < facts["high_per_s"]
    assert facts["confirmation"]["rate_per_s"] == facts["low_per_s"]
    assert facts["is_confirmed"] is True
    assert len(study["run_ids"]) == 2
    assert {row["of"] for row in study["rows"]} == {"tested", "search", "confirmation"}
    assert "<svg" in page.read_text()
    assert again.exit_code == 0, again.out
    assert same["facts"]["rate_per_s"] == facts["rate_per_s"]
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.quiet
@pytest.mark.timeout(7200)
def test_17_of_20_searches_are_within_5_percent_and_16_of_20_intervals_have_the_limit(tmp_path: Path) -> None:
    near = covers = 0
    with running_target("--slots", "4", "--latency", "20ms") as target:
        for n in range(20):
            given = (f"{FILE}:short", "--target", target.url, "--repeat", "1", "--confirm", "0")
            (tmp_path / str(n)).mkdir()
            _, study = find(tmp_path / str(n), *given)
            facts = study["facts"]
            rate, low, high = facts["rate_per_s"], facts["low_per_s"], facts["high_per_s"]
            near += rate is not None and abs(rate / LIMIT_PER_S - 1) <= 0.05
            covers += rate is not None and low <= LIMIT_PER_S <= high

    assert near >= 17
    assert covers >= 16


def test_a_limit_above_the_highest_rate_is_not_a_capacity(tmp_path: Path) -> None:
    with running_target("--no-latency") as target:
        given = (f"{FILE}:short", "--of", "error_ratio()<50%", "--between", "5/s", "10/s", "--target", target.url)
        run, study = find(tmp_path, *given)

    assert run.exit_code == 3, run.out
    assert study["facts"]["low_per_s"] is None
    assert study["headline"] == "Not reached: the capacity for error_ratio() < 50% is at least 10.0/s"
    assert study["facts"]["at_least_per_s"] == 10
    assert len(study["run_ids"]) == 1
