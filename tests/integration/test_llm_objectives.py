"""Objectives on requests to AI models, over two agents, against the scripted inference server."""

from __future__ import annotations

from pathlib import Path

from tests.support.llm_target import running_llm
from tests.support.run import DATA, ends_with, loadgen

FILE = f"{DATA}/asking.py"


def test_each_objective_is_judged_by_the_requests_to_the_model_alone(tmp_path: Path) -> None:
    with running_llm("--ttft", "60ms", "--itl", "5ms", "--output", "64") as url:
        run = loadgen("run", f"{FILE}:judged", "--target", url, "--quiet", runs_dir=tmp_path)

    assert run.exit_code in (1, 4), run.out
    found = {one["objective"]: one for one in run.summary["slos"]}
    verdicts = {text: one["verdict"] for text, one in found.items()}
    failed = 'goodput(ttft="1ms") > 50%'
    empty = 'p(95, request="GET /v1/models", metric="ttft") < 5s'
    judged = {metric: one["verdict"] for metric, one in run.summary["llm"]["validity"].items()}
    # On a busy machine a metric may be invalid, and then no objective on it is judged.
    if "invalid" not in judged.values():
        assert {text for text, verdict in verdicts.items() if verdict != "passed"} == {failed, empty}, verdicts
        assert verdicts[failed] == "failed"
        assert found[empty]["reason"] == "there are no data for it"
    assert verdicts[empty] == "inconclusive"
    assert verdicts['total("output_tokens") >= 2_400'] == "passed"
    assert found[failed]["detail"] == "0.00 % of 120 offered were good"
    assert found['p(95, metric="ttft") < 5s']["detail"].startswith("p95 of 120 requests to models: ")
    assert 60 <= found['p(95, metric="ttft") < 5s']["observed"] < 5_000
    assert found['p(95, metric="ttft_due") < 5s']["count"] == 120
    gaps = found['p(95, metric="itl") < 2s']
    assert 0 < gaps["count"] <= 120 * 19  # fewer if the first read of an answer had several tokens
    assert gaps["detail"].startswith(f"p95 of {gaps['count']:,} tokens: ")
    assert found['total("output_tokens") >= 2_400']["observed"] == 2_400
    assert found['mean(metric="output_tokens") > 19']["observed"] == 20
    assert found['throughput("output_tokens") > 399/s']["observed"] == 400
    good = found['goodput(ttft="5s", tpot="2s") > 95%']
    assert (good["observed"], good["count"], good["good"], good["journey"]) == (1.0, 120, 120, "ask")
    assert good["bad_share_high"] is not None


def test_classes_of_requests_are_judged_by_their_own_limits_over_two_agents(tmp_path: Path) -> None:
    with running_llm("--ttft", "30ms", "--itl", "1ms", "--output", "64") as url:
        run = loadgen("run", f"{FILE}:mixed", "--target", url, "--quiet", runs_dir=tmp_path)

    whole, windowed = run.summary["slos"]
    limits = "0.00 % of 30 with ttft<=1ms,tpot<=9000ms, 100 % of 30 with ttft<=9000ms"
    own = f"60 were judged by limits of their own (slo=): {limits}"
    assert (whole["good"], whole["count"]) == (60, 90)
    assert whole["detail"] == f"66.7 % of 90 offered were good; {own}"
    assert f"in the whole run, {own}" in windowed["detail"]
    if not any(one["verdict"] == "invalid" for one in run.summary["llm"]["validity"].values()):
        assert [one["verdict"] for one in run.summary["slos"]] == ["passed", "passed"]
        assert "judged by limits of their own" in " ".join(run.out.split())


def test_a_model_that_sends_no_token_stops_the_run_while_its_streams_still_run(tmp_path: Path) -> None:
    with running_llm("--ttft", "50s") as url:
        run = loadgen("run", f"{FILE}:frozen", "--target", url, "--quiet", runs_dir=tmp_path)

    assert ends_with(run.exit_code, run.summary, 1), run.out
    assert run.summary["duration_s"] < 20
    assert any("goodput(ttft" in reason and "is broken" in reason for reason in run.summary["reasons"])
    assert run.summary["requests"]["finished"] < 2 * run.summary["requests"]["started"]
