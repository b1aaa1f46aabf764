"""A lease that has lapsed for a moment stays lapsed, for whoever looks later."""

from __future__ import annotations

import os
import time

from loadgen_agent.worker_lease import Lease, Leased, leased_at

S = 1_000_000_000


def both() -> tuple[Lease, Leased]:
    lease = Lease()
    return lease, leased_at(os.dup(lease.fd))


def test_a_lapse_that_the_worker_sees_holds_although_the_supervisor_renews_the_lease() -> None:
    lease, leased = both()
    lease.grant(time.perf_counter_ns() + 60 * S, 8 * S)
    assert not leased.is_over()
    ended_ns = time.perf_counter_ns() - 1
    lease.grant(ended_ns, 8 * S)
    assert leased.is_over()
    lease.grant(time.perf_counter_ns() + 60 * S, 8 * S)
    assert leased.is_over()
    assert (lease.lapsed_ns, leased.until_ns) == (ended_ns, ended_ns)
    lease.close()


def test_a_lapse_that_nobody_sees_changes_nothing() -> None:
    lease, leased = both()
    lease.grant(time.perf_counter_ns() - 1, 8 * S)
    lease.grant(time.perf_counter_ns() + 60 * S, 8 * S)
    assert not leased.is_over()
    assert lease.lapsed_ns == 0
    lease.close()


def test_another_process_in_the_place_begins_with_a_lease_that_has_not_lapsed() -> None:
    lease, leased = both()
    lease.grant(time.perf_counter_ns() - 1, 8 * S)
    assert leased.is_over()
    lease.clear()
    assert not leased.is_over()
    assert (lease.lapsed_ns, leased.until_ns) == (0, 0)
    lease.close()
