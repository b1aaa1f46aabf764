"""A whole run with channels: messages arrive, a rejected one is named once, and the exit code is that of the run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.run import ends_with, loadgen
from tests.support.sinks import http_receiver
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, iterations, journey

@journey
async def home(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=iterations(20, users=2), mix=home)
"""
SETTINGS = """
[notify.team]
kind = "webhook"
url_secret = "team-hook"
link = "https://perf.example/{{run}}"

[notify.gone]
kind = "webhook"
url = "{url}"
events = ["end"]
"""


def test_a_run_notifies_and_a_rejected_notification_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "home.py").write_text(SCENARIO)
    with running_target() as shop, http_receiver() as team, http_receiver(status=410) as gone:
        (tmp_path / "loadgen.toml").write_text(SETTINGS.format(url=gone.url))
        env = {"LOADGEN_SECRET_TEAM_HOOK": f"{team.url}/canary"}
        done = loadgen(
            "run", str(tmp_path / "home.py"), "--target", shop.url, "--quiet", runs_dir=tmp_path / "runs", env=env
        )
    assert ends_with(done.exit_code, done.summary, 0)
    start, end = (json.loads(got.body)["events"][0] for got in team.got)
    assert (start["kind"], end["kind"]) == ("start", "end")
    assert end["run"] == done.folder.name
    assert end["exit_code"] == done.exit_code
    assert [figure["count"] for figure in end["figures"]] == [20, 20, 20]
    assert end["link"] == f"https://perf.example/{done.folder.name}"
    note = "note: 1 notification to gone (end) not delivered: the server answers http 410 (tries: 1)"
    assert done.err.splitlines() == [note]
    assert "canary" not in done.out + done.err + str([got.body for got in team.got])
    assert len(gone.got) == 1
