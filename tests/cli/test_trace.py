"""`loadgen trace`: from a run folder and a file of traces to a ranked list, and what is said if that is impossible."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loadgen.backends.backend import Answer, BackendRefused, CallPlan, Found, OnProgress, no_progress
from loadgen.backends.files import FilesBackend
from loadgen.backends.kept_traces import kept_traces
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.run_as_dataframes import open_run
from loadgen.traces.model import Trace
from loadgen.wire import codec
from loadgen_controller import cli
from loadgen_controller.commands.tracing import read_traces
from tests.support.traced_past_run import COST_NS, RUN_ID, traced_run

SOURCE = """[trace.staging]
backend = "jaeger"
url = "http://127.0.0.1:9"

[env.staging]
trace = "staging"

[env.other]
target = "http://127.0.0.1:9"
"""
HOSTILE = " <b>\x1b[31mPASSED (exit code 0)\u202e"


def loadgen(*args: str | Path, columns: int = 200) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in args], env={"COLUMNS": str(columns)})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a run, and its traces in a file."""
    return traced_run(tmp_path_factory.mktemp("traced"))


@pytest.fixture
def traced(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(made[0], tmp_path / "runs" / RUN_ID))
    return run, Path(shutil.copy(made[1], tmp_path / "traces.jsonl"))


class Store:
    """A backend that has the traces of a file, and raises an error after some answers."""

    def __init__(self, file: Path, after: int, error: BaseException | None) -> None:
        self.files, self.after, self.error, self.is_closed = FilesBackend(file), after, error, False
        self.cut = 0

    def plan(self, number: int) -> CallPlan:
        return CallPlan(number, number, per_minute=60)

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        for n, given in enumerate(self.files.read(ids, on_progress)):
            one = given
            if n == self.after and self.error is not None:
                raise self.error
            if n < self.cut and isinstance(one[1], Found):
                trace = one[1].trace
                one = one[0], Found(Trace(trace.id, trace.spans[:2], is_cut=True))
            yield one

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def store(traced: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Store:
    """The backend of [trace.staging]."""
    Path("loadgen.toml").write_text(SOURCE)
    made = Store(traced[1], 0, None)
    monkeypatch.setattr(read_traces, "_opened", lambda *_: made)
    return made


def document(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "cause.json").read_text())
    return found


def test_help_has_the_usage_without_the_default_command_and_names_the_others() -> None:
    shown = CliRunner().invoke(cli.app, ["trace", "--help"], env={"COLUMNS": "120"}).output

    assert "Usage: loadgen trace [OPTIONS]" in shown.replace("root trace", "loadgen trace")
    assert "trace why" not in shown
    assert "loadgen trace collect" in shown


def test_path_with_the_fault_is_first_with_its_kind_and_its_version(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("1  "))
    assert lines[first] == "1  shop: POST /checkout > POST > stock: reserve > SELECT item"
    assert "41 calls instead of 1: more calls +160" in lines[first + 2]
    assert "stock service.version=2.1 in 100 % of slow" in result.stdout
    assert 'objective p(99, request="POST /checkout") < 100ms' in result.stdout
    assert f"to check the cause: loadgen runs rerun {RUN_ID}" in result.stdout
    (look,) = [line for line in lines if line.startswith("to show a slow trace: loadgen ")]
    assert loadgen(*look.split("loadgen ")[1].split()).exit_code == 0


def test_output_has_the_cost_of_tracing_with_its_interval_and_both_numbers(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1])
    causes = document(traced[0])
    low, high = causes["cost_interval_ns"]
    assert low < causes["cost_ns"] < high
    assert low < COST_NS < high
    assert causes["cost_sampled"] + causes["cost_others"] == 1_200
    (line,) = [line for line in result.stdout.splitlines() if "tracing" in line and "cost" in line]
    assert line.endswith(f"; {causes['cost_sampled']} sampled and {causes['cost_others']} other requests)")


def test_run_whose_agents_sent_no_sums_has_no_cost_of_tracing(traced: tuple[Path, Path], tmp_path: Path) -> None:
    older = RunDir.create(tmp_path / "older", RUN_ID)
    for _, delta in open_run(traced[0]).deltas():
        older.append(codec.encode(replace(delta, sampled=())))
    older.sync()
    older.close()
    shutil.copy(older.log_path, traced[0] / "deltas.log")
    result = loadgen("trace", "last", "--file", traced[1])
    assert result.exit_code == 0
    assert "tracing costs" not in result.stdout
    assert document(traced[0])["cost_ns"] is None


