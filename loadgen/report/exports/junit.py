"""Format a run as JUnit XML for the test page of a CI.

Each objective is a test case; three more cases cover the run, its validity and its
completeness. The case `run` fails whenever the exit code is not 0, so a run that did
not pass is never shown as green. Inconclusive objectives are skipped cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from loadgen.outside_text import block, one_line
from loadgen.report.executive_summary import Story
from loadgen.report.summary_reader import Slo, Summary
from loadgen.report.verdict_words import all_reasons, fitness_words, objective_verdict

__all__ = ["case_of", "junit", "says", "suite_of"]


def junit(summary: Summary, story: Story, why_slow: Sequence[str] = ()) -> bytes:
    """Return the XML document of a run in UTF-8, with the sentences of `story` (of the same summary) as messages.

    why_slow: what the traces of its slow requests show; these lines are in the suite's output.
    """
    cases = [_run(summary, story), _validity(summary), _completeness(summary)]
    cases += [
        _objective(slo, objective_verdict(slo, summary), text)
        for slo, text in zip(summary.slos, story.objectives, strict=True)
    ]
    return suite_of(
        f"{summary.scenario} {summary.plan}".strip(),
        cases,
        classname=f"loadgen.{summary.scenario}.{summary.plan}",
        timestamp=summary.started_at.removesuffix("Z"),
        time_s=summary.duration_s,
        properties={"run": summary.run_id, "result": summary.result, "load": summary.load.text},
        out="\n".join((story.headline, *story.excludes, *(f"why slow: {line}" for line in why_slow))),
    )


def suite_of(
    name: str,
    cases: Sequence[Element],
    *,
    classname: str,
    timestamp: str,
    time_s: float,
    properties: Mapping[str, str],
    out: str,
) -> bytes:
    """Return the XML document of one test suite in UTF-8.

    `cases` come from `case_of`, with results added by `says`. All cases get the same `classname`.
    """
    kinds = [child.tag for case in cases for child in case]
    counts = {
        "tests": str(len(cases)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": f"{time_s:.3f}",
    }
    root = Element("testsuites", _clean({"name": "loadgen", **counts}))
    suite = SubElement(root, "testsuite", _clean({"name": name, "timestamp": timestamp} | counts))
    described = SubElement(suite, "properties")
    for key, value in properties.items():
        SubElement(described, "property", _clean({"name": key, "value": value}))
    for case in cases:
        case.attrib |= _clean({"classname": classname})
        suite.append(case)
    SubElement(suite, "system-out").text = _printable(out)
    body: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def _run(summary: Summary, story: Story) -> Element:
    case = case_of("run", time_s=summary.duration_s)
    if summary.exit_code:
        says(case, "error" if summary.result == "error" else "failure", story.headline, all_reasons(summary))
    return case


def _validity(summary: Summary) -> Element:
    case = case_of(f"the load generator {fitness_words('valid')}")
    verdict, reasons = summary.validity.verdict, summary.validity.reasons
    if verdict == "invalid":
        says(case, "failure", f"the load generator {fitness_words(verdict)}", reasons)
    elif verdict != "valid":
        says(case, "skipped", f"the load generator {fitness_words(verdict)} ({verdict})", reasons)
    return case


def _completeness(summary: Summary) -> Element:
    case = case_of("the data are complete")
    lost = [agent for agent in summary.agents if not agent.complete]
    if lost:
        texts = tuple(agent.missing or f"agent {agent.id} is not complete" for agent in lost)
        noun = "agent" if len(summary.agents) == 1 else "agents"
        are = "is" if len(lost) == 1 else "are"
        says(case, "failure", f"{len(lost)} of {len(summary.agents)} {noun} {are} not complete", texts)
    return case


def _objective(slo: Slo, verdict: str, text: str) -> Element:
    case = case_of(slo.objective + (f" of {slo.journey}" if slo.journey else ""))
    if verdict == "passed":
        SubElement(case, "system-out").text = _printable(text)
    else:
        says(case, "failure" if verdict == "failed" else "skipped", text)
    return case


def case_of(name: str, time_s: float = 0.0) -> Element:
    """Return a test case that passes unless `says` adds a failure, an error or a skip."""
    return Element("testcase", _clean({"name": name, "time": f"{time_s:.3f}"}))


def says(case: Element, tag: str, message: str, more: tuple[str, ...] = ()) -> None:
    """Add a result to a test case: `tag` is "failure", "error" or "skipped", `more` are lines of details."""
    SubElement(case, tag, _clean({"message": message})).text = _printable("\n".join(more)) or None


def _clean(attributes: dict[str, str]) -> dict[str, str]:
    return {name: one_line(value) for name, value in attributes.items()}


def _printable(text: str) -> str:
    """Return `text` with control characters replaced, because XML cannot contain most of them."""
    return "\n".join(block(text))
