"""A run in which some users have a browser: their pages are rows with web vitals, and no Chromium is left over."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from loadgen.find_chromium import find_chromium
from tests.support.run import DATA, ends_with, loadgen
from tests.support.target import running_target


@pytest.mark.skipif(not find_chromium(), reason="this machine has no Chromium")
def test_pages_of_browsers_are_rows_beside_requests_with_vitals_in_summary_and_report(tmp_path: Path) -> None:
    before = {one.pid for one in psutil.process_iter()}
    with running_target() as shop:
        run = loadgen("run", f"{DATA}/browsers.py", "--target", shop.url, runs_dir=tmp_path / "runs")
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    rows = {
        one["request"]: one
        for one in run.summary["series"]
        if one["kind"] == "request" and one["outcome"] == one["region"] == "*"
    }
    assert {name: row["count"] for name, row in rows.items()} == {"GET /products": 2, "page /": 1, "page /products": 1}
    assert run.summary["requests"]["finished"] == 4  # the requests of pages are no rows
    vitals = rows["page /"]["page_ms"]
    assert vitals["ttfb"]["count"] == vitals["fcp"]["count"] == 1
    assert vitals["ttfb"]["p75"] <= vitals["fcp"]["p75"]
    assert "page_ms" not in rows["GET /products"]
    assert [(one["verdict"], one["count"], one["unit"]) for one in run.summary["slos"]] == [
        ("passed", 1, "ms"),
        ("passed", 1, "ms"),
        ("passed", 1, ""),
    ]
    assert "Pages, ms" in run.out
    left = [one.name() for one in psutil.process_iter(["name"]) if one.pid not in before]
    assert "chromium" not in [name for name in left if name]
