"""Finds kinds of sessions: those that look and those that buy, for example.

Each kind is a Markov chain of its own over the main requests of actions, and a tempo: the logarithm of a pause is usual
for the step, plus the tempo of the kind, plus chance. The kinds are found by expectation and maximization over a
mixture of chains (Cadez, Heckerman, Meek, Smyth, White: "Model-based clustering and visualization of navigation
patterns on a web site", 2003); their number is the one with the lowest BIC. A session can often have come from several
kinds: one that left after the first page, for example. Each session is then drawn to a kind with its probabilities, by
a hash of its content. So shares and chains of the kinds have no bias, which a choice of the most probable kind would
have.

A mixture cannot tell kinds apart that have no state in common, because one chain of all their states is as likely. So
the states are first split into groups between which (almost) no session moves, and each group has kinds of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.sessions.session_sample import uniform_of
from loadgen.traffic.sessions.session_steps import SessionSteps

__all__ = ["MOST_CLASSES", "SessionClasses", "classes_of"]

MOST_CLASSES: Final = 6
LEAST_SHARE: Final = 0.03
"""A kind with a smaller share is given up: its sessions go to the others."""
_STARTS: Final = 6
_SHORT_ROUNDS: Final = 12
_ROUNDS: Final = 200
_SEARCHED: Final = 5_000
"""Sessions with which starting points are compared. The best one continues with the whole sample."""
_PRIOR: Final = 10
"""To the steps of each kind from a state, this number of usual ones is added. So no step is impossible. And sessions
that fit several kinds equally well, such as those of one page, are the same share of each of them."""
_LEAST_SESSIONS: Final = 100
"""With fewer sessions there is one kind."""
_MISSES: Final = 2
"""More kinds are tried until this number of them in a row is no better."""
_LEAST_ACTIONS: Final = 2
"""A group of states whose sessions have fewer actions on average is no kind: sessions of one page would make many."""
_LINK: Final = 0.02
_LEAST_LINKS: Final = 5
_FEWEST_PAUSES: Final = 20
_LEAST_PAUSE_US: Final = 1_000
"""Shorter pauses do not show a tempo."""
_LEAST_SPREAD: Final = 0.05
"""The least standard deviation of the logarithm of pauses: without it, equal pauses would outweigh all steps."""
_PURPOSE_OF_DRAW: Final = 1


@dataclass(frozen=True)
class SessionClasses:
    """Kinds of sessions, the most frequent first.

    group_of_state: the group of each state, and of the outside; -1 belongs to none. group: of each kind.
    weights: shares; their sum is 1 in each group.
    log_steps[k, step]: logarithm of the probability of a step of kind k; the probabilities of all steps from a state
    have the sum 1.
    tempo[k]: by how much the logarithm of kind k's pauses is above the usual one of each step.
    usual, spread: mean and standard deviation of the logarithm of the pauses of each step, without the tempo; usual is
    NaN for steps with few pauses.
    """

    states: int
    group_of_state: NDArray[np.int64]
    group: NDArray[np.int64]
    weights: NDArray[np.float64]
    log_steps: NDArray[np.float64]
    tempo: NDArray[np.float64]
    usual: NDArray[np.float64]
    spread: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Number of kinds."""
        return len(self.weights)

    def assigned(self, sessions: SessionSteps, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the kind of each session, drawn with its probabilities by the hash of its content."""
        if self.count == 1:
            return np.zeros(len(hashes), np.int64)
        chances, _ = self.chances(sessions)
        chances[self.group[:, None] != group_of_sessions(sessions, self.group_of_state)] = 0
        below = np.cumsum(chances, axis=0)
        drawn = uniform_of(hashes, _PURPOSE_OF_DRAW) * below[-1]
        found: NDArray[np.int64] = (drawn >= below[:-1]).sum(0, dtype=np.int64)
        return found

    def chances(self, sessions: SessionSteps) -> tuple[NDArray[np.float64], float]:
        """Return the probability of each kind (row) for each session (column), and the log-likelihood of all."""
        has_pause = _has_pause(sessions, self.usual)
        spread = self.spread[sessions.step]
        z = np.where(has_pause, (_log_pauses(sessions) - self.usual[sessions.step]) / spread, 0.0)
        first = sessions.bounds[:-1]
        found = np.empty((self.count, len(first)))
        for k in range(self.count):
            density = -np.square(z - self.tempo[k] / spread) / 2 - np.log(spread)
            of_step = self.log_steps[k][sessions.step] + has_pause * density
            found[k] = np.add.reduceat(of_step, first) + log(self.weights[k])
        highest = found.max(0)
        found = np.exp(found - highest)
        total = found.sum(0)
        return found / total, float((highest + np.log(total)).sum())


def classes_of(sessions: SessionSteps, *, most: int = MOST_CLASSES, seed: int = 0) -> SessionClasses:
    """Return the kinds of these sessions. The order of the sessions must not depend on that of the log's lines.

    most: the largest number of kinds; with 1, all sessions are of one kind.
    Cost: 3 to 5 s for 20,000 sessions with 110,000 to 140,000 requests.
    """
    usual = _usual_pauses(sessions)
    rng = np.random.default_rng(seed)
    nothing = np.full(sessions.states + 1, 0)
    if most == 1 or sessions.count < _LEAST_SESSIONS:
        return _one(sessions, usual, nothing)
    groups = groups_of_states(sessions)
    of_session = group_of_sessions(sessions, groups)
    found: list[tuple[int, SessionClasses]] = []
    in_groups = [sessions.chosen(of_session == group) for group in range(int(groups.max()) + 1)]
    for group, mine in enumerate(in_groups):
        room = most - sum(one.count for _, one in found) - (len(in_groups) - group - 1)
        found.append((mine.count, _in_group(mine, usual, groups, group, room, rng)))
    return _by_share(found)


def group_of_sessions(sessions: SessionSteps, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the group in which each session has the most actions; 0 if it has none in any."""
    to = groups[sessions.step % (sessions.states + 1)]
    first = sessions.bounds[:-1]
    visits = [np.add.reduceat(to == group, first, dtype=np.int64) for group in range(int(groups.max()) + 1)]
    found: NDArray[np.int64] = np.argmax(visits, axis=0).astype(np.int64)
    return found


def groups_of_states(sessions: SessionSteps) -> NDArray[np.int64]:
    """Return the group of each state, from 0, the one with the most actions first. The outside, and the state of all
    other names, belong to none: -1.

    Two states are in one group if at least 2 % of the actions of the rarer one follow, or are followed by, the other. A
    group with few sessions, or with few actions in them, joins the first one.
    """
    states = sessions.states
    counts = np.bincount(sessions.step, minlength=sessions.different).reshape(states + 1, states + 1)
    visits = counts[:, :states].sum(0)
    both = counts[: states - 1, : states - 1]
    both = both + both.T
    linked = both >= np.maximum(_LEAST_LINKS, _LINK * np.minimum.outer(visits[:-1], visits[:-1]))
    found = np.full(states + 1, -1)
    groups = 0
    for state in np.argsort(-visits[:-1], kind="stable"):
        if found[state] < 0 and visits[state]:
            waiting = [int(state)]
            while waiting:
                at = waiting.pop()
                if found[at] < 0:
                    found[at] = groups
                    waiting += np.flatnonzero(linked[at] & (found[:-2] < 0)).tolist()
            groups += 1
    if not groups:
        found[:-1] = 0
        return found
    group = group_of_sessions(sessions, found)
    count = np.bincount(group, minlength=groups)
    actions = np.bincount(group, sessions.actions, groups)
    is_kept = (count >= LEAST_SHARE * sessions.count) & (actions >= _LEAST_ACTIONS * count)
    kept = [group for group in np.argsort(-count, kind="stable")[:MOST_CLASSES] if is_kept[group]]
    number = np.zeros(groups, np.int64)
    for new, old in enumerate(kept):
        number[old] = new
    return np.where(found < 0, -1, number[found])


def _in_group(
    sessions: SessionSteps,
    usual: NDArray[np.float64],
    groups: NDArray[np.int64],
    group: int,
    most: int,
    rng: np.random.Generator,
) -> SessionClasses:
    """Return the kinds of the sessions of one group."""
    best = replace(_one(sessions, usual, groups), group=np.full(1, group))
    lowest = _bic(best, sessions)
    misses = 0
    for k in range(2, most + 1):
        if sessions.count < _LEAST_SESSIONS or misses == _MISSES:
            break
        found = _fitted(sessions, usual, groups, k, rng)
        bic = _bic(found, sessions)
        if bic < lowest and found.count == k:
            best, lowest, misses = replace(found, group=np.full(k, group)), bic, 0
        else:
            misses += 1
    return best


def _log_pauses(sessions: SessionSteps) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.maximum(sessions.pause_us, 1))
    return found


