"""Splits arrivals, iterations and users among agents and workers.

Each agent computes its own exact share from its index and the weights of all agents, without messages. It does not go
through all of the fleet's arrivals. Arrivals, iterations and users are numbered from 0 over the whole fleet.

First the mix decides the journey of an arrival: it follows from the number n of the arrival alone. Then the arrivals of
each journey are split among the agents, journey by journey. So after any number of arrivals, each agent has had its
part of each journey, within one arrival.

    n        0  1  2  3  4  5  6  7     mix 3:1, agents 1:1
    journey  a  a  b  a  a  a  b  a
    agent    0  1  1  0  1  0  0  1     b in reverse order, so that the totals stay even

The workers of an agent split the agent's arrivals once more, journey by journey, in turns. An agent's part is exact
within 1 for any number of workers, so an agent does not need the number of workers of other agents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heappop, heappush
from math import ceil, fsum, gcd, isfinite, lcm

import numpy as np

from loadgen.splitmix import GOLDEN, MASK, mixed_each

__all__ = ["MAX_PERIOD", "RandomMix", "RowIndex", "Share", "at_least_one", "order", "whole_weights"]

_LOAD_STEP = 0xBF58476D1CE4E5B9
_MOST_DEALT = 4_000_000
"""Most arrivals of one period that are split among workers. In longer periods, workers with fewer users take as many
turns as the others.
"""
MAX_PERIOD = 1_000
"""Longest period of weights. Weights with a longer one are rounded: an error of at most 0.1 % of the load."""


def whole_weights(weights: Sequence[float]) -> tuple[tuple[int, ...], bool]:
    """Return the weights as the smallest integers in the same proportion, and whether they had to be rounded.

    Their sum is the period of the order: at most MAX_PERIOD, or the number of weights above 0 if that is more. Equal
    weights are always exact. A weight above 0 stays at least 1.

    Raises:
        ValueError: no weights; a negative one, or one that is not finite; all of them 0.
    """
    if not weights or not all(isfinite(w) and w >= 0 for w in weights) or not any(weights):
        raise ValueError(f"invalid weights {tuple(weights)}: they must be finite and at least 0, and one above 0")
    # so an agent that joins later, with weight 0 until then, changes nothing
    cap = max(MAX_PERIOD, sum(w > 0 for w in weights))
    most = max(weights)
    total = fsum(w / most for w in weights)
    # In floats: exact fractions of thousands of measured weights have denominators of thousands of digits.
    shares = [Fraction(w / most / total) for w in weights]
    simple = [share.limit_denominator(cap) for share in shares]
    # Weights such as 1/3 or 0.6/7 arrive as floats that are off by 1e-17, hence "the same" and not "equal".
    is_same = all(abs(a - b) <= b / 10**12 for a, b in zip(simple, shares, strict=True))
    # a case such as 5e-324 next to 1
    is_same = is_same and all(bool(s) == bool(w) for s, w in zip(simple, weights, strict=True))
    period = lcm(*{s.denominator for s in simple}) if is_same else 0
    if 0 < period <= cap and sum(simple) == 1:
        return tuple(int(s * period) for s in simple), False
    parts = [share * cap for share in shares]
    counts = [max(int(part), 1) if w else 0 for part, w in zip(parts, weights, strict=True)]
    by_rest = sorted((i for i, w in enumerate(weights) if w), key=lambda i: (counts[i] - parts[i], i))
    for i in by_rest[: max(0, cap - sum(counts))]:
        counts[i] += 1
    common = gcd(*counts)
    return tuple(count // common for count in counts), True


def order(weights: Sequence[float]) -> np.ndarray:
    """Return the order in which members with these weights take turns: one period of indices into `weights`, int64.

    The order can be repeated any number of times. After any number of turns, the turns of each index differ from its
    exact part by less than 1. The same holds for the order read backwards.

    Source: R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980): among the indices whose part
    has grown enough, take the one with the next deadline. His bound for m indices is 1 - 1/(2m - 2).
    Cost: O(period · log m); 8 ms for 100 agents of unequal weight (period 1,000), 0.3 s for 5,000.
    """
    counts, _ = whole_weights(weights)
    if set(counts) <= {0, 1}:  # agents that join later have 0 until then, and the order is that of the others
        return np.flatnonzero(counts).astype(np.int64)
    period = sum(counts)
    turns = np.zeros(period, dtype=np.int64)
    members = [i for i, count in enumerate(counts) if count]
    if len(members) == 1:
        turns[:] = members[0]
        return turns
    d = 2 * len(members) - 2
    # (first turn from which it may be taken, index, number of its turn from 0)
    waiting: list[tuple[int, int, int]] = []
    ready: list[tuple[Fraction, int, int]] = []  # (deadline up to a factor, index, number of its turn)
    for i in members:
        heappush(waiting, (_release(period, d, counts[i], 0), i, 0))
    for turn in range(1, period + 1):
        while waiting and waiting[0][0] <= turn:
            _, i, k = heappop(waiting)
            heappush(ready, (Fraction((k + 1) * d - 1, counts[i]), i, k))
        _, i, k = heappop(ready)
        turns[turn - 1] = i
        heappush(waiting, (_release(period, d, counts[i], k + 1), i, k + 1))
    return turns


def _release(period: int, d: int, count: int, k: int) -> int:
    """Return the first turn at which a member may take its k-th turn (from 0).

    The member has `count` of the `period` turns. The result is the first t with count·t/period - k >= 1/d.
    """
    return ceil(Fraction(period * (k * d + 1), count * d))


@dataclass(frozen=True, slots=True)
class Share:
    """One agent's part of a load, or one worker's part of it. "Our arrivals" are those of this part.

    All fields are computed when the share is created: O(period of mix · period of weights · workers).
    """

    index: int
    agents: np.ndarray
    """Order of the agents, one period."""
    journeys: np.ndarray
    """Order of the journeys, one period."""
    turns: tuple[int, ...]
    """`journeys` as a tuple, for lookups of one element: reading one number from an array takes five times as long."""
    is_rounded: bool
    """Whether the agents' weights or the mix were rounded (see `whole_weights`)."""
    mix: tuple[float, ...]
    weights: tuple[float, ...]
    """Weights of the agents."""
    period: int
    """Number of the fleet's arrivals after which the split repeats."""
    own_n: np.ndarray
    """Our arrivals in one period: (own,) int64, increasing."""
    own_journey: np.ndarray
    """Journeys of our arrivals in one period: (own,) int64."""
    worker: int = 0
    workers: int = 1
    """Number of the agent's workers; `worker` is the index of this one."""

    @classmethod
    def of(
        cls,
        index: int,
        weights: Sequence[float],
        mix: Sequence[float],
        worker: int = 0,
        workers: int = 1,
        max_users: int | None = None,
    ) -> Share:
        """Return the share of agent `index` among agents with `weights`, for journeys with the weights `mix`.

        Args:
            worker, workers: index of this worker, and number of the agent's workers. They take the agent's arrivals in
                turns.
            max_users: a limit on the fleet's users. A worker that gets none of them gets no arrivals either.

        Raises:
            ValueError: invalid weights, or an index or worker out of range.
        """
        if not 0 <= worker < workers:
            raise ValueError(f"worker must be at least 0 and below {workers}, got {worker}")
        share = replace(cls._of_agent(index, weights, mix), worker=worker, workers=workers)
        if max_users is None:
            return share._dealt([1] * workers)
        # An agent always has at least one user, see `most_users`.
        return share._dealt(at_least_one(share._users_by_worker(max_users)))

    def of_members(self, members: Collection[int]) -> Share:
        """Return the share of several agents (`members`) together, with all their workers."""
        return Share._of_agent(self.index, self.weights, self.mix, members)

    @classmethod
    def _of_agent(
        cls, index: int, weights: Sequence[float], mix: Sequence[float], members: Collection[int] | None = None
    ) -> Share:
        if not 0 <= index < len(weights):
            raise ValueError(f"agent index must be at least 0 and below {len(weights)}, got {index}")
        agents, journeys = order(weights), order(mix)
        own_agents = [index] if members is None else sorted(members)
        rounds = lcm(*(_rounds(len(agents), int(c)) for c in np.bincount(journeys) if c))
        own: list[tuple[np.ndarray, int]] = []
        for journey in range(len(mix)):
            places = np.flatnonzero(journeys == journey)
            if not len(places):
                continue
            # Every other journey in reverse order, as in the table above: otherwise agent 0 would be the first in
            # each.
            turns = np.flatnonzero(np.isin(agents if journey % 2 == 0 else agents[::-1], own_agents))
            # k counts the arrivals of one journey, and every `len(agents)` of them the agents' order repeats. The next
            # lines translate "the k-th of this journey" into n.
            repeats = rounds * len(places) // len(agents)
            k = (np.arange(repeats)[:, None] * len(agents) + turns).ravel()
            own.append((k // len(places) * len(journeys) + places[k % len(places)], journey))
        own_n = np.concatenate([n for n, _ in own])
        own_journey = np.concatenate([np.full(len(n), journey) for n, journey in own])
        by_n = np.argsort(own_n)
        return cls(
            index=index,
            agents=agents,
            journeys=journeys,
            turns=tuple(journeys.tolist()),
            is_rounded=whole_weights(weights)[1] or whole_weights(mix)[1],
            mix=tuple(mix),
            weights=tuple(weights),
            period=rounds * len(journeys),
            own_n=own_n[by_n].astype(np.int64),
            own_journey=own_journey[by_n].astype(np.int64),
        )

    def _dealt(self, weights: Sequence[int]) -> Share:
        """Return this worker's part of the agent's arrivals.

        The workers take each journey's arrivals in turns, by `weights`.
        """
        if self.workers == 1:
            return self
        turns = order(weights)
        counts = [int(c) for c in np.bincount(self.own_journey) if c]
        rounds = lcm(*(_rounds(len(turns), c) for c in counts))
        if rounds * len(self.own_n) > _MOST_DEALT and len(turns) > self.workers:
            return self._dealt([min(weight, 1) for weight in weights])
        n = (np.arange(rounds)[:, None] * self.period + self.own_n).ravel()
        journey = np.tile(self.own_journey, rounds)
        ours = np.zeros(len(n), dtype=bool)
        for one in np.unique(self.own_journey).tolist():
            places = np.flatnonzero(journey == one)
            # Every other journey in reverse order, as for agents: otherwise worker 0 would be the first in each.
            dealt = np.resize(turns if one % 2 == 0 else turns[::-1], len(places))
            ours[places[dealt == self.worker]] = True
        return replace(self, period=rounds * self.period, own_n=n[ours], own_journey=journey[ours])

    def block(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return `count` arrivals of this share, from its `first`-th on, as (numbers in the fleet, journey indices).

        Both are (count,) int64. An agent of weight 0 has none.
        """
        if not len(self.own_n):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        rounds, at = np.divmod(np.arange(first, first + count, dtype=np.int64), len(self.own_n))
        return rounds * self.period + self.own_n[at], self.own_journey[at]

    def blocks(self, first: int, total: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield this share's arrivals with fleet numbers from `first` to `total` - 1, in order.

        Each block is (numbers in the fleet, journey indices), both (at most `size`,) int64.
        """
        own = self.count_below(total)
        for k in range(self.count_below(first), own, size):
            yield self.block(k, min(size, own - k))

    def count_below(self, total: int) -> int:
        """Return the number of this share's arrivals among the fleet's first `total` ones."""
        rounds, rest = divmod(total, self.period)
        return rounds * len(self.own_n) + int(np.searchsorted(self.own_n, rest, side="left"))

    def has(self, n: np.ndarray) -> np.ndarray:
        """Return for each of the fleet's arrival numbers `n` whether it belongs to this share: (len(n),) bool."""
        if not len(self.own_n):
            return np.zeros(len(n), dtype=bool)
        rest = n % self.period
        at = np.minimum(np.searchsorted(self.own_n, rest), len(self.own_n) - 1)
        found: np.ndarray = self.own_n[at] == rest
        return found

    def owners_of(self, n: np.ndarray) -> np.ndarray:
        """Return for each of the fleet's arrival numbers `n` the index of its agent: (len(n),) int64."""
        journeys, rank = self.journeys, np.empty(len(self.journeys), dtype=np.int64)
        counts = np.bincount(journeys)
        for one in range(len(counts)):
            # rank: the number of arrivals of the same journey before this one in the period, as a journey has its own
            # turns.
            rank[journeys == one] = np.arange(counts[one])
        rounds, at = np.divmod(n, len(journeys))
        journey = journeys[at]
        turn = (rounds * counts[journey] + rank[at]) % len(self.agents)
        owners: np.ndarray = self.agents[np.where(journey % 2 == 0, turn, len(self.agents) - 1 - turn)]
        return owners

    def counts_below(self, total: int) -> np.ndarray:
        """Return for each agent the number of its arrivals among the fleet's first `total` ones: (agents,) int64.

        Cost: some µs and the length of the two orders, for any `total`.
        """
        found = np.zeros(len(self.weights), dtype=np.int64)
        whole = np.bincount(self.agents, minlength=len(found))
        rounds, rest = divmod(total, len(self.journeys))
        in_period, in_rest = np.bincount(self.journeys), np.bincount(self.journeys[:rest], minlength=len(self.mix))
        for journey in range(len(in_period)):
            turns, left = divmod(rounds * int(in_period[journey]) + int(in_rest[journey]), len(self.agents))
            order_ = self.agents if journey % 2 == 0 else self.agents[::-1]
            found += turns * whole + np.bincount(order_[:left], minlength=len(found))
        return found

    def owns_users(self, users: int) -> tuple[int, ...]:
        """Return those of the fleet's users 0 to `users` - 1 that belong to this share.

        For any number of users, the number of this share's users is exact within 1.
        """
        return tuple(self._users_of_agent(users)[self.worker :: self.workers].tolist())

    def most_users(self, max_users: int) -> int:
        """Return the most users that this worker may have at a time, if the whole fleet may have `max_users`.

        An agent always gets at least one user, because it has arrivals. A worker with 0 users has no arrivals.
        """
        return at_least_one(self._users_by_worker(max_users))[self.worker]

    def for_iterations(self, users: int) -> Share:
        """Return the share to use for the iterations of a counted load, in which agents are weighted by their users.

        So an agent without users gets no iterations, and users of all agents get the same number of iterations.
        """
        counts = np.bincount(self.user_owners(users), minlength=int(self.agents.max()) + 1)
        ours = Share._of_agent(self.index, _padded(counts.tolist(), self.index), self.mix)
        ours = replace(ours, worker=self.worker, workers=self.workers)
        return ours._dealt(at_least_one(self._users_by_worker(users)))

    def round(self, users: int, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the i-th iteration of each user of this share, if each user does the same number of iterations.

        The result is (numbers in the fleet, journey indices), both (own,) int64. The i-th iterations of all `users`
        users have the numbers from i·users on. The order of the users is shifted in each round. Otherwise a user would
        repeat some journeys and miss others if the number of users and the mix's period have a common factor. Among any
        number of first iterations, the number of this share's iterations is exact within 2.
        """
        own = np.array(self.owns_users(users), dtype=np.int64)
        moved = (1 - users) % len(self.journeys) * i
        n = np.sort(i * users + (own + moved) % users)
        return n, self.journeys[n % len(self.journeys)].astype(np.int64)

    def journey_of(self, user: int, i: int) -> int:
        """Return the index of the journey of the i-th iteration (from 0) of the fleet's user `user` in a closed load.

        Each user goes through the order of the mix, and starts one place after the previous user. So each user has the
        proportions of the mix over time, and the fleet has them at any time, from the first second on.
        """
        turns = self.turns
        return turns[(user + i) % len(turns)]

    def _users_of_agent(self, users: int) -> np.ndarray:
        found: np.ndarray = np.flatnonzero(self.user_owners(users) == self.index)
        return found

    def _users_by_worker(self, users: int) -> list[int]:
        count = len(self._users_of_agent(users))
        return [len(range(worker, count, self.workers)) for worker in range(self.workers)]

    def user_owners(self, users: int) -> np.ndarray:
        """Return for each of the fleet's users 0 to `users` - 1 the index of its agent: (users,) int64."""
        owners: np.ndarray = self.agents[np.arange(users) % len(self.agents)]
        return owners


def _rounds(agents: int, arrivals: int) -> int:
    """Return the number of periods of the mix until a journey's arrivals begin at the first agent of the order again.

    `arrivals` is the number of the journey's arrivals in a period, `agents` the length of the agents' order.
    """
    return agents // gcd(agents, arrivals)


def at_least_one(users: list[int]) -> list[int]:
    """Return the numbers of users by worker. If all are 0, the first worker gets one user."""
    return users if any(users) else [1, *users[1:]]


def _padded(counts: Sequence[int], index: int) -> list[int]:
    return list(counts) + [0] * (index + 1 - len(counts))


class RowIndex:
    """Finds the row of a feed for an arrival: its position among the arrivals of the journeys that use the feed.

    So a unique feed is used row by row without gaps, for any share of its journeys in the mix, and two journeys that
    share a feed never share a row. Use it only for open and counted loads: in closed loads the row belongs to the user.

    Args:
        mix: the weights of the plan's journeys.
        readers: the indices of the journeys that use the feed.
    """

    __slots__ = ("_per_period", "_ranks")

    def __init__(self, mix: Sequence[float], readers: Collection[int]) -> None:
        reads = np.isin(order(mix), list(readers))
        self._ranks: list[int] = [0, *np.cumsum(reads).tolist()]
        self._per_period = self._ranks[-1]

    def below(self, total: int) -> int:
        """Return the number of arrivals among the first `total` that take a row: a unique feed needs as many rows."""
        rounds, rest = divmod(total, len(self._ranks) - 1)
        return rounds * self._per_period + self._ranks[rest]

    __call__ = below
    """HOT, once an iteration. Return the row (from 0) of an arrival that takes one: the number of rows taken before it.
    """


class RandomMix:
    """Draws the journey of each arrival at random and independently, for a plan with `random=True`.

    The draw depends only on the seed, the load and n, so it is the same for any number of agents.

    Args:
        seed: of the run.
        load: index of the load within the plan.
        weights: of its journeys.
    """

    __slots__ = ("_ends", "_key")

    def __init__(self, seed: int, load: int, weights: Sequence[float]) -> None:
        self._key = np.uint64((seed * GOLDEN + load * _LOAD_STEP + 1) & MASK)
        shares = np.cumsum(np.array(weights, dtype=np.float64))
        self._ends = shares / shares[-1]

    def journeys(self, n: np.ndarray) -> np.ndarray:
        """Return the index of the journey drawn for each arrival number in `n`: (count,) int64 for (count,) int64."""
        with np.errstate(over="ignore"):
            z = n.astype(np.uint64) * np.uint64(GOLDEN) + self._key
        # The upper 53 bits, because a float64 holds 53 bits exactly: the quotient is below 1.
        uniform = (mixed_each(z) >> np.uint64(11)).astype(np.float64) / float(1 << 53)
        return np.searchsorted(self._ends, uniform, side="right").astype(np.int64)

    def journey(self, n: int) -> int:
        """Return the index of the journey that is drawn for arrival number `n`."""
        return int(self.journeys(np.array([n], dtype=np.int64))[0])
