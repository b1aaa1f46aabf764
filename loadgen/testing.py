"""A test helper for authors of executors.

    def test_the_sale_divides() -> None:
        checked = check_executor(FlashSale(people=500))
        assert checked.arrivals == 500

It checks what a run relies on. The executor is a pure function of its values and the seed, and
time does not go back. Any number of agents, also while one joins and one leaves, drive each
arrival (or user, or iteration) exactly once. For any k, each agent's number of the first k
arrivals differs from its share by less than 1.
"""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.dsl.plans.plan_loads import lane_of
from loadgen.engine.load.schedule import due_times, own_iterations
from loadgen.engine.load.share import Share
from loadgen.errors import ScenarioError
from loadgen.profiles.arrival_due_times import Schedule
from loadgen.profiles.profile import IterationProfile, OpenProfile, UserProfile
from loadgen.units import NS_PER_S, format_count, format_duration

__all__ = ["Checked", "check_executor"]

_MOST: Final = 50_000
"""Up to this number of arrivals or users are checked one by one; the sum is checked for all."""
_FRESH_S: Final = 60


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check: what the executor does with the first seed."""

    text: str
    """A description, as `loadgen plan` shows it."""
    arrivals: int | None
    """The arrivals of an open load, or the iterations of a counted one; None if the target's speed decides."""
    users: int | None
    """The most concurrent users of a closed or counted load; None for an open load."""
    peak_per_s: float | None
    """The highest rate of an open load, per second; None for others."""
    duration_s: float | None
    """The duration of the load; None if the target's speed decides."""
    left_out: tuple[str, ...] = field(default=())
    """Checks that could not be made, with the reasons."""


def check_executor(executor: Executor, *, agents: int = 7, seeds: Sequence[int] = (1, 2)) -> Checked:
    """Test that fleets of any size can drive the load that an executor makes, and raise if not. For unit tests of own
    executors.

    Args:
        agents: fleets of 1 to this number of agents are tried, with equal and with unequal weights.
        seeds: the seeds of the simulated runs.
    Raises:
        AssertionError: with all problems, one a line.
    Cost: some 50 ms for 1,000 arrivals, and 0.5 s for a fresh interpreter if the executor's class is in its own file.
    """
    if not isinstance(executor, Executor):
        raise AssertionError(f"{executor!r} is not an executor: subclass OpenExecutor or ClosedExecutor")
    if agents < 1 or not seeds:
        raise AssertionError(f"agents={agents}, seeds={tuple(seeds)!r}: both must be at least one")
    found = _Check(executor)
    lowered = [found.seed(seed, agents) for seed in seeds]
    if found.problems:
        name = type(executor).__name__
        lines = "".join(f"\n- {problem}" for problem in dict.fromkeys(found.problems))
        raise AssertionError(f"{name} cannot be driven by a fleet:{lines}")
    first = lowered[0]
    assert first is not None
    return _checked(first, found.left_out)


def _checked(lowered: Lowered, left_out: Sequence[str]) -> Checked:
    profile = lowered.profile
    is_open = isinstance(profile, OpenProfile)
    duration_ns = profile.duration_ns
    return Checked(
        text=profile.describe(),
        arrivals=None if isinstance(profile, UserProfile) else profile.total(),
        users=None if is_open else int(profile.peak),
        peak_per_s=float(profile.peak) if is_open else None,
        duration_s=None if duration_ns is None else duration_ns / NS_PER_S,
        left_out=tuple(left_out),
    )


