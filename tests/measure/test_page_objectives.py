"""Objectives on the score of pages in browsers (`cls`): known answers, over two agents, and in every report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from loadgen import maximum, mean, minimum, p
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.series_key import CLS_NS, OK
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, SloResult, describe, evaluate_all
from loadgen.measure.results.summary import RunFacts, build
from loadgen.measure.statistics.batches_of_run import read_batches
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.report.executive_summary import story_of
from loadgen.report.report_tables import final_report
from loadgen.report.slos import slo_row
from loadgen.report.summary_reader import read
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen_controller.screen.terminal_report import print_report

Page = tuple[float | None, str]
"""The score of a page, None if it has none; and its outcome."""
LEFT: Page = (None, OK)
"""The user left it before it painted."""
REFUSED: Page = (None, "refused")
PAGES: tuple[Page, ...] = ((0.0, OK), (0.05, OK), (0.1, OK), (0.1055, OK), (0.2, OK), (0.0, "http 500"), REFUSED, LEFT)
"""7 pages that failed or painted, of 8: five scores, and two pages above every score."""


def objective(slo: Slo) -> Objective:
    assert slo.objective is not None, slo.faults
    return slo.objective


def reported(pages: Sequence[Page], seconds: int = 1) -> list[tuple[str, Delta]]:
    """What two agents report, with the pages by turns, and the same pages in each second."""
    found = []
    recorders = {name: Recorder() for name in ("a", "b")}
    for k in range(seconds):
        for order, name in enumerate(recorders):
            recorder = recorders[name]
            page = recorder.request_series("look", None, "page /")
            for score, outcome in pages[order::2]:
                if score is not None:
                    page.phase("cls", round(score * CLS_NS), outcome)
                recorder.counters.requests_started += 1
                due_ns = k * NS_PER_S + 1
                recorder.request(page, due_ns, due_ns, due_ns + NS_PER_MS, outcome, 0)
            made = recorder.flip(k * NS_PER_S, (k + 1) * NS_PER_S, lambda *_: Health(users=1, in_flight=1))
            found.append(("local", replace(made, agent=name, epoch=1, run_id="run")))
    return found


def merged(deltas: Sequence[tuple[str, Delta]]) -> Merge:
    merge = Merge(NS_PER_S)
    for region, delta in deltas:
        merge.accept(region, delta)
    return merge


def the_result(slo: Slo, pages: Sequence[Page]) -> SloResult:
    (found,) = evaluate_all([objective(slo)], merged(reported(pages)), end_ns=NS_PER_S)
    return found


@pytest.mark.parametrize(
    ("slo", "verdict", "observed", "good", "text"),
    [
        (
            p(40, request="page /", metric="cls") < 0.1,
            "passed",
            0.1,
            3,
            "p40 of 7 of 8 pages that failed or painted: 0.1",
        ),
        (p(50, request="page /", metric="cls") < 0.1055, "passed", 0.1055, 4, ": 0.1055"),
        (p(50, request="page /", metric="cls") < 0.1054, "failed", 0.1055, 3, ": 0.1055"),
        (p(75, request="page /", metric="cls") < 0.1, "failed", "> 0.2", 3, ": > 0.2"),
        (p(75, request="page /", metric="cls") < 0.5, "failed", "> 0.5", 5, ": > 0.5"),
        (p(20, request="page /", metric="cls") > 0.04, "passed", 0.05, 6, ": 0.05"),
    ],
    ids=lambda one: one.text if isinstance(one, Slo) else "",
)
def test_failed_pages_are_above_every_score_and_those_without_one_are_left_out(
    slo: Slo, verdict: str, observed: float | str, good: int, text: str
) -> None:
    found = the_result(slo, PAGES)
    assert (found.verdict, found.observed, found.good, found.count, found.of_count) == (verdict, observed, good, 7, 8)
    assert found.detail.endswith(text)
    assert (found.unit, found.limit, found.limit_ms) == ("", objective(slo).limit / CLS_NS, None)
    assert describe(found) == f"observed {found.detail}"


def test_a_mean_and_the_extremes_are_of_all_scores() -> None:
    pages = [page for page in PAGES if page[0] is not None]
    found = the_result(mean(request="page /", metric="cls") < 0.0759, pages)
    assert (found.observed, found.verdict) == (0.075917, "failed")  # 0.4555 / 6
    assert found.detail == "mean of 6 pages, 1 of them failed: 0.075917"
    assert the_result(maximum(request="page /", metric="cls") < 0.2001, pages).verdict == "passed"
    assert the_result(minimum(request="page /", metric="cls") > 0.0001, pages).verdict == "failed"


def test_an_objective_without_pages_is_inconclusive() -> None:
    found = the_result(p(75, request="page /", metric="cls") < 0.1, [LEFT])
    assert (found.verdict, found.observed, found.count) == ("inconclusive", None, 0)


def test_an_objective_survives_the_manifest() -> None:
    one = objective(p(75, request="page /", metric="cls") < 0.07)
    assert one.limit == 700_000  # as a float the product would be above it
    assert msgspec.json.decode(msgspec.json.encode(one), type=Objective) == one


def test_every_report_shows_the_score_without_a_unit(tmp_path: Path) -> None:
    slos = [
        objective(p(75, request="page /", metric="cls") < 0.1),
        objective(mean(request="page /", metric="cls") < 0.2),
    ]
    deltas = reported([(0.05, OK), (0.15, OK), (0.15, OK)], seconds=60)
    merge, batches = merged(deltas), read_batches(deltas, 0, 60 * NS_PER_S, objectives=slos)
    results = with_intervals(evaluate_all(slos, merge, end_ns=60 * NS_PER_S), slos, batches)
    facts = RunFacts(
        run_id="20261130-120000-shop-0001",
        scenario="shop.py",
        plan="plan",
        placement="embedded",
        started_at=datetime(2026, 11, 30, 12, tzinfo=UTC),
        duration_s=60,
        result="failed",
        exit_code=1,
        measured_s=60,
    )
    (tmp_path / "summary.json").write_bytes(msgspec.json.encode(build(facts, merge, results)))
    stored = json.loads((tmp_path / "summary.json").read_text())["slos"]
    assert [(one["observed"], one["unit"], one["limit"], one["count"]) for one in stored] == [
        (0.15, "", 0.1, 180),
        (pytest.approx(0.35 / 3, abs=1e-6), "", 0.2, 180),
    ]
    summary = read(tmp_path / "summary.json")
    first, second = (slo_row(one) for one in summary.slos)
    assert (first["observed"], first["margin"], first["limit_ms"]) == ("0.15", "50 % above", None)
    assert (second["observed"], second["margin"], second["low"]) == ("0.116667", "42 % below", "0.116667")
    out = StringIO()
    print_report(Console(file=out, width=160), final_report(summary))
    table = out.getvalue()
    assert "p75 of 180 pages: 0.15" in table
    assert "ms" not in next(line for line in table.splitlines() if 'mean(request="page /", metric="cls")' in line)
    assert story_of(summary).objectives[0] == (
        'p(75, request="page /", metric="cls") < 0.1 of look failed: p75 of 180 pages: 0.15.'
    )
