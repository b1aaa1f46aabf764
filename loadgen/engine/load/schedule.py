"""Computes the due times of this worker's own iterations from a load profile and a share.

Pure: no clock, no waiting. The caller takes one block at a time, so a run of a day costs no more
memory than one of a minute.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from loadgen.engine.load.share import RandomMix, Share
from loadgen.engine.load.share_changes import Deal
from loadgen.profiles.arrival_due_times import Dues
from loadgen.profiles.profile import IterationProfile

__all__ = ["BLOCK", "Block", "due_times", "own_iterations"]

BLOCK = 1_000
"""Arrivals that are computed at once. This takes about 70 µs, which is too short to delay a start: 0.07 µs an arrival,
including the lists."""


class Block(NamedTuple):
    """This worker's arrivals in the order in which they are due, as three lists of one length."""

    due_ns: list[int]
    """From the start of the run, non-decreasing."""
    n: list[int]
    """Index in the fleet's arrivals."""
    journey: list[int]
    """Index in the mix."""


def due_times(
    dues: Dues,
    own: Share | Deal,
    chance: RandomMix | None = None,
    from_ns: int = 0,
    from_n: int = 0,
    until_ns: int | None = None,
    until_n: int | None = None,
) -> Iterator[Block]:
    """Yield all arrivals of one share of an open load, in blocks.

    `chance` draws their journeys at random. Without it the share's own order of journeys is used.

    Args:
        dues: the due times of the fleet's arrivals.
        from_ns: arrivals that are due earlier belong to other agents, and are skipped without cost.
        from_n: arrivals with a lower number were started before.
        until_ns: arrivals that are due at this time or later belong to other agents. So when agents join or leave, each
            arrival belongs to exactly one agent: by the shares that are in force when it is due.
        until_n: arrivals with this number or a higher one belong to other agents.
    """
    total = dues.total()
    if until_ns is not None:
        total = _first_from(dues, total, until_ns)
    if until_n is not None:
        total = min(total, until_n)
    for n, journey in own.blocks(max(from_n, _first_from(dues, total, from_ns)), total, BLOCK):
        if chance is not None:
            journey = chance.journeys(n)
        yield Block(dues.due_ns(n).tolist(), n.tolist(), journey.tolist())


def _first_from(dues: Dues, total: int, from_ns: int) -> int:
    """Return the number of the fleet's first arrival that is due at `from_ns` or later; `total` without one."""
    if from_ns <= 0:
        return 0
    return bisect_left(range(total), from_ns, key=lambda n: int(dues.due_ns(np.array([n]))[0]))


def own_iterations(
    profile: IterationProfile, share: Share, chance: RandomMix | None = None, done: int = 0
) -> Iterator[tuple[int, int]]:
    """Yield the iterations of this share of a counted load, without the first `done`.

    Each is (number in the fleet's iterations, journey index). Agents get iterations in proportion to their numbers of
    users (`Share.for_iterations`). If the profile gives each user the same number of iterations, see `Share.round`.
    """
    if profile.per_user:
        yield from _by_rounds(profile, share, chance, done)
        return
    ours = share.for_iterations(profile.users)
    own = ours.count_below(profile.total())
    for first in range(done, own, BLOCK):
        n, journey = ours.block(first, min(BLOCK, own - first))
        if chance is not None:
            journey = chance.journeys(n)
        yield from zip(n.tolist(), journey.tolist(), strict=True)


def _by_rounds(
    profile: IterationProfile, share: Share, chance: RandomMix | None, done: int
) -> Iterator[tuple[int, int]]:
    """Yield the share's iterations if each user does the same number, without the first `done`.

    They begin with the first iteration of each of its users, then the second iteration of each, and so on.
    """
    own = len(share.owns_users(profile.users))
    if not own:
        return
    for i in range(done // own, profile.per_user):
        n, journey = share.round(profile.users, i)
        if chance is not None:
            journey = chance.journeys(n)
        skipped = max(0, done - i * own)
        yield from zip(n[skipped:].tolist(), journey[skipped:].tolist(), strict=True)
