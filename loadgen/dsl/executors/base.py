"""What an executor is to the rest of us: something with faults, which a plan can lower to what agents drive.

`arrivals`, `users` and `iterations` are executors, and so is every other model of
load, those that users write included. None decides who does what: an executor
speaks of the whole fleet, and the engine divides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadgen.dsl.plans.slo import Slo
from loadgen.dsl.plans.spec import SteeringSpec
from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault
from loadgen.profiles.profile import Profile
from loadgen.profiles.timeline import Listed, Positions

__all__ = ["Executor", "Lowered"]


@dataclass(frozen=True, slots=True)
class Lowered:
    """What agents drive: a profile, which travels, and what only a process with the scenario has."""

    profile: Profile
    times: np.ndarray | None = field(default=None, compare=False)
    """Of recorded and user-written loads: when each arrival lies, in seconds of the curve; (arrivals,) float64."""
    steering: SteeringSpec | None = None
    """Where the rate follows what is seen."""

    @property
    def positions(self) -> Positions | None:
        """Where on the curve arrivals lie; None: as the profile says."""
        return None if self.times is None else Listed(self.times)


class Executor(ABC):
    """Decides when iterations are due (open), how many users there are (closed), or how many iterations are to be done.

    Constructors never raise: what is wrong is kept with the line that says it, and the loader reports all at once.
    """

    @property
    @abstractmethod
    def origin(self) -> Origin:
        """The line that made it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What it reads, to travel with the scenario."""
        return ()

    @property
    def slos(self) -> tuple[Slo, ...]:
        """The objectives that it follows."""
        return ()

    @property
    @abstractmethod
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it; empty when it can be lowered."""

    @abstractmethod
    def lower(self, seed: int) -> Lowered:
        """A pure function of the executor and the run's seed: every process comes to the same.

        Asked for often: what is dear to find out, as by reading a file, is to be kept.

        Raises:
            ScenarioError: it has faults, or comes to something that cannot be driven.
        """
