"""Renders a check of a scenario as one HTML file: the verdict, and its evidence."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from loadgen.outside_text import in_html
from loadgen.report.static_page import static_page
from loadgen.traffic.fidelity.verdict import Verdict
from loadgen.traffic.model_page.facts import file_name
from loadgen.traffic.model_page.fidelity import badge, fidelity_section
from loadgen.traffic.model_page.lines_of_logs import accounting_section
from loadgen.traffic.read_logs import Traffic

__all__ = ["Against", "CheckFacts", "check_page"]

Against = Literal["simulation", "run", "log"]
_COMPARED: Final = {
    "simulation": "The figures come from a simulation of the scenario as it is now, without a target.",
    "run": "The figures come from the agents' records. A run has no pauses, answers or values.",
    "log": "The figures come from the log that the target wrote during the test.",
}


@dataclass(frozen=True)
class CheckFacts:
    """The contents of the page.

    scenario: the name of its file. arguments: of the command after the scenario; files are shown without folders.
    traffic: of the target's log; None without one. notes: sentences about limits of the comparison.
    """

    verdict: Verdict
    against: Against
    scenario: str
    version: str
    arguments: Sequence[str] = ()
    traffic: Traffic | None = None
    notes: tuple[str, ...] = ()


def check_page(facts: CheckFacts) -> str:
    """Return the page."""
    style = Path(__file__).with_name("page.css").read_bytes()
    return static_page(f"Check of {facts.scenario}", _body(facts), style).decode()


def _body(facts: CheckFacts) -> Iterator[str]:
    yield f'<div class="headline">{badge(facts.verdict)}<h1>Check of {in_html(facts.scenario)}</h1></div>'
    yield f"<p>{_COMPARED[facts.against]} This page compares them with the log that the scenario was made from.</p>"
    yield from (f'<p class="doubt">{in_html(note)}</p>' for note in facts.notes)
    yield '<section id="fidelity"><h2>Fidelity</h2>'
    yield from fidelity_section(facts.verdict)
    yield "</section>"
    if facts.traffic is not None:
        yield '<section id="lines"><h2>Every line of the target\'s log</h2>'
        yield from accounting_section(facts.traffic)
        yield "</section>"
    command = shlex.join(["loadgen", "model", "check", facts.scenario, *map(file_name, facts.arguments)])
    yield '<section id="reproduce"><h2>How to reproduce this</h2>'
    yield f"<pre>{in_html(command)}</pre><p>loadgen {in_html(facts.version)}.</p></section>"
