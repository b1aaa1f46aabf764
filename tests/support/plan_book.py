"""The plan of a run as a book of its own: whose each arrival is, and what has to have become of it.

    plan = plan_book(run_folder, arrivals_of(rate_per_s=60, seconds=20))
    assert plan.wrongs(accounts_of(deltas), summary, served=[0, 1, 2, ...]) == []

Each arrival of the plan is in exactly one of these:

    started   by its agent, and in the target's log, where there is one
    missed    counted as that by its agent
    missing   named, with the number, in the report of its agent

The plan is the test's; the shares are those that the run's manifest and journal give. Uses nothing of what the
controller judges by: only `Deal`, by which an agent's part is defined.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Change, Deal
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage, exact
from loadgen.units import NS_PER_S

__all__ = ["Accounts", "Late", "PlanBook", "accounts_of", "arrivals_of", "plan_book"]

_WALKED: Final = 1 << 16
STOP_SLACK_S: Final = 0.1
"""How much earlier than by the controller's clock an agent may have stopped."""

Accounts = Mapping[str, Counters]
"""What all deltas of each agent add up to."""


def arrivals_of(rate_per_s: float, seconds: float) -> ArrivalProfile:
    """As `arrivals("<rate>/s").hold("<seconds>s")` in a scenario."""
    return ArrivalProfile((Stage(rate_per_s, rate_per_s, round(seconds * NS_PER_S)),))


def accounts_of(deltas: Iterable[Delta]) -> dict[str, Counters]:
    found: dict[str, Counters] = defaultdict(Counters)
    for delta in deltas:
        found[delta.agent] += delta.counters
    return dict(found)


@dataclass(frozen=True, slots=True)
class Late:
    """Arrivals that an agent may have started although they were another one's by then, since it got a change late."""

    given: Mapping[str, int]
    """By the agent that started them: so many of its own the target need not have seen."""
    taken: Mapping[str, int]
    """By the agent whose they are: so many more the target may have seen."""


@dataclass(frozen=True)
class PlanBook:
    """Of a run with one load of arrivals and one journey.

    shares_told: (generation, ns from T0, weights) of each change of shares, as the journal has them.
    ended_ns: when the load was stopped, from T0; None: at its planned end.
    """

    profile: ArrivalProfile
    agents: tuple[str, ...]
    weights: tuple[float, ...]
    changes: tuple[tuple[int, int, tuple[float, ...]], ...] = ()
    shares_told: tuple[tuple[int, int, tuple[float, ...]], ...] = ()
    ended_ns: int | None = None

    @property
    def total(self) -> int:
        """From the area under the curve and nothing else."""
        return ceil(sum((exact(s.start) + exact(s.end)) / 2 * s.duration_ns / NS_PER_S for s in self.profile.stages))

    def owners(self, first: int, end: int) -> np.ndarray:
        """Index of the agent that has each of the arrivals [first, end), when all changes are known."""
        deal = list(self._deals().values())[-1]
        blocks = [deal.owners(np.arange(at, min(end, at + _WALKED))) for at in range(first, end, _WALKED)]
        return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int64)

    def wrongs(
        self,
        accounts: Accounts,
        summary: Mapping[str, Any],
        served: Sequence[int] | None = None,
        *,
        names_doubles: bool = False,
        late: Late | None = None,
    ) -> list[str]:
        """What does not fit, in words.

        Args:
            served: the number of each arrival that the target saw.
            late: what `late` found: with `names_doubles` the target may have seen so many of an agent less or more.
            names_doubles: an agent may have started arrivals of a late joiner, where it got the change of shares after
                these were due, if its report names their number. The joiner counts them as missed: they are in two
                books. See "What it does not do" in docs/fault-matrix.md.
        """
        return list(self._wrongs(accounts, summary, served, names_doubles, late or Late({}, {})))

    def late(self, deltas: Iterable[Delta]) -> Late:
        """At most so many arrivals were started by agents that got a change after these were due to others."""
        given, taken = dict.fromkeys(self.agents, 0), dict.fromkeys(self.agents, 0)
        schedule, deals = self.profile.schedule(), self._deals()
        # The first report of a process names the changes that it got before it began.
        told = [(delta, one.number) for delta in deltas if delta.seq for one in delta.first_arrivals if one.number]
        for delta, number in told:
            before, after = deals[number - 1], deals[number]
            agent = self.agents.index(delta.agent)
            n = np.arange(after.changes[-1].at, schedule.count_at(delta.end_ns))
            owners, now = before.owners(n), after.owners(n)
            doubles = now[(owners == agent) & (now != agent)]
            given[delta.agent] += len(doubles)
            for one in doubles.tolist():
                taken[self.agents[one]] += 1
        return Late(given, taken)

    def _deals(self) -> dict[int, Deal]:
        """By generation of the shares, from 1."""
        schedule = self.profile.schedule()
        deal = Deal(Share.of(0, self.weights, (1.0,)))
        found = {1: deal}
        for generation, at_ns, weights in self.changes:
            deal = deal.changed(Change(generation, schedule.count_at(max(0, at_ns)), weights))
            found[generation] = deal
        return found

    def doubles(self, accounts: Accounts) -> int:
        """Arrivals that an agent has started or missed although the plan gives them to another one."""
        due = self._by_agent(self.owners(0, self.total))
        told = {agent: one.iterations_started + one.iterations_missed for agent, one in accounts.items()}
        return sum(max(0, told.get(agent, 0) - due[agent]) for agent in self.agents)

    def _wrongs(
        self,
        accounts: Accounts,
        summary: Mapping[str, Any],
        served: Sequence[int] | None,
        names_doubles: bool,
        late: Late,
    ) -> Iterator[str]:
        if self.changes != self.shares_told:
            yield f"shares in the manifest: {self.changes}, in the journal: {self.shares_told}"
        owners = self.owners(0, self.total)
        most = self._by_agent(owners)
        least = most if self.ended_ns is None else self._by_agent(owners[: self._due_before(self.ended_ns)])
        seen = None
        if served is not None:
            if beyond := [n for n in served if not 0 <= n < self.total]:
                yield f"the target saw arrivals that are not in the plan of {self.total:,}: {beyond[:5]}"
            seen = self._by_agent(owners[np.array([n for n in served if 0 <= n < self.total], dtype=np.int64)])
        told = {agent["id"]: agent for agent in summary["agents"]}
        if strangers := sorted(accounts.keys() - {*self.agents}):
            yield f"of {', '.join(strangers)} there are deltas, and the plan has no such agents"
        missing_in_all, unended = 0, 0
        doubles = self.doubles(accounts) if names_doubles else 0
        for agent in self.agents:
            counters = accounts.get(agent, Counters())
            here = counters.iterations_started + counters.iterations_missed
            missing = max(0, least[agent] - here)
            missing_in_all += missing
            unended += counters.iterations_started - counters.iterations_finished - counters.iterations_cut_off
            what = f"{counters.iterations_started:,} started and {counters.iterations_missed:,} missed"
            text, is_complete = (told[agent]["missing"] or "", told[agent]["complete"]) if agent in told else ("", True)
            extra, named = max(0, here - most[agent]), _named(text)
            if extra and not (names_doubles and f"{extra:,} iterations more than the plan gives it" in text):
                yield f"{agent}: {what}, and the plan gives it {most[agent]:,}: {extra:,} too many"
            if named != missing:
                yield (
                    f"{agent}: {what} of {least[agent]:,}: {missing:,} are missing, and the report names {named:,}:"
                    f" {text}"
                )
            if missing and is_complete:
                yield f"{agent} is complete, and {missing:,} of its {least[agent]:,} arrivals are missing"
            if seen is not None:
                slack = late.given.get(agent, 0) + doubles, late.taken.get(agent, 0) + doubles
                yield from _served(agent, seen[agent], slack, counters, most[agent], is_complete)
        if missing_in_all and summary["result"] == "passed":
            yield f"the run has passed, and {missing_in_all:,} of {self.total:,} arrivals are missing"
        share = (missing_in_all + max(0, unended)) / self.total
        if self.ended_ns is None and abs(summary["missing_share"] - min(1.0, share)) > 2e-6:
            yield f"{share:.6f} of the plan is missing, and the report says {summary['missing_share']:.6f}"

    def _due_before(self, ended_ns: int) -> int:
        return self.profile.schedule().count_at(max(0, ended_ns - round(STOP_SLACK_S * NS_PER_S)))

    def _by_agent(self, owners: np.ndarray) -> dict[str, int]:
        counts = np.bincount(owners, minlength=len(self.agents)).tolist()
        return dict(zip(self.agents, counts, strict=True))


