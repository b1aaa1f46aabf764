"""The docs name what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.docs_names import ROOT, check, pages, wrong


def test_everything_that_the_docs_name_is_there() -> None:
    missing = [str(m) for page in pages(ROOT) for m in check(page.read_text(), page.relative_to(ROOT))]

    assert not missing


@pytest.mark.parametrize(
    "code",
    [
        "loadgen/errors.py:UsageError",
        "loadgen/measure/merging/merge.py:Merge.accept",
        "histogram.Histogram",
        "loadgen.measure.histograms.histogram.Histogram.percentile_us",
        "loadgen_controller.core.lifecycle",
        "loadgen run FILE --rate 50/s",
        "tests/test_layout.py",
        "user.think",
        "user.http",
        "user.http.get",
        "reply.status_code",
        "p(95) < 300ms",
    ],
)
def test_name_that_is_there_passes(code: str) -> None:
    assert wrong(code) == ""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("loadgen/errors.py:Nothing", "loadgen/errors.py has no Nothing"),
        ("loadgen/measure/merging/merge.py:Merge.nothing", "loadgen/measure/merging/merge.py has no Merge.nothing"),
        ("loadgen/nothing.py:f", "file not found"),
        ("histogram.Nothing", "histogram has no Nothing"),
        ("loadgen.nothing.f", "no module loadgen.nothing"),
        ("tests/nothing.py", "file not found"),
        ("user.fly", "user has no fly"),
        ("loadgen fly", "no command fly"),
        ("loadgen run FILE --fly", "no option --fly"),
    ],
)
def test_name_that_is_not_there_is_said(code: str, why: str) -> None:
    assert wrong(code) == why


def test_fault_has_page_and_line_and_code_blocks_are_left_out() -> None:
    text = "one\n```\n`histogram.Nothing`\n```\nsee `histogram.Nothing` and [page](nowhere.md)\n"

    found = [(m.line, m.text) for m in check(text, Path("docs/page.md"))]

    assert found == [(5, "nowhere.md"), (5, "histogram.Nothing")]


def test_words_of_another_tool_are_not_checked_in_the_first_column_of_its_page() -> None:
    row = "| `--spawn-rate` | `--no-such-option` |"

    assert [m.text for m in check(row, Path("docs/coming-from/locust.md"))] == ["--no-such-option"]
    assert [m.text for m in check(row, Path("docs/commands.md"))] == ["--spawn-rate", "--no-such-option"]