def test_cause_json_has_all_that_was_shown(traced: tuple[Path, Path]) -> None:
    loadgen("trace", "last", "--file", traced[1], "--json", "out.json")
    causes = document(traced[0])
    assert json.loads(Path("out.json").read_text()) == causes
    (first, *_) = causes["ranked"]
    assert first["path"][-1] == "stock: SELECT item"
    assert {"added_ns", "share", "without_share_over", "stays_first", "n_slow", "n_fast", "kind", "attributes"} <= set(
        first
    )
    assert causes["format"] == 1
    assert causes["found"]["asked"] == causes["found"]["found"] == 200
    assert set(causes["objective"]) >= {"name", "threshold_ns"}
    assert causes["run"] == RUN_ID
    assert isinstance(causes["repair"], dict)


def test_json_on_stdout_is_one_document_and_the_text_goes_to_stderr(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1], "--json", "-")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == document(traced[0])
    assert "1  shop: POST /checkout" in result.stderr


def test_parts_add_up_to_the_difference(traced: tuple[Path, Path]) -> None:
    loadgen("trace", "last", "--file", traced[1])
    causes = document(traced[0])
    total = sum(one["added_ns"] for one in (*causes["ranked"], *causes["unexplained"]))
    assert total == pytest.approx(causes["difference_ns"], rel=1e-9)


def test_traces_stay_in_the_run_folder_and_are_not_read_again(traced: tuple[Path, Path]) -> None:
    run, file = traced
    first = loadgen("trace", "last", "--file", file)
    ranked = document(run)["ranked"]
    file.unlink()
    again = loadgen("trace", "last")
    assert (first.exit_code, again.exit_code) == (0, 0), again.output
    assert "all read before" in again.stdout
    assert document(run)["ranked"] == ranked


def test_verdict_and_summary_of_the_run_stay_as_they_were(traced: tuple[Path, Path]) -> None:
    run, file = traced
    before = {name: (run / name).read_bytes() for name in ("summary.json", "manifest.json", "deltas.log")}
    loadgen("trace", "last", "--file", file)
    assert {name: (run / name).read_bytes() for name in before} == before


def test_secret_in_an_attribute_is_in_no_file_of_the_run(traced: tuple[Path, Path]) -> None:
    import zstandard

    run, file = traced
    assert "hunter2" in file.read_text()
    loadgen("trace", "last", "--file", file, "--json", "out.json")
    kept = sorted((run / "traces").iterdir())
    assert kept
    unpacked = [zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()) for path in kept]
    others = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert not [data for data in (*unpacked, *others, Path("out.json").read_bytes()) if b"hunter2" in data]


def test_dry_run_shows_the_plan_and_reads_nothing(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1], "--dry-run")
    assert result.exit_code == 0
    assert "traces of 56 requests above 100 ms, and of 144 fast requests" in result.stdout
    assert not (traced[0] / "traces").exists()
    assert not (traced[0] / "cause.json").exists()


def test_most_limits_the_traces_and_keeps_both_groups(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1], "--most", "80")
    assert "traces of 40 requests above 100 ms, and of 40 fast requests" in result.stdout
    assert document(traced[0])["found"]["asked"] == 80


def test_too_few_traces_give_figures_without_a_ranking(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1], "--most", "20")
    assert result.exit_code == 3
    assert "nothing is ranked" in result.stdout
    assert "56 slow requests were sampled: read more of their traces with --most 100" in result.stdout
    assert document(traced[0])["ranked"] == []
    assert document(traced[0])["not_ranked"]["is_refused"]


def test_region_limits_the_requests(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1], "--region", "eu", "--dry-run")
    assert "checkout > POST /checkout: traces of" in result.stdout
    assert "56 requests" not in result.stdout


def test_without_a_broken_objective_the_slowest_of_the_request_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, file = traced_run(tmp_path, is_broken=False, slow_share=0.0)
    result = loadgen("trace", "last", "--file", file)
    assert "no objective on its response time is broken" in result.stdout
    assert "nothing is ranked" in result.stdout
    assert result.exit_code in (0, 3)