def _served(
    agent: str, seen: int, slack: tuple[int, int], counters: Counters, due: int, is_complete: bool
) -> Iterator[str]:
    """The target's log beside the agent's book. One that died may have started more than it could tell.

    slack: so many less and so many more the target may have seen.
    """
    finished, missed = counters.iterations_finished, counters.iterations_missed
    most = counters.iterations_started if is_complete else due - missed
    if not finished - slack[0] <= seen <= most + slack[1]:
        yield (
            f"{agent}: the target served {seen:,} of its arrivals; it finished {finished:,}, missed {missed:,}, and at"
            f" most {most:,} can have been started"
        )


def _named(text: str) -> int:
    """How many missing iterations a report names."""
    found = re.search(r"([\d,]+) of [\d,]+ iterations that were due by the plan are missing", text)
    return int(found[1].replace(",", "")) if found else 0


def plan_book(folder: Path, profile: ArrivalProfile) -> PlanBook:
    """Of a run that has ended, by its manifest and its journal."""
    run = RunDir.open(folder)
    assignment = json.loads((folder / "manifest.json").read_text())["assignment"]
    events: list[Any] = list(run.read_events())
    changes = tuple((one["generation"], one["at_ns"], tuple(one["weights"])) for one in assignment["changes"])
    agents, width = tuple(assignment["agents"]), len(assignment["agents"])
    told = [
        (event["generation"], event["at_ns"], tuple(map(float, event["shares"].values())))
        for event in events
        if event["kind"] == "reassigned"
    ]
    ended = [event["at_ns"] for event in events if event["kind"] == "load ended"]
    return PlanBook(
        profile,
        agents,
        tuple(assignment["weights"]),
        tuple(dict.fromkeys(changes)),
        tuple(dict.fromkeys((number, at_ns, _padded(weights, width)) for number, at_ns, weights in told)),
        ended[-1] if ended else None,
    )


def _padded(weights: tuple[float, ...], width: int) -> tuple[float, ...]:
    """Agents that joined later had none of it."""
    return (*weights, *[0.0] * (width - len(weights)))
