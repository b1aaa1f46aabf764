"""Probes that a plan names: the same settings as in `loadgen.toml`, and errors at their line."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen import (
    Plan,
    User,
    arrivals,
    journey,
    kubernetes_cluster,
    metrics_page,
    pgbouncer_console,
    postgres_server,
    prometheus_server,
)
from loadgen.dsl.plans.probe import Probe
from loadgen.probes.settings import probe_of

PROMETHEUS = "http://127.0.0.1:9090"
CLUSTER = "https://127.0.0.1:6443"
DSN = "host=127.0.0.1 dbname=shop user=perf"


@journey
async def home(user: User) -> None:
    await user.http.get("/")


def plan(*probes: Probe) -> Plan:
    return Plan(target="http://127.0.0.1:1", load=arrivals("5/s").hold("10s"), mix={home: 1.0}, probes=probes)


@pytest.mark.parametrize(
    ("made", "name", "table"),
    [
        (
            metrics_page(f"{PROMETHEUS}/metrics", preset="vllm"),
            None,
            {"url": f"{PROMETHEUS}/metrics", "preset": "vllm"},
        ),
        (
            prometheus_server(PROMETHEUS, selectors=["up"], expressions={"hits": "sum(up)"}, tenant="a", step="5s"),
            None,
            {
                "kind": "prometheus",
                "url": PROMETHEUS,
                "selectors": ["up"],
                "expressions": {"hits": "sum(up)"},
                "tenant": "a",
                "step": "5s",
            },
        ),
        (
            prometheus_server(PROMETHEUS, preset="node", match='job="n"', auth_secret="login", name="machines"),
            "machines",
            {"kind": "prometheus", "url": PROMETHEUS, "preset": "node", "match": 'job="n"', "auth_secret": "login"},
        ),
        (
            kubernetes_cluster(CLUSTER, namespace="shop", pods="app=web", token_secret="token", ca="/etc/ca.pem"),
            None,
            {
                "kind": "kubernetes",
                "url": CLUSTER,
                "namespace": "shop",
                "pods": "app=web",
                "token": {"secret": "token"},
                "ca": "/etc/ca.pem",
            },
        ),
        (
            postgres_server(DSN, password_secret="pw", name="shopdb", stop_when="connections > 95% for 30s"),
            "shopdb",
            {"kind": "postgres", "dsn": DSN, "password": {"secret": "pw"}, "stop_when": "connections > 95% for 30s"},
        ),
        (pgbouncer_console("host=127.0.0.1 user=perf"), None, {"kind": "pgbouncer", "dsn": "host=127.0.0.1 user=perf"}),
    ],
    ids=repr,
)
def test_a_probe_of_a_plan_is_that_of_a_table_with_the_same_settings(
    made: Probe, name: str | None, table: dict[str, Any]
) -> None:
    expected, wrong = probe_of(name, table)
    assert (wrong, plan(made).faults) == ([], ())
    assert plan(made).spec().probes == (expected,)


def test_all_errors_of_a_probe_are_at_its_line() -> None:
    made = plan(postgres_server("host=127.0.0.1 password=hunter2", password_secret="not a name", every="1ms"))
    messages = [fault.message for fault in made.faults]
    assert len(messages) == 3
    assert {fault.line for fault in made.faults} == {
        test_all_errors_of_a_probe_are_at_its_line.__code__.co_firstlineno + 1
    }
    assert not any("hunter2" in f"{fault.message} {fault.hint}" for fault in made.faults)


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (postgres_server(DSN), f"postgres_server({DSN!r})"),
        (kubernetes_cluster(CLUSTER), f"kubernetes_cluster({CLUSTER!r})"),
    ],
)
def test_a_probe_is_shown_as_it_is_written(made: Probe, shown: str) -> None:
    assert repr(made) == shown
