"""The words of a verdict: an invalid run leads with the generator, and a suspect one never looks like a plain pass."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from loadgen.report import verdict_words
from loadgen.report.executive_summary import story_of
from loadgen.report.exports.markdown import markdown
from loadgen.report.from_run_folder import verdict_of
from loadgen.report.report_tables import final_report
from loadgen.report.summary_reader import Summary, read
from loadgen.report.verdict_words import (
    NOT_JUDGED,
    NOT_SURE,
    deciding_reasons,
    headline,
    objective_verdict,
    shown_result,
)
from loadgen_controller.screen.terminal_report import STYLES
from tests.report.test_tables import summary

BUSY = (
    "this machine is busy (load 5.3 on 2 cores): it woke up to 21.0 ms late, so times cannot be judged;"
    " close other programs or use another machine"
)
DETAIL = "agent us was unfit to measure in 12 of 23 intervals (52.2 %): lag p99 21.0 ms is above 6.30 ms"
SLO = "SLO p(95) < 300ms of checkout failed: observed 351 ms of 700 that were due"


def run(result: str, validity: str, *reasons: str, **more: Any) -> Summary:
    codes = {"passed": 0, "failed": 1, "incomplete": 3, "invalid": 4, "interrupted": 130}
    fit = [] if validity == "valid" else [BUSY, DETAIL]
    doubts = {"verdict": validity, "reasons": fit, "advice": ["close other programs or use another machine"]}
    return read(summary(result=result, exit_code=codes[result], reasons=[*reasons, *fit], validity=doubts, **more))


@pytest.mark.parametrize("other", [SLO, "stopped by `loadgen stop`"])
def test_headline_of_an_invalid_run_is_the_generator_whatever_else_happened(other: str) -> None:
    assert headline(run("invalid", "invalid", other)) == f"INVALID (exit code 4): {BUSY}."


def test_objectives_of_an_invalid_run_are_not_judged_and_no_reason() -> None:
    made = run("invalid", "invalid", SLO, "stopped by `loadgen stop`")
    assert {objective_verdict(slo, made) for slo in made.slos} == {"not judged"}
    assert deciding_reasons(made) == [BUSY, "stopped by `loadgen stop`"]
    lines = "\n".join(final_report(made).lines)
    assert "stopped by `loadgen stop`" in lines
    assert "SLO " not in lines
    assert DETAIL in lines
    assert BUSY not in lines, "the headline has it"


@pytest.mark.parametrize(("result", "code"), [("passed", 0), ("failed", 1)])
def test_suspect_run_says_so_in_its_headline_with_the_cause(result: str, code: int) -> None:
    made = run(result, "suspect", *([SLO] if code else []))
    said = headline(made)
    assert said.startswith(f"{result.upper()} (exit code {code}), but SUSPECT: ")
    assert said.endswith(f"; {BUSY}.")
    assert shown_result(made) == "suspect"


@pytest.mark.parametrize("result", ["incomplete", "invalid", "interrupted"])
def test_run_without_a_verdict_on_its_target_keeps_its_own_badge(result: str) -> None:
    assert shown_result(run(result, "suspect", "why")) == result


def test_the_page_has_the_words_of_the_verdict() -> None:
    """The page's script cannot import them."""
    script = (Path(verdict_words.__file__).parent / "page" / "badges.js").read_text(encoding="utf-8")
    assert f'return ["{NOT_JUDGED}", ' in script
    assert script.count(f'", {NOT_SURE}"') == 2
    badge = re.search(r'shown === "(\w+)"\) return \["suspect", `● \$\{result\}(.*)`\]', script)
    assert badge is not None
    suspect = run("passed", "suspect")
    assert badge[1] == shown_result(suspect)
    assert headline(suspect).lower().startswith(f"passed (exit code 0){badge[2]}: ")


def test_suspect_has_a_colour_and_a_sign_of_its_own_everywhere() -> None:
    suspect, passed = run("passed", "suspect"), run("passed", "valid")
    assert final_report(suspect).result == story_of(suspect).result == verdict_of(suspect)["shown"] == "suspect"
    assert len({STYLES[word] for word in ("passed", "failed", "suspect", "incomplete", "not judged")}) == 5
    signs = {markdown(one, story_of(one)).split()[1] for one in (suspect, passed, run("invalid", "invalid"))}
    assert len(signs) == 3
    assert verdict_of(suspect)["result"] == "passed"
