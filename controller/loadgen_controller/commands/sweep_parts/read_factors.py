"""Reads the factors of a sweep from its options: `-P`, `--plan-value`, `--set` and `--skip`. Pure.

-P settle=0,8                  a param of the scenario, with its levels
-P pool=1..64                  a range, for --design lhs
--plan-value rate=100/s,200/s  an option of the run
--set pool=8                   a param that is the same in all runs
--skip settle=8,payout=8       cells that must not run
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from loadgen.analysis.factors.factor import Factor
from loadgen.similar_names import did_you_mean
from loadgen.units import parse_duration, parse_rate
from loadgen_controller.collect_option_errors import CollectedErrors

__all__ = ["PLAN_VALUES", "SweepFactors", "changes_of", "read_factors", "same_levels"]

MOST_LEVELS: Final = 1_000
"""Levels of one factor; each is loaded before the first run."""
_MOST_LEVEL: Final = 500
_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_RANGE: Final = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(/[a-z]+|[a-z]*)")


def _above_zero(parser: Callable[[str], float]) -> Callable[[str], float]:
    def parsed(text: str) -> float:
        value = parser(text)
        if not value > 0:
            raise ValueError(f'"{text}" must be above 0')
        return value

    return parsed


def _named(text: str) -> str:
    return text


PLAN_VALUES: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "rate": ("rate", _above_zero(parse_rate)),
    "users": ("users", _above_zero(lambda text: int(text))),
    "duration": ("duration", _above_zero(parse_duration)),
    "target": ("target", _named),
    "load": ("loads", _named),
}
"""The options that --plan-value can vary: name -> (argument of `load_scenario`, parser of a level)."""


@dataclass(frozen=True, slots=True)
class SweepFactors:
    """The factors as the options name them."""

    params: tuple[Factor, ...] = ()
    plan_values: tuple[Factor, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """Params that are the same in all runs."""
    skips: tuple[Mapping[str, str], ...] = ()

    @property
    def all(self) -> tuple[Factor, ...]:
        """Return all factors in the order of the design."""
        return (*self.params, *self.plan_values)

    @property
    def plan_names(self) -> tuple[str, ...]:
        """Return the names of the factors that are options of the run."""
        return tuple(one.name for one in self.plan_values)


def read_factors(
    errors: CollectedErrors,
    *,
    params: Iterable[str],
    plan_values: Iterable[str],
    settings: Iterable[str],
    skips: Iterable[str],
) -> SweepFactors:
    """Return the factors that can be used. Their errors are added to `errors`."""
    read = [one for one in (_factor(errors, "--plan-value", text) for text in plan_values) if one is not None]
    made = SweepFactors(
        tuple(filter(None, (_factor(errors, "-P", text) for text in params))),
        tuple(one for one in read if _is_good_plan_value(errors, one)),
        _settings(errors, settings),
        tuple(filter(None, (_skip(errors, text) for text in skips))),
    )
    names: set[str] = set()
    for one in made.all:
        if one.name in names:
            errors.add(f"the factor {one.name} was given twice", "name all its levels in one option")
        names.add(one.name)
        if one.name in made.settings:
            errors.add(f"--set {one.name}: it is a factor of this sweep", "leave --set out: the sweep sets it")
    if not made.all and not errors.found:
        errors.add(
            "a sweep needs at least one factor", "-P NAME=VALUE,VALUE for a param, --plan-value rate=100/s,200/s"
        )
    return made


def changes_of(plan_names: Iterable[str], settings: Mapping[str, str], levels: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `load_scenario` for a cell. levels: {factor: level}."""
    of_plan = set(plan_names)
    params = {**settings, **{name: level for name, level in levels.items() if name not in of_plan}}
    changed: dict[str, Any] = {"params": [f"{name}={value}" for name, value in params.items()]}
    return changed | {PLAN_VALUES[name][0]: level for name, level in levels.items() if name in of_plan}


