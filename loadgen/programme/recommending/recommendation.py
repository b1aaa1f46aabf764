"""Recommends GO, NO-GO or INCONCLUSIVE for a release, from pieces of evidence. Pure.

    found = recommend(evidence, policy, now)
    found.recommendation, found.exit_code       # "INCONCLUSIVE", 3

Only required pieces of evidence decide. A piece counts if it is there, is fresh, and is about this release. Then:

1. NO-GO if any required piece counts and says NO-GO;
2. GO if every required piece counts and says GO;
3. otherwise INCONCLUSIVE.

So absence is never a pass: removing a piece, letting it become stale, or changing its release never produces GO. There
is no score, since a weighted 0.83 explains nothing: each piece has its own sentence with figure, interval and rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal

from loadgen.errors import ExitCode

__all__ = [
    "AGES",
    "CLOCK_ERROR",
    "GO",
    "INCONCLUSIVE",
    "KINDS",
    "NAMES",
    "NO_GO",
    "OF_ANY_RELEASE",
    "Answer",
    "Evidence",
    "Missing",
    "Piece",
    "Policy",
    "Recommendation",
    "State",
    "age_text",
    "recommend",
]

State = Literal["go", "no-go", "open"]
Answer = Literal["GO", "NO-GO", "INCONCLUSIVE"]
GO: Final = "GO"
NO_GO: Final = "NO-GO"
INCONCLUSIVE: Final = "INCONCLUSIVE"

KINDS: Final = ("validity", "objectives", "gate", "promise", "budget", "headroom", "health")
"""The kinds of evidence of a journey, in the order in which they are shown."""
NAMES: Final[Mapping[str, str]] = MappingProxyType({"budget": "performance budget", "promise": "production promise"})
"""How kinds are shown to people, where it is not the kind itself. Documents for programs have the kind."""
OF_ANY_RELEASE: Final = frozenset({"promise", "health"})
"""Kinds that describe production, or the gate itself: their evidence names no release."""
AGES: Final[Mapping[str, timedelta]] = MappingProxyType(
    {"promise": timedelta(hours=24), "headroom": timedelta(days=90), "health": timedelta(days=21)}
)
"""How old evidence may be. The other kinds are about the release itself, and do not age."""
CLOCK_ERROR: Final = timedelta(minutes=5)
"""Evidence from further in the future has a wrong clock, and does not count."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What evidence is about: a kind, and a journey; "" is all journeys."""

    kind: str
    journey: str = ""

    def __str__(self) -> str:
        name = NAMES.get(self.kind, self.kind)
        return f"{name} of {self.journey}" if self.journey else name


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence: a row of the table."""

    kind: str
    """One of `KINDS`."""
    id: str
    """Where it comes from: "C-12", "G-88", run ids. Empty: from nowhere."""
    state: State
    says: str
    """A sentence without a full stop: the figure, its interval and the rule."""
    at: datetime | None = None
    """When it was measured, with a time zone; None: unknown, so it is never fresh."""
    release: str = ""
    """The release that it is about; empty for production and the gate's health."""
    required: bool = True
    """False: it informs and never changes the recommendation."""
    journey: str = ""
    arithmetic: str = ""
    """How the state follows from the figures, in words: what `--explain` shows. It is no part of what is signed."""

    @property
    def piece(self) -> Piece:
        """Return what it is about."""
        return Piece(self.kind, self.journey)


