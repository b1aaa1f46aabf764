"""What of a plan travels: its declarative part, and what the command line changes of it.

A `PlanSpec` is all that a controller, a view or a manifest needs to know of a
plan, without any of the scenario's code. `Overrides` go to the agents, who apply
them to the same plan. Both are values, and go through JSON unchanged.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import msgspec

from loadgen.measure.objective import Objective
from loadgen.profile import ArrivalProfile, Profile
from loadgen.units import NS_PER_S

__all__ = ["JourneySpec", "Overrides", "PlanSpec", "parse_regions"]


class Overrides(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the command line changes of a plan. None and empty: as the plan says."""

    target: str | None = None
    peak: float | None = None
    """The load is scaled so that its highest rate or number of users is this."""
    peak_of: Literal["", "rate", "users"] = ""
    """What the peak was given as (`--rate` or `--users`); it must be what the load is about. Empty: whatever it is."""
    duration_s: float | None = None
    """The load's stages are stretched so that they last this long in all."""
    regions: dict[str, float | None] = {}
    """Instead of the plan's: name -> weight. None: the weight that the plan gives the region."""
    params: dict[str, str] = {}
    """`-P name=value`, for `param()`."""

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """
        Raises:
            ValueError: not the JSON of overrides.
        """
        return msgspec.json.decode(data or b"{}", type=cls)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def parse_regions(text: str) -> dict[str, float | None]:
    """The regions of `--regions`: "a,b" picks from the plan's, "a=1,b=2" replaces them.

    Raises:
        ValueError: an empty name, a weight that is no number, a region twice.
    """
    regions: dict[str, float | None] = {}
    for part in text.split(","):
        name, has_weight, weight = (piece.strip() for piece in part.partition("="))
        if not name:
            raise ValueError(f'"{text}" names no region; write "us-east-1,eu-west-1" or "us-east-1=2,eu-west-1=1"')
        if name in regions:
            raise ValueError(f'region "{name}" is there twice')
        try:
            regions[name] = float(weight) if has_weight else None
        except ValueError:
            raise ValueError(f'"{weight}" is no weight of region "{name}"; write {name}=2') from None
    return regions


class JourneySpec(msgspec.Struct, frozen=True, kw_only=True):
    """One journey of a plan."""

    name: str
    weight: float
    """Its part of the mix, 0 to 1; the weights of a plan sum to 1."""
    data: str | None = None
    """The file that its rows come from, "rows" where they stand in the scenario, or None."""


class PlanSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The declarative part of a plan, for manifest, controller and view. Times in ns, rates in 1/s."""

    name: str
    scenario: str
    """The file's name."""
    doc: str
    """The first line of the scenario's docstring."""
    target: str
    load: str
    """In words: "arrivals: ramp 0 to 200/s in 2m, hold 200/s for 10m"."""
    profile: Profile
    journeys: tuple[JourneySpec, ...]
    slos: tuple[Objective, ...]
    regions: dict[str, float]
    """Name -> weight, relative; only those above 0."""
    duration_ns: int | None
    """Of the load, without drain; None where the target decides (counted loads)."""
    total_arrivals: int | None
    """Iterations that will be due; None for closed loads."""
    peak: float
    """The highest rate (open) or number of users."""
    max_users: int | None
    max_lateness_ns: int | None
    warmup_ns: int
    drain_ns: int
    connect_timeout_ns: int
    timeout_ns: int
    seed: int | None
    """None: each run draws one."""
    interval_ns: int = NS_PER_S
    has_set_up: bool = False
    has_tear_down: bool = False
    params: dict[str, Any] = {}

    @property
    def is_open(self) -> bool:
        return isinstance(self.profile, ArrivalProfile)
