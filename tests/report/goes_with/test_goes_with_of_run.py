"""Series of the target that go with the slow requests of a stored run: read, compared, stored, printed."""

from __future__ import annotations

import json
from dataclasses import replace as replaced
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from loadgen.errors import StorageError
from loadgen.measure.deltas.delta import Health
from loadgen.report.goes_with.by_second import by_second
from loadgen.report.goes_with.file import NAME, GoesWithFile, Line, NotTested, read_goes_with, write_goes_with
from loadgen.report.goes_with.lines import lines_of, sentence_of
from loadgen.report.goes_with.of_run import goes_with_of_run
from loadgen.report.goes_with.target_series import target_series
from loadgen.report.run_as_dataframes import Run, open_run
from loadgen.report.why_slow.choice import Chosen
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, request_key
from tests.support.traced_past_run import LIMIT_MS, made_requests, traced_run

SECONDS = 150
CHOSEN = Chosen(
    journey="checkout", step="pay", request="POST /checkout", region="", limit_ns=LIMIT_MS * NS_PER_MS, why=""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    path, _ = traced_run(folder, seconds=SECONDS, slow_share=0.05)
    metrics(path)
    return open_run(path)


def slow_by_second() -> np.ndarray[Any, np.dtype[np.float64]]:
    slow = np.zeros(SECONDS)
    for one in made_requests(SECONDS, slow_share=0.05):
        slow[one.at_ns // NS_PER_S] += one.response_ns > LIMIT_MS * NS_PER_MS
    return slow


def metrics(path: Path, **changed: Any) -> None:
    """A metrics.json with lock waits that go with slow requests, and three other series."""
    draw = Random(3)
    at_s = [k + 0.3 for k in range(SECONDS)]
    lock_waits = [float(3 * n) + draw.random() for n in slow_by_second()]
    rows: dict[str, list[float | None]] = {
        "lock waits": [None if k % 29 == 7 else value for k, value in enumerate(lock_waits)],
        "CPU": [draw.gauss(40, 5) for _ in at_s],
        "connections": [20.0 for _ in at_s],
        "memory \x1b[31m": [draw.random() for _ in at_s],
    }
    found = [
        {
            "name": name,
            "unit": "sessions",
            "period_s": 1.0,
            "probe": "shopdb",
            "error_s": 0.002,
            "at_s": at_s,
            "values": row,
        }
        for name, row in rows.items()
    ]
    (path / "metrics.json").write_text(json.dumps({"format": 1, "metrics": found, "source": "probes", **changed}))


def test_lock_waits_of_a_stored_run_are_named_alone(run: Run) -> None:
    found = goes_with_of_run(run, CHOSEN)
    assert found is not None
    assert [(one.title, one.host, one.sign, one.lag_s) for one in found.named] == [("lock waits", "shopdb", 1, 0.0)]
    assert [(one.title, one.why) for one in found.left_out] == [("connections", "constant")]
    assert (found.points, found.tested, found.by) == (SECONDS, 3, "end")
    assert found.named[0].n == SECONDS - 5
    assert found.loads == ("offered rate", "iterations in flight")


def test_result_is_stored_and_read_again(run: Run) -> None:
    found = goes_with_of_run(run, CHOSEN)
    assert found is not None
    write_goes_with(run.path, found)
    assert read_goes_with(run.path) == found


def test_run_without_metrics_has_no_result(tmp_path: Path) -> None:
    path, _ = traced_run(tmp_path, seconds=5)
    assert goes_with_of_run(open_run(path), CHOSEN) is None
    assert read_goes_with(path) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"format": 1, "metrics": [{"name": "a", "at_s": [1], "values": []}]}']
)
def test_damaged_metrics_are_a_reason_and_no_error(tmp_path: Path, content: bytes) -> None:
    path, _ = traced_run(tmp_path, seconds=5)
    (path / "metrics.json").write_bytes(content)
    found = goes_with_of_run(open_run(path), CHOSEN)
    assert found is not None
    assert found.not_tested.startswith("metrics.json cannot be read: ")
    assert "were not compared" in next(iter(lines_of(found)))


def test_short_run_is_too_few_and_never_a_pass(tmp_path: Path) -> None:
    path, _ = traced_run(tmp_path, seconds=60)
    metrics(path)
    found = goes_with_of_run(open_run(path), CHOSEN)
    assert found is not None
    assert found.not_tested.startswith("too few points: 60 steps")