def test_traces_that_are_all_missing_are_an_error_with_the_usual_reasons(
    traced: tuple[Path, Path], tmp_path: Path
) -> None:
    _, other = traced_run(tmp_path / "other", seed=99)
    result = loadgen("trace", "last", "--file", other)
    assert result.exit_code == 3
    assert "has none of the 200 requested traces" in result.stderr
    assert "must pass the trace header on" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--file", "none.json"), "no such file"),
        ((), "no source of traces is configured"),
        (("--backend", "staging"), "has no source of traces 'staging'"),
        (("--backend", "staging", "--file", "traces.jsonl"), "--file cannot be combined with --backend"),
        (
            ("--file", "traces.jsonl", "--request", "GET /none"),
            "--request: run 20261124-170312-shop-a1b2 has no request",
        ),
        (("--file", "traces.jsonl", "--wait", "soon"), "--wait"),
        (("--file", "traces.jsonl", "--against", "none"), "no run none"),
        (("--file", "broken.json"), "broken.json"),
        (("--file", "traces.jsonl", "--json", "none/x.json"), "no folder none"),
    ],
)
def test_wrong_options_are_usage_errors(traced: tuple[Path, Path], args: tuple[str, ...], said: str) -> None:
    Path("broken.json").write_text('{"resourceSpans": [')
    result = loadgen("trace", "last", *args)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (traced[0] / "cause.json").exists()


def test_run_without_sampled_requests_says_how_to_get_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.past_runs import past_run

    monkeypatch.chdir(tmp_path)
    past_run(tmp_path / "runs", seconds=5)
    Path("traces.json").write_text('{"resourceSpans": []}')
    result = loadgen("trace", "last", "--file", "traces.json")
    assert result.exit_code == 3
    assert "no sampled request" in result.stderr
    assert "Trace(sample=" in result.stderr


def test_hostile_names_neither_steer_the_terminal_nor_imitate_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, file = traced_run(tmp_path, hostile=HOSTILE)
    result = loadgen("trace", "last", "--file", file, columns=80)
    assert result.exit_code == 0, result.output
    shown = loadgen("trace", "show", "last", document(run)["slow_example"]["trace"], columns=80)
    page = loadgen("report", "last")
    assert (shown.exit_code, page.exit_code) == (0, 0)
    for text in (result.output, shown.output, (run / "report.html").read_text()):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert not [line for line in result.output.splitlines() if line.strip().startswith("PASSED")]
    assert "<b>" not in (run / "report.html").read_text().partition('id="why-slow"')[2].partition("</template>")[0]


def test_waterfall_of_a_trace_fits_into_80_columns(traced: tuple[Path, Path]) -> None:
    loadgen("trace", "last", "--file", traced[1])
    trace = document(traced[0])["slow_example"]["trace"]
    result = loadgen("trace", "show", "last", trace[:30], columns=80)
    assert result.exit_code == 0, result.output
    assert f"trace {trace}" in result.stdout
    assert "SELECT item (41)" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(("trace", "said"), [("zz", "is not a trace id"), ("ffffffff", "has no trace ffffffff")])
def test_unknown_traces_are_usage_errors(traced: tuple[Path, Path], trace: str, said: str) -> None:
    result = loadgen("trace", "show", "last", trace)
    assert result.exit_code == 2
    assert said in result.stderr


def test_export_gives_all_traces_to_other_tools(traced: tuple[Path, Path]) -> None:
    loadgen("trace", "last", "--file", traced[1])
    result = loadgen("trace", "export", "last", "-o", "out.jsonl")
    assert result.exit_code == 0
    lines = Path("out.jsonl").read_text().splitlines()
    assert len(lines) == 200
    assert all("resourceSpans" in json.loads(line) for line in lines)


def test_export_of_a_run_without_traces_is_an_error(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "export", traced[0], "-o", "out.jsonl")
    assert result.exit_code == 3
    assert not Path("out.jsonl").exists()


