"""The values of a launch page. All that is shown is here; `launch_html` computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.programme.weekly.page_values import Said, Tone

__all__ = ["LaunchCheck", "LaunchEvidence", "LaunchPage", "MissingEvidence"]


@dataclass(frozen=True, slots=True)
class LaunchEvidence:
    """One piece of evidence, a row of the table.

    kind: "gate", "promise", "capacity", ... journey: "" for all journeys. state: in words, such as "passed", "failed",
    "missing". tone: "bad" speaks against the launch, "good" for it, "open" is undecided or missing. says: the result in
    a sentence. id: "G-88", or "" where there is none.
    """

    kind: str
    journey: str
    state: str
    says: str
    id: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class MissingEvidence:
    """A command that gives missing evidence. minutes: how long it takes; None: not known. why: a sentence."""

    command: str
    minutes: float | None
    why: str


@dataclass(frozen=True, slots=True)
class LaunchCheck:
    """An item of the checklist. state: in words, such as "done", "open", "refused". by, at: who answered and when."""

    item: str
    state: str
    by: str = ""
    at: str = ""
    says: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class LaunchPage:
    """A launch page.

    title: "Checkout · launch of v412". recommendation: "GO", "NO-GO" or "INCONCLUSIVE". reason: one sentence.
    id: "D-207", or "" if the recommendation is not stored. at: RFC 3339. missing: in the order in which to run them.
    impact: what the launch may cost, with its intervals and limits. answers: overrides and signatures.
    """

    title: str
    release: str
    journeys: tuple[str, ...]
    recommendation: str
    reason: str
    id: str
    at: str
    evidence: tuple[LaunchEvidence, ...] = ()
    missing: tuple[MissingEvidence, ...] = ()
    impact: tuple[Said, ...] = ()
    checklist: tuple[LaunchCheck, ...] = ()
    answers: tuple[Said, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be read, and other remarks: sentences."""

    @property
    def tone(self) -> Tone:
        """Return the tone of the recommendation."""
        return {"GO": "good", "NO-GO": "bad"}.get(self.recommendation, "open")  # type: ignore[return-value]
