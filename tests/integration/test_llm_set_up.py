"""What `loadgen run` and `loadgen check` say before the load: about the model, and about limits of single requests."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

from tests.support.llm_target import running_llm
from tests.support.ports import free_port
from tests.support.run import DATA, loadgen

FILE = f"{DATA}/asking.py"
MESSAGE = 'the server has no model "loadgen-llm"; it lists "other"; correct Llm(model=...)'


def test_a_model_that_the_server_does_not_have_ends_the_run_before_the_load(tmp_path: Path) -> None:
    with running_llm("--model", "other") as url:
        run = loadgen("run", f"{FILE}:judged", "--target", url, "--quiet", runs_dir=tmp_path)
        check = loadgen("check", f"{FILE}:judged", "--target", url, runs_dir=tmp_path)
        with urlopen(f"{url}/stats", timeout=10) as answer:
            asked = json.load(answer)["answers"]

    assert run.exit_code == 2, run.out + run.err
    assert f"the plan's set-up failed: {MESSAGE}" in " ".join((run.out + run.err).split())
    assert run.summary["requests"]["started"] == 0
    assert check.exit_code == 1, check.out + check.err
    assert MESSAGE in " ".join((check.out + check.err).split())
    assert "(model): failed after 1 request in " in check.out
    assert list(asked) == ["/v1/models"], "no prompt was sent"


def test_a_check_of_a_plan_with_goodput_does_not_call_limits_of_requests_useless(tmp_path: Path) -> None:
    with running_llm() as url:
        check = loadgen("check", f"{FILE}:mixed", "--target", url, runs_dir=tmp_path)

    assert check.exit_code == 0, check.out + check.err
    assert "classes: ok after 3 requests in " in check.out
    assert "slo=" not in check.out + check.err


def test_a_target_that_is_down_ends_the_run_before_the_load(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    run = loadgen("run", f"{FILE}:judged", "--target", url, "--quiet", runs_dir=tmp_path)

    assert run.exit_code == 2, run.out + run.err
    said = " ".join((run.out + run.err).split())
    assert "the plan's set-up failed: the model's server returned no answer: refused: " in said
    assert "check that the server runs, and check the plan's target" in said
