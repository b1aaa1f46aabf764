"""`loadgen trace RUN` shows, below the ranked causes, which series of the target go with the slow requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.report.goes_with.file import NAME, read_goes_with
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen_controller import cli
from tests.support.traced_past_run import LIMIT_MS, made_requests, traced_run

SECONDS = 150


def test_series_of_the_target_stand_below_the_ranked_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, file = traced_run(tmp_path, seconds=SECONDS)
    waits = [0.0] * SECONDS
    for one in made_requests(SECONDS):
        waits[one.at_ns // NS_PER_S] += one.response_ns > LIMIT_MS * NS_PER_MS
    lane = {
        "name": "lock waits\x1b[31m",
        "unit": "",
        "period_s": 1.0,
        "probe": "shopdb",
        "at_s": [k + 0.3 for k in range(SECONDS)],
        "values": waits,
    }
    (run / "metrics.json").write_text(json.dumps({"format": 1, "metrics": [lane], "source": "probes"}))
    done = CliRunner().invoke(cli.app, ["trace", "last", "--file", str(file)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    head, _, tail = done.output.partition("goes with the slow requests, beyond what the load explains (not proof):")
    assert "stock" in head
    assert "1. lock waits\\x1b[31m of shopdb: when it rises from" in tail
    assert "at the same time" in tail
    assert "\x1b[31m" not in done.output
    stored = read_goes_with(run)
    assert stored is not None
    assert stored.limit_ms == LIMIT_MS
    assert (run / NAME).is_file()
    for kind, name in (("html", "r.html"), ("markdown", "r.md")):
        assert CliRunner().invoke(cli.app, ["report", "last", "--format", kind, "-o", name]).exit_code == 0
        assert "goes with the slow requests, beyond what the load explains" in Path(name).read_text()
