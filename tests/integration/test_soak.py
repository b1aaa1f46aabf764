"""What only shows after a while: `make slow`."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire.codec import decode
from loadgen.wire.messages import Delta
from tests.support.run import DATA, loadgen
from tests.support.target import running_target


@pytest.mark.slow
def test_two_minutes_of_three_regions_are_exact_and_no_worker_grows(tmp_path: Path) -> None:
    args = ("--duration", "120s", "--rate", "300/s", "--quiet")
    with running_target("--no-latency") as target:
        run = loadgen("run", f"{DATA}/one_get.py", "--target", target.url, *args, runs_dir=tmp_path, timeout_s=200)
        assert target.stats()["requests"] == run.summary["requests"]["finished"] == 36_000
    assert run.summary["validity"]["verdict"] == "valid", run.summary["reasons"]
    rss_bytes: dict[str, list[int]] = {}
    for record in RunDir.open(run.folder).records():
        delta = decode(record)
        if isinstance(delta, Delta):
            rss_bytes.setdefault(delta.agent, []).append(delta.health.rss_bytes)
    assert len(rss_bytes) == 3
    for seen in rss_bytes.values():
        assert seen[-1] - seen[20] < 2_000_000  # after the first 20 s: less than 20 kB a second


@pytest.mark.slow
def test_short_runs_are_not_called_invalid_by_chance(tmp_path: Path) -> None:
    verdicts = []
    with running_target("--no-latency") as target:
        for n in range(20):
            args = ("--duration", "3s", "--rate", "50/s", "--quiet", "--target", target.url)
            run = loadgen("run", f"{DATA}/one_get.py", *args, runs_dir=tmp_path / str(n))
            verdicts.append(run.summary["validity"]["verdict"])
    assert verdicts.count("invalid") == 0, verdicts
    assert verdicts.count("suspect") <= 2, verdicts
