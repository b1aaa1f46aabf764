"""Test modules that run on the first Python alone: what they find does not depend on the version of Python.

CI runs the unit tests on two versions. The second run exists to find what differs between them: asyncio, TLS, sockets,
parsers of the standard library, how scenarios are read, commands. The modules below simulate with numpy, or read the
sources of this repository, and each takes more than 1 s of CPU. They are 54 of 675 modules, and took 285 s of the 768 s
of CPU of all unit tests (time.process_time of each test, on Python 3.11).
Cheaper modules of the same folders run on both versions, so a version that rounds differently is still found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["LISTED", "is_for_the_first_python"]

STATISTICS: Final = (
    "tests/controller/test_level_stop.py",
    "tests/dsl/executors/test_climb.py",
    "tests/dsl/executors/test_knee.py",
    "tests/dsl/executors/test_limit.py",
    "tests/dsl/executors/test_limit_streams.py",
    "tests/engine/test_weights.py",
    "tests/history/test_comparing.py",
    "tests/history/test_extract.py",
    "tests/history/test_gating.py",
    "tests/history/test_standing.py",
    "tests/measure/test_batches.py",
    "tests/measure/test_coarse.py",
    "tests/measure/test_level_figures.py",
    "tests/measure/test_level_goodput.py",
    "tests/measure/test_made_up_runs.py",
    "tests/measure/test_packed_counts.py",
    "tests/measure/test_stream_objectives.py",
    "tests/measure/test_sure_values.py",
    "tests/measure/test_together.py",
    "tests/profiles/test_curve.py",
    "tests/programme/test_anomalies.py",
    "tests/report/goes_with/test_goes_with_of_run.py",
    "tests/statistics/factors/test_designs.py",
    "tests/statistics/factors/test_early.py",
    "tests/statistics/factors/test_effects.py",
    "tests/statistics/test_causes.py",
    "tests/statistics/test_changepoint.py",
    "tests/statistics/test_decide_rates.py",
    "tests/statistics/test_gate.py",
    "tests/statistics/test_goes_with.py",
    "tests/statistics/test_levels.py",
    "tests/statistics/test_ratios.py",
    "tests/statistics/test_usl.py",
    "tests/statistics/test_utilisation.py",
    "tests/sweep/test_result.py",
    "tests/traffic/test_fidelity.py",
    "tests/traffic/test_second_order.py",
    "tests/traffic/test_session_classes.py",
)
"""How often a verdict is wrong, or a fit is right, over many simulated runs and sessions."""
COST: Final = ("tests/controller/test_looks.py",)
"""How the number of executed lines of Python grows with the input."""
EXACT_SUMS: Final = (
    "tests/dsl/data/test_inference_rows.py",
    "tests/dsl/executors/test_replay_traces.py",
    "tests/dsl/prompts/test_prompt.py",
    "tests/engine/test_exemplars.py",
    "tests/engine/test_share.py",
    "tests/engine/test_tagging.py",
)
"""Integers that add up, over many random inputs."""
PAGES: Final = (
    "tests/programme/test_board_coverage.py",
    "tests/programme/test_gather.py",
    "tests/programme/test_openslo_round_trip.py",
    "tests/programme/test_quarter_arrows.py",
    "tests/programme/test_weekly_page.py",
)
"""Tables and pages that are written from stored rows."""
SOURCES: Final = (
    "tests/docs/test_names.py",
    "tests/docs/test_troubleshooting.py",
    "tests/test_layout.py",
    "tests/test_outside_text.py",
)
"""What the sources and pages of this repository contain."""

LISTED: Final = (*STATISTICS, *COST, *EXACT_SUMS, *PAGES, *SOURCES)
_ROOT: Final = Path(__file__).parents[2]
_PATHS: Final = {_ROOT / name for name in LISTED}


def is_for_the_first_python(path: Path) -> bool:
    """Return whether this module has no test for the second Python."""
    return path in _PATHS
