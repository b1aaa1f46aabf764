"""Measures how often a sweep finds what is there, and what is not, for the tables in docs/sweeps-statistics.md.

    python -m tests.statistics.sweep_rates [power false drift early intervals ...] [--trials 2000] [--seed 8]

Each trial is a whole sweep on a simulated target: runs in their order, noise, drift, lost runs, and `analyse`. A trial
takes 2 to 6 ms. The standard error of a share is in brackets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import numpy.typing as npt

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.design import fraction, full, latin, one_at_a_time
from loadgen.analysis.factors.early import Looks, first_look, look
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.order import Planned, run_order
from loadgen.analysis.factors.power import detectable
from loadgen.analysis.factors.terms import FactorAnalysis, Observation, SimpleEffect, analyse

Floats = npt.NDArray[np.float64]


def factors_of(*levels: int) -> list[Factor]:
    """Return factors a, b, c ... with so many levels each."""
    return [Factor("abcdefghijk"[at], tuple(str(one) for one in range(n))) for at, n in enumerate(levels)]


DESIGNS: Mapping[str, tuple[Callable[[], Design], int]] = {
    "2² × 3": (lambda: full(factors_of(2, 2)), 3),
    "2³ × 2": (lambda: full(factors_of(2, 2, 2)), 2),
    "2⁵⁻¹ V × 2": (lambda: fraction(factors_of(2, 2, 2, 2, 2)), 2),
    "2⁵ × 1 (Lenth)": (lambda: full(factors_of(2, 2, 2, 2, 2)), 1),
    "2⁴⁻¹ IV × 3": (lambda: fraction(factors_of(2, 2, 2, 2)), 3),
    "3 · 2 · 2 × 2": (lambda: full(factors_of(3, 2, 2)), 2),
    "3 · 3 × 2, a corner left out": (lambda: full(factors_of(3, 3), [{"a": "0", "b": "2"}]), 2),
    "one at a time, 3 factors × 4": (lambda: one_at_a_time(factors_of(2, 2, 2)), 4),
    "Latin hypercube, 2 ranges, 20 cells": (lambda: latin([Factor(n, (), 0, 10) for n in "ab"], 20, 5), 1),
}
"""By name the design and the number of repeats."""


@dataclass(frozen=True, slots=True)
class Target:
    """A simulated target."""

    sd: float = 0.04
    """Of the log response of one run."""
    block_sd: float = 0.0
    """Of the level of a block."""
    drift: float = 0.0
    """The relative change of the level from the first run to the last one."""
    lost: float = 0.0
    """The share of runs without a valid result."""
    corner: tuple[str, ...] = ()
    """The factors whose last levels together make the response slower."""
    effect: float = 0.0
    """0.2: +20 % in that corner."""

    def means(self, design: Design) -> Floats:
        """Return the mean log response of each cell."""
        acts = np.ones(len(design.cells)) if self.corner else np.zeros(len(design.cells))
        for at, one in enumerate(design.factors):
            if one.name in self.corner:
                shares = (
                    [float(cell[at].removesuffix(one.unit)) / (one.high or 1.0) for cell in design.cells]
                    if one.is_range
                    else [float(cell[at] == one.levels[-1]) for cell in design.cells]
                )
                acts *= shares
        return log(100.0) + log(1 + self.effect) * acts

    def runs(self, design: Design, order: Sequence[Planned], rng: np.random.Generator) -> list[Observation]:
        """Return the observations of one sweep."""
        blocks = self.block_sd * rng.standard_normal(max(one.block for one in order) + 1)
        noise = self.sd * rng.standard_normal(len(order))
        times = np.arange(len(order)) / max(1, len(order) - 1)
        means = self.means(design)
        kept = rng.random(len(order)) >= self.lost
        return [
            Observation(
                one.cell,
                one.block,
                float(np.exp(means[one.cell] + blocks[one.block] + noise[at] + log(1 + self.drift) * times[at])),
            )
            for at, one in enumerate(order)
            if kept[at]
        ]


def sweeps(
    design: Design,
    repeats: int,
    target: Target,
    trials: int,
    seed: int,
    *,
    blocks: int | None = None,
    is_nested: bool = False,
    **options: object,
) -> Iterable[FactorAnalysis]:
    """Yield the analysis of each simulated sweep. is_nested: nested loops instead of a random order, without blocks."""
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        order = nested(design, repeats) if is_nested else run_order(design, repeats, seed + trial, blocks=blocks)
        yield analyse(design, target.runs(design, order, rng), **options)  # type: ignore[arg-type]


def nested(design: Design, repeats: int) -> tuple[Planned, ...]:
    """Return the order of nested loops: all repeats of a cell, then the next cell."""
    each = [(cell, repeat) for cell in range(len(design.cells)) for repeat in range(1, repeats + 1)]
    return tuple(Planned(at + 1, cell, repeat, 1) for at, (cell, repeat) in enumerate(each))


def is_false(analysis: FactorAnalysis, corner: Sequence[str] = ()) -> bool:
    """Return whether any term is found that has no part in the corner."""
    return any(not set(one.factors) <= set(corner) for one in analysis.found)


def share(cases: int, trials: int) -> str:
    """Return a share with its standard error in brackets."""
    at = cases / trials
    return f"{at:.3f} ({sqrt(at * (1 - at) / trials):.3f})"


def power(trials: int, seed: int) -> Iterable[str]:
    """Compare the power that is printed with the share of simulated sweeps that find the effect."""
    yield "| design | runs | sd | effect | interaction: promised | found | main effect: promised | found |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, (make, repeats) in DESIGNS.items():
        design = make()
        for sd, effect in ((0.04, 0.1), (0.04, 0.2), (0.08, 0.2), (0.08, 0.6)):
            promised = detectable(design, repeats, sd, effects=[effect])
            cells = [name, str(promised.runs), f"{sd:.0%}", f"+{effect:.0%}"]
            for corner in (("a", "b"), ("a",)):
                term = " × ".join(corner)
                row = next(one for one in promised.rows if one.term == term)
                target = Target(sd=sd, corner=corner, effect=effect)
                found = sum(
                    any(one.name == term for one in result.found)
                    for result in sweeps(design, repeats, target, trials, seed)
                )
                cells += [f"{row.power:.3f}", share(found, trials)]
            yield "| " + " | ".join(cells) + " |"


def false(trials: int, seed: int) -> Iterable[str]:
    """Count sweeps that find anything although no factor has an effect."""
    yield "| design | promised | plain | blocks differ by 10 % | drift of 10 % | 1 in 5 runs lost |"
    yield "|---|---|---|---|---|---|"
    for name, (make, repeats) in DESIGNS.items():
        design = make()
        cells = [f"{detectable(design, repeats, 0.04).false_find:.3f}"]
        for target in (Target(), Target(block_sd=0.1), Target(drift=0.1), Target(lost=0.2)):
            cells.append(share(sum(is_false(one) for one in sweeps(design, repeats, target, trials, seed)), trials))
        yield f"| {name} | " + " | ".join(cells) + " |"


def drift(trials: int, seed: int) -> Iterable[str]:
    """Count false finds of nested loops and of random orders under a drift of 10 % over the sweep."""
    yield "| design | nested loops | random order, one block | random order, a repeat a block |"
    yield "|---|---|---|---|"
    for name in ("2² × 3", "2³ × 2", "2⁵⁻¹ V × 2"):
        design, repeats = DESIGNS[name][0](), DESIGNS[name][1]
        cells = []
        for is_nested, blocks in ((True, None), (False, 1), (False, None)):
            found = sweeps(design, repeats, Target(drift=0.1), trials, seed, blocks=blocks, is_nested=is_nested)
            cells.append(share(sum(is_false(one) for one in found), trials))
        yield f"| {name} | " + " | ".join(cells) + " |"


@dataclass(frozen=True, slots=True)
class EarlyRates:
    """What happens in sweeps that may stop after the first look."""

    any_false: int
    found: int
    stopped: int
    runs: float
    """The mean number of runs."""


def early_rates(design: Design, repeats: int, target: Target, trials: int, seed: int) -> EarlyRates:
    """Simulate sweeps that stop by the rule of `early.look`."""
    rng = np.random.default_rng(seed)
    any_false = found = stopped = runs = 0
    first = first_look(repeats)
    assert first is not None
    for trial in range(trials):
        order = run_order(design, repeats, seed + trial)
        every = target.runs(design, order, rng)
        part = [run for run, one in zip(every, order, strict=True) if one.repeat <= first]
        done = first if look(design, part, done=first, repeats=repeats) != "go on" else repeats
        used = part if done == first else every
        result = analyse(design, used, looks=Looks(done, repeats))
        any_false += is_false(result, target.corner)
        found += any(set(one.factors) == set(target.corner) for one in result.found)
        stopped += done == first
        runs += len(used)
    return EarlyRates(any_false, found, stopped, runs / trials)


def early(trials: int, seed: int) -> Iterable[str]:
    """Count finds of sweeps that may stop early, beside those of sweeps that may not."""
    yield "| design | effect | false finds | found | found without looks | stopped early | runs, mean |"
    yield "|---|---|---|---|---|---|---|"
    for name, repeats in (("2² × 3", 4), ("2² × 3", 6), ("2³ × 2", 4)):
        design = DESIGNS[name][0]()
        for effect in (0.0, 0.1, 0.2, 0.6):
            target = Target(corner=("a", "b") if effect else (), effect=effect)
            seen = early_rates(design, repeats, target, trials, seed)
            whole = sum(
                any(set(one.factors) == set(target.corner) for one in result.found)
                for result in sweeps(design, repeats, target, trials, seed)
            )
            yield (
                f"| {name.split(' × ')[0]} × {repeats} | +{effect:.0%} | {share(seen.any_false, trials)} | "
                f"{share(seen.found, trials)} | {share(whole, trials)} | "
                f"{share(seen.stopped, trials)} | {seen.runs:.1f} |"
            )


def intervals(trials: int, seed: int) -> Iterable[str]:
    """Count sweeps in which any interval of a term misses its truth, and simple effects that miss theirs."""
    yield "| design | effect | all terms covered | simple effects covered together |"
    yield "|---|---|---|---|"
    for name, effect in (
        ("2² × 3", 0.6),
        ("2³ × 2", 0.2),
        ("2³ × 2", 0.6),
        ("2⁵⁻¹ V × 2", 0.6),
        ("3 · 2 · 2 × 2", 0.6),
    ):
        design, repeats = DESIGNS[name][0](), DESIGNS[name][1]
        target = Target(corner=("a", "b"), effect=effect)
        covered = together = printed = 0
        for result in sweeps(design, repeats, target, trials, seed):
            covered += all(
                covers(one.low, one.high, true_effect(design, target, one.levels, one.factors)) for one in result.terms
            )
            mine = [one for one in result.simple_effects if one.interaction == "a × b"]
            if mine:
                printed += 1
                together += all(covers(one.low, one.high, true_change(design, target, one)) for one in mine)
        yield f"| {name} | +{effect:.0%} | {share(covered, trials)} | {share(together, max(1, printed))} |"


def covers(low: float | None, high: float | None, truth: float) -> bool:
    """Return whether an interval holds the truth; one that was cut at 0 does not hold 0."""
    return low is not None and high is not None and low <= truth <= high and not (truth == 0 and 0 in (low, high))


def true_effect(design: Design, target: Target, levels: tuple[tuple[str, str], ...], factors: tuple[str, ...]) -> float:
    """Return the true effect of a term of a full or clear design, from the means of its cells."""
    means = target.means(design)
    places = {one.name: at for at, one in enumerate(design.factors)}

    def mean(**held: str) -> float:
        is_held = [all(cell[places[name]] == level for name, level in held.items()) for cell in design.cells]
        return float(means[is_held].mean())

    if len(factors) == 1:
        return mean(**{factors[0]: levels[0][1]}) - mean(**{factors[0]: levels[0][0]})
    (a, b), ((a0, a1), (b0, b1)) = factors, levels
    return (mean(**{a: a1, b: b1}) - mean(**{a: a0, b: b1}) - mean(**{a: a1, b: b0}) + mean(**{a: a0, b: b0})) / 2


def true_change(design: Design, target: Target, one: SimpleEffect) -> float:
    """Return the true change in units of a factor in the corner a, b, where the other one is held."""
    last = {factor.name: factor.levels[-1] for factor in design.factors}
    ((other, level),) = one.at.items()
    is_reached = level == last[other]
    before, after = (
        100 * (1 + target.effect * (is_reached and at == last[one.factor])) for at in (one.from_level, one.to_level)
    )
    return after - before


PARTS: Mapping[str, Callable[[int, int], Iterable[str]]] = {
    "power": power,
    "false": false,
    "drift": drift,
    "early": early,
    "intervals": intervals,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=8)
    given = parser.parse_args()
    for part in given.parts or PARTS:
        begun = time.process_time()
        print(
            f"\n`python -m tests.statistics.sweep_rates {part} --trials {given.trials} --seed {given.seed}`\n",
            flush=True,
        )
        for line in PARTS[part](given.trials, given.seed):
            print(line, flush=True)
        print(f"\n({time.process_time() - begun:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
