"""Writes the result of a gate as JSON, JUnit XML and Markdown, for programs and pull requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from math import isfinite
from typing import Final
from xml.etree.ElementTree import Element

from loadgen.analysis.gate import Effect, Outcome
from loadgen.history.gate.gate_result import Decision, Verdict
from loadgen.report.exports.junit import case_of, says, suite_of
from loadgen.report.exports.markdown import code, report_lines, text
from loadgen.units import format_change, format_changes
from loadgen_controller.commands.gating.text import explained, headline, report_of

__all__ = ["as_json", "as_junit", "as_markdown"]

FORMAT: Final = 1
_SIGNS: Final = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "⚠️", Verdict.INVALID: "⚠️"}


def as_json(decision: Decision) -> dict[str, object]:
    """Return the decision as a JSON document.

    Effects are relative (0.1: 10 % slower), ratios are 0 to 1; null means that there is no value. Programs read this:
    keys may be added, but never removed.
    """
    settings = decision.settings
    return {
        "format": FORMAT,
        "verdict": str(decision.verdict),
        "exit_code": int(decision.verdict.exit_code),
        "headline": headline(decision),
        "is_suspect": decision.is_suspect,
        "more_runs": decision.more_runs,
        "reasons": list(decision.reasons),
        "warnings": list(decision.warnings),
        "notes": list(decision.notes),
        "detectable": _number(decision.detectable),
        "settings": asdict(settings),
        "runs": [run.run_id for run in decision.new],
        "key": decision.new[0].key.hash(),
        "baselines": [
            {
                "against": family.against,
                "runs": list(family.run_ids),
                "outcome": str(family.judgement.outcome),
                "alpha": family.judgement.alpha,
                "names": [_effect(one) for one in family.judgement.names],
            }
            for family in decision.families
        ],
        "secondary": [_effect(one) for one in decision.secondary],
        "errors": [{key: _number(value) for key, value in asdict(one).items()} for one in decision.errors],
    }


def as_junit(decision: Decision) -> bytes:
    """Return JUnit XML: a test case for the verdict, and one for each name and baseline.

    Inconclusive names are skipped cases. The case of the verdict is never skipped: it passes only for a PASS.
    """
    cases = [_verdict_case(decision)]
    for family in decision.families:
        against = "" if family is decision.families[0] else f" against {family.against}"
        cases += [_name_case(one, f"{one.name}{against}") for one in family.judgement.names]
    for error in decision.errors:
        case = case_of(f"errors of {error.name}")
        if error.has_failed:
            says(case, "failure", f"{error.after:.3%} errors, {error.before:.3%} before")
        cases.append(case)
    first = decision.new[0]
    return suite_of(
        "loadgen gate",
        cases,
        classname="loadgen.gate",
        timestamp=first.started_at.removesuffix("Z"),
        time_s=sum(run.duration_s for run in decision.new),
        properties={"verdict": str(decision.verdict), "runs": " ".join(run.run_id for run in decision.new)},
        out="\n".join((headline(decision), *explained(decision))),
    )


def as_markdown(decision: Decision) -> str:
    """Return the decision as Markdown for a comment on a pull request, ending with a newline.

    Special characters in names are escaped.
    """
    return "\n".join(_markdown(decision)) + "\n"


def _markdown(decision: Decision) -> Iterator[str]:
    report = report_of(decision, None)
    sign = _SIGNS[decision.verdict]
    yield from report_lines(replace(report, headline=f"{sign} loadgen gate: {report.headline}"))
    if decision.notes:
        yield from ("", *(f"- {text(one)}" for one in report.foot))
    yield from ("", "Runs " + ", ".join(code(run.run_id) for run in decision.new))


def _verdict_case(decision: Decision) -> Element:
    """Return the JUnit test case that stands for the verdict; it fails whenever the gate's exit code is not 0."""
    case = case_of("verdict")
    if decision.verdict is not Verdict.PASS:
        says(case, "failure", headline(decision), decision.reasons)
    return case


def _name_case(one: Effect, name: str) -> Element:
    case = case_of(name)
    change = f"{format_change(one.change)} ({format_changes(one.low, one.high)})"
    if one.outcome is Outcome.FAIL:
        says(case, "failure", f"{change}, p {one.p_adjusted:.2g}")
    elif one.outcome is Outcome.INCONCLUSIVE:
        says(case, "skipped", one.reason)
    return case


def _effect(one: Effect) -> dict[str, object]:
    return {key: _number(value) for key, value in asdict(one).items()}


def _number(value: object) -> object:
    """Return None for nan and infinity, which JSON cannot express; return other values unchanged."""
    return None if isinstance(value, float) and not isfinite(value) else value
