"""An agent compares a plan with the allow-lists before anything starts: that of the order, and one of its own.

The targets of client libraries (`user.target("cache")`) are compared, too: their connections are not checked later.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import ExitCode, TargetNotAllowed, UsageError
from loadgen.wire.messages import Prepare
from loadgen_agent.worker.allowlist_check import fenced

SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def shop(user: User) -> None:
    await user.http.get("/")
    user.target("cache")

plan = Plan(
    targets={"shop": "http://127.0.0.1:8080", "cache": "redis://127.0.0.2", "gate": "tcp://127.0.0.3:7000"},
    target="shop",
    load=arrivals("10/s").hold("2s"),
    mix=shop,
)
"""


def entry(host: str, **more: Any) -> Entry:
    return Entry(host=host, owner="us", expires=date(2999, 1, 1), **more)


ALL = AllowList(allow=(entry("127.0.0.0/8", max_requests_per_s=50.0),))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("scenario") / "s.py"
    path.write_text(SCENARIO)
    return load(path).plan


def order(allow: AllowList | None) -> Prepare:
    given = b"" if allow is None else allow.to_json()
    return Prepare("r1", 1, "0" * 64, 1, "s.py", "plan", b"{}", 1, 0, (1.0,), 10**9, allow_json=given)


def own_list(folder: Path, *hosts: str, more: str = "") -> Path:
    path = folder / "own.toml"
    path.write_text(
        "".join(f'[[allow]]\nhost = "{one}"\nowner = "us"\nexpires = 2999-01-01\n{more}\n' for one in hosts)
    )
    return path


def test_an_agent_refuses_a_library_s_target_that_the_order_s_list_does_not_admit(plan: Plan) -> None:
    allow = AllowList(allow=(entry("127.0.0.1"), entry("127.0.0.3")))
    with pytest.raises(TargetNotAllowed) as raised:
        fenced(order(allow), plan)
    (why,) = raised.value.refused
    assert why == 'target "cache" 127.0.0.2:6379 is not allowed: no entry of the allow-list names it'
    assert raised.value.exit_code == ExitCode.USAGE


def test_an_agent_refuses_each_target_that_its_own_list_does_not_admit_whatever_the_order_s_list(
    plan: Plan, tmp_path: Path
) -> None:
    for given in (ALL, None):
        with pytest.raises(TargetNotAllowed) as raised:
            fenced(order(given), plan, own_list(tmp_path, "127.0.0.1"))
        assert [one.partition(" is not allowed")[0] for one in raised.value.refused] == [
            'target "cache" 127.0.0.2:6379',
            'target "gate" 127.0.0.3:7000',
        ]
        assert all(one.endswith("(the agent's own allow-list, own.toml)") for one in raised.value.refused)
        assert "administrator of this agent" in raised.value.hint


def test_a_plan_that_both_lists_admit_runs_within_the_lower_limits(plan: Plan, tmp_path: Path) -> None:
    own = own_list(tmp_path, "127.0.0.0/8", more='max_requests_per_s = 20\nmax_duration = "1h"')
    guarded = fenced(order(ALL), plan, own)
    assert guarded.limits == Limits(max_requests_per_s=20.0, max_duration_ns=3600 * 10**9)
    assert guarded.allow == ALL
    assert guarded.also is not None


def test_an_agent_refuses_a_plan_that_is_larger_than_its_own_list_admits(plan: Plan, tmp_path: Path) -> None:
    own = own_list(tmp_path, "127.0.0.0/8", more="max_requests_per_s = 9")
    with pytest.raises(TargetNotAllowed, match="10 iterations/s are planned, but the allow-list admits only 9"):
        fenced(order(ALL), plan, own)


def test_an_agent_whose_own_list_has_become_invalid_refuses_every_plan(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[[allow]]\nhost = 3\n")
    with pytest.raises(UsageError, match="the agent's own allow-list is invalid"):
        fenced(order(ALL), plan, path)
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        fenced(order(ALL), plan, path)
