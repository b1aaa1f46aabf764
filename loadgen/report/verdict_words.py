"""The words of a verdict, the same in every output: the result that is shown, the headline, and objectives' verdicts.

Two rules hold everywhere. A run whose generator could not measure (*invalid*) leads with
the generator, and its objectives are *not judged*: their figures contain the generator's
own delays. A run whose generator was late at times (*suspect*) never looks like one that
simply passed or failed. Exit codes and `summary.json` do not depend on these words.
"""

from __future__ import annotations

from typing import Final

from loadgen.report.limit_found import limit_found, limit_text
from loadgen.report.summary_reader import Slo, Summary
from loadgen.units import NS_PER_S, format_duration, quantity

__all__ = [
    "NOT_JUDGED",
    "NOT_SURE",
    "NO_VERDICT",
    "all_reasons",
    "deciding_reasons",
    "fitness_words",
    "headline",
    "is_of_objective",
    "lead_reason",
    "objective_verdict",
    "short_headline",
    "shown_result",
]

NOT_JUDGED: Final = "not judged"
"""The verdict of an objective in a run that is invalid."""
NOT_SURE: Final = "not sure"
"""Follows the verdict of an objective for which a repeated run may get the other verdict."""
NO_VERDICT: Final = "The run ended with an error, so it gives no verdict about the target"
_FITNESS: Final = {"valid": "measured correctly", "invalid": "could not measure correctly"}


def shown_result(summary: Summary) -> str:
    """Return the result that decides badge and colour: "suspect" for a suspect run that passed or failed."""
    is_suspect = summary.validity.verdict == "suspect"
    return "suspect" if is_suspect and summary.result in ("passed", "failed") else summary.result


def objective_verdict(slo: Slo, summary: Summary) -> str:
    """Return an objective's verdict for people: "not judged" in an invalid run."""
    return NOT_JUDGED if summary.result == "invalid" else slo.verdict


def headline(summary: Summary) -> str:
    """Return the verdict, exit code and reason in one sentence.

    An invalid run gives the generator's first reason, which has the cause and the advice. Other runs that did not pass
    give the first two reasons. A suspect run adds the generator's first reason. The limit that a `search` or `hold`
    found comes before it, because it is the answer that the run was made for.
    """
    limit = f"{found}. " if (found := limit_found(summary)) else ""
    why = _objectives_met(summary)
    if summary.result != "passed":
        first, *others = deciding_reasons(summary)
        more = (
            f"; and {quantity(len(others), 'more reason')}, below" if others[1:] else "".join(f"; {o}" for o in others)
        )
        why = first if summary.result == "invalid" else first + more
    verdict = f"{summary.result.upper()} (exit code {summary.exit_code})"
    if shown_result(summary) == "suspect":
        return f"{limit}{verdict}, but SUSPECT: {'; '.join(filter(None, (why, lead_reason(summary))))}."
    return f"{limit}{verdict}: {why}."


def short_headline(summary: Summary) -> str:
    """Return the verdict and the exit code, such as "PASSED (exit code 0)".

    A suspect run adds "but SUSPECT". An invalid run has "INVALID" in place of the verdict.
    """
    code = f"(exit code {summary.exit_code})"
    if summary.result == "invalid" or summary.validity.verdict == "invalid":
        return f"INVALID {code}, so times cannot be judged"
    is_suspect = summary.validity.verdict == "suspect"
    return f"{summary.result.upper()}{' but SUSPECT' if is_suspect else ''} {code}"


def fitness_words(validity: str) -> str:
    """Return what a load generator did, for "valid", "suspect" or "invalid", such as "could not measure correctly"."""
    return _FITNESS.get(validity, "may not have measured correctly")


def lead_reason(summary: Summary) -> str:
    """Return the first reason why the generator was not fit to measure, without a full stop; "" for a valid run."""
    reasons = () if summary.validity.verdict == "valid" else summary.validity.reasons
    return reasons[0].rstrip(".") if reasons else ""


def is_of_objective(reason: str) -> bool:
    """Return whether a reason of a verdict is about an objective; `judging/verdict.py` of the controller writes it."""
    return reason.startswith("SLO ")


def all_reasons(summary: Summary) -> tuple[str, ...]:
    """Return all reasons of a summary, for a list without a headline.

    For an invalid run the generator's lead reason is the first, and its objectives, which are not judged, are left out.
    """
    if summary.result != "invalid":
        return summary.reasons
    others = (reason for reason in summary.reasons if not is_of_objective(reason))
    return tuple(dict.fromkeys((*summary.validity.reasons[:1], *others)))


def deciding_reasons(summary: Summary) -> list[str]:
    """Return the reasons of the verdict, without a full stop, the one of the headline first. There is at least one.

    For an invalid run these are the generator's lead reason and then all others but its objectives, which are not
    judged. For other runs the reasons of validity are left out, because they have a line of their own, and so is a
    limit with which the headline begins.
    """
    fit = {reason.rstrip(".") for reason in summary.validity.reasons}
    reasons = [reason.rstrip(".") for reason in summary.reasons]
    fit |= {one.text.rstrip(".") for one in summary.steering if limit_found(summary) and limit_text(one)}
    others = [reason for reason in reasons if reason not in fit]
    if summary.result == "invalid":
        lead = lead_reason(summary) or next((r for r in reasons if not is_of_objective(r)), "no reason was given")
        return [lead, *(reason for reason in others if reason != lead and not is_of_objective(reason))]
    return others or reasons or ["no reason was given"]


def _objectives_met(summary: Summary) -> str:
    n, met = len(summary.slos), sum(slo.verdict == "passed" for slo in summary.slos)
    of = f"{quantity(summary.iterations.due, 'iteration')} in {format_duration(summary.duration_s * NS_PER_S)}"
    if not n and limit_found(summary):
        return of
    return f"{met} of {quantity(n, 'objective')} met over {of}" if n else f"no objectives were set; {of}"