@dataclass(frozen=True, slots=True)
class Missing:
    """A command that provides missing evidence, and about how many minutes it takes."""

    command: str
    minutes: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a release needs for GO."""

    release: str
    required: tuple[Piece, ...]
    ages: Mapping[str, timedelta] = field(default_factory=lambda: AGES)
    """How old the evidence of a kind may be; kinds that are not there do not age."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer, with the evidence as it counted and what is missing."""

    recommendation: Answer
    evidence: tuple[Evidence, ...]
    """Every required piece, also those that are not there, then what only informs. A piece that does not count is
    "open", and its sentence begins with the reason."""
    missing: tuple[Missing, ...]
    """Commands in the order of least time."""
    is_valid: bool = True
    """False: nothing valid was measured, so there is nothing to judge and nothing to override."""

    @property
    def exit_code(self) -> ExitCode:
        """Return 0 GO, 1 NO-GO, 3 INCONCLUSIVE, 4 nothing valid to judge."""
        if self.recommendation == NO_GO:
            return ExitCode.FAILED
        if not self.is_valid:
            return ExitCode.INVALID
        return ExitCode.PASSED if self.recommendation == GO else ExitCode.INCOMPLETE


def recommend(
    evidence: Iterable[Evidence],
    policy: Policy,
    now: datetime,
    *,
    missing: Iterable[Missing] = (),
    is_valid: bool = True,
) -> Recommendation:
    """Return the recommendation that follows from the evidence by the order of this module's docstring.

    Args:
        evidence: at most one for each piece.
        now: with a time zone. Evidence that is more than 5 minutes after it does not count.
        missing: commands that would provide what is open; they are sorted by time. Equal commands are named once.
        is_valid: whether any run of the release was measured properly.

    Raises:
        ValueError: nothing is required, a piece has two rows, or a required row is not in the policy. All of these
            could hide a NO-GO.
    """
    given = tuple(evidence)
    _check(given, policy)
    by_piece = {one.piece: one for one in given}
    rows = [_counted(piece, by_piece.get(piece), policy, now) for piece in policy.required]
    informing = tuple(one for one in given if not one.required and one.piece not in policy.required)
    states = {one.state for one in rows}
    answer: Answer = "INCONCLUSIVE"
    if "no-go" in states:
        answer = "NO-GO"
    elif states == {"go"} and is_valid:
        answer = "GO"
    commands = () if answer == GO else _by_time(missing)
    return Recommendation(answer, (*rows, *informing), commands, is_valid)


def _counted(piece: Piece, one: Evidence | None, policy: Policy, now: datetime) -> Evidence:
    """Return a row as it counts: "open" if it is not there, not fresh, or about another release."""
    if one is None:
        return Evidence(piece.kind, "", "open", "missing", journey=piece.journey)
    why = _why_not(one, policy, now)
    return replace(one, state="open", says=f"{why}: {one.says}") if why else one


def _why_not(one: Evidence, policy: Policy, now: datetime) -> str:
    release = "" if one.kind in OF_ANY_RELEASE else policy.release
    if not one.required:
        return "not marked as required"
    if one.release != release:
        return f"about release {one.release or 'unknown'}" if release else f"about release {one.release} only"
    if one.at is None:
        return "" if one.state == "open" else "of unknown age"
    if one.at > now + CLOCK_ERROR:
        return "dated in the future"
    most = policy.ages.get(one.kind)
    if most is not None and now - one.at > most:
        return f"too old ({age_text(now - one.at)}, at most {age_text(most)} are allowed)"
    return ""


def age_text(age: timedelta) -> str:
    """Return an age as text: "25 h", "91 days"."""
    hours = age.total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _by_time(missing: Iterable[Missing]) -> tuple[Missing, ...]:
    first: dict[str, Missing] = {}
    for one in sorted(missing, key=lambda one: one.minutes):
        first.setdefault(one.command, one)
    return tuple(first.values())


def _check(given: Sequence[Evidence], policy: Policy) -> None:
    if not policy.required:
        raise ValueError("the policy requires no evidence, so nothing can be recommended")
    pieces = [one.piece for one in given]
    if twice := sorted({str(one) for one in pieces if pieces.count(one) > 1}):
        raise ValueError(f"two rows for the same piece of evidence: {', '.join(twice)}")
    if strange := sorted(str(one.piece) for one in given if one.required and one.piece not in policy.required):
        raise ValueError(f"evidence that the policy does not require: {', '.join(strange)}")
