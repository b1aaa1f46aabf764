"""The log of an agent says which run it works for, and what happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadgen.wire.messages import Prepare
from loadgen_agent.supervisor.lifecycle import Agent, Phase
from loadgen_agent.supervisor.phase_log import phase_text

PREPARE = Prepare(
    "20261128-shop", 1, "ab" * 32, 4096, "shop.py", "plan", b'{"target": "http://shop.test"}', 7, 0, (1.0, 3.0), 10**9
)


def of(phase: Phase, prepare: Prepare | None = PREPARE, reason: str = "") -> Agent:
    return Agent(phase=phase, prepare=prepare, reason=reason)


def test_ready_agent_names_run_scenario_target_and_share() -> None:
    assert phase_text(of(Phase.LOADING), of(Phase.READY)) == (
        "ready for run 20261128-shop: shop.py, plan plan, target http://shop.test, 25.0 % of the load"
    )


@pytest.mark.parametrize("overrides", [b"", b"{}", b"not json", b'{"target": null}'])
def test_target_of_the_plan_is_left_out(overrides: bytes) -> None:
    ready = of(Phase.READY, replace(PREPARE, overrides_json=overrides))
    assert phase_text(of(Phase.LOADING), ready).endswith("shop.py, plan plan, 25.0 % of the load")


def test_end_of_a_run_has_its_reason_and_the_run_that_ended() -> None:
    stopping = phase_text(of(Phase.RUNNING), of(Phase.STOPPING, reason="its lease ended"))
    assert stopping == "run 20261128-shop: no more iterations are started: its lease ended"
    assert phase_text(of(Phase.FINISHED), of(Phase.IDLE, None)).startswith("run 20261128-shop: the agent has left")


def test_first_registration_waits_for_a_run() -> None:
    assert phase_text(of(Phase.JOINING, None), of(Phase.IDLE, None)) == (
        "registered at the controller; waiting for a run"
    )


@pytest.mark.parametrize("after", list(Phase))
@pytest.mark.parametrize("before", list(Phase))
def test_every_change_of_phase_has_a_text(before: Phase, after: Phase) -> None:
    for prepare in (PREPARE, None):
        assert phase_text(of(before, prepare), of(after, prepare))
