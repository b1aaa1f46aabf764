"""A machine that runs is not yet an agent that works."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loadgen.aws.account.names import TAG_BOOT
from loadgen.aws.scale.machine_states import PATIENCE_S, Machine, Registration, Standing, counts, join

NOW = datetime(2026, 11, 26, 14, tzinfo=UTC)


def machine(
    one: str = "i-1",
    state: str = "running",
    age_s: float = 30,
    region: str = "eu-west-1",
    tags: dict[str, str] | None = None,
) -> Machine:
    return Machine(one, region, "c7i.xlarge", state, NOW - timedelta(seconds=age_s), tags=tags or {})


@pytest.mark.parametrize(
    ("one", "agent", "standing"),
    [
        (machine(state="pending"), None, Standing.LAUNCHING),
        (machine(), None, Standing.LAUNCHING),
        (machine(tags={TAG_BOOT: "ready"}), None, Standing.BOOTED),
        (machine(), Registration("i-1", "here"), Standing.REGISTERED),
        (machine(), Registration("i-1", "suspected"), Standing.REGISTERED),
        (machine(age_s=PATIENCE_S), Registration("i-1.host-7", "here", "run-1"), Standing.REGISTERED),
        (machine(age_s=PATIENCE_S), None, Standing.MISSING),
        (machine(age_s=PATIENCE_S, tags={TAG_BOOT: "ready"}), None, Standing.MISSING),
        (machine(tags={TAG_BOOT: "failed"}), None, Standing.MISSING),
        (machine(), Registration("i-1", "lost", note="silent for 10 s"), Standing.MISSING),
        (machine(state="shutting-down"), Registration("i-1", "here"), Standing.LEAVING),
        (machine(), Registration("i-2", "here"), Standing.LAUNCHING),
        (machine(), Registration("i-11", "here"), Standing.LAUNCHING),
    ],
)
def test_where_a_machine_stands(one: Machine, agent: Registration | None, standing: Standing) -> None:
    (state,) = join([one], [agent] if agent else [], NOW)

    assert state.standing is standing


def test_agent_that_came_back_under_another_name_is_not_lost() -> None:
    agents = [Registration("i-1.a", "lost"), Registration("i-1.b", "here", "run-1"), Registration("i-1.c", "lost")]

    (one,) = join([machine()], agents, NOW)

    assert (one.standing, one.run_id) == (Standing.REGISTERED, "run-1")


def test_machines_stand_by_region_and_age() -> None:
    machines = [machine("i-3", region="us-east-1"), machine("i-2", age_s=10), machine("i-1", age_s=20)]

    assert [one.machine.id for one in join(machines, [], NOW)] == ["i-1", "i-2", "i-3"]


def test_registered_are_counted_by_region() -> None:
    machines = [machine("i-1"), machine("i-2"), machine("i-3", region="us-east-1")]

    states = join(machines, [Registration("i-1", "here"), Registration("i-3", "here")], NOW)

    assert counts(states) == {"eu-west-1": 1, "us-east-1": 1}
