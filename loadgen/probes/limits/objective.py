"""An objective on a row of a probe, such as `probe("shopdb.connections") < "80%"`, as a plain value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from loadgen.probes.limits.limit_text import Bound, Comparison

__all__ = ["ProbeObjective", "Statistic", "rows_of"]

Statistic = Literal["every", "mean", "maximum", "minimum", "percentile"]
"""every: each sample must be within the limit. percentile: of a histogram."""


class ProbeObjective(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of `slos=[...]` on a probe. `dsl/plans/probe.py` builds it, and the manifest holds it as JSON."""

    text: str
    """As the author of the plan wrote it."""
    name: str
    """The probe and the row as written: "shopdb.connections"."""
    statistic: Statistic
    operator: Comparison
    bound: Bound
    q: float = 0.0
    """In percent; 0 unless it is a percentile."""
    window_ns: int = 0
    """Length of the sliding windows; 0: the objective covers the whole run."""
    abort: bool = False
    probe: str = ""
    row: str = ""
    """The name of the probe and the key of its row; empty until the probes of the run are known."""

    @property
    def is_extreme(self) -> bool:
        """Return whether a single sample can decide it."""
        return self.statistic in ("every", "maximum", "minimum")

    @property
    def takes_highest(self) -> bool:
        """Return whether the highest value decides, and not the lowest; only if it `is_extreme`."""
        return self.statistic == "maximum" or (self.statistic == "every" and self.operator == "<")

    def meets(self, value: float, limit: float) -> bool:
        """Return whether a value is on the right side of the limit. Both in the unit of the row."""
        return value < limit if self.operator == "<" else value > limit


def rows_of(objectives: Iterable[ProbeObjective]) -> frozenset[str]:
    """Return the probe and the key of the row of each objective, as "shopdb.connections"."""
    return frozenset(f"{one.probe}.{one.row}" for one in objectives)
