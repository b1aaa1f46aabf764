"""A whole run with probes: what is stored, shown and exported, and a page that hangs, which delays nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from loadgen import open_run
from loadgen.report.target_side.metrics_file import read_lanes
from tests.support.metrics_server import metrics_server, vllm_page
from tests.support.prometheus import running_prometheus
from tests.support.run import ends_with, loadgen
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def home(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("20/s").hold("4s"), mix=home)
"""
IN_THE_PLAN = SCENARIO.replace("import Plan,", "import metrics_page, Plan,").replace(
    "mix=home)", 'mix=home, probes=[metrics_page("{url}", preset="vllm", name="in-plan")])'
)
SETTINGS = """
[probes.vllm]
url = "{good}"
preset = "vllm"
auth_secret = "probe-login"

[probes.stuck]
url = "{bad}"
metrics = ["up"]
"""


def test_a_run_keeps_and_shows_what_its_probes_read_and_no_secret(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    began_s = time.monotonic()
    (tmp_path / "home.py").write_text(SCENARIO)
    with (
        running_target() as shop,
        metrics_server(lambda: vllm_page(int((time.monotonic() - began_s) * 100))) as good,
        metrics_server() as bad,
    ):
        bad.hang()
        (tmp_path / "loadgen.toml").write_text(SETTINGS.format(good=good.url, bad=bad.url))
        done = loadgen(
            "run",
            str(tmp_path / "home.py"),
            *("--target", shop.url, "--quiet"),
            runs_dir=tmp_path / "runs",
            env={"LOADGEN_SECRET_PROBE_LOGIN": "Bearer canary"},
        )

    assert ends_with(done.exit_code, done.summary, 0), done.err
    assert done.summary["iterations"]["started"] == 80  # the page that hangs has delayed nothing
    assert f"warning: probe stuck: {bad.url} cannot be read: no complete answer within 3 s" in done.err
    assert "Probe vllm: the target's side" in done.out
    assert "0.25 to 0.5 s" in done.out
    vllm, stuck = done.summary["probes"]
    rows = {row["key"]: row for row in vllm["rows"]}
    assert rows["prefix_hits"]["mean"] == pytest.approx(40)
    assert rows["prompt_tokens"]["mean"] == pytest.approx(10_000, rel=0.2)
    assert rows["ttft"]["between"]["p95"] == [0.25, 0.5]
    assert (vllm["samples"] >= 3, stuck["samples"], stuck["gaps"] >= 3) == (True, 0, True)
    assert stuck["last_gap"] == "no complete answer within 0.8 s"
    assert [note for note in done.summary["notes"] if note.startswith("probe stuck")] == [
        "probe stuck has a gap: no complete answer within 0.8 s; the run goes on without its figures"
    ]

    lanes = read_lanes(done.folder)
    assert lanes["source"] == "probes"
    assert "vllm: generation tokens" in [lane["name"] for lane in lanes["lanes"]]  # type: ignore[attr-defined]
    frame = open_run(done.folder).probes()
    assert isinstance(frame, pandas.DataFrame)
    bounds = frame[(frame.metric == "ttft") & (frame.statistic == "p95")]
    assert set(zip(bounds.low, bounds.high, strict=True)) == {(0.25, 0.5)}
    assert (frame[frame.statistic == "gap"].gap == "no complete answer within 0.8 s").all()

    assert b"Authorization: Bearer canary" in good.requests[-1]
    for path in done.folder.rglob("*"):
        assert not path.is_file() or b"canary" not in path.read_bytes(), path
    assert "canary" not in done.out + done.err

    report = loadgen("report", str(done.folder), "-o", str(tmp_path / "r.html"), runs_dir=tmp_path / "runs")
    assert report.exit_code == 0, report.err
    told = loadgen("report", str(done.folder), "--format", "markdown", "-o", "-", runs_dir=tmp_path / "runs")
    assert told.exit_code == 0, told.err


def test_a_probe_of_the_plan_is_read_and_agents_ignore_it(tmp_path: Path) -> None:
    with running_target() as shop, metrics_server() as page:
        (tmp_path / "home.py").write_text(IN_THE_PLAN.format(url=page.url))
        done = loadgen("run", str(tmp_path / "home.py"), "--target", shop.url, "--quiet", runs_dir=tmp_path / "runs")

    assert ends_with(done.exit_code, done.summary, 0), done.err
    (probe,) = done.summary["probes"]
    assert (probe["name"], probe["url"]) == ("in-plan", page.url)
    assert probe["samples"] >= 3
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert [one["name"] for one in manifest["spec"]["probes"]] == ["in-plan"]


def test_a_missing_secret_of_a_probe_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "home.py").write_text(SCENARIO)
    with metrics_server() as page:
        (tmp_path / "loadgen.toml").write_text(SETTINGS.format(good=page.url, bad=page.url))
        done = loadgen("run", str(tmp_path / "home.py"), "--quiet", runs_dir=tmp_path / "runs")

    assert done.exit_code == 2
    assert 'secret "probe-login" is not set' in done.err
    assert not page.requests
    assert not (tmp_path / "runs").exists()


SERVER = """
[probes.machines]
kind = "prometheus"
url = "{url}"
every = "5s"
selectors = ["made_hits_total"]
expressions = {{ rate = "sum(rate(made_hits_total[5s]))" }}
step = "1s"

[probes.db]
kind = "postgres"
dsn = "host=127.0.0.1 port=1 user=perf"
at = "apart"
"""


def test_a_prometheus_server_is_read_on_the_clock_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    began_s = time.monotonic()
    (tmp_path / "home.py").write_text(SCENARIO)
    page = "# TYPE made_hits counter\nmade_hits_total {}\n"
    with (
        running_target() as shop,
        metrics_server(lambda: page.format((time.monotonic() - began_s) * 50)) as made,
        running_prometheus(tmp_path, f"127.0.0.1:{made.port}") as server,
    ):
        until_s = time.monotonic() + 60
        while not (found := server.ask("count_over_time(made_hits_total[60s])")) or float(found[0]["value"][1]) < 3:
            assert time.monotonic() < until_s
            time.sleep(0.1)
        (tmp_path / "loadgen.toml").write_text(SERVER.format(url=server.url))
        done = loadgen("run", str(tmp_path / "home.py"), "--target", shop.url, "--quiet", runs_dir=tmp_path / "runs")

    assert ends_with(done.exit_code, done.summary, 0), done.err
    machines, db = done.summary["probes"]
    assert (db["at"], db["samples"]) == ("apart", 0)
    assert machines["kind"] == "prometheus"
    rows = {row["title"].partition(" ")[0]: row for row in machines["rows"]}
    assert machines["samples"] > 3, done.summary["notes"]
    assert rows["made_hits_total"]["mean"] == pytest.approx(50, rel=0.2)
    frame = open_run(done.folder).probes()
    hits = frame[(frame.statistic == "rate") & frame.value.notna()]
    assert (hits.at_s < 5).all()
    assert hits.at_s.max() > 0
    assert len(open_run(done.folder).probe_notes()) == 0