def test_two_runs_are_compared_by_the_same_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, share in ((1, 0.0), (2, 0.3)):
        run_id = f"2026112{number}-170312-shop-a1b{number}"
        _, file = traced_run(tmp_path, run_id=run_id, slow_share=share, seed=number)
        result = loadgen("trace", run_id, "--file", file, *(("--against", "20261121") if number == 2 else ()))
    assert result.exit_code == 0, result.output
    assert "1  shop: POST /checkout > POST > stock: reserve > SELECT item" in result.stdout
    assert document(tmp_path / "runs" / run_id)["against"] == "20261121-170312-shop-a1b1"


def test_traces_of_the_other_run_are_read_if_it_has_none_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts, ids = [], []
    for number, share in ((1, 0.0), (2, 0.3)):
        ids.append(f"2026112{number}-170312-shop-a1b{number}")
        _, file = traced_run(tmp_path, run_id=ids[-1], slow_share=share, seed=number)
        texts.append(file.read_text())
    # The other run's traces are in no file yet: the error says how to read them.
    alone = loadgen("trace", ids[1], "--file", file, "--against", ids[0])
    (tmp_path / "all.jsonl").write_text("".join(texts))
    both = loadgen("trace", ids[1], "--file", "all.jsonl", "--against", ids[0])

    assert (alone.exit_code, f"loadgen trace {ids[0]}" in alone.output) == (2, True), alone.output
    assert both.exit_code == 0, both.output
    assert document(tmp_path / "runs" / ids[1])["against"] == ids[0]
    assert "traces" in {path.name for path in (tmp_path / "runs" / ids[0]).iterdir()}


def test_reports_have_what_the_traces_show(traced: tuple[Path, Path]) -> None:
    run, file = traced
    loadgen("trace", "last", "--file", file)
    path = "shop: POST /checkout"
    text = loadgen("report", "last", "--format", "markdown").stdout
    assert "**Why slow**" in text
    assert path in text
    assert "why slow: 1. shop: POST /checkout" in loadgen("report", "last", "--format", "junit").stdout
    assert json.loads(loadgen("report", "last", "--format", "json", "-o", "-").stdout)["why_slow"]["run"] == run.name
    loadgen("report", "last")
    assert b'<template id="why-slow">' in (run / "report.html").read_bytes()


def test_damaged_cause_json_costs_a_report_nothing_but_its_section(traced: tuple[Path, Path]) -> None:
    (traced[0] / "cause.json").write_text("{")
    result = loadgen("report", "last")
    assert result.exit_code == 0
    assert "note: the report lacks why requests were slow" in result.stderr


def test_notebook_has_ranked_paths_and_spans(traced: tuple[Path, Path]) -> None:
    pytest.importorskip("pandas")
    run, file = traced
    loadgen("trace", "last", "--file", file)
    opened = open_run(run)
    causes, spans = opened.causes(), opened.spans()
    assert causes.path[0] == "shop: POST /checkout > POST > stock: reserve > SELECT item"
    assert causes.added_ms[0] == pytest.approx(160, rel=0.1)
    assert str(spans.started_at.dtype) == "datetime64[ns, UTC]"
    assert set(spans.service) == {"shop", "stock"}
    assert spans.duration_ms.min() > 0


def test_notebook_of_a_run_without_traces_has_empty_tables(traced: tuple[Path, Path]) -> None:
    pytest.importorskip("pandas")
    opened = open_run(traced[0])
    assert (len(opened.causes()), len(opened.spans())) == (0, 0)


def test_run_that_goes_on_is_refused(traced: tuple[Path, Path]) -> None:
    (traced[0] / "summary.json").unlink()
    held = RunDir.open(traced[0], writable=True)
    try:
        result = loadgen("trace", "last", "--file", traced[1])
    finally:
        held.close()
    assert result.exit_code == 2
    assert "is still going on" in result.stderr


def test_source_of_loadgen_toml_is_read_and_its_calls_are_shown_before(traced: tuple[Path, Path], store: Store) -> None:
    for options in ((), ("--backend", "staging"), ("--env", "staging")):
        result = loadgen("trace", "last", *options, "--dry-run")
        assert "to read from staging (jaeger): 200 traces, 3.3 min at 60 a minute" in result.stdout, result.output
    result = loadgen("trace", "last")
    assert result.exit_code == 0, result.output
    assert document(traced[0])["source"] == "staging (jaeger)"
    assert store.is_closed


