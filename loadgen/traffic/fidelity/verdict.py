"""The table of fidelity: a row for each property, with its limit, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = [
    "BY_CHANCE",
    "NOT_MEASURED",
    "PROPERTIES",
    "Property",
    "Result",
    "Row",
    "Verdict",
    "Word",
    "judged",
    "result_of",
    "unmeasured",
    "verdict_of",
]

BY_CHANCE: Final = 1.25
"""A distance may be this multiple of the floor."""

Word = Literal["faithful", "partly", "not faithful", "not measured"]
Result = Literal["passed", "failed", "not measured"]
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True)
class Property:
    """A property that is compared.

    unit: of the distance. least: a distance up to it passes, however small the floor is. about: what is compared.
    """

    name: str
    unit: str
    least: float
    about: str


PROPERTIES: Final = {
    one.name: one
    for one in (
        Property("request mix", "bits", 0.01, "shares of the names of requests"),
        Property("transitions", "bits", 0.02, "successors of each name"),
        Property("edges", "bounds", 1.0, "each edge with more than 1 %, divided by its bound"),
        Property("sequences", "bits", 0.02, "names after two names in a row"),
        Property("combinations", "bits", 0.01, "pairs of names in one session"),
        Property("session length", "KS", 0.05, "actions of a session"),
        Property("session duration", "KS", 0.05, "time from first to last request"),
        Property("think", "KS", 0.05, "pauses of each edge"),
        Property("rate curve", "NRMSE", 0.05, "sessions over time, in bins of 5 minutes"),
        Property("total", "share", 0.005, "number of requests"),
        Property("burstiness", "ln ratio", 0.15, "how requests bunch at 1, 10 and 60 s"),
        Property("inter-arrival", "KS", 0.05, "time between starts of sessions"),
        Property("data skew", "share", 0.10, "requests of the most requested 1 % of the values"),
        Property("locality", "points", 0.03, "hits of a cache with 1 and 10 % of the values"),
        Property("status", "bits", 0.01, "statuses by name"),
        Property("bytes", "share", 0.10, "sizes of answers by name"),
        Property("concurrency", "NRMSE", 0.05, "active sessions over time"),
    )
}
"""In the order of the table."""


@dataclass(frozen=True)
class Row:
    """A property with its distance.

    distance: None if it could not be measured; `why` has the reason, and `passed` is false.
    floor: what chance alone makes; None if it could not be measured.
    halves: the distance between the first and the second half of the log's time; None if it is unknown.
    parts: figures of both sides, such as shares, by name: of the model and of the log.
    """

    property: str
    distance: float | None
    floor: float | None = None
    limit: float | None = None
    passed: bool = False
    why: str = ""
    halves: float | None = None
    parts: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return the row for `traffic.json`."""
        found: dict[str, object] = {
            "property": self.property,
            "distance": _rounded(self.distance),
            "floor": _rounded(self.floor),
            "limit": _rounded(self.limit),
            "passed": self.passed,
            "unit": PROPERTIES[self.property].unit,
            "halves_of_time": _rounded(self.halves),
        }
        if self.why:
            found["why"] = self.why
        if self.parts:
            found["parts"] = {name: [_rounded(one) for one in both] for name, both in self.parts.items()}
        return found


@dataclass(frozen=True)
class Verdict:
    """All rows. Faithful: all passed. Partly: those that were measured passed. Not faithful: one of them failed."""

    rows: tuple[Row, ...]

    @property
    def word(self) -> Word:
        """The verdict."""
        measured = [row for row in self.rows if row.distance is not None]
        if not measured:
            return NOT_MEASURED
        if not all(row.passed for row in measured):
            return "not faithful"
        return "faithful" if len(measured) == len(self.rows) else "partly"

    @property
    def failed(self) -> tuple[str, ...]:
        """The properties that were measured and failed."""
        return tuple(row.property for row in self.rows if row.distance is not None and not row.passed)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences for the rows that did not pass."""
        failed = [_reason(row) for row in self.rows if row.distance is not None and not row.passed]
        by_reason: dict[str, list[str]] = {}
        for row in self.rows:
            if row.distance is None:
                by_reason.setdefault(row.why, []).append(row.property)
        return (*failed, *(f"{', '.join(names)}: not measurable: {why}" for why, names in by_reason.items()))

    def as_json(self) -> dict[str, object]:
        """Return the verdict for `traffic.json`."""
        return {"verdict": self.word, "rows": [row.as_json() for row in self.rows], "why": list(self.reasons)}


def judged(
    name: str,
    distance: float | None,
    floor: float | None,
    *,
    why: str = "",
    halves: float | None = None,
    parts: Mapping[str, tuple[float, float]] | None = None,
) -> Row:
    """Return the row of a property. It passes if the distance is at most 1.25 times the floor, or the property's least.

    why: the reason if distance or floor is None.
    """
    if distance is None or floor is None:
        return Row(name, None, floor, why=why or "one of both sides lacks it", halves=halves)
    limit = max(BY_CHANCE * floor, PROPERTIES[name].least)
    return Row(name, distance, floor, limit, distance <= limit, halves=halves, parts=parts or {})


def result_of(row: Row) -> Result:
    """Return the result of a row. A row without a distance never passed."""
    if row.distance is None:
        return NOT_MEASURED
    return "passed" if row.passed else "failed"


def verdict_of(rows: Iterable[Row], not_measurable: Mapping[str, str]) -> Verdict:
    """Return the verdict on rows in any order. not_measurable: by property, why it cannot be measured."""
    order = list(PROPERTIES)
    found = (Row(row.property, None, why=why) if (why := not_measurable.get(row.property)) else row for row in rows)
    return Verdict(tuple(sorted(found, key=lambda row: order.index(row.property))))


def unmeasured(why: str, names: Iterable[str] = PROPERTIES) -> list[Row]:
    """Return the rows of properties that could not be measured. why: the reason."""
    return [Row(name, None, why=why) for name in names]


def _reason(row: Row) -> str:
    unit = PROPERTIES[row.property].unit
    floor = "" if row.floor is None else f"; {row.floor:.3g} by chance"
    return f"{row.property}: distance {row.distance:.3g} {unit}, limit {row.limit:.3g}{floor}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
