"""A tokenizer's file travels to agents, counts the answers of a server without usage, and makes prompts exact."""

from __future__ import annotations

import json
from pathlib import Path

from loadgen.dsl.prompts.words import word_list
from tests.support.llm_target import running_llm
from tests.support.run import loadgen
from tests.support.tokenizer_files import of_words

SCENARIO = """
from loadgen import Llm, Plan, User, arrivals, journey, prompt

@journey
async def ask(user: User) -> None:
    await user.llm.chat(prompt(tokens=40), max_tokens=12)

plan = Plan(
    target="{url}",
    llm=Llm(model="loadgen-llm", usage="none", tokenizer="data/tokenizer.json"),
    load=arrivals("20/s").hold("3s"),
    regions={{"eu": 1, "us": 1}},
    mix=ask,
)
"""


def scenario(folder: Path, url: str) -> str:
    (folder / "data").mkdir(exist_ok=True)
    of_words(folder / "data" / "tokenizer.json", word_list())
    path = folder / "ask.py"
    path.write_text(SCENARIO.format(url=url))
    return str(path)


def test_answers_without_usage_are_counted_on_each_agent(tmp_path: Path) -> None:
    with running_llm("--ttft", "30ms", "--itl", "5ms", "--tokens-per-event", "4") as url:
        file = scenario(tmp_path, url)
        run = loadgen("run", file, "--quiet", runs_dir=tmp_path / "runs")

    assert run.exit_code in (0, 4), run.out + run.err
    assert len(run.summary["agents"]) == 2
    assert run.summary["llm"]["tokens"]["output"] == 60 * 12
    assert sum("the tokens of answers are counted by tokenizer.json" in note for note in run.summary["notes"]) == 2
    assert '"tokens": "tokenizer"' in json.dumps(run.summary["tagged"])
    assert '"tokens": "events"' not in json.dumps(run.summary["tagged"]), "sources do not mix"


def test_a_file_of_another_kind_ends_the_run_before_anything_is_sent(tmp_path: Path) -> None:
    with running_llm() as url:
        file = scenario(tmp_path, url)
        (tmp_path / "data" / "tokenizer.json").write_text('{"model_type": "qwen3"}')
        run = loadgen("run", file, "--quiet", runs_dir=tmp_path / "runs")
        check = loadgen("check", file, runs_dir=tmp_path / "runs")

    for ended in (run, check):
        said = " ".join((ended.out + ended.err).split())
        assert ended.exit_code == 2, said
        assert "tokenizer.json is JSON, but not a tokenizer: it has no model with a vocab" in said
        assert "name the tokenizer.json that is published with the model" in said
    assert not (tmp_path / "runs").exists()
