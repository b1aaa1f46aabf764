"""Whole runs on this machine: real agent processes, real workers, the demo shop as target."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadgen.bundle import pack
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import ExitCode
from loadgen.measure.run_folder.rundir import RunDir
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.agents.local_processes import EmbeddedAgents, agent_ids, clean_environment
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.core.run_request import Order
from loadgen_controller.run.conductor import Conductor
from loadgen_controller.run.rejudge import reread
from tests.support.target import RunningTarget, running_target
from tests.support.wire import until

SCENARIO = """
from loadgen import Plan, User, arrivals, journey, p

@journey
async def look(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("50/s").hold("2s"),
    mix=look,
    slos=[p(95) < "5s"],
    regions={"eu": 0.5, "us-east": 0.3, "ap": 0.2},
    drain="2s",
)
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target("--no-latency") as target:
        yield target


@asynccontextmanager
async def conductor(
    tmp_path: Path, target: str, source: str = SCENARIO, **overrides: float
) -> AsyncIterator[tuple[Conductor, EmbeddedAgents]]:
    path = tmp_path / "look.py"
    path.write_text(source)
    scenario = load(path, None, Overrides(target=target, **overrides))  # type: ignore[arg-type]
    bundle, spec = pack(scenario), scenario.plan.spec()
    order = Order(
        spec=spec,
        bundle=bundle.data,
        bundle_sha256=bundle.sha256,
        scenario=bundle.scenario,
        plan=scenario.plan.name,
        seed=secrets.randbits(32),
        agents=len(spec.regions),
        overrides_json=scenario.plan.overrides.to_json(),
    )
    agents = EmbeddedAgents(spec.regions)
    async with AgentHub(agents.keys) as hub:
        yield Conductor(order, hub, runs_dir=tmp_path / "runs", processes=agents), agents


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_three_agents_drive_exactly_what_was_planned(tmp_path: Path, shop: RunningTarget) -> None:
    shop.reset()
    async with conductor(tmp_path, shop.url) as (run, agents):
        async with asyncio.timeout(60):
            result = await run.conduct()
        assert result.verdict.completeness.is_complete
        assert [slo.verdict for slo in result.verdict.slos] == ["passed"]
        assert result.exit_code in (ExitCode.PASSED, ExitCode.INVALID), "a busy machine may be unfit to measure"
        assert [(a.agent, a.region) for a in result.verdict.completeness.agents] == [
            ("eu", "eu"),
            ("us-east", "us-east"),
            ("ap", "ap"),
        ]
        requests, iterations = result.summary["requests"], result.summary["iterations"]
        assert isinstance(requests, dict)
        assert isinstance(iterations, dict)
        assert (iterations["due"], requests["finished"], requests["errors"]) == (100, 100, 0)
        assert shop.stats()["requests"] == 100
        by_agent = result.summary["agents"]
        assert isinstance(by_agent, list)
        assert [agent["requests"] for agent in by_agent] == [50, 30, 20]
        assert reread(RunDir.open(result.run_dir)) == result.verdict
        assert not any(map(is_alive, agents.pids.values()))
        assert not agents._folder.exists(), "the keys are gone"
        modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (tmp_path / "runs").rglob("*")}
        assert modes == {(True, 0o700), (False, 0o600)}


async def test_killed_agent_makes_the_run_incomplete_and_the_others_go_on(tmp_path: Path, shop: RunningTarget) -> None:
    async with conductor(tmp_path, shop.url, duration_s=4.0) as (run, agents):
        conducting = asyncio.create_task(run.conduct())
        async with asyncio.timeout(60):
            await until(lambda: run.view().merge.counters(agent="ap").iterations_finished, 30)
            os.kill(agents.pids["ap"], signal.SIGKILL)
            await until(lambda: run.run.lost == frozenset({"ap"}))
            assert run.run.phase is Phase.RUNNING
            result = await conducting
        assert result.exit_code in (ExitCode.INCOMPLETE, ExitCode.INVALID), "a busy machine may be unfit to measure"
        complete = {a.agent: (a.is_complete, a.missing_s > 0) for a in result.verdict.completeness.agents}
        assert complete == {"eu": (True, False), "us-east": (True, False), "ap": (False, True)}
        (missing,) = (reason for reason in result.verdict.reasons if reason.startswith("agent ap (ap): no data from"))
        assert "was ended by SIGKILL; its last line of output: " in missing, "the line is not stated as the cause"


async def test_agents_are_ended_also_when_the_run_is_cancelled(tmp_path: Path, shop: RunningTarget) -> None:
    async with conductor(tmp_path, shop.url, duration_s=60.0) as (run, agents):
        conducting = asyncio.create_task(run.conduct())
        await until(lambda: run.run.phase is Phase.RUNNING)
        pids = list(agents.pids.values())
        conducting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await conducting
        assert not any(map(is_alive, pids))


