"""The guide from nothing to two hosts, followed word by word, on two hosts."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loadgen import open_run
from tests.support.hosts import hosts
from tests.support.nginx import running_nginx
from tests.support.ports import free_port

GUIDE = Path(__file__).parents[2] / "docs" / "distributed.md"
SCENARIO = '''"""One page, 5 s long."""

from loadgen import Plan, User, arrivals, journey


@journey
async def shop(user: User) -> None:
    await user.http.get("/", expect=200)


plan = Plan(target="{target}", load=arrivals("20/s").hold("5s"), mix=shop)
'''
ALLOW = """
[[allow]]
host = "{host}"
max_requests_per_s = 100
max_duration = "1m"
owner = "the test"
expires = {expires}
"""


def commands() -> list[tuple[str, str]]:
    """(host, command) of the guide's steps, in their order."""
    text = GUIDE.read_text()
    guide = text[text.index("## From nothing to two hosts") : text.index("## Keys")]
    return re.findall(r"^ *(controller|frankfurt)\$ (.+)$", guide, re.MULTILINE)


@pytest.mark.slow
def test_the_guide_from_nothing_to_two_hosts_leads_there(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("controller", "frankfurt")}
    for folder in folders.values():
        folder.mkdir()
    with hosts("frankfurt") as network, running_nginx(host=network.target) as nginx:
        port = str(free_port(network.control))
        (folders["controller"] / "checkout.py").write_text(SCENARIO.format(target=nginx.url))
        expires = datetime.now(UTC).date() + timedelta(days=1)
        (folders["controller"] / "allow.toml").write_text(ALLOW.format(host=network.target, expires=expires))
        inside = {"controller": (), "frankfurt": network["frankfurt"].inside}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        agents: list[subprocess.Popen[bytes]] = []
        said = b""
        try:
            for host, command in commands():
                argv = shlex.split(
                    command.replace("controller:5557", f"{network.control}:{port}").replace("5557", port)
                )
                if argv[0] == "scp":  # the hosts have one disk
                    shutil.copytree(folders["controller"] / argv[2], folders["frankfurt"] / argv[3].partition(":")[2])
                    continue
                argv, where = [*inside[host], *argv], {"cwd": folders[host], "env": {**os.environ, "PATH": path}}
                if command.startswith("loadgen-agent"):
                    agents.append(subprocess.Popen(argv, stderr=subprocess.PIPE, **where))  # type: ignore[call-overload]
                    continue
                done = subprocess.run(argv, check=False, capture_output=True, timeout=120, **where)  # type: ignore[call-overload]
                said = done.stdout + done.stderr
                assert done.returncode in (0, 4), said  # 4: this machine was not fit, which is no matter of the guide
        finally:
            for agent in agents:
                agent.terminate()
                agent.wait(60)
        assert len(agents) == 1
        summary = open_run("last", folders["controller"] / "runs").summary
        assert summary is not None, said
        assert (summary.placement, summary.requests.finished) == ("fleet", 100)
        assert nginx.access_log_count() == 100
        assert not list((folders["controller"] / "keys").rglob("frankfurt.key")), "the secret is where it belongs"
