"""A recorded trace of a model, driven by three agents: each row once, with the tokens of the file, and exact sums."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.llm_target import running_llm
from tests.support.run import ends_with, loadgen

AZURE = Path(__file__).parents[1] / "data/llm/AzureLLMInferenceTrace_conv.csv.gz"
SCENARIO = """
from dataclasses import dataclass

from loadgen import Llm, Plan, User, feed, journey, prompt, replay


@dataclass(frozen=True)
class Traced:
    ContextTokens: int
    GeneratedTokens: int


@journey(data=feed.csv("trace.csv.gz", Traced))
async def traced(user: User, row: Traced) -> None:
    reply = await user.llm.chat(prompt(tokens=row.ContextTokens), max_tokens=row.GeneratedTokens, exactly=True)
    user.check("tokens", reply.output_tokens == row.GeneratedTokens)


plan = Plan(
    target="http://127.0.0.1:1",
    llm=Llm(model="sim", calibrate=False),
    mix=traced,
    regions=["eu", "us", "ap"],
    load=replay.timestamps("trace.csv.gz", column="TIMESTAMP", speed={speed}),
)
"""


@pytest.mark.parametrize(("rows", "speed"), [(500, 60), pytest.param(3_000, 20, marks=pytest.mark.slow)])
def test_rows_of_a_trace_are_asked_once_each_with_their_tokens_over_three_agents(
    rows: int, speed: int, tmp_path: Path
) -> None:
    with gzip.open(AZURE, "rt") as file:
        lines = list(itertools.islice(file, rows + 1))
    (tmp_path / "trace.csv.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (tmp_path / "traced.py").write_text(SCENARIO.replace("{speed}", str(speed)))
    asked = Counter((int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(iter(lines)))

    options = ("--model", "sim", "--ttft", "20ms", "--itl", "1ms", "--tokens-per-event", "16", "--no-prefix-cache")
    with running_llm(*options, "--log", str(tmp_path / "sends.jsonl")) as url:
        done = loadgen("run", str(tmp_path / "traced.py"), "--target", url, "--quiet", runs_dir=tmp_path / "runs")
        log = urlopen(f"{url}/log", timeout=60).read()

    assert ends_with(done.exit_code, done.summary, 0), done.err
    asks = [json.loads(line) for line in log.splitlines() if b'"type":"request"' in line]
    served = Counter((row["prompt_tokens"], row["max_tokens"]) for row in asks if row["api"] == "chat")
    assert served == asked
    llm = done.summary["llm"]
    assert (llm["requests"], llm["ok"]) == (rows, rows)
    assert llm["tokens"]["prompt"] == sum(prompt * n for (prompt, _), n in asked.items())
    assert llm["tokens"]["output"] == sum(output * n for (_, output), n in asked.items())
    chat = done.row("request", outcome="ok", request="chat")
    assert chat["stream_ms"]["ttft"]["count"] == rows
    assert chat["tokens"]["output"]["sum"] == llm["tokens"]["output"]
    assert {agent["region"] for agent in done.summary["agents"] if agent["complete"]} == {"eu", "us", "ap"}
