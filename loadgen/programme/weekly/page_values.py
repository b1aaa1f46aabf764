"""The values of a weekly page. All that is shown is here; the modules that write HTML, Markdown, CSV and JSON compute
nothing.

Every number that a reader sees is a `Shown` with the id of its evidence, or it stands in a `Said` with the ids of all
evidence of the sentence. `WeeklyPage.evidence` has an entry for each of these ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from loadgen.programme.evidence.entry import EvidenceEntry

__all__ = [
    "COLUMNS",
    "NOTHING",
    "QUARTER_COLUMNS",
    "Chart",
    "ChartLine",
    "ChartMark",
    "Row",
    "Said",
    "Section",
    "Shown",
    "Tone",
    "WeeklyPage",
    "columns_of",
]

Tone = Literal["bad", "open", "good", "plain"]
"""bad: a promise or a limit is broken. open: the data do not say. good: surely fine. plain: no judgement."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell of the table. text: as people read it, with its unit. value, low, high: for programs; None: there is none.

    count: of what the value was computed from (requests, slices, runs). evidence: ids; () only without a number.
    """

    text: str
    tone: Tone = "plain"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    count: int | None = None
    is_estimate: bool = False
    evidence: tuple[str, ...] = ()


NOTHING: Final = Shown("not measured")
"""A cell without data."""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise of a journey. A journey with two promises has two rows. Worst rows are first on the page.

    journey: "" for a summary row of healthy journeys, whose `says` is its only text. promise: "99.5 % ≤ 300 ms, 4w".
    method: the budgeting method, since two methods are never compared.
    """

    journey: str
    slo: str
    owner: str
    promise: str
    method: str
    tone: Tone
    kept: Shown = NOTHING
    """Yes or no with the attainment: "no, 99.41 %"."""
    budget_left: Shown = NOTHING
    burn: Shown = NOTHING
    """Over 7 days."""
    gone: Shown = NOTHING
    """When the budget will be spent: "gone", "in 2 to 9 days", "not at this rate"."""
    week_on_week: Shown = NOTHING
    """p95 of production or of runs; its text has the wording of `wording.py`."""
    gate: Shown = NOTHING
    headroom: Shown = NOTHING
    at_stake: Shown = NOTHING
    team: str = ""
    says: str = ""
    trend: Shown | None = None
    """Whether it became more reliable in the weeks of a quarter; None on the page of a week."""

    def cells(self) -> Iterator[tuple[str, Shown]]:
        """Yield the name and the cell of each column of `columns_of` that has a `Shown`."""
        for name in COLUMNS:
            if name not in ("journey", "owner", "promise"):
                yield name, getattr(self, name)
        if self.trend is not None:
            yield "trend", self.trend


COLUMNS: Final = {
    "journey": "journey",
    "owner": "owner",
    "promise": "promise",
    "kept": "kept",
    "budget_left": "budget left",
    "burn": "burn 7 d",
    "gone": "gone",
    "week_on_week": "p95 week on week",
    "gate": "gate",
    "headroom": "headroom",
    "at_stake": "at stake",
}
"""The fields of a row in the order of the table, with the heading of each."""


QUARTER_COLUMNS: Final = COLUMNS | {"trend": "13 weeks"}
"""The same for the page of a quarter."""


def columns_of(rows: Iterable[Row]) -> Mapping[str, str]:
    """Return the columns of a page with these rows: a quarter also has the trend."""
    return QUARTER_COLUMNS if any(row.trend is not None for row in rows) else COLUMNS


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence with a full stop at its end. evidence: ids of everything that its numbers come from.

    owner: whom to call; "" where nobody has to act. key: what chose it, such as "promise not kept", for programs.
    """

    text: str
    tone: Tone = "plain"
    evidence: tuple[str, ...] = ()
    owner: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part below the charts: "What changed", "What is open", "Anomalies", ... An empty one says so in `none`."""

    title: str
    items: tuple[Said, ...] = ()
    none: str = "Nothing."


@dataclass(frozen=True, slots=True)
class ChartMark:
    """A mark at a time (Unix time, s) with its label, such as a change point with its commit."""

    at: int
    label: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line: points (Unix time in s, value), by time; None is a gap. low, high: the band, of the same shape, or ()."""

    name: str
    points: tuple[tuple[int, float | None], ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    marks: tuple[ChartMark, ...] = ()
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. text: what it shows in one or two sentences, for people who do not see it. limit: a rule, or None."""

    title: str
    unit: str
    text: str
    lines: tuple[ChartLine, ...]
    limit: float | None = None
    limit_name: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeeklyPage:
    """A weekly page, or one of a quarter. Times are Unix times, s.

    id: "w30-4f1a", from the content. week: "2026-W30", or "2026-Q3". zone: of the tz database. as_of: what was known
    then, RFC 3339. complete_to: until when the data are complete; 0: not known.
    """

    title: str
    week: str
    zone: str
    start: int
    end: int
    as_of: str
    id: str
    complete_to: int
    sources: tuple[str, ...]
    late: tuple[str, ...]
    """The sources whose data are late."""
    sentences: tuple[Said, ...]
    """At most three."""
    rows: tuple[Row, ...]
    charts: tuple[Chart, ...] = ()
    sections: tuple[Section, ...] = ()
    evidence: tuple[EvidenceEntry, ...] = ()
    revisions: tuple[str, ...] = ()
    is_public: bool = False
    """Only promises and attainment; no owner, no money, no commit."""
    team: str = ""
    """The only team whose promises the page has; "": it has those of all teams."""
    notes: tuple[str, ...] = field(default=())
    """What could not be read: sentences."""