class _Check:
    """Checks one executor, and collects its problems."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.problems: list[str] = []
        self.left_out: list[str] = []

    def seed(self, seed: int, agents: int) -> Lowered | None:
        """Check the executor with one seed, and add the problems found to `problems`. Return its load; None if the load
        has errors and cannot be divided.
        """
        try:
            lowered = _fresh(self._executor).lower(seed)
        except ScenarioError as error:
            self.problems += [f"{f.message} ({Path(f.file).name}:{f.line})" for f in error.faults]
            return None
        self._is_pure(seed, lowered)
        problems: Iterator[str]
        if isinstance(lowered.profile, UserProfile):
            problems = _users_wrong(lowered.profile, agents)
        elif isinstance(lowered.profile, IterationProfile):
            problems = _iterations_wrong(lowered.profile, agents)
        else:
            schedule = lane_of(lowered, "", (), ()).schedule()
            problems = _arrivals_wrong(schedule, agents)
        self.problems += [f"seed {seed}: {problem}" for problem in problems]
        return lowered

    # -- a pure function --------------------------------------------------------------------------

    def _is_pure(self, seed: int, lowered: Lowered) -> None:
        """Check that the executor makes the same load again: with other states of the global random generators, and in
        another interpreter. Add a difference to `problems`.
        """
        before, of_numpy = random.getstate(), np.random.get_state()  # generators that an author may have used
        try:
            for dice in (1, 2):
                random.seed(dice)
                np.random.seed(dice)
                try:
                    again = _fresh(self._executor).lower(seed)
                except ScenarioError as error:
                    self.problems.append(f"seed {seed}: the second time it fails: {error.faults[0].message}")
                    return
                if difference := _difference(lowered, again):
                    self.problems.append(f"seed {seed}: the second time {difference}: {_PURE}")
                    return
        finally:
            random.setstate(before)
            np.random.set_state(of_numpy)
        self._is_the_same_elsewhere(seed, lowered)

    def _is_the_same_elsewhere(self, seed: int, lowered: Lowered) -> None:
        """Check that the executor makes the same load in a new Python process, where sets have another order and no
        state is left from before. Add a difference to `problems`.
        """
        digest = lowered.profile.digest
        module = sys.modules.get(type(self._executor).__module__)
        file = getattr(module, "__file__", None)
        if not digest or type(self._executor).__module__.startswith("loadgen.") or not isinstance(file, str):
            return
        text = repr(self._executor)
        try:
            made = eval(text, dict(vars(module)))  # noqa: S307  # the author's own class, in the author's own test
        except Exception:  # noqa: BLE001  # its repr is not an expression
            made = None
        if type(made) is not type(self._executor) or repr(made) != text or "<locals>" in type(made).__qualname__:
            self._leave_out("not tried in a fresh interpreter: eval(repr()) does not recreate it; make it a dataclass")
            return
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, file, text, str(seed)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(4_711 + seed), "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=_FRESH_S,
            check=False,
        )
        printed = done.stdout.strip().splitlines()[-1:] or [""]
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no error message"])[-1]
            self._leave_out(f"not tried in a fresh interpreter: {why}")
        elif printed[0] != digest:
            self.problems.append(f"seed {seed}: in a fresh interpreter it returns other times: {_PURE}")

    def _leave_out(self, why: str) -> None:
        if why not in self.left_out:
            self.left_out.append(why)


_PURE: Final = "make it a pure function of its values and the seed"
_ELSEWHERE: Final = """
import importlib.util, sys
from pathlib import Path
file, text, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, str(Path(file).parent))
spec = importlib.util.spec_from_file_location(Path(file).stem, file)
module = importlib.util.module_from_spec(spec)
sys.modules[Path(file).stem] = module
spec.loader.exec_module(module)
print(eval(text, vars(module)).lower(seed).profile.digest)
"""


def _fresh(executor: Executor) -> Executor:
    """Return a copy of an executor without its cached values, so that it computes everything again."""
    again = copy.copy(executor)
    for name, value in (("_lowered", {}), ("_read", None)):
        if hasattr(again, name):
            object.__setattr__(again, name, value)
    return again


def _difference(one: Lowered, other: Lowered) -> str:
    """Compare two loads. Return "" if they are equal, else a clause about the first difference."""
    if one.times is not None and other.times is not None:
        if len(one.times) != len(other.times):
            return f"it returns {len(other.times):,} arrivals instead of {len(one.times):,}"
        unequal = np.flatnonzero(one.times != other.times)
        if len(unequal):
            n = int(unequal[0])
            return f"arrival {n:,} is at {other.times[n]:.9g} s instead of {one.times[n]:.9g} s"
    return "" if one.profile == other.profile else "it returns another load"


# -- division ---------------------------------------------------------------------------------------


def _fleets(agents: int) -> Iterator[tuple[float, ...]]:
    """Yield fleets of 1 to `agents` agents, each as the weights of its agents: first equal, then unequal ones."""
    for count in range(1, agents + 1):
        yield (1.0,) * count
        if count > 1:
            yield tuple(float(1 + k % 3) for k in range(count))


def _arrivals_wrong(schedule: Schedule, agents: int) -> Iterator[str]:
    total = schedule.total()
    n = np.arange(min(total, _MOST))
    due_ns = schedule.due_ns(n)
    back = np.flatnonzero(np.diff(due_ns) < 0)
    if len(back):
        yield f"time goes back at arrival {int(back[0]) + 1:,}"
    if len(due_ns) and not (due_ns[0] >= 0 and due_ns[-1] < schedule.end_ns):
        yield f"an arrival is due outside of the load's {format_duration(schedule.end_ns)}"
    for weights in _fleets(agents):
        fleet = [Share.of(index, weights, [1.0]) for index in range(len(weights))]
        whole = sum(share.count_below(total) for share in fleet)
        if whole != total:
            yield f"{len(weights)} agents have {format_count(whole)} of {format_count(total)} arrivals"
        end_ns = int(due_ns[-1]) + 1 if len(due_ns) else 0
        yield from _parts_wrong(_driven(schedule, fleet, 0, end_ns), due_ns, weights)
    yield from _resplit_wrong(schedule, due_ns, agents)


def _driven(schedule: Schedule, fleet: Sequence[Share], from_ns: int, until_ns: int) -> list[list[tuple[int, int]]]:
    """Return a list of (number, due time) of arrivals for each agent of a fleet: those that it starts between two
    times, in its order.
    """
    return [
        [
            pair
            for block in due_times(schedule, share, from_ns=from_ns, until_ns=until_ns)
            for pair in zip(block.n, block.due_ns, strict=True)
        ]
        for share in fleet
    ]


def _parts_wrong(
    parts: Sequence[Sequence[tuple[int, int]]], due_ns: np.ndarray, weights: Sequence[float]
) -> Iterator[str]:
    """Yield an error text unless the agents' parts contain each arrival exactly once and at its time, and every prefix
    of the arrivals is shared fairly by weight.
    """
    owner = np.full(len(due_ns), -1, dtype=np.int64)
    for index, part in enumerate(parts):
        for n, due in part:
            if n >= len(due_ns):
                continue  # beyond the checked arrivals, but due at the same instant as the last of them
            if owner[n] >= 0:
                yield f"{len(weights)} agents: arrival {n:,} is started twice"
                return
            owner[n] = index
            if due != due_ns[n]:
                yield f"{len(weights)} agents: arrival {n:,} is due at another time for agent {index}"
                return
    lost = np.flatnonzero(owner < 0)
    if len(lost):
        yield f"{len(weights)} agents: arrival {int(lost[0]):,} is started by no agent"
        return
    yield from _prefixes_wrong(owner, weights, "arrivals")


def _prefixes_wrong(owner: np.ndarray, weights: Sequence[float], what: str) -> Iterator[str]:
    k = np.arange(1, len(owner) + 1)
    for index, weight in enumerate(weights):
        off = np.abs(np.cumsum(owner == index) - k * (weight / sum(weights)))
        if len(off) and off.max() >= 1 + 1e-9:
            first = int(off.argmax()) + 1
            yield f"agent {index} of {len(weights)} is off by {off.max():.2f} of the first {first:,} {what}"


def _resplit_wrong(schedule: Schedule, due_ns: np.ndarray, agents: int) -> Iterator[str]:
    """Yield an error text for each fleet that does not start each arrival once while one agent joins and later one
    leaves. Both times all shares change.
    """
    if not len(due_ns):
        return
    last = int(due_ns[-1]) + 1
    for count in range(1, agents + 1):
        joins_ns, leaves_ns = last // 3, 2 * last // 3
        owners = np.zeros(len(due_ns), dtype=np.int64)
        for size, from_ns, until_ns in (
            (count, 0, joins_ns),
            (count + 1, joins_ns, leaves_ns),
            (count, leaves_ns, last),
        ):
            fleet = [Share.of(index, [1.0] * size, [1.0]) for index in range(size)]
            for part in _driven(schedule, fleet, from_ns, until_ns):
                owners += np.bincount([n for n, _ in part if n < len(due_ns)], minlength=len(due_ns))
        wrong = np.flatnonzero(owners != 1)
        if len(wrong):
            times = int(owners[wrong[0]])
            yield f"{count} agents, one joining and one leaving: arrival {int(wrong[0]):,} is started {times} times"


def _users_wrong(profile: UserProfile, agents: int) -> Iterator[str]:
    users = min(profile.peak, _MOST)
    for weights in _fleets(agents):
        owner = _owners(users, weights, lambda share: share.owns_users(users))
        if owner is None:
            yield f"{len(weights)} agents: a user belongs to no agent, or to two"
        else:
            yield from _prefixes_wrong(owner, weights, "users")
    if profile.peak > _MOST:
        return
    spans = [profile.spans(user) for user in range(users)]
    at_ns = 0
    for stage in profile.stages:
        middle_ns = at_ns + stage.duration_ns // 2
        there = sum(any(start <= middle_ns < end for start, end in span) for span in spans)
        if stage.duration_ns and there != profile.level_at(middle_ns):
            yield f"{there:,} users at {middle_ns / NS_PER_S:g} s, where the level is {profile.level_at(middle_ns):,}"
        at_ns += stage.duration_ns


def _iterations_wrong(profile: IterationProfile, agents: int) -> Iterator[str]:
    total = profile.total()
    for weights in _fleets(agents):
        if total > _MOST:
            return
        owner = _owners(total, weights, lambda share: [n for n, _ in own_iterations(profile, share)])
        if owner is None:
            yield f"{len(weights)} agents: an iteration is done by no agent, or twice"


def _owners(count: int, weights: Sequence[float], owned: Callable[[Share], Sequence[int]]) -> np.ndarray | None:
    """Return the index of the agent that owns each of `count` items; None if an item belongs to no agent or to two."""
    owner = np.full(count, -1, dtype=np.int64)
    for index in range(len(weights)):
        ours = np.array(owned(Share.of(index, weights, [1.0])), dtype=np.int64)
        if np.any(owner[ours] >= 0):
            return None
        owner[ours] = index
    return None if np.any(owner < 0) else owner
