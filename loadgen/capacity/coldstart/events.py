"""Finds the events of a run in which instances were added, among the marks of its target. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.report.target_side.marks import Mark

__all__ = ["APART_S", "ScaleEvent", "scale_events"]

APART_S: Final = 15.0
"""Marks nearer than this belong to one event: a group launches its machines one by one."""
_GROWTH: Final = re.compile(
    r"launching a new ec2 instance"  # EC2 Auto Scaling
    r"|scaled up replica set"  # Kubernetes, a deployment
    r"|successfulrescale: new size: \d+; reason: .*above target"  # Kubernetes, an HPA
    r"|setting (?:desired (?:count|capacity)|capacity).* to \d+",  # Application Auto Scaling
    re.IGNORECASE,
)
_FAILED: Final = ("Failed", "Cancelled", "Unfulfilled")
_DOWN: Final = re.compile(r"\bAlarmLow\b|shrink|scale[- ]?in\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    """At `at_s` seconds from T0, give or take `error_s`, instances were asked for."""

    at_s: float
    error_s: float
    source: str
    text: str
    marks: int = 1


def scale_events(marks: Iterable[Mark]) -> list[ScaleEvent]:
    """Return the events in which a fleet grew, by time, from T0 on.

    Marks of failed actions, and of AWS actions after an alarm for scaling in, are left out. Marks of one event are
    joined, and the first of them counts.
    """
    found: list[ScaleEvent] = []
    last_s = float("-inf")
    for mark in sorted(marks, key=lambda one: one.at_s):
        if mark.at_s < 0 or not _GROWTH.search(f"{mark.text} {mark.title}") or mark.status in _FAILED:
            continue
        if _DOWN.search(mark.cause):
            continue
        if mark.at_s - last_s < APART_S:
            before = found[-1]
            found[-1] = ScaleEvent(before.at_s, before.error_s, before.source, before.text, before.marks + 1)
        else:
            found.append(ScaleEvent(mark.at_s, mark.error_s, mark.source, mark.words))
        last_s = mark.at_s
    return found