def is_running(pid: int) -> bool:
    """A zombie is not: once its parent is gone, init waits for it, sooner or later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


UNTIDY = """
import os, subprocess
from pathlib import Path
from loadgen import Plan, User, arrivals, journey

FOLDER = Path(__file__).parent
DAEMON = "trap '' TERM; setsid sh -c 'echo $$ > FOLDER/daemon; exec sleep 600' > /dev/null 2>&1 &"
iterations = 0

@journey
async def look(user: User) -> None:
    global iterations
    iterations += 1  # loadgen: allow
    if iterations == 1:
        Path("FOLDER/child").write_text(str(subprocess.Popen(["sleep", "600"]).pid))  # loadgen: allow
        subprocess.Popen(["sh", "-c", DAEMON])
    for _ in range(10):
        print("p" * 99_999)
        os.write(1, (b"w" * 99 + b"\\n") * 1_000)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("10/s").hold("2s"), mix=look, drain="2s")
"""


@pytest.mark.parametrize("how", ["to its end", "with an agent that does not end"])
async def test_after_a_run_its_scenarios_processes_are_gone_and_their_output_is_bounded(
    tmp_path: Path, shop: RunningTarget, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen_controller.agents.local_processes._KILL_AFTER_S", 2)
    source = UNTIDY.replace("FOLDER/", f"{tmp_path}/")
    async with conductor(tmp_path, shop.url, source) as (run, agents):
        async with asyncio.timeout(60):
            conducting = asyncio.create_task(run.conduct())
            await until(lambda: all((tmp_path / name).exists() for name in ("child", "daemon")), 30)
            await until(lambda: (tmp_path / "daemon").read_text().strip(), 30)
            pids = [int((tmp_path / name).read_text()) for name in ("child", "daemon")]
            assert all(map(is_running, pids))
            if how == "to its end":
                await conducting
            else:
                os.kill(next(iter(agents.pids.values())), signal.SIGSTOP)
                conducting.cancel()
                await asyncio.gather(conducting, return_exceptions=True)
    await until(lambda: not any(map(is_running, pids)))  # a killed process takes a moment to be gone
    if how == "to its end":
        (log,) = (run.run_dir / "agents").glob("*.log")
        text = log.read_bytes()
        assert 10 * 2**20 - 100_000 < len(text) < 10 * 2**20 + 5_000
        (dropped,) = re.findall(rb"output limit of 10 MiB reached; (\d+) bytes dropped\n", text)
        noted = map(int, re.findall(rb"(\d+) bytes of output dropped: the agent did not read", text))
        # 20 iterations print 1,000,000 bytes each and write as many: those in the log, those dropped there, the others.
        assert text.count(b"p") + text.count(b"w") > 9_000_000
        letters = [line for line in text.splitlines(keepends=True) if set(line) <= set(b"pw\n")]
        assert sum(map(len, letters)) + sum(noted) + int(dropped) == pytest.approx(20 * 2_000_000, abs=5_000)


async def test_fault_that_shows_only_at_the_agent_is_the_scenarios(tmp_path: Path) -> None:
    source = SCENARIO.replace("import Plan", "import Plan  # noqa\nimport os, sys\nfrom loadgen import Plan").replace(
        "@journey",
        'if "loadgen_agent.worker" in getattr(sys.modules["__main__"].__spec__, "name", ""):\n    1 / 0\n\n@journey',
    )
    async with conductor(tmp_path, "http://127.0.0.1:1", source) as (run, _):
        async with asyncio.timeout(60):
            result = await run.conduct()
        assert result.exit_code is ExitCode.USAGE
        assert any("look.py:" in reason for reason in result.verdict.reasons)


async def test_agent_process_that_cannot_start_ends_the_run_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen_controller.agents.local_processes.AGENT_MODULE", "loadgen_agent.not_there")
    async with conductor(tmp_path, "http://127.0.0.1:1") as (run, _):
        async with asyncio.timeout(60):
            result = await run.conduct()
        assert result.exit_code is ExitCode.FLEET
        assert "exited with code 1" in result.verdict.reasons[0]
        assert "No module named loadgen_agent.not_there" in result.verdict.reasons[0]


def test_ids_are_safe_and_differ_whatever_the_regions_are_called() -> None:
    assert agent_ids(["us-east-1", "São Paulo", "../..", "a b", "a/b"], 1) == {
        "us-east-1": "us-east-1",
        "S-o-Paulo": "São Paulo",
        "region": "../..",
        "a-b": "a b",
        "a-b-x": "a/b",
    }
    assert list(agent_ids(["eu"], 2)) == ["eu.1", "eu.2"]


def test_agents_get_no_secrets_from_the_environment() -> None:
    given = {"PATH": "/bin", "LC_ALL": "C", "LOADGEN_RAW": "x", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "/evil"}
    assert clean_environment(given) == {"PATH": "/bin", "LC_ALL": "C", "LOADGEN_RAW": "x"}
