"""A run whose server has a growing queue: `stop_when` ends it, and objectives on probes are judged."""

from __future__ import annotations

import time

import pytest

from tests.support.metrics_server import metrics_server, vllm_page
from tests.support.run import Finished, ends_with, loadgen
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, arrivals, error_ratio, journey, probe

@journey
async def home(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("20/s").hold("40s"),
    mix=home,
    slos=[
        error_ratio() < "50%",
        probe("vllm.running") < 10,
        probe("vllm.KV cache use").mean() < "80%",
        probe("vllm.kv_cache") > "90%",
        probe("vllm.ttft").p(95) < "500ms",
        probe("vllm.itl").p(95) < "300ms",
    ],
)
"""
SETTINGS = """
[probes.vllm]
url = "{url}"
preset = "vllm"
stop_when = "waiting > 20 for 2s"
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("limits")
    asked: list[float] = []

    def page() -> str:
        asked.append(time.monotonic())
        # The queue is full from the sixth sample on: a few seconds after the start of the load.
        waiting = 25.0 if len(asked) > 6 else 0.0
        return vllm_page(len(asked)).replace(
            'num_requests_waiting{engine="0",model_name="m"} 0.0',
            (f'num_requests_waiting{{engine="0",model_name="m"}} {waiting}'),
        )

    (folder / "home.py").write_text(SCENARIO)
    with running_target() as shop, metrics_server(page) as server:
        (folder / "loadgen.toml").write_text(SETTINGS.format(url=server.url))
        return loadgen("run", str(folder / "home.py"), "--target", shop.url, "--quiet", runs_dir=folder / "runs")


def test_a_run_ends_when_the_condition_of_stop_when_has_held(stopped: Finished) -> None:
    assert ends_with(stopped.exit_code, stopped.summary, 1), stopped.err
    (reason,) = [one for one in stopped.summary["reasons"] if one.startswith("target in danger")]
    assert reason.startswith("target in danger: vllm waiting above 20 for 2 s (25 at 0:")
    assert stopped.summary["duration_s"] < 30
    assert stopped.summary["iterations"]["cut_off"] == 0  # the load drained


def test_objectives_on_probes_are_in_the_summary_with_their_row_and_their_denominator(stopped: Finished) -> None:
    plain, running, mean, above, ttft, itl = stopped.summary["slos"]
    assert plain["probe"] is None
    assert [one["verdict"] for one in (above, itl)] == ["failed", "inconclusive"]
    for one in (running, mean, ttft):
        # A busy machine reads late. Then too much of the time has no samples, which is never a pass.
        assert one["verdict"] == "passed" or "of the time has no samples" in one["reason"], one
    assert (running["probe"], running["observed"], running["unit"]) == ("vllm.running", 3.0, "")
    assert running["detail"].startswith("maximum 3 of ")
    assert (mean["probe"], mean["observed"], mean["unit"], mean["limit"]) == ("vllm.kv_cache", 25.0, "%", 80.0)
    assert (above["margin"], above["sure"]) == (-0.7222, True)
    assert ttft["observed"] == "0.25 to 0.5"
    assert "lies between the bounds" in itl["reason"]


def test_objectives_on_probes_are_in_the_terminal_the_junit_file_and_the_report(stopped: Finished) -> None:
    assert 'probe("vllm.kv_cache") > 90%' in stopped.out
    for form in ("junit", "markdown", "json"):
        told = loadgen("report", str(stopped.folder), "--format", form, "-o", "-", runs_dir=stopped.folder.parent)
        assert told.exit_code == 0, told.err
        assert "minimum 25 % of" in told.out
