"""`loadgen sweep` whose runs are made at a controller: real processes, TLS and a token; the folders come here."""

from __future__ import annotations

import json

import pytest

from loadgen.sweep.journal import read_journal
from tests.integration.test_controller_service import Service
from tests.integration.test_controller_service import service as service  # the fixture
from tests.support.run import loadgen
from tests.support.target import running_target

pytestmark = [pytest.mark.slow, pytest.mark.process]

SCENARIO = """
from loadgen import Plan, User, arrivals, journey, param

calls = param("calls", int, default=1)

@journey
async def look(user: User) -> None:
    for _ in range(calls):
        await user.http.get("/", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("40/s").hold("1s"), mix=look, regions={"eu": 1}, drain="2s")
"""


def test_runs_of_a_sweep_are_made_there_with_the_levels_of_their_cells(service: Service) -> None:
    here = service.folder / "here"
    here.mkdir()
    (here / "look.py").write_text(SCENARIO)
    out = here / "out"
    with running_target("--no-latency") as target:
        options = ("-P", "calls=1,3", "--repeat", "1", "--target", target.url, "--yes", "-o", str(out))
        done = loadgen("sweep", str(here / "look.py"), *options, *service.there, runs_dir=here)
        served = target.stats()["requests"]

    records = read_journal(out)
    assert done.exit_code in (0, 3, 4), done.err
    assert [one.number for one in records][:2] == [1, 2]
    assert "none: the agents are running anyway" in done.out
    expected = 0
    for one in records:
        manifest = json.loads((out / one.folder / "manifest.json").read_text())
        assert manifest["placement"] == "fleet"
        calls = manifest["spec"]["params"]["calls"]
        assert calls == (1, 3)[one.cell]
        expected += 40 * calls
    assert served == expected
