"""Judges the performance budget: how much slower a journey may be than its pinned release. Pure.

Two numbers stand side by side: *measured* compares the accepted runs of the release with the pinned release, and *by
decisions* adds up the slow-downs that people accepted in one quarter of the calendar (UTC) since the pin. When either
has spent the budget, every certain slow-down by the release is NO-GO, even a small one that the gate passes. Pinning a
release with a reason ends this. A new quarter has a new budget for decisions, but it does not end a budget that an
older quarter has spent, and measured stays a sum since the pin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite, log1p

from loadgen.analysis.burn.performance_budget import ByDecisions, drift, measured, spent_by_decisions
from loadgen.programme.recommending.facts import Rules, RunFact
from loadgen.programme.recommending.recommendation import Evidence, Missing
from loadgen.programme.recommending.rows import Row, row_of, runs_command
from loadgen.units import format_change, format_changes, format_share, quantity

__all__ = [
    "Accepted",
    "MeanChange",
    "Newly",
    "NoSlowDown",
    "SlowDown",
    "budget_row",
    "drift_row",
    "is_spent_in_a_quarter",
    "quarter_at",
]


@dataclass(frozen=True, slots=True)
class NoSlowDown:
    """Why the change against the pinned release is not known, and what would settle it."""

    why: str
    fix: Missing | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A change of the journey that somebody accepted with a reason. ratio: after / before, above 0."""

    at: datetime
    ratio: float
    because: str = ""


@dataclass(frozen=True, slots=True)
class Newly:
    """The slow-down of this release against the accepted runs before it, with its 95 % interval."""

    change: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MeanChange:
    """The change of the mean response time of a journey against the pinned release, ms, with its 95 % interval."""

    reference: str
    point: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SlowDown:
    """The change of a journey against the pinned release with its 95 % interval: 0.04 is 4 % slower."""

    reference: str
    change: float
    low: float
    high: float
    percentile: str = "p95"
    decisions: tuple[Accepted, ...] = ()
    """What was accepted since that release was pinned, oldest first."""
    newly: Newly | None = None
    """Needed only if the budget is spent; None: unknown."""
    why_pinned: str = ""
    """Why a later pin does not count; "" if the newest one does."""

    @property
    def is_known(self) -> bool:
        """Return whether the change has an interval."""
        return all(map(isfinite, (self.change, self.low, self.high)))

    def by_decisions(self, limit: float) -> ByDecisions:
        """Return what all changes that were accepted since the pin have spent of one budget; limit: 0.1 is 10 %."""
        return spent_by_decisions((one.ratio for one in self.decisions), limit=limit)

    def of_quarter(self, quarter: str) -> tuple[Accepted, ...]:
        """Return the changes that were accepted in a quarter, such as "2026-Q3"."""
        return tuple(one for one in self.decisions if quarter_at(one.at) == quarter)

    def is_spent(self, limit: float) -> bool:
        """Return whether the budget is spent: by measurement, or by the decisions of a quarter since the pin."""
        return is_spent_in_a_quarter(self.decisions, limit) or self.change >= limit

    def quarter_shown(self, limit: float, at: datetime | None) -> str:
        """Return the quarter whose decisions are shown: one that spent its budget, or that of `at`; "" for none."""
        quarters = list(dict.fromkeys(quarter_at(one.at) for one in self.decisions))
        spent = [one for one in quarters if is_spent_in_a_quarter(self.of_quarter(one), limit)]
        now = quarter_at(at) if at is not None else ""
        return (spent[-1:] or ([now] if now else quarters[-1:]) or [""])[0]


def quarter_at(at: datetime) -> str:
    """Return the quarter of the calendar in UTC: "2026-Q3"."""
    utc = at.astimezone(UTC)
    return f"{utc.year}-Q{(utc.month + 2) // 3}"


def is_spent_in_a_quarter(decisions: Iterable[Accepted], limit: float) -> bool:
    """Return whether the changes that were accepted in any one quarter have spent its budget."""
    ratios: dict[str, list[float]] = {}
    for one in decisions:
        ratios.setdefault(quarter_at(one.at), []).append(one.ratio)
    # Five changes that make up exactly the limit spend all of it, whatever the last digit of their sum.
    return any(spent_by_decisions(some, limit=limit).spent >= 1 - 1e-9 for some in ratios.values())


