"""Makes the values of a launch page from a recommendation. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from loadgen.programme.launching.at_stake import Stake
from loadgen.programme.pages.launch_values import LaunchCheck, LaunchEvidence, LaunchPage, MissingEvidence
from loadgen.programme.recommending.checklist import Check
from loadgen.programme.recommending.overrides import evidence_hash
from loadgen.programme.recommending.recommendation import NAMES, Evidence, Recommendation
from loadgen.programme.recommending.shown import headline
from loadgen.programme.weekly.page_values import Said, Tone

__all__ = ["launch_page"]

_STATES: Final[Mapping[str, tuple[str, Tone]]] = MappingProxyType(
    {"go": ("passed", "good"), "no-go": ("failed", "bad"), "open": ("open", "open")}
)
_CHECKS: Final[Mapping[str, Tone]] = MappingProxyType({"done": "good", "refused": "bad", "open": "open"})
_ELSEWHERE: Final = ("override", "signature", "signers", "impact")
"""The beginnings of kinds that have a part of their own on the page."""


def launch_page(
    found: Recommendation,
    release: str,
    journeys: Sequence[str],
    id_: str,
    at: str,
    *,
    checks: Sequence[Check] = (),
    at_stake: Sequence[Stake] = (),
    no_money: Sequence[str] = (),
    total: str = "",
    notes: Sequence[str] = (),
) -> LaunchPage:
    """Return the launch page of a recommendation.

    Args:
        id_: "D-207", or "" if it was not stored. at: when it was made, RFC 3339.
        no_money: what programme.toml lacks for a figure in money; see `without_money`.
        total: a sentence about the sum over journeys, without a full stop.
        notes: what could not be read, and other remarks: sentences without a full stop.
    """
    rows = [one for one in found.evidence if not one.kind.startswith(_ELSEWHERE)]
    answers = [_answer(one) for one in found.evidence if one.kind.startswith(("override", "signature", "signers"))]
    digits = evidence_hash(found)
    if not any(one.kind.startswith("signature") for one in found.evidence):
        how = f": loadgen decide --sign {id_} --by NAME --role ROLE" if id_ else ""
        answers.append(Said(f"Nobody has signed yet{how}.", "open", (id_,) if id_ else (), key="signature"))
    answers.append(Said(f"The hash of the evidence on this page is {digits}.", evidence=(id_,) if id_ else ()))
    impact = tuple(Said(f"{one.journey}: {one.says}.", evidence=(one.entry.id,)) for one in at_stake)
    if not impact and no_money:
        impact = (Said(f"No cost was computed: programme.toml lacks {', and '.join(no_money)}."),)
    if total:
        ids = tuple(one.entry.id for one in at_stake)
        impact = (*impact, Said(f"{total[:1].upper()}{total[1:]}.", evidence=ids))
    name = ", ".join(journeys)
    reason = headline(found, release, tuple(journeys)).partition(f" for {release} of {name}: ")[2]
    return LaunchPage(
        title=f"{name} · launch of {release}",
        release=release,
        journeys=tuple(journeys),
        recommendation=found.recommendation,
        reason=f"{reason[:1].upper()}{reason[1:]}.",
        id=id_,
        at=at,
        evidence=tuple(_evidence(one) for one in rows),
        missing=tuple(MissingEvidence(one.command, one.minutes, one.why) for one in found.missing),
        impact=impact,
        checklist=tuple(
            LaunchCheck(one.text, one.answer, one.by, one.at, one.because, _CHECKS[one.answer]) for one in checks
        ),
        answers=tuple(answers),
        notes=tuple(f"{one}." for one in notes),
    )


def _evidence(one: Evidence) -> LaunchEvidence:
    state, tone = _STATES[one.state] if one.required else ("informs", "plain")
    return LaunchEvidence(NAMES.get(one.kind, one.kind), one.journey, state, one.says, one.id, tone)


def _answer(one: Evidence) -> Said:
    kind = one.kind.partition(" ")[0]
    tone: Tone = "open" if kind == "signers" or "on other evidence" in one.says else "plain"
    return Said(f"{one.says}.", tone, (one.id,) if one.id else (), key=kind)
