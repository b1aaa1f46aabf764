"""A run whose objectives must be sure ends with exit code 3 if one is not."""

from __future__ import annotations

from pathlib import Path

from tests.support.run import ends_with, loadgen
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, arrivals, journey, p

@journey
async def once(user: User) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", mix=once, load=arrivals("20/s").hold("1s"), slos=[p(95) < "10s"])
"""


def test_run_with_20_iterations_is_not_sure_and_ends_with_3_if_it_must_be(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.py"
    scenario.write_text(SCENARIO)
    with running_target("--no-latency") as target:
        arguments = ("run", str(scenario), "--target", target.url, "--quiet")
        plain = loadgen(*arguments, runs_dir=tmp_path / "plain")
        sure = loadgen(*arguments, "--sure", runs_dir=tmp_path / "sure")
        (tmp_path / "loadgen.toml").write_text('[policy]\nobjectives = "sure"\n')
        policy = loadgen(*arguments, runs_dir=tmp_path / "policy")

    (slo,) = plain.summary["slos"]
    assert (slo["verdict"], slo["sure"], slo["bad_share_low"]) == ("passed", False, 0.0)
    assert 0.05 < slo["bad_share_high"] <= 1
    assert ends_with(plain.exit_code, plain.summary, 0)
    assert "passed, not sure" in plain.out
    for run in (sure, policy):
        assert ends_with(run.exit_code, run.summary, 3)
        assert any("but not surely" in reason for reason in run.summary["reasons"])
        assert run.summary["slos"][0]["verdict"] == "passed"
