"""Splits arrivals and users after the agents' weights were changed during a run.

At first a `Share` splits them. With each change, each agent whose weight falls gives up some of its arrivals, and each
agent whose weight grows takes some of these. No agent does both. An agent keeps all its other arrivals with their
numbers. So a present user stays the same user. And if a change reaches an agent late, it has not started arrivals that
another agent starts, too. A lost agent gives up all of its arrivals. An agent that joins has only arrivals that others
gave up.

    n          0  1  2  3  4  5  6  7  8     agents 1:1:1, the second is lost from n = 3 on
    before     0  1  2  0  1  2  0  1  2
    after      0  1  2  0  0  2  0  2  2

The arrivals that an agent gives up, and the agents that take them, follow from n and the change alone: from the
fractional part of n·√p, with another prime p for each change (H. Weyl 1916: such parts are spread evenly, also among
every k-th n, and for several p together). So all agents compute the same result without messages, and no agent goes
through all arrivals.

Pure; reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import fsum, isqrt

import numpy as np

from loadgen.engine.load.share import Share, at_least_one

__all__ = ["Change", "Deal", "Tenure", "moved"]

Tenure = tuple[tuple[int, int | None], ...]
"""Times [from, until) in which a user belongs to this worker, ns from the load's beginning; None: to the end."""
_WALKED = 1_000
"""Candidate arrivals that are checked at once: 0.1 ms a change, too short to delay a start."""
_SAME = 1e-12
"""Parts that differ by less count as equal: the difference comes from rounding."""


@dataclass(frozen=True, slots=True)
class Change:
    """A share change: new weights of the agents, from one arrival or from one time on."""

    number: int
    """Number of the change within the run, from 1: it selects the prime, so that changes move different arrivals."""
    at: int
    """For open loads the first arrival for which it holds; for closed ones ns from the load's beginning."""
    weights: tuple[float, ...]
    """One for each agent of that time; 0 for lost agents. An agent without a weight joined later: it had 0."""


