"""Percentiles are over everything that was due: a stall is seen whole, however few users there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.quiet import in_a_quiet_moment, undisturbed
from tests.support.run import DATA, loadgen
from tests.support.target import running_target

pytestmark = pytest.mark.quiet

STALL_MS, PERIOD_MS = 500.0, 5000.0


def truth_ms(q: float) -> float:
    """Of responses of a target that answers at once but for the stall: what arrives in it waits for its end."""
    share_above = 1 - q / 100
    return STALL_MS - share_above * PERIOD_MS


def test_the_arithmetic_of_the_stall() -> None:
    assert truth_ms(95) == pytest.approx(250)
    assert truth_ms(99) == pytest.approx(450)


@pytest.mark.parametrize("plan", [pytest.param("plan", marks=pytest.mark.slow), "capped"])
@in_a_quiet_moment
def test_a_stall_of_one_step_is_seen_whole_with_many_users_and_with_few(plan: str, tmp_path: Path) -> None:
    stall = ("--stall", "500ms", "--every", "5s", "--path", "/search")
    with undisturbed(), running_target("--no-latency", *stall) as target:
        run = loadgen("run", f"{DATA}/three_steps.py:{plan}", "--target", target.url, "--quiet", runs_dir=tmp_path)
    summary, journey = run.summary, run.row("journey")
    assert summary["iterations"]["due"] == journey["count"] == 2005
    assert journey["response_ms"]["p95"] == pytest.approx(truth_ms(95), rel=0.03)
    assert journey["response_ms"]["p99"] == pytest.approx(truth_ms(99), rel=0.03)
    first = run.row("request", step="one", request="GET /")
    assert first["response_ms"]["p99"] < 0.1 * truth_ms(99)  # the lateness is the journey's, not its first request's
    limited = summary["pool_limited"]
    if plan == "capped":
        assert limited["share"] > 0.01
        assert any("pool-limited" in reason and "Add users" in reason for reason in summary["reasons"])
        assert journey["user_wait_ms"]["p95"] > 100
        assert first["bound"] == "lower"
        assert journey["bound"] is None
        assert any("waited for a free user" in note and "lower bounds" in note for note in summary["notes"])
        assert ">=" in run.out
    else:
        assert limited["requests"] == 0
        assert journey["user_wait_ms"]["max"] == 0
        assert first["bound"] is None


def test_2000_arrivals_a_second_are_exact_in_number_and_none_is_early(tmp_path: Path) -> None:
    with running_target("--no-latency") as target:
        run = loadgen(
            "run", f"{DATA}/one_get.py:paced", "--target", target.url, "--quiet", "--duration", "5s", runs_dir=tmp_path
        )
        served = target.stats()["requests"]
    assert served == run.summary["iterations"]["started"] == 10_000
    lag = run.row("journey")["generator_lag_ms"]
    assert lag["mean"] >= 0  # a start before its due time cannot be recorded: the histogram refuses values below 0
    assert run.summary["iterations"]["missed"] == run.summary["iterations"]["cut_off"] == 0
