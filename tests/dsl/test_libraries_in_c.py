"""Scenarios whose client library connects in C: found by their imports, and refused by runs with an allow-list."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.allowlist_check import check
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import ScenarioError

PLAN = """
from loadgen import Plan, User, arrivals, journey

@journey
async def produce(user: User) -> None:
{body}

plan = Plan(target="http://127.0.0.1:1", load=arrivals("10/s").hold("2s"), mix=produce{more})
"""
ALLOW = AllowList(allow=(Entry(host="127.0.0.1", owner="us", expires=date(2999, 1, 1)),))


def loaded(folder: Path, body: str, head: str = "", more: str = "") -> Plan:
    path = folder / "s.py"
    path.write_text(head + PLAN.format(body=body, more=more))
    return load(path).plan


def refused(plan: Plan) -> tuple[str, ...]:
    return check(plan.spec(), plan.http, ALLOW, datetime.now(UTC), lambda _: [])[1]


@pytest.mark.parametrize(
    ("body", "library"),
    [
        ("    import confluent_kafka\n    confluent_kafka.Producer({})", "confluent_kafka"),
        ("    from confluent_kafka.admin import AdminClient\n    AdminClient({})", "confluent_kafka"),
        ("    from pyarrow import flight\n    flight.connect('grpc://x')", "pyarrow.flight"),
        ("    import grpc\n    grpc.aio.insecure_channel('127.0.0.1:1')", "grpc"),
        ("    from grpc import secure_channel\n    secure_channel('127.0.0.1:1', None)", "grpc"),
    ],
)
def test_a_library_that_connects_in_c_is_refused_unless_the_plan_names_it(
    tmp_path: Path, body: str, library: str
) -> None:
    plan = loaded(tmp_path, body)
    (why,) = refused(plan)
    assert why.startswith(f"the scenario uses {library}, which opens its connections in C")
    assert refused(loaded(tmp_path, body, more=f', unchecked_libraries=["{library}"]')) == ()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("import asyncio, json\n", "    await asyncio.sleep(0)"),
        ("import grpc\n", "    user.check('code', grpc.StatusCode.OK is not None)"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import confluent_kafka\n", "    pass"),
    ],
)
def test_other_imports_are_not_refused(tmp_path: Path, head: str, body: str) -> None:
    assert refused(loaded(tmp_path, body, head)) == ()


def test_a_module_that_an_import_loads_counts(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text("def make() -> None:\n    import pymqi\n    pymqi.connect()\n")
    plan = loaded(tmp_path, "    make()", head="from ours import make\n")
    assert plan.libraries_in_c == ("pymqi",)


def test_unknown_names_of_libraries_are_errors_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as raised:
        loaded(tmp_path, "    pass", more=', unchecked_libraries=["confluent-kafka", "redis"]')
    assert "'confluent-kafka' is not a library that loadgen refuses" in str(raised.value)
    assert 'did you mean "confluent_kafka"?' in str(raised.value)
    with pytest.raises(ScenarioError, match="is not a list of names"):
        loaded(tmp_path, "    pass", more=', unchecked_libraries="grpc"')
