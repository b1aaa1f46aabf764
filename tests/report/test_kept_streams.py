"""Kept streams in the report: the waterfall, the points, and tables by the definitions of other tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.run_folder.kept_stream_log import NAME, KeptOfRun, RunStream, StreamLog, read_streams
from loadgen.report.charts.kept_streams import MOST_POINTS, MOST_READS, SLOWEST, kept_of_page
from loadgen.report.exports.vllm_bench import vllm_bench
from loadgen.report.from_run_folder import document_of, measured_of
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller.cli import app
from tests.support.kept_streams import kept
from tests.support.streams import stream_run

DELTA = Delta("a1", 1, 0, 0, 1_000_000_000)


def of_run(*streams: KeptStream, left_out: int = 0) -> KeptOfRun:
    return KeptOfRun(0.1, tuple(RunStream("a1", "eu", one) for one in streams), left_out)


def with_streams(runs: Path, *streams: KeptStream) -> Path:
    """A run folder with these kept streams."""
    folder = stream_run(runs)
    log = StreamLog(folder, 0.1, pytest.fail)
    log.write("a1", "eu", replace(DELTA, streams=streams))
    log.close()
    return folder


def row(page: dict[str, Any], n: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = page["slowest"][n]
    return found


def test_the_waterfall_has_the_slowest_streams_from_due_the_slowest_first() -> None:
    streams = [kept(n, 100 + n) for n in range(20)]
    streams += [kept(20, 10, wait_ns=3_000_000_000), kept(21, 900, warmup=True), kept(22, 800, why="slowest")]

    page: Any = kept_of_page(of_run(*streams, left_out=2), of=220)

    assert len(page["slowest"]) == SLOWEST
    assert [one["at_s"] for one in page["slowest"][:3]] == [20, 22, 19]
    assert (page["kept"], page["of"], page["left_out"], page["share"]) == (21, 220, 2, 0.1)
    assert row(page) | {"reads": 0} == {
        "at_s": 20, "journey": "ask", "step": None, "request": "chat", "outcome": "ok", "agent": "a1", "region": "eu",
        "clock": "kernel", "trace_id": "", "wait_ms": 3000, "sent_ms": 1, "ttft_ms": 10, "end_ms": 30,
        "prompt_tokens": 64, "output_tokens": 3, "reads": 0, "others": [], "reads_of": 3,
    }  # fmt: skip
    assert row(page)["reads"] == [10, 20, 30]


def test_events_of_one_read_are_one_tick() -> None:
    two = kept(0, tokens=4, gaps_ns=(100_000_000, 0, 5_000_000, 0), kinds="0225")

    page: Any = kept_of_page(of_run(two))

    assert (row(page)["reads"], row(page)["others"], row(page)["reads_of"]) == ([100, 105], [], 2)


def test_points_are_of_the_share_alone_and_failed_streams_are_marked() -> None:
    streams = [kept(0, 100), kept(1, 200, outcome="stream truncated"), kept(2, 900, why="slowest")]
    streams += [kept(3, prompt_tokens=-1), kept(4, tokens=0)]

    page: Any = kept_of_page(of_run(*streams))

    assert (page["points"], page["points_of"]) == ([[64, 100, True], [64, 200, False]], 2)


def test_long_streams_and_many_points_are_thinned_evenly() -> None:
    page: Any = kept_of_page(of_run(*(kept(n, 100, tokens=1) for n in range(2 * MOST_POINTS)), kept(1, 500, 1_000)))

    assert (len(page["points"]), page["points_of"]) == (MOST_POINTS, 2 * MOST_POINTS + 1)
    assert (len(row(page)["reads"]), row(page)["reads_of"]) == (MOST_READS, 1_000)
    assert row(page)["reads"][:3] == [500, 520, 550]


def test_a_run_without_kept_streams_has_no_such_part(tmp_path: Path) -> None:
    assert kept_of_page(None) == {}
    assert "kept_streams" not in document_of(open_run(stream_run(tmp_path)))


def test_the_document_of_a_run_has_them_and_a_damaged_file_is_a_note(tmp_path: Path) -> None:
    folder = with_streams(tmp_path, kept(1), kept(2))
    found: Any = document_of(open_run(folder))
    assert (found["kept_streams"]["kept"], found["kept_streams"]["of"]) == (2, 136)

    (folder / NAME).write_bytes(b"something else")
    broken: Any = document_of(open_run(folder))

    assert "kept_streams" not in broken
    assert any(note.startswith("The kept streams are left out: cannot read") for note in broken["notes"])


def test_tables_say_of_how_many_requests_the_streams_are(tmp_path: Path) -> None:
    folder = with_streams(tmp_path, *(kept(n, 100 + n) for n in range(3)))

    done = CliRunner().invoke(app, ["report", str(folder), "--convention", "ours", "--convention", "guidellm"])

    assert done.exit_code == 0, done.output
    assert "By the definitions of ours, ms" in done.output
    assert "By the definitions of guidellm, ms" in done.output
    assert "Computed from 3 kept streams of 120 requests to AI models that ended ok" in done.output
    assert "chance of 10.0 %" in " ".join(done.output.split()) or "chance of 10 %" in " ".join(done.output.split())


def test_the_form_of_vllm_has_lists_of_kept_streams_and_says_so(tmp_path: Path) -> None:
    folder = with_streams(tmp_path, kept(1, 100), kept(2, 200), kept(3, 300, outcome="timeout"), kept(4, why="slowest"))
    run = open_run(folder)
    assert run.summary is not None

    found: Any = vllm_bench(run.summary, measured_of(run, run.summary), read_streams(folder))

    assert found["kept_streams"] | {"note": ""} == {
        "streams": 2, "of_requests": 120, "share": 0.1, "left_out": 0, "note": "",
    }  # fmt: skip
    assert (found["ttfts"], found["itls"]) == ([0.1, 0.2], [[0.01, 0.01]] * 2)
    assert (found["input_lens"], found["output_lens"], found["start_times"]) == ([64, 64], [3, 3], [1, 2])
    assert "generated_texts" not in found
