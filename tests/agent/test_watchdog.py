"""What the worker's watchdog makes of what it sees; time is handed in."""

from __future__ import annotations

import os

import pytest

from loadgen.units import NS_PER_S
from loadgen_agent.worker.watchdog import Finding, Watch
from loadgen_agent.worker_lease import Lease, leased_at

S = NS_PER_S
LENGTH = 8 * S
TICK = S // 10


def looks(*, seconds: float, blocked: bool, until_ns: int, from_ns: int = 0) -> list[Finding]:
    """Ten looks a second; the loop turns between two of them, or does not."""
    watch, found = Watch(), []
    for n in range(round(seconds * 10) + 1):
        turns = 0 if blocked else n
        found.append(watch.look(from_ns + n * TICK, turns, until_ns, LENGTH))
    return found


@pytest.mark.parametrize(
    ("seconds", "blocked", "left_s", "last"),
    [
        (20, True, 0, Finding.FINE),  # no lease: no load
        (20, False, 30, Finding.FINE),
        (1.5, True, 30, Finding.FINE),
        (3, True, 30, Finding.BLOCKED),
        (8.2, True, 30, Finding.KILL),
        (2, False, 1, Finding.STOP),
        (7, False, 1, Finding.CUT),
        (0.9, True, 0.5, Finding.STOP),
        (1.5, True, 0.5, Finding.KILL),
    ],
)
def test_what_a_look_means(seconds: float, blocked: bool, left_s: float, last: Finding) -> None:
    assert looks(seconds=seconds, blocked=blocked, until_ns=round(left_s * S))[-1] is last


def test_a_process_that_was_frozen_as_a_whole_is_not_blocked_but_its_lease_is_over() -> None:
    watch = Watch()
    assert watch.look(0, 5, 8 * S, LENGTH) is Finding.FINE
    assert watch.look(30 * S, 5, 8 * S, LENGTH) is Finding.CUT
    assert watch.look(30 * S + TICK, 6, 8 * S, LENGTH) is Finding.CUT


def test_a_frozen_process_whose_lease_was_renewed_meanwhile_goes_on() -> None:
    watch = Watch()
    assert watch.look(0, 5, 8 * S, LENGTH) is Finding.FINE
    assert watch.look(30 * S, 5, 37 * S, LENGTH) is Finding.FINE


def test_the_lease_is_seen_from_the_other_side() -> None:
    lease = Lease()
    leased = leased_at(os.dup(lease.fd))
    try:
        assert (leased.until_ns, leased.is_over()) == (0, False)
        lease.grant(2**62, 8 * S)
        assert (leased.until_ns, leased.is_over()) == (2**62, False)
        lease.grant(1, 8 * S)
        assert (leased.until_ns, leased.length_ns, leased.is_over()) == (1, 8 * S, True)
        leased.say("s.py:3 (browse) blocked its loop for 2 s")
        assert lease.said == "s.py:3 (browse) blocked its loop for 2 s"
        leased.say("ä" * 400)
        assert lease.said == "ä" * 127
        lease.clear()
        assert (lease.said, leased.until_ns) == ("", 0)
    finally:
        lease.close()
        lease.close()
