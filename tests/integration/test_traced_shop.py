"""Real faults in three services with OpenTelemetry's SDK: `loadgen trace` ranks each of them first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.traced_shop.cases import KNOWN_FAULTS, KnownFault
from tests.support.traced_shop.faults import Faults
from tests.support.traced_shop.traced_run import Case, TracedRun, traced_run

pytestmark = pytest.mark.quiet
REPEATED, ENOUGH = 10, 9

THREE = Case(
    mix="buy: 1, fill: 1, look: 1",
    slos=", ".join(f'p(95, request="{name}") < "80ms"' for name in ("checkout", "basket", "browse")),
    faults=Faults(slow_version_ms=120, is_many_calls=True),
    rate=60,
    seconds=25,
)
"""Three kinds of requests with two faults, so that three tests need one run."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> TracedRun:
    return traced_run(tmp_path_factory.mktemp("three"), THREE)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("fault", KNOWN_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_ranked_first_in_nine_of_ten_runs(fault: KnownFault, tmp_path: Path) -> None:
    wrong: list[str] = []
    for number in range(REPEATED):
        folder = tmp_path / str(number)
        folder.mkdir()
        done, causes = traced_run(folder, fault.case, seed=number + 1).cause("--request", fault.case.request)
        if text := fault.wrong(causes):
            wrong.append(f"run {number + 1}: {text}\n{done.out}{done.err}")
        assert len(wrong) <= REPEATED - ENOUGH, "\n".join(wrong)
