"""Every time in the code is in the table that the soaks take their faults from."""

from __future__ import annotations

from tests.chaos.timers import TIMERS, faults_within
from tests.support.found_timers import found_timers


def test_every_time_in_the_code_is_in_the_table_with_its_value() -> None:
    """A new time, or one that was changed: decide in `timers.py` what a fault of that length would be."""
    table = {(timer.module, timer.name): timer.seconds for timer in TIMERS}
    assert len(table) == len(TIMERS)
    assert found_timers() == table


def test_the_times_that_decide_whether_an_agent_is_alive_are_among_them() -> None:
    lengths = {place.rpartition(":")[2]: seconds for _, seconds, place in faults_within(0.1, 15)}
    assert lengths["LEASE_S"] == 8.0
    assert lengths["LOST_AFTER_NS"] == 10.0
    assert lengths["SUSPECTED_AFTER_NS"] == 3.0
    assert lengths["EVERY_NS"] == 1.0
    assert lengths["_DEALER[HEARTBEAT_TIMEOUT]"] == 4.0
    assert {harms for harms, _, _ in faults_within(0.1, 15)} == {"link", "agent", "supervisor", "worker", "controller"}
