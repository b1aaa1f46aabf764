"""The interface of executors: objects that a plan lowers to the profiles that agents drive.

`arrivals`, `users` and `iterations` create executors, and so is every other model of
load, including those that users write. An executor describes the load of the whole
fleet; the engine divides it among agents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.spec import SteeringSpec
from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault
from loadgen.profiles.arrival_due_times import Listed, Positions
from loadgen.profiles.levels import LevelMark
from loadgen.profiles.profile import Profile

__all__ = ["Executor", "Lowered"]


@dataclass(frozen=True, slots=True)
class Lowered:
    """The result of lowering an executor: a serializable profile, and what only processes with the scenario have."""

    profile: Profile
    times: np.ndarray | None = field(default=None, compare=False)
    """Positions of all arrivals on the curve, seconds, (arrivals,) float64. Only for recorded and user-written loads.
    """
    steering: SteeringSpec | None = None
    """How the load is steered; None for other loads."""
    levels: tuple[LevelMark, ...] = ()
    """Which stages of the profile are levels, by which the results are split."""

    @property
    def positions(self) -> Positions | None:
        """Return the time of each arrival on the curve; None if the arrivals follow from the profile."""
        return None if self.times is None else Listed(self.times)


class Executor(ABC):
    """A model of load: when iterations are due (open), how many users there are (closed), or how many iterations to do.

    Constructors never raise: they keep errors with their lines, and the loader reports all at once.
    """

    @property
    @abstractmethod
    def origin(self) -> Origin:
        """Return the line of the scenario that created this executor."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that the executor reads, which agents must receive together with the scenario."""
        return ()

    @property
    def slos(self) -> tuple[Slo, ...]:
        """Return the objectives that a steering executor tries to meet; () for other executors."""
        return ()

    @property
    @abstractmethod
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in the executor's arguments. Call `lower` only if this is empty."""

    @abstractmethod
    def lower(self, seed: int) -> Lowered:
        """Return the load's profile, which agents drive, and for a steered load how it is steered.

        The result depends only on the executor and `seed`, the run's seed, so all processes agree. This
        method is called often, so implementations cache expensive results, such as a file's contents.

        Raises:
            ScenarioError: the executor has errors, or its result cannot be driven.
        """