def _has_pause(sessions: SessionSteps, usual: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each step has a pause that shows a tempo."""
    found: NDArray[np.bool_] = (sessions.pause_us >= _LEAST_PAUSE_US) & np.isfinite(usual[sessions.step])
    return found


def _usual_pauses(sessions: SessionSteps) -> NDArray[np.float64]:
    """Return the mean logarithm of the pauses of each step, NaN for steps with few of them."""
    there = sessions.pause_us >= _LEAST_PAUSE_US
    count = np.bincount(sessions.step[there], minlength=sessions.different)
    total = np.bincount(sessions.step[there], _log_pauses(sessions)[there], sessions.different)
    return np.where(count >= _FEWEST_PAUSES, total / np.maximum(count, 1), np.nan)


def _one(sessions: SessionSteps, usual: NDArray[np.float64], groups: NDArray[np.int64]) -> SessionClasses:
    return _maximized(sessions, usual, groups, np.ones((1, sessions.count)))


def _maximized(
    sessions: SessionSteps,
    usual: NDArray[np.float64],
    groups: NDArray[np.int64],
    chances: NDArray[np.float64],
    before: SessionClasses | None = None,
) -> SessionClasses:
    """Return the kinds that these chances of each session make most likely. before: the kinds of the last round.

    Tempos, usual pauses and spreads depend on each other: each is improved once with the others as they are (Meng and
    Rubin: "Maximum likelihood estimation via the ECM algorithm", 1993).
    """
    states, lengths, different = sessions.states, np.diff(sessions.bounds), sessions.different
    of_all = np.bincount(sessions.step, minlength=different).reshape(states + 1, states + 1)
    usual_row = of_all / np.maximum(of_all.sum(1, keepdims=True), 1)
    has_pause = _has_pause(sessions, usual)
    step, pause = sessions.step[has_pause], _log_pauses(sessions)[has_pause]
    kinds = len(chances)
    log_steps = np.empty((kinds, different))
    # The number of pauses of each kind and step, their sum and their sum of squares.
    number, total, square = np.empty((3, kinds, different))
    for k in range(kinds):
        weight = np.repeat(chances[k], lengths)
        counts = np.bincount(sessions.step, weight, different)
        by_row = counts.reshape(states + 1, states + 1) + _PRIOR * usual_row
        with np.errstate(divide="ignore", invalid="ignore"):
            log_steps[k] = np.log(by_row / by_row.sum(1, keepdims=True)).ravel()
        of_pause = weight[has_pause]
        number[k] = np.bincount(step, of_pause, different)
        total[k] = np.bincount(step, of_pause * pause, different)
        square[k] = np.bincount(step, of_pause * pause**2, different)
    log_steps[:, of_all.ravel() == 0] = -30.0
    weights = chances.sum(1) / chances.shape[1]
    at = np.nan_to_num(usual)
    spread = np.ones(different)
    if before is not None:
        at, spread = np.nan_to_num(before.usual), before.spread
    precision = 1 / spread**2
    known = (number * precision).sum(1)
    tempo = ((total - number * at) * precision).sum(1) / np.where(known > 0, known, 1)
    tempo -= tempo @ weights
    shift = tempo[:, None]
    of_step = np.maximum(number.sum(0), 1e-9)
    at = (total - number * shift).sum(0) / of_step
    centre = at + shift
    variance = (square - 2 * total * centre + number * centre**2).sum(0) / of_step
    spread = np.where(number.sum(0) > 0, np.sqrt(np.maximum(variance, _LEAST_SPREAD**2)), 1.0)
    return SessionClasses(
        states,
        groups,
        np.zeros(kinds, np.int64),
        weights,
        log_steps,
        tempo,
        np.where(np.isfinite(usual), at, np.nan),
        spread,
    )


def _fitted(
    sessions: SessionSteps, usual: NDArray[np.float64], groups: NDArray[np.int64], k: int, rng: np.random.Generator
) -> SessionClasses:
    """Return k kinds, or fewer if one of them got too small."""
    count = sessions.count
    few = sessions if count <= _SEARCHED else sessions.chosen(np.sort(rng.permutation(count)[:_SEARCHED]))
    best, highest = None, -np.inf
    for _ in range(_STARTS):
        found, likelihood = _climb(few, usual, groups, _first_guess(few, k, rng), _SHORT_ROUNDS)
        if likelihood > highest:
            best, highest = found, likelihood
    assert best is not None
    found, _ = _climb(sessions, usual, groups, best.chances(sessions)[0], _ROUNDS)
    while found.count > 1 and found.weights.min() < LEAST_SHARE:
        kept = np.flatnonzero(found.weights > found.weights.min())
        chances = found.chances(sessions)[0][kept]
        total = chances.sum(0)
        chances = np.where(total > 0, chances / np.where(total > 0, total, 1), 1 / len(kept))
        found, _ = _climb(sessions, usual, groups, chances, _ROUNDS)
    return found


def _climb(
    sessions: SessionSteps,
    usual: NDArray[np.float64],
    groups: NDArray[np.int64],
    chances: NDArray[np.float64],
    rounds: int,
) -> tuple[SessionClasses, float]:
    before, found = -np.inf, None
    for _ in range(rounds):
        found = _maximized(sessions, usual, groups, chances, found)
        chances, likelihood = found.chances(sessions)
        if likelihood - before < 1e-6 * abs(likelihood):
            break
        before = likelihood
    assert found is not None
    return found, likelihood


def _first_guess(sessions: SessionSteps, k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return chances from k sessions that differ much (k-means++), by the share of each state in their steps."""
    count = sessions.count
    to = sessions.step % (sessions.states + 1)
    session = np.repeat(np.arange(count), np.diff(sessions.bounds))
    visits = np.bincount(session * (sessions.states + 1) + to, minlength=count * (sessions.states + 1))
    features = np.log1p(visits.reshape(count, -1).astype(np.float64))
    centres = [features[rng.integers(count)]]
    distance = ((features - centres[0]) ** 2).sum(1)
    for _ in range(k - 1):
        total = distance.sum()
        at = rng.choice(count, p=distance / total) if total > 0 else rng.integers(count)
        centres.append(features[at])
        distance = np.minimum(distance, ((features - centres[-1]) ** 2).sum(1))
    nearest = np.argmin([((features - centre) ** 2).sum(1) for centre in centres], axis=0)
    chances = np.full((k, count), 0.2 / max(1, k - 1))
    chances[nearest, np.arange(count)] = 0.8
    found: NDArray[np.float64] = chances / chances.sum(0)
    return found


def _bic(found: SessionClasses, sessions: SessionSteps) -> float:
    """Return -2 ln L + p ln n, with p the transitions that a kind really has."""
    chances, likelihood = found.chances(sessions)
    lengths = np.diff(sessions.bounds)
    parameters = found.count - 1 + (found.count - 1)  # weights and tempos
    for k in range(found.count):
        counts = np.bincount(sessions.step, np.repeat(chances[k], lengths), sessions.different)
        used = (counts > 0.5).reshape(found.states + 1, -1)
        parameters += int(used.sum() - used.any(1).sum())
    return -2 * likelihood + parameters * log(len(lengths))


def _by_share(found: Sequence[tuple[int, SessionClasses]]) -> SessionClasses:
    """Return the kinds of all groups as one, the most frequent first. found: sessions and kinds of each group."""
    first = found[0][1]
    sessions = np.concatenate([count * one.weights for count, one in found])
    order = np.argsort(-sessions, kind="stable")
    group, weights, log_steps, tempo = (
        np.concatenate([getattr(one, name) for _, one in found])[order]
        for name in ("group", "weights", "log_steps", "tempo")
    )
    return replace(first, group=group, weights=weights, log_steps=log_steps, tempo=tempo)