def test_newer_and_damaged_files_are_errors_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"run": "r", "objective": "o", "format": 2}')
    with pytest.raises(StorageError, match="newer than this loadgen"):
        read_goes_with(tmp_path)
    (tmp_path / NAME).write_text("[")
    with pytest.raises(StorageError, match="cannot read"):
        read_goes_with(tmp_path)


# -- by second ---------------------------------------------------------------------------------------------


def test_seconds_have_the_counts_of_the_requests(run: Run) -> None:
    seconds = by_second(run.deltas(), CHOSEN, NS_PER_S)
    assert seconds.counts.tolist() == [20.0] * SECONDS
    assert np.round(seconds.above * 20).tolist() == slow_by_second().tolist()
    assert seconds.errors.sum() == 0
    assert seconds.is_fit.all()
    assert np.isfinite(seconds.p99_ms).all()


def test_failed_requests_are_above_the_limit_and_errors() -> None:
    agent = FakeAgent("a1")
    key = request_key("POST /checkout", step="pay")
    failed = request_key("POST /checkout", step="pay", outcome="http 503")
    deltas = [("eu", agent.delta({key: [NS_PER_MS] * 3, failed: [NS_PER_MS]}))]
    seconds = by_second(deltas, CHOSEN, NS_PER_S)
    assert (seconds.counts[0], seconds.above[0], seconds.errors[0]) == (4.0, 0.25, 0.25)


def test_unfit_seconds_are_marked(run: Run) -> None:
    deltas = list(run.deltas())
    region, first = deltas[0]
    changed = replaced(first, health=Health(unfit=("late",)))
    seconds = by_second([(region, changed), *deltas[1:]], CHOSEN, NS_PER_S)
    assert not seconds.is_fit[0]
    assert seconds.is_fit[1:].all()


def test_region_is_one_region_only(run: Run) -> None:
    seconds = by_second(run.deltas(), replace(CHOSEN, region="eu"), NS_PER_S)
    assert seconds.counts.tolist() == [10.0] * SECONDS


def test_target_series_are_safe_and_whole(run: Run) -> None:
    series, fault = target_series(run.path)
    assert not fault
    assert [len(one.values) for one in series] == [SECONDS] * 4
    assert series[3].title == "memory \\x1b[31m"
    assert series[0].host == "shopdb"


# -- lines -------------------------------------------------------------------------------------------------

LINE = Line(
    title="lock waits",
    unit="sessions",
    host="shopdb",
    judged="the share above 300 ms",
    lag_s=1.0,
    lag_error_s=1.0,
    low=0.0,
    high=6.0,
    judged_low=0.018,
    judged_high=0.22,
    n_low=501,
    n_high=62,
    n=599,
    share=0.46,
    p=0.002,
)
FILE = GoesWithFile(run="r", objective="checkout", tested=30, points=600, named=(LINE,))


def test_line_has_size_lag_share_and_certainty() -> None:
    assert sentence_of(1, LINE, FILE) == (
        "1. lock waits of shopdb: when it rises from 0 to 6 sessions, the share above 300 ms rises from 1.8 to 22 % "
        "(501 and 62 steps); at the same time (± 1 s); 46 % of the rest after the load; "
        "n = 599, p = 0.002 over 30 series"
    )


def test_lines_begin_with_the_words_of_a_correlation() -> None:
    assert next(iter(lines_of(FILE))) == "goes with the slow requests, beyond what the load explains (not proof):"


def test_lag_beyond_the_error_has_a_direction() -> None:
    first = replace(LINE, lag_s=3.0, comes_first=True)
    after = replace(LINE, lag_s=-3.0, comes_first=False)
    assert "comes first by 3 s (± 1 s)" in sentence_of(1, first, FILE)
    assert "comes after by 3 s (± 1 s)" in sentence_of(1, after, FILE)


def test_nothing_found_and_series_left_out_are_said() -> None:
    left = tuple(NotTested(title=f"s{n}", why="constant") for n in range(3))
    left += (NotTested(title="x", why="too few changes: 1 of the 8 that are needed"),)
    assert list(lines_of(replace(FILE, named=(), left_out=left))) == [
        "of 30 series of the target, none goes with the slow requests beyond what the load explains",
        "series that were not compared: 3 constant, 1 too few changes",
    ]


def test_hostile_names_cannot_control_a_terminal() -> None:
    hostile = replace(LINE, title="a\x1b[31m\nb", host="h\u202e", together=("t\r",))
    for line in lines_of(replace(FILE, named=(hostile,))):
        assert "\x1b" not in line
        assert "\n" not in line
        assert "\u202e" not in line
        assert "\r" not in line
