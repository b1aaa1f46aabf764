"""A composite of promises: the weighted mean of their attainments. A value, without counts.

    Composite("shop", (Part("shop-search", Decimal(1)), Part("shop-checkout", Decimal(3))))

OpenSLO declares it as an SLO whose objectives have their own indicators, with `compositeWeight`. Ratios are averaged
and events are never pooled: in a pool, the service with the most requests hides the others. Without weights, each part
counts the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from loadgen.programme.promises.objectives import Objective

__all__ = ["Composite", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """A promise in a composite. objective: its name. weight: above 0; only its share of all weights counts."""

    objective: str
    weight: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Composite:
    """A composite. name: of its SLO. parts: at least two, in the order of the file."""

    name: str
    parts: tuple[Part, ...]

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """Return the weight of each part as a share of all weights; their sum is exactly 1."""
        total = sum(Fraction(one.weight) for one in self.parts)
        return tuple(Fraction(one.weight) / total for one in self.parts)

    def members(self, objectives: Mapping[str, Objective]) -> tuple[Objective, ...] | None:
        """Return its promises in the order of its parts; None if one is not among `objectives`."""
        found = [objectives.get(one.objective) for one in self.parts]
        return tuple(one for one in found if one is not None) if all(found) else None

    def as_document(self, objectives: Mapping[str, Objective]) -> dict[str, Any]:
        """Return the values for JSON."""
        members = self.members(objectives)
        target = None if members is None else float(self.target(members))
        parts = [
            {"objective": one.objective, "weight": float(one.weight), "share": float(share)}
            for one, share in zip(self.parts, self.shares, strict=True)
        ]
        return {"name": self.name, "target": target, "parts": parts}

    def target(self, members: tuple[Objective, ...]) -> Fraction:
        """Return the weighted mean of the targets of its promises, exactly. OpenSLO has no target of a composite."""
        shares = zip(self.shares, members, strict=True)
        return sum((share * Fraction(one.target) for share, one in shares), Fraction(0))

    def formula(self) -> str:
        """Return the sum for people: "3/4 of shop-checkout + 1/4 of shop-search", as in the file's order."""
        return " + ".join(f"{share} of {one.objective}" for one, share in zip(self.parts, self.shares, strict=True))
