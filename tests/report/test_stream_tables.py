"""The tables of requests to AI models at the end of a run."""

from __future__ import annotations

from io import StringIO
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from loadgen.report.exports.markdown import markdown
from loadgen.report.from_run_folder import verdict_of
from loadgen.report.level_tables import level_tables
from loadgen.report.report_parts import Table, milliseconds
from loadgen.report.report_tables import final_report
from loadgen.report.stream_tables import stream_tables
from loadgen.report.summary_reader import Level, Summary, read
from loadgen_controller.screen.result_explanation import story_in
from loadgen_controller.screen.terminal_report import print_report
from tests.support.streams import answer, stream_run

ANSWERS = [answer(k, n).reads_ms for k in range(12) for n in range(5) for _ in range(2)]
TTFT = [reads[0] for reads in ANSWERS]
GAPS = [later - earlier for reads in ANSWERS for earlier, later in pairwise(reads)]


def ranked(values: list[float], *percentiles: int) -> list[str]:
    """Percentiles by their definition, from the values themselves."""
    ordered = sorted(values)
    return [milliseconds(ordered[ceil(q / 100 * len(ordered)) - 1]) for q in percentiles]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stream_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return read(folder / "summary.json")


def tables(summary: Summary) -> dict[str, Table]:
    return {table.title: table for table in stream_tables(summary)}


def test_times_of_streams_are_in_the_order_of_decision(summary: Summary) -> None:
    times = tables(summary)["Streams, ms"]

    assert times.columns == ("", "count", "ttft p50", "p95", "p99", "due p95", "itl p50", "p99", "tpot p50")
    ((name, count, *cells),) = times.rows
    assert (name, count) == ("chat", "120")
    assert cells == [*ranked(TTFT, 50, 95, 99), *ranked([ms + 2 for ms in TTFT], 95), *ranked(GAPS, 50, 99), "10.1"]


def test_tokens_of_streams_are_means_and_a_rate_over_the_measured_time(summary: Summary) -> None:
    tokens = tables(summary)["Tokens of streams"]

    assert tokens.rows == (("chat", "64", "25.0 %", "20", "20", "200"),)
    assert (
        "120 of 136 requests ended ok, with 7,680 prompt and 2,400 output tokens, 200 output tokens/s." in tokens.note
    )


def without_usage(summary: Summary, guessed: int, *, prompts: int) -> Summary:
    """The run with a server that sends no usage to `guessed` requests, and `prompts` known numbers of prompt tokens."""
    first = next(s for s in summary.series if s.kind == "request" and s.region == "*" and s.outcome == "*")
    events = msgspec.structs.replace(first, count=guessed, tags={"tokens": "events"})
    series = tuple(
        msgspec.structs.replace(
            s, tokens={**s.tokens, "prompt": msgspec.structs.replace(s.tokens["prompt"], count=prompts)}
        )
        if "prompt" in s.tokens
        else s
        for s in summary.series
    )
    return msgspec.structs.replace(summary, series=series, tagged=(events,))


@pytest.mark.parametrize(
    ("guessed", "prompts", "said"),
    [
        (136, 0, "with an unknown number of prompt and 2,400 output tokens"),
        (136, 60, "with 7,680 (known of 60 requests) prompt and 2,400 output tokens"),
        (136, 120, "An estimate: the server sent no usage for at least 120 requests"),
        (17, 120, "An estimate: the server sent no usage for at least 1 request, so each event"),
    ],
)
def test_tokens_that_no_usage_of_the_server_has_are_unknown_or_an_estimate(
    summary: Summary, guessed: int, prompts: int, said: str
) -> None:
    assert said in tables(without_usage(summary, guessed, prompts=prompts))["Tokens of streams"].note


def test_levels_without_usage_have_no_number_of_prompt_tokens(summary: Summary) -> None:
    levels = tuple(
        Level(level=name, measured_s=1.0, tokens={"prompt": prompt, "output": 300})
        for name, prompt in (("1", 0), ("2", 700))
    )

    table = list(level_tables(msgspec.structs.replace(summary, levels=levels)))[-1]

    assert [row[-3:] for row in table.rows] == [("-", "300", "-"), ("700", "300", "1,000")]


def test_requests_that_failed_without_usage_make_no_estimate_of_the_others(summary: Summary) -> None:
    assert "estimate" not in tables(without_usage(summary, 16, prompts=120))["Tokens of streams"].note


def test_failed_streams_are_apart_with_their_wasted_tokens(summary: Summary) -> None:
    assert tables(summary)["Failed streams"].rows == (
        ("chat", "stream truncated", "8", "8", "24"),
        ("chat", "timeout", "8", "0", "0"),
    )


def test_a_row_without_an_ok_request_has_no_times(summary: Summary) -> None:
    failed = msgspec.structs.replace(summary, series=tuple(s for s in summary.series if s.outcome != "ok"))

    assert tables(failed)["Streams, ms"].rows == (("chat", "0", *["-"] * 7),)
    assert tables(failed)["Tokens of streams"].rows == (("chat", *["-"] * 5),)


def test_streams_come_before_the_response_times(summary: Summary) -> None:
    titles = [table.title for table in final_report(summary).tables]

    assert titles[:4] == ["Streams, ms", "Tokens of streams", "Failed streams", "Response time, ms, all regions"]


def test_a_run_without_requests_to_models_has_no_such_table(summary: Summary) -> None:
    assert not list(stream_tables(msgspec.structs.replace(summary, llm=None)))


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_the_terminal(summary: Summary, width: int) -> None:
    out = StringIO()

    print_report(Console(file=out, width=width), final_report(summary))

    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.split()[:3] == ["chat", "120", "147"] for line in lines)


def test_the_comment_on_a_pull_request_has_the_streams(folder: Path, summary: Summary) -> None:
    text = markdown(summary, story_in(folder, summary))

    assert "<summary>Streams, ms</summary>" in text
    assert "| chat | stream truncated | 8 | 8 | 24 |" in text


def test_an_older_summary_without_the_length_of_the_window_has_no_rate_of_a_row(summary: Summary) -> None:
    assert summary.llm is not None
    old: Any = msgspec.structs.replace(summary, llm=msgspec.structs.replace(summary.llm, measured_s=None))

    assert tables(old)["Tokens of streams"].rows[0][-1] == "-"
    assert verdict_of(old)