def same_levels(name: str, values: Mapping[str, object]) -> str:
    """Return a sentence if two levels of a factor have the same value, such as 8 and 08; else "".

    values: {level as typed: its value}.
    """
    seen: dict[tuple[str, object], str] = {}
    for level, value in values.items():
        key = (type(value).__name__, value)
        if key in seen:
            return f"the levels {seen[key]} and {level} of {name} are the same value"
        seen[key] = level
    return ""


def _factor(errors: CollectedErrors, option: str, text: str) -> Factor | None:
    """Parse "settle=0,8", or a range such as "pool=1..64"."""
    name, equals, listed = text.partition("=")
    name = name.strip()
    example = "-P settle=0,8" if option == "-P" else "--plan-value rate=100/s,200/s"
    if not equals or not name.isidentifier():
        errors.add(f'{option}: invalid factor "{text[:80]}"', f"write {example}")
        return None
    if found := _RANGE.fullmatch(listed.strip()):
        low, high = float(found[1]), float(found[2])
        if not (isfinite(low) and isfinite(high) and low < high):
            errors.add(f"{option} {name}: the range {listed} is empty", "the first number must be lower: 1..64")
            return None
        return Factor(name, (), low, high, unit=found[3])
    levels = [one.strip() for one in listed.split(",")]
    faults = []
    if not all(levels):
        faults.append((f"{option} {name}: a level is empty", f"write {example}"))
    if any(len(one) > _MOST_LEVEL for one in levels):
        faults.append((f"{option} {name}: a level is longer than {_MOST_LEVEL} characters", "use a shorter one"))
    if len(levels) > MOST_LEVELS:
        faults.append((f"{option} {name}: {len(levels):,} levels; at most {MOST_LEVELS:,} are possible", "name fewer"))
    if twice := sorted({one for one in levels if one and levels.count(one) > 1})[:3]:
        faults.append((f"{option} {name}: the level {', '.join(twice)} is given twice", "name each level once"))
    elif len(levels) == 1 and levels[0]:
        fixed = f"--set {text}" if option == "-P" else f"--{name} {levels[0]}"
        faults.append(
            (
                f"{option} {name}: a factor needs at least two levels, and {levels[0][:80]} is the only one",
                f"name a second level, or set it in all runs with {fixed}",
            )
        )
    for message, hint in faults:
        errors.add(message, hint)
    return None if faults else Factor(name, tuple(levels))


def _is_good_plan_value(errors: CollectedErrors, factor: Factor) -> bool:
    """Return whether a factor of --plan-value and all its levels are valid. Faults are added to `errors`."""
    before = len(errors.found)
    if factor.name not in PLAN_VALUES:
        errors.add(
            f'--plan-value: unknown value "{factor.name}"',
            did_you_mean(factor.name, PLAN_VALUES) or f"use one of {', '.join(PLAN_VALUES)}",
        )
        return False
    parser = PLAN_VALUES[factor.name][1]
    values: dict[str, object] = {}
    ends = [f"{end:g}{factor.unit}" for end in (factor.low, factor.high) if end is not None]
    for level in factor.levels or ends:
        try:
            values[level] = parser(level)
        except (ValueError, OverflowError) as wrong:
            message, _, advice = str(wrong).partition("; write ")
            errors.add(
                f'--plan-value {factor.name}: "{level}" is invalid: {message}',
                f"write {advice}" if advice else "for example rate=100/s,200/s or users=10,20 or duration=1m,2m",
            )
    if same := same_levels(factor.name, values):
        errors.add(f"--plan-value: {same}", "name each level once")
    return len(errors.found) == before


def _settings(errors: CollectedErrors, texts: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            errors.add(f'--set: invalid setting "{text[:80]}"', "write --set NAME=VALUE")
        elif name in found:
            errors.add(f"--set: {name} was given twice", "give each param once")
        else:
            found[name] = value
    return found


def _skip(errors: CollectedErrors, text: str) -> dict[str, str] | None:
    """Parse "settle=8,payout=8"."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, level = (one.strip() for one in part.partition("="))
        if not equals or not name or not level or name in found:
            errors.add(f'--skip: invalid combination "{text[:80]}"', "write --skip settle=8,payout=8")
            return None
        found[name] = level
    return found