def test_environment_without_a_source_is_an_error(traced: tuple[Path, Path], store: Store) -> None:
    for name, said in (("other", "[env.other] has no source of traces"), ("none", "no environment 'none'")):
        result = loadgen("trace", "last", "--env", name)
        assert result.exit_code == 2
        assert said in result.stderr


def test_backend_that_refuses_ends_with_3_and_what_was_read_is_explained(
    traced: tuple[Path, Path], store: Store
) -> None:
    store.after, store.error = 150, BackendRefused("http 403: the permission apm_read is missing", hint="ask for it")
    result = loadgen("trace", "last")
    assert result.exit_code == 3
    assert "apm_read is missing" in result.stderr
    assert len(list(kept_traces(traced[0]))) == 150
    assert document(traced[0])["ranked"]
    store.error = None
    again = loadgen("trace", "last", "--backend", "staging", "--dry-run")
    assert ": 50 traces, 50 s at 60 a minute" in again.stdout


def test_backend_that_refuses_at_once_leaves_no_result(traced: tuple[Path, Path], store: Store) -> None:
    store.error = BackendRefused("http 401", hint="check the secret")
    result = loadgen("trace", "last")
    assert result.exit_code == 3
    assert "http 401" in result.stderr
    assert not (traced[0] / "cause.json").exists()


def test_ctrl_c_keeps_what_was_read(traced: tuple[Path, Path], store: Store) -> None:
    store.after, store.error = 70, KeyboardInterrupt()
    result = loadgen("trace", "last")
    assert result.exit_code == 130
    assert len(list(kept_traces(traced[0]))) == 70
    assert store.is_closed
    store.error = None
    assert loadgen("trace", "last", "--backend", "staging").exit_code == 0


def test_slow_traces_that_are_missing_more_often_are_said(traced: tuple[Path, Path]) -> None:
    import random

    draw = random.Random(3)
    lines = traced[1].read_text().splitlines(keepends=True)
    traced[1].write_text("".join(line for line in lines if len(line) < 5_000 or draw.random() < 0.75))
    result = loadgen("trace", "last", "--file", traced[1], "--wait", "0s")
    assert "slow and fast traces were found in different proportions; the weights were corrected" in result.stdout
    assert document(traced[0])["found"]["is_corrected"]
    assert result.exit_code == 0


def test_trace_that_a_file_lacks_is_asked_for_again_only_if_the_file_has_changed(traced: tuple[Path, Path]) -> None:
    run, file = traced
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-40]))
    loadgen("trace", "last", "--file", file, "--most", "2000")
    again = loadgen("trace", "last", "--file", file, "--most", "2000")
    assert "all read before" in again.output
    file.write_bytes(whole)
    changed = loadgen("trace", "last", "--file", file, "--most", "2000")
    assert "40 traces in 1 file" in changed.output
    assert len(list(kept_traces(run))) == len(lines)


def test_trace_that_the_backend_had_cut_is_read_again_and_replaced(traced: tuple[Path, Path], store: Store) -> None:
    run, _ = traced
    store.cut = 2
    first = loadgen("trace", "last", "--backend", "staging")
    assert sum(one.is_cut for one in kept_traces(run)) == 2, first.output
    count = len(list(kept_traces(run)))
    store.cut = 0
    second = loadgen("trace", "last", "--backend", "staging")
    assert "to read from staging (jaeger): 2 traces" in second.output
    assert not any(one.is_cut for one in kept_traces(run))
    assert len(list(kept_traces(run))) == count


def test_folded_stacks_are_written_for_slow_and_for_fast_requests(traced: tuple[Path, Path]) -> None:
    result = loadgen("trace", "last", "--file", traced[1], "--folded", "x.folded")
    assert result.exit_code == 0, result.output
    slow, fast = (
        {
            line.rpartition(" ")[0]: int(line.rpartition(" ")[2])
            for line in Path(f"x.{group}.folded").read_text().splitlines()
        }
        for group in ("slow", "fast")
    )
    query = next(stack for stack in slow if stack.endswith("stock: SELECT item"))
    assert (slow[query], fast[query]) == (164_000, 4_000)
    assert loadgen("trace", "last", "--folded", "-").exit_code == 2
    assert loadgen("trace", "last", "--folded", "nowhere/x.folded").exit_code == 2
