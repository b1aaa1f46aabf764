"""Run attackers in turn and check whether their cost is within a budget.

Only ratios of medians within one run count. All attackers share the machine, so a slow
minute affects each of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.report import held

__all__ = ["Budget", "Compared", "Turn", "alternate"]


@dataclass(frozen=True, slots=True)
class Turn:
    """The figures of one attacker in one turn. A turn with failed requests raises an error instead."""

    cpu_s: float
    """User and system CPU time."""
    requests: int
    took_s: float

    @property
    def cpu_us(self) -> float:
        """CPU time per request, µs."""
        return self.cpu_s / self.requests * 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the CPU time per request: at most `at_most` times another attacker's. `shown` is its text, "1/5"."""

    of: str
    beside: str
    at_most: float
    shown: str = ""

    def verdict(self, compared: Compared) -> str:
        for name in (self.of, self.beside):
            if name not in compared.turns:
                why = compared.skipped.get(name, "not measured")
                return f"{self.of} / {self.beside}: not judged, {name} was {why}."
        ratio = compared.ratio(self.of, self.beside)
        limit = self.shown or f"{self.at_most:g}"
        return f"{self.of} / {self.beside} = {ratio:.3g}, budget {limit}: {held(ratio <= self.at_most)}."


@dataclass(slots=True)
class Compared:
    """The turns of each attacker, and the reasons for those that were left out."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    HEAD = ("", "CPU µs/request: least", "median", "most", "requests/s, median")

    def median_us(self, name: str) -> float:
        return median(turn.cpu_us for turn in self.turns[name])

    def ratio(self, of: str, beside: str) -> float:
        """The ratio of the medians."""
        return self.median_us(of) / self.median_us(beside)

    def head(self, bases: Sequence[str]) -> list[str]:
        return [*self.HEAD, *(f"× {base}" for base in bases if base in self.turns)]

    def rows(self, bases: Sequence[str]) -> list[list[str]]:
        """Return a row per attacker with its ratios to the measured `bases`, then the attackers that were left out."""
        there = [base for base in bases if base in self.turns]
        rows = []
        for name, turns in self.turns.items():
            costs = sorted(turn.cpu_us for turn in turns)
            rate = median(turn.requests / turn.took_s for turn in turns)
            row = [name, f"{costs[0]:.2f}", f"{median(costs):.2f}", f"{costs[-1]:.2f}", f"{rate:,.0f}"]
            rows.append(row + [f"{self.ratio(name, base):.3g}" for base in there])
        blank = [""] * (len(self.HEAD) - 2 + len(there))
        return rows + [[name, why, *blank] for name, why in self.skipped.items()]


def alternate(attackers: Mapping[str, Callable[[], Turn] | str], turns: int) -> Compared:
    """Run all attackers in turn, `turns` times. An attacker that is a text is left out; the text is the reason."""
    compared = Compared()
    for name, attack in attackers.items():
        if isinstance(attack, str):
            compared.skipped[name] = attack
        else:
            compared.turns[name] = []
    for n in range(turns):
        for name, attack in attackers.items():
            if not isinstance(attack, str):
                turn = attack()
                sys.stderr.write(f"  turn {n + 1} of {turns}, {name}: {turn.cpu_us:.2f} µs of CPU a request\n")
                compared.turns[name].append(turn)
    return compared