@dataclass(frozen=True)
class Deal:
    """One worker's part of a load over the whole run. Begin with `Deal(share)`.

    max_users: a limit on the fleet's users, if the load has one.
    """

    share: Share
    max_users: int | None = None
    changes: tuple[Change, ...] = ()

    def changed(self, change: Change) -> Deal:
        """Return a copy of this split with one more share change.

        Changes must be added in the order of their numbers, and none begins before an earlier one.
        """
        return replace(self, changes=(*self.changes, change))

    def blocks(self, first: int, total: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield this share's arrivals with fleet numbers from `first` to `total` - 1, with all share changes.

        Each block is (numbers in the fleet, journey indices), both (at most `size`,) int64.
        """
        begin = min([total, *(change.at for change in self.changes[:1])])
        yield from self.share.blocks(first, begin, size)
        if begin < total:
            yield from self._walked(max(first, begin), total)

    def most_users(self) -> int | None:
        """Return the most users that this worker may have after the last change; None without a limit."""
        if self.max_users is None:
            return None
        if not _part(self._weights_before(len(self.changes)), self.share.index):
            return 0
        return at_least_one(self._users_by_worker(self.max_users, len(self.changes)))[self.share.worker]

    def tenures(self, users: int) -> dict[int, Tenure]:
        """Return all users that belong to this worker at any time, each with the times in which it does.

        The fleet has the users 0 to `users` - 1.
        """
        found: dict[int, list[tuple[int, int | None]]] = {}
        since: dict[int, int] = dict.fromkeys(self.share.owns_users(users), 0)
        x = np.arange(users)
        owners, workers = self.share.user_owners(users), self._first_workers(users)
        for k, change in enumerate(self.changes):
            owners, workers = self._after(k, x, owners, workers)
            ours = set(np.flatnonzero((owners == self.share.index) & (workers == self.share.worker)).tolist())
            for user in [user for user in since if user not in ours]:
                begin = since.pop(user)
                if begin < change.at:
                    found.setdefault(user, []).append((begin, change.at))
            for user in ours:
                since.setdefault(user, change.at)
        for user, begin in since.items():
            found.setdefault(user, []).append((begin, None))
        return {user: tuple(found[user]) for user in sorted(found)}

    # -- the whole fleet --------------------------------------------------------------------------

    def owners(self, n: np.ndarray) -> np.ndarray:
        """Return for each of the fleet's arrivals `n` the index of its agent after all changes: (len(n),) int64."""
        owners = self.share.owners_of(n)
        for k, change in enumerate(self.changes):
            since = n >= change.at
            if since.all():  # the usual case, which saves two copies of the arrivals
                owners = moved(n, owners, self._weights_before(k), change.weights, change.number)
            elif not since.any():
                break  # later changes do not begin before this one
            else:
                owners[since] = moved(n[since], owners[since], self._weights_before(k), change.weights, change.number)
        return owners

    def user_owners(self, users: int, at_ns: int) -> np.ndarray:
        """Return for each of the fleet's users 0 to `users` - 1 the index of its agent at `at_ns`: (users,) int64."""
        owners, x = self.share.user_owners(users), np.arange(users)
        for k, change in enumerate(self.changes):
            if change.at <= at_ns:
                owners = moved(x, owners, self._weights_before(k), change.weights, change.number)
        return owners

    # -- arrivals that a change moved --------------------------------------------------------------

    def _walked(self, first: int, total: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        candidates = self.share.of_members(self._ever_ours())
        end = candidates.count_below(total)
        for k in range(candidates.count_below(first), end, _WALKED):
            n, journey = candidates.block(k, min(_WALKED, end - k))
            ours = self._is_ours(n)
            if ours.any():
                yield n[ours], journey[ours]

    def _is_ours(self, n: np.ndarray) -> np.ndarray:
        owners = self.share.owners_of(n)
        workers = np.where(self.share.has(n), self.share.worker, -1)
        for k, change in enumerate(self.changes):
            since = n >= change.at
            if since.all():
                owners, workers = self._after(k, n, owners, workers)
            elif since.any():
                owners[since], workers[since] = self._after(k, n[since], owners[since], workers[since])
        found: np.ndarray = (owners == self.share.index) & (workers == self.share.worker)
        return found

    def _after(self, k: int, x: np.ndarray, owners: np.ndarray, workers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the agents and workers of arrivals or users `x` after change `k` (from 0).

        `owners` and `workers` are those before the change. An agent's workers take the arrivals that it gains in turns.
        """
        change = self.changes[k]
        after = moved(x, owners, self._weights_before(k), change.weights, change.number)
        if self.share.workers == 1:
            return after, np.where(after == owners, workers, 0)
        taken = after != owners
        workers = workers.copy()
        weights = np.array(self._worker_weights(k + 1), dtype=float)
        turns = np.searchsorted(np.cumsum(weights) / weights.sum(), _within(x[taken], 2 * change.number + 1), "right")
        workers[taken] = np.minimum(turns, len(weights) - 1)
        return after, workers

    def _weights_before(self, k: int) -> tuple[float, ...]:
        return self.changes[k - 1].weights if k else self.share.weights

    def _ever_ours(self) -> set[int]:
        """Return the agents whose arrivals, as split before all changes, may belong to this worker at some time.

        These are its own agent and, if that agent ever gains arrivals, all agents that ever lose some.
        """
        own, givers, takes = self.share.index, set[int](), False
        for k, change in enumerate(self.changes):
            before, after = _parts(self._weights_before(k), change.weights)
            givers |= set(np.flatnonzero(after < before).tolist())
            takes = takes or bool((after > before)[own : own + 1].any())
        return {own} | (givers if takes else set())

    # -- workers ----------------------------------------------------------------------------------

    def _worker_weights(self, changes: int) -> list[int]:
        """Return the weight of each worker of this agent: 1, or 0 if it has no users and gets no arrivals."""
        if self.max_users is None:
            return [1] * self.share.workers
        return at_least_one([min(1, users) for users in self._users_by_worker(self.max_users, changes)])

    def _users_by_worker(self, max_users: int, changes: int) -> list[int]:
        """Return the most users of each worker of this agent after the first `changes` changes.

        max_users: the most users of the whole fleet.
        """
        owners, x = self.share.user_owners(max_users), np.arange(max_users)
        for k, change in enumerate(self.changes[:changes]):
            owners = moved(x, owners, self._weights_before(k), change.weights, change.number)
        count, workers = int((owners == self.share.index).sum()), self.share.workers
        return [len(range(worker, count, workers)) for worker in range(workers)]

    def _first_workers(self, users: int) -> np.ndarray:
        workers = np.full(users, -1)
        workers[list(self.share.owns_users(users))] = self.share.worker
        return workers


def moved(
    x: np.ndarray, owners: np.ndarray, before: Sequence[float], after: Sequence[float], number: int
) -> np.ndarray:
    """Return the agents of arrivals or users `x` after a change of weights from `before` to `after`.

    owners: their agents before the change. number: of the change. Each agent keeps the fraction new weight / old weight
    of its arrivals, or all if its weight grows. The other arrivals are split among the agents whose weight grows.
    """
    was, now = _parts(tuple(before), tuple(after))
    gains = np.maximum(now - was, 0.0)
    if not gains.any():
        return owners
    kept = np.divide(now, was, out=np.ones_like(now), where=now < was)
    given = np.flatnonzero((kept < 1.0)[owners])  # few, since usually one agent of many is lost
    # Each arrival has a fixed place between 0 and 1. Below the kept fraction it stays; the rest is stretched to 0 .. 1
    # again and split among the agents that gain, in proportion to their gains.
    place, kept_of = _within(x[given], 2 * number), kept[owners[given]]
    gives = place >= kept_of
    to = np.searchsorted(
        np.cumsum(gains) / gains.sum(), (place[gives] - kept_of[gives]) / (1 - kept_of[gives]), "right"
    )
    found = owners.copy()
    # By rounding, the cumulated gains may end just below 1 and `to` point behind the last agent.
    found[given[gives]] = np.minimum(to, np.flatnonzero(gains)[-1])
    return found


@lru_cache(maxsize=512)
def _parts(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return both tuples of weights as parts of their sums, 0 to 1, padded to one length.

    Parts that differ only by rounding are equal. All callers share the arrays: do not write to them.
    """
    most = max(len(before), len(after))
    was, now = (
        np.array([*weights, *[0.0] * (most - len(weights))], dtype=float) / fsum(weights) for weights in (before, after)
    )
    return was, np.where(np.abs(now - was) <= _SAME, was, now)


def _part(weights: Sequence[float], index: int) -> float:
    return weights[index] if index < len(weights) else 0.0


def _within(x: np.ndarray, k: int) -> np.ndarray:
    """Return a fixed pseudo-random place between 0 and 1 for each number in `x`, different for each `k`.

    The place is the fractional part of x·√p, where p is the k-th prime from 0: (len(x),) float64.
    """
    with np.errstate(over="ignore"):
        places = x.astype(np.uint64) * np.uint64(_root(k))
    return (places >> np.uint64(11)).astype(float) / 2.0**53


@lru_cache(maxsize=1024)
def _root(k: int) -> int:
    """Return the fractional part of √p times 2^64, where p is the k-th prime from 0."""
    return isqrt(_prime(k) << 128) & (2**64 - 1)


@lru_cache(maxsize=1024)
def _prime(k: int) -> int:
    if not k:
        return 2
    candidate = _prime(k - 1) + 1
    while any(candidate % divisor == 0 for divisor in range(2, isqrt(candidate) + 1)):
        candidate += 1
    return candidate