def budget_row(journey: str, release: str, runs: Sequence[RunFact], found: SlowDown | NoSlowDown, rules: Rules) -> Row:
    """GO if the upper end of the slow-down against the pinned release is within the budget.

    NO-GO if its lower end is beyond the budget; or if the budget is spent, and the release is certainly slower than the
    accepted runs before it.
    """
    if isinstance(found, NoSlowDown):
        return row_of("budget", journey, release, says=found.why), (found.fix,) if found.fix else ()
    if not found.is_known:
        return row_of("budget", journey, release, says="the slow-down against the pinned release is not known"), ()
    at = max((run.at for run in runs), default=None)
    limit = rules.slower
    accepted, quarter = found.by_decisions(limit), found.quarter_shown(limit, at)
    text = f"measured: {found.percentile} {format_changes(found.low, found.high)} against {found.reference}"
    text += f" (95 %); by decisions: {_by_decisions(found, accepted, quarter, limit)}"
    text += f"; at most {format_share(limit)} slower is allowed"
    state = "no-go" if found.low > limit else "go" if found.high <= limit else "open"
    if state != "no-go" and found.is_spent(limit):
        if found.newly is None:
            state, end = "open", "the budget is spent, and whether this release is slower is not known"
        elif found.newly.low > 0:
            state, end = "no-go", f"the budget is spent, and this release is certainly slower: {_newly(found.newly)}"
        else:
            end = f"the budget is spent; this release is not certainly slower: {_newly(found.newly)}"
        text += f"; {end}; pin a release anew with a reason"
    if found.why_pinned:
        text += f"; {found.why_pinned}"
    row = Evidence(
        "budget",
        found.reference,
        state,  # type: ignore[arg-type]
        text,
        at,
        release,
        journey=journey,
        arithmetic=_arithmetic(found, quarter, limit),
    )
    return row, (runs_command(runs, release, 3),) if state == "open" else ()


def drift_row(journey: str, release: str, found: SlowDown | NoSlowDown, rules: Rules) -> Evidence | None:
    """Return a row that informs, if a part of the measured change was certainly not accepted; None otherwise."""
    if isinstance(found, NoSlowDown) or not found.is_known or min(found.change, found.low) <= -1:
        return None
    limit = rules.slower
    accepted = found.by_decisions(limit)
    latest = measured(log1p(found.change), log1p(found.low), log1p(found.high), limit=limit)
    part = drift(latest, accepted, limit=limit)
    if not part.is_certain:
        return None
    says = (
        f"drift that nobody accepted: {format_change(part.ratio - 1)} ({format_changes(part.low - 1, part.high - 1)})"
    )
    says += f", as {found.percentile} {format_change(found.change)} was measured against {found.reference}"
    net = accepted.net_log_ratio
    return Evidence(
        "drift",
        found.reference,
        "open",
        says,
        release=release,
        required=False,
        journey=journey,
        arithmetic=f"drift = measured / accepted: log {1 + found.change:.4f} - {net:.4f} = log {part.ratio:.4f}",
    )


def _by_decisions(found: SlowDown, since_pin: ByDecisions, quarter: str, limit: float) -> str:
    """Return what the decisions of a quarter have spent, and what all of them since the pin would."""
    ours = found.of_quarter(quarter)
    spent = spent_by_decisions((one.ratio for one in ours), limit=limit).spent
    of = f" of {quarter}" if quarter else ""
    text = f"{spent * 100:.1f} % of the budget is spent in {quantity(len(ours), 'accepted change')}{of}"
    if len(ours) < len(found.decisions):
        text += f" ({since_pin.spent * 100:.1f} % of one budget in {len(found.decisions)} since the pin)"
    return text


def _newly(found: Newly) -> str:
    return (
        f"{format_change(found.change)} ({format_changes(found.low, found.high)}) against the accepted runs before it"
    )


def _arithmetic(found: SlowDown, quarter: str, limit: float) -> str:
    text = f"measured: log {1 + found.change:.4f} / log {1 + limit:g} ="
    text += f" {log1p(found.change) / log1p(limit) * 100:.1f} % of the budget" if found.change > -1 else " unknown"
    sums = [(f"by decisions{f' of {quarter}' if quarter else ''}", found.of_quarter(quarter))]
    if len(sums[0][1]) < len(found.decisions):
        sums.append(("since the pin", found.decisions))
    for name, decisions in sums:
        terms = " + ".join(f"{'' if one.ratio > 1 else 'half of '}log {one.ratio:.4f}" for one in decisions[:6])
        more = " + ..." if len(decisions) > 6 else ""
        spent = spent_by_decisions((one.ratio for one in decisions), limit=limit).spent
        text += f"; {name}: ({terms or '0'}{more}) / log {1 + limit:g} = {spent * 100:.1f} %"
    return text
