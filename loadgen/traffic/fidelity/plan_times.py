"""Simulates when the sessions of a plan start and when their requests are sent, for the whole plan.

Sessions are drawn from a pool of simulated ones, because a plan can have millions. Curves are those of evenly spaced
starts: what the plan sends on average. Bunching is that of the plan's own spacing, as the mean of several seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile
from loadgen.traffic.fidelity.reference import Reference
from loadgen.traffic.fidelity.time_summary import Times, TimeSummary, mean_of, time_summary
from loadgen.traffic.sessions.session_table import SessionTable

__all__ = ["closed_load", "starts_of", "times_of_plan"]

_SEEDS: Final = 4
_AT_ONCE: Final = 200_000
"""Sessions whose requests are in memory at one time."""


def closed_load(lanes: Sequence[DrivenLoad]) -> str:
    """Return why session starts depend on the target: a load is not open. Empty if all loads are open."""
    for lane in lanes:
        if not isinstance(lane.profile, ArrivalProfile | TimedProfile) or lane.steering is not None:
            name = f"the load {lane.name!r}" if lane.name else "the load"
            return f"{name} is not open: when its sessions start depends on the target"
    return ""


def starts_of(lane: DrivenLoad, *, is_even: bool = False, seed: int = 0) -> NDArray[np.int64]:
    """Return when the sessions of an open load start, in µs from the start of the run.

    is_even: without the random spacing. seed: changes the random spacing.
    """
    profile = lane.profile
    if isinstance(profile, ArrivalProfile) and profile.spacing is not None:
        spacing = None if is_even else msgspec.structs.replace(profile.spacing, seed=profile.spacing.seed ^ seed)
        lane = replace(lane, profile=msgspec.structs.replace(profile, spacing=spacing))
    schedule = lane.schedule()
    due_ns: NDArray[np.int64] = schedule.due_ns(np.arange(schedule.total(), dtype=np.int64))
    return (due_ns + lane.after_ns) // 1_000


def times_of_plan(
    lanes: Sequence[DrivenLoad], pools: Sequence[SessionTable], reference: Reference, seed: int
) -> TimeSummary:
    """Return the times of a plan whose loads are all open, up to the length of the log.

    pools: for each load, simulated sessions whose times count from their start.
    """
    like = reference.times
    assert like is not None
    rng = np.random.default_rng(seed)
    even = time_summary(_times([starts_of(lane, is_even=True) for lane in lanes], pools, reference, rng), like)
    if not any(isinstance(lane.profile, ArrivalProfile) and lane.profile.spacing is not None for lane in lanes):
        return even
    drawn = mean_of(
        [
            time_summary(_times([starts_of(lane, seed=n) for lane in lanes], pools, reference, rng), like)
            for n in range(_SEEDS)
        ]
    )
    return replace(drawn, curve=even.curve, active=even.active)


def _times(
    starts: Sequence[NDArray[np.int64]],
    pools: Sequence[SessionTable],
    reference: Reference,
    rng: np.random.Generator,
) -> Times:
    span_us = reference.span_s * 1_000_000
    by_second = np.zeros(reference.span_s, np.int64)
    all_starts, durations, lengths = [], [], []
    for own, pool in zip(starts, pools, strict=True):
        lasting = np.maximum.reduceat(pool.end, pool.bounds[:-1]) - pool.starts
        for part in _parts(own[own < span_us]):
            chosen = rng.integers(0, pool.count, len(part))
            drawn = pool.chosen(chosen)
            at_us = (drawn.start + part[drawn.session]) // 1_000_000
            by_second += np.bincount(at_us[at_us < reference.span_s], minlength=reference.span_s)
            all_starts.append(part)
            durations.append(lasting[chosen])
            lengths.append(np.diff(drawn.bounds))
    found = np.concatenate(all_starts) if all_starts else np.zeros(0, np.int64)
    order = np.argsort(found, kind="stable")
    found = found[order]
    if reference.whole_seconds:
        found = found // 1_000_000 * 1_000_000
    return Times(
        reference.begin_s,
        by_second,
        found,
        np.concatenate(durations)[order] if durations else found,
        np.concatenate(lengths)[order] if lengths else found,
    )


def _parts(starts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(starts), _AT_ONCE):
        yield starts[first : first + _AT_ONCE]
