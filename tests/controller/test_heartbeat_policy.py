"""What an agent's heartbeat makes the controller repeat, phase by phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadgen.wire.messages import Heartbeat
from loadgen_controller.core.events import AgentLeaving, End, Reason
from loadgen_controller.core.heartbeat_replies import Reaction, RepeatLoad, RepeatPrepare, RepeatStop, reactions
from loadgen_controller.core.lifecycle import Phase, Run, Terms

RUN = replace(Run.begin(Terms(2, ("eu",), 10), 0), members=("a", "b"), t0_ns=0)
END = End(Reason.STOPPED, "stopped by hand")


def beat(phase: str, leaves_ns: int = 0) -> Heartbeat:
    return Heartbeat(run_id="r1", phase=phase, leaves_ns=leaves_ns)


@pytest.mark.parametrize(
    ("run", "heartbeat", "expected"),
    [
        (replace(RUN, phase=Phase.PREPARING), beat("idle"), (RepeatLoad(), RepeatPrepare())),
        (replace(RUN, phase=Phase.RUNNING), beat("running"), (RepeatLoad(),)),
        (replace(RUN, phase=Phase.RUNNING), beat("running", 5), (RepeatLoad(), AgentLeaving("a", 5))),
        (replace(RUN, phase=Phase.RUNNING), beat("stopping"), (RepeatLoad(), AgentLeaving("a"))),
        (replace(RUN, phase=Phase.RUNNING, ends=(END,)), beat("stopping"), (RepeatLoad(),)),
        (replace(RUN, phase=Phase.DRAINING), beat("running"), (RepeatLoad(),)),
        (
            replace(RUN, phase=Phase.DRAINING, ends=(END,)),
            beat("running"),
            (RepeatLoad(), RepeatStop("stopped by hand", now=False)),
        ),
        (replace(RUN, phase=Phase.FINISHING), beat("running"), (RepeatLoad(), RepeatStop("the run is over", now=True))),
    ],
)
def test_a_live_member_gets_again_what_its_phase_shows_that_it_missed(
    run: Run, heartbeat: Heartbeat, expected: tuple[Reaction, ...]
) -> None:
    assert reactions(run, "a", heartbeat, is_live=True) == expected


def test_a_late_joiner_gets_only_prepare_until_it_has_a_share() -> None:
    run = replace(RUN, phase=Phase.RUNNING, joining=frozenset({"c"}))
    assert reactions(run, "c", beat("idle"), is_live=False) == (RepeatPrepare(),)
    assert reactions(run, "c", beat("preparing"), is_live=False) == ()
    assert reactions(replace(run, joining=frozenset(), arrived=("c",)), "c", beat("ready"), is_live=True) == ()


def test_an_agent_that_is_lost_or_no_member_gets_nothing() -> None:
    assert reactions(replace(RUN, phase=Phase.FINISHING), "x", beat("running"), is_live=False) == ()
