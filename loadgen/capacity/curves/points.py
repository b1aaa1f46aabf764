"""Measured throughputs against load: where each point comes from, and what the load is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["AXES", "AXIS_TEXTS", "Axis", "MeasuredCurve", "MeasuredPoint", "axis_of_name"]

Axis = Literal["instances", "concurrency", "rate"]
AXES: Final[tuple[Axis, ...]] = ("concurrency", "instances", "rate")

AXIS_TEXTS: Final[Mapping[Axis, str]] = {
    "concurrency": "how throughput grows with concurrent work on what was tested; it does not say what more instances"
    " would bring",
    "instances": "how throughput grows with more instances or processors",
    "rate": "how much of an offered rate is served; below the peak, throughput equals the rate",
}
"""The meaning of a curve, by its axis."""

_WORDS: Final[Mapping[Axis, str]] = {
    "concurrency": "",
    "instances": "instances instance nodes node servers server pods pod replicas replica processors processor procs"
    " cpus cpu cores core vcpus machines machine hosts host shards partitions",
    "rate": "rate rates offered arrival arrivals",
}


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """One measurement. load and throughput are above 0."""

    load: float
    throughput: float
    source: str
    """The origin of the point: "line 4", or the id of a run with its level."""
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """All points of one study."""

    title: str
    points: tuple[MeasuredPoint, ...]
    load_name: str
    """As the header names it, or "users" and "/s" of runs."""
    throughput_name: str
    axis: Axis
    notes: tuple[str, ...] = ()
    """Sentences about points that were left out, and about the consistency of runs."""
    run_ids: tuple[str, ...] = ()


def axis_of_name(name: str) -> Axis:
    """Return what a load is by the name of its column; "concurrency" if the name does not say it."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    return next((axis for axis in AXES if words & set(_WORDS[axis].split())), "concurrency")
