"""Kept streams of whole runs: the same on one, two and three agents, without texts, and kept after Ctrl-C."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from loadgen.measure.run_folder.kept_stream_log import NAME, KeptOfRun, read_streams
from tests.support.llm_target import running_llm
from tests.support.run import ends_with, loadgen, run_folder, started

SCENARIO = """
from loadgen import Llm, Plan, User, arrivals, journey, prompt


@journey
async def ask(user: User) -> None:
    await user.llm.chat(prompt(tokens=16), max_tokens=8)


plan = Plan(
    target="http://127.0.0.1:1",
    llm=Llm(model="loadgen-llm", calibrate=False, keep_streams=0.1),
    mix=ask,
    seed=11,
    load=arrivals("{rate}").hold("{length}"),
    regions=[{regions}],
)
"""
SERVER = ("--ttft", "40ms", "--itl", "4ms")


def scenario(folder: Path, regions: int, length: str, rate: str = "40/s") -> str:
    names = ", ".join(f'"{name}"' for name in ("eu", "us", "ap")[:regions])
    path = folder / "ask.py"
    path.write_text(SCENARIO.replace("{length}", length).replace("{rate}", rate).replace("{regions}", names))
    return str(path)


def kept_in(folder: Path) -> KeptOfRun:
    found = read_streams(folder)
    assert found is not None
    return found


def test_the_same_streams_are_kept_on_one_two_and_three_agents(tmp_path: Path) -> None:
    kept: dict[int, set[int]] = {}
    with running_llm(*SERVER) as url:
        for agents in (1, 2, 3):
            where = tmp_path / str(agents)
            where.mkdir()
            file = scenario(where, agents, "2s", rate="100/s")
            run = loadgen("run", file, "--target", url, "--quiet", runs_dir=where / "runs")
            assert (where / "runs").exists(), run.err + run.out
            assert ends_with(run.exit_code, run.summary, 0), run.err
            found = kept_in(run.folder)
            assert run.summary["llm"]["ok"] == 200
            assert len({one.agent for one in found.streams}) == agents
            kept[agents] = {one.n for one in found.sample()}

    assert 8 < len(kept[1]) < 36, "binomial with a mean of 20"
    assert kept[1] == kept[2] == kept[3]


def test_a_run_keeps_times_of_its_streams_and_computes_other_definitions_from_them(tmp_path: Path) -> None:
    with running_llm(*SERVER) as url:
        run = loadgen(
            "run", scenario(tmp_path, 1, "1s", rate="120/s"), "--target", url, "--quiet", runs_dir=tmp_path / "runs"
        )
    found = kept_in(run.folder)

    for one in (one.stream for one in found.streams):
        assert (one.journey, one.request, one.outcome, one.output_tokens) == ("ask", "chat", "ok", 8)
        assert one.wait_ns >= 0
        assert 0 < one.send_ns < one.gaps_ns[0] <= one.end_ns
        assert sum(kind == "2" for kind in one.kinds) == 8
        assert one.prompt_tokens >= 16
    assert any(one.stream.why == "slowest" for one in found.streams)
    written = (run.folder / NAME).read_bytes()
    assert b"content" not in written
    assert (run.folder / NAME).stat().st_mode & 0o777 == 0o600

    told = loadgen("report", str(run.folder), "--convention", "vllm", "--format", "json", runs_dir=tmp_path)
    (vllm,) = json.loads(told.out)["conventions"]
    assert (vllm["kept_streams"], vllm["of_requests"], vllm["share"]) == (len(found.sample()), 120, 0.1)
    assert vllm["figures_ms"]["ttft"]["count"] == len(found.sample())
    shown = loadgen("report", str(run.folder), "--convention", "mlperf", runs_dir=tmp_path)
    assert f"Computed from {len(found.sample())} kept streams of 120 requests" in shown.out


def test_kept_streams_survive_ctrl_c(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with running_llm(*SERVER) as url:
        args = ("run", scenario(tmp_path, 1, "60s"), "--target", url, "--quiet")
        with started(*args, runs_dir=runs) as process:
            deadline = time.monotonic() + 60
            while not list(runs.glob(f"*/{NAME}")) and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            process.wait(60)

    assert kept_in(run_folder(runs)).streams


def test_a_run_without_kept_streams_says_how_to_keep_some(tmp_path: Path) -> None:
    file = Path(scenario(tmp_path, 1, "1s"))
    file.write_text(file.read_text().replace("keep_streams=0.1", "keep_streams=0"))
    with running_llm(*SERVER) as url:
        run = loadgen("run", str(file), "--target", url, "--quiet", runs_dir=tmp_path / "runs")

    assert not (run.folder / NAME).exists()
    told = loadgen("report", str(run.folder), "--convention", "vllm", runs_dir=tmp_path)
    assert told.exit_code == 2
    assert "has no kept streams" in told.err
    assert "keep_streams" in told.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "csv"), "--convention cannot be used with csv"),
        (("-o", "page.html"), "--convention cannot be used with html"),
        (("--title", "Mine"), "--convention cannot be used with --title"),
        (("--window", "10s"), "--convention cannot be used with --window"),
        (("--split", "tags"), "--convention cannot be used with --split"),
        (("-o", "page.xyz"), "cannot derive the format from the name page.xyz"),
    ],
)
def test_options_that_do_not_fit_are_errors(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    told = loadgen("report", "last", "--convention", "vllm", *options, runs_dir=tmp_path)

    assert told.exit_code == 2
    assert words in told.err
    assert "None" not in told.err
