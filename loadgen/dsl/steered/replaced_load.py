"""Makes the search or the constant rate that replaces the load of a plan, from values that the command line sent.

Agents make the same load from the same values, so they need no other file than the scenario.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loadgen.dsl.executors.base import Executor
from loadgen.dsl.executors.capacity import Limit, Search, search
from loadgen.dsl.executors.standard import arrivals
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.spec import SteeredLoad
from loadgen.dsl.source_location import Origin
from loadgen.dsl.steered.objective_text import read_objective
from loadgen.errors import Fault, ScenarioError
from loadgen.profiles.profile import OpenProfile

__all__ = ["OBJECTIVE_OPTION", "RATES_OPTION", "SEARCH_S", "Replacement", "own_search", "replaced_load"]

OBJECTIVE_OPTION: Final = "--of"
RATES_OPTION: Final = "--between"
SEARCH_S: Final = 3600.0
"""The longest time of a search, in seconds, unless something else is given."""
_TIMES: Final = 4
_EVERY: Final = "5s"
_TOLERANCE: Final = "5%"


@dataclass(frozen=True, slots=True)
class Replacement:
    """The load that takes the place of a plan's, and the objectives that it is for. Both have their own `faults`."""

    load: Executor
    objectives: tuple[Slo, ...]


def own_search(load: Executor | None) -> Limit | None:
    """Return the load if it is a search or a held rate of the scenario; else None."""
    return load if isinstance(load, Limit) else None


def replaced_load(steered: SteeredLoad, present: Executor, seed: int) -> Replacement:
    """Return the load that takes the place of `present`.

    A value that `steered` does not give comes from `present` if that is a search or a held rate. Without a highest
    rate, an open load gets four times its own.

    seed: the run's seed, from which `present` may draw its curve.

    Raises:
        ScenarioError: `present` has errors, or has users and no rate, and no highest rate is given.
    """
    own = own_search(present)
    objectives = tuple(read_objective(text, OBJECTIVE_OPTION) for text in steered.objectives)
    if not objectives and own is not None:
        objectives = own.objectives
    if not objectives:
        fault = Fault(OBJECTIVE_OPTION, 0, "no objective is given, and the load of the plan is no search", _OF_HINT)
        objectives = (Slo(Origin(OBJECTIVE_OPTION, 0), None, (fault,)),)
    upto: str | float = own.upto if own is not None else 0.0
    if steered.upto_per_s is not None:
        upto = steered.upto_per_s
    elif own is None:
        upto = _usual_upto(present, seed)
    duration: str | float = SEARCH_S
    if steered.duration_s is not None:
        duration = steered.duration_s
    elif isinstance(own, Search):
        duration = own.duration
    if steered.word == "constant":
        return Replacement(arrivals(upto).hold(duration), objectives)
    made = search(
        *objectives,
        upto=upto,
        start=own.start if steered.start_per_s is None and own is not None else steered.start_per_s,
        duration=duration,
        every=_EVERY if own is None else own.every,
        tolerance=steered.tolerance if steered.tolerance is not None else _TOLERANCE if own is None else own.tolerance,
    )
    object.__setattr__(made, "_origin", Origin(RATES_OPTION, 0))
    return Replacement(made, objectives)


def _usual_upto(present: Executor, seed: int) -> float:
    profile = present.lower(seed).profile
    if isinstance(profile, OpenProfile):
        return _TIMES * float(profile.peak)
    message = "the load of the plan has users, and no rate, so the highest allowed rate is unknown"
    raise ScenarioError([Fault(RATES_OPTION, 0, message, "add --between 50/s 400/s")])


_OF_HINT: Final = "add --of 'p(99)<300ms'"
