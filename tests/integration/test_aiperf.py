"""AIPerf and loadgen measure the same server: their figures by AIPerf's definitions agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.aiperf import aiperf_profile
from tests.support.llm_target import running_llm
from tests.support.quiet import in_a_quiet_moment
from tests.support.run import loadgen

pytestmark = [pytest.mark.peers, pytest.mark.quiet]

TIMES = ("time_to_first_token", "time_to_first_output_token", "inter_token_latency", "request_latency")
SCENARIO = """
from loadgen import Llm, Plan, User, journey, prompt, users

@journey
async def ask(user: User) -> None:
    await user.llm.chat(prompt(tokens=50), max_tokens=32)

plan = Plan(
    target="{url}",
    llm=Llm(model="sim", conventions=("aiperf",)),
    load=users(4).hold("12s"),
    mix=ask,
    warmup="2s",
)
"""


@in_a_quiet_moment
def test_the_figures_of_both_differ_by_less_than_1_percent_or_1_ms(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text("")
    with running_llm("--model", "sim", "--ttft", "400ms", "--itl", "20ms") as url:
        work = ("--concurrency", "4", "--request-count", "40", "--warmup-request-count", "4")
        theirs, _ = aiperf_profile(tmp_path, url, "--model", "sim", *work, "--isl", "50", "--osl", "32")
        (tmp_path / "ask.py").write_text(SCENARIO.format(url=url))
        run = loadgen("run", str(tmp_path / "ask.py"), "--quiet", runs_dir=tmp_path / "runs")
        assert run.exit_code == 0, run.out + run.err
        done = loadgen(
            *("report", run.folder.name, "--runs-dir", str(tmp_path / "runs"), "--format", "aiperf"), runs_dir=tmp_path
        )
    ours: dict[str, Any] = json.loads(done.out)

    for tag in TIMES:
        for name in ("p25", "p50"):  # the mean has AIPerf's own delays in it, where the machine is busy
            mine, one = ours[tag][name], theirs[tag][name]
            print(f"{tag} {name}: AIPerf {one:.3f} ms, loadgen {mine:.3f} ms")
            assert abs(mine - one) < max(1, one / 100), (tag, name, mine, one)
    for tag in ("output_sequence_length", "input_sequence_length"):
        assert ours[tag]["avg"] == theirs[tag]["avg"], tag
    assert (ours["error_request_count"]["avg"], theirs["request_count"]["avg"]) == (0, 40)


def test_the_file_of_this_version_is_the_one_that_we_keep(tmp_path: Path) -> None:
    kept = json.loads((Path(__file__).parents[1] / "data" / "llm" / "aiperf_profile.json").read_text())
    with running_llm("--model", "sim", "--ttft", "40ms", "--itl", "5ms") as url:
        work = ("--concurrency", "2", "--request-count", "12", "--isl", "20", "--osl", "8")
        found, _ = aiperf_profile(tmp_path, url, "--model", "sim,script:rate-limited", *work)

    assert set(found) - {"input_config", "run_info"} == set(kept)
    units = {tag: one["unit"] for tag, one in found.items() if isinstance(one, dict) and "unit" in one}
    assert units == {tag: one["unit"] for tag, one in kept.items() if isinstance(one, dict) and "unit" in one}
