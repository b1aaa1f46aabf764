"""The generator says when it was not fit to measure, and who blocked it."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

from loadgen.engine.selfcheck import SelfCheck, unfit_reason

MS = 1_000_000


@pytest.mark.parametrize(
    ("lag_ms", "response_ms", "fit"),
    [(1.9, 0, True), (2.1, 0, False), (2.1, 30, True), (4, 30, False), (90, 1000, True), (110, 1000, False)],
)
def test_a_second_is_unfit_when_lag_p99_exceeds_2_ms_and_a_tenth_of_the_response_p99(
    lag_ms: float, response_ms: float, fit: bool
) -> None:
    assert (unfit_reason(round(lag_ms * MS), round(response_ms * MS)) == "") is fit


async def test_a_scenario_that_blocks_the_loop_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "blocker.py").write_text("import time\n\ndef nap():\n    time.sleep(0.5)\n")
    spec = importlib.util.spec_from_file_location("blocker", tmp_path / "blocker.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check = SelfCheck(tmp_path, lambda: (1, 1, 0))
    check.start()
    await asyncio.sleep(0.05)
    module.nap()
    await asyncio.sleep(0.05)
    health = check.health(None, 0, ())
    check.stop()
    assert any("blocker.py:4 (nap) blocked the event loop" in note for note in health.notes)
    assert health.unfit
    assert health.loop_lag_max_us > 200_000


async def test_a_loop_that_waits_for_a_slow_target_is_fit(tmp_path: Path) -> None:
    check = SelfCheck(tmp_path, lambda: (1, 1, 0))
    check.start()
    await asyncio.sleep(0.3)
    health = check.health(0, 300 * MS, ("a note",))
    check.stop()
    assert health.unfit == ()
    assert health.notes == ("a note",)
    assert health.rss_bytes > 1_000_000
